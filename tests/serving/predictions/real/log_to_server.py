"""Logs and registers XGBoost models with any MLflow: `python log_to_server.py <url of its server> <seed> ...`."""

import json
import os
import sys
from typing import Any

os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]

import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature


def main(seed: int) -> dict[str, Any]:
    """The run's id, rows, and XGBoost's answers to them. The model is `model` of the run, and the next of `churn`."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(draw.normal(size=(200, 3)), columns=["age", "height", "weight"])
    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(table, (table.age + table.height > 0).astype(int))
    asked = pd.DataFrame(np.random.default_rng(1).normal(size=(10, 3)), columns=table.columns)
    with mlflow.start_run() as run:
        mlflow.xgboost.log_model(
            model, "model", signature=infer_signature(table, model.predict(table)), registered_model_name="churn"
        )
    return {
        "version": mlflow.__version__,
        "run": run.info.run_id,
        "rows": json.loads(asked.to_json(orient="records")),
        "answers": model.predict_proba(asked)[:, 1].tolist(),
    }


if __name__ == "__main__":
    print(json.dumps([main(int(seed)) for seed in sys.argv[2:]]))
