"""The suite of the port `Results`, for every database and every table of runs: rows, histories, ledger."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from switchyard.clients.results.store import open_results
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import NewRun, RunStatus
from tests.clients.results.places import KINDS, NOW, Place, Places, later, publication, run_sql

LEGACY = json.dumps({"available": True, "epochs": [0, 5], "loss": {"train": [0.5]}, "params": {"note": "x" * 400}})


def test_database_id_stays_the_same(place: Place) -> None:
    """All who open the database read one id of 12 hex digits."""
    first = place.results.read_database_id()
    assert len(bytes.fromhex(first)) == 6
    assert place.open().read_database_id() == first


def test_created_run_is_read_back(own_place: Place) -> None:
    """All that a flow says of a run is on its row, with aware UTC times."""
    new = NewRun(request_key="r", display_name="größe", mlflow_experiment_name="e", parameters={"epochs": 11, "x": [1]})
    created = own_place.results.create_run(new, now=NOW)
    assert created.status is RunStatus.PENDING
    assert (created.display_name, created.mlflow_experiment_name) == ("größe", "e")
    assert created.parameters == {"epochs": 11, "x": [1]}
    assert created.created_at == NOW
    assert created.created_at.tzinfo is not None
    assert own_place.results.read_run(created.id) == created


def test_same_request_finds_the_same_run(own_place: Place) -> None:
    """A repeated request gets the first one's row unchanged; another request gets another row."""
    first = own_place.results.create_run(NewRun(request_key="r", display_name="first"), now=NOW)
    assert own_place.results.create_run(NewRun(request_key="r", display_name="second"), now=later(1)) == first
    assert own_place.results.create_run(NewRun(request_key="s"), now=NOW).id > first.id


def test_run_without_a_request_key_is_refused(own_place: Place) -> None:
    """An empty key would find the last caller's run that had none."""
    with pytest.raises(BadRequest, match="request key"):
        own_place.results.create_run(NewRun(request_key=""), now=NOW)


def test_run_of_an_application_is_not_created(application_place: Place) -> None:
    """The owner of the table makes its rows, and the error says what to do."""
    with pytest.raises(BadRequest, match="--quick-test-id"):
        application_place.results.create_run(NewRun(request_key="r"), now=NOW)


def test_mlflow_run_is_written_on_the_row(place: Place) -> None:
    """On ours and on an application's, in place of an earlier one; nothing else of the row, or of another, changes."""
    run, other = place.add_run("a", status="failed", history=LEGACY), place.add_run("b")
    before, others, history = (
        place.results.read_run(run),
        place.results.read_run(other),
        place.results.read_history(run),
    )
    for id_ in ("first", "0bf8d36e888d6d5e3e594dcfccf46732", "0bf8d36e888d6d5e3e594dcfccf46732"):
        place.results.record_mlflow_run(run, id_)
        assert place.results.read_run(run) == msgspec.structs.replace(before, mlflow_run_id=id_)
    assert (place.results.read_run(other), place.results.read_history(run)) == (others, history)


def test_mlflow_run_of_no_row_is_refused(place: Place) -> None:
    """An id that names no row is an error."""
    with pytest.raises(NotFound, match="4711"):
        place.results.record_mlflow_run(4711, "x")


def test_run_of_an_application_is_read(application_place: Place) -> None:
    """Of an application's row we have five columns; NULL and '' both mean no MLflow run."""
    run = application_place.results.read_run(application_place.add_run(status="failed"))
    assert (run.status, run.mlflow_run_id, run.gcs_artifacts_path, run.created_at) == ("failed", "", "", None)


def test_unknown_run_is_not_found(place: Place) -> None:
    """Whatever is asked of an id that names no row says so."""
    results = place.results
    for ask in (
        lambda: results.read_run(404),
        lambda: results.read_history(404),
        lambda: results.read_histogram(404, "weights", "query"),
        lambda: results.publish(publication(404), now=NOW),
        lambda: results.end_run(404, RunStatus.FAILED, error="", now=NOW),
        lambda: place.claim(404),
    ):
        with pytest.raises(NotFound, match="404"):
            ask()
    results.record_error(404, "the caller is reporting another error already")


def test_run_in_an_unknown_status_is_refused_but_listed(application_place: Place) -> None:
    """An application has statuses of its own: its list stays readable, and no guess is made of a single run."""
    run = application_place.add_run(status="archived")
    assert [summary.status for summary in application_place.results.list_runs(limit=10)] == ["archived"]
    with pytest.raises(BadRecord, match="archived"):
        application_place.results.read_run(run)
    with pytest.raises(BadRecord, match="archived"):
        application_place.claim(run)


def test_runs_are_listed_newest_first_in_pages(place: Place) -> None:
    """Pages follow each other by id, without overlap."""
    runs = [place.add_run(f"request {number}") for number in range(5)]
    place.results.publish(publication(runs[3]), now=NOW)
    first = place.results.list_runs(limit=2)
    assert [(run.id, run.available) for run in first] == [(runs[4], False), (runs[3], True)]
    rest = place.results.list_runs(limit=9, before_id=first[-1].id)
    assert [run.id for run in rest] == [runs[2], runs[1], runs[0]]
    assert place.results.list_runs(limit=9, before_id=runs[0]) == []


@pytest.mark.parametrize("stored", [None, "null", ' {"available" : false}\n', '{"available": false, "error": "gone"}'])
def test_nothing_published_has_many_spellings(place: Place, stored: str | None) -> None:
    """SQL NULL, JSON null and an unavailable history all read as none."""
    run = place.add_run(history=stored)
    history = place.results.read_history(run)
    assert (history.history_json, history.etag) == (None, None)
    assert [summary.available for summary in place.results.list_runs(limit=1)] == [False]


def test_history_of_another_application_is_served_as_stored(place: Place) -> None:
    """A legacy payload keeps its bytes, and its ETag is their hash."""
    run = place.add_run(history=LEGACY)
    history = place.results.read_history(run)
    assert history.history_json is not None
    assert json.loads(history.history_json) == json.loads(LEGACY)
    if place.history_type != "jsonb":  # which keeps the value, not the text
        assert history.history_json == LEGACY.encode()
    assert history.etag == "sha256:" + hashlib.sha256(history.history_json).hexdigest()


def test_etag_changes_when_another_application_writes_over_ours(place: Place) -> None:
    """Our digest row no longer speaks of what is stored then."""
    run = place.add_run()
    place.results.publish(publication(run), now=NOW)
    ours = place.results.read_history(run)
    place.set_history(run, LEGACY)
    theirs = place.results.read_history(run)
    assert theirs.history_json is not None
    assert theirs.etag != ours.etag
    assert json.loads(theirs.history_json) == json.loads(LEGACY)


def test_error_is_recorded_where_there_is_room(place: Place) -> None:
    """On our own row, else on the newest job; the status stays."""
    run = place.add_run(status="running")
    place.claim(run)
    place.results.record_error(run, "the disk is full")
    assert place.results.read_run(run).status is RunStatus.SUBMITTED
    job = place.results.read_job(run)
    assert job is not None
    assert (place.results.read_run(run).error, job.error) == (
        ("", "the disk is full") if place.table else ("the disk is full", "")
    )


def test_text_that_no_database_takes_is_stored_readable(place: Place) -> None:
    """A log line may hold NUL and broken UTF-8; the error that quotes it must not be lost for that."""
    run = place.add_run()
    place.claim(run)
    place.results.record_error(run, "bad\0byte \udcff here, größe")
    job = place.results.read_job(run)
    assert job is not None
    assert (place.results.read_run(run).error or job.error).startswith("bad\ufffdbyte ")


def test_ended_run_keeps_its_first_end(own_place: Place) -> None:
    """A second end changes the error alone."""
    run = own_place.add_run()
    own_place.results.end_run(run, RunStatus.FAILED, error="first", now=NOW)
    own_place.results.end_run(run, RunStatus.CANCELLED, error="second", now=later(5))
    ended = own_place.results.read_run(run)
    assert (ended.status, ended.error, ended.completed_at) == (RunStatus.FAILED, "second", NOW)


def test_completed_run_stays_completed(place: Place) -> None:
    """No late report of a failure touches it."""
    run = place.add_run()
    place.results.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    place.results.end_run(run, RunStatus.FAILED, error="late", now=NOW)
    ended = place.results.read_run(run)
    assert (ended.status, ended.error) == (RunStatus.COMPLETED, "")
    assert place.results.read_history(run).history_json is not None


def test_run_is_ended_by_an_end_only(place: Place) -> None:
    """`running` is no way to end a run."""
    with pytest.raises(BadRequest, match="running"):
        place.results.end_run(place.add_run(), RunStatus.RUNNING, error="", now=NOW)


def test_ledger_line_is_replaced(place: Place) -> None:
    """One line a kind and run, with its times as they were; other kinds are left alone."""
    line = LedgerLine(
        kind="repair", quick_test_id=7, state="failed", attempts=1, error="e", next_try_at=later(5), updated_at=NOW
    )
    done = LedgerLine(kind="repair", quick_test_id=7, state="done", attempts=2, source_digest="s", updated_at=later(6))
    other = LedgerLine(kind="backfill", quick_test_id=7, state="done", attempts=1, updated_at=NOW)
    for written in (line, line, other):
        place.results.write_ledger(written)
    assert place.results.read_ledger("repair") == [line]
    place.results.write_ledger(done)
    assert place.results.read_ledger("repair") == [done]
    assert place.results.read_ledger("backfill") == [other]


def test_other_columns_of_an_application_are_left_alone(application_place: Place) -> None:
    """The whole walk of a run changes three columns of its row, and nothing of the table's definition."""
    run = application_place.add_run()
    others = f"SELECT owner_name, is_archived, opened, mlflow_run_id FROM {application_place.table} WHERE id = {run}"
    before = application_place.sql(others)
    job = application_place.claim(run)
    application_place.results.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    application_place.results.end_run(run, RunStatus.COMPLETED, error="", now=NOW)
    assert application_place.sql(others) == before
    assert job.attempt == 1


def test_jsonb_history_is_read_as_text(places: Places, tmp_path: Path) -> None:
    """jsonb refuses the escape of NUL and rewrites numbers; the history is published all the same."""
    place = places.make("postgres with a jsonb table", tmp_path)
    run = place.add_run()
    backslash = "C:\\u0000"  # in JSON an escaped backslash, then u0000: no NUL
    published = publication(run, params={"note": "a\0b", "path": backslash, "zero": -0.0, "tiny": 5e-324})
    place.results.publish(published, now=NOW)
    stored = place.results.read_history(run)
    assert stored.history_json is not None
    params = json.loads(stored.history_json)["params"]
    assert params == {"note": "a\ufffdb", "path": backslash, "zero": 0.0, "tiny": 5e-324}
    assert place.results.publish(published, now=later(1)) == "unchanged"
    assert place.results.read_history(run).etag == stored.etag


@pytest.mark.parametrize("kind", [kind for kind, (table, _) in KINDS.items() if table])
def test_table_without_needed_columns_is_refused(kind: str, places: Places, tmp_path: Path) -> None:
    """The error names the table and all that it lacks, before anything is asked of it."""
    place = places.make(kind, tmp_path, fresh=True)
    for column in ("status", "training_history_json"):
        place.sql(f"ALTER TABLE {place.table} DROP COLUMN {column}")
    with pytest.raises(BadSetup, match=f"{place.table}.*status, training_history_json"):
        place.open()


def test_table_that_is_not_there_is_refused(own_place: Place) -> None:
    """RESULTS_TABLE misspelt."""
    with pytest.raises(BadSetup, match="RESULTS_TABLE"):
        open_results(own_place.url, "app.misspelt")
    with pytest.raises(BadSetup, match="no table misspelt"):
        open_results(own_place.url, "misspelt")


def test_application_that_was_forgotten_is_pointed_out(application_place: Place) -> None:
    """A database that was migrated for an application's table has none of ours."""
    with pytest.raises(BadSetup, match="RESULTS_TABLE"):
        open_results(application_place.url)


def test_parameters_that_are_no_object_name_the_run(own_place: Place) -> None:
    """A row that somebody mended by hand is refused with its id."""
    run = own_place.add_run()
    run_sql(own_place.url, "UPDATE quick_tests SET parameters = '[1]'")
    with pytest.raises(BadRecord, match=f"quick test {run}.*parameters"):
        own_place.results.read_run(run)


@pytest.mark.parametrize(
    "url",
    ["", "results.db", "sqlite://", "sqlite:///:memory:", "mysql://user:hush@host/db", "postgresql+psycopg://host"],
)
def test_url_of_no_database_is_refused_without_its_password(url: str) -> None:
    """What is accepted is said; what a URL hides stays hidden."""
    with pytest.raises(BadSetup, match="RESULTS_URL") as caught:
        open_results(url)
    assert "hush" not in str(caught.value)
