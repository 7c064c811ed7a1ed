"""Logs runs by MLflow's own client, of whatever version runs this; then prints what that client says of them.

`python log_to_folder.py <tracking uri> first|more`, in the environments that `make test-mlflow` builds.
"""

import json
import sys
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.tracking import MlflowClient

START_MS = 1_690_000_000_000
IS_3 = not mlflow.__version__.startswith("2.")


def log_first(client: Any) -> None:
    """Logs a run of each kind, and a registry.

    The kinds are: nested keys, odd values, late points, other scripts; deleted, running, of a deleted experiment."""
    experiment = client.create_experiment("two tower")
    run_id = start(client, experiment, "Übung 训练 🚀")
    points = [Metric("loss", 1 / (1 + step), START_MS + 1_000 * step, step) for step in range(20)]
    points += [Metric("eval/rmse", 1.5 - step / 7, START_MS + step, step) for step in range(-2, 3)]
    odd = [float("nan"), float("inf"), float("-inf"), 5, 1e-320, -0.0, 1 / 3]
    points += [Metric("odd values", value, START_MS + at, at) for at, value in enumerate(odd)]
    points += [Metric("métrique α.b-c", 0.5, START_MS, 0)]  # noqa: RUF001 - a name as people have them
    points += [Metric("loss", 9.25, START_MS + 99_000, 3)]  # a step that was logged again
    params = [Param("opt/lr", "0.1"), Param("note", "über\ttab"), Param("épochs", "20")]
    client.log_batch(run_id, points, params, [RunTag("team", "search\nand more"), RunTag("a/b", "ü")])
    client.set_terminated(run_id, "FINISHED", START_MS + 60_000)
    log_models(client, experiment, run_id)
    for name, status in (("killed", "KILLED"), ("failed", "FAILED"), ("deleted", "FINISHED"), ("params alone", "")):
        other = start(client, experiment, name)
        client.log_param(other, "depth", "3")
        if name != "params alone":
            client.log_metric(other, "loss", 0.25, START_MS, 1)
            client.set_terminated(other, status, START_MS + 60_000)
        if name == "deleted":
            client.delete_run(other)
    gone = client.create_experiment("Отчёты")
    client.log_metric(start(client, gone, "of a deleted experiment"), "loss", 2.0, START_MS, 0)
    client.delete_experiment(gone)
    client.create_registered_model("shop", tags={"team": "ü"}, description="näher")
    for source in (f"runs:/{run_id}/model", "gs://bucket/2", "gs://bucket/3"):
        client.create_model_version("shop", source, run_id=run_id, tags={"k": "v"})
    client.set_registered_model_alias("shop", "champion", "2")
    client.delete_model_version("shop", "3")


def log_models(client: Any, experiment: str, run_id: str) -> None:
    """What MLflow 3 logs for a model, on a data set."""
    if not IS_3:
        return
    model = client.create_logged_model(experiment, name="tower", source_run_id=run_id)
    run = start(client, experiment, "of a model")
    # Each at a time of its own: `mlflow migrate-filestore` fails at two points of a model at one step and time.
    for at, (step, dataset) in enumerate(((0, "train"), (0, "holdout"), (1, "train"), (1, "holdout"))):
        of = {"dataset_name": dataset, "dataset_digest": "d1", "model_id": model.model_id}
        client.log_metric(run, "rmse", step + at / 8, START_MS + at, step, **of)
    client.set_terminated(run, "FINISHED", START_MS + 60_000)


def log_more(client: Any) -> None:
    """Late points, a changed tag, a run that ends, another one that is deleted, a new one."""
    experiment = client.get_experiment_by_name("two tower").experiment_id
    runs = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
    first = runs["Übung 训练 🚀"]
    client.log_batch(first, [Metric("loss", 0.01 * step, START_MS + 1_000 * step, step) for step in range(20, 30)])
    client.log_metric(first, "eval/rmse", 7.5, START_MS + 5_000, 0)
    client.set_tag(first, "team", "another")
    client.set_terminated(runs["params alone"], "FINISHED", START_MS + 61_000)
    client.delete_run(runs["killed"])
    new = start(client, experiment, "new")
    client.log_batch(new, [Metric("loss", step / 3, START_MS + step, step) for step in range(5)])
    client.set_terminated(new, "FINISHED", START_MS + 60_000)


def start(client: Any, experiment: str, name: str) -> str:
    run = client.create_run(experiment, start_time=START_MS, tags={"mlflow.runName": name})
    return str(run.info.run_id)


def read(client: Any) -> dict[str, Any]:
    """All that the client says of all runs, by their ids."""
    found: dict[str, Any] = {}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            info = run.info
            found[info.run_id] = {
                "info": [
                    *(info.run_name, info.experiment_id, experiment.name, info.status, info.lifecycle_stage),
                    *(experiment.lifecycle_stage, info.start_time, info.end_time, info.artifact_uri),
                ],
                "params": run.data.params,
                "tags": run.data.tags,
                "metrics": {
                    key: [
                        [point.step, point.timestamp, point.value]
                        for point in client.get_metric_history(info.run_id, key)
                    ]
                    for key in run.data.metrics
                },
            }
    return found


def read_points(client: Any, run_id: str, key: str) -> list[list[float]]:
    return [[point.step, point.timestamp, point.value] for point in client.get_metric_history(run_id, key)]


if __name__ == "__main__":
    client = MlflowClient(sys.argv[1], sys.argv[1])
    {"first": log_first, "more": log_more}[sys.argv[2]](client)
    print(json.dumps(read(client)))
