"""Logs and registers Keras models: `python log_keras_to_server.py <url> <site-packages of an MLflow> <seed> ...`.

With `<folder>` in the place of the url it saves each in the layout of MLflow 2.9.2, which runs beside no Keras 3
itself.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

ROWS = [[0.5, -1.0, 2.0], [1.5, 0.25, -3.0]]


def main(where: str, seed: int) -> dict[str, Any]:
    """The run's id if there is one, rows, and Keras' answers to them."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(4, activation="tanh"), layers.Dense(2)])
    model.compile("adam", "mse")
    draw = np.random.default_rng(seed).normal(size=(64, 5)).astype(np.float32)
    model.fit(draw[:, :3], draw[:, 3:], epochs=2, verbose=0)
    run = log(model) if where.startswith("http") else save(model, Path(where) / str(seed))
    return {"run": run, "rows": ROWS, "answers": model.predict(np.array(ROWS, np.float32), verbose=0).tolist()}


def log(model: Any) -> str:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    signature = ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 3))]))
    with mlflow.start_run(run_name="ml_keras") as run:
        mlflow.keras.log_model(model, "model", signature=signature, registered_model_name="churn", pip_requirements=[])
    return str(run.info.run_id)


def save(model: Any, folder: Path) -> str:
    from tests.serving.predictions.real.train_keras import write_as_2_9_2

    write_as_2_9_2(model, folder)
    return ""


if __name__ == "__main__":
    os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]
    sys.path[:] = [*(path for path in sys.path if path != sys.argv[2]), sys.argv[2]]
    print(json.dumps([main(sys.argv[1], int(seed)) for seed in sys.argv[3:]]))
