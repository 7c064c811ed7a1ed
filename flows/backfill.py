"""Backfill: publishes past runs from MLflow, like new ones. Killed at any point and run again, it ends the same.

What is published already is not read again, so a second flow run does what the first one left. Each run has a line in
the ledger (kind ``backfill``). A bad run is listed at the end and does not stop the others.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from prefect import flow
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.mlflow_parameters import BackfillParameters
from flows.progress.batches import Watch
from flows.signatures import takes
from flows.steps.following import look_for_changes, note_seen
from flows.steps.sharding import run_shards
from switchyard.core.backfill.behind import find_behind, list_open, to_unasked
from switchyard.core.backfill.following import Accept, Seen, merge, to_unadopted
from switchyard.core.backfill.plan import (
    Adoption,
    Batch,
    BatchResult,
    Behind,
    How,
    Plan,
    PlannedRun,
    Shown,
    make_plan,
    to_batches,
    to_export_only,
)
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.errors import BadSetup, TryAgain, catch, to_message
from switchyard.core.history.best import parse_directions
from tasks.backfill import (
    adopt_runs,
    backfill_batch,
    count_shown,
    count_tries,
    fail_batch,
    list_adoptable,
    look_at_runs,
)
from tasks.following import name_mlflow
from tasks.show import BatchProgress, name_flow_run, show_backfill

CHARTED_BATCH: Final = 5_000
"""One query over the index of the charted keys reads this many runs; more batches would pass that index again."""
WHOLE_BATCH: Final = 250
"""Reading all points goes 25 runs a query, so that a batch is as long as a retry may take."""


@flow(name="backfill")
@takes(BackfillParameters)
def backfill(wanted: BackfillParameters) -> BackfillResult:
    """Publishes the rows that have an MLflow run and nothing published.

    It publishes all others before it fails, and names the runs that could not be published.
    """
    name_flow_run(f"backfill shard {wanted.shard} of {wanted.shards}" if wanted.shard else "backfill")
    how = _to_how(wanted, since=datetime.now(UTC))
    accept = Accept(store=wanted.accept_store, missing=wanted.accept_missing)
    adoption = catch(lambda: _adopt(wanted, how, accept))
    if isinstance(adoption, Exception):
        if isinstance(adoption, TryAgain | BadSetup) and not wanted.dry_run:
            note_seen(Seen(error=to_message(adoption)), how, failed=0, is_whole=False)
        raise adoption
    if adoption.runs and not wanted.dry_run:
        adopt_runs(adoption.runs)
    seen = look_for_changes(how, accept, dry_run=wanted.dry_run)
    plan = make_plan(
        seen.rows,
        how,
        status=wanted.status,
        limit=wanted.limit,
        shards=wanted.shards if wanted.shard else 1,
        shard=wanted.shard,
        behind=merge(_find_behind(seen.rows, how, wanted), seen.changes),
        marks=seen.marks,
    )
    if wanted.dry_run:
        done = BatchResult()
    elif wanted.shards > 1 and not wanted.shard:
        done = _run_shards(plan, wanted)
    else:
        done = _publish(plan, how, wanted)
    if not wanted.dry_run:
        unadopted = to_unadopted(adoption, wanted.experiments) if wanted.adopt else None
        is_whole = _is_whole(wanted, seen) and not any(run.is_unasked for run in plan.runs)
        note_seen(seen, how, failed=len(done.failed), is_whole=is_whole, unadopted=unadopted)
    shown = _count_shown(wanted, plan, adoption) if wanted.dry_run else Shown()
    result = _to_result(wanted, how, plan, adoption, done, shown)
    result = msgspec.structs.replace(result, unasked=seen.error, doubt=seen.doubt)
    if result.has_news and not wanted.dry_run:
        show_backfill(result.table)
    if result.failed or ((result.unasked or result.doubt or result.unadopted) and not wanted.dry_run):
        raise BackfillFailed(result)
    return result


def _to_how(wanted: BackfillParameters, *, since: datetime) -> How:
    return How(
        histograms=wanted.histograms,
        full=wanted.full,
        force=wanted.force,
        interval=wanted.interval,
        keep_extremes=wanted.keep_extremes,
        max_points=wanted.max_points,
        directions=parse_directions(wanted.directions),
        export_uri=wanted.export_uri,
        rules=wanted.rules,
        stale_after_hours=wanted.stale_after_hours,
        store="" if wanted.export_uri else name_mlflow(),
        since=since,
    )


def _is_whole(wanted: BackfillParameters, seen: Seen) -> bool:
    """Returns True if the flow run leaves out no run of the store: it adopts those without a row, or there are none."""
    adopts_all = wanted.adopt and not wanted.experiments
    return wanted.status == "all" and not wanted.limit and not wanted.shard and (adopts_all or not seen.unknown)


def _adopt(wanted: BackfillParameters, how: How, accept: Accept) -> Adoption:
    if not wanted.adopt:
        return Adoption()
    return list_adoptable(wanted.experiments, wanted.status, wanted.export_uri, how.store, accept)


def _find_behind(rows: Sequence[BackfillRow], how: How, wanted: BackfillParameters) -> Behind:
    """Finds the rows of runs that went on or ended in MLflow, and those that have a row for their parent by now.

    An MLflow that is away, or gone, does not stop the others.
    """
    opened = list_open(rows, how, status=wanted.status)
    looks = catch(lambda: look_at_runs([row.mlflow_run_id for row in opened], wanted.export_uri)) if opened else {}
    if isinstance(looks, Exception):
        return Behind(unknown=to_unasked(opened, to_message(looks)))
    lost = {row.id: row.lost_parent for row in rows if row.lost_parent}
    known = {row.mlflow_run_id for row in rows} if lost else set()
    return find_behind(opened, looks, how, lost_parents=lost, known=known)


def _count_shown(wanted: BackfillParameters, plan: Plan, adoption: Adoption) -> Shown:
    runs = [item.mlflow_run_id for item in plan.to_do] + [run.mlflow_run_id for run in adoption.runs]
    return count_shown(runs, wanted.export_uri)


def _publish(plan: Plan, how: How, wanted: BackfillParameters) -> BatchResult:
    """Publishes all batches, `concurrency` at once.

    A batch that is given up leaves its reason on the line of each of its runs.
    """
    size = wanted.batch_size or (WHOLE_BATCH if how.whole else CHARTED_BATCH)
    batches = to_batches(plan.to_do, size)
    result = BatchResult()
    if not batches:
        return result
    watch = _watch(plan)
    runner: TaskRunner[PrefectConcurrentFuture[Any]] = ThreadPoolTaskRunner(max_workers=wanted.concurrency)
    with runner:
        futures = [(batch, runner.submit(backfill_batch, {"batch": batch, "how": how})) for batch in batches]
        for batch, future in futures:
            watch.wait(future)
            result.add(_take(batch, future))
    watch.end(result.settled)
    return result


def _take(batch: Batch, future: "PrefectFuture[BatchResult]") -> BatchResult:
    found = future.result(raise_on_failure=False)
    if isinstance(found, Exception):
        return fail_batch(batch, to_message(found))
    if isinstance(found, BaseException):
        raise found
    return found


def _run_shards(plan: Plan, wanted: BackfillParameters) -> BatchResult:
    """Runs each part as a flow run of the deployment, all at once; the ledger says what became of each run."""
    if not plan.to_do:
        return BatchResult()
    watch = _watch(plan)
    broken = run_shards(wanted, watch)
    why = f"no shard has settled it; of {wanted.shards} shards these did not end well: {'; '.join(broken) or 'none'}"
    result = fail_batch(Batch(plan.to_do), why)
    watch.end(result.settled)
    return result


def _watch(plan: Plan) -> Watch:
    artifact = BatchProgress("backfill", "published, or listed with a reason")
    before = count_tries()

    def count() -> int | None:
        now = count_tries()
        return None if now is None or before is None else now - before

    return Watch("backfill", len(plan.to_do), count, artifact.show)


def _to_result(
    wanted: BackfillParameters, how: How, plan: Plan, adoption: Adoption, done: BatchResult, shown: Shown
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
        values_alone=done.values_alone,
        would_show=shown,
        skipped=done.skipped,
        failed=done.failed,
        left_out=[run for run in plan.runs if run.todo is None] + adoption.left_out,
        runs=runs if wanted.dry_run else [],
        export_only=to_export_only(how),
    )
