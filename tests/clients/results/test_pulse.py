"""How the work stands as a whole (`Ledger.read_pulse`), on every database and every table of runs."""

from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.pulse import Pulse, to_turn_line
from switchyard.core.runs.rows import JobNews
from tests.clients.results.places import NOW, Place, later


def test_an_empty_database_has_nothing_to_say(place: Place) -> None:
    """No run, no job, no turn."""
    assert place.ledger.read_pulse() == Pulse()


def test_runs_are_counted_by_status(place: Place) -> None:
    """As they are stored, an application's own statuses too."""
    statuses = ["completed", "completed", "failed"] + (["paused"] if place.table else [])
    for number, status in enumerate(statuses):
        place.add_run(f"r{number}", status=status)
    expected = {"completed": 2, "failed": 1} | ({"paused": 1} if place.table else {})
    assert place.ledger.read_pulse().runs_by_status == expected


def test_the_oldest_job_that_is_not_settled_is_found(place: Place) -> None:
    """Open, or ended and untold; not one that is told, nor an older attempt of a run that was tried again."""
    place.add_finished_run(1)
    assert place.ledger.read_pulse().oldest_unsettled_at is None
    waiting = place.claim(place.add_run("waiting"), "waiting")
    assert place.ledger.read_pulse().oldest_unsettled_at == NOW
    place.jobs.record_job(waiting.key, JobNews(state=JobState.FAILED), now=later(1))
    assert place.ledger.read_pulse().oldest_unsettled_at == NOW
    place.jobs.claim_ended_event(waiting.key, now=later(2))
    assert place.ledger.read_pulse().oldest_unsettled_at is None


def test_the_last_turn_of_reconcile_is_known(place: Place) -> None:
    """Its one line is written again by each; whether all could be repaired is in it."""
    for minutes, failed in ((0, 0), (1, 2)):
        place.ledger.write_ledger(to_turn_line(failed=failed, now=later(minutes)))
    assert place.ledger.read_pulse().reconciled_at == later(1)
    [line] = place.ledger.read_ledger("reconcile")
    assert (line.state, line.error[:28]) == ("failed", "2 could not be repaired or l")
