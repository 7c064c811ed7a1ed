"""How a training on this machine is started, and what is said where it cannot be or fails."""

import json
import sys
from pathlib import Path

import pytest

from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.errors import BadSetup
from switchyard.core.runs.jobs import JobState, Reason
from tests.clients.launchers.local.jobs_here import open_launcher, order, wait_for_end


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


def test_records_on_the_disk_are_plain_json(launcher: LocalLauncher) -> None:
    """A person at night can read them."""
    job = wait_for_end(launcher, launcher.submit("key-1", order("raise SystemExit(3)")).job_name)
    end = json.loads((Path(job.job_name) / "exit.json").read_text())
    assert end["exit_status"] == 3
    assert end["signal"] is None
    assert end["cancelled"] is end["timed_out"] is False
