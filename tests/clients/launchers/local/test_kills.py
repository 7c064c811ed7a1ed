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
    """A training that no one would watch does not begin, without any help."""
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


# Starts a process that leaves the session, and says its id; with a clear environment, nothing of it names the job.
LEAVE = """if True:
    import os, subprocess, sys, time
    left = subprocess.Popen(["sleep", "100"], start_new_session=True, env=ENVIRON)
    open(PID_FILE, "w").write(str(left.pid))
    print('{"epoch": 0, "epochs": 9}', flush=True)
"""


def leave(pid_file: Path, environ: str = "None") -> str:
    return LEAVE.replace("PID_FILE", repr(str(pid_file))).replace("ENVIRON", environ)


def find_left(pid_file: Path) -> psutil.Process:
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    return psutil.Process(int(pid_file.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process can adopt another's orphans")
@pytest.mark.parametrize("environ", ["None", "{}"])
def test_grandchild_that_left_its_session_is_gone_at_the_end(
    launcher: LocalLauncher, tmp_path: Path, environ: str
) -> None:
    """Nor does it matter that its parent ended long before, or that its environment is clear."""
    go_on = tmp_path / "go-on"
    parent = leave(tmp_path / "pid", environ).replace("if True:", "", 1)
    code = (
        "import os, subprocess, sys, textwrap, time\n"
        f"subprocess.run([sys.executable, '-c', textwrap.dedent({parent!r})])\n"
        f"while not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    )
    name = launcher.submit("key-1", order(code)).job_name
    left = find_left(tmp_path / "pid")
    assert lives(left)
    go_on.touch()
    assert wait_for_end(launcher, name).state is JobState.SUCCEEDED
    assert not lives(left)


def test_grandchild_that_left_its_session_is_gone_with_a_killed_supervisor(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    """The next look knows it by its environment."""
    job, running = start(launcher, leave(tmp_path / "pid") + "    time.sleep(100)")
    left = find_left(tmp_path / "pid")
    os.kill(running.supervisor.pid, signal.SIGKILL)
    os.kill(running.training.pid, signal.SIGKILL)
    wait_until(lambda: not running.supervisor.find() and not running.training.find())
    assert lives(left)
    assert wait_for_end(launcher, job.job_name).reason is Reason.SUPERVISOR_LOST
    assert not lives(left)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process can adopt another's orphans")
def test_orphans_that_have_ended_are_no_zombies(launcher: LocalLauncher, tmp_path: Path) -> None:
    """Who adopts them buries them, while the training goes on."""
    code = (
        f"import os, subprocess, sys, time\nsubprocess.run(['sh', '-c', 'sleep 0 & echo $! > {tmp_path}/pid'])\n{SLEEP}"
    )
    job, running = start(launcher, code)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid))
    assert running.training.find() is not None
    launcher.cancel(job.job_name)
    assert wait_for_end(launcher, job.job_name).state is JobState.CANCELLED


def hold(running: Running) -> None:
    os.kill(running.supervisor.pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(running.supervisor.pid).status() == psutil.STATUS_STOPPED)


def test_time_out_of_a_held_supervisor_is_enforced_by_who_looks(launcher: LocalLauncher) -> None:
    """It is let go, and does it itself."""
    job, running = start(launcher, timeout_s=2)
    hold(running)
    ended = wait_for_end(launcher, job.job_name)
    assert (ended.state, ended.reason) == (JobState.FAILED, Reason.TIMED_OUT)
    assert not running.training.find()


def test_held_supervisor_is_left_alone_before_its_time(launcher: LocalLauncher) -> None:
    """Someone has a look at it."""
    job, running = start(launcher)
    hold(running)
    assert launcher.report([job.job_name])[job.job_name].state is JobState.RUNNING
    assert psutil.Process(running.supervisor.pid).status() == psutil.STATUS_STOPPED
    launcher.cancel(job.job_name)  # which a held process could not hear
    assert wait_for_end(launcher, job.job_name).state is JobState.CANCELLED


def test_supervisor_that_stays_held_is_ended_with_its_training(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four who look at once agree on one end: the time ran out."""
    job, running = start(launcher, timeout_s=1)
    hold(running)
    monkeypatch.setattr("switchyard.clients.launchers.local.launcher._HELD_S", -0.5)  # so that it counts as held again
    with ThreadPoolExecutor(4) as pool:
        reports = list(
            pool.map(lambda _: wait_for_end(open_launcher(Path(job.job_name).parents[1]), job.job_name), range(4))
        )
    assert all(report == reports[0] for report in reports)
    assert (reports[0].state, reports[0].reason) == (JobState.FAILED, Reason.TIMED_OUT)
    assert str(running.supervisor.pid) in reports[0].message
    assert not running.training.find()
    assert not running.supervisor.find()


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
