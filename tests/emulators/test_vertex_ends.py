"""How jobs of Vertex AI's endpoint end: exits, restarts, lost machines, timeouts, cancellation."""

from pathlib import Path
from typing import Any

import psutil
import pytest
from google.api_core import exceptions as api
from google.cloud.aiplatform_v1 import JobServiceClient, JobState

from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_asking import UNTIL_TOLD, MakeClient, StartVertex
from tests.emulators.vertex_jobs import (
    create,
    make_job,
    wait_for,
    wait_for_log,
)


def run(vertex: VertexEmulator, client: JobServiceClient, code: str, **changed: Any) -> Any:
    return wait_for(vertex, create(client, make_job(code, **changed)).name)


def test_an_exit_of_the_training_itself_is_permanent(
    vertex: VertexEmulator, transport: str, make_client: MakeClient
) -> None:
    """The error has the status, the log's end and the link to the log."""
    client = make_client(vertex, transport)
    job = run(vertex, client, "print('ran', flush=True); raise SystemExit('no column buyer')")
    job = client.get_custom_job(name=job.name)
    assert job.state == JobState.JOB_STATE_FAILED
    assert job.error.code == 3
    assert "The replica workerpool0-0 exited with a non-zero status of 1." in job.error.message
    assert "no column buyer" in job.error.message
    assert f"job_id%2F{job.name.rpartition('/')[2]}" in job.error.message
    assert vertex.core.log_of(job.name).count("ran") == 1


def test_an_exit_that_may_pass_restarts_the_job_three_times(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """SIGABRT and SIGSEGV do; where restarts are off, they do not."""
    code = "import os; print('ran', flush=True); os.abort()"
    job = run(vertex, make_client(vertex), code)
    assert job.state == JobState.JOB_STATE_FAILED
    assert "status of 134" in job.error.message
    assert vertex.core.log_of(job.name).count("ran") == 4
    job = run(vertex, make_client(vertex), code, scheduling={"disable_retries": True})
    assert vertex.core.log_of(job.name).count("ran") == 1


def test_memory_that_runs_out_ends_the_job(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """A SIGKILL that the platform did not send is the kernel's."""
    job = run(vertex, make_client(vertex), "import os; os.kill(os.getpid(), 9)")
    assert "ran out of memory and exited with a non-zero status of 137" in job.error.message


ON_SECOND_RUN = (
    "import pathlib, sys; p = pathlib.Path({marker!r})\nif p.exists(): sys.exit(0)\np.touch()\n" + UNTIL_TOLD
)


@pytest.mark.parametrize("act", ["kill", "restart", "preempt"])
def test_a_lost_machine_runs_main_again_in_the_same_job(
    vertex: VertexEmulator, make_client: MakeClient, tmp_path: Path, act: Any
) -> None:
    """In an empty directory again; the start time stays that of the first run."""
    code = "import os; print(os.listdir(), flush=True); open('left', 'w').close()\n"
    created = create(make_client(vertex), make_job(code + ON_SECOND_RUN.format(marker=str(tmp_path / "marker"))))
    wait_for_log(vertex, created.name, "up")
    started = vertex.core.read(created.name).start_time
    vertex.core.act(created.name, act)
    job = wait_for(vertex, created.name)
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert job.start_time == started
    assert vertex.core.log_of(created.name).count("[]") == 2


def test_a_worker_is_restarted_five_times_then_the_job(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """The sixth loss starts the job again."""
    created = create(make_client(vertex), make_job(UNTIL_TOLD))
    for run_number in range(1, 8):
        wait_for_log(vertex, created.name, "up", run_number)
        vertex.core.act(created.name, "kill")
    wait_for_log(vertex, created.name, "up", 8)
    assert vertex.core.read(created.name).state == JobState.JOB_STATE_RUNNING


def test_a_lost_machine_ends_a_job_without_restarts(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """disable_retries."""
    created = create(make_client(vertex), make_job(UNTIL_TOLD, scheduling={"disable_retries": True}))
    wait_for_log(vertex, created.name, "up")
    vertex.core.act(created.name, "kill")
    assert wait_for(vertex, created.name).state == JobState.JOB_STATE_FAILED


def test_all_replicas_restart_where_the_job_asks_for_it(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """restart_job_on_worker_restart; otherwise the lost one alone."""
    for whole, runs in ((True, 4), (False, 3)):
        job = make_job(UNTIL_TOLD, replicas=2, scheduling={"restart_job_on_worker_restart": whole})
        created = create(make_client(vertex), job)
        wait_for_log(vertex, created.name, "up", 2)
        vertex.core.act(created.name, "kill")
        wait_for_log(vertex, created.name, "up", runs)
        make_client(vertex).cancel_custom_job(name=created.name)
        wait_for(vertex, created.name)
        assert vertex.core.log_of(created.name).count("up") == runs


def test_a_region_without_machines_fails_the_job_after_three_more_tries(
    vertex: VertexEmulator, make_client: MakeClient
) -> None:
    """Three stockouts are outlived, four are not."""
    vertex.core.stockouts = 3
    assert run(vertex, make_client(vertex), "").state == JobState.JOB_STATE_SUCCEEDED
    vertex.core.stockouts = 4
    job = run(vertex, make_client(vertex), "")
    assert job.state == JobState.JOB_STATE_FAILED
    assert "Resources are insufficient in region: us-central1." in job.error.message
    assert not job.HasField("start_time")


def test_a_timeout_ends_the_job(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """With SIGTERM first."""
    code = UNTIL_TOLD.replace("lambda *_: sys.exit(143)", "lambda *_: (print('told', flush=True), sys.exit(143))")
    job = run(vertex, make_client(vertex), code, scheduling={"timeout": "1s"})
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert vertex.core.log_of(job.name).split() == ["up", "told"]


def test_cancel_is_asynchronous_and_tells_the_container(
    vertex: VertexEmulator, transport: str, make_client: MakeClient
) -> None:
    """CANCELLING first; a second cancel changes nothing; one of an ended job is refused."""
    client = make_client(vertex, transport)
    code = UNTIL_TOLD.replace("lambda *_: sys.exit(143)", "lambda *_: (time.sleep(0.3), sys.exit(143))")
    created = create(client, make_job(code))
    wait_for_log(vertex, created.name, "up")
    client.cancel_custom_job(name=created.name)
    assert client.get_custom_job(name=created.name).state == JobState.JOB_STATE_CANCELLING
    client.cancel_custom_job(name=created.name)
    job = wait_for(vertex, created.name)
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert job.HasField("end_time")
    with pytest.raises(api.BadRequest, match="JOB_STATE_CANCELLED"):
        client.cancel_custom_job(name=created.name)


def test_a_container_that_does_not_listen_is_killed_with_its_children(
    start_vertex: StartVertex, make_client: MakeClient
) -> None:
    """After the grace, the whole group."""
    vertex = start_vertex(grace_s=0.3)
    code = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', "
        "'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)'])\n"
    ) + UNTIL_TOLD.replace("lambda *_: sys.exit(143)", "signal.SIG_IGN")
    client = make_client(vertex)
    created = create(client, make_job(code))
    wait_for_log(vertex, created.name, "up")
    (pid,) = vertex.core.pids_of(created.name)
    group = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert len(group) == 2
    client.cancel_custom_job(name=created.name)
    assert wait_for(vertex, created.name).state == JobState.JOB_STATE_CANCELLED
    _, alive = psutil.wait_procs(group, timeout=10)
    assert alive == []


def test_an_error_appears_a_while_after_the_end(start_vertex: StartVertex, make_client: MakeClient) -> None:
    """As the service does, "about one minute after a job ends"."""
    vertex = start_vertex(error_delay_s=3600)
    job = run(vertex, make_client(vertex), "raise SystemExit(1)")
    assert job.state == JobState.JOB_STATE_FAILED
    assert not job.error.message
