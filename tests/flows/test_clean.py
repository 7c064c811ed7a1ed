"""`switchyard clean` as people call it: the plan, its digest, what is deleted, and what it exits with."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.clean import clean
from switchyard.clients.connect import Outside
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.errors import StaleWrite
from switchyard.core.runs.rows import RunStatus

OLD = datetime.now(UTC) - timedelta(days=100)


@pytest.fixture
def checkpoint(outside: Outside, prefect_server: None) -> Path:
    """A file that no one needs any more, of a run that has failed long ago."""
    run = AdoptedRun(mlflow_run_id="a" * 32, status=RunStatus.FAILED)
    id_ = outside.runs.adopt_runs([run], now=OLD)["a" * 32]
    folder = Path(outside.settings.state_dir) / "artifacts" / "quick_tests" / str(id_)
    file = folder / "checkpoints" / "attempt-1" / "checkpoint.json"
    file.parent.mkdir(parents=True)
    for one in (file, folder / "training_metrics.json"):
        one.write_text("{}")
        os.utime(one, (OLD.timestamp(), OLD.timestamp()))
    return file


def test_clean_plans_then_deletes_what_the_plans_digest_says(checkpoint: Path) -> None:
    """Nothing is deleted without the digest, nor with another one; a second call with it finds another plan."""
    planned = clean()
    assert planned.cleared is None
    assert [line.name for line in planned.lines if line.delete] == [f"{checkpoint.parents[1].as_uri()}/"]
    assert f"--apply {planned.digest[:16]}" in planned.notes[-1]
    with pytest.raises(StaleWrite, match="Nothing was deleted"):
        clean(apply="0" * 64)
    assert checkpoint.exists()
    done = clean(apply=planned.digest[:16])
    assert done.cleared is not None
    assert (done.cleared[0].deleted, done.notes[-1]) == (1, "deleted: 1 objects, 2 bytes")
    assert not checkpoint.exists()
    assert (checkpoint.parents[2] / "training_metrics.json").exists()
    assert clean().notes[-1] == "nothing is stale"
    with pytest.raises(StaleWrite):
        clean(apply=planned.digest)


def test_a_plan_says_the_flags_that_it_was_made_with(checkpoint: Path) -> None:
    """The command to paste makes the same plan again."""
    planned = clean(models=True, copies=True, older_than_days=30)
    assert f"clean --models --copies --older-than-days 30 --apply {planned.digest[:16]}" in planned.notes[-1]
    assert clean(yes=True, older_than_days=365).cleared == []
    assert checkpoint.exists()
