"""Shows how far batches of runs are: a bar in the terminal, a progress artifact in Prefect.

Both show what the ledger says, so they are right whichever thread, process or machine does the work.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from prefect import get_run_logger
from prefect.futures import PrefectFuture

from flows.progress.bars import Bar

LOOK_S: Final = 0.5
SHOW_S: Final = 5.0
"""Seconds between two counts for the bar, and between two updates of the Prefect artifact."""


class Watch:
    """Shows how many of `total` runs are settled, by a count of the ledger.

    A batch is one task, and says nothing before its end.
    """

    def __init__(
        self, flow: str, total: int, count: Callable[[], int | None], show: Callable[[int, int], None]
    ) -> None:
        self._flow = flow
        self._total = total
        self._count = count
        self._show = show
        self._settled = -1
        self._began_at = self._shown_at = monotonic()

    def wait(self, future: "PrefectFuture[Any]") -> None:
        """Returns once `future` is done; meanwhile it shows how many runs are settled."""
        # An hour's flow needs no 7,000 counts.
        while not _is_done(future, max(LOOK_S, (monotonic() - self._began_at) / 50)):
            self.look()

    def look(self) -> int:
        """Returns how many runs are settled, as far as is known; shows the number if it has grown."""
        settled = min(self._count() or 0, self._total)
        if settled > self._settled:
            self._say(settled)
            if monotonic() - self._shown_at > SHOW_S:
                self._shown_at = monotonic()
                self._show(settled, self._total)
        return self._settled

    def end(self, settled: int) -> None:
        """Shows how it ended."""
        self._say(settled)
        self._show(settled, self._total)

    def _say(self, settled: int) -> None:
        self._settled = settled
        bar = Bar(label=self._flow, unit="runs", done=settled, total=self._total)
        get_run_logger().info("%s", bar, extra=bar.extra)


def _is_done(future: "PrefectFuture[Any]", within_s: float) -> bool:
    future.wait(within_s)
    return future.state.is_final()
