"""Reads a tower's vectors from a Parquet file, and checks them: what a loader lets in makes every answer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pa_parquet

Floats = npt.NDArray[np.float32]
SHOWN: Final = 3
"""Examples in a message."""


@dataclass(frozen=True)
class Tower:
    """The rows of one tower: for each an id, and its vector [rows, dim]."""

    ids: Sequence[str]
    places: Mapping[str, int]
    vectors: Floats

    @property
    def dim(self) -> int:
        """Returns how many numbers a vector has."""
        return int(self.vectors.shape[1])


def read_tower(folder: Path, path: str, kind: str, problems: list[str]) -> Tower | None:
    """Returns the tower in a file of `folder`; None, and why in `problems`: it has none. `kind` names what a row is."""
    table = read_table(folder, path, problems)
    if table is None:
        return None
    ids = read_texts(table, "id", path, problems)
    vectors = _read_vectors(table, path, problems)
    if ids is None or vectors is None:
        return None
    places = {id_: place for place, id_ in enumerate(ids)}
    if len(places) < len(ids):
        twice = [id_ for id_, times in Counter(ids).items() if times > 1]
        problems.append(f"{path}: each {kind} must have one row; these have more: {show(twice)}")
        return None
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        bad = [ids[place] for place in np.flatnonzero(~finite).tolist()]
        problems.append(f"{path}: every number must be finite; these {kind}s have NaN or infinity: {show(bad)}")
        return None
    return Tower(ids, places, vectors)


def read_table(folder: Path, path: str, problems: list[str]) -> Any:
    """Returns the Arrow table of a Parquet file with at least one row; None, and why in `problems`: there is none."""
    try:
        with (folder / path).open("rb") as file:
            table = pa_parquet.ParquetFile(file).read()
        table.validate(full=True)  # text that is not UTF-8 would end in an error that names no file
    except FileNotFoundError:
        problems.append(f"{path} is missing")
        return None
    except (pa.ArrowException, OSError) as err:
        problems.append(f"{path}: it is no Parquet file that can be read: {err}")
        return None
    if table.num_rows == 0:
        problems.append(f"{path}: it has no rows")
        return None
    return table


def read_column(table: Any, name: str, path: str, problems: list[str]) -> Any:
    """Returns the only column of that name, without a null; None, and why in `problems`: there is no such column."""
    if table.column_names.count(name) != 1:
        problems.append(f"{path}: it must have one column `{name}`; its columns are {', '.join(table.column_names)}")
        return None
    column = table.column(name).combine_chunks()
    if column.null_count:
        problems.append(f"{path}: `{name}` must be set in every row; {column.null_count:,} rows have none")
        return None
    return column


def read_texts(table: Any, name: str, path: str, problems: list[str]) -> list[str] | None:
    """Returns a column of text."""
    column = read_column(table, name, path, problems)
    if column is None:
        return None
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        problems.append(f"{path}: `{name}` must be text; it is {column.type}")
        return None
    found: list[str] = column.to_pylist()
    return found


def _read_vectors(table: Any, path: str, problems: list[str]) -> Floats | None:
    column = read_column(table, "embedding", path, problems)
    if column is None:
        return None
    kind = column.type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        problems.append(f"{path}: `embedding` must be a list of float32; it is {kind}")
        return None
    if not pa.types.is_fixed_size_list(kind):
        lengths = np.unique(np.diff(column.offsets.to_numpy()))
        if len(lengths) > 1:
            problems.append(f"{path}: all vectors must have one length; they have {lengths.min()} to {lengths.max()}")
            return None
    values = column.flatten()
    if values.null_count:
        problems.append(f"{path}: every number must be set; {values.null_count:,} are null")
        return None
    if not len(values):
        problems.append(f"{path}: the vectors have no numbers")
        return None
    with np.errstate(over="ignore"):  # what becomes infinite is refused, by its row
        numbers = np.ascontiguousarray(values.to_numpy(zero_copy_only=False), np.float32)
    return numbers.reshape(len(column), -1)


def show(ids: Sequence[str]) -> str:
    """Names a few of them, and how many others there are.

    >>> show(["a", "b", "c", "d"])
    "'a', 'b', 'c' and 1 other"
    """
    few = ", ".join(repr(id_[:40]) for id_ in ids[:SHOWN])
    rest = len(ids) - SHOWN
    return few if rest < 1 else f"{few} and {rest:,} other{'s' if rest > 1 else ''}"
