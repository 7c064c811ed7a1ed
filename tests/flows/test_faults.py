"""What is killed, locked or away loses nothing and doubles nothing."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL

import switchyard.clients.connect
from flows.ingest import ingest
from flows.reconcile import reconcile
from flows.train import train
from switchyard.clients.connect import Outside, connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.results.migrate import migrate
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus
from tests.flows.polling import wait_for
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]

pytestmark = pytest.mark.usefixtures("prefect_server")

TRAIN: dict[str, Any] = {"request_key": "once", "epochs": 6, "poll_interval_s": 0.05}
TRAIN_KILLS = 11
"""One more than train has effects: how often it records the job's state depends on when it looks."""
INGEST_EFFECTS = 2
RECONCILE_EFFECTS = [
    "write_ledger", "record_job", "publish", "note_completed_event", "claim_ended_event", "write_ledger",
]  # fmt: skip


def wire(monkeypatch: pytest.MonkeyPatch, state: Path) -> Outside:
    """Makes `connect` reach the scripted trainer and the database of `state`."""
    monkeypatch.setenv("STATE_DIR", str(state))
    launcher = LocalLauncher(str(state), command=(sys.executable, "-m", "tests.flows.scripted_trainer"))
    # The wiring has no setting for the trainer's command: a setting could change a result unseen.
    monkeypatch.setattr(switchyard.clients.connect, "_launcher", lambda settings: launcher)
    return connect()


def kill_flows(folder: Path, flow: str, last: int) -> None:
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    subprocess.run(
        [sys.executable, "-m", "tests.flows.killed_flows", str(folder), flow, "1", str(last)],
        env=environment,
        check=True,
        timeout=240,
    )


def make_states(folder: Path, flow: str, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(1, last + 1):
        state = folder / f"{flow}-{n}" / "state"
        state.mkdir(parents=True)
        monkeypatch.setenv("STATE_DIR", str(state))
        migrate(connect().settings)


def read_published(outside: Outside) -> dict[str, Any]:
    """The one run's history, but for what a clock wrote in it."""
    stored = outside.histories.read_history(1).history_json
    assert stored is not None
    history = msgspec.json.decode(stored)
    del history["cached_at"]
    return dict(history)


def list_jobs(outside: Outside) -> list[Path]:
    return list((Path(outside.settings.state_dir) / "jobs").iterdir())


def wait_for_success(outside: Outside) -> None:
    job = outside.jobs.read_job(1)
    assert job is not None
    wait_for(lambda: outside.launcher.report([job.job_name])[job.job_name].state is JobState.SUCCEEDED)


@pytest.fixture(scope="module")
def uninterrupted(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The history of a run that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        state = tmp_path_factory.mktemp("plain") / "state"
        patch.setenv("STATE_DIR", str(state))
        migrate(connect().settings)
        outside = wire(patch, state)
        train(**TRAIN)
        return read_published(outside)


@pytest.fixture(scope="module")
def killed(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flows that died before each of their effects: the state each left behind."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        make_states(folder, "train", TRAIN_KILLS, patch)
        kill_flows(folder, "train", TRAIN_KILLS)
    return folder


def test_the_kills_cover_every_effect_of_train(killed: Path) -> None:
    """Each flow died before its n-th effect, until there were no more to die before."""
    effects = [json.loads((killed / f"train-{n}" / "effects.json").read_text()) for n in range(1, TRAIN_KILLS + 1)]
    assert effects[0] == ["create_run"]
    whole = effects[-1]
    assert len(whole) < TRAIN_KILLS
    assert whole[:4] == ["create_run", "claim_job", "submit", "record_job"]
    assert whole[-3:] == ["publish", "note_completed_event", "claim_ended_event"]


@pytest.mark.parametrize(("n", "reconciled"), [(n, bool(n % 2)) for n in range(1, TRAIN_KILLS)])
def test_killed_before_any_effect_train_is_taken_up(
    killed: Path, uninterrupted: dict[str, Any], n: int, reconciled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run again with its request key, whether reconcile came first or not: one run, one job, the same history."""
    outside = wire(monkeypatch, killed / f"train-{n}" / "state")
    if reconciled:
        reconcile()
    train(**TRAIN)
    assert len(outside.runs.list_runs(limit=10)) == 1
    assert len(list_jobs(outside)) == 1
    assert outside.runs.read_run(1).status is RunStatus.COMPLETED
    assert read_published(outside) == uninterrupted
    job = outside.jobs.read_job(1)
    assert job is not None
    assert job.completed_event_at is not None


def test_killed_between_its_effects_ingest_is_repeated(
    tmp_path: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest died before recording the job's end, or before publishing: the next one publishes the same."""
    make_states(tmp_path, "ingest", INGEST_EFFECTS, monkeypatch)
    for n in range(1, INGEST_EFFECTS + 1):
        outside = wire(monkeypatch, tmp_path / f"ingest-{n}" / "state")
        train(**TRAIN, wait=False)
        wait_for_success(outside)
    kill_flows(tmp_path, "ingest", INGEST_EFFECTS)
    for n in range(1, INGEST_EFFECTS + 1):
        outside = wire(monkeypatch, tmp_path / f"ingest-{n}" / "state")
        assert outside.histories.read_history(1).history_json is None
        ingest(quick_test_id=1)
        assert read_published(outside) == uninterrupted


def test_killed_between_its_effects_reconcile_backs_off_and_repairs(
    tmp_path: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt is written before any effect: what kills reconcile is not met again every minute.

    The kernel kills it at any of its effects. When its time has come, the run is repaired as if nothing had happened.
    """
    make_states(tmp_path, "reconcile", len(RECONCILE_EFFECTS), monkeypatch)
    for n in range(1, len(RECONCILE_EFFECTS) + 1):
        outside = wire(monkeypatch, tmp_path / f"reconcile-{n}" / "state")
        train(**TRAIN, wait=False)
        wait_for_success(outside)
    kill_flows(tmp_path, "reconcile", len(RECONCILE_EFFECTS))
    for n in range(1, len(RECONCILE_EFFECTS) + 1):
        assert json.loads((tmp_path / f"reconcile-{n}" / "effects.json").read_text()) == RECONCILE_EFFECTS[:n]
        outside = wire(monkeypatch, tmp_path / f"reconcile-{n}" / "state")
        lines = outside.ledger.read_ledger("repair")
        if n > 1:
            [line] = lines
            assert (line.state, line.attempts) == ("failed", 1)
            assert "its process was killed" in line.error
            assert line.next_try_at is not None
            assert reconcile().looked_at == 0
            outside.ledger.write_ledger(msgspec.structs.replace(line, next_try_at=line.updated_at))
        else:
            assert lines == []
        reconcile()
        assert read_published(outside) == uninterrupted
        assert outside.runs.read_run(1).status is RunStatus.COMPLETED


def test_a_database_locked_for_ten_seconds_is_outlasted(scripted: Outside) -> None:
    """Another process holds SQLite's write lock while the flow is about to write: it waits, and succeeds."""
    path = Path(scripted.settings.state_dir) / "results.db"
    with lock_database(path, seconds=10):
        train(**TRAIN)
    assert scripted.runs.read_run(1).status is RunStatus.COMPLETED


@contextmanager
def lock_database(path: Path, *, seconds: float) -> Iterator[None]:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(seconds, connection.execute, ["COMMIT"])
    release.start()
    try:
        yield
    finally:
        release.join()
        connection.close()


def test_a_database_that_goes_away_for_ten_seconds_is_outlasted(
    scripted: Outside, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres is stopped while the training runs, and comes back: the flow's tasks try again, and succeed."""
    monkeypatch.setenv("RESULTS_URL", postgres.url(postgres.make_database()))
    migrate(connect().settings)
    outside = connect()
    postgres.stop()
    back = threading.Timer(10, postgres.start)
    back.start()
    try:
        train(**TRAIN)
    finally:
        back.join()
    assert outside.runs.read_run(1).status is RunStatus.COMPLETED
