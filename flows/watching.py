"""What a person sees while batches of runs are at work: a bar in the terminal, a progress artifact in Prefect."""

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from prefect import get_run_logger
from prefect.futures import PrefectFuture

from flows.bars import Bar

LOOK_S: Final = 0.5
SHOW_S: Final = 5.0
"""Seconds between two counts for the bar, and between two versions of the Prefect artifact."""


class Watch:
    """Shows how many of `total` runs are settled, by a count of the ledger: a batch is one task, and says nothing
    before its end."""

    def __init__(
        self, flow: str, total: int, count: Callable[[], int | None], show: Callable[[int, int], None]
    ) -> None:
        self._flow = flow
        self._total = total
        self._count = count
        self._show = show
        self._shown_at = monotonic()

    def wait(self, future: "PrefectFuture[Any]") -> None:
        """Returns once `future` is done."""
        while not _is_done(future, LOOK_S):
            settled = self._count()
            if settled is not None:
                self._say(min(settled, self._total))

    def end(self) -> None:
        """Shows the whole."""
        self._say(self._total)
        self._show(self._total, self._total)

    def _say(self, settled: int) -> None:
        bar = Bar(label=self._flow, unit="runs", done=settled, total=self._total)
        get_run_logger().info("%s", bar, extra=bar.extra)
        if monotonic() - self._shown_at > SHOW_S:
            self._shown_at = monotonic()
            self._show(settled, self._total)


def _is_done(future: "PrefectFuture[Any]", within_s: float) -> bool:
    future.wait(within_s)
    return future.state.is_final()
