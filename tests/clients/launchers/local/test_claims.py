"""Claims of jobs on this machine, and cancels, before and after the start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from switchyard.clients.launchers.local.job_folder import JobFolder
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.errors import BadRequest
from switchyard.core.runs.jobs import JobState, Reason
from tests.clients.launchers.local.jobs_here import (
    DEADLINE_S,
    LONG_AGO,
    SUBMIT,
    age,
    claim,
    open_launcher,
    order,
    start,
    wait_for_end,
    wait_until,
)


def test_submits_at_once_from_many_processes_train_once(state: Path, tmp_path: Path) -> None:
    """Six processes, one key, one training."""
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", SUBMIT, str(state), f"open({str(runs)!r}, 'a').write('run\\n')", "0"]
    submitters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    names = {submitter.communicate("", timeout=DEADLINE_S)[0].strip() for submitter in submitters}
    assert names == {str(state / "jobs" / "key-1")}
    assert wait_for_end(open_launcher(state), names.pop()).state is JobState.SUCCEEDED
    assert runs.read_text() == "run\n"


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
    """Its grace counts from the new submit: no one may end the job while its supervisor starts."""
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
    """There is no supervisor to ask, so the caller ends the training."""
    job, running = start(launcher)
    os.kill(running.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: running.supervisor.find() is None)
    launcher.cancel(job.job_name)
    assert running.training.find() is None
    assert launcher.report([job.job_name])[job.job_name].state is JobState.FAILED


@pytest.mark.parametrize(
    ("key", "timeout_s"), [("", 1), ("../key", 1), ("Key", 1), ("a" * 64, 1), ("-a", 1), ("a/b", 1), ("key", 0)]
)
def test_order_that_cannot_be_is_refused(launcher: LocalLauncher, state: Path, key: str, timeout_s: int) -> None:
    """A key is a label and a folder's name."""
    with pytest.raises(BadRequest, match="key"):
        launcher.submit(key, order("", timeout_s=timeout_s))
    assert not state.exists()
