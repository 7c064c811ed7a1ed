"""Runs side by side: curves by name, the params and tags that differ, which value is the best, and what each lacks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.core.comparison.fields import KINDS, Field
from switchyard.core.comparison.found import FoundRun
from switchyard.core.comparison.published import PublishedRun, read_published
from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.history.best import Direction, find_direction
from switchyard.core.history.publication import Value
from switchyard.core.history.values import to_number

MAX_RUNS: Final = 20
"""Compared at once."""


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a run that is compared; `values` is None if none are of its present history."""

    run: FoundRun
    history_json: str | None
    values: Sequence[Value] | None = None


class Curve(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run's points of a series, on steps of its own or, without, on the run's `epochs`."""

    id: int
    values: Any
    steps: Any = None


class ComparedCurve(msgspec.Struct, frozen=True):
    """The runs that have a series of that name."""

    name: str
    direction: Direction | None  # the way that is better, as the name says
    runs: list[Curve]


class ComparedValue(msgspec.Struct, frozen=True):
    """A metric of every run, in the order of `ids`; None: the run lacks it."""

    field: str
    direction: Direction | None
    values: list[float | None]
    best: list[
        int
    ]  # the ids of those that have the best value; empty where fewer than two have one, or no way is better


class Differing(msgspec.Struct, frozen=True):
    """A param or tag that is not the same in every run, in the order of `ids`; None: the run lacks it."""

    name: str
    values: list[Any]


class Texts(msgspec.Struct, frozen=True):
    """The params, or the tags, of all runs."""

    differ: list[Differing]
    same: dict[str, Any]


class Lacking(msgspec.Struct, frozen=True):
    """What another run of the comparison has, and this one does not."""

    id: int
    available: bool  # a history is published
    curves: list[str]
    values: list[str]
    params: list[str]
    tags: list[str]


class Comparison(msgspec.Struct, frozen=True):
    """The whole answer; everything that is a list of one a run is in the order of `ids`."""

    ids: list[int]
    missing: list[int]  # ids that name no run (any more)
    runs: list[dict[str, Any]]
    curves: list[ComparedCurve]
    values: list[ComparedValue]
    params: Texts
    tags: Texts
    lacks: list[Lacking]


def choose_ids(given: Sequence[int]) -> list[int]:
    """Returns the ids to compare, in their order; an id that is there twice counts once.

    Raises: BadRequest: none, or too many.

    >>> choose_ids([3, 1, 3])
    [3, 1]
    """
    ids = list(dict.fromkeys(given))
    if not 1 <= len(ids) <= MAX_RUNS:
        raise BadRequest(f"`ids` must name 1 to {MAX_RUNS} runs, as ids=1,3,9; it names {len(ids)}")
    return ids


def compare(ids: Sequence[int], stored: Sequence[ComparedRun]) -> Comparison:
    """Returns the comparison of those runs of `ids` that are there. Raises: NotFound: none is."""
    by_id = {one.run.id: one for one in stored}
    found = [by_id[id_] for id_ in ids if id_ in by_id]
    if not found:
        raise NotFound(f"none of these runs is there (any more): {', '.join(map(str, ids))}")
    read = {one.run.id: read_published(one.history_json) for one in found}
    values = {
        one.run.id: _to_numbers(one.values if one.values is not None else read[one.run.id].values) for one in found
    }
    params, tags = _Texts(read, lambda run: run.params), _Texts(read, lambda run: run.tags)
    curves = _to_curves(read)
    compared = _to_values(values, read)
    return Comparison(
        ids=list(read),
        missing=[id_ for id_ in ids if id_ not in by_id],
        runs=[_to_line(one.run, read[one.run.id]) for one in found],
        curves=curves,
        values=compared,
        params=params.compared,
        tags=tags.compared,
        lacks=[
            Lacking(
                id=id_,
                available=run.available,
                curves=[curve.name for curve in curves if all(one.id != id_ for one in curve.runs)],
                values=[value.field for value in compared if value.values[at] is None],
                params=params.list_lacking(id_),
                tags=tags.list_lacking(id_),
            )
            for at, (id_, run) in enumerate(read.items())
        ],
    )


def _to_line(run: FoundRun, read: PublishedRun) -> dict[str, Any]:
    line = msgspec.structs.asdict(run)
    del line["values"]
    return line | {
        "available": read.available,
        "history_status": read.status,
        "progress": read.progress,
        "parent": read.parent,
        "epochs": read.epochs,
    }


def _to_curves(read: Mapping[int, PublishedRun]) -> list[ComparedCurve]:
    found: dict[str, list[Curve]] = {}
    for id_, run in read.items():
        for name, (values, steps) in run.curves.items():
            found.setdefault(name, []).append(Curve(id=id_, values=values, steps=steps))
    return [ComparedCurve(name, find_direction(name), runs) for name, runs in found.items()]


def _to_numbers(values: Iterable[Value]) -> dict[Field, float]:
    """Returns metrics and best values; of a metric the final value goes before the last one of a series."""
    by_kind: dict[str, dict[str, float]] = {}
    for value in values:
        if value.number is not None and value.kind not in ("param", "tag"):
            by_kind.setdefault(value.kind, {})[value.name] = value.number
    found: dict[Field, float] = {}
    for section in ("metrics", "best"):
        for kind in reversed(KINDS[section]):
            found |= {Field(section, name): number for name, number in by_kind.get(kind, {}).items()}
    return found


def _to_values(values: Mapping[int, Mapping[Field, float]], read: Mapping[int, PublishedRun]) -> list[ComparedValue]:
    fields = sorted(
        {field for of_run in values.values() for field in of_run}, key=lambda field: (field.section, field.name)
    )
    return [_to_value(field, [values[id_].get(field) for id_ in read], read) for field in fields]


def _to_value(field: Field, row: list[float | None], read: Mapping[int, PublishedRun]) -> ComparedValue:
    given = (run.directions.get(field.name) for run in read.values())
    # What a run was published with goes before the name's own word, and of two runs that differ the name decides.
    said = {direction for direction in given if direction is not None}
    direction = said.pop() if len(said) == 1 else find_direction(field.name)
    there = [number for number in row if number is not None]
    best: list[int] = []
    if direction is not None and len(there) > 1:
        target = min(there) if direction == "min" else max(there)
        best = [id_ for id_, number in zip(read, row, strict=True) if number == target]
    return ComparedValue(str(field), direction, row, best)


class _Texts:
    """The params, or the tags, of all runs: what differs, what does not, and who lacks what."""

    def __init__(self, read: Mapping[int, PublishedRun], of: Callable[[PublishedRun], Mapping[str, Any]]) -> None:
        self._of = {id_: of(run) for id_, run in read.items()}
        self._names = sorted({name for found in self._of.values() for name in found})

    @property
    def compared(self) -> Texts:
        """Returns the texts by name: those that differ, and those that are the same."""
        differ, same = [], {}
        for name in self._names:
            row = [found.get(name) for found in self._of.values()]
            if all(name in found for found in self._of.values()) and len({_to_comparable(one) for one in row}) == 1:
                same[name] = row[0]
            else:
                differ.append(Differing(name, row))
        return Texts(differ, same)

    def list_lacking(self, id_: int) -> list[str]:
        """Returns what others have, and this run does not."""
        return [name for name in self._names if name not in self._of[id_]]


def _to_comparable(value: Any) -> Any:
    """Returns the same for what is the same: MLflow keeps numbers as texts, and Python's True as ``True``.

    >>> _to_comparable(0.1) == _to_comparable("0.10"), _to_comparable(True) == _to_comparable("True")
    (True, True)
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str):
        text = str(value)
        number = to_number(text)
        return number if number is not None else text.lower() if text in ("True", "False") else text
    return msgspec.json.encode(value, order="sorted")
