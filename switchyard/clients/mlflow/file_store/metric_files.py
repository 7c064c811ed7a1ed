"""Reads the metric files of an MLflow folder: one for each key, one line for each point.

Source: FileStore._log_run_metric, _get_metric_from_line and _log_model_metric, mlflow/store/tracking/file_store.py,
2.9.2 and 3.17.2.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import lt
from typing import Final

from switchyard.clients.mlflow.schema import DBL_MAX
from switchyard.core.errors import BadRecord
from switchyard.core.mlflow.raw_run import OwnedPoint, Points, to_points

_LEAST, _MOST = -(2**63), 2**63 - 1
_WORDS: Final = "<timestamp> <value> <step>"


def read_points(data: bytes, key: str, where: str) -> tuple[Points, list[OwnedPoint]]:
    """Returns the points of one file, and those that were logged on a data set. A repeated point counts once.

    Raises:
        BadRecord: a line is not MLflow's, or the last one is not whole. A value is never guessed.
    """
    lines = _split(data, where)
    try:
        return _once(_read_plain(lines)), []
    except ValueError:  # of another form, or damaged: line by line
        return _read_each(lines, key, where)


def _read_plain(lines: list[str]) -> Points:
    """Reads all at once, because there are millions. Raises: ValueError: a line does not have three columns."""
    rows = [line.split(" ") for line in lines]
    times, values, steps = zip(*rows, strict=True)
    points = to_points(list(map(int, steps)), list(map(int, times)), list(map(float, values)))
    for extreme in (min(points.steps), max(points.steps), min(points.timestamps_ms), max(points.timestamps_ms)):
        _check_range(extreme)
    return Points(points.steps, points.timestamps_ms, list(map(_to_stored, points.values)))


def _read_each(lines: list[str], key: str, where: str) -> tuple[Points, list[OwnedPoint]]:
    steps: list[int] = []
    times: list[int] = []
    values: list[float] = []
    owned: list[OwnedPoint] = []
    for number, line in enumerate(lines, 1):
        parts = line.strip().split(" ")
        try:
            # Two before MLflow 1.0; from the fifth on a data set's name, which may have spaces, and its digest.
            _check_columns(len(parts), known=(2, 3), least=5)
            step = _check_range(int(parts[2])) if len(parts) > 2 else 0
            time, value = _check_range(int(parts[0])), _to_stored(float(parts[1]))
        except ValueError as err:
            raise _odd_line(where, number, line, _WORDS, err) from err
        steps.append(step)
        times.append(time)
        values.append(value)
        if len(parts) > 3:
            owned.append(OwnedPoint(key, step, time, value, dataset=" ".join(parts[3:-1])))
    return _once(to_points(steps, times, values)), owned


def read_model_points(
    data: bytes, key: str, model_id: str, where: str, *, is_wanted: Callable[[str], bool]
) -> Iterator[tuple[str, OwnedPoint, str]]:
    """Yields the points of a logged model's file, of the wanted runs: each with its run, and its data set's digest.

    Raises:
        BadRecord: as `read_points`.
    """
    for number, line in enumerate(_split(data, where), 1):
        parts = line.strip().split(" ")
        try:
            _check_columns(len(parts), known=(4,), least=6)
            if not is_wanted(parts[3]):
                continue
            step, time = _check_range(int(parts[2])), _check_range(int(parts[0]))
            value = _to_stored(float(parts[1]))
        except ValueError as err:
            raise _odd_line(where, number, line, f"{_WORDS} <run>", err) from err
        digest = parts[-1] if len(parts) > 4 else ""
        yield parts[3], OwnedPoint(key, step, time, value, model_id, " ".join(parts[4:-1])), digest


def _split(data: bytes, where: str) -> list[str]:
    """Returns its whole lines."""
    if not data:
        raise BadRecord(where, ["it has no point: a writer was killed, is at work, or had no room. Remove the file"])
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as err:
        number = data.count(b"\n", 0, err.start) + 1
        raise BadRecord(where, [f"line {number}: it must be text in UTF-8; {err.reason}"]) from err
    if lines.pop():  # a number that is cut short is a number too
        said = f"line {len(lines) + 1}: it must end with a line break; a writer was killed, or is at work"
        raise BadRecord(where, [f"{said}. If none is, finish the line or remove it"])
    return lines


def _to_stored(value: float) -> float:
    """Returns the value as a database of MLflow's has it, which stores an infinity as the largest number."""
    return value if -DBL_MAX < value < DBL_MAX else value * math.inf  # NaN stays NaN


def _check_columns(count: int, *, known: tuple[int, ...], least: int) -> None:
    if count not in known and count < least:
        raise ValueError(f"it has {count} columns")


def _check_range(number: int) -> int:
    if not _LEAST <= number <= _MOST:
        raise ValueError("a whole number there has more than 64 bits")
    return number


def _odd_line(where: str, number: int, line: str, words: str, err: ValueError) -> BadRecord:
    shown = repr(line if len(line) <= 80 else line[:80] + "...")
    return BadRecord(where, [f"line {number}: it must be `{words}`; got {shown} ({str(err)[:100]})"])


def _once(points: Points) -> Points:
    """Keeps each point once. Source: the primary key of `metrics`, mlflow/store/tracking/dbmodels/models.py."""
    if all(map(lt, points.steps, points.steps[1:])):
        return points
    rows = list(zip(points.steps, points.timestamps_ms, points.values, strict=True))
    kept = [rows[0], *(row for before, row in pairwise(rows) if not _is_same(before, row))]
    return points if len(kept) == len(rows) else Points(*map(list, zip(*kept, strict=True)))


def _is_same(one: tuple[int, int, float], other: tuple[int, int, float]) -> bool:
    return one == other or (one[:2] == other[:2] and math.isnan(one[2]) and math.isnan(other[2]))
