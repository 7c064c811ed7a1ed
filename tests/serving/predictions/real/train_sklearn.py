"""Trains scikit-learn models and prints what scikit-learn itself answers: `python train_sklearn.py <folder> <seed>`."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn.base
import skops.io
from scipy.stats import uniform
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler


def main(folder: Path, seed: int) -> dict[str, Any]:
    """Writes `<folder>/<name>/model/model.skops` for each name, and pickles; the rows and answers by name."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(200, 3))
    sums = x.sum(axis=1)
    gaps = np.where(draw.random(size=x.shape) < 0.1, np.nan, x)
    table = pd.DataFrame(x, columns=["age", "height", "weight"])
    table["orders"] = (table.age * 3).astype(int)
    table["town"] = draw.choice(["Bern", "Rome", "Oslo"], size=200)
    table["coat"] = pd.Series(draw.choice(["red", "blue"], size=200), dtype=object).where(table.age > -1, np.nan)
    texts = [" ".join(draw.choice(["good", "bad", "shoe", "late", "fine"], size=4)) for _ in range(200)]
    are_good = ["good" in text for text in texts]
    encode = OneHotEncoder(handle_unknown="error")
    coats = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    mixed = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "orders"]), ("towns", encode, ["town"]), ("coats", coats, ["coat"])]
    )
    towns = np.where(sums > 0, "stays", "leaves")
    models = {
        "binary": (LogisticRegression().fit(x, sums > 0), x),
        "forest": (RandomForestClassifier(8, n_jobs=-1, random_state=1).fit(x, np.digitize(sums, [-1, 1])), x),
        "gaps": (HistGradientBoostingRegressor(max_iter=10).fit(gaps, sums), gaps),
        "mixed": (make_pipeline(mixed, LogisticRegression()).fit(table, towns), table),
        "texts": (
            make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, are_good),
            texts,
        ),
    }
    said: dict[str, Any] = {"rows": {}, "answers": {}}
    for name, (model, data) in models.items():
        asked = data[:20]
        skops.io.dump(model, _make(folder, name) / "model.skops")
        said["answers"][name] = model.predict(asked).tolist()
        said["rows"][name] = _to_rows(asked)
    write_searches(folder, x, sums)
    own = make_pipeline(FunctionTransformer(np.loadtxt), LogisticRegression())
    skops.io.dump(own, _make(folder, "untrusted") / "model.skops")
    here, sklearn.base.__version__ = sklearn.base.__version__, "1.2.0"  # what it writes into its state
    skops.io.dump(models["binary"][0], _make(folder, "old") / "model.skops")
    (folder / "old.pkl").write_bytes(pickle.dumps(models["binary"][0]))
    sklearn.base.__version__ = here
    (folder / "mixed.pkl").write_bytes(pickle.dumps(models["mixed"][0]))
    joblib.dump(models["forest"][0], folder / "forest.joblib", compress=3)
    return said


def write_searches(folder: Path, x: Any, sums: Any) -> None:
    """Pickles `<name>.pkl` of searches over parameters, judged and split in every way, and one that draws them."""
    chosen = make_pipeline(StandardScaler(), SelectKBest(f_classif, k=2), LogisticRegression())
    search = GridSearchCV(chosen, {"logisticregression__C": [0.1, 1]}, scoring=["accuracy", "f1"], refit="f1")
    models = {
        "search": search.fit(x, sums > 0),
        "within": make_pipeline(
            StandardScaler(), GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, scoring="roc_auc", cv=KFold(3))
        ).fit(x, sums > 0),
        "drawn": RandomizedSearchCV(Ridge(), {"alpha": uniform(0.1, 1)}, n_iter=2, scoring="r2").fit(x, sums),
    }
    for name, model in models.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))


def _make(folder: Path, name: str) -> Path:
    made = folder / name / "model"
    made.mkdir(parents=True)
    return made


def _to_rows(data: Any) -> list[Any]:
    if isinstance(data, pd.DataFrame):
        return list(json.loads(data.to_json(orient="records", double_precision=15)))
    if isinstance(data, list):
        return data
    return [[None if np.isnan(value) else float(value) for value in row] for row in data]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
