"""What an export of a raw MLflow store says of itself: `export.json`, the marker that is written last."""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from history.errors import BadRecord

MARKER: Final = "export.json"
FORMAT: Final = 1

Dialect = Literal["postgresql", "sqlite"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of one table, in one Parquet file. `digest` is that of the rows, not of the file."""

    name: str  # below the export's folder
    rows: int
    digest: str
    generation: int
    first_run: str = ""  # of a table with a `run_uuid`, by which its rows are sorted
    last_run: str = ""


class ExportedTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table, whole: its parts in order."""

    name: str
    columns: list[str]
    rows: int
    digest: str  # of its parts' digests, in order
    parts: list[Part]


class StoreSchema(msgspec.Struct, frozen=True, kw_only=True):
    """The statements that make the store's tables anew (`before` the rows are filled in, and `after`)."""

    before: list[str]
    after: list[str]
    left_out: list[str] = []  # Postgres views, types, aggregates: MLflow has none, so somebody else made them


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """One finished export: all tables as of one moment, `taken_at`."""

    format: int
    dialect: Dialect
    alembic_version: str
    taken_at: datetime
    schema: StoreSchema
    tables: list[ExportedTable]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables)

    def table(self, name: str) -> ExportedTable:
        """Raises: KeyError: there is none of that name."""
        return {table.name: table for table in self.tables}[name]


def read_marker(data: bytes, where: str) -> Export:
    """The export that `data` describes.

    Raises:
        BadRecord: it is no such description, or one of another format.
    """
    try:
        found: dict[str, Any] = msgspec.json.decode(data, type=dict)
        if found.get("format") != FORMAT:
            raise BadRecord(where, [f"`format` must be {FORMAT}; got {found.get('format')!r}"])
        return msgspec.convert(found, Export)
    except msgspec.DecodeError as err:
        raise BadRecord(where, [f"it must describe an export of an MLflow store: {err}"]) from err
