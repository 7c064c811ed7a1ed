"""A model of each flavor asked through its loader's process, beside its library called directly; one thread."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from serving.predictions.loader_process import LoaderProcess, RowLoader, to_environment
from switchyard.clients.objects.open import open_objects
from switchyard.services.registering import read_manifest
from tests.root import ROOT

SIZES: Final = (1, 32, 256)
ROUNDS: Final = 5
TIMES: Final = 50
COLUMNS: Final = 20


@dataclass(frozen=True)
class Flavor:
    """What is measured of a library: programs that know `path`, `columns` and `np`."""

    name: str
    environment: str  # below the state's folder, as `make test-models` builds it; empty: our own
    file: str
    save: str  # trains a model and saves it
    load: str  # reads it, and defines `predict` of a list of rows


_NETWORK: Final = """
import keras
model = keras.Sequential([keras.Input((columns,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(1)])
"""

FLAVORS: Final = (
    Flavor(
        name="xgboost",
        environment="models-xgboost",
        file="model/model.ubj",
        save="""
import xgboost
x = np.random.default_rng(1).normal(size=(2000, columns))
data = xgboost.DMatrix(x, x[:, 0] * x[:, 1])
xgboost.train({"max_depth": 6, "nthread": 1}, data, num_boost_round=100).save_model(path)
""",
        load="""
import xgboost
booster = xgboost.Booster({"nthread": 1})
booster.load_model(path)
def predict(rows):
    return booster.predict(xgboost.DMatrix(np.array(rows, np.float32))).tolist()
""",
    ),
    Flavor(
        name="sklearn",
        environment="models-xgboost",
        file="model/model.skops",
        save="""
import skops.io
from sklearn.ensemble import RandomForestRegressor
x = np.random.default_rng(1).normal(size=(2000, columns))
skops.io.dump(RandomForestRegressor(20, max_depth=6, random_state=1).fit(x, x[:, 0] * x[:, 1]), path)
""",
        load="""
import skops.io
model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
def predict(rows):
    return model.predict(np.array(rows)).tolist()
""",
    ),
    Flavor(
        name="keras",
        environment="",
        file="model/model.keras",
        save=_NETWORK + "model.save(path)\n",
        load="""
import keras
model = keras.saving.load_model(path, compile=False)
def predict(rows):
    return model.predict_on_batch(np.array(rows, np.float32)).tolist()
""",
    ),
    Flavor(
        name="tensorflow",
        environment="",
        file="model/saved_model.pb",
        save=_NETWORK + "import os\nmodel.export(os.path.dirname(path), verbose=False)\n",
        load="""
import os
import tensorflow as tf
call = tf.saved_model.load(os.path.dirname(path)).signatures["serving_default"]
(name,) = call.structured_input_signature[1]
def predict(rows):
    (answers,) = call(**{name: tf.constant(rows, tf.float32)}).values()
    return answers.numpy().tolist()
""",
    ),
)
"""A row for each flavor."""

_BEGIN: Final = """
import json, sys, time
import numpy as np
path, columns = sys.argv[1], int(sys.argv[2])
"""
_MEASURE: Final = """
sizes, times, took = json.loads(sys.argv[3]), int(sys.argv[4]), {}
for size in sizes:
    rows = [[0.5] * columns] * size
    predict(rows)
    began = time.perf_counter()
    for _ in range(times):
        predict(rows)
    took[size] = (time.perf_counter() - began) / times
print(json.dumps(took))
"""


def main() -> dict[str, float | str]:
    """Milliseconds of the library, and how many times as long the process takes; by flavor and rows of a request."""
    figures: dict[str, float | str] = {}
    print("| flavor | rows | library, ms | through the process, of the library |\n|---|---|---|---|")
    for flavor in FLAVORS:
        python = Path(sys.executable)
        if flavor.environment:
            python = ROOT / ".switchyard" / flavor.environment / "bin" / "python"
        if not python.exists():
            print(f"{flavor.name} is left out: no environment at {python}; make test-models builds it")
            continue
        rounds = _measure(flavor, python)
        for size in SIZES:
            library = median(alone[str(size)] for alone, _ in rounds)
            ratio = median(asked[size] / alone[str(size)] for alone, asked in rounds)
            print(f"| {flavor.name} | {size} | {1000 * library:.2f} | {ratio:.1f} times |")
            figures[f"{flavor.name}_rows_{size}_of_library"] = round(ratio, 2)
    return figures


def _measure(flavor: Flavor, python: Path) -> list[tuple[dict[str, float], dict[int, float]]]:
    """Seconds of the library and of the process, in turns."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, flavor.file)
        path.parent.mkdir()
        _run_library(python, _BEGIN + flavor.save, path)
        uri = Path(made).as_uri()
        model = RowLoader(python=str(python))(Path(made), read_manifest(open_objects(uri), uri, "here"), "here")
        program = _BEGIN + flavor.load + _MEASURE
        rounds = [(json.loads(_run_library(python, program, path)), _ask(model)) for _ in range(ROUNDS)]
        model.close()
    return rounds


def _run_library(python: Path, program: str, path: Path) -> str:
    arguments = [str(path), str(COLUMNS), json.dumps(SIZES), str(TIMES)]
    done = subprocess.run(
        [python, "-c", program, *arguments], env=to_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def _ask(model: LoaderProcess) -> dict[int, float]:
    took = {}
    for size in SIZES:
        values = [0.5] * COLUMNS
        # Of one input of many values the row is one list.
        rows: list[list[Any]] = [values if len(model.signature.columns) == COLUMNS else [values]] * size
        model.answer(rows)
        began = time.perf_counter()
        for _ in range(TIMES):
            model.answer(rows)
        took[size] = (time.perf_counter() - began) / TIMES
    return took
