"""What export and restore answer, and how it is shown."""

from datetime import datetime
from typing import Any

import msgspec

from switchyard.core.errors import SwitchyardError
from switchyard.core.mlflow.export import Export, Missing, Unlisted

_SHOWN = 20


class TableResult(msgspec.Struct, frozen=True, kw_only=True):
    """One table, and how much of it there is."""

    table: str
    rows: int
    parts: int


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished export, read back and found whole."""

    uri: str
    alembic_version: str
    taken_at: datetime
    rows: int
    parts: int
    written: int  # parts that were not there yet
    tables: list[TableResult]
    left_out: list[str]  # what a restore will not have: views, types and aggregates, of which MLflow has none
    locations: int  # where artifacts are, as the tables say
    objects: int | None  # that are there; None: they were not listed
    size_bytes: int
    unlisted: list[Unlisted]
    missing: list[Missing]  # runs and models that a server could not tell; the same command reads them again
    not_kept: list[str]  # what a server's database may hold, and the server does not tell
    noted: list[str]  # what was odd while a server was read

    @property
    def table(self) -> list[dict[str, Any]]:
        """Returns a row for each table, and for the lists of artifacts."""
        lists = [{"table": "(artifacts' locations)", "rows": self.locations, "parts": ""}]
        if self.objects is not None:
            lists.append(
                {"table": f"(artifacts' objects, {self.size_bytes:,} bytes)", "rows": self.objects, "parts": ""}
            )
        return [msgspec.to_builtins(table) for table in self.tables] + lists

    @property
    def notes(self) -> list[str]:
        """Says what someone should know about the export."""
        shown = [f"artifacts not listed: {place.uri}: {place.reason}" for place in self.unlisted[:_SHOWN]]
        left = len(self.unlisted) - _SHOWN
        more = [f"and {left} more places; --json shows all"] if left > 0 else []
        return [
            f"exported to {self.uri}; {self.written} of {self.parts} parts are new",
            *(f"left out: {what}" for what in self.left_out),
            *(f"not kept, because no server tells it: {what}" for what in self.not_kept),
            *self.noted[:_SHOWN],
            *shown,
            *more,
        ]


class ExportFailed(SwitchyardError):
    """Some runs or models could not be read; `result` says what is exported all the same."""

    def __init__(self, result: ExportResult) -> None:
        self.result = result
        lines = [f"{missing.kind} {missing.id}: {missing.reason}" for missing in result.missing[:_SHOWN]]
        more = len(result.missing) - len(lines)
        said = "; ".join(lines) + (f"; and {more} more, see {result.uri}/export.json" if more else "")
        super().__init__(
            f"{len(result.missing)} runs or models could not be read: {said}. All others are exported to {result.uri}. "
            "Run the same command again to read these"
        )


class RestoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """A database that holds exactly the export."""

    uri: str  # the export's
    alembic_version: str
    taken_at: datetime
    rows: int
    filled: bool  # False: it held the export already
    tables: list[TableResult]

    @property
    def table(self) -> list[dict[str, Any]]:
        """Returns a row for each table."""
        return [msgspec.to_builtins(table) for table in self.tables]

    @property
    def notes(self) -> list[str]:
        """Says what someone should know about the restored database."""
        done = "restored from" if self.filled else "held already what is in"
        return [f"{done} {self.uri}, as of {self.taken_at:%Y-%m-%d %H:%M:%S} UTC; every row was compared"]


def to_export_result(uri: str, export: Export, *, written: int) -> ExportResult:
    """Returns the answer of `export`, from a finished export."""
    artifacts = export.artifacts
    return ExportResult(
        uri=uri,
        alembic_version=export.alembic_version,
        taken_at=export.taken_at,
        rows=export.rows,
        parts=len(export.parts),
        written=written,
        tables=_to_tables(export),
        left_out=export.schema.left_out,
        locations=artifacts.locations.rows,
        objects=artifacts.objects.rows if artifacts.objects else None,
        size_bytes=artifacts.size_bytes,
        unlisted=artifacts.unlisted,
        missing=export.missing,
        not_kept=export.not_kept,
        noted=export.noted,
    )


def to_restore_result(uri: str, export: Export, *, filled: bool) -> RestoreResult:
    """Returns the answer of `restore`, from a restored export."""
    return RestoreResult(
        uri=uri,
        alembic_version=export.alembic_version,
        taken_at=export.taken_at,
        rows=export.rows,
        filled=filled,
        tables=_to_tables(export),
    )


def _to_tables(export: Export) -> list[TableResult]:
    return [TableResult(table=table.name, rows=table.rows, parts=len(table.parts)) for table in export.tables]
