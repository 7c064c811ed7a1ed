"""An XGBoost model asked through its loader's process, beside the library called in its environment; one thread."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from serving.predictions.loader_process import LoaderProcess, RowLoader, to_environment
from switchyard.clients.objects.open import open_objects
from switchyard.services.registering import read_manifest
from tests.root import ROOT

PYTHON: Final = ROOT / ".switchyard" / "models-xgboost" / "bin" / "python"
SIZES: Final = (1, 32, 256)
ROUNDS: Final = 5
TIMES: Final = 50
COLUMNS: Final = 20

_LIBRARY: Final = """
import json, sys, time
import numpy as np, xgboost
path, sizes, times, columns = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if not sys.argv[5]:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(2000, columns))
    data = xgboost.DMatrix(x, x[:, 0] * x[:, 1])
    xgboost.train({"max_depth": 6, "nthread": 1}, data, num_boost_round=100).save_model(path)
    sys.exit()
booster = xgboost.Booster({"nthread": 1})
booster.load_model(path)
took = {}
for size in sizes:
    rows = [[0.5] * columns] * size
    began = time.perf_counter()
    for _ in range(times):
        booster.predict(xgboost.DMatrix(np.array(rows, np.float32))).tolist()
    took[size] = (time.perf_counter() - began) / times
print(json.dumps(took))
"""


def main() -> dict[str, float | str]:
    """Milliseconds of the library, and how many times as long the process takes; by rows of a request."""
    if not PYTHON.exists():
        print(f"left out: no environment at {PYTHON}; make test-models builds it")
        return {}
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, "model", "model.ubj")
        path.parent.mkdir()
        _run_library(path, measures="")
        uri = Path(made).as_uri()
        model = RowLoader(python=str(PYTHON))(Path(made), read_manifest(open_objects(uri), uri, "here"), "here")
        rounds = [(_run_library(path, measures="yes"), _ask(model)) for _ in range(ROUNDS)]
        model.close()
    figures: dict[str, float | str] = {}
    print("| rows | library, ms | through the process, of the library |\n|---|---|---|")
    for size in SIZES:
        library = median(alone[str(size)] for alone, _ in rounds)
        ratio = median(asked[size] / alone[str(size)] for alone, asked in rounds)
        print(f"| {size} | {1000 * library:.2f} | {ratio:.1f} times |")
        figures[f"rows_{size}_of_library"] = round(ratio, 2)
    return figures


def _run_library(path: Path, *, measures: str) -> Any:
    arguments = [str(path), json.dumps(SIZES), str(TIMES), str(COLUMNS), measures]
    done = subprocess.run(
        [PYTHON, "-c", _LIBRARY, *arguments], env=to_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout) if measures else None


def _ask(model: LoaderProcess) -> dict[int, float]:
    took = {}
    for size in SIZES:
        rows = [[0.5] * COLUMNS] * size
        model.answer(rows)
        began = time.perf_counter()
        for _ in range(TIMES):
            model.answer(rows)
        took[size] = (time.perf_counter() - began) / TIMES
    return took
