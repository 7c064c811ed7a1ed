"""Exports a raw MLflow store: every table there is, and how to make it anew, as Parquet in bounded parts below one URI.

Committed by a marker written last. A second call reads the source again, in one snapshot, and writes only what is not
there yet or has changed; so it resumes an export that was killed, and refreshes one that is old.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import msgspec

from clients.mlflow_parts import Row, from_parquet, to_digest, to_parquet, to_table_digest
from clients.mlflow_tables import RUN_COLUMN, Snapshot, Table, open_tables
from history.errors import BadRecord, NotFound
from history.exports import FORMAT, MARKER, Export, ExportedTable, Part, read_marker
from history.ports import ANY, Objects

PART_ROWS: Final = 200_000
"""One part is in memory at a time: of `metrics`, about 60 MB of Python objects and 5 MB of Parquet."""
_PART_TEXT_BYTES: Final = 32 * 1024 * 1024

Progress = Callable[[str, int], None]
"""Told of each part: its table, and the rows exported so far."""


def export_store(
    uri: str, to_uri: str, objects: Objects, *, part_rows: int = PART_ROWS, progress: Progress | None = None
) -> Export:
    """Exports the store at `uri` to below `to_uri`, and reads all of it back: what it returns was found there, row by
    row, as the source has it.

    Raises:
        BadSetup: the store cannot be read, or its schema is none that we know. TryAgain: it, or the objects, are away.
        BadRecord: what was read back is not what was written.
    """
    to_uri = to_uri.rstrip("/")
    store = open_tables(uri)
    version = store.read_version()
    old = _find_marker(to_uri, objects)
    earlier = {part.name: part for table in old.tables for part in table.parts} if old else {}
    journal = _Journal(to_uri, objects, earlier)
    with store.snapshot() as snapshot:
        taken_at = datetime.now(UTC)
        schema = snapshot.schema()
        tables = [
            _export_table(snapshot, table, journal, part_rows, progress or (lambda _table, _rows: None))
            for table in snapshot.tables()
        ]
    export = Export(
        format=FORMAT,
        dialect=store.dialect,
        alembic_version=version,
        taken_at=taken_at,
        schema=schema,
        tables=tables,
    )
    if old is not None and msgspec.structs.replace(old, taken_at=taken_at) == export:
        check_export(old, to_uri, objects)
        return old
    check_export(export, to_uri, objects)
    objects.write(f"{to_uri}/{MARKER}", msgspec.json.format(msgspec.json.encode(export)), if_generation=ANY)
    _delete_others(export, to_uri, objects)
    return export


def check_export(export: Export, at_uri: str, objects: Objects) -> None:
    """Reads every part again. Raises: BadRecord: a part is missing, or its rows are not those that were exported."""
    for table in export.tables:
        for part in table.parts:
            where = f"{at_uri}/{part.name}"
            try:
                rows = from_parquet(objects.read(where)[0], where)
            except NotFound as err:
                raise BadRecord(where, ["a part of the export must be there; it is not: export again"]) from err
            found = (len(rows), to_digest(rows))
            if found != (part.rows, part.digest):
                problem = f"it must hold {part.rows} rows with {part.digest}; got {found[0]} with {found[1]}"
                raise BadRecord(where, [f"{problem}: export again"])


def read_export(at_uri: str, objects: Objects) -> Export:
    """The finished export at `at_uri`.

    Raises:
        NotFound: none is there, or none is finished. BadRecord: its marker is damaged, or of another format.
    """
    where = f"{at_uri.rstrip('/')}/{MARKER}"
    try:
        return read_marker(objects.read(where)[0], where)
    except NotFound as err:
        raise NotFound(f"no finished export is at {at_uri}: {MARKER}, which is written last, is not there") from err


class _Journal:
    """What is there already, so that it is not written again."""

    def __init__(self, to_uri: str, objects: Objects, earlier: dict[str, Part]) -> None:
        self._to_uri = to_uri
        self._objects = objects
        self._earlier = earlier

    def put(self, name: str, table: Table, rows: list[Row]) -> Part:
        """The part, which lies at `name` by then. Its name holds its rows' digest: one that is there is whole and right
        (objects are seen whole or not at all, and the check at the end reads it again)."""
        digest = to_digest(rows)
        name = f"{name}-{digest.removeprefix('sha256:')[:16]}.parquet"
        uri = f"{self._to_uri}/{name}"
        generation = 0
        with contextlib.suppress(NotFound):
            generation = self._objects.stat(uri).generation
        known = self._earlier.get(name)
        if not generation or (known is not None and known.generation != generation):
            generation = self._objects.write(uri, to_parquet(table.columns, rows), if_generation=ANY)
        first, last = "", ""
        if table.by_run and rows:
            position = table.columns.index(RUN_COLUMN)
            first, last = (rows[i][position] or "" for i in (0, -1))
        return Part(name=name, rows=len(rows), digest=digest, generation=generation, first_run=first, last_run=last)


def _export_table(
    snapshot: Snapshot, table: Table, journal: _Journal, part_rows: int, progress: Progress
) -> ExportedTable:
    # A table's name may hold what no path can; its parts are told apart by the marker.
    folder = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "-" for c in table.name)
    if folder != table.name:
        folder += "-" + hashlib.sha256(table.name.encode()).hexdigest()[:8]
    parts: list[Part] = []
    rows = 0
    for chunk in _cut(snapshot.rows(table), part_rows):
        parts.append(journal.put(f"tables/{folder}/{len(parts):06}", table, chunk))
        rows += len(chunk)
        progress(table.name, rows)
    return ExportedTable(
        name=table.name,
        columns=table.columns,
        rows=rows,
        digest=to_table_digest(part.digest for part in parts),
        parts=parts,
    )


def _cut(rows: Iterator[Row], part_rows: int) -> Iterator[list[Row]]:
    """At most `part_rows` rows, and about 32 MB of text, at a time."""
    chunk: list[Row] = []
    size = 0
    while page := list(islice(rows, min(part_rows - len(chunk), 1_000))):
        chunk += page
        size += sum(len(value) for row in page for value in row if isinstance(value, str | bytes))
        if len(chunk) >= part_rows or size >= _PART_TEXT_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _find_marker(to_uri: str, objects: Objects) -> Export | None:
    try:
        return read_export(to_uri, objects)
    except NotFound:
        return None


def _delete_others(export: Export, to_uri: str, objects: Objects) -> None:
    """Parts of an export before this one, which nothing names any more."""
    named = {f"{to_uri}/{part.name}" for table in export.tables for part in table.parts}
    for found in objects.list(f"{to_uri}/tables/"):
        if found not in named:
            objects.delete(found, if_generation=ANY)
