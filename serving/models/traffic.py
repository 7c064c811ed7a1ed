"""What both arms of a model answered of late, and what became of it.

Counted at most twice a minute: a window may hold millions of predictions.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.clients.postgres.deadlines import waiting_at_most
from switchyard.core.errors import BadRequest, TryAgain
from switchyard.core.predictions.feedback import WAITING_S, Kind
from switchyard.core.predictions.rows import Window
from switchyard.core.predictions.statistics import ArmStatistics, KindStatistics, Rate, to_statistics

DAYS: Final = (1, 7, 30)
USUAL_DAYS: Final = 7
_FRESH_S: Final = 30.0
_LONGEST_S: Final = 1.5
"""How much of the three seconds of an answer this may take: the page is whole without these numbers."""


class ArmRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version in an arm."""

    arm: ArmStatistics
    share: float  # of all predictions of the window
    cells: list[KindStatistics | None]  # one a kind of the table


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """The table of a window; without rows where nothing was predicted."""

    days: int
    kinds: list[Kind] = []
    rows: list[ArmRow] = []
    interval: str = ""
    problem: str = ""  # why it could not be counted


class TrafficReader:
    """Counts over one wiring, and keeps the counts of the last models that were asked for."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._read_kept = lru_cache(maxsize=64)(self._count)

    def read(self, name: str, days: int) -> Traffic:
        """Reads the traffic of the last `days`. Never raises for a database that takes too long."""
        try:
            return self._read_kept(name, days, int(time.monotonic() / _FRESH_S))
        except (TryAgain, BadRequest):
            return Traffic(days=days, problem="Counting it takes too long at the moment. Ask for fewer days.")

    def _count(self, name: str, days: int, turn: int) -> Traffic:
        del turn  # of the clock: another one is counted again
        now = datetime.now(UTC)
        window = Window(model=name, since=now - timedelta(days=days))
        with waiting_at_most(_LONGEST_S):
            counts = self._outside.predictions.count(window, waiting_since=now - timedelta(seconds=WAITING_S))
        found = to_statistics(window, counts)
        total = sum(arm.predictions for arm in found.arms)
        kinds = [kind for kind in Kind if any(one.kind is kind for arm in found.arms for one in arm.kinds)]
        rows = [
            ArmRow(
                arm=arm,
                share=arm.predictions / total if total else 0.0,
                cells=[next((one for one in arm.kinds if one.kind is kind), None) for kind in kinds],
            )
            for arm in found.arms
        ]
        return Traffic(days=days, kinds=kinds, rows=rows, interval=found.interval)


def say_rate(rate: Rate) -> str:
    """Says a rate in hundredths, with its interval.

    >>> say_rate(Rate(rate=0.032, low=0.029, high=0.0354))
    '3.2 % (2.9 to 3.54)'
    """
    return f"{rate.rate * 100:.3g} % ({rate.low * 100:.3g} to {rate.high * 100:.3g})"
