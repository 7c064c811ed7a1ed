"""Sweeps over the real launcher, database and storage: every way in which a trial ends, taken up anywhere."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

import flows.__main__ as program
import flows.sweep as sweeping
import switchyard.clients.connect
from flows.answers.sweep import SweepFailed, SweepResult
from flows.sweep import sweep
from flows.sweep_parameters import SweepParameters
from flows.train import train
from serving.app import create_app
from switchyard.clients.connect import Outside, connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.settings import Settings
from switchyard.core.errors import BadRequest, BadSetup, TryAgain, TryLater
from switchyard.core.ports import Launcher
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus
from tasks.sweeps import watch_trials
from tests.flows.sweep_trainer import to_recall
from tests.optuna_there import needs_optuna

pytestmark = [*needs_optuna, pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]

METRIC = "val_recall_at_10"
EPOCHS = 4


@pytest.fixture
def swept(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Outside:
    """A world whose trainer goes by the learning rate (tests/flows/sweep_trainer.py)."""
    launcher = LocalLauncher(
        outside.settings.state_dir, command=(sys.executable, "-m", "tests.flows.sweep_trainer"), kill_after_s=5.0
    )

    def wire(settings: Settings) -> Launcher:
        return launcher

    # The wiring has no setting for the trainer's command: a setting could change a result unseen.
    monkeypatch.setattr(switchyard.clients.connect, "_launcher", wire)
    monkeypatch.setattr("switchyard.core.runs.live.PAUSE_S", 0.1)
    monkeypatch.setattr("switchyard.core.runs.live.LOOK_S", 0.05)
    return connect()


def run(*rates: float, **parameters: Any) -> SweepResult:
    given = {
        "name": "a",
        "search": [f"learning_rate={','.join(map(str, rates))}"],
        "method": "grid",
        "epochs": EPOCHS,
        "poll_interval_s": 0.05,
        "prune": False,
    }
    result = sweep(**given | parameters)
    assert isinstance(result, SweepResult)
    return result


def by_rate(result: SweepResult) -> dict[float, dict[str, Any]]:
    return {trial["params"]["learning_rate"]: trial for trial in result.trials}


def test_a_sweep_finds_the_best_and_fails_what_is_not_finite(swept: Outside) -> None:
    """A diverged trial is never best, though its recall was the highest; all runs are of one experiment."""
    result = run(0.7, 1.5, 2.5, 3.5, 4.5, at_once=3)
    assert result.counts == {"completed": 2, "failed": 3}
    assert result.best is not None
    assert (result.best["params"], result.best["value"]) == ({"learning_rate": 1.5}, 1.5)
    trials = by_rate(result)
    assert trials[2.5]["said"] == "loss is nan at epoch 3"
    assert "the disk is full" in trials[3.5]["said"]
    assert trials[4.5]["said"] == f"its history has no finite {METRIC}"
    runs = {rate: swept.runs.read_run(trial["quick_test_id"]) for rate, trial in trials.items()}
    assert {one.mlflow_experiment_name for one in runs.values()} == {"a"}
    assert runs[0.7].display_name == "a trial 0"
    assert runs[3.5].status is RunStatus.FAILED
    assert runs[2.5].status is RunStatus.COMPLETED
    assert runs[1.5].parameters["learning_rate"] == 1.5


def test_its_pages_show_its_runs(swept: Outside) -> None:
    """Both addresses of the answer: the comparison of the best, and all runs in the metric's order."""
    result = run(0.7, 1.5)
    with TestClient(create_app(swept)) as client:
        host = swept.settings.serving_url
        compared = client.get(result.compare_url.removeprefix(host))
        listed = client.get(result.runs_url.removeprefix(host))
    assert compared.is_success
    assert "learning_rate" in compared.text
    assert listed.is_success
    assert listed.text.index("a trial 1") < listed.text.index("a trial 0")


def test_a_sweep_in_which_nothing_completes_has_failed(swept: Outside) -> None:
    """It says why, and its answer has the trials."""
    with pytest.raises(SweepFailed, match="the disk is full") as failed:
        run(3.2, 3.4, at_once=2)
    assert failed.value.result.best is None
    assert failed.value.result.counts == {"failed": 2}


def test_a_trial_below_the_median_is_cancelled_and_keeps_its_history(
    swept: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its live history, while it trains; the row says at which epoch, and what it has trained stays."""
    monkeypatch.setenv("HOLD_BELOW", "0.5")
    rates = [1.0, 1.1, 1.2, 1.3, 1.4, 0.1]
    result = run(*rates, prune=True)
    trial = by_rate(result)[0.1]
    assert (trial["state"], trial["said"]) == ("pruned", "pruned at epoch 0")
    pruned = swept.runs.read_run(trial["quick_test_id"])
    assert pruned.status is RunStatus.CANCELLED
    assert "pruned at epoch 0: its best val_recall_at_10 was worse than the median" in pruned.error
    stored = swept.histories.read_history(pruned.id).history_json
    assert stored is not None
    history = json.loads(stored)
    assert history["metrics"][METRIC] == [to_recall(0.1, epoch, EPOCHS) for epoch in (0, 1)]
    job = swept.jobs.read_job(pruned.id)
    assert job is not None
    assert job.state is JobState.CANCELLED
    # What reconcile or an event settles once more says the same.
    from flows.ingest import ingest

    ingest(quick_test_id=pruned.id)
    assert "pruned at epoch 0" in swept.runs.read_run(pruned.id).error


def test_never_more_than_at_once_are_at_work(swept: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at every watch."""
    at_work: list[int] = []

    def count(watched: Any, *others: Any) -> Any:
        at_work.append(len(watched))
        return watch_trials(watched, *others)

    monkeypatch.setattr(sweeping, "watch_trials", count)
    assert run(0.6, 0.7, 0.8, 0.9, 1.0, at_once=2).counts == {"completed": 5}
    assert max(at_work) == 2


def test_a_sweep_that_is_run_again_trains_nothing_again_and_may_have_more_trials(swept: Outside) -> None:
    """Under its name, with more trials, or more at once; with other parameters it is refused."""
    first = run(search=["learning_rate=0.6..1.9"], method="random", trials=2)
    assert run(search=["learning_rate=0.6..1.9"], method="random", trials=2) == first
    more = run(search=["learning_rate=0.6..1.9"], method="random", trials=3, at_once=3)
    ids = {trial["trial"]: trial["quick_test_id"] for trial in more.trials}
    assert {trial["trial"]: trial["quick_test_id"] for trial in first.trials}.items() < ids.items()
    assert len(swept.runs.list_runs(limit=10)) == 3
    with pytest.raises(BadRequest, match="epochs"):
        run(search=["learning_rate=0.6..1.9"], method="random", trials=3, epochs=5)


def test_a_trial_that_was_asked_for_and_never_started_starts_with_the_same_parameters(swept: Outside) -> None:
    """As after a kill between the two; one that was submitted is found again, not trained twice."""
    wanted = msgspec.convert(
        {"name": "a", "search": ["learning_rate=0.6,0.7,0.8"], "method": "grid", "epochs": EPOCHS, "prune": False},
        SweepParameters,
    )
    trials = swept.trials("a")
    sweep_id = trials.begin(wanted.to_plan())
    asked = [trials.ask() for _ in range(2)]
    key = f"sweep {sweep_id} trial 1"
    train(**msgspec.to_builtins(wanted.to_train("a", 1, asked[1].params, key)))
    result = run(0.6, 0.7, 0.8)
    assert [by_rate(result)[rate]["trial"] for rate in (0.6, 0.7, 0.8)] == [0, 1, 2]
    assert by_rate(result)[0.7]["quick_test_id"] == 1
    assert len(swept.runs.list_runs(limit=10)) == 3


def test_a_sweep_at_work_elsewhere_is_left_to_it(swept: Outside) -> None:
    """And nothing is started."""
    with swept.hold_sweep("a"), pytest.raises(TryLater, match="at work in another process"):
        run(0.7)
    assert swept.runs.list_runs(limit=1) == []


def test_a_start_that_is_refused_for_a_moment_is_tried_again(swept: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial keeps its parameters; after too long the sweep ends, and can be taken up."""
    refusals = [TryAgain("no turn"), TryAgain("no turn")]

    def refuse(**parameters: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return train(**parameters)

    monkeypatch.setattr(sweeping, "train", refuse)
    monkeypatch.setattr(sweeping, "_PAUSE_S", 0.0)
    assert run(0.7).counts == {"completed": 1}
    assert refusals == []
    refusals += [TryAgain("no turn")] * 2
    monkeypatch.setattr(sweeping, "PATIENCE_S", 0.0)
    with pytest.raises(TryAgain, match="no turn"):
        run(0.8, name="b")
    refusals.clear()
    assert run(0.8, name="b").counts == {"completed": 1}


def test_a_run_that_a_person_cancels_is_a_failed_trial(swept: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep goes on with the others."""
    monkeypatch.setenv("HOLD_BELOW", "0.5")

    def cancel_held(watched: Any, *others: Any) -> Any:
        found = watch_trials(watched, *others)
        for one in found:
            held = one.job.quick_test_id == 1 and one.report is not None and one.report.state is JobState.RUNNING
            if held:
                swept.launcher.cancel(one.job.job_name)
        return found

    monkeypatch.setattr(sweeping, "watch_trials", cancel_held)
    trials = by_rate(run(0.1, 1.0, at_once=2))
    assert (trials[0.1]["state"], trials[0.1]["said"]) == ("failed", "its run was cancelled")


def test_parameters_that_do_not_go_together_are_a_failed_trial(swept: Outside) -> None:
    """Each was one that a training takes; nothing is trained for it."""
    result = run(search=["epochs=2,8", "early_stopping_patience=1,6"], epochs=9, learning_rate=1.0)
    failed = [trial for trial in result.trials if trial["state"] == "failed"]
    assert [trial["params"] for trial in failed] == [{"early_stopping_patience": 6, "epochs": 2}]
    assert "early_stopping_patience must be below epochs" in failed[0]["said"]
    assert len(swept.runs.list_runs(limit=10)) == 3


def test_what_these_settings_cannot_do_is_said_before_anything_is_stored(
    swept: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_HISTORY", "no")
    with pytest.raises(BadSetup, match="--no-prune"):
        run(0.7, prune=True)
    monkeypatch.setenv("RESULTS_TABLE", "app_runs")
    with pytest.raises(BadRequest, match="app_runs"):
        run(0.7)
    assert not (Path(swept.settings.state_dir) / "sweeps.db").exists()


def test_a_cancelled_flow_run_takes_the_jobs_of_its_trials_with_it(
    swept: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Prefect calls its hook: outside of any flow run."""
    from types import SimpleNamespace

    monkeypatch.setenv("HOLD_BELOW", "0.5")
    given = {"name": "a", "search": ["learning_rate=0.1,0.2"], "method": "grid", "epochs": EPOCHS, "prune": False}
    wanted = msgspec.convert(given, SweepParameters)
    trials = swept.trials("a")
    sweep_id = trials.begin(wanted.to_plan())
    trial = trials.ask()
    train(**msgspec.to_builtins(wanted.to_train("a", 0, trial.params, f"sweep {sweep_id} trial 0")))
    cancelled: Any = SimpleNamespace(parameters=given, id="0")
    hook: Any = sweeping.cancel_trials
    hook(sweep, cancelled, None)
    job = swept.jobs.read_job(1)
    assert job is not None
    until = time.monotonic() + 60
    while swept.launcher.report([job.job_name])[job.job_name].state is not JobState.CANCELLED:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_command_prints_the_trials_and_a_line_of_json(
    swept: Outside, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best first, with what it was trained with, and where all are compared."""
    monkeypatch.setenv("PREFECT_API_URL", os.environ.get("PREFECT_API_URL", ""))
    flags = ["sweep", "--name=a", "--search=learning_rate=0.7,1.5", "--method=grid", f"--epochs={EPOCHS}", "--no-prune"]
    assert program.main(flags) == 0
    said = capsys.readouterr().out
    assert "quick test 2: val_recall_at_10 1.5 with learning_rate=1.5" in said
    assert "/compare?ids=2,1" in said
    assert program.main([*flags, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["best"]["quick_test_id"] == 2


def test_the_command_refuses_a_search_that_means_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Before Prefect is started."""
    assert program.main(["sweep", "--search=speed=1..2"]) == program.BAD_FLAGS
    assert "speed: a training has no such parameter" in capsys.readouterr().err
    assert program.main(["sweep"]) == program.BAD_FLAGS
    assert "--search is needed" in capsys.readouterr().err
