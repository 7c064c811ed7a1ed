"""The suite of the port `Jobs`, on every database and every table of runs."""

import re

import pytest

from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.runs.jobs import JobState, Reason, to_submission_key
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import Claim, Job, JobNews, RunStatus
from tests.clients.results.places import NOW, Place, later, publication


def test_claim_writes_the_job_before_any_exists(place: Place) -> None:
    """The first attempt's row has its key, and the run's row its folder and status."""
    run = place.add_run()
    job = place.claim(run, "claim")
    assert job.key == to_submission_key(place.runs.read_database_id(), run, 1)
    assert (job.attempt, job.state, job.parameters, job.claimed_at) == (1, JobState.CLAIMED, {"epochs": 11}, NOW)
    assert place.jobs.read_job(run) == job
    row = place.runs.read_run(run)
    assert (row.status, row.gcs_artifacts_path) == (RunStatus.SUBMITTED, f"file:///artifacts/quick_tests/{run}")


def test_same_request_claims_the_same_job(place: Place) -> None:
    """A flow that is run again after a crash finds the job of its first try, even when that has ended."""
    run = place.add_run()
    job = place.claim(run, "claim")
    assert place.claim(run, "claim", now=later(1)) == job
    ended = place.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    place.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    assert place.claim(run, "claim", now=later(2)) == ended


def test_second_request_is_refused_while_a_job_is_open(place: Place) -> None:
    """The error names the attempt and how to end it."""
    run = place.add_run()
    place.claim(run, "first")
    with pytest.raises(BadRequest, match=rf"Quick test {run} .*attempt 1 is claimed.*run: switchyard cancel {run}$"):
        place.claim(run, "second")


def test_unknown_run_is_not_claimed(place: Place) -> None:
    """An id that names no row is an error."""
    with pytest.raises(NotFound, match="404"):
        place.claim(404)


def test_claim_answers_the_folder_that_the_row_has(place: Place) -> None:
    """The asked one where the row had none; that of the first claim ever after, whatever a later one asks."""
    run = place.add_run()
    for request_key, asked, expected in (
        ("first", "file:///a", "file:///a"),
        ("first", "file:///b", "file:///a"),
        ("second", "file:///b", "file:///a"),
    ):
        claimed = place.jobs.claim_job(Claim(quick_test_id=run, request_key=request_key, artifacts_uri=asked), now=NOW)
        assert (claimed.artifacts_uri, place.runs.read_run(run).gcs_artifacts_path) == (expected, expected)
        place.jobs.record_job(claimed.job.key, JobNews(state=JobState.FAILED), now=NOW)


def test_completed_run_is_not_claimed(place: Place) -> None:
    """A result is not trained over."""
    with pytest.raises(BadRequest, match="completed"):
        place.claim(place.add_run(status="completed"))


def refuse(place: Place, job: Job) -> None:
    place.jobs.record_job(job.key, JobNews(state=JobState.FAILED, reason=f"{Reason.REFUSED}: 403"), now=NOW)
    place.runs.end_run(job.quick_test_id, RunStatus.FAILED, error="403", now=NOW)


def test_a_refused_request_claims_the_next_attempt(place: Place) -> None:
    """There never was a job: the same key has another, which is found by it; others of the run keep their rows."""
    run = place.add_run()
    first = place.claim(run, "claim")
    refuse(place, first)
    second = place.claim(run, "claim", now=later(1))
    assert (second.attempt, second.state, second.request_key) == (2, JobState.CLAIMED, "claim")
    assert second.key != first.key
    assert place.claim(run, "claim", now=later(2)) == second
    assert place.jobs.find_claim("claim") == second
    assert place.runs.read_run(run).status is RunStatus.SUBMITTED
    refuse(place, second)
    assert place.claim(run, "claim").attempt == 3


def test_a_refused_request_answers_its_job_after_another_request_s(place: Place) -> None:
    """Someone has trained the run since, by another request: that is not started over."""
    run = place.add_run()
    first = place.claim(run, "first")
    refuse(place, first)
    second = place.claim(run, "second")
    place.jobs.record_job(second.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    assert place.claim(run, "first").key == first.key


@pytest.mark.parametrize(
    ("request_key", "said"),
    [
        ("", "the request key of quick test {second} is empty"),
        ("taken", "this request key belongs to quick test {first}. Send quick test {second} with another key"),
    ],
)
def test_request_key_must_be_the_runs_own(place: Place, request_key: str, said: str) -> None:
    """Two runs with one request, or a request without a key, are a mistake of the caller's."""
    first, second = place.add_run("one"), place.add_run("two")
    place.claim(first, "taken")
    with pytest.raises(BadRequest, match=re.escape(said.format(first=first, second=second))):
        place.claim(second, request_key)


def test_next_attempt_has_the_next_number(own_place: Place) -> None:
    """And the row begins again, in the folder that it has."""
    run = own_place.add_run()
    first = own_place.claim(run, "first")
    own_place.jobs.record_job(first.key, JobNews(state=JobState.RUNNING, started_at=NOW), now=NOW)
    own_place.jobs.record_job(first.key, JobNews(state=JobState.FAILED), now=NOW)
    own_place.runs.end_run(run, RunStatus.FAILED, error="exit status 9", now=NOW)
    second = own_place.jobs.claim_job(
        Claim(quick_test_id=run, request_key="2", artifacts_uri="file:///b", image="i"), now=later(1)
    ).job
    assert (second.attempt, second.image) == (2, "i")
    assert second.key != first.key
    row = own_place.runs.read_run(run)
    assert (row.status, row.error, row.started_at, row.completed_at) == (RunStatus.SUBMITTED, "", None, None)
    assert row.gcs_artifacts_path == f"file:///artifacts/quick_tests/{run}"


def test_run_without_a_job_has_none(place: Place) -> None:
    """None, not an error: the run may have been made a moment ago."""
    assert place.jobs.read_job(place.add_run()) is None


def test_record_keeps_what_it_is_not_told(place: Place) -> None:
    """Each report adds to the row; empty arguments keep what is there."""
    job = place.claim(place.add_run())
    place.jobs.record_job(job.key, JobNews(state=JobState.QUEUED, job_name="jobs/7", log_uri="file:///log"), now=NOW)
    recorded = place.jobs.record_job(job.key, JobNews(state=JobState.QUEUED, reason="no machine is free"), now=NOW)
    assert (recorded.job_name, recorded.log_uri, recorded.reason) == ("jobs/7", "file:///log", "no machine is free")
    assert place.jobs.read_job(job.quick_test_id) == recorded


def test_running_job_sets_its_run_running(own_place: Place) -> None:
    """The run has the time when the job first ran."""
    run = own_place.add_run()
    job = own_place.claim(run)
    own_place.jobs.record_job(job.key, JobNews(state=JobState.RUNNING, started_at=later(2)), now=later(3))
    own_place.jobs.record_job(job.key, JobNews(state=JobState.RUNNING, started_at=later(7)), now=later(8))
    row = own_place.runs.read_run(run)
    assert (row.status, row.started_at) == (RunStatus.RUNNING, later(2))


def test_running_job_does_not_revive_an_ended_run(place: Place) -> None:
    """A cancelled job runs on for a while."""
    run = place.add_run()
    job = place.claim(run)
    place.runs.end_run(run, RunStatus.CANCELLED, error="", now=NOW)
    place.jobs.record_job(job.key, JobNews(state=JobState.RUNNING), now=NOW)
    assert place.runs.read_run(run).status is RunStatus.CANCELLED


@pytest.mark.parametrize("ended", [state for state in JobState if state.ended])
def test_ended_job_stays_as_it_ended(place: Place, ended: JobState) -> None:
    """It stays so, whatever is said of it later."""
    job = place.claim(place.add_run())
    first = place.jobs.record_job(job.key, JobNews(state=ended, reason="why"), now=NOW)
    for state in JobState:
        assert (
            place.jobs.record_job(job.key, JobNews(state=state, reason="late", job_name="late"), now=later(1)) == first
        )


@pytest.mark.parametrize("reason", [Reason.VANISHED, Reason.NEVER_CREATED])
def test_a_job_called_gone_is_reopened_once(place: Place, reason: Reason) -> None:
    """It is claimed again, its end is untold, and its run is submitted; a second call changes nothing."""
    run = place.add_run()
    job = place.claim(run)
    place.jobs.record_job(job.key, JobNews(state=JobState.FAILED, job_name="jobs/1", reason=reason), now=NOW)
    place.runs.end_run(run, RunStatus.FAILED, error="gone", now=NOW)
    assert place.jobs.claim_ended_event(job.key, now=NOW)
    place.jobs.note_completed_event(job.key, now=NOW)
    reopened = place.jobs.reopen_job(job.key)
    assert (reopened.state, reopened.job_name, reopened.reason) == (JobState.CLAIMED, "jobs/1", "")
    assert (reopened.ended_event_at, reopened.completed_event_at) == (None, None)
    row = place.runs.read_run(run)
    assert (row.status, row.error, row.completed_at) == (RunStatus.SUBMITTED, "", None)
    running = place.jobs.record_job(job.key, JobNews(state=JobState.RUNNING), now=NOW)
    assert place.jobs.reopen_job(job.key) == running


@pytest.mark.parametrize("why_not", ["seen to fail", "cancelled since", "trained again"])
def test_a_job_whose_end_is_known_is_not_reopened(place: Place, why_not: str) -> None:
    """Nor one whose run was ended otherwise, or trained again, since."""
    run = place.add_run()
    job = place.claim(run)
    reason = Reason.EXITED if why_not == "seen to fail" else Reason.VANISHED
    failed = place.jobs.record_job(job.key, JobNews(state=JobState.FAILED, reason=reason), now=NOW)
    status = RunStatus.CANCELLED if why_not == "cancelled since" else RunStatus.FAILED
    place.runs.end_run(run, status, error="", now=NOW)
    if why_not == "trained again":
        place.claim(run, "again")
        status = RunStatus.SUBMITTED
    assert place.jobs.reopen_job(job.key) == failed
    assert place.runs.read_run(run).status is status


def test_nobody_s_job_is_not_reopened(place: Place) -> None:
    """A job is claimed before it is called gone."""
    with pytest.raises(NotFound, match="nobody's"):
        place.jobs.reopen_job("nobody's")


def test_unknown_job_is_not_found(place: Place) -> None:
    """A job is claimed before it is recorded."""
    with pytest.raises(NotFound, match="nobody's"):
        place.jobs.record_job("nobody's", JobNews(state=JobState.QUEUED), now=NOW)


def test_end_is_told_once(place: Place) -> None:
    """A job has one event, which goes to its first claim; another job has its own."""
    first, second = place.claim(place.add_run("1"), "1"), place.claim(place.add_run("2"), "2")
    assert place.jobs.claim_ended_event(first.key, now=NOW)
    assert not place.open().jobs.claim_ended_event(first.key, now=later(1))
    assert place.jobs.claim_ended_event(second.key, now=NOW)
    told = place.jobs.read_job(first.quick_test_id)
    assert told is not None
    assert told.ended_event_at == NOW


def test_that_a_completion_was_told_is_noted_once(place: Place) -> None:
    """With the first call's time; another job keeps its own, and a key of no job changes nothing."""
    first, second = place.claim(place.add_run("1"), "1"), place.claim(place.add_run("2"), "2")
    assert first.completed_event_at is None
    for minutes, key in ((0, first.key), (1, first.key), (2, "nobody's")):
        place.open().jobs.note_completed_event(key, now=later(minutes))
    found = [place.jobs.read_job(job.quick_test_id) for job in (first, second)]
    assert [job and job.completed_event_at for job in found] == [NOW, None]


def test_job_is_found_by_its_number_until_its_end_is_told(place: Place) -> None:
    """By the whole last part of its name, and nothing less; also when it has ended."""
    job = place.claim(place.add_run())
    name = "projects/1/locations/us-central1/customJobs/4242"
    place.jobs.record_job(job.key, JobNews(state=JobState.QUEUED, job_name=name), now=NOW)
    found = place.jobs.find_job("4242")
    assert found is not None
    assert found.key == job.key
    assert [place.jobs.find_job(other) for other in ("242", "424", "%", "____", "", "1")] == [None] * 6
    place.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    assert place.jobs.find_job("4242") is not None
    place.jobs.claim_ended_event(job.key, now=NOW)
    assert place.jobs.find_job("4242") is None


def test_a_claim_is_found_by_its_request(place: Place) -> None:
    """Open, ended, or while its repair backs off: who knows the request key finds the job."""
    run = place.add_run()
    job = place.claim(run, "mine")
    line = LedgerLine(
        kind="repair", quick_test_id=run, state="failed", attempts=1, next_try_at=later(9_999), updated_at=NOW
    )
    place.ledger.write_ledger(line)
    assert place.jobs.find_claim("mine") == job
    assert place.jobs.find_claim("other") is None
    ended = place.jobs.record_job(job.key, JobNews(state=JobState.FAILED), now=NOW)
    assert place.jobs.find_claim("mine") == ended
