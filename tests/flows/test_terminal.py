"""What a person at a terminal sees while a flow is at work."""

import ast
import io
import logging
import threading
from contextlib import suppress
from pathlib import Path

import prefect
import pytest
from rich.console import Console

import flows.terminal
from flows.answers.backfill import BackfillResult
from flows.answers.champion import ChampionResult
from flows.answers.run import RunResult
from flows.progress.bars import Bar
from flows.terminal import FlowLog, print_result
from flows.train import train
from switchyard.clients.connect import Outside
from switchyard.core.backfill.plan import PlannedRun
from switchyard.core.runs.rows import RunStatus
from tests.flows.polling import wait_for


def say(log: FlowLog, bar: Bar) -> None:
    """A flow's log call."""
    path = str(Path(flows.terminal.__file__).with_name("backfill.py"))
    record = logging.LogRecord("prefect.flow_runs", logging.INFO, path, 1, "%s", (bar,), None)
    record.__dict__.update(bar.extra)
    log.emit(record)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_a_bar_where_somebody_watches_and_lines_elsewhere(is_terminal: bool) -> None:
    """The last count is shown either way."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=is_terminal, width=100)
    with FlowLog(console) as log:
        for done in (0, 200, 1000):
            say(log, Bar(label="backfill", unit="runs", done=done, total=1000))
    said = shown.getvalue()
    if is_terminal:
        assert "1000/1000" in said
        assert "━" in said
    else:
        assert said == "0 of 1000 runs\n200 of 1000 runs\n1000 of 1000 runs\n"


@pytest.mark.parametrize(("status", "is_named"), [(RunStatus.SUBMITTED, True), (RunStatus.COMPLETED, False)])
def test_who_does_not_wait_reads_what_publishes_the_run(status: RunStatus, is_named: bool) -> None:
    """A run that only was submitted names the command that ends its walk."""
    shown = io.StringIO()
    result = RunResult(quick_test_id=7, status=status, gcs_artifacts_path="", final_metrics={}, url="")
    print_result(result, Console(file=shown, width=100))
    assert ("switchyard reconcile, or ingest 7," in shown.getvalue()) == is_named


@pytest.mark.parametrize("params", [{"test_measured_on": "the model before the refit"}, {}])
def test_a_refitted_run_says_which_model_the_figures_are_of(params: dict[str, str]) -> None:
    shown = io.StringIO()
    result = RunResult(
        quick_test_id=7, status=RunStatus.COMPLETED, gcs_artifacts_path="", final_metrics={"test_loss": 1.0}, url="",
        history={"params": params},
    )  # fmt: skip
    print_result(result, Console(file=shown, width=100))
    assert ("All figures are those of the model before the refit." in shown.getvalue()) == bool(params)


@pytest.mark.parametrize(
    ("epochs", "params", "status", "said"),
    [
        (
            [0, 5, 6], {"early_stopping_patience": 2}, RunStatus.COMPLETED,
            "ended the training after 7 of 12 epochs (val_loss).",
        ),
        (
            [0, 5, 6], {"early_stopping_patience": 2, "early_stopping_metric": "val_recall"}, RunStatus.COMPLETED,
            "ended the training after 7 of 12 epochs (val_recall).",
        ),
        ([0, 5, 11], {"early_stopping_patience": 2}, RunStatus.COMPLETED, ""),
        ([0, 5, 6], {"early_stopping_patience": 2}, RunStatus.FAILED, ""),
        ([0, 5, 6], {"early_stopping_patience": 0}, RunStatus.COMPLETED, ""),
        ([0, 5, 6], {"early_stopping_patience": "none"}, RunStatus.COMPLETED, ""),
        ([0, 5, 6], {"early_stopping_patience": -1}, RunStatus.COMPLETED, ""),
        ([0, 5, 6], {"epochs": "many", "early_stopping_patience": 2}, RunStatus.COMPLETED, ""),
        ([], {"early_stopping_patience": 2}, RunStatus.COMPLETED, ""),
    ],
)  # fmt: skip
def test_a_run_that_early_stopping_ended_says_so(
    epochs: list[int], params: dict[str, object], status: RunStatus, said: str
) -> None:
    """Another trainer's params may have other values under these names."""
    shown = io.StringIO()
    history = {"epochs": epochs, "params": {"epochs": 12, **params}}
    result = RunResult(quick_test_id=7, status=status, gcs_artifacts_path="", final_metrics={}, url="", history=history)
    print_result(result, Console(file=shown, width=100))
    assert ("Early stopping" in shown.getvalue()) == bool(said)
    assert said in shown.getvalue()


FOLDER = Path(flows.terminal.__file__).parent


def logs(path: Path) -> bool:
    """Whether a line of the file asks for the flow's log."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Name) and called.id == "get_run_logger" for called in calls)


LOGGING = sorted(filter(logs, FOLDER.rglob("*.py")))
"""Every file of flows/ that logs."""


def show(path: Path, text: str = "a line") -> str:
    """What the terminal shows of a line that is logged in `path`."""
    shown = io.StringIO()
    with FlowLog(Console(file=shown, width=100)) as log:
        log.emit(logging.LogRecord("prefect.flow_runs", logging.INFO, str(path), 1, text, None, None))
    return shown.getvalue()


def test_the_files_that_log_are_found() -> None:
    """The training's bar is logged where it is waited for; batches and stores have theirs in flows/progress/."""
    found = {str(path.relative_to(FOLDER)) for path in LOGGING}
    assert {"train.py", "steps/waiting.py", "steps/finding.py", "progress/batches.py", "progress/stores.py"} <= found


@pytest.mark.parametrize("path", LOGGING, ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_file_of_the_flows_is_heard(path: Path) -> None:
    """Of a flow itself, of its steps, and of what shows how far it is."""
    assert show(path) == "a line\n"


@pytest.mark.parametrize(
    "path",
    [
        Path(prefect.__file__).with_name("flow_engine.py"),
        FOLDER.parent / "tasks" / "submit.py",
        FOLDER.parent / "switchyard" / "services" / "watching.py",
        FOLDER.parent / "flows_of_others" / "train.py",
    ],
    ids=lambda path: path.parent.name,
)
def test_lines_of_others_are_not_shown(path: Path) -> None:
    """Prefect's own log is in its UI."""
    assert show(path) == ""


def test_the_lines_of_a_trainings_steps_reach_the_terminal(
    scripted: Outside, prefect_server: None, tmp_path: Path
) -> None:
    """The flow's own line, and the bar that its waiting step logs, of a training that reported an epoch."""
    shown = io.StringIO()
    gate = tmp_path / "gate"

    def open_in_the_end() -> None:
        with suppress(AssertionError):
            wait_for(lambda: "of 3 epochs" in shown.getvalue(), deadline_s=60)
        gate.touch()

    opener = threading.Thread(target=open_in_the_end)
    opener.start()
    with FlowLog(Console(file=shown, width=200)):
        train(name=f"hold:{gate}", epochs=3, poll_interval_s=0.05)
    opener.join()
    said = shown.getvalue()
    assert "quick test 1 trains in" in said
    assert "of 3 epochs, loss 0.5000" in said


def test_an_id_in_a_narrow_terminal_is_whole() -> None:
    """On two lines rather than cut short: it is what the reader looks for."""
    run_id = "0123456789abcdef" * 2
    why_not = "it is deleted in MLflow; restore it there to adopt it"
    result = BackfillResult(
        dry_run=False,
        rows=0,
        completed=0,
        with_mlflow_run=0,
        already_published=0,
        legacy=0,
        adopted=0,
        to_do=0,
        left_out=[PlannedRun(mlflow_run_id=run_id, status="FINISHED", why_not=why_not)],
    )
    shown = io.StringIO()
    print_result(result, Console(file=shown, width=80))
    column = [line.split("\u2502")[1].strip() for line in shown.getvalue().splitlines() if line.startswith("\u2502")]
    assert run_id in "".join(column)


@pytest.mark.parametrize(("is_new", "said"), [(True, "is new: yes"), (False, "is new: no")])
def test_a_yes_or_no_is_said_as_such(is_new: bool, said: str) -> None:
    """What was not new reads "no"; a number of 0 is a number, and what is not there is none."""
    shown = io.StringIO()
    result = ChampionResult(name="shop", version=1, replaced=None, is_new=is_new, seq=0)
    print_result(result, Console(file=shown, width=80))
    assert shown.getvalue().splitlines() == ["name: shop", "version: 1", "replaced: none", said, "seq: 0"]
