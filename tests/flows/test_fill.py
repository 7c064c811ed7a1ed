"""The flow fill: runs of version 1 get every curve, as one flow run, from the shell too."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.answers.fill import FillFailed, FillResult
from flows.fill import fill
from switchyard.core.history.filling import KIND
from tests.clients.results.places import Place
from tests.clients.results.version1 import FILE, IDS, make_place
from tests.root import ROOT

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Three rows of version 1, of which one has its file; no MLflow is left."""
    place, _ = make_place("sqlite", tmp_path, None)
    shutil.copy(FILE, tmp_path)
    place.sql(
        "UPDATE quick_tests SET gcs_artifacts_path = :path WHERE id = :id", path=tmp_path.as_uri(), id=IDS["file"]
    )
    for name in ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_TRACKING_URI", "RESULTS_TABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("RESULTS_URL", place.url)
    return place


def test_fill_says_what_it_filled_and_what_it_could_not(old: Place) -> None:
    """A second flow run does what is left, and says it again; the artifact has the same lines."""
    result = fill(batch_size=2)
    assert isinstance(result, FillResult)
    assert (result.to_do, result.filled, sorted(result.values_alone)) == (3, 1, [IDS["mlflow"], IDS["mlflow charted"]])
    assert ["values alone", 2] in result.counts
    assert {row["what"] for row in result.table} >= {"filled", "values alone"}
    again = fill()
    assert (again.to_do, again.filled, sorted(again.values_alone)) == (2, 0, sorted(result.values_alone))
    assert len(old.ledger.read_ledger(KIND)) == 3


def test_runs_that_fail_are_listed_and_end_the_flow_as_failed(old: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is away in the middle of a batch: each of its runs has the reason on its line."""

    def give_up(*_: object, **__: object) -> None:
        raise RuntimeError("the store burned down")

    # No input makes a whole batch fail for good, and the task's retries of a `TryAgain` take half a minute.
    monkeypatch.setattr("switchyard.services.fill.fill_runs", give_up)
    with pytest.raises(FillFailed, match=r"3 of 3 runs.*burned down.*Run the same command again to try them"):
        fill()
    assert {line.error for line in old.ledger.read_ledger(KIND)} == {"RuntimeError: the store burned down"}


def test_fill_runs_from_the_shell(old: Place) -> None:
    """`switchyard fill --json` answers one JSON line, exit status 0: what has no source is no failure."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", "fill", "--json", "--limit", "2"],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["filled"] == 1
