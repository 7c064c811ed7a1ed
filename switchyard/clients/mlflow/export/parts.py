"""Writes rows of a table as one Parquet file, and reads them back to the bit, a page at a time.

Its columns have the types of their values, so any table of any store can be kept. SQLite has columns of mixed types,
which are packed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from switchyard.core.errors import BadRecord

Row = tuple[Any, ...]

_TYPES: Final[dict[type, Any]] = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.string(),
    bytes: pa.binary(),
}
_PACKED: Final = {b"switchyard": b"msgpack"}
_GROUP_ROWS: Final = 20_000
"""Rows of a row group, which a reader of some runs skips by its statistics."""
_PAGE_ROWS: Final = 2_000


class PartWriter:
    """Gathers the rows of one part, page by page.

    They are kept as Arrow arrays: about 100 bytes for a row of `metrics`, where Python's objects take four times as
    much."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = [_Column(name) for name in columns]
        self._digest = _Digest()
        self.text_bytes = 0
        self.first: Row = ()
        self.last: Row = ()

    @property
    def rows(self) -> int:
        """Returns how many there are so far."""
        return self._digest.rows

    @property
    def digest(self) -> str:
        """Returns `to_digest` of the rows so far."""
        return self._digest.value

    def add(self, rows: Sequence[Row]) -> None:
        """Appends a page of rows."""
        if not rows:
            return
        self._digest.add(rows)
        for column, values in zip(self._columns, zip(*rows, strict=True), strict=True):
            column.add(values)
            self.text_bytes += sum(len(value) for value in values if isinstance(value, str | bytes))
        self.first, self.last = self.first or rows[0], rows[-1]

    def to_parquet(self) -> bytes:
        """Returns the file, compressed."""
        fields, arrays = zip(*(column.to_arrow() for column in self._columns), strict=True)
        sink = pa.BufferOutputStream()
        table = pa.Table.from_arrays(list(arrays), schema=pa.schema(list(fields)))
        pq.write_table(table, sink, compression="zstd", row_group_size=_GROUP_ROWS)
        data: bytes = sink.getvalue().to_pybytes()
        return data


def to_parquet(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Returns the rows as one file."""
    part = PartWriter(columns)
    part.add(rows)
    return part.to_parquet()


def read_rows(data: bytes, where: str) -> Iterator[Row]:
    """Yields the rows that a part was made of, in their order. Raises: BadRecord: the file is damaged."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        for batch in file.iter_batches(batch_size=_PAGE_ROWS):
            yield from _to_rows(batch)
    except (pa.ArrowException, OSError) as err:
        raise _damaged(where, err) from err


def read_rows_of(data: bytes, where: str, column: str, values: Iterable[str]) -> Iterator[Row]:
    """Yields the rows with one of `values` in `column`, in their order. Raises: BadRecord: the file is damaged."""
    wanted = frozenset(values)
    try:
        schema = pq.read_schema(pa.BufferReader(data))
        if schema.field(column).type != pa.string():  # packed, which no filter understands
            position = schema.names.index(column)
            yield from (row for row in read_rows(data, where) if row[position] in wanted)
            return
        chosen = pc.field(column).isin(pa.array(sorted(wanted), type=pa.string()))
        for batch in pq.read_table(pa.BufferReader(data), filters=chosen).to_batches(max_chunksize=_PAGE_ROWS):
            yield from _to_rows(batch)
    except (pa.ArrowException, OSError) as err:
        raise _damaged(where, err) from err


def to_digest(rows: Iterable[Row]) -> str:
    """Returns ``sha256:<hex>`` of the rows in their order: of each value, its type, and a number's every bit."""
    return measure(rows)[1]


def measure(rows: Iterable[Row]) -> tuple[int, str]:
    """Returns how many there are, and `to_digest` of them."""
    digest = _Digest()
    digest.add(rows)
    return digest.rows, digest.value


def to_table_digest(digests: Iterable[str]) -> str:
    """Returns a table's digest, from those of its parts in order."""
    return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"


class _Digest:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._encoder = msgspec.msgpack.Encoder()
        self.rows = 0

    @property
    def value(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def add(self, rows: Iterable[Row]) -> None:
        encode, update = self._encoder.encode, self._hash.update
        for row in rows:
            update(encode(row))
            self.rows += 1


class _Column:
    """Holds one column's pages: of one type, or packed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pages: list[Any] = []
        self._type: Any = None  # of every page that holds a value; None: no value yet
        self._is_packed = False

    def add(self, values: Sequence[Any]) -> None:
        kinds = {type(value) for value in values if value is not None}
        kind = _TYPES.get(next(iter(kinds))) if len(kinds) == 1 else None
        if kinds and (kind is None or self._type not in (None, kind)):
            self._pack()
        if self._is_packed:
            self._pages.append(_pack(values))
        else:
            self._type = kind or self._type
            self._pages.append(pa.array(values, type=kind or pa.null()))

    def to_arrow(self) -> tuple[Any, Any]:
        """Returns the field, and its pages as one array."""
        kind = pa.binary() if self._is_packed else self._type or pa.null()
        array = pa.chunked_array([page.cast(kind) for page in self._pages], type=kind)
        return pa.field(self._name, kind, metadata=_PACKED if self._is_packed else None), array

    def _pack(self) -> None:
        if not self._is_packed:
            self._pages = [_pack(page.to_pylist()) for page in self._pages]
            self._is_packed = True


def _pack(values: Sequence[Any]) -> Any:
    return pa.array([msgspec.msgpack.encode(value) for value in values], type=pa.binary())


def _to_rows(batch: Any) -> Iterator[Row]:
    return zip(*(_to_values(batch, position) for position in range(batch.num_columns)), strict=True)


def _to_values(batch: Any, position: int) -> list[Any]:
    values: list[Any] = batch.column(position).to_pylist()
    if (batch.schema.field(position).metadata or {}).get(b"switchyard") == b"msgpack":
        return [msgspec.msgpack.decode(value) for value in values]
    return values


def _damaged(where: str, err: Exception) -> BadRecord:
    return BadRecord(where, [f"it is not a Parquet file of an export: {err}"])
