"""Fill: gives runs that were published before full series existed their full series and values.

The histories stay as they are. Killed at any point and run again, it ends the same: what is filled is not listed again.
"""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.answers.fill import FillFailed, FillResult
from flows.mlflow_parameters import FillParameters
from flows.progress.batches import Watch
from flows.signatures import takes
from switchyard.core.batches import batched
from switchyard.core.errors import to_message
from switchyard.core.history.filling import FillBatch
from tasks.fill import count_filled, fill_batch, give_up_batch, list_unfilled
from tasks.show import BatchProgress, name_flow_run, show_fill


@flow(name="fill")
@takes(FillParameters)
def fill(wanted: FillParameters) -> FillResult:
    """Fills the runs without full series, from their metrics file or MLflow run.

    It fills all others before it fails, and names the runs that could not be filled. If neither source is left, a run
    gets its values alone, and is named with the reason: that is not a failure.
    """
    name_flow_run("fill")
    since = datetime.now(UTC)
    ids = list_unfilled()
    ids = ids[: wanted.limit] if wanted.limit else ids
    done = _fill(ids, since, wanted)
    result = FillResult(
        to_do=len(ids), filled=done.done, values_alone=done.values, replaced=done.replaced, failed=done.failed
    )
    show_fill(result.table)
    if result.failed:
        raise FillFailed(result)
    return result


def _fill(ids: list[int], since: datetime, wanted: FillParameters) -> FillBatch:
    """Fills all batches, `concurrency` at once.

    A batch that is given up leaves its reason on the line of each of its runs.
    """
    result = FillBatch()
    if not ids:
        return result
    artifact = BatchProgress("fill", "filled, or listed with a reason")
    watch = Watch("fill", len(ids), lambda: count_filled(since), artifact.show)
    runner: TaskRunner[PrefectConcurrentFuture[Any]] = ThreadPoolTaskRunner(max_workers=wanted.concurrency)
    with runner:
        futures = [
            (batch, runner.submit(fill_batch, {"ids": batch, "export_uri": wanted.export_uri}))
            for batch in batched(ids, wanted.batch_size)
        ]
        for batch, future in futures:
            watch.wait(future)
            result.add(_take(batch, future, since))
    watch.end(result.settled)
    return result


def _take(batch: list[int], future: "PrefectFuture[FillBatch]", since: datetime) -> FillBatch:
    found = future.result(raise_on_failure=False)
    if isinstance(found, Exception):
        return give_up_batch(batch, since, to_message(found))
    if isinstance(found, BaseException):
        raise found
    return found
