"""What a person at a terminal sees while a flow is at work."""

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

import flows.terminal
from flows.answers.run import RunResult
from flows.progress.bars import Bar
from flows.terminal import FlowLog, print_result
from switchyard.core.runs.rows import RunStatus


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
    assert ("python -m flows reconcile, or ingest 7," in shown.getvalue()) == is_named
