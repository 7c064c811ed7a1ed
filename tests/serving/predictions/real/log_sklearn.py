"""Saves scikit-learn models by MLflow and prints what it answers itself: `python log_sklearn.py <folder>`."""

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def main(folder: Path) -> dict[str, Any]:
    """Writes `<folder>/<name>/model/`: by skops where this MLflow has it, one that answers probabilities, a pickle."""
    draw = np.random.default_rng(1)
    table = pd.DataFrame(draw.normal(size=(200, 2)), columns=["age", "height"])
    table["orders"] = (table.age * 3).astype(int)
    table["town"] = draw.choice(["Bern", "Rome", "Oslo"], size=200)
    columns = make_column_transformer((StandardScaler(), ["age", "orders"]), (OneHotEncoder(), ["town"]))
    model = make_pipeline(columns, LogisticRegression()).fit(table, np.where(table.age > 0, "stays", "leaves"))
    signature = infer_signature(table, model.predict(table))
    saved = {"pickle": {"serialization_format": "cloudpickle"}}
    if not mlflow.__version__.startswith("2."):
        chances = {"serialization_format": "skops", "pyfunc_predict_fn": "predict_proba"}
        saved |= {"skops": {"serialization_format": "skops"}, "chances": chances}
    answers = {}
    for name, options in saved.items():
        mlflow.sklearn.save_model(model, str(folder / name / "model"), signature=signature, **options)
        answers[name] = np.asarray(mlflow.pyfunc.load_model(str(folder / name / "model")).predict(table[:10])).tolist()
    return {
        "version": mlflow.__version__,
        "rows": table[:10].to_dict(orient="records"),
        "split": table[:10].to_dict(orient="split"),
        "answers": answers,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
