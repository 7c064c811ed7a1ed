"""Adopted rows: what backfill is told of them, what MLflow's news write on them, and whose parent has no row yet."""

from datetime import UTC, datetime

import pytest

from switchyard.core.backfill.plan import KIND
from switchyard.core.backfill.rows import PARENT_KIND, AdoptedRun, BackfillRow
from switchyard.core.history.publication import Draft
from switchyard.core.runs.rows import RowNews, RunStatus
from tests.clients.results.places import NOW, Place, later, publication

AT = datetime(2026, 1, 15, 10, 20, tzinfo=UTC)
PROGRESS = {"epochs_done": 3, "epochs": None, "at": "2026-01-15T10:20:00Z"}
ENDED = RowNews(status=RunStatus.COMPLETED, display_name="renamed", started_at=NOW, completed_at=later(9))


def adopt(place: Place, mlflow_run_id: str, status: RunStatus = RunStatus.RUNNING) -> int:
    run = AdoptedRun(mlflow_run_id=mlflow_run_id, status=status, display_name="a run", created_at=NOW)
    return place.runs.adopt_runs([run], now=NOW)[mlflow_run_id]


def name_run(place: Place, run: int, mlflow_run_id: str) -> None:
    place.sql(f"UPDATE {place.runs_table} SET mlflow_run_id = :name WHERE id = :id", name=mlflow_run_id, id=run)


def look_at(place: Place, run: int) -> BackfillRow:
    return next(row for row in place.ledger.list_backfill() if row.id == run)


def test_rows_that_name_mlflow_runs_are_found_at_once(place: Place) -> None:
    """The oldest of two; none for a run that no row names, and none for no name."""
    runs = [place.add_run(str(number), status="completed") for number in range(4)]
    for run, name in zip(runs, ("a", "b", "a", ""), strict=True):
        name_run(place, run, name)
    assert place.runs.find_mlflow_runs(["a", "b", "c", ""]) == {"a": runs[0], "b": runs[1]}
    assert place.runs.find_mlflow_runs([]) == {}
    many = [f"{number:032x}" for number in range(5_000)]
    assert place.runs.find_mlflow_runs([*many, "b"]) == {"b": runs[1]}


def test_a_partial_history_says_until_when_its_run_was_seen(place: Place) -> None:
    """Only one that we published; and whether a job of ours trains the run."""
    runs = [place.add_run(str(number), status="running") for number in range(4)]
    partial = {"status": "partial", "kinds": ()}
    place.histories.publish(publication(runs[0], progress=PROGRESS, **partial), now=NOW)  # type: ignore[arg-type]
    place.histories.publish(publication(runs[1], **partial), now=NOW)  # type: ignore[arg-type]
    place.histories.publish(publication(runs[2]), now=NOW)
    place.claim(runs[1])
    rows = [look_at(place, run) for run in runs]
    assert [row.is_partial for row in rows] == [True, True, False, False]
    assert [row.seen_until for row in rows] == [AT, None, None, None]
    assert [row.has_job for row in rows] == [False, True, False, False]
    assert not any(row.adopted for row in rows)
    place.set_history(runs[0], '{"available": true, "status": "partial", "note": "' + "x" * 400 + '"}')
    assert look_at(place, runs[0]).seen_until is None


def test_news_are_written_on_the_adopted_row(own_place: Place) -> None:
    """Status, name, times and error, in the transaction that publishes; a second call writes the same."""
    run = adopt(own_place, "a")
    assert look_at(own_place, run).adopted
    for _ in range(2):
        draft = Draft(quick_test_id=run, publication=publication(run), news=ENDED)
        own_place.ledger.publish_many(KIND, [draft], now=NOW)
        (row,) = own_place.sql("SELECT * FROM quick_tests")
        assert (row.status, row.display_name, row.error) == ("completed", "renamed", "")
        assert own_place.runs.read_run(run).completed_at == later(9)


@pytest.mark.parametrize("kind", ["completed", "not adopted", "with a job"])
def test_news_leave_other_rows_as_they_are(own_place: Place, kind: str) -> None:
    """A completed run stays completed; a row that was not adopted, or that a job of ours trains, is not MLflow's."""
    failed = RowNews(status=RunStatus.FAILED, error="stale")
    if kind == "not adopted":
        run = own_place.add_run(status="running")
    else:
        run = adopt(own_place, "a", RunStatus.COMPLETED if kind == "completed" else RunStatus.RUNNING)
    if kind == "with a job":
        own_place.claim(run)
    before = own_place.sql("SELECT * FROM quick_tests")
    own_place.ledger.publish_many(KIND, [Draft(quick_test_id=run, state="skipped", news=failed)], now=NOW)
    assert own_place.sql("SELECT * FROM quick_tests") == before


def test_news_without_a_publication_are_written_too(own_place: Place) -> None:
    """A run that ended without a point."""
    run = adopt(own_place, "a")
    own_place.ledger.publish_many(KIND, [Draft(quick_test_id=run, state="skipped", news=ENDED)], now=NOW)
    assert own_place.runs.read_run(run).status is RunStatus.COMPLETED


def test_an_applications_row_gets_no_news(application_place: Place) -> None:
    """Its owner says what its status is."""
    run = application_place.add_run(status="running")
    draft = Draft(quick_test_id=run, publication=publication(run), news=ENDED)
    application_place.ledger.publish_many(KIND, [draft], now=NOW)
    (row,) = application_place.sql(f"SELECT status FROM {application_place.table}")
    assert row.status == "running"


def test_a_run_waits_for_its_parent_s_row_until_it_is_published_with_it(place: Place) -> None:
    """One line each, in the transaction that publishes; one that is only skipped keeps its own."""
    runs = [place.add_run(str(number), status="completed") for number in range(2)]
    drafts = [Draft(quick_test_id=run, publication=publication(run), lost_parent="p") for run in runs]
    for _ in range(2):
        place.ledger.publish_many(KIND, drafts, now=NOW)
        lines = place.ledger.read_ledger(PARENT_KIND)
        assert [(line.quick_test_id, line.error) for line in lines] == [(run, "p") for run in runs]
    found = Draft(quick_test_id=runs[0], publication=publication(runs[0]))
    skipped = Draft(quick_test_id=runs[1], state="skipped")
    place.ledger.publish_many(KIND, [found, skipped], now=NOW)
    assert [line.quick_test_id for line in place.ledger.read_ledger(PARENT_KIND)] == [runs[1]]
