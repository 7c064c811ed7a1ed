"""Job folders that were damaged, and strange things among them."""

import os
from pathlib import Path

import pytest

from switchyard.clients.launchers.local.job_folder import JobFolder
from switchyard.clients.launchers.local.job_log import to_progress
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.errors import BadSetup, NotFound
from switchyard.core.runs.jobs import JobState, Progress
from tests.clients.launchers.local.jobs_here import LONG_AGO, claim, open_launcher, order, start, wait_for_end
from tests.clients.launchers.local.strange_files import STRANGE

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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("file", ["order.json", "running.json", "exit.json"])
def test_strange_file_fails_its_own_job_only(state: Path, file: str, strange: str) -> None:
    """It stands in place of a record: no one waits for it, and every other job is reported and listed."""
    launcher = open_launcher(state)
    good = wait_for_end(launcher, launcher.submit("key-2", order("")).job_name)
    job = Path(claim(state))
    (job / file).unlink(missing_ok=True)
    STRANGE[strange](job / file)
    for _ in range(2):
        launcher = open_launcher(state)
        reports = launcher.report([str(job), good.job_name])
        assert reports[good.job_name] == good
        assert (reports[str(job)].state, reports[str(job)].problem) == (JobState.FAILED, "")
        assert str(job / file) in reports[str(job)].message
        assert launcher.list({"a": "b"}, LONG_AGO) == [good]
        assert launcher.submit("key-1", order("")) == reports[str(job)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("file", ["cancel", "log.txt"])
def test_strange_mark_or_log_stops_nobody(state: Path, file: str, strange: str) -> None:
    """A mark is a mark, whatever it is; a log that cannot be read has no last words."""
    launcher = open_launcher(state)
    good = wait_for_end(launcher, launcher.submit("key-2", order("")).job_name)
    name = claim(state)
    (Path(name) / file).unlink(missing_ok=True)
    STRANGE[strange](Path(name) / file)
    launcher.cancel(name)
    reports = launcher.report([name, good.job_name])
    assert (reports[name].state, reports[good.job_name]) == (JobState.CANCELLED, good)


@pytest.mark.timeout(60)
def test_submit_does_not_wait_for_a_fifo(state: Path) -> None:
    """In place of the log: an error of this submit, at once."""
    job = state / "jobs" / "key-1"
    job.mkdir(parents=True)
    os.mkfifo(job / "log.txt")
    with pytest.raises(BadSetup, match="key-1"):
        open_launcher(state).submit("key-1", order(""))


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), RuntimeError("made up"), MemoryError(), KeyError("x")], ids=repr
)
def test_job_that_cannot_be_looked_at_is_a_problem_of_its_own(
    state: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Of whatever class: nothing is concluded about it, the others are reported, and the next look may succeed."""
    launcher = open_launcher(state)
    good = wait_for_end(launcher, launcher.submit("key-2", order("")).job_name)
    name = claim(state)

    def fail(job: JobFolder) -> None:
        if job.key == "key-1":
            raise error

    with monkeypatch.context() as broken:  # no user who may read everything, as root may, meets the first of them
        broken.setattr(JobFolder, "read_exit", fail)
        report = open_launcher(state).report([name])[name]
        assert str(error.args[-1] if error.args else "MemoryError") in report.problem
        assert not report.state.ended
        assert [job.key for job in launcher.list({}, LONG_AGO)] == ["key-2", "key-1"]
        assert launcher.list({"a": "b"}, LONG_AGO) == [good]
    report = launcher.report([name])[name]
    assert (report.state, report.problem) == (JobState.QUEUED, "")


def test_looping_link_among_the_jobs_is_left_out(state: Path) -> None:
    """It is no job."""
    launcher = open_launcher(state)
    job = wait_for_end(launcher, launcher.submit("key-2", order("")).job_name)
    (state / "jobs" / "key-1").symlink_to("key-1")
    assert launcher.list({}, LONG_AGO) == [job]
    assert launcher.report([str(state / "jobs" / "key-1"), job.job_name]) == {job.job_name: job}


@pytest.mark.parametrize("said", ['{"epoch": 1, "epochs": 2, "loss": 1' + "0" * 400 + "}", '{"x":' * 9_000])
def test_strange_line_of_a_log_is_passed_over(said: str) -> None:
    """A number that no float can be; an object without an end."""
    assert to_progress(f'{{"epoch": 0, "epochs": 2}}\n{said}') in (Progress(1, 2), Progress(2, 2))
