"""Jobs of this machine whose submitter, supervisor or training is killed, each at any moment."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import pytest

from switchyard.clients.launchers.local.job_folder import JobFolder, Running
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.launchers.local.processes import Identity
from switchyard.core.runs.jobs import JobState, Reason
from tests.clients.launchers.local.jobs_here import (
    DEADLINE_S,
    SLEEP,
    SUBMIT,
    claim,
    lives,
    open_launcher,
    order,
    start,
    wait_for_end,
    wait_until,
)

# The supervisor, killed just before the outside effect of the given number; effects count from when it is on its own.
SUPERVISE = """if True:
    import os, signal, sys
    import switchyard.clients.launchers.local.supervisor
    kill_at = int(sys.argv.pop())
    effects, alone = 0, False
    def watch(event, arguments):
        global effects, alone
        alone = alone or event == "os.fork"
        if alone and (
            event in ("os.rename", "fcntl.flock", "subprocess.Popen")
            or (event == "open" and arguments[2] & os.O_ACCMODE)
        ):
            effects += 1
            if effects == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    switchyard.clients.launchers.local.supervisor.main()
    print("ended", flush=True)
"""


# The supervisor, killed when the training's process id is on the disk and the training has not been let go yet.
SUPERVISE_TO_THE_GATE = """if True:
    import os, signal, sys
    import switchyard.clients.launchers.local.supervisor
    def watch(frame, event, function):
        if event == "c_return" and function.__name__ == "replace":
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(watch)
    switchyard.clients.launchers.local.supervisor.main()
"""


def test_submitter_killed_at_any_moment_has_one_training(tmp_path: Path) -> None:
    """Whatever it had done by then, the next submit with the key gets the job, which trains once."""
    for effect in range(1, 100):
        state, runs = tmp_path / str(effect), tmp_path / f"runs-{effect}"
        code = f"open({str(runs)!r}, 'a').write('run\\n')"
        killed = subprocess.run([sys.executable, "-c", SUBMIT, str(state), code, str(effect)], input=b"")
        launcher = open_launcher(state)
        job = wait_for_end(launcher, launcher.submit("key-1", order(code)).job_name)
        assert job.state is JobState.SUCCEEDED
        assert runs.read_text() == "run\n"
        if killed.returncode == 0:
            break
    assert effect > 6, "the hook saw no effects to be killed at"


def test_supervisor_killed_at_any_moment_trains_at_most_once(tmp_path: Path) -> None:
    """The next submit runs what had not begun, and ends what had: a success is a whole training, and the only one."""
    seen = set()
    for effect in range(1, 100):
        state, runs = tmp_path / str(effect), tmp_path / f"runs-{effect}"
        name = claim(state, f"open({str(runs)!r}, 'a').write('run\\n')")
        command = [sys.executable, "-c", SUPERVISE, name, str(effect)]
        # Its standard output ends when it does, for the training has another one.
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S).stdout
        launcher = open_launcher(state)
        job = wait_for_end(launcher, launcher.submit("key-1", order("")).job_name)
        trainings = runs.read_text().count("run") if runs.exists() else 0
        seen.add((job.state, job.reason, trainings))
        if said == "ended\n":
            break
    assert effect > 6, "the hook saw no effects to be killed at"
    assert {state for state, _, _ in seen} == {JobState.SUCCEEDED, JobState.FAILED}
    assert seen <= {
        (JobState.SUCCEEDED, Reason.NONE, 1),
        (JobState.FAILED, Reason.SUPERVISOR_LOST, 0),
        (JobState.FAILED, Reason.SUPERVISOR_LOST, 1),
    }


def test_supervisor_killed_at_the_gate_has_not_trained(state: Path, tmp_path: Path) -> None:
    """A training that nobody would watch does not begin, without anybody's help."""
    runs = tmp_path / "runs"
    name = claim(state, f"open({str(runs)!r}, 'a')")
    subprocess.run([sys.executable, "-c", SUPERVISE_TO_THE_GATE, name], check=True)
    job = JobFolder(Path(name))
    wait_until(lambda: (running := job.read_running()) is not None and running.training.find() is None)
    assert open_launcher(state).report([name])[name].reason is Reason.SUPERVISOR_LOST
    assert not runs.exists()


def test_job_goes_on_when_the_orchestrators_group_is_killed(state: Path, tmp_path: Path) -> None:
    """The next launcher adopts it: sees it running, and its end."""
    go_on = tmp_path / "go-on"
    code = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    command = [sys.executable, "-c", SUBMIT, str(state), code, "0"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as orchestrator:
        assert orchestrator.stdout is not None
        name = orchestrator.stdout.readline().strip()
        os.killpg(orchestrator.pid, signal.SIGKILL)
    launcher = open_launcher(state)
    wait_until(lambda: launcher.report([name])[name].state is JobState.RUNNING)
    go_on.touch()
    assert wait_for_end(launcher, name).state is JobState.SUCCEEDED


def test_job_of_a_killed_supervisor_has_failed_and_its_training_is_gone(launcher: LocalLauncher, state: Path) -> None:
    """Four reporters at once agree on one end; what the training had started is gone as well."""
    code = "import subprocess, sys; subprocess.Popen(['sleep', '100'])\n" + SLEEP
    job, running = start(launcher, code)
    family = [psutil.Process(running.training.pid), *psutil.Process(running.training.pid).children(recursive=True)]
    assert len(family) == 2
    os.kill(running.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: running.supervisor.find() is None)
    with ThreadPoolExecutor(4) as pool:
        reports = list(
            pool.map(lambda _: wait_for_end(open_launcher(state), job.job_name), range(4)),
        )
    assert all(report == reports[0] for report in reports)
    assert (reports[0].state, reports[0].reason) == (JobState.FAILED, Reason.SUPERVISOR_LOST)
    assert str(running.supervisor.pid) in reports[0].message
    assert not any(map(lives, family))


def test_what_a_killed_training_had_started_is_gone_as_well(launcher: LocalLauncher) -> None:
    """Neither the supervisor nor the training's first process is there to tell: the environment tells."""
    code = "import subprocess, sys; subprocess.Popen(['sleep', '100'])\n" + SLEEP
    job, running = start(launcher, code)
    [left] = psutil.Process(running.training.pid).children()
    os.kill(running.supervisor.pid, signal.SIGKILL)
    os.kill(running.training.pid, signal.SIGKILL)
    wait_until(lambda: not running.supervisor.find() and not running.training.find())
    assert lives(left)
    assert wait_for_end(launcher, job.job_name).reason is Reason.SUPERVISOR_LOST
    assert not lives(left)


def test_what_a_training_leaves_behind_is_gone_at_its_end(launcher: LocalLauncher, tmp_path: Path) -> None:
    """A job that has ended does nothing any more."""
    pid_file = tmp_path / "pid"
    code = f"import subprocess; open({str(pid_file)!r}, 'w').write(str(subprocess.Popen(['sleep', '100']).pid))"
    job = wait_for_end(launcher, launcher.submit("key-1", order(code)).job_name)
    assert job.state is JobState.SUCCEEDED
    assert int(pid_file.read_text()) not in [process.pid for process in psutil.process_iter() if lives(process)]


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """A process that is no job's, with a session of its own."""
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_strangers_with_a_used_process_id_are_left_alone(state: Path, stranger: psutil.Process) -> None:
    """After a reboot other processes have the ids that a job's folder names: they get no signal."""
    name = claim(state)
    former = Identity(pid=stranger.pid, started_s=stranger.create_time() - 1_000)
    running = Running(supervisor=former, training=former, started_at=datetime.now(UTC))
    (Path(name) / "running.json").write_bytes(msgspec.json.encode(running))
    launcher = open_launcher(state)
    launcher.cancel(name)
    assert launcher.report([name])[name].reason is Reason.SUPERVISOR_LOST
    assert lives(stranger)


def test_supervisor_told_to_end_ends_its_training(launcher: LocalLauncher) -> None:
    """A machine that shuts down is no cancel: the job has failed, and the message says why."""
    job, running = start(launcher)
    os.kill(running.supervisor.pid, signal.SIGTERM)
    ended = wait_for_end(launcher, job.job_name)
    assert (ended.state, ended.reason) == (JobState.FAILED, Reason.KILLED)
    assert "supervisor was told to end" in ended.message
    assert running.training.find() is None
