"""Makes two whole models of a library, a small one and one of `<bytes>`, and prints what the library answers.

`python make_big.py <library> <folder> <bytes>`
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = 16
WIDTH = 64


def make_xgboost(folder: Path, size_bytes: int) -> Any:
    """What makes it big are notes: XGBoost keeps them in the model, and reads them whole."""
    import xgboost

    x = np.random.default_rng(size_bytes % 97).normal(size=(200, COLUMNS))
    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(x, x[:, 0]), num_boost_round=3)
    booster.set_attr(notes="n" * size_bytes)
    booster.save_model(folder / "model.ubj")
    return booster.predict(xgboost.DMatrix(np.zeros((1, COLUMNS)))).tolist()


def make_sklearn(folder: Path, size_bytes: int) -> Any:
    """Nearest neighbours keep all rows of their training."""
    import skops.io
    from sklearn.neighbors import KNeighborsRegressor

    x = np.random.default_rng(1).random(size=(size_bytes // 8 // COLUMNS + 9, COLUMNS))
    model = KNeighborsRegressor(algorithm="brute").fit(x, x[:, 0])
    skops.io.dump(model, folder / "model.skops")
    return model.predict(np.zeros((1, COLUMNS))).tolist()


def make_keras(folder: Path, size_bytes: int) -> Any:
    """A table of numbers for words, as GloVe's."""
    model = _make_table(size_bytes)
    model.save(folder / "model.keras")
    return model.predict(np.zeros((1, 1)), verbose=0).tolist()


def make_tensorflow(folder: Path, size_bytes: int) -> Any:
    """The same, exported."""
    model = _make_table(size_bytes)
    model.export(folder, verbose=False)
    return model.predict(np.zeros((1, 1)), verbose=0).tolist()


def _make_table(size_bytes: int) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(size_bytes % 97)
    words = layers.Embedding(size_bytes // 4 // WIDTH + 9, WIDTH)
    return keras.Sequential([keras.Input((1,)), words, layers.Flatten(), layers.Dense(1)])


def main(library: str, folder: Path, size_bytes: int) -> dict[str, Any]:
    """Writes `<folder>/<small or big>/model/`; the row, and the answers by name."""
    answers = {}
    for name, size in (("small", 1_000), ("big", size_bytes)):
        place = folder / name / "model"
        place.mkdir(parents=True)
        answers[name] = MAKE[library](place, size)
    return {"row": [0.0] * (1 if library in ("keras", "tensorflow") else COLUMNS), "answers": answers}


MAKE = {"xgboost": make_xgboost, "sklearn": make_sklearn, "keras": make_keras, "tensorflow": make_tensorflow}

if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
