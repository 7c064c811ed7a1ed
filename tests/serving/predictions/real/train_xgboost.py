"""Trains XGBoost models and prints what XGBoost itself answers: `python train_xgboost.py <folder> <seed>`."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xgboost


def main(folder: Path, seed: int) -> dict[str, Any]:
    """Writes `<folder>/<name>/model/model.*` for each name; the answers by name, to `rows` (a null is missing)."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(400, 4)).astype(np.float32)
    x[draw.random(size=x.shape) < 0.05] = np.nan
    sums = np.nan_to_num(x).sum(axis=1)
    rows = x[:20]
    answers: dict[str, Any] = {}

    binary = xgboost.XGBClassifier(n_estimators=15, max_depth=3).fit(x, (sums > 0).astype(int))
    answers["binary"] = _save(binary, folder, "binary", "ubj", binary.predict_proba(rows)[:, 1])
    many = xgboost.XGBClassifier(n_estimators=8, max_depth=3).fit(x, np.digitize(sums, [-1, 1]))
    answers["many"] = _save(many, folder, "many", "json", many.predict_proba(rows))
    early = xgboost.XGBRegressor(n_estimators=200, learning_rate=0.7, early_stopping_rounds=3)
    early.fit(x[:200], sums[:200], eval_set=[(x[200:], sums[200:])], verbose=False)
    (folder / "early.pkl").write_bytes(pickle.dumps(early))
    assert early.best_iteration + 1 < early.get_booster().num_boosted_rounds()
    answers["early"] = _save(early, folder, "early", "ubj", early.predict(rows))

    names, types = ["age", "orders", "vip", "height"], ["float", "int", "i", "q"]
    mixed = np.column_stack([x[:, 0], np.round(x[:, 1]), x[:, 2] > 0, x[:, 3]]).astype(np.float32)
    data = xgboost.DMatrix(mixed, sums, feature_names=names, feature_types=types)
    booster = xgboost.train({"max_depth": 2}, data, num_boost_round=5)
    asked = xgboost.DMatrix(mixed[:20], feature_names=names, feature_types=types)
    answers["named"] = _save(booster, folder, "named", "ubj", booster.predict(asked))

    categories = xgboost.DMatrix(np.round(np.abs(mixed)), sums, feature_types=["c"] * 4, enable_categorical=True)
    _save(xgboost.train({"max_depth": 2}, categories, num_boost_round=2), folder, "categories", "ubj", sums[:1])
    named = [
        [age, orders, None if vip is None else bool(vip), height] for age, orders, vip, height in _to_plain(mixed[:20])
    ]
    return {"rows": dict.fromkeys(("binary", "many", "early"), _to_plain(rows)) | {"named": named}, "answers": answers}


def _save(model: Any, folder: Path, name: str, suffix: str, answers: Any) -> Any:
    (folder / name / "model").mkdir(parents=True)
    model.save_model(folder / name / "model" / f"model.{suffix}")
    return answers.tolist()


def _to_plain(rows: Any) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in rows]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
