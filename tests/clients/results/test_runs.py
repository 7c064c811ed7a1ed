"""The suite of the port `Runs`, on every database and every table of runs."""

import json
from pathlib import Path

import msgspec
import pytest

from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.errors import BadRecord, BadRequest, NotFound
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import JobNews, NewRun, RunStatus
from tests.clients.results.places import NOW, Place, Places, later, publication, run_sql

LEGACY = json.dumps({"available": True, "epochs": [0, 5], "loss": {"train": [0.5]}, "params": {"note": "x" * 400}})


def test_database_id_stays_the_same(place: Place) -> None:
    """All who open the database read one id of 12 hex digits."""
    first = place.runs.read_database_id()
    assert len(bytes.fromhex(first)) == 6
    assert place.open().runs.read_database_id() == first


def test_created_run_is_read_back(own_place: Place) -> None:
    """All that a flow says of a run is on its row, with aware UTC times."""
    new = NewRun(request_key="r", display_name="größe", mlflow_experiment_name="e", parameters={"epochs": 11, "x": [1]})
    created = own_place.runs.create_run(new, now=NOW)
    assert created.status is RunStatus.PENDING
    assert (created.display_name, created.mlflow_experiment_name) == ("größe", "e")
    assert created.parameters == {"epochs": 11, "x": [1]}
    assert created.created_at == NOW
    assert created.created_at.tzinfo is not None
    assert own_place.runs.read_run(created.id) == created


def test_the_runs_beside_one_are_found(place: Place) -> None:
    """By id, whether the run is there or not; none at either end."""
    first, second, third = (place.add_run(name) for name in ("a", "b", "c"))
    assert place.runs.find_beside(first) == (None, second)
    assert place.runs.find_beside(second) == (first, third)
    assert place.runs.find_beside(third) == (second, None)
    assert place.runs.find_beside(third + 7) == (third, None)


def test_same_request_finds_the_same_run(own_place: Place) -> None:
    """A repeated request gets the first one's row unchanged; another request gets another row."""
    first = own_place.runs.create_run(NewRun(request_key="r", display_name="first"), now=NOW)
    assert own_place.runs.create_run(NewRun(request_key="r", display_name="second"), now=later(1)) == first
    assert own_place.runs.create_run(NewRun(request_key="s"), now=NOW).id > first.id


def test_run_without_a_request_key_is_refused(own_place: Place) -> None:
    """An empty key would find the last caller's run that had none."""
    with pytest.raises(BadRequest, match="request key"):
        own_place.runs.create_run(NewRun(request_key=""), now=NOW)


def test_run_of_an_application_is_not_created(application_place: Place) -> None:
    """The owner of the table makes its rows, and the error says what to do."""
    with pytest.raises(BadRequest, match="--quick-test-id"):
        application_place.runs.create_run(NewRun(request_key="r"), now=NOW)


def test_mlflow_run_is_written_on_the_row(place: Place) -> None:
    """On ours and on an application's, in place of an earlier one; nothing else of the row, or of another, changes."""
    run, other = place.add_run("a", status="failed", history=LEGACY), place.add_run("b")
    before, others, history = (
        place.runs.read_run(run),
        place.runs.read_run(other),
        place.histories.read_history(run),
    )
    for id_ in ("first", "0bf8d36e888d6d5e3e594dcfccf46732", "0bf8d36e888d6d5e3e594dcfccf46732"):
        place.runs.record_mlflow_run(run, id_)
        assert place.runs.read_run(run) == msgspec.structs.replace(before, mlflow_run_id=id_)
    assert (place.runs.read_run(other), place.histories.read_history(run)) == (others, history)


def test_mlflow_run_of_no_row_is_refused(place: Place) -> None:
    """An id that names no row is an error."""
    with pytest.raises(NotFound, match="4711"):
        place.runs.record_mlflow_run(4711, "x")


def test_run_of_an_application_is_read(application_place: Place) -> None:
    """Of an application's row we have five columns; NULL and '' both mean no MLflow run."""
    run = application_place.runs.read_run(application_place.add_run(status="failed"))
    assert (run.status, run.mlflow_run_id, run.gcs_artifacts_path, run.created_at) == ("failed", "", "", None)


def test_unknown_run_is_not_found(place: Place) -> None:
    """Whatever is asked of an id that names no row says so; but who reports an error is reporting another one."""
    for ask in (
        lambda: place.runs.read_run(404),
        lambda: place.runs.end_run(404, RunStatus.FAILED, error="", now=NOW),
        lambda: place.runs.record_mlflow_run(404, "x"),
    ):
        with pytest.raises(NotFound, match="404"):
            ask()
    place.runs.record_error(404, "the caller is reporting another error already")


def test_run_in_an_unknown_status_is_refused_but_listed(application_place: Place) -> None:
    """An application has statuses of its own: its list stays readable, and no guess is made of a single run."""
    run = application_place.add_run(status="archived")
    assert [summary.status for summary in application_place.runs.list_runs(limit=10)] == ["archived"]
    with pytest.raises(BadRecord, match="archived"):
        application_place.runs.read_run(run)
    with pytest.raises(BadRecord, match="archived"):
        application_place.claim(run)


def test_runs_are_listed_newest_first_in_pages(place: Place) -> None:
    """Pages follow each other by id, without overlap."""
    runs = [place.add_run(f"request {number}") for number in range(5)]
    place.histories.publish(publication(runs[3]), now=NOW)
    first = place.runs.list_runs(limit=2)
    assert [(run.id, run.available) for run in first] == [(runs[4], False), (runs[3], True)]
    rest = place.runs.list_runs(limit=9, before_id=first[-1].id)
    assert [run.id for run in rest] == [runs[2], runs[1], runs[0]]
    assert place.runs.list_runs(limit=9, before_id=runs[0]) == []


def test_error_is_recorded_where_there_is_room(place: Place) -> None:
    """On our own row, else on the newest job; the status stays."""
    run = place.add_run(status="running")
    place.claim(run)
    place.runs.record_error(run, "the disk is full")
    assert place.runs.read_run(run).status is RunStatus.SUBMITTED
    job = place.jobs.read_job(run)
    assert job is not None
    assert (place.runs.read_run(run).error, job.error) == (
        ("", "the disk is full") if place.table else ("the disk is full", "")
    )


def test_text_that_no_database_takes_is_stored_readable(place: Place) -> None:
    """A log line may hold NUL and broken UTF-8; the error that quotes it must not be lost for that."""
    run = place.add_run()
    place.claim(run)
    place.runs.record_error(run, "bad\0byte \udcff here, größe")
    job = place.jobs.read_job(run)
    assert job is not None
    assert (place.runs.read_run(run).error or job.error).startswith("bad\ufffdbyte ")


def test_ended_run_keeps_its_first_end(own_place: Place) -> None:
    """A second end changes the error alone."""
    run = own_place.add_run()
    own_place.runs.end_run(run, RunStatus.FAILED, error="first", now=NOW)
    own_place.runs.end_run(run, RunStatus.CANCELLED, error="second", now=later(5))
    ended = own_place.runs.read_run(run)
    assert (ended.status, ended.error, ended.completed_at) == (RunStatus.FAILED, "second", NOW)


def test_completed_run_stays_completed(place: Place) -> None:
    """No late report of a failure touches it."""
    run = place.add_run()
    place.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    place.runs.end_run(run, RunStatus.FAILED, error="late", now=NOW)
    ended = place.runs.read_run(run)
    assert (ended.status, ended.error) == (RunStatus.COMPLETED, "")
    assert place.histories.read_history(run).history_json is not None


def test_run_is_not_ended_by_an_earlier_attempt(place: Place) -> None:
    """Settling attempt 1 comes too late: attempt 2 was claimed. Nor by a conclusion without a job; a person may."""
    run = place.add_run()
    first = place.claim(run, "first")
    place.jobs.record_job(first.key, JobNews(state=JobState.FAILED), now=NOW)
    second = place.claim(run, "second")
    for of_attempt in (1, 0):
        place.runs.end_run(run, RunStatus.FAILED, error="of attempt 1", of_attempt=of_attempt, now=NOW)
        assert (place.runs.read_run(run).status, read_error(place, run)) == (RunStatus.SUBMITTED, "")
    place.runs.end_run(run, RunStatus.FAILED, error="at work", of_attempt=2, now=NOW)
    assert place.runs.read_run(run).status is RunStatus.SUBMITTED
    place.jobs.record_job(second.key, JobNews(state=JobState.FAILED), now=NOW)
    place.runs.end_run(run, RunStatus.FAILED, error="of attempt 2", of_attempt=2, now=NOW)
    place.runs.end_run(run, RunStatus.FAILED, error="of attempt 1", of_attempt=1, now=later(1))
    assert (place.runs.read_run(run).status, read_error(place, run)) == (RunStatus.FAILED, "of attempt 2")


def test_run_whose_job_is_open_is_ended_by_a_person(place: Place) -> None:
    """That is not concluded from a job: reconcile then cancels it."""
    run = place.add_run()
    place.claim(run)
    place.runs.end_run(run, RunStatus.CANCELLED, error="", now=NOW)
    assert place.runs.read_run(run).status is RunStatus.CANCELLED


def read_error(place: Place, run: int) -> str:
    """Where there is room for it: on our own row, else on the newest job."""
    job = place.jobs.read_job(run)
    return place.runs.read_run(run).error or (job.error if job else "")


def test_run_is_ended_by_an_end_only(place: Place) -> None:
    """`running` is no way to end a run."""
    with pytest.raises(BadRequest, match="running"):
        place.runs.end_run(place.add_run(), RunStatus.RUNNING, error="", now=NOW)


def test_other_columns_of_an_application_are_left_alone(application_place: Place) -> None:
    """The whole walk of a run changes three columns of its row, and nothing of the table's definition."""
    run = application_place.add_run()
    others = f"SELECT owner_name, is_archived, opened, mlflow_run_id FROM {application_place.table} WHERE id = {run}"
    before = application_place.sql(others)
    job = application_place.claim(run)
    application_place.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    application_place.runs.end_run(run, RunStatus.COMPLETED, error="", now=NOW)
    assert application_place.sql(others) == before
    assert job.attempt == 1


def test_parameters_that_are_no_object_name_the_run(own_place: Place) -> None:
    """A row that someone mended by hand is refused with its id."""
    run = own_place.add_run()
    run_sql(own_place.url, "UPDATE quick_tests SET parameters = '[1]'")
    with pytest.raises(BadRecord, match=f"quick test {run}.*parameters"):
        own_place.runs.read_run(run)


def test_mlflow_runs_are_adopted_once(own_place: Place) -> None:
    """A row each, with what MLflow says of it; a second call finds the first one's rows and changes nothing."""
    runs = [
        AdoptedRun(
            mlflow_run_id="a", status=RunStatus.COMPLETED, display_name="größe", started_at=NOW, completed_at=later(9)
        ),
        AdoptedRun(mlflow_run_id="b", status=RunStatus.FAILED, mlflow_experiment_name="e"),
    ]
    ids = own_place.runs.adopt_runs(runs, now=later(60))
    changed = [msgspec.structs.replace(run, display_name="other") for run in runs]
    assert own_place.runs.adopt_runs(changed, now=later(61)) == ids
    first, second = own_place.runs.read_run(ids["a"]), own_place.runs.read_run(ids["b"])
    assert (first.status, first.display_name, first.mlflow_run_id) == (RunStatus.COMPLETED, "größe", "a")
    assert (first.created_at, first.started_at, first.completed_at) == (NOW, NOW, later(9))
    assert (second.mlflow_experiment_name, second.created_at, second.completed_at) == ("e", later(60), None)
    assert own_place.runs.adopt_runs([], now=NOW) == {}


def test_mlflow_runs_are_not_adopted_into_a_table_of_an_application(application_place: Place) -> None:
    """Its owner makes the rows; of no run it is refused like of some."""
    with pytest.raises(BadRequest, match="RESULTS_TABLE"):
        application_place.runs.adopt_runs([], now=NOW)


def test_row_that_cannot_be_fetched_hides_no_other_in_the_list(places: Places, tmp_path: Path) -> None:
    """SQLite stores any value in any column; the line says so, and the others are as ever."""
    place = places.make("sqlite", tmp_path)
    runs = [place.add_run(str(number)) for number in range(5)]
    before = place.runs.list_runs(limit=4)
    place.sql("UPDATE quick_tests SET completed_at = 'noon' WHERE id = :id", id=runs[2])
    after = place.runs.list_runs(limit=4)
    assert [run.id for run in after] == runs[:0:-1]
    assert [run for run in after if run.id != runs[2]] == [run for run in before if run.id != runs[2]]
    assert "the row of quick test 3 cannot be read; ValueError" in after[2].error
    assert place.runs.list_runs(limit=4, before_id=1) == []


def test_row_without_a_status_is_listed(places: Places, tmp_path: Path) -> None:
    """An application's own table may allow it."""
    place = places.make("postgres with a json table", tmp_path, fresh=True)
    runs = [place.add_run(), place.add_run()]
    place.sql(f"ALTER TABLE {place.table} ALTER COLUMN status DROP NOT NULL")
    place.sql(f"UPDATE {place.table} SET status = NULL WHERE id = :id", id=runs[0])
    assert [(run.id, run.status) for run in place.runs.list_runs(limit=9)] == [(runs[1], "pending"), (runs[0], "")]
