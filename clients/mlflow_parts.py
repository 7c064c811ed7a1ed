"""Rows of a table as one Parquet file, and back, to the bit. Its columns' types are those of the values in it, so that
any table of any store can be kept: SQLite has columns of mixed types, which are packed."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from history.errors import BadRecord

Row = tuple[Any, ...]

_TYPES: Final[dict[type, Any]] = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.string(),
    bytes: pa.binary(),
}
_PACKED: Final = {b"switchyard": b"msgpack"}


def to_parquet(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    """The rows, compressed."""
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    fields, arrays = [], []
    for name, column in zip(columns, values, strict=True):
        field, array = _to_array(name, column)
        fields.append(field)
        arrays.append(array)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_parquet(data: bytes, where: str) -> list[Row]:
    """The rows that `to_parquet` was given. Raises: BadRecord: the file is damaged."""
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as err:
        raise BadRecord(where, [f"it must be a Parquet file of an export: {err}"]) from err
    return (
        list(zip(*(_to_values(table, i) for i in range(table.num_columns)), strict=True)) if table.num_columns else []
    )


def to_digest(rows: Iterable[Row]) -> str:
    """``sha256:<hex>`` of the rows in their order: of each value, its type, and a number's every bit."""
    found = hashlib.sha256()
    encoder = msgspec.msgpack.Encoder()
    for row in rows:
        found.update(encoder.encode(row))
    return f"sha256:{found.hexdigest()}"


def to_table_digest(digests: Iterable[str]) -> str:
    """Of a table, from those of its parts in order."""
    return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"


def _to_array(name: str, column: Sequence[Any]) -> tuple[Any, Any]:
    kinds = {type(value) for value in column if value is not None}
    if not kinds:
        return pa.field(name, pa.null()), pa.nulls(len(column))
    if len(kinds) == 1:
        kind = _TYPES.get(kinds.pop())
        if kind is not None:
            return pa.field(name, kind), pa.array(column, type=kind)
    packed = [msgspec.msgpack.encode(value) for value in column]
    return pa.field(name, pa.binary(), metadata=_PACKED), pa.array(packed, type=pa.binary())


def _to_values(table: Any, position: int) -> list[Any]:
    values: list[Any] = table.column(position).to_pylist()
    if (table.schema.field(position).metadata or {}).get(b"switchyard") == b"msgpack":
        return [msgspec.msgpack.decode(value) for value in values]
    return values
