"""Job folders that were damaged, and strange things among them."""

from pathlib import Path

import pytest

from switchyard.clients.launchers.local.job_folder import JobFolder
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.errors import NotFound
from switchyard.core.runs.jobs import JobState
from tests.clients.launchers.local.jobs_here import LONG_AGO, claim, open_launcher, order, start, wait_for_end

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
