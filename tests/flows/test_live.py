"""Histories of runs that train, read over HTTP while they grow: real flows, real launcher, real database."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prefect.settings import PREFECT_API_URL
from starlette.testclient import TestClient

from flows.answers.run import RunFailed
from flows.reconcile import ReconcileResult, reconcile
from flows.train import train
from serving.app import create_app
from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.histories import SqlHistories
from switchyard.clients.results.ledger import SqlLedger
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.series import insert_series_and_values
from switchyard.core.history.publication import Publication, PublishResult
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.live import Looked
from switchyard.core.runs.rows import Job, RunStatus
from switchyard.services import live as living
from tests.clients.results.places import Place
from tests.flows.polling import wait_for
from tests.postgres import Postgres
from tests.root import ROOT

pytestmark = pytest.mark.usefixtures("prefect_server")

OF_ONE_RUN = ("cached_at",)
"""What differs between two runs of one training."""


class Training(threading.Thread):
    """A flow that trains and waits, in a thread; `script` tells the trainer how many epochs it has trained."""

    def __init__(self, folder: Path, **parameters: Any) -> None:
        super().__init__()
        self.script = folder / "script"
        self.script.write_text("")
        self.parameters = {"name": f"told:{self.script}", "epochs": 6, "interval": 1, **parameters}
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            train(**{"poll_interval_s": 0.05} | self.parameters)
        except RunFailed as err:
            self.error = err

    def tell(self, said: object) -> None:
        """Whole, or the trainer might read half of it."""
        part = self.script.with_suffix(".part")
        part.write_text(str(said))
        part.rename(self.script)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish may follow the other at once: how long they wait, tests/core/runs/test_live.py tries."""
    monkeypatch.setattr("switchyard.core.runs.live.PAUSE_S", 0.1)
    monkeypatch.setattr("switchyard.core.runs.live.LOOK_S", 0.05)


@pytest.fixture
def client(scripted: Outside) -> Iterator[TestClient]:
    """Serving, over the same database."""
    with TestClient(create_app(scripted)) as made:
        yield made


def read(client: TestClient, quick_test_id: int = 1) -> dict[str, Any]:
    answer = client.get(f"/api/quick-tests/{quick_test_id}/training-history/")
    return answer.json() if answer.is_success else {}


def wait_for_epochs(client: TestClient, epochs: int) -> None:
    wait_for(lambda: (read(client).get("progress") or {}).get("epochs_done") == epochs)


def without_times(history: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in history.items() if name not in OF_ONE_RUN}


def reconcile_now() -> ReconcileResult:
    result = reconcile()
    assert isinstance(result, ReconcileResult)
    return result


@pytest.mark.usefixtures("quick")
def test_epochs_appear_while_the_run_trains_and_its_end_is_as_if_nobody_had_watched(
    scripted: Outside, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partial and never backwards; at the end the same as of a run whose history was published once."""
    training = Training(tmp_path)
    for epochs in (1, 2, 5):
        training.tell(epochs)
        wait_for_epochs(client, epochs)
        history = read(client)
        assert (history["status"], history["progress"]["epochs_done"]) == ("partial", epochs)
        assert history["progress"]["epochs"] == 6
        assert scripted.runs.read_run(1).status is RunStatus.RUNNING
    training.tell("end")
    training.join()
    watched = read(client)
    assert (watched["status"], watched["progress"], len(watched["epochs"])) == ("completed", None, 6)

    published: list[Publication] = []
    method = SqlHistories.publish

    def note(self: SqlHistories, publication: Publication, **named: Any) -> PublishResult:
        published.append(publication)
        return method(self, publication, **named)

    monkeypatch.setattr(SqlHistories, "publish", note)
    monkeypatch.setenv("LIVE_HISTORY", "no")
    (tmp_path / "second").mkdir()
    unwatched = Training(tmp_path / "second")
    unwatched.tell("end")
    unwatched.join()
    assert len(published) == 1
    assert without_times(read(client, 2)) == without_times(watched)


@pytest.mark.usefixtures("quick")
def test_a_crash_leaves_what_was_trained_marked_as_failed(
    scripted: Outside, client: TestClient, tmp_path: Path
) -> None:
    """Nothing more comes: the history is partial, without progress, and the row says why."""
    training = Training(tmp_path)
    training.tell(3)
    wait_for_epochs(client, 3)
    training.tell("exit")
    training.join()
    assert isinstance(training.error, RunFailed)
    row, history = scripted.runs.read_run(1), read(client)
    assert (row.status, history["status"], history["progress"]) == (RunStatus.FAILED, "partial", None)
    assert history["epochs"] == [0, 1, 2]
    assert "exit status 1" in row.error


def test_reconcile_goes_on_where_a_waiting_flow_was_killed(
    scripted: Outside, client: TestClient, tmp_path: Path
) -> None:
    """SIGKILL after a live publish: the job trains on, and reconcile publishes it, to its end."""
    script = tmp_path / "script"
    script.write_text("2")
    command = [sys.executable, "-m", "tests.flows.waiting_process", "once", str(script), "6"]
    variables = {"STATE_DIR": scripted.settings.state_dir, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    waiting = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables)
    try:
        wait_for_epochs(client, 2)
    finally:
        waiting.send_signal(signal.SIGKILL)
        waiting.wait()
    before = read(client)
    assert (before["status"], before["progress"]["epochs_done"]) == ("partial", 2)
    age_lines(scripted, datetime.now(UTC))  # of this moment, however long the flow took to die
    assert reconcile_now().live == []  # as far as reconcile knows, a flow looks after it
    age_lines(scripted, datetime.now(UTC) - timedelta(minutes=1))
    uri = f"{scripted.runs.read_run(1).gcs_artifacts_path}/training_metrics.json"
    generation = scripted.objects(uri).stat(uri).generation
    script.write_text("4")
    wait_for(lambda: scripted.objects(uri).stat(uri).generation != generation)
    assert reconcile_now().live == [1]
    assert read(client)["progress"]["epochs_done"] == 4
    assert scripted.runs.read_run(1).status is RunStatus.RUNNING
    script.write_text("end")
    wait_for(lambda: 1 in reconcile_now().settled)
    after = read(client)
    assert (after["status"], after["progress"], after["epochs"]) == ("completed", None, [0, 5])


def age_lines(outside: Outside, at: datetime) -> None:
    """As if someone had looked at the run then."""
    for line in outside.ledger.read_ledger("live"):
        outside.ledger.write_ledger(msgspec.structs.replace(line, updated_at=at))


@pytest.mark.usefixtures("quick")
def test_a_refused_snapshot_fails_neither_the_turn_nor_the_run(
    scripted: Outside, client: TestClient, tmp_path: Path
) -> None:
    """Its line of the ledger says what is wrong with it; the run's end is published."""
    script = tmp_path / "script"
    script.write_text("2")
    train(request_key="once", name=f"told:{script}", epochs=6, wait=False)
    uri = f"{scripted.runs.read_run(1).gcs_artifacts_path}/training_metrics.json"
    wait_for(lambda: Path(uri.removeprefix("file://")).exists())
    Path(uri.removeprefix("file://")).write_text("not json")
    wait_for(lambda: reconcile_now().live_failed)
    (line,) = scripted.ledger.read_ledger("live")
    assert (line.state, line.attempts) == ("failed", 1)
    assert "training_metrics.json of quick test 1" in line.error
    assert scripted.runs.read_run(1).status is RunStatus.RUNNING
    script.write_text("end")
    wait_for(lambda: 1 in reconcile_now().settled)
    assert read(client)["status"] == "completed"


@pytest.mark.usefixtures("quick")
def test_a_database_that_is_lost_in_the_middle_of_a_live_publish_costs_no_epoch(
    scripted: Outside, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real Postgres, stopped in the transaction, when the history was written and not the rest: nothing of it stays.

    The run trains on meanwhile; once the server is back that is published, and its end, too.
    """
    monkeypatch.setenv("RESULTS_URL", postgres.url(postgres.make_database()))
    migrate(connect().settings)
    outside = connect()
    may_stop, lost = threading.Event(), threading.Event()

    def stop(*arguments: Any) -> None:
        # The server goes away at this very statement, and not by a clock.
        if may_stop.is_set() and not lost.is_set():
            postgres.stop()
            lost.set()
        insert_series_and_values(*arguments)

    monkeypatch.setattr("switchyard.clients.results.publish.insert_series_and_values", stop)
    with TestClient(create_app(outside)) as client:
        training = Training(tmp_path)
        training.tell(2)
        wait_for_epochs(client, 2)
        uri = f"{outside.runs.read_run(1).gcs_artifacts_path}/training_metrics.json"
        objects = outside.objects(uri)
        may_stop.set()
        training.tell(4)
        try:
            wait_for(lost.is_set)
            generation = objects.stat(uri).generation
            training.tell(5)
            wait_for(lambda: objects.stat(uri).generation != generation)
        finally:
            postgres.start()
        done = read(client)["progress"]["epochs_done"]
        assert done in (2, 5)  # what was broken off is not there
        wait_for_epochs(client, 5)
        series = client.get("/api/quick-tests/1/series/").json()
        assert series["epochs"] == [0, 1, 2, 3, 4]
        assert outside.runs.read_run(1).status is RunStatus.RUNNING
        training.tell("end")
        training.join()
        history = read(client)
    assert (training.error, history["status"], history["progress"]) == (None, "completed", None)
    assert history["epochs"] == [0, 1, 2, 3, 4, 5]
    assert outside.runs.read_run(1).status is RunStatus.COMPLETED


@pytest.mark.usefixtures("quick", "scripted")
@pytest.mark.parametrize("is_on", [False, True])
def test_an_applications_table_has_live_history_only_where_it_asks_for_it(
    application: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_on: bool
) -> None:
    """It takes any stored history as final: off by default, and the row has none until the end.

    With LIVE_HISTORY=yes it grows, and the last one replaces it.
    """
    if is_on:
        monkeypatch.setenv("LIVE_HISTORY", "yes")
    row = application.add_run()
    looks: list[int] = []
    method = living.publish_snapshot

    def note(outside: Outside, job: Job, uri: str, *, seen: int) -> Looked:
        looks.append(seen)
        return method(outside, job, uri, seen=seen)

    monkeypatch.setattr(living, "publish_snapshot", note)
    with TestClient(create_app(connect())) as client:
        training = Training(tmp_path, quick_test_id=row)
        uri = f"{connect().settings.artifacts_uri}/quick_tests/{row}/training_metrics.json"
        training.tell(3)
        wait_for(lambda: Path(uri.removeprefix("file://")).exists())
        if is_on:
            wait_for_epochs(client, 3)
            assert read(client)["status"] == "partial"
        else:
            reconcile_now()  # the other one that publishes while a run trains
            assert read(client) == {"available": False}
        training.tell("end")
        training.join()
        history = read(client)
    assert (training.error, history["status"], history["progress"]) == (None, "completed", None)
    assert history["epochs"] == [0, 1, 2, 3, 4, 5]
    assert bool(looks) is is_on


def test_where_nothing_trains_a_turn_asks_nothing_more(scripted: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of runs that were looked at while they trained are not read for runs that have ended."""
    asked: list[str] = []
    method = SqlLedger.read_ledger

    def note(self: SqlLedger, kind: str) -> list[LedgerLine]:
        asked.append(kind)
        return method(self, kind)

    train(epochs=3, poll_interval_s=0.05)
    monkeypatch.setattr(SqlLedger, "read_ledger", note)
    reconcile_now()
    assert asked == ["missing"]


@pytest.mark.slow
def test_a_real_training_is_read_within_fifteen_seconds_of_each_epoch(outside: Outside) -> None:
    """Asked over HTTP every second; what is answered never goes backwards."""
    client = TestClient(create_app(outside))
    shape = {
        "epochs": 80, "synthetic_buyers": 200, "synthetic_products": 100, "synthetic_interactions": 20_000,
        "batch_size": 64, "embedding_dim": 16, "top_k": 10, "interval": 1,
    }  # fmt: skip
    training = threading.Thread(target=lambda: train(request_key="watched", **shape))
    training.start()
    trained: list[tuple[float, int]] = []  # when a number of epochs was first seen in the job's own log
    answered: list[int] = []
    late_s: list[float] = []  # how long an epoch was there to be seen, and not answered
    while training.is_alive():
        time.sleep(1)  # the reader's own pace
        job, now = outside.jobs.find_claim("watched"), time.monotonic()
        report = outside.launcher.report([job.job_name]).get(job.job_name) if job and job.job_name else None
        progress = read(client).get("progress")
        if progress is not None:
            answered.append(progress["epochs_done"])
        elif report is None or report.state.ended:
            continue  # before the job, or its end is published
        if report is not None and report.progress is not None:
            trained.append((now, report.progress.epochs_done))
        unanswered = (at for at, epochs in trained if epochs > (answered or [0])[-1])
        late_s.append(now - next(unanswered, now))
    training.join()
    history = read(client)
    assert (history["status"], history["progress"], history["epochs"][-1]) == ("completed", None, shape["epochs"] - 1)
    assert len(set(answered)) >= 3
    assert answered == sorted(answered)
    assert max(late_s) <= 15, late_s
