"""Backfill: publish past runs from MLflow, like new ones. Killed at any point and run again, it ends the same.

What is published already is not read again, so that a second flow run does what the first one left. Each run has a line
in the ledger (kind ``backfill``); a bad one is listed at the end and does not stop the others.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

import msgspec
from prefect import flow, get_run_logger
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.parameters import BackfillParameters, takes
from history.backfill import (
    Adoption,
    Batch,
    BatchResult,
    How,
    Plan,
    PlannedRun,
    make_plan,
    to_batches,
    to_export_only,
    to_row,
)
from history.errors import SwitchyardError
from history.runs import BackfillRow
from tasks.backfill import adopt_runs, backfill_batch, count_settled, fail_batch, list_adoptable, list_backfill
from tasks.showing import show_backfill, show_backfill_progress

CHARTED_BATCH: Final = 5_000
"""One query over the index of the charted keys reads so many runs; more batches would pass that index again."""
WHOLE_BATCH: Final = 250
"""Reading all points goes 25 runs a query, so that a batch is as long as a retry may take."""
LOOK_S: Final = 0.5
SHOW_S: Final = 5.0
"""Seconds between two looks at the ledger for the bar, and between two versions of the Prefect artifact."""
_SHOWN: Final = 20


class BackfillResult(msgspec.Struct, frozen=True, kw_only=True):
    """The counts before, and what was done; reasons by quick test id. A dry run has the list in `runs`."""

    dry_run: bool
    rows: int
    completed: int
    with_mlflow_run: int  # of the rows of a chosen status, as the two below
    already_published: int
    legacy: int  # published by the legacy application: kept, unless by force
    adopted: int  # rows made for MLflow runs; of a dry run: that would be made
    to_do: int
    published: int = 0
    unchanged: int = 0
    skipped: dict[int, str] = {}
    failed: dict[int, str] = {}
    left_out: list[PlannedRun] = []  # not to do, and why
    runs: list[PlannedRun] = []
    export_only: list[str] = []  # what is then kept by an export of MLflow's store alone


class BackfillFailed(SwitchyardError):
    """Some runs could not be published; `result` says which, and what became of the others."""

    def __init__(self, result: BackfillResult) -> None:
        self.result = result
        lines = [f"quick test {id_}: {error}" for id_, error in list(result.failed.items())[:_SHOWN]]
        more = len(result.failed) - len(lines)
        said = "; ".join(lines) + (f"; and {more} more, see the ledger" if more else "")
        super().__init__(
            f"{len(result.failed)} of {result.to_do} runs could not be published: {said}. "
            "The same command tries them again"
        )


@flow(name="backfill")
@takes(BackfillParameters)
def backfill(wanted: BackfillParameters) -> BackfillResult:
    """Publishes the rows that have an MLflow run and nothing published.

    Fails after all others were published, naming the runs that could not be.
    """
    how = _to_how(wanted, since=datetime.now(UTC))
    rows = list_backfill()
    adoption = _adopt(wanted, rows)
    if not wanted.dry_run:
        rows = rows + _make_rows(adoption)
    plan = make_plan(
        rows,
        how,
        status=wanted.status,
        limit=wanted.limit,
        shards=wanted.shards,
        shard=max(wanted.shard, 1),
    )
    done = BatchResult() if wanted.dry_run else _publish(plan, how, wanted)
    result = _to_result(wanted, how, plan, adoption, done)
    if not wanted.dry_run:
        show_backfill(_to_table(result))
    if result.failed:
        raise BackfillFailed(result)
    return result


def _to_how(wanted: BackfillParameters, *, since: datetime) -> How:
    return How(
        histograms=wanted.histograms,
        full=wanted.full,
        force=wanted.force,
        interval=wanted.interval,
        keep_extremes=wanted.keep_extremes,
        since=since,
    )


def _adopt(wanted: BackfillParameters, rows: list[BackfillRow]) -> Adoption:
    if not wanted.adopt:
        return Adoption()
    adopt_runs([])
    return list_adoptable({row.mlflow_run_id for row in rows}, wanted.experiments, wanted.status)


def _make_rows(adoption: Adoption) -> list[BackfillRow]:
    if not adoption.runs:
        return []
    ids = adopt_runs(adoption.runs)
    return [to_row(run, ids[run.mlflow_run_id]) for run in adoption.runs]


def _publish(plan: Plan, how: How, wanted: BackfillParameters) -> BatchResult:
    """All batches, `concurrency` at once; one that is given up leaves its reason on each of its runs' lines."""
    size = wanted.batch_size or (WHOLE_BATCH if how.whole else CHARTED_BATCH)
    batches = to_batches(plan.to_do, size)
    result = BatchResult()
    if not batches:
        return result
    watch = _Watch(how.since, len(plan.to_do))
    runner: TaskRunner[PrefectConcurrentFuture[Any]] = ThreadPoolTaskRunner(max_workers=wanted.concurrency)
    with runner:
        futures = [(batch, runner.submit(backfill_batch, {"batch": batch, "how": how})) for batch in batches]
        for batch, future in futures:
            watch.wait(future)
            result.add(_take(batch, future, how))
    watch.end()
    return result


def _take(batch: Batch, future: "PrefectFuture[BatchResult]", how: How) -> BatchResult:
    found = future.result(raise_on_failure=False)
    if isinstance(found, SwitchyardError):
        return fail_batch(batch, how.since, str(found))
    if isinstance(found, BaseException):
        raise found
    return found


class _Watch:
    """What a person sees while the batches are at work: a bar in the terminal, a progress artifact in Prefect."""

    def __init__(self, since: datetime, total: int) -> None:
        self._since = since
        self._total = total
        self._shown_at = monotonic()

    def wait(self, future: "PrefectFuture[Any]") -> None:
        """Returns once `future` is done, showing meanwhile how many runs are settled."""
        while not _is_done(future, LOOK_S):
            settled = count_settled(self._since)
            if settled is not None:
                self._show(min(settled, self._total), show=show_backfill_progress)

    def end(self) -> None:
        """Shows the whole."""
        self._show(self._total, show=None)

    def _show(self, settled: int, show: Callable[[int, int], None] | None) -> None:
        get_run_logger().info(
            "%d of %d runs", settled, self._total, extra={"bar": ("backfill", "runs", settled, self._total)}
        )
        if show is not None and monotonic() - self._shown_at > SHOW_S:
            self._shown_at = monotonic()
            show(settled, self._total)


def _is_done(future: "PrefectFuture[Any]", timeout_s: float) -> bool:
    future.wait(timeout_s)
    return future.state.is_final()


def _to_result(
    wanted: BackfillParameters, how: How, plan: Plan, adoption: Adoption, done: BatchResult
) -> BackfillResult:
    would_adopt = adoption.runs if wanted.dry_run else []
    runs = [run for run in plan.runs if run.todo is not None]
    runs += [
        PlannedRun(mlflow_run_id=run.mlflow_run_id, status=str(run.status), todo="adopt and publish")
        for run in would_adopt
    ]
    return BackfillResult(
        dry_run=wanted.dry_run,
        rows=plan.rows,
        completed=plan.completed,
        with_mlflow_run=plan.with_mlflow_run,
        already_published=plan.published,
        legacy=plan.legacy,
        adopted=len(adoption.runs),
        to_do=len(plan.to_do) + len(would_adopt),
        published=done.published,
        unchanged=done.unchanged,
        skipped=done.skipped,
        failed=done.failed,
        left_out=[run for run in plan.runs if run.todo is None] + adoption.left_out,
        runs=runs if wanted.dry_run else [],
        export_only=to_export_only(how),
    )


def _to_table(result: BackfillResult) -> list[dict[str, Any]]:
    """The counts, then each run that has a reason."""
    counts = ("rows", "adopted", "to_do", "published", "unchanged")
    rows = [{"what": name.replace("_", " "), "runs": getattr(result, name), "why": ""} for name in counts]
    rows += [{"what": name, "runs": len(getattr(result, name)), "why": ""} for name in ("skipped", "failed")]
    return rows
