"""The Vertex AI launcher's report, list and cancel, by both transports, against an endpoint that runs jobs.

They go over the real job client.
"""

import re
import tracemalloc
from datetime import UTC, datetime

import pytest
from google.cloud.aiplatform_v1 import CustomJob
from google.cloud.aiplatform_v1 import JobState as VertexState

from switchyard.clients.connect import connect
from switchyard.clients.launchers.vertex.launcher import VertexLauncher
from switchyard.core.errors import NotFound
from switchyard.core.runs.jobs import JobState, Reason
from switchyard.core.runs.rows import Job
from switchyard.services.watching import look_for
from tests.clients.launchers.vertex.launching import (
    LONG_AGO,
    MakeLauncher,
    StartVertex,
    make_order,
    to_environ,
    wait_for_end,
    wait_until,
)
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_core import CREATE, GET, LIST, REQUESTS
from tests.emulators.vertex_jobs import PARENT, make_job


def test_names_of_no_job_are_left_out(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Another launcher's names are not even asked for."""
    launcher = make_launcher(idle_vertex)
    job = launcher.submit("k1", make_order())
    gone = job.job_name[:-3] + "000"
    idle_vertex.core.faults.forget()
    assert launcher.report([gone, "/srv/jobs/k1", "", job.job_name]) == {job.job_name: job}
    assert idle_vertex.core.faults.counts() == {GET: 2}


def test_a_job_of_another_region_is_read_there(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """After GCP_REGION has changed, what still runs in the old one has not vanished."""
    custom_job = CustomJob.pb(CustomJob(make_job()))
    parent = PARENT.replace("us-central1", "europe-west4")
    name = idle_vertex.core.invoke(CREATE, REQUESTS[CREATE](parent=parent, custom_job=custom_job)).name
    launcher = make_launcher(idle_vertex)
    assert list(launcher.report([name])) == [name]
    launcher.cancel(name)
    assert idle_vertex.core.read(name).state == VertexState.JOB_STATE_CANCELLING


def test_a_job_of_another_region_is_listed_beside_itself(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """A GET that misses it says nothing as long as the LIST that has the last word asks elsewhere."""
    labels = {"switchyard-key": "key"}
    custom_job = CustomJob.pb(CustomJob(make_job(labels=labels)))
    parent = PARENT.replace("us-central1", "europe-west4")
    name = idle_vertex.core.invoke(CREATE, REQUESTS[CREATE](parent=parent, custom_job=custom_job)).name
    launcher = make_launcher(idle_vertex)
    assert launcher.list(labels, LONG_AGO) == []
    assert [report.job_name for report in launcher.list(labels, LONG_AGO, beside=name)] == [name]
    for elsewhere in ("/srv/jobs/key", name.replace("europe-west4", "us-central1")):
        assert launcher.list(labels, LONG_AGO, beside=elsewhere) == []
    job = Job(
        quick_test_id=1, attempt=1, key="key", request_key="r", state=JobState.RUNNING, job_name=name,
        claimed_at=datetime.now(UTC),
    )  # fmt: skip
    found = look_for(launcher, job, by_name=False)
    assert found is not None
    assert found.job_name == name


def test_a_cancelled_job_runs_on_until_it_has_ended(vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """CANCELLING is running; a second cancel, and one that comes too late, do nothing."""
    launcher = make_launcher(vertex)
    code = "import signal, sys, time\nsignal.signal(15, lambda *_: (time.sleep(0.3), sys.exit(143)))\ntime.sleep(60)"
    job = launcher.submit("k1", make_order(code))
    wait_until(lambda: launcher.report([job.job_name])[job.job_name].state is JobState.RUNNING, "it runs")
    launcher.cancel(job.job_name)
    launcher.cancel(job.job_name)
    ended = wait_for_end(launcher, job)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, Reason.CANCEL_ASKED)
    launcher.cancel(job.job_name)
    assert launcher.report([job.job_name]) == {job.job_name: ended}


@pytest.mark.parametrize("name", ["projects/demo-project/locations/us-central1/customJobs/1", "/srv/jobs/k1", ""])
def test_cancel_of_no_job_is_not_found(idle_vertex: VertexEmulator, make_launcher: MakeLauncher, name: str) -> None:
    """The message has the name."""
    with pytest.raises(NotFound, match=re.escape(repr(name)) if not name.startswith("projects") else name):
        make_launcher(idle_vertex).cancel(name)


def test_a_thousand_jobs_are_watched_by_eleven_requests(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """A sweep's answer suffices, and sweeps keep nothing: memory is flat."""
    vertex = start_vertex(new_job_state=4)
    labels = {"switchyard-db": "abc"}
    for number in range(1001):
        custom_job = CustomJob.pb(CustomJob(make_job(labels=labels | {"switchyard-key": f"k{number}"})))
        vertex.core.invoke(CREATE, REQUESTS[CREATE](parent=PARENT, custom_job=custom_job))
    launcher = make_launcher(vertex)
    assert len(launcher.list(labels, LONG_AGO)) == 1001
    launcher.list(labels, LONG_AGO)  # what is loaded at first use is loaded
    vertex.core.faults.forget()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            assert len({report.key for report in launcher.list(labels, LONG_AGO)}) == 1001
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert vertex.core.faults.counts() == {LIST: 33}
    # A sweep's 1,001 reports are above 500 kB; what stays between sweeps is far below one of them.
    assert max(sizes[1:]) - sizes[0] < 100_000, sizes


def test_a_sweep_is_bounded_by_labels_and_time(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Another database's jobs, and those created before, are not read."""
    launcher = make_launcher(idle_vertex)
    ours = [launcher.submit(f"k{n}", make_order(labels={"switchyard-db": "abc"})) for n in range(3)]
    launcher.submit("other", make_order(labels={"switchyard-db": "xyz"}))
    assert launcher.list({"switchyard-db": "abc"}, ours[1].created_at) == ours[1:]


def test_settings_alone_point_at_an_endpoint(
    vertex: VertexEmulator, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """connect() gives a launcher that submits, watches and ends a job."""
    for name, value in to_environ(vertex, transport).items():
        monkeypatch.setenv(name, value)
    launcher = connect().launcher
    assert isinstance(launcher, VertexLauncher)
    assert wait_for_end(launcher, launcher.submit("k1", make_order())).state is JobState.SUCCEEDED
    launcher.close()
