"""Shows how far the export or restore of a whole store is: a bar for each stage, a Prefect progress artifact."""

from time import monotonic
from typing import Any, Final

from prefect import Task, get_run_logger
from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.progress.bars import Bar
from switchyard.core.mlflow.export import Moved
from tasks.export import interrupt, read_moved
from tasks.show import StoreProgress

LOOK_S: Final = 0.5
SHOW_S: Final = 5.0
"""Seconds between two looks for the bar, and between two updates of the Prefect artifact."""


def run_watched(task: Task[..., Any], parameters: dict[str, Any], *, uri: str, key: str) -> Any:
    """Runs the task in a thread, shows how far it is, and returns its result.

    The task itself says how far it is with the export at `uri`; `key` is the Prefect artifact's.
    """
    runner: TaskRunner[PrefectConcurrentFuture[Any]] = ThreadPoolTaskRunner(max_workers=1)
    watch = _Watch(uri, key)
    with runner:
        future = runner.submit(task, parameters)
        try:
            while not future.state.is_final():
                # An hour's export needs no 7,000 lines of log.
                future.wait(max(LOOK_S, watch.age_s / 50))
                watch.look()
        except BaseException:  # Ctrl-C, or a cancelled flow run: what is written already is found again
            interrupt(uri)
            raise
    watch.show()
    return future.result()


class _Watch:
    def __init__(self, uri: str, key: str) -> None:
        self._uri = uri
        self._artifact = StoreProgress(key)
        self._began_at = self._shown_at = monotonic()
        self._seen: Moved | None = None

    @property
    def age_s(self) -> float:
        return monotonic() - self._began_at

    def look(self) -> None:
        moved = read_moved(self._uri)
        if moved is None or moved == self._seen:
            return
        self._seen = moved
        bar = Bar(
            label=moved.stage, unit=moved.unit, done=moved.done, total=max(moved.rows, moved.done), detail=moved.table
        )
        get_run_logger().info("%s %s", moved.stage, bar, extra=bar.extra)
        if monotonic() - self._shown_at > SHOW_S:
            self.show()

    def show(self) -> None:
        """Shows the Prefect artifact."""
        self._shown_at = monotonic()
        if self._seen is not None:
            self._artifact.show(self._seen)
