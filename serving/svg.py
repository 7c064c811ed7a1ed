"""Charts of lines as SVG, drawn on the server from plain values.

They are what a page shows before its scripts have run, and the small curves of a list. No script, no style of its own:
colours come from the page's classes.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec
from markupsafe import Markup

_WIDTH: Final = 600
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 44
_MOST_POINTS: Final = 400  # a line: more than a chart has pixels for
_TICKS: Final = 5
_LARGEST: Final = 1e250

Numbers = Sequence[float | None]


class SvgLine(msgspec.Struct, frozen=True):
    """One line: where its values stand on the axis, None a gap; `style` is a class of the stylesheet."""

    label: str
    x: Sequence[float]
    y: Numbers
    style: str = "first"


def draw_lines(lines: Sequence[SvgLine], *, title: str, axis: str, height: int = 330, log: bool = False) -> Markup:
    """Draws the chart, 600 wide and scaled by the page; with ticks, grid and `title` for readers that do not see it."""
    frame = _Frame.around(lines, height, log)
    parts = [
        f'<svg class="drawn" viewBox="0 0 {_WIDTH} {height}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(title)}">'
    ]
    for value in frame.y_ticks():
        at = frame.top_of(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{to_short(value)}</text>')
    for value in frame.x_ticks():
        at = frame.left_of(value)
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{height - _BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - _BOTTOM + 17}" text-anchor="middle">{to_short(value)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{height - 6}" text-anchor="middle">{escape(axis)}</text>')
    parts += [f'<path class="line {escape(line.style)}" d="{frame.path(line)}"/>' for line in lines]
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  (numbers, and texts that are escaped above)


def draw_sparkline(values: Numbers, *, label: str, width: int = 96, height: int = 24) -> Markup:
    """Draws one line without axes, its last point marked; returns an empty text for fewer than two values."""
    kept = [(at, None if value is None else _clip(value)) for at, value in _thin(values)]
    finite = [value for _, value in kept if value is not None]
    if len(finite) < 2:
        return Markup("")
    low, high = min(finite), max(finite)
    step, reach = (width - 6) / (len(values) - 1), (high - low) or 1
    points = [
        None if value is None else (3 + at * step, height - 3 - (value - low) / reach * (height - 6))
        for at, value in kept
    ]
    last = [point for point in points if point][-1]
    return Markup(  # noqa: S704  (numbers, and a label that is escaped)
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        f' aria-label="{escape(label)}"><path class="line first" d="{_to_path(points)}"/>'
        f'<circle class="end" cx="{last[0]:.1f}" cy="{last[1]:.1f}" r="2.2"/></svg>'
    )


def to_short(value: float) -> str:
    """Returns four significant digits, and a true minus, as charts.js writes them.

    >>> to_short(0.123456), to_short(12345.6), to_short(1500000.0), to_short(2e9)
    ('0.1235', '12346', '1500000', '2e9')
    """
    size = abs(value)
    if size and (size < 1e-4 or size >= 1e7):
        digits, _, exponent = f"{value:.3e}".partition("e")
        text = f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    elif size >= 1000 or value == int(value):
        text = f"{value:.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


class _Frame(msgspec.Struct, frozen=True):
    """Where values stand on the picture."""

    x: tuple[float, float]
    y: tuple[float, float]  # logarithms where `log`
    height: int
    log: bool

    @classmethod
    def around(cls, lines: Sequence[SvgLine], height: int, log: bool) -> "_Frame":
        values = [_clip(value) for line in lines for value in line.y if value is not None and (value > 0 or not log)]
        heights = [_log(value) for value in values] if log else values
        places = [place for line in lines for place in line.x]
        return cls(to_reach(places), to_reach(heights), height, log)

    def left_of(self, value: float) -> float:
        low, high = self.x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def top_of(self, value: float) -> float:
        low, high = self.y
        value = _log(value) if self.log else _clip(value)
        return _TOP + (high - value) / (high - low) * (self.height - _TOP - _BOTTOM)

    def x_ticks(self) -> list[float]:
        return [value for value in to_ticks(*self.x) if value == int(value)]

    def y_ticks(self) -> list[float]:
        if not self.log:
            return to_ticks(*self.y)
        tens = [10.0**ten for ten in range(math.ceil(self.y[0]), math.floor(self.y[1]) + 1)]
        return tens if len(tens) > 1 else [10.0**value for value in self.y]

    def path(self, line: SvgLine) -> str:
        return _to_path(
            [
                None if value is None or (self.log and value <= 0) else (self.left_of(line.x[at]), self.top_of(value))
                for at, value in _thin(line.y)
                if at < len(line.x)
            ]
        )


def to_reach(values: Sequence[float]) -> tuple[float, float]:
    """Returns a range from the least value to the greatest, with a little room."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = (high - low) * 0.02 or max(0.5, abs(low) * 0.1)
    return low - room, high + room


def _clip(value: float) -> float:
    """Returns the value within what a difference of two can say."""
    return max(-_LARGEST, min(_LARGEST, value))


def _log(value: float) -> float:
    return math.log10(max(1 / _LARGEST, min(_LARGEST, value)))


def to_ticks(low: float, high: float) -> list[float]:
    """Returns about five round numbers between the two."""
    step = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step *= next(times for times in (1, 2, 5, 10, 20) if (high - low) / (step * times) <= _TICKS)
    return [float(f"{number * step:.12g}") for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _thin(values: Numbers) -> list[tuple[int, float | None]]:
    """Returns evenly chosen values if there are too many, with their places; the last is kept."""
    step = max(1, math.ceil(len(values) / _MOST_POINTS))
    kept = list(range(0, len(values), step))
    if values and kept[-1] != len(values) - 1:
        kept.append(len(values) - 1)
    return [(at, values[at]) for at in kept]


def _to_path(points: Sequence[tuple[float, float] | None]) -> str:
    """Returns moves and lines; a point alone between gaps is a dot."""
    parts, pen = [], "M"
    for number, point in enumerate(points):
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        if pen == "M" and (number + 1 == len(points) or points[number + 1] is None):
            parts.append("h0")
        pen = "L"
    return "".join(parts)
