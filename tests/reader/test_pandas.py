"""The reader in an environment of its own, as a notebook has it: `make test-reader` builds it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reader.conftest import Runs
from tests.root import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs_reader]

NOTEBOOK = ROOT / "docs" / "notebooks" / "compare-runs.ipynb"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120).execute()
print(nbformat.writes(notebook))
"""
TABLES = """
import sys
from switchyard.reader import compare, read_history, read_runs, read_series

first, second, source = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
assert "matplotlib" not in sys.modules and "prefect" not in sys.modules and "google.cloud" not in sys.modules
history = read_history(first, source=source)
assert list(history["epoch"]) == [0, 5, 10], history
assert history["val_loss"].isna().tolist() == [False, True, False], history
series = read_series(first, source=source)
assert series.attrs == {"complete": True}
assert len(series[series["name"] == "loss"]) == 11
runs = read_runs("best.loss > 0", order_by="params.epochs asc", source=source)
assert runs["id"].tolist() == [second, first]
assert str(runs["created_at"].dtype).endswith("UTC]"), runs.dtypes
found = compare([first, second, 404, first], source=source)
assert found.missing == [404]
assert found.params.loc["optimizer"].tolist() == ["adagrad", "adam"], found.params
assert found.values.loc["best.loss", "best"].tolist() == [first], found.values
assert sorted(found.curves["quick_test_id"].unique()) == [first, second]
assert found.curves.query("name == 'batch_loss'")["step"].tolist() == [0, 100, 2**60]
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has pandas and no more than the extra `reader` asks for."""
    found = ROOT / ".switchyard" / "reader" / "bin" / "python"
    if not found.exists():
        pytest.skip(f"no environment of the extra `reader` at {found}: make test-reader builds it")
    return found


def run(python: Path, program: str, *arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [python, "-c", program, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tables_are_pandas(python: Path, runs: Runs, source: str) -> None:
    """Every function, from a database as through the API, with what the extra installs and nothing else."""
    run(python, TABLES, str(runs.first), str(runs.second), source)


def test_the_notebook_runs(python: Path, runs: Runs) -> None:
    """Every cell of it, on the database that the environment names."""
    done = json.loads(run(python, EXECUTE, str(NOTEBOOK), RESULTS_URL=runs.database))
    cells = [cell for cell in done["cells"] if cell["cell_type"] == "code"]
    assert cells
    for cell in cells:
        (output,) = cell["outputs"]
        assert output["output_type"] == "execute_result", output
    assert "the first" in str(cells[0]["outputs"])


def test_without_pandas_the_extra_is_named(runs: Runs) -> None:
    """This environment has Arrow alone."""
    program = f"from switchyard.reader import read_history; read_history({runs.first}, source={runs.database!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "this needs pandas: pip install '<checkout>[reader]'" in done.stderr
