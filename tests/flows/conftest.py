"""Fixtures of the flows' tests: a results database and launcher of each test's own."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import switchyard.clients.connect
from switchyard.clients.connect import Outside, connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import Settings
from switchyard.core.ports import Launcher
from tests.clients.results.fixtures import all_places, places
from tests.clients.results.places import Place, Places
from tests.flows.mlflow_world import Impatient
from tests.mariadb import mariadb
from tests.postgres import postgres

__all__ = ["all_places", "mariadb", "places", "postgres"]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """A migrated results database, an artifacts folder and the local launcher, all below the test's own folder.

    What a failed test left training is asked to end: it would slow all that come after.
    """
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    migrate(connect().settings)
    yield connect()
    launcher = LocalLauncher(str(tmp_path / "state"))
    for job in launcher.list({}, datetime(2000, 1, 1, tzinfo=UTC)):
        if not job.state.ended:
            launcher.cancel(job.job_name)


@pytest.fixture
def scripted(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Outside:
    """The same, with `scripted_trainer` in the real one's place: it fails in every way, and in a tenth of the time."""
    launcher = LocalLauncher(
        outside.settings.state_dir, command=(sys.executable, "-m", "tests.flows.scripted_trainer"), kill_after_s=5.0
    )

    def wire(settings: Settings) -> Launcher:
        return launcher

    # The wiring has no setting for the trainer's command: a setting could change a result unseen.
    monkeypatch.setattr(switchyard.clients.connect, "_launcher", wire)
    return connect()


@pytest.fixture(params=["sqlite with a table", "postgres with a jsonb table"])
def application(
    request: pytest.FixtureRequest, outside: Outside, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """A database in which an application has its own table of runs; `connect` finds it from then on."""
    (tmp_path / "application").mkdir()
    place = places.make(request.param, tmp_path / "application")
    monkeypatch.setenv("RESULTS_URL", place.url)
    monkeypatch.setenv("RESULTS_TABLE", place.table)
    return place


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLflow server is waited for without waiting; how long it is, tests/clients/ tries."""
    # The wiring has no setting for patience: no one needs one.
    monkeypatch.setattr("switchyard.clients.mlflow.http.Patience", Impatient)
