"""Editing a run's row (`Runs.edit_run`), on every database and every table of runs."""

import threading

import msgspec
import pytest

from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.runs.edits import RunEdit
from tests.clients.results.places import NOW, Place, later


def test_what_is_edited_is_read_back(own_place: Place) -> None:
    """And nothing else of the row, or of another, has changed."""
    run, other = own_place.add_run("a", status="failed", history="{}"), own_place.add_run("b")
    before, others = own_place.runs.read_run(run), own_place.runs.read_run(other)
    edited = own_place.runs.edit_run(run, RunEdit(display_name="größe", notes="1\n2", archived=True), now=NOW)
    assert edited == msgspec.structs.replace(before, display_name="größe", notes="1\n2", archived_at=NOW)
    assert own_place.runs.read_run(run) == edited
    assert own_place.runs.read_run(other) == others


def test_the_same_once_more_changes_nothing(own_place: Place) -> None:
    """The moment of archiving stays; taken back, it is gone."""
    run = own_place.add_run()
    edit = RunEdit(notes="n", archived=True)
    first = own_place.runs.edit_run(run, edit, now=NOW)
    assert own_place.runs.edit_run(run, edit, now=later(9)) == first
    assert own_place.runs.edit_run(run, RunEdit(archived=False), now=later(9)).archived_at is None
    assert own_place.runs.read_run(run).notes == "n"


def test_two_who_edit_at_once_lose_nothing(own_place: Place) -> None:
    """Each writes what it names; the other's stays."""
    run = own_place.add_run()
    edits = [RunEdit(display_name="n"), RunEdit(notes="m"), RunEdit(archived=True)]
    threads = [
        threading.Thread(target=own_place.runs.edit_run, args=(run, edit), kwargs={"now": NOW}) for edit in edits
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = own_place.runs.read_run(run)
    assert (found.display_name, found.notes, found.archived_at) == ("n", "m", NOW)


def test_a_run_that_is_not_there_cannot_be_edited(own_place: Place) -> None:
    """The error names it."""
    with pytest.raises(NotFound, match="4711"):
        own_place.runs.edit_run(4711, RunEdit(notes="n"), now=NOW)


def test_an_application_edits_its_own_runs(application_place: Place) -> None:
    """We never write its columns, nor need we have them."""
    run = application_place.add_run()
    with pytest.raises(BadRequest, match="RESULTS_TABLE"):
        application_place.runs.edit_run(run, RunEdit(notes="n"), now=NOW)
