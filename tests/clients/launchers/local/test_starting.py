"""How a training on this machine is started, and what is said where it cannot be or fails."""

import json
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from switchyard.clients.launchers.local.environment import to_training_environ
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


SECRETS = {
    "RESULTS_URL": "postgresql+psycopg://me:pass-w0rd@db/x",
    "PREFECT_API_AUTH_STRING": "me:pass-w0rd",
    "PUSH_AUDIENCE": "https://serving",
    "MLFLOW_BACKEND_STORE_URI": "postgresql://me:pass-w0rd@db/m",
    "MLFLOW_RESTORE_STORE_URI": "postgresql://me:pass-w0rd@db/r",
}
TRACKING = {"MLFLOW_TRACKING_URI": "https://mlflow", "MLFLOW_TRACKING_PASSWORD": "pass-w0rd", "MLFLOW_RUN_NAME": "a"}
REST = {"HOME": "/root", "GOOGLE_APPLICATION_CREDENTIALS": "/key.json", "AIP_MODEL_DIR": "gs://b", "STATE_DIR": "x"}


@pytest.mark.parametrize(
    ("variables", "environ"),
    [({}, REST), ({"MLFLOW_TRACKING_URI": "https://mlflow"}, REST | TRACKING), ({"A": "b"}, REST | {"A": "b"})],
)
def test_training_is_not_told_what_flows_and_serving_need(variables: dict[str, str], environ: dict[str, str]) -> None:
    """MLflow's only where the run logs there, and never its databases'; the rest stays."""
    assert to_training_environ(SECRETS | TRACKING | REST, variables) == environ


@pytest.mark.parametrize("tracked", [False, True])
def test_training_does_not_inherit_passwords(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch, tracked: bool
) -> None:
    """Seen by a true job."""
    for name, value in (SECRETS | TRACKING).items():
        monkeypatch.setenv(name, value)
    code = (
        "import os; print(sorted(name for name in os.environ if name.startswith(('R', 'PRE', 'PU', 'ML'))), flush=True)"
    )
    variables = {"MLFLOW_TRACKING_URI": "https://mlflow"} if tracked else {}
    wanted = msgspec.structs.replace(order(code + "; raise SystemExit(1)"), variables=variables)
    message = wait_for_end(launcher, launcher.submit("key-1", wanted).job_name).message
    seen = {name for name in SECRETS | TRACKING if name in message}
    assert seen == (set(TRACKING) if tracked else set())


def test_jobs_are_closed_to_other_users(launcher: LocalLauncher, state: Path) -> None:
    """A log may say anything. What is beside them stays as it is, for a serving process of another user."""
    (state / "jobs").mkdir(parents=True)  # as an earlier release made it
    (state / "artifacts").mkdir(mode=0o755)
    (state / "jobs").chmod(0o755)
    job = wait_for_end(launcher, launcher.submit("key-1", order("")).job_name)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (state, state / "jobs", Path(job.job_name))}
    assert modes[state / "jobs"] == modes[Path(job.job_name)] == 0o700
    assert modes[state] & 0o055 == 0o055
    assert stat.S_IMODE((Path(job.job_name) / "log.txt").stat().st_mode) == 0o600


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


def test_reason_that_the_training_gave_comes_first(launcher: LocalLauncher) -> None:
    """A person reads it in a list that is cut after some words; the log's lines are for trainings that gave none."""
    said = '{"severity": "ERROR", "message": "no column customer_id"}'
    job = wait_for_end(launcher, launcher.submit("key-1", order(f"print({said!r}); raise SystemExit(1)")).job_name)
    assert job.message == "no column customer_id; exit status 1"
    job = wait_for_end(launcher, launcher.submit("key-2", order("print('a word'); raise SystemExit(1)")).job_name)
    assert job.message == "exit status 1; its log ends: a word"
