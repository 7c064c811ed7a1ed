"""Runs batches of artifacts one after the other: within a batch, many objects are read at once already."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from prefect import get_run_logger
from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.progress.bars import Bar
from switchyard.core.artifacts.copies import RunCopied
from switchyard.core.artifacts.plan import ArtifactRun, How
from switchyard.core.errors import TryAgain
from tasks.artifacts import copy_artifacts, forget_progress, settle_artifacts, to_progress
from tasks.show import BatchProgress

BATCH_RUNS: Final = 50
"""A retry lists the places of this number of runs again."""
LOOK_S: Final = 0.5

T = TypeVar("T")


def in_batches(
    label: str,
    batches: Sequence[Sequence[ArtifactRun]],
    work: Callable[[Sequence[ArtifactRun]], Sequence[T]],
    settle: Callable[[Sequence[ArtifactRun]], Sequence[T]],
) -> list[T]:
    """Returns what `work` makes of all batches, in order.

    If a batch is not finished by its retries, it has what `settle` makes of it.
    """
    total, done = sum(map(len, batches)), 0
    found: list[T] = []
    for batch in batches:
        try:
            found += work(batch)
        except TryAgain:
            found += settle(batch)
        done += len(batch)
        _say(label, done, total)
    return found


def copy_in_batches(batches: Sequence[Sequence[ArtifactRun]], how: How, *, key: str) -> list[RunCopied]:
    """Copies in batches, and returns what became of all runs.

    If a batch is not finished by its retries, the rest of it is recorded as failed.
    """
    progress, shown = to_progress(key), BatchProgress("artifacts-copy", "copied")
    total, settled = sum(map(len, batches)), 0
    found: list[RunCopied] = []
    runner: TaskRunner[PrefectConcurrentFuture[Any]] = ThreadPoolTaskRunner(max_workers=1)
    try:
        with runner:
            for batch in batches:
                future = runner.submit(copy_artifacts, {"runs": batch, "how": how, "key": key})
                seen = -1
                while not future.state.is_final():
                    future.wait(LOOK_S)
                    if progress.objects > seen:
                        seen = progress.objects
                        _say("artifacts copy", settled, total, f"{seen:,} objects, {progress.size_bytes:,} bytes")
                try:
                    found += future.result()
                except TryAgain:
                    found += settle_artifacts(batch, how, key)
                settled += len(batch)
                _say("artifacts copy", settled, total, f"{progress.objects:,} objects")
                shown.show(settled, total)
    except BaseException:  # Ctrl-C, or a cancelled flow run: what is copied already is found again
        progress.is_interrupted = True
        raise
    finally:
        forget_progress(key)
    return found


def _say(label: str, done: int, total: int, detail: str = "") -> None:
    bar = Bar(label=label, unit="runs", done=done, total=total, detail=detail)
    get_run_logger().info("%s", bar, extra=bar.extra)
