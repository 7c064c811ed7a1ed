"""What is published of a run while it trains, and that its end replaces it."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from switchyard.core.history.live import to_live_publication, to_progress
from switchyard.core.history.precedence import Kept, decide
from switchyard.core.history.publication import Publication, PublishResult
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import (
    REFIT_LOSS,
    FileStatus,
    MetricsRecord,
    OtherSeries,
    RunIdentity,
    Sampling,
)
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Job, QuickTest, RunStatus
from tests.core.metrics.factories import EVERY_EPOCH, make_record

RUN = QuickTest(id=12, status=RunStatus.RUNNING)
JOB = Job(
    quick_test_id=12,
    attempt=1,
    key="0c4f",
    request_key="r",
    state=JobState.RUNNING,
    parameters={"epochs": 50},
    claimed_at=datetime(2026, 1, 15),
)


def live(record: MetricsRecord, sampling: Sampling = EVERY_EPOCH) -> Publication:
    return to_live_publication(record, run=RUN, job=JOB, sampling=sampling)


def final(record: MetricsRecord) -> Publication:
    return to_publication(record, quick_test_id=12, source="file", sampling=EVERY_EPOCH)


def keep(publication: Publication) -> Kept:
    text = msgspec.json.encode(publication.history).decode()
    return Kept(history_text=text, digests=publication.digests, rank=publication.rank, versions=publication.versions)


def follow(first: Publication, second: Publication) -> PublishResult:
    return decide(second, keep(first), force=False)


def identity(**changes: Any) -> RunIdentity:
    return RunIdentity(**{"quick_test_id": 12, "key": "0c4f", "attempt": 1, "restart": 0, **changes})


@pytest.mark.parametrize("status", ["partial", "failed", "completed"])
def test_a_live_history_is_partial_whatever_its_file_says(status: FileStatus) -> None:
    """The row's end is its job's to say: until then no reader takes it for final."""
    publication = live(make_record(12, status=status, params={"epochs": 50}))
    assert publication.history["status"] == "partial"
    assert publication.history["progress"] == {"epochs_done": 12, "epochs": 50, "at": "2026-01-15T10:30:00Z"}
    assert publication.row_status is None


@pytest.mark.parametrize(
    ("params", "epochs"),
    [({"epochs": 60}, 60), ({}, 50), ({"epochs": "60"}, 50), ({"epochs": True}, 50), ({"epochs": 3}, 50)],
)
def test_how_many_epochs_were_asked_for(params: dict[str, Any], epochs: int) -> None:
    """As the training says; else as its job was asked to; never fewer than it has trained."""
    assert to_progress(make_record(12, params=params), JOB).epochs == epochs


def test_it_is_not_known_how_many_epochs_were_asked_for() -> None:
    """Of a trainer that does not say."""
    job = msgspec.structs.replace(JOB, parameters={})
    assert to_progress(make_record(12, params={}), job).epochs is None


def make_refit(done: int, *, asked: int = 5, **changes: Any) -> MetricsRecord:
    series = {REFIT_LOSS: OtherSeries(steps=list(range(40, 40 + done)), values=[1.0] * done)} if done else {}
    return make_record(4, params={"epochs": 50, "refit_epochs": asked}, other_series=series, **changes)


@pytest.mark.parametrize("done", [0, 2, 5])
def test_the_epochs_of_a_refit_come_on_top(done: int) -> None:
    """The run stopped after 4 of 50 epochs, and is at work: what is left to do is the refit's."""
    progress = to_progress(make_refit(done), JOB)
    assert (progress.epochs_done, progress.epochs) == (4 + done, 9)


@pytest.mark.parametrize("said", ["5", True, -1, 1])
def test_a_refit_of_no_known_length_is_not_counted(said: Any) -> None:
    """No number, or fewer epochs than it has done: as without one."""
    progress = to_progress(make_refit(2, asked=said), JOB)
    assert (progress.epochs_done, progress.epochs) == (4, 50)


def test_each_epoch_of_a_refit_replaces_the_snapshot_before_it() -> None:
    """Its losses grow, of the same epochs; the end replaces the last of them, and none replaces the end."""
    snapshots = [live(make_record(4)), *(live(make_refit(done)) for done in (0, 1, 2))]
    assert follow(snapshots[0], snapshots[2]) is PublishResult.PUBLISHED
    assert follow(snapshots[2], snapshots[3]) is PublishResult.PUBLISHED
    assert follow(snapshots[3], snapshots[2]) is PublishResult.KEPT_NEWER
    end = final(make_refit(2, status="completed"))
    assert follow(snapshots[3], end) is PublishResult.PUBLISHED
    assert follow(end, snapshots[3]) is PublishResult.KEPT_NEWER
    assert snapshots[3].history["series"][REFIT_LOSS]["values"] == [1.0, 1.0]


def test_the_next_epoch_replaces_the_last_snapshot() -> None:
    """Its rank is higher."""
    assert follow(live(make_record(2)), live(make_record(3))) is PublishResult.PUBLISHED


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (make_record(3), make_record(2)),
        (make_record(2, run=identity(attempt=2)), make_record(3, run=identity(attempt=1))),
        (make_record(2, run=identity(restart=1)), make_record(3, run=identity(restart=0))),
    ],
    ids=["shrinks", "an older attempt", "an older restart"],
)
def test_an_older_snapshot_changes_nothing(first: MetricsRecord, second: MetricsRecord) -> None:
    """Readers never see an epoch go."""
    assert follow(live(first), live(second)) is PublishResult.KEPT_NEWER


@pytest.mark.parametrize("status", ["partial", "failed", "completed"])
@pytest.mark.parametrize("added", [{}, {"test_loss": 0.5}], ids=["the same", "with final metrics"])
def test_the_end_replaces_the_last_snapshot(status: FileStatus, added: dict[str, float]) -> None:
    """Also one that was stopped after its last epoch: of the same epochs, partial, and with metrics of their own."""
    before = live(make_record(3, status="partial"))
    assert follow(before, final(make_record(3, status=status, final_metrics=added))) is PublishResult.PUBLISHED


def test_a_snapshot_never_replaces_the_end() -> None:
    """One that was read before the end, and comes after it."""
    assert follow(final(make_record(3, status="partial")), live(make_record(3))) is PublishResult.KEPT_NEWER
