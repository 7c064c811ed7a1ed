"""Vertex AI's states, and the reasons and words of what failed there."""

from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import msgspec
import pytest
from google.cloud.aiplatform_v1 import JobState as VertexState

from switchyard.core.errors import BadSetup
from switchyard.core.runs.jobs import JobReport, JobState, Reason
from tests.clients.launchers.vertex.launching import LONG_AGO, MakeLauncher, make_order, wait_for_end
from tests.emulators.vertex import VertexEmulator

STATES = {
    1: JobState.QUEUED,
    2: JobState.QUEUED,
    3: JobState.RUNNING,
    4: JobState.SUCCEEDED,
    5: JobState.FAILED,
    6: JobState.RUNNING,
    7: JobState.CANCELLED,
    8: JobState.QUEUED,
    9: JobState.FAILED,
    10: JobState.RUNNING,
    11: JobState.FAILED,
}


def test_every_state_of_vertex_is_in_the_table() -> None:
    """A new version of the client may bring another; then this says so."""
    assert {int(state) for state in VertexState} == {0, *STATES}


@pytest.mark.parametrize(("number", "state"), STATES.items())
def test_each_state_is_mapped(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, number: int, state: JobState
) -> None:
    """In a report and in a list alike; only ended ones have an end."""
    launcher = make_launcher(idle_vertex)
    name = launcher.submit("k1", make_order()).job_name
    idle_vertex.core.move(name, number)
    report = launcher.report([name])[name]
    assert launcher.list({}, LONG_AGO) == [report]
    assert report.state is state
    assert (report.ended_at is not None) is state.ended


@pytest.mark.parametrize("number", [0, 12, 99])
def test_a_state_that_nobody_knows_is_an_error(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, number: int
) -> None:
    """With the job and the value; it is never guessed, never taken for no job, and does not hide the others."""
    launcher = make_launcher(idle_vertex)
    odd = launcher.submit("k1", make_order()).job_name
    other = launcher.submit("k2", make_order())
    idle_vertex.core.move(odd, number)
    with pytest.raises(BadSetup, match=f"{odd} is in state {number}, which this version does not know"):
        launcher.report([odd, other.job_name])
    with pytest.raises(BadSetup, match=f"is in state {number}, which"):
        launcher.submit("k1", make_order())
    assert launcher.list({}, LONG_AGO) == [other]
    assert len(idle_vertex.core.list_names()) == 2


FAILURES = [
    (5, 3, "The replica workerpool0-0 exited with a non-zero status of 1. Termination reason: Error.", Reason.EXITED),
    (5, 8, "The replica workerpool0-0 ran out of memory and exited with a non-zero status of 137.", Reason.KILLED),
    (5, 8, "The replica workerpool0-0 ran out-of-memory and exited with a non-zero status of 137", Reason.KILLED),
    (5, 3, "The replica workerpool0-0 exited with a non-zero status of 137.", Reason.KILLED),
    (5, 8, "Resources are insufficient in region: us-central1. Try a different region.", Reason.CAPACITY),
    (5, 8, "STOCKOUT: no spot resources", Reason.CAPACITY),
    (5, 8, "The replica workerpool0-0 was preempted. STOCKOUT", Reason.PREEMPTED),
    (5, 8, "The following quota metrics exceed quota limits: custom_model_training_cpus", Reason.QUOTA),
    (5, 13, "Internal error occurred for the current attempt", Reason.MACHINE_LOST),
    (5, 4, "The job took too long.", Reason.TIMED_OUT),
    (7, 1, "CustomJob was cancelled.", Reason.CANCEL_ASKED),
    (9, 0, "", Reason.NEVER_STARTED),
    (6, 0, "", Reason.CANCEL_ASKED),
]


@pytest.mark.parametrize(("number", "code", "said", "reason"), FAILURES)
def test_a_failure_has_its_reason_and_vertexs_words(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, number: int, code: int, said: str, reason: Reason
) -> None:
    """Quota, capacity and preemption are told apart from failures of the training."""
    launcher = make_launcher(idle_vertex)
    name = launcher.submit("k1", make_order()).job_name
    idle_vertex.core.move(name, number, code=code, message=said)
    report = launcher.report([name])[name]
    assert report.reason is reason
    assert said in report.message


@pytest.mark.parametrize(
    ("reason_words", "advice"),
    [
        ("Resources are insufficient in region: us-central1.", "scheduling=flex_start"),
        ("The replica workerpool0-0 was preempted.", "scheduling=standard"),
        ("Internal error occurred. Please retry in a few minutes.", "Train again"),
        ("quota metrics exceed quota limits", "iam-admin/quotas?project=demo-project"),
        ("ran out of memory and exited with a non-zero status of 137", "a machine_type with more of it"),
        ("", "Vertex AI has given no error yet"),
    ],
)
def test_a_failure_says_what_to_do(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, reason_words: str, advice: str
) -> None:
    """A person at night reads the row, not our source."""
    launcher = make_launcher(idle_vertex)
    name = launcher.submit("k1", make_order()).job_name
    idle_vertex.core.move(name, 5, code=8, message=reason_words)
    assert advice in launcher.report([name])[name].message


def test_a_true_failure_has_message_and_link(vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """The log's last words are in Vertex AI's message; the link opens exactly this job's log."""
    launcher = make_launcher(vertex)
    job = wait_for_end(launcher, launcher.submit("k1", make_order("raise SystemExit('no column buyer')")))
    assert (job.state, job.reason) == (JobState.FAILED, Reason.EXITED)
    assert "no column buyer" in job.message
    link = unquote(job.log_uri)
    assert link.startswith("https://console.cloud.google.com/logs/query;query=")
    assert 'resource.type="ml_job"' in link
    assert f'resource.labels.job_id="{job.job_name.rpartition("/")[2]}"' in link
    assert link.endswith("?project=demo-project")


def test_a_job_that_waits_long_is_short_of_quota(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """A short wait is usual, and says nothing."""
    later = make_launcher(idle_vertex, clock=lambda: datetime.now(UTC) + timedelta(minutes=11))
    name = make_launcher(idle_vertex).submit("k1", make_order()).job_name
    assert make_launcher(idle_vertex).report([name])[name].reason is Reason.NONE
    report = later.report([name])[name]
    assert (report.state, report.reason) == (JobState.QUEUED, Reason.QUOTA)
    assert "iam-admin/quotas" in report.message


def test_a_report_holds_plain_values(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """The client's own types stop at the launcher."""
    report = make_launcher(idle_vertex).submit("k1", make_order())
    assert type(report.created_at) is datetime
    assert {type(report.job_name), type(report.key), type(report.message)} == {str}
    assert msgspec.json.decode(msgspec.json.encode(report), type=JobReport) == report


def test_a_job_s_page_is_known_as_soon_as_there_is_a_job(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """The console's, in its own region and project."""
    report = make_launcher(idle_vertex).submit("k1", make_order())
    job_id = report.job_name.rpartition("/")[2]
    assert report.page_uri.endswith(f"/locations/us-central1/training/{job_id}?project=demo-project")
