"""A compared run as the page names it, and the look that it has everywhere."""

from typing import Final

import msgspec

COLORS: Final = 8
"""--run-0 to --run-7 of page.css; then they come again, with other dashes and shapes."""


class RunHead(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `place` gives its colour and dashes, the same everywhere."""

    id: int
    name: str
    status: str
    experiment: str
    place: int
    available: bool


def to_style(place: int) -> str:
    """Returns the classes of a run's lines: compare.css has them, as charts.js has its colours and dashes."""
    return f"run-{place % COLORS} dash-{place // COLORS}"
