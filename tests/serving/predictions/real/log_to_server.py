"""Logs and registers models with any MLflow: `python log_to_server.py <url of its server> <library> <seed> ...`."""

import json
import os
import sys
from typing import Any

os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature


def main(library: str, seed: int) -> dict[str, Any]:
    """The run's id, rows, and the library's answers. The model is `model` of the run, and the next of `churn`."""
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(draw.normal(size=(200, 3)), columns=["age", "height", "weight"])
    leaves = (table.age + table.height > 0).astype(int)
    asked = pd.DataFrame(np.random.default_rng(1).normal(size=(10, 3)).round(6), columns=table.columns)
    with mlflow.start_run(run_name=f"ml_{library}") as run:
        answers = LIBRARIES[library](table, leaves, asked)
    return {
        "version": mlflow.__version__,
        "run": run.info.run_id,
        "rows": json.loads(asked.to_json(orient="records")),
        "answers": answers.tolist(),
    }


def log_xgboost(table: Any, leaves: Any, asked: Any) -> Any:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(table, leaves)
    mlflow.xgboost.log_model(
        model, "model", signature=infer_signature(table, model.predict(table)), registered_model_name="churn"
    )
    return model.predict_proba(asked)[:, 1]


def log_sklearn(table: Any, leaves: Any, asked: Any) -> Any:
    """By skops where this MLflow has it; MLflow 2 knows pickles alone. A tree answers alike with any NumPy."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeRegressor

    skops = {"serialization_format": "skops", "skops_trusted_types": ["sklearn.tree._tree.Tree"]}
    options = {"serialization_format": "cloudpickle"} if mlflow.__version__.startswith("2.") else skops
    model = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=5)).fit(table, leaves + table.weight)
    mlflow.sklearn.log_model(
        model,
        "model",
        signature=infer_signature(table, model.predict(table)),
        registered_model_name="churn",
        pip_requirements=[],
        **options,
    )
    return model.predict(asked)


LIBRARIES = {"xgboost": log_xgboost, "sklearn": log_sklearn}

if __name__ == "__main__":
    print(json.dumps([main(sys.argv[2], int(seed)) for seed in sys.argv[3:]]))
