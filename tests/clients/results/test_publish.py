"""What a publish writes, keeps and refuses, on every database and every table of runs."""

import json

import pytest

from switchyard.core.errors import BadRecord, StaleWrite
from switchyard.core.history.publication import PublishResult, Rank
from switchyard.core.runs.rows import RunStatus
from tests.clients.results.places import NOW, Place, later, publication

LEGACY = json.dumps({"available": True, "epochs": [0, 5], "loss": {"train": [0.5]}, "params": {"note": "x" * 400}})
FIRST = Rank(attempt=1, restart=0, epochs=11, status=0)


def read(place: Place, run: int) -> dict[str, object]:
    stored = place.results.read_history(run).history_json
    assert stored is not None
    history: dict[str, object] = json.loads(stored)
    return history


def test_published_history_is_read_back(place: Place) -> None:
    """All of it, with the time of the publish; floats to the last bit."""
    run = place.add_run()
    published = publication(run, digest={"charted": "sha256:a", "full": "sha256:a"})
    assert place.results.publish(published, now=NOW) is PublishResult.PUBLISHED
    assert read(place, run) == {**published.history, "cached_at": "2026-01-15T10:30:00Z"}


def test_histograms_are_read_back(place: Place) -> None:
    """By kind and tower; None where the run has none of them."""
    run, other = place.add_run(), place.add_run("another request")
    place.results.publish(publication(run, kinds=("weights",)), now=NOW)
    assert place.results.read_histogram(run, "weights", "candidate") == b"a weights candidate"
    assert place.results.read_histogram(run, "gradients", "candidate") is None
    assert place.results.read_histogram(other, "weights", "candidate") is None


def test_second_publish_changes_nothing(place: Place) -> None:
    """The same publication again, however often and whenever, keeps the bytes and the ETag."""
    run = place.add_run()
    published = publication(run, row_status=RunStatus.COMPLETED)
    place.results.publish(published, now=NOW)
    before = place.results.read_history(run)
    assert place.results.publish(published, now=later(60)) is PublishResult.UNCHANGED
    assert place.open().publish(published, force=True, now=later(61)) is PublishResult.UNCHANGED
    assert place.results.read_history(run) == before


@pytest.mark.parametrize(
    "newer",
    [
        Rank(attempt=2),
        Rank(attempt=1, restart=1),
        Rank(attempt=1, epochs=12),
        Rank(attempt=1, epochs=11, status=2),
    ],
)
def test_higher_rank_replaces_and_lower_is_kept_out(place: Place, newer: Rank) -> None:
    """The attempt counts first, then the restart, the epochs and the status."""
    run = place.add_run()
    old = publication(run, "old", rank=FIRST, status="partial")
    place.results.publish(old, now=NOW)
    new = publication(run, "new", rank=newer, kinds=("gradients",), row_status=RunStatus.RUNNING)
    assert place.results.publish(new, now=later(1)) is PublishResult.PUBLISHED
    assert place.results.publish(old, now=later(2)) is PublishResult.KEPT_NEWER
    assert read(place, run)["digest"] == {"charted": "sha256:new", "full": "sha256:new"}
    assert read(place, run)["cached_at"] == "2026-01-15T10:31:00Z"
    assert place.results.read_histogram(run, "gradients", "query") == b"new gradients query"
    assert place.results.read_histogram(run, "weights", "query") is None


def test_equal_rank_with_other_content_is_an_error(place: Place) -> None:
    """Nobody can say which is right: nothing is written, and force decides."""
    run = place.add_run()
    place.results.publish(publication(run, "a"), now=NOW)
    before = place.results.read_history(run)
    other = publication(run, "b", row_status=RunStatus.FAILED)
    with pytest.raises(StaleWrite, match=rf"quick test {run}.*sha256:a.*sha256:b.*force"):
        place.results.publish(other, now=later(1))
    assert place.results.read_history(run) == before
    assert place.results.read_histogram(run, "weights", "query") == b"a weights query"
    assert place.results.read_run(run).status is RunStatus.PENDING
    assert place.results.publish(other, force=True, now=later(1)) is PublishResult.PUBLISHED
    assert read(place, run)["digest"] == {"charted": "sha256:b", "full": "sha256:b"}


def test_file_goes_before_mlflow_at_equal_rank(place: Place) -> None:
    """Both tell of one training, in types of their own (params are texts in MLflow): that is no contradiction."""
    run = place.add_run()
    mlflow, file = publication(run, "m", source="mlflow", mlflow_run_id="x"), publication(run, "f", mlflow_run_id="x")
    assert place.results.publish(mlflow, now=NOW) is PublishResult.PUBLISHED
    assert place.results.publish(file, now=NOW) is PublishResult.PUBLISHED
    assert place.results.publish(mlflow, now=NOW) is PublishResult.KEPT_NEWER
    assert read(place, run)["source"] == "file"
    assert place.results.publish(mlflow, force=True, now=NOW) is PublishResult.PUBLISHED


def test_mlflow_run_that_became_known_is_published(place: Place) -> None:
    """The record is the same; the history names its MLflow run now, and keeps its time."""
    run = place.add_run()
    place.results.publish(publication(run), now=NOW)
    assert place.results.publish(publication(run, mlflow_run_id="x"), now=later(1)) is PublishResult.PUBLISHED
    assert (read(place, run)["mlflow_run_id"], read(place, run)["cached_at"]) == ("x", "2026-01-15T10:30:00Z")


def test_force_replaces_what_is_newer(place: Place) -> None:
    """And the old rank holds from then on."""
    run = place.add_run()
    place.results.publish(publication(run, "new", rank=Rank(attempt=2)), now=NOW)
    old = publication(run, "old", rank=Rank(attempt=1))
    assert place.results.publish(old, force=True, now=NOW) is PublishResult.PUBLISHED
    assert place.results.publish(publication(run, "mid", rank=Rank(attempt=1, restart=1)), now=NOW) == "published"


def test_cached_at_is_kept_while_the_charts_stay_the_same(place: Place) -> None:
    """Other statistics, or the end of the run, are published anew without a new time; other charts have one."""
    run = place.add_run()
    place.results.publish(publication(run, "a", full="1", rank=FIRST, status="partial"), now=NOW)
    etag = place.results.read_history(run).etag
    ended = publication(run, "a", full="2", rank=Rank(attempt=1, epochs=11, status=2), status="completed")
    assert place.results.publish(ended, now=later(5)) is PublishResult.PUBLISHED
    assert (read(place, run)["status"], read(place, run)["cached_at"]) == ("completed", "2026-01-15T10:30:00Z")
    assert place.results.read_history(run).etag != etag
    place.results.publish(publication(run, "b", rank=Rank(attempt=2)), now=later(6))
    assert read(place, run)["cached_at"] == "2026-01-15T10:36:00Z"


def test_same_record_may_be_shown_differently(place: Place) -> None:
    """Another sampling of an equal record is published; it is no newer, and its charts are the same."""
    run = place.add_run()
    place.results.publish(publication(run, interval=5), now=NOW)
    assert place.results.publish(publication(run, interval=1), now=later(1)) is PublishResult.PUBLISHED
    assert read(place, run)["sampling"] == {"interval": 1, "keep_extremes": False, "kept": 3, "total": 11}
    assert read(place, run)["cached_at"] == "2026-01-15T10:30:00Z"


def test_restart_that_reached_the_same_raises_the_rank(place: Place) -> None:
    """Its content is there already; what is between the two ranks is older from now on."""
    run = place.add_run()
    place.results.publish(publication(run, rank=Rank(attempt=1, epochs=11)), now=NOW)
    again = publication(run, rank=Rank(attempt=1, restart=2, epochs=11), row_status=RunStatus.COMPLETED)
    assert place.results.publish(again, now=later(1)) is PublishResult.UNCHANGED
    assert place.results.read_run(run).status is RunStatus.COMPLETED
    between = publication(run, "b", rank=Rank(attempt=1, restart=1, epochs=11))
    assert place.results.publish(between, now=later(2)) is PublishResult.KEPT_NEWER


@pytest.mark.parametrize("stored", [None, "null", '{"available": false}'])
def test_nothing_published_is_replaced(place: Place, stored: str | None) -> None:
    """However an application spells it."""
    run = place.add_run(history=stored)
    assert place.results.publish(publication(run), now=NOW) is PublishResult.PUBLISHED
    assert read(place, run)["available"] is True


def test_history_that_was_wiped_is_published_again(place: Place) -> None:
    """Our row of digests alone is no history, whatever its rank."""
    run = place.add_run()
    published = publication(run)
    place.results.publish(published, now=NOW)
    place.set_history(run, None)
    assert place.results.publish(published, now=later(1)) is PublishResult.PUBLISHED
    assert read(place, run)["available"] is True


def test_history_of_another_application_is_kept_unless_forced(place: Place) -> None:
    """A legacy payload cannot be compared, so that nobody but a person replaces it."""
    run = place.add_run(history=LEGACY)
    ours = publication(run, row_status=RunStatus.COMPLETED)
    assert place.results.publish(ours, now=NOW) is PublishResult.KEPT_LEGACY
    assert read(place, run) == json.loads(LEGACY)
    assert place.results.read_histogram(run, "weights", "query") is None
    assert place.results.publish(ours, force=True, now=NOW) is PublishResult.PUBLISHED
    assert read(place, run)["digest"] == {"charted": "sha256:a", "full": "sha256:a"}


def test_history_that_another_application_wrote_over_ours_is_kept(place: Place) -> None:
    """Its owner meant it; our row of digests speaks of another one."""
    run = place.add_run()
    place.results.publish(publication(run), now=NOW)
    place.set_history(run, LEGACY)
    assert place.results.publish(publication(run, rank=Rank(attempt=9)), now=NOW) is PublishResult.KEPT_LEGACY
    assert read(place, run) == json.loads(LEGACY)


def test_publish_ends_the_row(own_place: Place) -> None:
    """Status, error and time of the end are written with the history."""
    run = own_place.add_run(status="running")
    failed = publication(run, rank=FIRST, row_status=RunStatus.FAILED, error="exit status 9", status="partial")
    own_place.results.publish(failed, now=later(3))
    row = own_place.results.read_run(run)
    assert (row.status, row.error, row.completed_at) == (RunStatus.FAILED, "exit status 9", later(3))
    own_place.results.publish(failed, now=later(9))
    assert own_place.results.read_run(run).completed_at == later(3)


def test_publish_of_a_running_job_leaves_the_row(place: Place) -> None:
    """Without a status for the row it keeps the one it has."""
    run = place.add_run(status="running")
    place.results.publish(publication(run, rank=FIRST, status="partial"), now=NOW)
    assert place.results.read_run(run).status is RunStatus.RUNNING


def test_completed_row_stays_completed_unless_forced(place: Place) -> None:
    """A later partial record of a higher rank may be shown, but takes no success back."""
    run = place.add_run()
    place.results.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    worse = publication(run, "b", rank=Rank(attempt=2), status="partial", row_status=RunStatus.FAILED, error="e")
    assert place.results.publish(worse, now=NOW) is PublishResult.PUBLISHED
    assert place.results.read_run(run).status is RunStatus.COMPLETED
    place.results.publish(worse, force=True, now=NOW)
    assert place.results.read_run(run).status is RunStatus.FAILED


def test_history_that_is_no_json_is_refused_whole(place: Place) -> None:
    """Nothing is half published."""
    run = place.add_run()
    with pytest.raises(BadRecord, match=f"quick test {run}"):
        place.results.publish(publication(run, params={"callback": object()}, row_status=RunStatus.FAILED), now=NOW)
    assert place.results.read_history(run).history_json is None
    assert place.results.read_run(run).status is RunStatus.PENDING
