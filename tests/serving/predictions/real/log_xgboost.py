"""Saves an XGBoost model by MLflow and prints what XGBoost answers: `python log_xgboost.py <folder>`."""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature


def main(folder: Path) -> dict[str, Any]:
    """Writes `<folder>/<format>/model/` for each of MLflow's formats, and one without a signature."""
    draw = np.random.default_rng(1)
    table = pd.DataFrame(draw.normal(size=(200, 3)), columns=["age", "height", "weight"])
    table["orders"] = (table.age * 3).astype(int)
    table["vip"] = table.height > 0
    model = xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(table, (table.age + table.orders > 0).astype(int))
    asked = table[:10]
    signature = infer_signature(table, model.predict(table))
    for form in ("ubj", "json", "xgb"):
        mlflow.xgboost.save_model(model, str(folder / form / "model"), signature=signature, model_format=form)
    mlflow.xgboost.save_model(model, str(folder / "bare" / "model"), model_format="ubj")
    return {
        "version": mlflow.__version__,
        "rows": json.loads(asked.to_json(orient="records")),
        "split": json.loads(asked.to_json(orient="split")),
        "answers": model.predict_proba(asked)[:, 1].tolist(),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
