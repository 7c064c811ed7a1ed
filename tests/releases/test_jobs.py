"""A training that the last release's supervisor started is this release's job: seen, listed, ended, never doubled."""

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from switchyard.clients.launchers.local.job_folder import JobFolder
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.runs.jobs import JobOrder, JobReport, JobState, Reason
from tests.releases.release import Release

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

SUBMIT = """
import json, sys
from clients.local_launcher import LocalLauncher
from history.jobs import JobOrder
state_dir, code = sys.argv[1:]
launcher = LocalLauncher(state_dir, command=[sys.executable, "-c"], kill_after_s=5.0)
order = JobOrder(display_name="an old job", arguments=[code], labels={"switchyard-run": "7"}, timeout_s=60)
report = launcher.submit("key-1", order)
print(json.dumps({"job_name": report.job_name, "log_uri": report.log_uri}))
"""

# Counts its beginnings, then runs until the gate opens or it is told to end.
TRAINING = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
folder = pathlib.Path({folder!r})
with (folder / "begun").open("a") as begun:
    begun.write("once\\n")
print(json.dumps({{"epoch": 1, "epochs": 4, "loss": 0.5}}), flush=True)
while not (folder / "gate").exists():
    time.sleep(0.02)
"""


def wait_for(launcher: LocalLauncher, name: str, reached: Callable[[JobReport], bool]) -> JobReport:
    deadline = time.monotonic() + 60
    while not reached(report := launcher.report([name])[name]):
        assert time.monotonic() < deadline, report
        time.sleep(0.02)
    return report


@pytest.fixture
def job_name(release: Release, tmp_path: Path) -> str:
    """A job that the old release submitted, and that its supervisor runs; the submitter has ended."""
    code = TRAINING.format(folder=str(tmp_path))
    answer = release.answer(SUBMIT, str(tmp_path / "state"), code)
    return str(answer["job_name"])


@pytest.fixture
def launcher(tmp_path: Path) -> LocalLauncher:
    """This release's, on the same state folder."""
    return LocalLauncher(str(tmp_path / "state"), command=[sys.executable, "-c"])


def has_begun(report: JobReport) -> bool:
    return report.state is JobState.RUNNING and report.progress is not None


def test_a_job_of_the_last_release_is_adopted_to_its_end(
    job_name: str, launcher: LocalLauncher, tmp_path: Path
) -> None:
    """Reported with its progress, found by its labels, submitted again without a second start, and seen to succeed."""
    running = wait_for(launcher, job_name, has_begun)
    assert (running.key, running.progress and running.progress.epochs_asked) == ("key-1", 4)
    assert [job.key for job in launcher.list({"switchyard-run": "7"}, LONG_AGO)] == ["key-1"]

    again = launcher.submit("key-1", JobOrder(display_name="", arguments=["1 / 0"], labels={}, timeout_s=60))
    assert (again.job_name, again.state) == (job_name, JobState.RUNNING)

    (tmp_path / "gate").touch()
    ended = wait_for(launcher, job_name, lambda report: report.state.ended)
    assert ended.state is JobState.SUCCEEDED, ended
    assert launcher.submit("key-1", JobOrder(display_name="", arguments=["1 / 0"], labels={}, timeout_s=60)) == ended
    assert (tmp_path / "begun").read_text() == "once\n"


def test_a_job_of_the_last_release_can_be_cancelled(job_name: str, launcher: LocalLauncher) -> None:
    """The old supervisor understands the new mark: the job ends as cancelled, because someone asked."""
    wait_for(launcher, job_name, has_begun)
    launcher.cancel(job_name)
    ended = wait_for(launcher, job_name, lambda report: report.state.ended)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, Reason.CANCEL_ASKED)


def test_a_job_whose_old_supervisor_was_killed_has_failed(
    job_name: str, launcher: LocalLauncher, tmp_path: Path
) -> None:
    """Its lock is free and its process is gone: this release ends the training that it left."""
    running = wait_for(launcher, job_name, has_begun)
    record = JobFolder(Path(job_name)).read_running()
    assert record is not None
    os.kill(record.supervisor.pid, signal.SIGKILL)
    ended = wait_for(launcher, job_name, lambda report: report.state.ended)
    assert (ended.state, ended.job_name) == (JobState.FAILED, running.job_name)
    assert (tmp_path / "begun").read_text() == "once\n"
