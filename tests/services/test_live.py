"""Publishing snapshots while a run trains, by a flow that waits and by reconcile: real files, real databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.engine import Database
from switchyard.clients.results.histories import SqlHistories
from switchyard.clients.settings import Settings
from switchyard.core.errors import TryAgain
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import MAX_FILE_BYTES, MetricsRecord, RunIdentity, Sampling
from switchyard.core.metrics.writing import to_json
from switchyard.core.ports import ANY
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.live import PAUSE_S, LiveState
from switchyard.core.runs.rows import Claim, Job, JobNews, NewRun, RunStatus
from switchyard.services.live import Snapshots, find_uri, publish_unwatched
from tests.clients.results.places import Place
from tests.core.metrics.factories import make_record

NOW = datetime.now(UTC)


@pytest.fixture
def outside(own_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """Each kind of results database of ours, and an artifacts folder of the test's own."""
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("RESULTS_URL", own_place.url)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    found = connect()
    claim(found, "first")
    yield found
    found.close()


def claim(outside: Outside, request_key: str, quick_test_id: int = 0) -> Job:
    """A run whose job is at work."""
    id_ = quick_test_id or outside.runs.create_run(NewRun(request_key=request_key), now=NOW).id
    asked = Claim(
        quick_test_id=id_,
        request_key=request_key,
        artifacts_uri=f"{outside.settings.artifacts_uri}/quick_tests/{id_}",
        parameters={"interval": 1, "epochs": 50},
    )
    job = outside.jobs.claim_job(asked, now=NOW).job
    return outside.jobs.record_job(job.key, JobNews(state=JobState.RUNNING, job_name=f"job-{job.key}"), now=NOW)


def first_job(outside: Outside) -> Job:
    job = outside.jobs.find_claim("first")
    assert job is not None
    return job


def to_record(job: Job, epochs: int, **fields: Any) -> MetricsRecord:
    identity = RunIdentity(quick_test_id=job.quick_test_id, key=job.key, attempt=job.attempt, restart=0)
    return make_record(epochs, **{"status": "partial", "run": identity, "params": {"epochs": 50}, **fields})


def write(outside: Outside, job: Job, epochs: int, **fields: Any) -> None:
    write_bytes(outside, job, to_json(to_record(job, epochs, **fields)))


def write_bytes(outside: Outside, job: Job, data: bytes) -> None:
    uri = find_uri(outside, job)
    outside.objects(uri).write(uri, data, if_generation=ANY)


def read(outside: Outside, job: Job) -> dict[str, Any]:
    stored = outside.histories.read_history(job.quick_test_id).history_json
    return msgspec.json.decode(stored) if stored is not None else {}


class Waiting:
    """A flow that waits for the job of the first run; its clock moves by looking alone."""

    def __init__(self, outside: Outside, job: Job | None = None) -> None:
        self.now_s = 1_000.0
        self.said: list[str] = []
        self.snapshots = Snapshots(
            outside, job or first_job(outside), LiveState(), say=self.said.append, clock=lambda: self.now_s
        )

    def look(self) -> None:
        """The next look, as late as the last one asked for."""
        self.now_s += self.snapshots.look()
        self.now_s += self.snapshots.look()


def test_what_is_trained_so_far_is_published(outside: Outside) -> None:
    """As partial, with how far it is; the row stays running."""
    job, waiting = first_job(outside), Waiting(outside)
    waiting.look()
    assert read(outside, job) == {}
    for epochs in (1, 12):
        write(outside, job, epochs)
        waiting.look()
        history = read(outside, job)
        assert (history["status"], history["epochs"]) == ("partial", list(range(epochs)))
        assert history["progress"] == {"epochs_done": epochs, "epochs": 50, "at": "2026-01-15T10:30:00Z"}
    assert outside.runs.read_run(job.quick_test_id).status is RunStatus.RUNNING
    assert waiting.said == []


def test_a_snapshot_is_read_once_and_a_run_published_every_ten_seconds_at_most(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look in between finds out by the file's generation alone."""
    published: list[float] = []
    waiting, job = Waiting(outside), first_job(outside)
    method = SqlHistories.publish

    def note(self: SqlHistories, *arguments: Any, **named: Any) -> Any:
        published.append(waiting.now_s)
        return method(self, *arguments, **named)

    monkeypatch.setattr(SqlHistories, "publish", note)
    for second in range(60):
        waiting.now_s = 1_000.0 + second
        if second < 40:
            write(outside, job, second + 1)
        waiting.snapshots.look()
    assert published == [1_000, 1_010, 1_020, 1_030, 1_040]
    assert read(outside, job)["epochs"] == list(range(40))


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"not json", "training_metrics.json of quick test"), (b" " * (MAX_FILE_BYTES + 1), "67,108,865")],
    ids=["text", "too large"],
)
def test_a_refused_snapshot_is_told_once_and_the_next_is_published(outside: Outside, data: bytes, said: str) -> None:
    """The wait goes on; what was published stays."""
    job, waiting = first_job(outside), Waiting(outside)
    write(outside, job, 1)
    waiting.look()
    write_bytes(outside, job, data)
    for _ in range(5):
        waiting.look()
    assert len(waiting.said) == 1
    assert said in waiting.said[0]
    assert "The training goes on" in waiting.said[0]
    assert read(outside, job)["epochs"] == [0]
    write(outside, job, 3)
    waiting.look()
    assert read(outside, job)["epochs"] == [0, 1, 2]


def test_a_database_that_is_away_is_told_once_and_tried_again(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the publish, between its reads and its write; nothing is half published."""
    job, waiting = first_job(outside), Waiting(outside)
    write(outside, job, 1)
    waiting.look()
    write(outside, job, 2)

    def away(self: Database) -> Any:
        raise TryAgain("the results database gave no answer")

    with monkeypatch.context() as patch:
        # A server that goes away at this very statement cannot be had for the asking.
        patch.setattr(Database, "writing", away)
        for _ in range(3):
            waiting.look()
    assert read(outside, job)["epochs"] == [0]
    assert len(waiting.said) == 1
    assert "the results database gave no answer" in waiting.said[0]
    waiting.look()
    assert read(outside, job)["epochs"] == [0, 1]
    # It works again: the next failure is told.
    write_bytes(outside, job, b"not json")
    waiting.look()
    assert len(waiting.said) == 2


def test_two_flows_that_wait_for_one_run_publish_the_same(outside: Outside) -> None:
    """Whichever is first; the other finds it published, and nothing goes backwards."""
    job = first_job(outside)
    one, other = Waiting(outside), Waiting(outside)
    for epochs in (1, 2, 3):
        write(outside, job, epochs)
        for waiting in (one, other):
            waiting.look()
            assert read(outside, job)["epochs"] == list(range(epochs))
    assert one.said == other.said == []


@pytest.mark.parametrize("shrinks", [True, False])
def test_an_older_snapshot_changes_nothing(outside: Outside, *, shrinks: bool) -> None:
    """One with fewer epochs, or an earlier attempt's that comes late."""
    job = first_job(outside)
    earlier = job
    if not shrinks:
        outside.jobs.record_job(job.key, JobNews(state=JobState.FAILED), now=NOW)
        job = claim(outside, "second", job.quick_test_id)
        assert job.attempt == 2
    waiting = Waiting(outside, job)
    write(outside, job, 3)
    waiting.look()
    before = read(outside, job)
    write(outside, earlier, 2 if shrinks else 9)
    waiting.look()
    assert read(outside, job) == before
    assert waiting.said == []


def test_other_content_of_the_same_epochs_waits_for_the_next_epoch(outside: Outside) -> None:
    """Final metrics that come before the job's end, say: no contradiction, and nothing to tell."""
    job, waiting = first_job(outside), Waiting(outside)
    write(outside, job, 3)
    waiting.look()
    write(outside, job, 3, status="completed", final_metrics={"test_loss": 0.5})
    waiting.look()
    assert (read(outside, job)["final_metrics"], waiting.said) == ({}, [])
    end = to_publication(
        to_record(job, 3, final_metrics={"test_loss": 0.5}),
        quick_test_id=job.quick_test_id,
        source="file",
        sampling=Sampling(interval=1),
        row_status=RunStatus.CANCELLED,
    )
    outside.histories.publish(end, now=NOW)
    history = read(outside, job)
    assert (history["final_metrics"], history.get("progress")) == ({"test_loss": 0.5}, None)


def test_a_run_that_has_ended_is_left_alone(outside: Outside) -> None:
    """Someone ended its row while its job is at work: what is published of it does not become live again."""
    job, waiting = first_job(outside), Waiting(outside)
    write(outside, job, 2)
    outside.runs.end_run(job.quick_test_id, RunStatus.CANCELLED, error="", now=NOW)
    waiting.look()
    assert read(outside, job) == {}


def test_runs_that_nobody_waits_for_are_published_each_for_itself(outside: Outside) -> None:
    """One whose snapshot is refused has a line of its own that says so, and the others are published."""
    jobs = [first_job(outside), *(claim(outside, f"run-{number}") for number in range(3))]
    for job in jobs[:3]:
        write(outside, job, 2)
    write_bytes(outside, jobs[1], b"not json")
    turn = publish_unwatched(outside, jobs)
    assert (turn.published, list(turn.failed)) == ([jobs[0].quick_test_id, jobs[2].quick_test_id], [2])
    lines = {line.quick_test_id: line for line in outside.ledger.read_ledger("live")}
    assert {id_: line.state for id_, line in lines.items()} == {1: "seen", 2: "failed", 3: "seen", 4: "seen"}
    assert "training_metrics.json of quick test 2" in lines[2].error
    # At once again: all were looked at just now.
    assert publish_unwatched(outside, jobs).left == 4
    age_lines(outside)
    write(outside, jobs[1], 3)
    turn = publish_unwatched(outside, jobs)
    assert (turn.published, turn.failed) == ([jobs[1].quick_test_id], {})


def age_lines(outside: Outside) -> None:
    """As if reconcile's last turn were a minute ago."""
    for line in outside.ledger.read_ledger("live"):
        aged = msgspec.structs.replace(line, updated_at=line.updated_at - timedelta(minutes=1))
        outside.ledger.write_ledger(aged)


def test_a_run_that_a_flow_waits_for_is_left_to_it(outside: Outside) -> None:
    """As long as its last publish is fresh; when that flow was killed, reconcile goes on where it was."""
    job, waiting = first_job(outside), Waiting(outside)
    write(outside, job, 2)
    waiting.look()
    write(outside, job, 3)
    assert publish_unwatched(outside, [job]).published == []
    age_lines(outside)
    assert publish_unwatched(outside, [job]).published == [job.quick_test_id]
    assert read(outside, job)["epochs"] == [0, 1, 2]


def test_lines_of_runs_that_ended_long_ago_are_cleared(outside: Outside) -> None:
    """A turn reads all lines of its kind: they must not pile up with finished runs."""
    old, job = claim(outside, "old"), first_job(outside)
    publish_unwatched(outside, [old])
    for line in outside.ledger.read_ledger("live"):
        outside.ledger.write_ledger(msgspec.structs.replace(line, updated_at=NOW - timedelta(days=2)))
    publish_unwatched(outside, [job])
    assert [line.quick_test_id for line in outside.ledger.read_ledger("live")] == [job.quick_test_id]


def test_a_publish_waits_for_its_pause(outside: Outside) -> None:
    """The pause that a look asks for is what is left of the ten seconds."""
    job, waiting = first_job(outside), Waiting(outside)
    write(outside, job, 1)
    assert waiting.snapshots.look() == pytest.approx(PAUSE_S)
    waiting.now_s += 4
    assert waiting.snapshots.look() == pytest.approx(PAUSE_S - 4)


def test_the_file_is_where_the_row_says(outside: Outside) -> None:
    """Beside the run's other files."""
    job = first_job(outside)
    assert urlsplit(find_uri(outside, job)).path.endswith(f"/quick_tests/{job.quick_test_id}/training_metrics.json")
