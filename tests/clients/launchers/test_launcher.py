"""The suite of the port `Launcher`, for every implementation. Training is a few lines of Python."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.errors import NotFound
from switchyard.core.ports import Launcher
from switchyard.core.runs.jobs import JobOrder, JobReport, JobState, Progress, Reason, to_labels, to_submission_key

DEADLINE_S = 30.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

# Leaves a file when it has begun, then runs until it is told to end, as a trainer does.
UNTIL_TOLD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open(BEGUN, "w").close()
while True:
    time.sleep(0.05)
"""


@pytest.fixture(params=["local", "vertex by rest", "vertex by grpc"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launcher]:
    """A launcher that runs an order's one argument as Python."""
    if request.param == "local":
        yield LocalLauncher(str(tmp_path / "state"), command=[sys.executable, "-c"], kill_after_s=0.5)
        return
    from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite
    from tests.emulators.vertex_jobs import PYTHON_IMAGE

    server = request.getfixturevalue("vertex")
    transport = request.param.rpartition(" ")[2]
    request.getfixturevalue("monkeypatch").setattr(server.core.config, "grace_s", 0.5)
    site = VertexSite(
        project_id="demo-project",
        region="us-central1",
        trainer_image=PYTHON_IMAGE,
        api_endpoint=server.endpoint(transport),
        transport=transport,
    )
    vertex = VertexLauncher(site)
    yield vertex
    vertex.close()


def order(code: str, *, labels: dict[str, str] | None = None, timeout_s: int = 60) -> JobOrder:
    return JobOrder(display_name="a test's job", arguments=[code], labels=labels or {}, timeout_s=timeout_s)


def wait_for(
    launcher: Launcher, job: JobReport, reached: Callable[[JobReport], bool] = lambda job: job.state.ended
) -> JobReport:
    """The job's first report that `reached` likes."""
    deadline = time.monotonic() + DEADLINE_S
    while not reached(job):
        assert time.monotonic() < deadline, f"not reached within {DEADLINE_S} s: {job}"
        assert not job.state.ended, f"ended before it was reached: {job}"
        time.sleep(0.02)
        job = launcher.report([job.job_name])[job.job_name]
    return job


def begin(launcher: Launcher, code: str, folder: Path) -> JobReport:
    """The running job of key-1, whose `code` has left its file BEGUN."""
    begun = folder / "begun"
    job = launcher.submit("key-1", order(code.replace("BEGUN", repr(str(begun)))))
    return wait_for(launcher, job, lambda job: job.state is JobState.RUNNING and begun.exists())


def to_unknown(job_name: str) -> str:
    """A name as good as `job_name`, but no job's."""
    return job_name[:-1] + ("2" if job_name[-1] != "2" else "3")


def test_training_that_ends_well_has_succeeded(launcher: Launcher) -> None:
    """Its report has the times in order and says where the log is."""
    before = datetime.now(UTC)
    job = wait_for(launcher, launcher.submit("key-1", order("print('trained')")))
    assert (job.key, job.state, job.reason, job.message) == ("key-1", JobState.SUCCEEDED, Reason.NONE, "")
    assert job.log_uri
    assert job.started_at is not None
    assert job.ended_at is not None
    assert before <= job.created_at <= job.started_at <= job.ended_at <= datetime.now(UTC)
    assert job.created_at.tzinfo is UTC


def test_training_that_exits_non_zero_has_failed(launcher: Launcher) -> None:
    """The message has the exit status and the log's last words."""
    job = wait_for(launcher, launcher.submit("key-1", order("print('no column buyer'); raise SystemExit(3)")))
    assert (job.state, job.reason) == (JobState.FAILED, Reason.EXITED)
    assert re.search(r"status (of )?3\b", job.message)
    assert "no column buyer" in job.message


def test_training_that_is_killed_has_failed(launcher: Launcher) -> None:
    """The message names the signal."""
    job = wait_for(launcher, launcher.submit("key-1", order("import os; os.kill(os.getpid(), 9)")))
    assert (job.state, job.reason) == (JobState.FAILED, Reason.KILLED)
    assert "SIGKILL" in job.message


def test_second_submit_returns_the_first_job(launcher: Launcher, tmp_path: Path) -> None:
    """Running or ended, whatever the second order says: one key, one job, one training."""
    counted = tmp_path / "runs"
    code = f"open({str(counted)!r}, 'a').write('run\\n')\n" + UNTIL_TOLD
    first = begin(launcher, code, tmp_path)
    second = launcher.submit("key-1", order("print('another')", labels={"other": "labels"}))
    assert (second.job_name, second.state, second.created_at) == (first.job_name, JobState.RUNNING, first.created_at)
    launcher.cancel(first.job_name)
    ended = wait_for(launcher, first)
    assert launcher.submit("key-1", order(code)) == ended
    assert counted.read_text() == "run\n"


def test_submits_at_once_start_one_job(launcher: Launcher, tmp_path: Path) -> None:
    """Eight threads submit one key: they get one job, which runs once."""
    counted = tmp_path / "runs"
    code = f"open({str(counted)!r}, 'a').write('run\\n')"
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: launcher.submit("key-1", order(code)), range(8)))
    assert len({(job.job_name, job.created_at) for job in jobs}) == 1
    wait_for(launcher, jobs[0])
    assert counted.read_text() == "run\n"
    assert len(launcher.list({}, LONG_AGO)) == 1


def test_cancelled_training_is_told_and_has_been_cancelled(launcher: Launcher, tmp_path: Path) -> None:
    """It gets SIGTERM, and with it the time for a last write. A second cancel does nothing."""
    written = tmp_path / "last-write"
    code = UNTIL_TOLD.replace("sys.exit(143)", f"(open({str(written)!r}, 'w').write('saved'), sys.exit(143))")
    job = begin(launcher, code, tmp_path)
    launcher.cancel(job.job_name)
    launcher.cancel(job.job_name)
    job = wait_for(launcher, job)
    assert (job.state, job.reason) == (JobState.CANCELLED, Reason.CANCEL_ASKED)
    assert written.read_text() == "saved"
    launcher.cancel(job.job_name)
    assert launcher.report([job.job_name]) == {job.job_name: job}


def test_training_that_does_not_listen_is_killed(launcher: Launcher, tmp_path: Path) -> None:
    """A cancelled job ends, whatever it does with SIGTERM."""
    code = UNTIL_TOLD.replace("lambda *_: sys.exit(143)", "signal.SIG_IGN")
    job = begin(launcher, code, tmp_path)
    launcher.cancel(job.job_name)
    assert wait_for(launcher, job).state is JobState.CANCELLED


def test_training_that_succeeds_although_cancelled_has_succeeded(launcher: Launcher, tmp_path: Path) -> None:
    """States decide: it has written all that it was to write."""
    code = UNTIL_TOLD.replace("sys.exit(143)", "sys.exit(0)")
    job = begin(launcher, code, tmp_path)
    launcher.cancel(job.job_name)
    assert wait_for(launcher, job).state is JobState.SUCCEEDED


def test_cancel_of_an_ended_job_changes_nothing(launcher: Launcher) -> None:
    """Who cancels too late has not cancelled."""
    job = wait_for(launcher, launcher.submit("key-1", order("")))
    launcher.cancel(job.job_name)
    assert launcher.report([job.job_name]) == {job.job_name: job}


def test_cancel_of_an_unknown_job_is_not_found(launcher: Launcher) -> None:
    """The message names it."""
    job = launcher.submit("key-1", order(""))
    unknown = to_unknown(job.job_name)
    with pytest.raises(NotFound, match=re.escape(unknown)):
        launcher.cancel(unknown)
    wait_for(launcher, job)


def test_training_past_its_timeout_is_stopped(launcher: Launcher, tmp_path: Path) -> None:
    """The job has failed, and the reason says why."""
    code = UNTIL_TOLD.replace("BEGUN", repr(str(tmp_path / "begun")))
    job = wait_for(launcher, launcher.submit("key-1", order(code, timeout_s=1)))
    assert (job.state, job.reason) == (JobState.FAILED, Reason.TIMED_OUT)


@pytest.mark.parametrize("launcher", ["local"], indirect=True)
def test_progress_is_the_last_epochs_line(launcher: Launcher, tmp_path: Path) -> None:
    """It is seen while the training runs, by the launcher that has its log at hand."""
    line = '{"severity": "INFO", "message": "epoch 3 of 20", "epoch": 2, "epochs": 20, "loss": 0.123}'
    code = f"print('made-up line')\n{UNTIL_TOLD}".replace(
        "while True", f"print({line!r}); print('more', flush=True)\nwhile True"
    ).replace("BEGUN", repr(str(tmp_path / "begun")))
    said = Progress(epochs_done=3, epochs_asked=20, loss=0.123)
    job = wait_for(launcher, launcher.submit("key-1", order(code)), lambda job: job.progress == said)
    assert job.state is JobState.RUNNING
    launcher.cancel(job.job_name)
    assert wait_for(launcher, job).progress == said


def test_unknown_names_are_left_out_of_a_report(launcher: Launcher) -> None:
    """The known ones are reported all the same."""
    job = wait_for(launcher, launcher.submit("key-1", order("")))
    assert launcher.report([to_unknown(job.job_name), job.job_name, "", "/"]) == {job.job_name: job}
    assert launcher.report([]) == {}


def test_list_finds_jobs_by_all_labels(launcher: Launcher) -> None:
    """Jobs of another database, and other attempts, are not ours; ended ones are listed as well; oldest first."""
    jobs = []
    for database, quick_test_id, attempt in (("aaaa", 81, 1), ("aaaa", 81, 2), ("bbbb", 81, 1), ("aaaa", 7, 1)):
        labels = to_labels(database, quick_test_id, attempt)
        key = to_submission_key(database, quick_test_id, attempt)
        jobs.append(wait_for(launcher, launcher.submit(key, order("", labels=labels))))
    assert launcher.list({"switchyard-db": "aaaa"}, LONG_AGO) == [jobs[0], jobs[1], jobs[3]]
    assert launcher.list({"switchyard-key": jobs[2].key}, LONG_AGO) == [jobs[2]]
    assert launcher.list({"switchyard-db": "aaaa", "switchyard-quick-test": "81"}, LONG_AGO) == jobs[:2]
    assert launcher.list({"switchyard-db": "cccc"}, LONG_AGO) == []


def test_list_leaves_out_older_jobs(launcher: Launcher) -> None:
    """A job created at `since` itself is listed."""
    first = wait_for(launcher, launcher.submit("key-1", order("")))
    second = wait_for(launcher, launcher.submit("key-2", order("")))
    assert launcher.list({}, first.created_at) == [first, second]
    assert launcher.list({}, first.created_at + timedelta(microseconds=1)) == [second]
    assert launcher.list({}, second.created_at + timedelta(microseconds=1)) == []


def test_list_of_nothing_is_empty(launcher: Launcher) -> None:
    """Before the first job there is none."""
    assert launcher.list({}, LONG_AGO) == []


def test_prune_takes_what_is_old_and_ended_alone(launcher: Launcher) -> None:
    """A job that has just ended is not old, nor is an unknown one; what a platform keeps by itself stays."""
    job = wait_for(launcher, launcher.submit("key-1", order("", labels={"a": "b"})))
    assert launcher.list_old({"a": "b"}, LONG_AGO, 10) == []
    assert launcher.prune([]) == 0
    assert launcher.prune([to_unknown(job.job_name)]) == 0
    assert launcher.report([job.job_name]) == {job.job_name: job}
    assert launcher.prune([job.job_name]) == (1 if isinstance(launcher, LocalLauncher) else 0)
    assert launcher.prune([job.job_name]) == 0
