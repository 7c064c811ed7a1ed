"""Which steps are a run's epochs, and which of its series stand on them: the rule of docs/mapping.md, as values."""

from collections.abc import Sequence
from operator import lt
from typing import Final

import msgspec

from switchyard.core.metrics.record import Series

MAX_STEP: Final = 2**53 - 1
"""The largest whole number that every reader of JSON takes exactly. Source: RFC 8259, section 6."""


class Line(msgspec.Struct, frozen=True):
    """The steps of one series as it is drawn.

    Rising, unless `is_crowded`: there are more than two points a step on average then, which no retry and no resumed
    run logs; the step is an epoch perhaps, and the points are batches.
    """

    steps: tuple[int, ...]
    is_numbered: bool = False  # logged without steps: these are the order of time
    is_repeated: bool = False  # some steps were logged again, and are here once
    is_crowded: bool = False
    is_outside: bool = False  # a step is below 0 or above MAX_STEP

    @property
    def may_be_axis(self) -> bool:
        """True if each step could be an epoch."""
        return not self.is_crowded and not self.is_outside


def to_line(steps: tuple[int, ...], *, is_unstepped: bool = False) -> Line:
    """Returns the line of points at `steps`, which never fall.

    Args:
        is_unstepped: nothing in this run has a step, so that two points at step 0 are two.
    """
    is_outside = steps[0] < 0 or steps[-1] > MAX_STEP
    if all(map(lt, steps, steps[1:])):
        return Line(steps, is_outside=is_outside)
    distinct = tuple(dict.fromkeys(steps))
    is_many = len(steps) > 2 * len(distinct)
    if distinct == (0,) and (is_many or is_unstepped):
        return Line(tuple(range(len(steps))), is_numbered=True)
    if is_many:
        return Line(steps, is_crowded=True, is_outside=is_outside)
    return Line(distinct, is_repeated=True, is_outside=is_outside)


class Axis(msgspec.Struct, frozen=True):
    """A run's epochs; none if nothing of it is a curve."""

    steps: tuple[int, ...] = ()
    is_numbered: bool = False
    positions: dict[int, int] = {}

    def holds(self, line: Line, *, is_charted: bool) -> bool:
        """Returns True if the line stands among the epochs, with a gap where it has no point.

        One that `is_charted`, and sampled with the epochs, would lose most of its points among many more epochs: with
        fewer than half of those between its ends, or a single one, it has steps of its own.
        """
        if line.steps == self.steps and line.is_numbered == self.is_numbered:
            return True
        if line.is_numbered or self.is_numbered or not line.may_be_axis or len(line.steps) > len(self.steps):
            return False
        if not self.positions.keys() >= set(line.steps):
            return False
        if not is_charted:
            return True
        span = self.positions[line.steps[-1]] - self.positions[line.steps[0]] + 1
        return len(line.steps) > 1 and 2 * len(line.steps) >= span

    def spread(self, line: Line, values: Series) -> tuple[Series | None, bool]:
        """Returns one value for each epoch, and whether that is all that the line has.

        None: it has no value at any epoch.
        """
        if line.steps == self.steps and line.is_numbered == self.is_numbered:
            return values, True
        if line.is_numbered or self.is_numbered:
            return None, False
        by_step = dict(zip(line.steps, values, strict=True))
        if self.positions.keys().isdisjoint(by_step):
            return None, False
        return [by_step.get(epoch) for epoch in self.steps], by_step.keys() <= self.positions.keys()


NO_AXIS: Final = Axis()

_Kind = tuple[bool, tuple[int, ...]]


def choose_axis(found: Sequence[tuple[str, str, Line]]) -> Axis:
    """Returns the epochs of a run with these series (name, section of the record, line), histograms not among them.

    The steps of the loss series that most of the run's series share; ties: more points, then the first name. Losses and
    norms with about the same steps (validation a step later, steps that are missing) join in: the epochs are all of
    theirs. Without a loss: the steps that most series of two points and more share; else those of a tower's or a norm.
    """
    able = [(name, section, line) for name, section, line in found if line.may_be_axis]
    named: dict[int, tuple[Line, list[str]]] = {}  # most series share one line: its steps are hashed once
    for name, _, line in able:
        named.setdefault(id(line), (line, []))[1].append(name)
    shared: dict[_Kind, int] = {}
    names: dict[_Kind, str] = {}
    for line, found_names in named.values():
        kind = (line.is_numbered, line.steps)
        shared[kind] = shared.get(kind, 0) + len(found_names)
        names[kind] = min(*found_names, names.get(kind, found_names[0]))
    for chosen in (
        [line for _, section, line in able if section == "loss"],
        [line for _, _, line in able if len(line.steps) > 1],
        [line for _, section, line in able if section not in ("metrics", "final_metrics")],
    ):
        kinds = {(line.is_numbered, line.steps) for line in {id(line): line for line in chosen}.values()}
        # A value that was logged once at the end says nothing of epochs, however many there are of it.
        kinds = {kind for kind in kinds if len(kind[1]) > 1} or kinds
        if kinds:
            best = min(kinds, key=lambda kind: (-shared[kind], -len(kind[1]), names[kind]))
            break
    else:
        return NO_AXIS
    is_numbered, steps = best
    if not is_numbered:
        steps = _join(steps, [line for _, section, line in able if section in ("loss", "gradient")])
    return Axis(steps, is_numbered, dict(zip(steps, range(len(steps)), strict=True)))


def _join(steps: tuple[int, ...], lines: Sequence[Line]) -> tuple[int, ...]:
    """Returns `steps`, and those of the lines that are about the same."""
    distinct = {id(line): line for line in lines}.values()
    others = {line.steps for line in distinct if not line.is_numbered and line.steps != steps}
    if not others:
        return steps
    base = set(steps)
    joined = base.union(*(other for other in others if _is_alike(base, other)))
    return tuple(sorted(joined)) if len(joined) > len(base) else steps


def _is_alike(base: set[int], other: tuple[int, ...]) -> bool:
    """Returns True if at least half of the steps of the longer line are in both."""
    return 2 * len(base.intersection(other)) >= max(len(base), len(other))
