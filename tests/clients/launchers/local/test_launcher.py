"""What is particular to jobs on this machine: kills at any moment, damaged folders, other processes, a full disk."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import pytest

from switchyard.clients.launchers.local.job_folder import Exit, JobFolder, Running
from switchyard.clients.launchers.local.job_log import to_last_words, to_progress
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.launchers.local.processes import Identity
from switchyard.core.errors import BadRequest, BadSetup, NotFound, TryAgain
from switchyard.core.runs.jobs import JobOrder, JobReport, JobState, Progress, Reason

DEADLINE_S = 30.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SLEEP = 'import time; print(\'{"epoch": 0, "epochs": 9}\', flush=True); time.sleep(100)'

# Submits the job key-1 and says so. SIGKILL comes just before the outside effect of the given number or name.
SUBMIT = """if True:
    import os, signal, sys
    from switchyard.clients.launchers.local.launcher import LocalLauncher
    from switchyard.core.runs.jobs import JobOrder
    state, code, kill_at = sys.argv[1:]
    launcher = LocalLauncher(state, command=[sys.executable, "-c"])
    effects = 0
    def watch(event, arguments):
        global effects
        if event in ("os.mkdir", "os.rename", "os.utime", "fcntl.flock", "subprocess.Popen") or (
            event == "open" and arguments[2] & os.O_ACCMODE
        ):
            effects += 1
            if kill_at in (event, str(effects)):
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    order = JobOrder(display_name="", arguments=[code], labels={"a": "b"}, timeout_s=60)
    print(launcher.submit("key-1", order).job_name, flush=True)
    sys.stdin.read()
"""

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


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def launcher(state: Path) -> LocalLauncher:
    return open_launcher(state)


def open_launcher(state: Path, *, start_grace_s: float = 60.0) -> LocalLauncher:
    """A launcher as another process would have it: nothing is remembered."""
    return LocalLauncher(str(state), command=[sys.executable, "-c"], kill_after_s=0.5, start_grace_s=start_grace_s)


def order(code: str, *, timeout_s: int = 60) -> JobOrder:
    return JobOrder(display_name="a test's job", arguments=[code], labels={"a": "b"}, timeout_s=timeout_s)


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline, f"not reached within {DEADLINE_S} s"
        time.sleep(0.02)


def wait_for_end(launcher: LocalLauncher, name: str) -> JobReport:
    wait_until(lambda: launcher.report([name])[name].state.ended)
    return launcher.report([name])[name]


def start(launcher: LocalLauncher, code: str = SLEEP, key: str = "key-1") -> tuple[JobReport, Running]:
    """A job that has said its first line."""
    name = launcher.submit(key, order(code)).job_name
    wait_until(lambda: launcher.report([name])[name].progress is not None)
    running = JobFolder(Path(name)).read_running()
    assert running is not None
    return launcher.report([name])[name], running


def claim(state: Path, code: str = SLEEP) -> str:
    """A job whose submitter was killed when it was about to start the supervisor; returns its name."""
    command = [sys.executable, "-c", SUBMIT, str(state), code, "subprocess.Popen"]
    assert subprocess.run(command, input=b"").returncode == -signal.SIGKILL
    return str(state / "jobs" / "key-1")


def lives(process: psutil.Process) -> bool:
    """Not so a process that has ended while nobody has read its exit status yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def age(path: Path, *, seconds: float) -> None:
    os.utime(path, (time.time() - seconds, time.time() - seconds))


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


def test_submits_at_once_from_many_processes_train_once(state: Path, tmp_path: Path) -> None:
    """Six processes, one key, one training."""
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", SUBMIT, str(state), f"open({str(runs)!r}, 'a').write('run\\n')", "0"]
    submitters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    names = {submitter.communicate("", timeout=DEADLINE_S)[0].strip() for submitter in submitters}
    assert names == {str(state / "jobs" / "key-1")}
    assert wait_for_end(open_launcher(state), names.pop()).state is JobState.SUCCEEDED
    assert runs.read_text() == "run\n"


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


def test_claim_is_queued_until_its_grace_is_over(state: Path) -> None:
    """Within it a supervisor may still be on its way; after it the job never started, and no late one starts it."""
    name = claim(state)
    launcher = open_launcher(state)
    assert launcher.report([name])[name].state is JobState.QUEUED
    age(Path(name) / "order.json", seconds=61)
    job = launcher.report([name])[name]
    assert (job.state, job.reason) == (JobState.FAILED, Reason.NEVER_STARTED)
    subprocess.run([sys.executable, "-m", "switchyard.clients.launchers.local.supervisor", name], check=True)
    assert open_launcher(state).submit("key-1", order("")) == job
    assert not (Path(name) / "running.json").exists()


def test_submit_takes_up_an_old_claim(state: Path) -> None:
    """Its grace counts from the new submit: nobody may end the job while its supervisor starts."""
    name = claim(state, "print('trained')")
    age(Path(name) / "order.json", seconds=3_600)
    launcher = open_launcher(state)
    launcher.submit("key-1", order(""))
    assert wait_for_end(launcher, name).state is JobState.SUCCEEDED


def test_folder_without_an_order_is_a_claim(state: Path) -> None:
    """Its submitter was killed between the two: it is queued, then failed, unless the next submit takes it up."""
    for key in ("key-1", "key-2"):
        (state / "jobs" / key).mkdir(parents=True)
    launcher = open_launcher(state)
    name = str(state / "jobs" / "key-1")
    assert launcher.report([name])[name].state is JobState.QUEUED
    assert launcher.submit("key-1", order("")).created_at > LONG_AGO
    assert wait_for_end(launcher, name).state is JobState.SUCCEEDED
    name = str(state / "jobs" / "key-2")
    age(Path(name), seconds=61)
    assert launcher.report([name])[name].reason is Reason.NEVER_STARTED
    assert launcher.submit("key-2", order("")).state is JobState.FAILED


def test_cancel_before_the_start_ends_the_job_unrun(state: Path, tmp_path: Path) -> None:
    """With an order or without one; a supervisor that comes later leaves."""
    runs = tmp_path / "runs"
    (state / "jobs" / "key-2").mkdir(parents=True)
    names = [claim(state, f"open({str(runs)!r}, 'a')"), str(state / "jobs" / "key-2")]
    launcher = open_launcher(state)
    for name in names:
        launcher.cancel(name)
        launcher.cancel(name)
        job = launcher.report([name])[name]
        assert (job.state, job.reason) == (JobState.CANCELLED, Reason.CANCEL_ASKED)
        subprocess.run([sys.executable, "-m", "switchyard.clients.launchers.local.supervisor", name], check=True)
        assert open_launcher(state).submit(job.key, order("")) == job
    assert not runs.exists()


def test_cancel_mark_alone_cancels(state: Path, tmp_path: Path) -> None:
    """Who asked was killed before the signal: the supervisor finds the mark, before the start and after it."""
    runs = tmp_path / "runs"
    name = claim(state, f"open({str(runs)!r}, 'a')")
    JobFolder(Path(name)).ask_to_cancel()
    launcher = open_launcher(state)
    launcher.submit("key-1", order(""))
    assert wait_for_end(launcher, name).state is JobState.CANCELLED
    assert not runs.exists()
    job, _ = start(launcher, key="key-2")
    JobFolder(Path(job.job_name)).ask_to_cancel()
    assert wait_for_end(launcher, job.job_name).state is JobState.CANCELLED


def test_cancel_of_a_lost_job_ends_it(launcher: LocalLauncher) -> None:
    """There is no supervisor to ask, so whoever asks ends the training."""
    job, running = start(launcher)
    os.kill(running.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: running.supervisor.find() is None)
    launcher.cancel(job.job_name)
    assert running.training.find() is None
    assert launcher.report([job.job_name])[job.job_name].state is JobState.FAILED


def test_supervisor_told_to_end_ends_its_training(launcher: LocalLauncher) -> None:
    """A machine that shuts down is no cancel: the job has failed, and the message says why."""
    job, running = start(launcher)
    os.kill(running.supervisor.pid, signal.SIGTERM)
    ended = wait_for_end(launcher, job.job_name)
    assert (ended.state, ended.reason) == (JobState.FAILED, Reason.KILLED)
    assert "supervisor was told to end" in ended.message
    assert running.training.find() is None


DAMAGED = [b"", b"{", b"null", b'{"state": "no such state"}', b"\xff"]


@pytest.mark.parametrize("data", DAMAGED)
@pytest.mark.parametrize("file", ["order.json", "running.json", "exit.json"])
def test_damaged_record_fails_its_own_job_only(state: Path, file: str, data: bytes) -> None:
    """The report says which file and what to do; the other jobs are reported and listed as ever."""
    launcher = open_launcher(state)
    good = wait_for_end(launcher, launcher.submit("key-2", order("")).job_name)
    name = claim(state)
    (Path(name) / file).write_bytes(data)
    for _ in range(2):
        launcher = open_launcher(state)
        reports = launcher.report([name, good.job_name])
        assert reports[good.job_name] == good
        assert reports[name].state is JobState.FAILED
        assert str(Path(name) / file) in reports[name].message
        assert "remove the folder" in reports[name].message
        assert good in launcher.list({"a": "b"}, LONG_AGO)
        assert launcher.submit("key-1", order("")) == reports[name]


@pytest.mark.parametrize("file", ["order.json", "running.json"])
def test_running_job_with_a_damaged_record_runs_on(launcher: LocalLauncher, file: str) -> None:
    """Its supervisor holds the folder's lock, and will write the end."""
    job, _ = start(launcher)
    (Path(job.job_name) / file).write_bytes(b"{")
    report = launcher.report([job.job_name])[job.job_name]
    assert report.state is JobState.RUNNING
    JobFolder(Path(job.job_name)).ask_to_cancel()
    assert wait_for_end(launcher, job.job_name).state is JobState.CANCELLED


def test_strange_things_among_the_jobs_are_left_out(launcher: LocalLauncher, state: Path) -> None:
    """A file, or a broken link, is no job."""
    job = wait_for_end(launcher, launcher.submit("key-1", order("")).job_name)
    (state / "jobs" / "README").write_text("x")
    (state / "jobs" / "link").symlink_to("none")
    assert launcher.list({}, LONG_AGO) == [job]
    assert launcher.report([str(state / "jobs" / "README"), str(state), str(state / "jobs"), job.job_name]) == {
        job.job_name: job
    }
    for name in (state / "jobs" / "README", state, Path("key-1")):
        with pytest.raises(NotFound):
            launcher.cancel(str(name))


def test_training_has_the_callers_environment_and_the_disk_has_not(
    launcher: LocalLauncher, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials reach the training without being written down."""
    monkeypatch.setenv("MADE_UP_PASSWORD", "pass-w0rd")
    code = (
        "import os; assert os.environ['MADE_UP_PASSWORD'][::-1] == 'dr0w-ssap'; assert os.environ['PYTHONUNBUFFERED']"
    )
    job = wait_for_end(launcher, launcher.submit("key-1", order(code)).job_name)
    assert job.state is JobState.SUCCEEDED, job.message
    assert not [path for path in state.rglob("*") if path.is_file() and b"pass-w0rd" in path.read_bytes()]


def test_failure_message_is_short(launcher: LocalLauncher) -> None:
    """A log of megabytes is read at its end only, and its last lines are enough."""
    code = "print('x' * 5_000_000); print('the last line', flush=True); raise SystemExit(1)"
    job = wait_for_end(launcher, launcher.submit("key-1", order(code)).job_name)
    assert len(job.message) < 2_500
    assert job.message.endswith("the last line")


@pytest.mark.parametrize(
    ("key", "timeout_s"), [("", 1), ("../key", 1), ("Key", 1), ("a" * 64, 1), ("-a", 1), ("a/b", 1), ("key", 0)]
)
def test_order_that_cannot_be_is_refused(launcher: LocalLauncher, state: Path, key: str, timeout_s: int) -> None:
    """A key is a label and a folder's name."""
    with pytest.raises(BadRequest, match="key"):
        launcher.submit(key, order("", timeout_s=timeout_s))
    assert not state.exists()


def test_command_that_is_not_there_has_failed(state: Path) -> None:
    """The log says what was looked for."""
    launcher = LocalLauncher(str(state), command=["/no/such/python"])
    job = wait_for_end(launcher, launcher.submit("key-1", order("")).job_name)
    assert (job.state, job.reason) == (JobState.FAILED, Reason.EXITED)
    assert "/no/such/python" in job.message


def test_relative_state_dir_makes_absolute_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name must be good in every working directory."""
    monkeypatch.chdir(tmp_path)
    job = LocalLauncher("state dir", command=[sys.executable, "-c"]).submit("key-1", order(""))
    assert job.job_name == f"{tmp_path}/state dir/jobs/key-1"
    assert job.log_uri == f"file://{tmp_path}/state%20dir/jobs/key-1/log.txt"
    monkeypatch.chdir("/")
    assert wait_for_end(open_launcher(tmp_path / "state dir"), job.job_name).state is JobState.SUCCEEDED


def test_supervisor_that_cannot_start_is_bad_setup(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has its traceback; once the environment is mended, the same submit starts the job."""
    (tmp_path / "broken" / "switchyard").mkdir(parents=True)
    (tmp_path / "broken" / "switchyard" / "__init__.py").write_text("raise ImportError('made-up reason')")
    with monkeypatch.context() as broken:
        broken.chdir(tmp_path / "broken")
        with pytest.raises(BadSetup, match="made-up reason"):
            open_launcher(state).submit("key-1", order(""))
    launcher = open_launcher(state)
    assert wait_for_end(launcher, launcher.submit("key-1", order("")).job_name).state is JobState.SUCCEEDED


def test_thousand_ended_jobs_cost_one_read_each_and_then_none(tmp_path: Path) -> None:
    """An ended job's record holds all that a list needs, and does not change any more."""
    end = Exit(
        state=JobState.SUCCEEDED,
        reason=Reason.NONE,
        message="",
        labels={"a": "b"},
        created_at=LONG_AGO,
        started_at=LONG_AGO,
        ended_at=LONG_AGO,
    )
    for number in range(1_000):
        folder = tmp_path / "jobs" / f"key-{number}"
        folder.mkdir(parents=True)
        (folder / "exit.json").write_bytes(msgspec.json.encode(end))
    code = """if True:
        import sys
        from datetime import UTC, datetime
        from switchyard.clients.launchers.local.launcher import LocalLauncher
        opened = 0
        def watch(event, arguments):
            global opened
            opened += event == "open" and "jobs" in str(arguments[0])
        sys.addaudithook(watch)
        launcher = LocalLauncher(sys.argv[1])
        for _ in range(2):
            found = len(launcher.list({"a": "b"}, datetime(2020, 1, 1, tzinfo=UTC)))
            print(found, opened)
    """
    listed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["1000", "1000", "1000", "1000"]


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "ballast").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def test_submit_on_a_full_disk_can_be_tried_again(small_disk: Path) -> None:
    """Nothing half-written is in the way of the next one."""
    fill(small_disk)
    launcher = open_launcher(small_disk)
    with pytest.raises(TryAgain, match="disk is full"):
        launcher.submit("key-1", order(""))
    (small_disk / "ballast").unlink()
    assert wait_for_end(launcher, launcher.submit("key-1", order("")).job_name).state is JobState.SUCCEEDED


def test_end_of_a_training_waits_for_room_on_the_disk(small_disk: Path, tmp_path: Path) -> None:
    """A training of hours is not lost because the disk was full at its last moment."""
    go_on = tmp_path / "go-on"
    code = (
        f"{SLEEP.partition('; time.sleep')[0]}\nimport os\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    )
    launcher = open_launcher(small_disk)
    job, running = start(launcher, code)
    fill(small_disk)
    go_on.touch()
    wait_until(lambda: running.training.find() is None)
    assert launcher.report([job.job_name])[job.job_name].state is JobState.RUNNING
    (small_disk / "ballast").unlink()
    assert wait_for_end(launcher, job.job_name).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("tail", "progress"),
    [
        ("", None),
        ("epoch 3 of 20", None),
        ('{"epoch": 2, "epochs": 20, "loss": 0.5}', Progress(3, 20, 0.5)),
        ('{"epoch": 2, "epochs": 20, "loss": 1}\nother\n', Progress(3, 20, 1.0)),
        ('{"epoch": 1, "epochs": 20}\n{"epoch": 2, "epochs": 20, "lo', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20}\n{"message": "saved"}\n{}', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20, "loss": null}', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20, "loss": NaN}', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20, "loss": "0.5"}', Progress(2, 20)),
        ('{"epoch": true, "epochs": 20}', None),
        ('{"epoch": "1", "epochs": 20}', None),
        ('[{"epoch": 1, "epochs": 20}]', None),
        ('s": 3}\n{"epoch": 1, "epochs": 2}', Progress(2, 2)),
    ],
)
def test_progress_is_read_from_the_last_whole_line(tail: str, progress: Progress | None) -> None:
    """Whatever else is in the log, and wherever its tail begins."""
    assert to_progress(tail) == progress


def test_last_words_skip_empty_lines() -> None:
    """At most 15 lines and 2,000 characters, from the end."""
    assert to_last_words("a\n\n \nb  \n") == "a\nb"
    assert to_last_words("\n".join(map(str, range(100)))) == "\n".join(map(str, range(85, 100)))
    assert to_last_words("x" * 5_000) == "x" * 2_000


def test_records_on_the_disk_are_plain_json(launcher: LocalLauncher) -> None:
    """A person at night can read them."""
    job = wait_for_end(launcher, launcher.submit("key-1", order("raise SystemExit(3)")).job_name)
    end = json.loads((Path(job.job_name) / "exit.json").read_text())
    assert end["exit_status"] == 3
    assert end["signal"] is None
    assert end["cancelled"] is end["timed_out"] is False
