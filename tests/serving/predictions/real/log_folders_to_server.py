"""Logs folders that MLflow's `save_model` would have made, each as `model` of a run, and registers it.

`python log_folders_to_server.py <url> <folder> ...`. Prints the runs' ids.
"""

import json
import sys

import mlflow


def main(client: mlflow.MlflowClient, folder: str) -> str:
    """The run's id. The model is the next of `churn`."""
    run = client.create_run("0", run_name="ml_keras")
    client.log_artifacts(run.info.run_id, folder, "model")
    client.set_terminated(run.info.run_id)
    if not client.search_registered_models():
        client.create_registered_model("churn")
    client.create_model_version("churn", f"{run.info.artifact_uri}/model", run.info.run_id)
    return str(run.info.run_id)


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    client = mlflow.MlflowClient()
    print(json.dumps([main(client, folder) for folder in sys.argv[2:]]))
