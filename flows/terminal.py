"""Shows a flow to a person at a terminal: a progress bar while a job trains, and the result as tables."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from flows.answers.artifacts import CopyResult, PlanResult, VerifyArtifactsResult
from flows.answers.backfill import BackfillResult
from flows.answers.clean import CleanResult
from flows.answers.decommission import DecommissionResult
from flows.answers.fill import FillResult
from flows.answers.judged import ValidateResult
from flows.answers.printing import print_fields
from flows.answers.run import RunResult
from flows.answers.store import ExportResult, RestoreResult
from flows.answers.sweep import SweepResult
from flows.answers.verify import VerifyResult
from flows.progress.bars import EXTRA, Bar
from switchyard.cli import to_command
from switchyard.core.history.tables import to_epoch_rows
from switchyard.core.runs.rows import RunStatus
from tasks.pages import is_serving

_LINES_SHOWN = 20
_BASELINE = "popularity_"
"""The trainer's prefix of what a ranking by popularity alone would reach on the same test pairs."""


class FlowLog(logging.Handler):
    """Shows our flows' log lines (not Prefect's); lines that say how far something is become bars on a terminal.

    Flows log; they do not know the terminal. Records with a `flows.progress.bars.Bar` become bars, one for each label.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Draws one line of a flow's log."""
        if not Path(record.pathname).is_relative_to(Path(__file__).parent):
            return
        bar: Bar | None = getattr(record, EXTRA, None)
        if bar is None or not self._console.is_terminal:
            self._console.print(record.getMessage(), markup=False, highlight=False, soft_wrap=True)
            return
        if bar.label not in self._bars:
            self._bar.start()
            self._bars[bar.label] = self._bar.add_task(bar.label, total=bar.total, unit=bar.unit, detail="")
        self._bar.update(self._bars[bar.label], completed=bar.done, total=bar.total, detail=bar.detail)

    def __enter__(self) -> "FlowLog":
        logging.getLogger("prefect.flow_runs").addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("prefect.flow_runs").removeHandler(self)
        self._bar.stop()


def print_result(result: object, console: Console) -> None:
    """Prints a run's id, sampled epochs, final metrics, files and page; another flow's answer field by field."""
    if isinstance(result, RunResult):
        _print_run(result, console)
    elif isinstance(result, SweepResult):
        _print_sweep(result, console)
    elif isinstance(result, BackfillResult):
        _print_backfill(result, console)
    elif isinstance(result, FillResult):
        console.print(_to_table("fill", ["what", "runs"], result.counts))
        _print_lists(result.lists, console)
    elif isinstance(result, ExportResult | RestoreResult):
        rows = [[row["table"], f"{row['rows']:,}", row["parts"]] for row in result.table]
        console.print(_to_table("MLflow's tables", ["table", "rows", "parts"], rows))
        console.print("\n".join(result.notes), markup=False, highlight=False, soft_wrap=True)
    elif isinstance(result, PlanResult | CopyResult | VerifyArtifactsResult):
        console.print(_to_table("artifacts", ["what", "how many"], [list(pair) for pair in result.counts]))
        console.print("\n".join(result.notes), markup=False, highlight=False, soft_wrap=True)
    elif isinstance(result, CleanResult):
        console.print(
            _to_table("clean", ["what", "kept", "stale", "bytes stale"], [list(row) for row in result.counts])
        )
        console.print("\n".join(result.notes), markup=False, highlight=False, soft_wrap=True)
    elif isinstance(result, DecommissionResult):
        console.print("\n".join(result.lines), markup=False, highlight=False, soft_wrap=True)
    elif isinstance(result, VerifyResult):
        _print_verify(result, console)
    elif isinstance(result, ValidateResult):
        _print_validate(result, console)
    elif isinstance(result, msgspec.Struct):
        print_fields(result, console)


def _print_run(result: RunResult, console: Console) -> None:
    console.print(f"\nquick test [bold]{result.quick_test_id}[/bold] is [bold]{result.status}[/bold]")
    rows = to_epoch_rows(result.history)
    if rows:
        console.print(_to_table("sampled epochs", list(rows[0]), [list(row.values()) for row in rows]))
    if said := _to_early_end(result):
        console.print(said, soft_wrap=True, highlight=False, markup=False)
    if result.final_metrics:
        console.print(_to_metrics_table(result.final_metrics))
        if measured_on := (result.history.get("params") or {}).get("test_measured_on"):
            console.print(f"All figures are those of {measured_on}.", soft_wrap=True, highlight=False, markup=False)
    if result.gcs_artifacts_path:
        console.print(f"files  {result.gcs_artifacts_path}", soft_wrap=True, highlight=False)
    if result.machine:
        console.print(f"used   {result.machine}", soft_wrap=True, highlight=False, markup=False)
    if result.history:
        console.print(f"page   {result.url}", soft_wrap=True, highlight=False)
        if not is_serving():
            console.print(f"       after: {to_command()} serve --port 8000", soft_wrap=True, highlight=False)
    if not result.status.ended:
        console.print(
            f"next   {to_command()} reconcile, or ingest {result.quick_test_id}, publishes it when its job has ended",
            soft_wrap=True,
            highlight=False,
        )


def _to_early_end(result: RunResult) -> str:
    """Says that early stopping ended a completed training; empty if it did not, or the history does not tell.

    It goes by the params of our trainer; another's may lack them, or have other values there.
    """
    epochs, params = result.history.get("epochs") or [], result.history.get("params") or {}
    asked, patience = params.get("epochs"), params.get("early_stopping_patience")
    is_ours = isinstance(asked, int) and isinstance(patience, int) and patience > 0
    if result.status != RunStatus.COMPLETED or not (epochs and is_ours):
        return ""
    done = epochs[-1] + 1  # sampling keeps the last one
    metric = params.get("early_stopping_metric", "val_loss")
    return f"Early stopping ended the training after {done} of {asked} epochs ({metric})." if done < asked else ""


def _print_sweep(result: SweepResult, console: Console) -> None:
    """Prints the trials, the best first, with the parameters that they differ in, and where they are compared."""
    names = sorted({name for trial in result.trials for name in trial["params"]})
    rows = [
        [
            trial["trial"], trial["quick_test_id"], trial["state"], trial["value"],
            *(_to_short(trial["params"].get(name)) for name in names), trial["said"],
        ]
        for trial in result.trials[:_LINES_SHOWN]
    ]  # fmt: skip
    columns = ["trial", "run", "state", "value", *names, "what"]
    console.print(_to_table(f"sweep {result.name}, by {result.metric}", columns, rows))
    if len(result.trials) > _LINES_SHOWN:
        console.print(f"and {len(result.trials) - _LINES_SHOWN} more; --json shows all")
    if result.best is not None:
        params = ", ".join(f"{name}={_to_short(value)}" for name, value in result.best["params"].items())
        reached = f"{result.metric} {result.best['value']:.6g}"
        for line in (
            f"best     quick test {result.best['quick_test_id']}: {reached} with {params}",
            f"compare  {result.compare_url}",
            f"all      {result.runs_url}",
        ):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        if not is_serving():
            console.print(f"         after: {to_command()} serve --port 8000", soft_wrap=True, highlight=False)


def _to_short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_backfill(result: BackfillResult, console: Console) -> None:
    """Prints the counts, the first lines of each list, and what is not kept; ``--json`` has the whole lists."""
    console.print(_to_table("backfill (dry run)" if result.dry_run else "backfill", ["what", "runs"], result.counts))
    if result.dry_run and result.would_show.sentence:
        console.print(f"It {result.would_show.sentence}.")
    _print_lists(result.lists, console)
    kept = "; ".join(result.export_only)
    console.print(f"kept by an export of MLflow alone: {kept}", markup=False, highlight=False)


def _print_validate(result: ValidateResult, console: Console) -> None:
    """Prints the numbers side by side, each threshold in words, and what comes next."""
    rows = []
    for one in result.measured:
        difference = one["to_champion"] or {}
        interval = f"{difference['low']:+.4f} to {difference['high']:+.4f}" if difference else ""
        numbers = (one["challenger"], one["champion"], one["popularity"])
        shown = ["" if number is None else f"{number:.4f}" for number in numbers]
        rows.append([f"{one['name']}@{one['k']}", *shown, interval])
    champion = "no champion" if result.against is None else f"version {result.against}"
    columns = ["metric", f"version {result.version}", champion, "popularity", "difference, interval"]
    console.print(_to_table(f"model {result.name}", columns, rows))
    for arm in (result.feedback or {}).get("arms", []):
        for kind in arm["kinds"]:
            rate = kind["rate"]
            said = f"{rate['rate']:.4f}, {rate['low']:.4f} to {rate['high']:.4f}" if rate else "no rate"
            console.print(
                f"feedback  version {arm['version']} ({arm['arm']}), {kind['kind']}: {said}, of "
                f"{arm['predictions']:,} predictions",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    for check in result.checks:
        sign = "passed" if check["passed"] else "FAILED"
        console.print(f"{sign}  {check['said']}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"version {result.version} of model {result.name} {result.status} against {champion}",
        highlight=False,
        markup=False,
    )
    if result.status == "passed":
        expected = "none" if result.against is None else result.against
        console.print(
            f"next   {to_command()} promote '{result.name}' {result.version} --expect {expected}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _print_lists(lists: list[tuple[str, list[list[str]]]], console: Console) -> None:
    for title, lines in lists:
        table = Table(title=title, title_justify="left", show_header=False)
        for _ in max(lines, key=len, default=[]):
            table.add_column(overflow="fold")  # an id that is cut short names no run
        for line in lines[:_LINES_SHOWN]:
            table.add_row(*map(Text, line))
        if len(lines) > _LINES_SHOWN:
            table.caption = f"and {len(lines) - _LINES_SHOWN} more; --json shows all"
        console.print(table)


def _print_verify(result: VerifyResult, console: Console) -> None:
    """Prints the counts, the first of the runs that are not verified, and whether MLflow may go."""
    console.print(_to_table("verify", ["what", "runs"], [list(count) for count in result.counts]))
    for said in list(result.failed.values())[:_LINES_SHOWN]:
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    if len(result.failed) > _LINES_SHOWN:
        console.print(f"and {len(result.failed) - _LINES_SHOWN} more, in the manifest")
    for said in result.failed_models[:_LINES_SHOWN]:
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    if result.models_unread:
        said = f"MLflow's registry could not be read: {result.models_unread}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    reasons = [f"- {reason}" for reason in result.not_safe]
    lost = [f"- lost: {what}" for what in result.lost]
    for line in (result.says, *reasons, *lost, f"manifest  {result.manifest_uri}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _to_metrics_table(metrics: dict[str, float | None]) -> Table:
    """Returns the final metrics as a table; a recall is beside the popularity baseline's, if there is one."""
    baselines = {name: value for name, value in metrics.items() if _BASELINE in name}
    rows = []
    for name, value in metrics.items():
        if name not in baselines:
            beside = next((baselines[b] for b in baselines if b.replace(_BASELINE, "test_") == name), None)
            rows.append([name, value, beside])
    return _to_table("final metrics", ["metric", "value", "popularity"], rows)


def _to_table(title: str, columns: list[str], rows: list[list[Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name not in ("metric", "what", "table") else "left")
    for row in rows:
        table.add_row(
            *("" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row)
        )
    return table
