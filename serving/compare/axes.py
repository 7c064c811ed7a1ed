"""The two axes of a picture of points, each linear or logarithmic."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

from serving.svg import to_reach, to_short, to_ticks

WIDTH: Final = 600
HEIGHT: Final = 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 34, 14, 44
_ROOM: Final = 0.05


class Axis(msgspec.Struct, frozen=True):
    """An axis from `low` to `high`, which are logarithms where `log`."""

    low: float
    high: float
    log: bool

    @classmethod
    def around(cls, values: Sequence[float], *, log: bool) -> "Axis":
        """Returns an axis wide enough for all values; they must be above 0 if it is logarithmic."""
        low, high = to_reach([math.log10(value) for value in values] if log else values)
        room = (high - low) * _ROOM
        return cls(low - room, high + room, log)

    def place(self, value: float) -> float:
        """Returns the place of a value on the axis: 0 at its begin, 1 at its end."""
        return ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Returns round values; powers of ten, or their ones, twos and fives, on a logarithmic axis."""
        if not self.log:
            return to_ticks(self.low, self.high)
        tens = range(math.floor(self.low), math.ceil(self.high) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
            every = [step * 10.0**ten for ten in tens if -300 < ten < 300 for step in steps]
            found = [value for value in every if self.low <= math.log10(value) <= self.high]
            if len(found) >= 3:
                return found[:: -(-len(found) // 8)]
        return [10.0**self.low, 10.0**self.high] if self.low > -300 and self.high < 300 else []


class Plane(msgspec.Struct, frozen=True):
    """Both axes on the picture."""

    x: Axis
    y: Axis

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns how far a point is from the left and the top."""
        return (
            _LEFT + self.x.place(x) * (WIDTH - _LEFT - _RIGHT),
            _TOP + (1 - self.y.place(y)) * (HEIGHT - _TOP - _BOTTOM),
        )

    def draw(self, *, axis: str) -> str:
        """Draws the grid, the ticks, and the name of the axis across, as SVG."""
        parts = []
        for value in self.y.ticks():
            top = _TOP + (1 - self.y.place(value)) * (HEIGHT - _TOP - _BOTTOM)
            parts.append(f'<path class="grid" d="M{_LEFT} {top:.1f}H{WIDTH - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{to_short(value)}</text>')
        for value in self.x.ticks():
            left = _LEFT + self.x.place(value) * (WIDTH - _LEFT - _RIGHT)
            parts.append(f'<path class="grid" d="M{left:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
            parts.append(
                f'<text x="{left:.1f}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{to_short(value)}</text>'
            )
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>')
        return "".join(parts)
