"""A sweep whose jobs run on Vertex AI, one of a work pool, and one that is interrupted at a terminal."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.answers.sweep import SweepResult
from flows.sweep import sweep
from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import Settings
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus
from switchyard.core.sweeps.trials import TrialState
from switchyard.interrupted import INTERRUPTED
from tests.emulators.vertex import VertexEmulator, passed_on_environment
from tests.flows.polling import wait_for
from tests.flows.test_deployments import TOY, running_stack
from tests.flows.vertex_world import to_environ
from tests.optuna_there import needs_optuna
from tests.root import ROOT
from tests.terminals import Terminal

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs

pytestmark = [*needs_optuna, pytest.mark.timeout(900)]

IMAGE = "us-docker.pkg.dev/demo-project/switchyard/sweep:local"


def has_ended(outside: Outside, job_name: str) -> bool:
    return outside.launcher.report([job_name])[job_name].state.ended


@pytest.fixture
def on_vertex(
    gcs: "Gcs",
    start_vertex: Callable[..., VertexEmulator],
    gcs_root: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Outside:
    """An endpoint whose image is the sweep's trainer."""
    command = [sys.executable, "-m", "tests.flows.sweep_trainer"]
    vertex = start_vertex(images={IMAGE: command}, passed_on=passed_on_environment())
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in to_environ(vertex, tmp_path / "state", gcs_root, image=IMAGE).items():
        monkeypatch.setenv(name, value)
    migrate(connect().settings)
    return connect()


@pytest.mark.usefixtures("prefect_server")
def test_a_sweep_of_custom_jobs_finds_the_best(on_vertex: Outside) -> None:
    """Two at once, by the real client; the one that fails is failed."""
    result = sweep(
        name="a",
        search=["learning_rate=0.7,1.5,3.5"],
        method="grid",
        at_once=2,
        epochs=3,
        poll_interval_s=0.5,
        prune=False,
    )
    assert isinstance(result, SweepResult)
    assert result.counts == {"completed": 2, "failed": 1}
    assert result.best is not None
    assert result.best["params"] == {"learning_rate": 1.5}
    job = on_vertex.jobs.read_job(result.best["quick_test_id"])
    assert job is not None
    assert job.job_name.startswith("projects/")


@pytest.mark.slow
def test_a_deployed_sweep_is_done_by_a_worker_and_named_after_its_flow_run(tmp_path: Path) -> None:
    """In a process work pool: real trainings, with the events and reconcile of `make up` around them."""
    with running_stack(tmp_path) as stack, temporary_settings({PREFECT_API_URL: stack.api_url}):
        given = {name: value for name, value in TOY.items() if name != "embedding_dim"}
        parameters = given | {"search": ["embedding_dim=4,8"], "method": "grid", "at_once": 2}
        made: Any = run_deployment("sweep/manual", parameters=parameters, timeout=600)
        assert made.state.is_completed(), stack.read_log()
        with get_client(sync_client=True) as client:
            shown = client.read_flow_run(made.id)
        name = f"sweep-{str(made.id)[:8]}"
        assert shown.name == f"sweep {name}"
        runs = [stack.results.runs.read_run(one.id) for one in stack.results.runs.list_runs(limit=10)]
        assert [run.mlflow_experiment_name for run in runs] == [name] * 2
        assert {run.status for run in runs} == {RunStatus.COMPLETED}


@pytest.mark.slow
@pytest.mark.parametrize("interrupt", [Terminal.press_ctrl_c, Terminal.terminate], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_sweep_leaves_its_runs_at_work_and_says_how_to_go_on(
    outside: Outside, tmp_path: Path, interrupt: Callable[[Terminal], None]
) -> None:
    """The command that it prints goes on with the same runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {
        "STATE_DIR": outside.settings.state_dir,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "400",
        "TERM": "xterm",
        "COLUMNS": "400",
    }
    others = {name: value for name, value in TOY.items() if name not in ("embedding_dim", "epochs")}
    toy = [f"--{name.replace('_', '-')}={value}" for name, value in others.items()]
    command = Path(sys.executable).with_name("switchyard")
    flags = ["--search=embedding_dim=4,8", "--method=grid", "--at-once=2", "--epochs=100000", *toy]
    with Terminal([command, "sweep", "--name=a b", *flags], cwd=ROOT, env=environment) as terminal:

        def are_training() -> bool:
            assert terminal.process.poll() is None, terminal.read()
            runs = outside.runs.list_runs(limit=5)
            return len(runs) == 2 and all(run.status == RunStatus.RUNNING for run in runs)

        wait_for(are_training, deadline_s=450, what=terminal.read())
        interrupt(terminal)
        assert terminal.process.wait(120) == INTERRUPTED, terminal.read()
        said = terminal.read()
    assert "Traceback" not in said
    for id_ in (1, 2):
        assert f"quick test {id_} goes on. To cancel it:" in said
    [line] = [line for line in said.splitlines() if line.startswith("to go on with the sweep:")]
    assert "'--name=a b'" in line
    assert all(flag in line for flag in flags[:4])
    for id_ in (1, 2):
        job = outside.jobs.read_job(id_)
        assert job is not None
        assert outside.launcher.report([job.job_name])[job.job_name].state is JobState.RUNNING
        outside.launcher.cancel(job.job_name)
        wait_for(partial(has_ended, outside, job.job_name))
    assert [trial.state for trial in outside.trials("a b").list_trials()] == [TrialState.OPEN] * 2
