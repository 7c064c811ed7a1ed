"""One key, one job on Vertex AI: whichever answer is lost or process killed, and however many ask at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest
from google.cloud.aiplatform_v1 import CustomJob
from google.cloud.aiplatform_v1 import JobState as VertexState

from switchyard.core.errors import TryAgain
from switchyard.core.runs.jobs import JobState
from tests.clients.launchers.vertex.launching import (
    MakeLauncher,
    StartVertex,
    make_order,
    to_environ,
    wait_until,
)
from tests.emulators.faults import Fault
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_core import CREATE, LIST, REQUESTS
from tests.emulators.vertex_jobs import DEADLINE_S, PARENT, make_job
from tests.root import ROOT

AMBIGUOUS = {
    "503 after the job was made": Fault(kind=CREATE, status=503, after=True),
    "500 after the job was made": Fault(kind=CREATE, status=500, after=True),
    "504 after the job was made": Fault(kind=CREATE, status=504, after=True),
    "499 after the job was made": Fault(kind=CREATE, status=499, after=True),
    "409 after the job was made": Fault(kind=CREATE, status=409, after=True),
    "the connection is lost": Fault(kind=CREATE, broken=True),
    "the answer comes too late": Fault(kind=CREATE, delay_s=4.0, after=True),
}


@pytest.mark.parametrize("fault", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_a_job_whose_answer_is_lost_is_adopted(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, fault: Fault
) -> None:
    """By the same call; create is sent once."""
    idle_vertex.core.faults.order(msgspec.structs.replace(fault))
    launcher = make_launcher(idle_vertex, timeout_s=2.0 if fault.delay_s else 20.0)
    report = launcher.submit("k1", make_order())
    assert [report.job_name] == idle_vertex.core.list_names()
    assert launcher.submit("k1", make_order()) == report
    assert idle_vertex.core.faults.counts()[CREATE] == 1


@pytest.mark.parametrize("status", [500, 503, 504])
def test_a_create_without_effect_is_left_to_the_next_submit(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, status: int
) -> None:
    """TryAgain after a bounded look; that submit looks again and makes the one job."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, status=status))
    launcher = make_launcher(idle_vertex)
    with pytest.raises(TryAgain, match="No job with key k1 is listed"):
        launcher.submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {CREATE: 1, LIST: 3}
    assert idle_vertex.core.list_names() == []
    launcher.submit("k1", make_order())
    assert len(idle_vertex.core.list_names()) == 1


def test_a_list_that_lags_is_looked_at_again(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """A job that a LIST does not show yet is adopted as soon as it does."""
    vertex = start_vertex(new_job_state=1, list_lag_s=0.3)
    vertex.core.faults.order(Fault(kind=CREATE, status=503, after=True))
    launcher = make_launcher(vertex, relist_delays_s=(0.0, 0.1, 0.5))
    assert [launcher.submit("k1", make_order()).job_name] == vertex.core.list_names()


def test_a_list_that_fails_after_a_lost_answer_makes_no_second_job(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """Then nothing is known, and nothing is done; the next submit adopts."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, status=503, after=True))
    idle_vertex.core.faults.order(Fault(kind=LIST, status=503, nth=2))
    launcher = make_launcher(idle_vertex)
    with pytest.raises(TryAgain):
        launcher.submit("k1", make_order())
    assert [launcher.submit("k1", make_order()).job_name] == idle_vertex.core.list_names()


def test_a_list_that_fails_before_a_create_stops_it(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Not knowing whether there is a job, none is made."""
    idle_vertex.core.faults.order(Fault(kind=LIST, status=500))
    with pytest.raises(TryAgain):
        make_launcher(idle_vertex).submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {LIST: 1}


def test_an_ended_job_is_returned_too(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """A key that has failed has had its job; another attempt has another key."""
    launcher = make_launcher(idle_vertex)
    first = launcher.submit("k1", make_order())
    idle_vertex.core.end(first.job_name, VertexState.JOB_STATE_FAILED, 3, "exited")
    again = launcher.submit("k1", make_order())
    assert (again.job_name, again.state) == (first.job_name, JobState.FAILED)


def test_of_two_jobs_with_one_key_the_younger_is_cancelled(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """However they came to be; ended ones are left alone."""
    jobs = []
    for _ in range(3):
        labels = {"switchyard-key": "k1"}
        custom_job = CustomJob.pb(CustomJob(make_job(labels=labels)))
        jobs.append(idle_vertex.core.invoke(CREATE, REQUESTS[CREATE](parent=PARENT, custom_job=custom_job)).name)
    idle_vertex.core.end(jobs[2], VertexState.JOB_STATE_FAILED)
    assert make_launcher(idle_vertex).submit("k1", make_order()).job_name == jobs[0]
    states = [idle_vertex.core.read(name).state for name in jobs]
    assert states == [1, VertexState.JOB_STATE_CANCELLING, VertexState.JOB_STATE_FAILED]


SUBMIT = """
import sys
from switchyard.clients.connect import connect
from switchyard.core.runs.jobs import JobOrder
order = JobOrder(display_name="a run", arguments=[""], labels={}, timeout_s=60)
print(connect().launcher.submit("k1", order).job_name)
"""


@pytest.fixture
def start_submit(idle_vertex: VertexEmulator, transport: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts processes that submit key k1, with nothing but settings in their environment."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        environ = to_environ(idle_vertex, transport)
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", SUBMIT],
                env=environ | {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    idle_vertex.core.faults.forget()
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_two_processes_at_once_keep_one_job(
    idle_vertex: VertexEmulator, start_submit: Callable[[], subprocess.Popen[str]]
) -> None:
    """Both have seen no job and sent a create; both answer the older one, and the other is cancelled."""
    faults = idle_vertex.core.faults
    faults.order(Fault(kind=CREATE, hold=True, times=2))
    both = [start_submit(), start_submit()]
    wait_until(lambda: faults.count(CREATE) == 2, "both have sent their create")
    faults.forget()
    names = {process.communicate(timeout=DEADLINE_S)[0].strip() for process in both}
    older, younger = idle_vertex.core.list_names()
    assert names == {older}
    assert idle_vertex.core.read(older).state == VertexState.JOB_STATE_QUEUED
    assert idle_vertex.core.read(younger).state == VertexState.JOB_STATE_CANCELLING


@pytest.mark.parametrize(
    ("fault", "jobs_then"),
    [
        (Fault(kind=LIST, hold=True), 0),  # before the create
        (Fault(kind=CREATE, hold=True, after=True), 1),  # after it, before its answer
        (Fault(kind=LIST, hold=True, nth=2), 1),  # after its answer
    ],
    ids=["before create", "create answered by nobody", "after create"],
)
def test_a_killed_submit_leaves_one_job_to_the_next(
    idle_vertex: VertexEmulator,
    make_launcher: MakeLauncher,
    start_submit: Callable[[], subprocess.Popen[str]],
    fault: Fault,
    jobs_then: int,
) -> None:
    """kill -9 before and after every request."""
    faults = idle_vertex.core.faults
    faults.order(msgspec.structs.replace(fault))
    process = start_submit()
    wait_until(lambda: faults.count(fault.kind) == fault.nth, "the process is held")
    wait_until(lambda: len(idle_vertex.core.list_names()) == jobs_then, "the job is made")
    process.send_signal(signal.SIGKILL)
    process.wait()
    faults.forget()
    report = make_launcher(idle_vertex).submit("k1", make_order())
    assert [report.job_name] == idle_vertex.core.list_names()


def test_a_create_that_arrives_after_its_sender_died_is_repaired(
    idle_vertex: VertexEmulator,
    make_launcher: MakeLauncher,
    start_submit: Callable[[], subprocess.Popen[str]],
) -> None:
    """Two jobs for a while, which no LIST could have told; the next look at the key cancels the younger."""
    faults = idle_vertex.core.faults
    faults.order(Fault(kind=CREATE, hold=True))
    process = start_submit()
    wait_until(lambda: faults.count(CREATE) == 1, "the create is under way")
    process.send_signal(signal.SIGKILL)
    process.wait()
    launcher = make_launcher(idle_vertex)
    kept = launcher.submit("k1", make_order())
    faults.forget()
    wait_until(lambda: len(idle_vertex.core.list_names()) == 2, "the late create has had its effect")
    assert launcher.submit("k1", make_order()).job_name == kept.job_name
    states = {name: idle_vertex.core.read(name).state for name in idle_vertex.core.list_names()}
    assert states.pop(kept.job_name) == VertexState.JOB_STATE_QUEUED
    assert list(states.values()) == [VertexState.JOB_STATE_CANCELLING]
