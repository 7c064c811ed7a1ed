"""Exports a raw MLflow store: every table, and how to make it again, as Parquet in bounded parts below one URI.

A marker, written last, commits it. A second call reads the source again, in one snapshot, and writes only what is new
or has changed. So it resumes a killed export, and refreshes an old one.
"""

import contextlib
import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import msgspec

from switchyard.clients.mlflow.export.artifacts import (
    LOCATION_COLUMNS,
    OBJECT_COLUMNS,
    Places,
    Roots,
    list_objects,
    read_locations,
)
from switchyard.clients.mlflow.export.parts import PartWriter, Row, measure, read_rows, to_table_digest
from switchyard.clients.mlflow.export.tables import Snapshot, Table, open_tables
from switchyard.core.errors import BadRecord, NotFound, StaleWrite
from switchyard.core.mlflow.export import (
    FORMAT,
    MARKER,
    RUN_COLUMN,
    Artifacts,
    Export,
    ExportedTable,
    Moved,
    Part,
    Unlisted,
    Watcher,
    is_part,
    read_marker,
)
from switchyard.core.ports import ABSENT, ANY, Objects

PART_ROWS: Final = 200_000
"""Rows of a part. One part is in memory at a time: of `metrics`, about 20 MB, and 2 MB of Parquet."""
PART_TEXT_BYTES: Final = 32 * 1024 * 1024
PAGE: Final = 1_000


def export_store(
    uri: str,
    to_uri: str,
    objects: Objects,
    *,
    part_rows: int = PART_ROWS,
    places: Places | None = None,
    watch: Watcher = lambda moved: None,
) -> Export:
    """Exports the store at `uri` to below `to_uri`, and reads all of it back.

    What it returns was found there, row by row, as the source has it. With `places` it also lists the objects that
    artifacts consist of.

    Raises:
        BadSetup: the store cannot be read, or we do not know its schema. TryAgain: it, or the objects, are away.
        BadRecord: what was read back is not what was written. StaleWrite: another export to the same place was faster.
    """
    to_uri = to_uri.rstrip("/")
    store = open_tables(uri)
    version = store.read_version()
    old, generation = find_marker(to_uri, objects)
    journal = Journal(to_uri, objects, old.parts if old else (), part_rows)
    roots = Roots()
    with store.snapshot() as snapshot:
        taken_at = datetime.now(UTC)
        schema = snapshot.schema()
        counts = {table.name: (table, snapshot.count(table)) for table in snapshot.tables()}
        journal.watch("exporting", sum(count for _, count in counts.values()), watch)
        tables = [_export_table(snapshot, table, count, journal) for table, count in counts.values()]
        journal.watch("looking for artifacts", 0, watch)
        rows = read_locations(snapshot, [table for table, _ in counts.values()])
        locations = journal.put_all("artifact_lists/locations", LOCATION_COLUMNS, noting(rows, roots))
    export = Export(
        format=FORMAT,
        dialect=store.dialect,
        alembic_version=version,
        taken_at=taken_at,
        schema=schema,
        tables=tables,
        artifacts=list_artifacts(locations, roots, places, journal),
    )
    check_export(export, to_uri, objects, journal.tell)
    if old is None or msgspec.structs.replace(old, taken_at=taken_at) != export:
        data = msgspec.json.format(msgspec.json.encode(export))
        try:
            objects.write(f"{to_uri}/{MARKER}", data, if_generation=generation)
        except StaleWrite as err:
            raise StaleWrite(f"another export to {to_uri} ended meanwhile: export again, or to another place") from err
        old = export
    delete_others(old, to_uri, objects)
    return old


def check_export(export: Export, at_uri: str, objects: Objects, watch: Watcher = lambda moved: None) -> None:
    """Reads every part again. Raises: BadRecord: a part is missing, or its rows are not those that were exported."""
    done, total = 0, sum(part.rows for part in export.parts)
    for part in export.parts:
        where = f"{at_uri}/{part.name}"
        try:
            found = measure(read_rows(objects.read(where)[0], where))
        except NotFound as err:
            raise BadRecord(where, ["this part of the export is missing: export again"]) from err
        if found != (part.rows, part.digest):
            problem = f"it must hold {part.rows} rows with {part.digest}; got {found[0]} with {found[1]}"
            raise BadRecord(where, [f"{problem}: export again"])
        done += part.rows
        watch(Moved("checking", part.name.split("/")[1], done, total))


def read_export(at_uri: str, objects: Objects) -> Export:
    """Returns the finished export at `at_uri`.

    Raises:
        NotFound: there is none, or none is finished. BadRecord: its marker is damaged, or of another format.
    """
    where = f"{at_uri.rstrip('/')}/{MARKER}"
    try:
        return read_marker(objects.read(where)[0], where)
    except NotFound as err:
        raise NotFound(f"no finished export is at {at_uri}: it has no {MARKER}, which is written last") from err


class Journal:
    """Writes parts; does not write again what is there already."""

    def __init__(self, to_uri: str, objects: Objects, earlier: Iterable[Part], part_rows: int) -> None:
        self.to_uri = to_uri
        self.part_rows = part_rows
        self._objects = objects
        self._earlier = {part.name: part for part in earlier}
        self._written = 0
        self.watch("", 0, lambda moved: None)

    def watch(self, stage: str, rows: int, watcher: Watcher) -> None:
        """Sets what is told of the parts from now on."""
        self._stage, self._done, self._rows, self._watcher = stage, 0, rows, watcher

    def tell(self, moved: Moved) -> None:
        """Tells it, and how many parts were written."""
        self._watcher(msgspec.structs.replace(moved, written=self._written))

    def put_all(
        self, folder: str, columns: Sequence[str], rows: Generator[Row, None, None], name: str = ""
    ) -> ExportedTable:
        """Writes these rows as parts in `folder`, and returns their table."""
        name = name or folder.rpartition("/")[2]
        parts: list[Part] = []
        with contextlib.closing(rows):  # if we fail, a cursor must be closed before its connection
            for chunk in _cut(rows, columns, self.part_rows):
                parts.append(self.put(f"{folder}/{len(parts):06}", columns, chunk))
                self._done += chunk.rows
                self.tell(Moved(self._stage, name, self._done, self._rows))
        return ExportedTable(
            name=name,
            columns=list(columns),
            rows=sum(part.rows for part in parts),
            digest=to_table_digest(part.digest for part in parts),
            parts=parts,
        )

    def put(self, name: str, columns: Sequence[str], rows: PartWriter) -> Part:
        """Writes a part under a name with its rows' digest. One that is there is whole and right.

        Objects are seen whole or not at all, and the check at the end reads it again."""
        name = f"{name}-{rows.digest.removeprefix('sha256:')[:16]}.parquet"
        uri = f"{self.to_uri}/{name}"
        generation = 0
        with contextlib.suppress(NotFound):
            generation = self._objects.stat(uri).generation
        known = self._earlier.get(name)
        if not generation or (known is not None and known.generation != generation):
            generation = self._objects.write(uri, rows.to_parquet(), if_generation=ANY)
            self._written += 1
        first, last = "", ""
        if RUN_COLUMN in columns:
            position = columns.index(RUN_COLUMN)
            first, last = (row[position] or "" for row in (rows.first, rows.last))
        return Part(
            name=name, rows=rows.rows, digest=rows.digest, generation=generation, first_run=first, last_run=last
        )


def _export_table(snapshot: Snapshot, table: Table, count: int, journal: Journal) -> ExportedTable:
    # A table's name may hold what no path can. The marker tells its parts apart.
    folder = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "-" for c in table.name)
    if folder != table.name:
        folder += "-" + hashlib.sha256(table.name.encode()).hexdigest()[:8]
    exported = journal.put_all(f"tables/{folder}", table.columns, snapshot.rows(table), table.name)
    if exported.rows != count:
        problem = f"the store counts {count} rows in the same transaction; read were {exported.rows}: export again"
        raise BadRecord(f"table {table.name}", [problem])
    return exported


def noting(rows: Generator[Row, None, None], roots: Roots) -> Generator[Row, None, None]:
    """Yields the rows, and adds each one's place to `roots` as it passes."""
    with contextlib.closing(rows):
        for row in rows:
            roots.add(row[-1])
            yield row


def list_artifacts(locations: ExportedTable, roots: Roots, places: Places | None, journal: Journal) -> Artifacts:
    """Returns what is found below the roots; without `places` only the locations."""
    if places is None:
        return Artifacts(locations=locations)
    unlisted: list[Unlisted] = []
    size = 0

    def measured() -> Generator[Row, None, None]:
        nonlocal size
        for row in list_objects(roots, places, except_below=journal.to_uri + "/", unlisted=unlisted):
            size += row[1]
            yield row

    objects = journal.put_all("artifact_lists/objects", OBJECT_COLUMNS, measured())
    return Artifacts(locations=locations, objects=objects, size_bytes=size, unlisted=unlisted)


def _cut(rows: Iterator[Row], columns: Sequence[str], part_rows: int) -> Iterator[PartWriter]:
    """Yields at most `part_rows` rows, and about 32 MB of text, at a time."""
    part = PartWriter(columns)
    while page := list(islice(rows, min(part_rows - part.rows, PAGE))):
        part.add(page)
        if part.rows >= part_rows or part.text_bytes >= PART_TEXT_BYTES:
            yield part
            part = PartWriter(columns)
    if part.rows:
        yield part


def find_marker(to_uri: str, objects: Objects) -> tuple[Export | None, int]:
    """Returns the export that is there, and its marker's generation."""
    where = f"{to_uri}/{MARKER}"
    try:
        data, generation = objects.read(where)
    except NotFound:
        return None, ABSENT
    try:
        return read_marker(data, where), generation
    except BadRecord as err:
        raise BadRecord(where, [*err.problems, "export to another place, or delete it"]) from err


def delete_others(export: Export, to_uri: str, objects: Objects, keep: frozenset[str] = frozenset()) -> None:
    """Deletes parts of an earlier or killed export, which nothing names any more."""
    named = {part.name for part in export.parts} | keep
    for folder in ("tables", "artifact_lists"):
        for found in objects.list(f"{to_uri}/{folder}/"):
            name = found.removeprefix(f"{to_uri}/")
            if name not in named and is_part(name):
                objects.delete(found, if_generation=ANY)
