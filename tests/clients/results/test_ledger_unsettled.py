"""Which runs reconcile is told to look at, and that finding them costs one query, on every database."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import Job, JobNews, RunStatus
from tests.clients.results.places import NOW, Place, Places, later, publication


def unsettled(place: Place, minutes: float = 0) -> list[int]:
    return [found.quick_test.id for found in place.ledger.list_unsettled(now=later(minutes), limit=100)]


@pytest.mark.parametrize("state", [state for state in JobState if not state.ended])
def test_open_job_is_listed(place: Place, state: JobState) -> None:
    """With all that is known of the run and the job."""
    run = place.add_run()
    job = place.jobs.record_job(place.claim(run).key, JobNews(state=state, job_name="j"), now=NOW)
    (found,) = place.ledger.list_unsettled(now=NOW, limit=100)
    assert (found.quick_test, found.job) == (place.runs.read_run(run), job)
    assert (found.published_status, found.repair_attempts) == (None, 0)


@pytest.mark.parametrize("status", ["pending", "submitted", "running"])
def test_ended_job_whose_row_has_not_ended_is_listed(place: Place, status: str) -> None:
    """The process that recorded the job's end was killed before publishing; the event of it may be out already."""
    run = place.add_run()
    job = place.claim(run)
    place.histories.publish(publication(run, status="partial"), now=NOW)
    place.jobs.record_job(job.key, JobNews(state=JobState.FAILED), now=NOW)
    place.jobs.claim_ended_event(job.key, now=NOW)
    place.sql(f"UPDATE {place.runs_table} SET status = :status", status=status)
    (found,) = place.ledger.list_unsettled(now=NOW, limit=100)
    assert (found.quick_test.id, found.published_status) == (run, "partial")


def test_end_that_nobody_was_told_of_is_listed(place: Place) -> None:
    """Published and ended, then killed before the event: it is still owed, once."""
    run = place.add_run()
    job = place.claim(run)
    place.jobs.record_job(job.key, JobNews(state=JobState.FAILED), now=NOW)
    place.histories.publish(publication(run, status="partial", row_status=RunStatus.FAILED), now=NOW)
    assert unsettled(place) == [run]
    place.jobs.claim_ended_event(job.key, now=NOW)
    assert unsettled(place) == []


def end(place: Place, run: int, state: JobState, status: RunStatus, published: str) -> Job:
    """The run's job, ended, published and told of."""
    job = place.claim(run, f"claim {run}")
    place.jobs.record_job(job.key, JobNews(state=state), now=NOW)
    place.histories.publish(publication(run, status=published, row_status=status), now=NOW)
    place.jobs.claim_ended_event(job.key, now=NOW)
    return job


def test_completion_that_nobody_was_told_of_is_listed(place: Place) -> None:
    """Its end was told, and its ingest was killed between publishing and the event of the completed run."""
    run = place.add_run()
    job = end(place, run, JobState.SUCCEEDED, RunStatus.COMPLETED, "completed")
    (found,) = place.ledger.list_unsettled(now=NOW, limit=100)
    assert (found.job and found.job.key, found.published_status) == (job.key, "completed")
    assert place.ledger.list_settled([job.key]) == set()
    place.jobs.note_completed_event(job.key, now=NOW)
    assert unsettled(place) == []
    assert place.ledger.list_settled([job.key]) == {job.key}


@pytest.mark.parametrize(
    ("state", "status", "published"),
    [
        (JobState.SUCCEEDED, RunStatus.FAILED, "failed"),
        (JobState.SUCCEEDED, RunStatus.CANCELLED, "completed"),
        (JobState.FAILED, RunStatus.COMPLETED, "completed"),
        (JobState.SUCCEEDED, RunStatus.COMPLETED, "partial"),
    ],
)
def test_no_completion_is_owed_of_what_its_job_did_not_complete(
    place: Place, state: JobState, status: RunStatus, published: str
) -> None:
    """A run that failed after its job succeeded, one whose owner ended it, one of which only a part is published."""
    end(place, place.add_run(), state, status, published)
    assert unsettled(place) == []


def test_completions_that_nobody_was_told_of_are_found_by_an_index_of_theirs(tmp_path: Path, places: Places) -> None:
    """SQLite reads the jobs that owe one, and not those that have told it."""
    place = places.make("sqlite", tmp_path)
    asked: list[tuple[str, Any]] = []
    event.listen(
        place.ports.database.reader, "before_cursor_execute", lambda *given: asked.append((given[2], given[3]))
    )
    unsettled(place)
    [(sql, values)] = asked
    with place.ports.database.reader.connect() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert "SEARCH newest USING INDEX switchyard_jobs_completed_event_at (quick_test_id>?)" in plan, plan
    assert plan.count("SEARCH newest USING INDEX switchyard_jobs_state (state=?)") == 1, plan  # the open ones


def test_open_job_of_an_ended_run_is_listed(place: Place) -> None:
    """A late submit made a job after all; it must be found to be cancelled."""
    run = place.add_run()
    job = place.claim(run)
    place.runs.end_run(run, RunStatus.CANCELLED, error="", now=NOW)
    place.jobs.claim_ended_event(job.key, now=NOW)
    assert unsettled(place) == [run]


@pytest.mark.parametrize("stored", [None, "null", '{"available": false}'])
def test_completed_run_without_a_history_is_listed(place: Place, stored: str | None) -> None:
    """Also one that another application made, which has no job of ours."""
    run = place.add_run(status="completed", history=stored)
    (found,) = place.ledger.list_unsettled(now=NOW, limit=100)
    assert (found.quick_test.id, found.job, found.published_status) == (run, None, None)


def test_settled_runs_are_not_listed(place: Place) -> None:
    """Finished and published, made but never claimed, failed without a job, legacy, of an unknown status."""
    place.add_finished_run(1)
    place.add_run("pending")
    place.add_run("failed", status="failed")
    place.add_run("legacy", status="completed", history='{"available": true, "epochs": [0]}')
    if place.table:
        place.add_run(status="archived")
    assert unsettled(place) == []


def test_newest_attempt_alone_counts(place: Place) -> None:
    """No one is owed the end of an older one."""
    run = place.add_run()
    first = place.claim(run, "1")
    place.jobs.record_job(first.key, JobNews(state=JobState.FAILED), now=NOW)
    second = place.claim(run, "2")
    (found,) = place.ledger.list_unsettled(now=NOW, limit=100)
    assert found.job == second
    place.jobs.record_job(second.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    place.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    place.jobs.note_completed_event(second.key, now=NOW)
    place.jobs.claim_ended_event(second.key, now=NOW)
    assert unsettled(place) == []


def test_repair_that_backs_off_is_not_listed(place: Place) -> None:
    """Until its time comes; a line of another kind of work does not hold it back."""
    run = place.add_run(status="completed")
    line = LedgerLine(
        kind="repair", quick_test_id=run, state="failed", attempts=3, next_try_at=later(10), updated_at=NOW
    )
    place.ledger.write_ledger(line)
    place.ledger.write_ledger(
        LedgerLine(
            kind="backfill", quick_test_id=run, state="failed", attempts=9, next_try_at=later(99), updated_at=NOW
        )
    )
    assert unsettled(place, 9.9) == []
    assert unsettled(place, 10) == [run]
    assert [found.repair_attempts for found in place.ledger.list_unsettled(now=later(11), limit=9)] == [3]


@pytest.mark.parametrize(("state", "listed"), [("skipped", False), ("failed", True), ("done", True)])
def test_run_that_backfill_found_empty_is_not_listed(place: Place, state: str, listed: bool) -> None:
    """It was read, and listed as having nothing to show; one that could not be read is still to be repaired."""
    run = place.add_run(status="completed")
    line = LedgerLine(kind="backfill", quick_test_id=run, state=state, attempts=1, updated_at=NOW)
    place.ledger.write_ledger(line)
    assert unsettled(place) == ([run] if listed else [])


BAD_PARAMETERS = ["[1]", '{"interval": NaN}', '{"a": ' * 2_000 + "1" + "}" * 2_000, "no JSON", '{"a": "\\ud800"}']


@pytest.mark.parametrize("parameters", BAD_PARAMETERS)
def test_row_whose_parameters_cannot_be_read_hides_no_other(own_place: Place, parameters: str) -> None:
    """It is listed with what is wrong in it, and so is a row whose job's parameters are damaged, with its job."""
    runs = [own_place.add_run(str(number)) for number in range(3)]
    jobs = [own_place.claim(run, f"claim {run}") for run in runs]
    own_place.sql("UPDATE quick_tests SET parameters = :bad WHERE id = :id", bad=parameters, id=runs[0])
    own_place.sql("UPDATE switchyard_jobs SET parameters = :bad WHERE quick_test_id = :id", bad=parameters, id=runs[1])
    first, second, third = own_place.ledger.list_unsettled(now=NOW, limit=100)
    assert first.quick_test.id == runs[0]
    assert f"quick test {runs[0]}: parameters must be a JSON object" in first.unread
    assert second.job is not None
    assert (second.job.key, second.job.parameters) == (jobs[1].key, {})
    assert f"of quick test {runs[1]}: parameters must be a JSON object" in second.unread
    assert (third.job, third.unread) == (jobs[2], "")


def test_job_whose_parameters_cannot_be_read_is_recorded_all_the_same(place: Place) -> None:
    """No one needs them to follow the job, or to end it."""
    job = place.claim(place.add_run())
    place.sql("UPDATE switchyard_jobs SET parameters = '[1]'")
    recorded = place.jobs.record_job(job.key, JobNews(state=JobState.QUEUED, job_name="j"), now=NOW)
    assert (recorded.state, recorded.parameters) == (JobState.QUEUED, {})
    assert "parameters must be a JSON object" in recorded.unread


def test_job_in_a_state_of_nobody_hides_no_other(place: Place) -> None:
    """Someone wrote it by hand, or a newer version did."""
    runs = [place.add_run(str(number)) for number in range(2)]
    for run in runs:
        place.claim(run, f"claim {run}")
    place.sql("UPDATE switchyard_jobs SET state = 'lost' WHERE quick_test_id = :id", id=runs[0])
    found = {run.quick_test.id: run.unread for run in place.ledger.list_unsettled(now=NOW, limit=100)}
    assert "state must be one of claimed, queued" in found[runs[0]]
    assert found[runs[1]] == ""


def test_value_that_is_not_of_its_column_s_type_hides_no_other(tmp_path: Path, places: Places) -> None:
    """SQLite stores any value in any column: what is no time breaks the fetch of all rows, and is found by halves."""
    place = places.make("sqlite", tmp_path)
    runs = [place.add_run(str(number)) for number in range(9)]
    for run in runs:
        place.claim(run, f"claim {run}")
    place.sql("UPDATE quick_tests SET created_at = 'yesterday' WHERE id IN (2, 9)")
    place.sql("UPDATE quick_tests SET display_name = CAST(X'ff' AS TEXT) WHERE id = 5")
    found = place.ledger.list_unsettled(now=NOW, limit=100)
    assert [run.quick_test.id for run in found] == runs
    assert [run.quick_test.id for run in found if run.unread] == [2, 5, 9]
    assert "the row of quick test 2 cannot be read; ValueError: " in found[1].unread


def test_jobs_come_first_up_to_the_limit(place: Place) -> None:
    """The oldest jobs come first, so a full list does not starve them.

    Then come rows without a job, of which there may be thousands, the newest first."""
    rows = [place.add_run(f"row {number}", status="completed") for number in range(3)]
    jobs = [place.add_run(f"request {number}") for number in range(3)]
    for run in jobs:
        place.claim(run, f"claim {run}")
    rows.append(place.add_run("last row", status="completed"))
    for limit in (2, 5, 9):
        found = [run.quick_test.id for run in place.ledger.list_unsettled(now=NOW, limit=limit)]
        assert found == [*jobs, *reversed(rows)][:limit]


def test_one_query_finds_them(place: Place) -> None:
    """However many runs are finished, and however many are not."""
    for number in range(3):
        place.add_finished_run(number)
        place.claim(place.add_run(f"open {number}"), f"open claim {number}")
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert len(place.ledger.list_unsettled(now=NOW, limit=100)) == 3
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(statements) == 1


def test_job_is_settled_where_nothing_is_left_to_do(place: Place) -> None:
    """Not while its run is listed, nor while that backs off, nor while a newer attempt is open."""
    run = place.add_run()
    job = place.claim(run)
    assert place.ledger.list_settled([job.key]) == set()
    place.jobs.record_job(job.key, JobNews(state=JobState.FAILED), now=NOW)
    place.ledger.write_ledger(
        LedgerLine(kind="repair", quick_test_id=run, state="failed", attempts=1, next_try_at=later(60), updated_at=NOW)
    )
    assert unsettled(place) == []  # it backs off
    assert place.ledger.list_settled([job.key]) == set()
    place.runs.end_run(run, RunStatus.FAILED, error="", now=NOW)
    assert place.ledger.list_settled([job.key]) == set()  # its end is still to be told
    place.jobs.claim_ended_event(job.key, now=NOW)
    assert place.ledger.list_settled([job.key, "no such key"]) == {job.key}
    assert place.ledger.list_settled([]) == set()
    other = place.claim(place.add_run("another request"), "another")
    assert place.ledger.list_settled([job.key, other.key]) == {job.key}
