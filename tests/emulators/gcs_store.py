"""Buckets, objects and their generations: one SQLite database, in memory or in a folder, one transaction an operation.

SQLite, because an emulator that is killed must come back as a service would that never went away: whole objects, no
generation given twice. Its binary order of UTF-8 names is the order in which Cloud Storage lists them.
"""

import base64
import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.emulators.gcs_resources import StoredObject, to_bucket, to_hashes
from tests.emulators.gcs_rules import (
    COMPOSE_SOURCES,
    PAGE_SIZE,
    Preconditions,
    Refused,
    broken_sum,
    check_bucket_name,
    check_object_name,
    no_bucket,
    no_object,
    to_glob_pattern,
)

_SCHEMA = """
create table if not exists buckets (name text primary key, resource text not null, metageneration int not null,
    created real not null, updated real not null);
create table if not exists objects (bucket text not null, name text not null, generation int not null,
    metageneration int not null, live int not null, crc32c text not null, md5 text, size int not null,
    resource text not null, components int, created real not null, updated real not null, deleted real,
    data blob not null, primary key (bucket, name, generation));
create table if not exists last_generation (value int not null);
create table if not exists uploads (id text primary key, bucket text not null, name text not null, query text not null,
    resource text not null, total int, received int not null, answer text);
create table if not exists chunks (upload text not null, start int not null, data blob not null,
    primary key (upload, start));
"""

_COLUMNS = (
    "bucket, name, generation, metageneration, live, crc32c, md5, size, resource, components, created, updated, deleted"
)


class Listing(msgspec.Struct, frozen=True):
    """One page: objects, the prefixes that stand for others, and the token of the next page."""

    items: list[StoredObject]
    prefixes: list[str]
    next_page_token: str


class Store:
    """All buckets of one emulator. Safe for many threads, and for many processes on one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(
            folder / "gcs.db" if folder else ":memory:", isolation_level=None, check_same_thread=False, timeout=30
        )
        self._lock = threading.RLock()
        if folder:
            self._db.execute("pragma journal_mode = wal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the database; the folder keeps what was written."""
        with self._lock:
            self._db.close()

    def clear(self) -> None:
        """No objects and no uploads; buckets stay, and so does the order of generations."""
        with self.transaction() as db:
            for table in ("objects", "uploads", "chunks"):
                db.execute(f"delete from {table}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, one at a time: checking a precondition and writing must not be parted.

        One within another is part of the outer one.
        """
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def create_bucket(self, name: str, resource: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises: Refused: 400 for its name; 409 when it is there."""
        check_bucket_name(name)
        with self.transaction() as db:
            if db.execute("select 1 from buckets where name = ?", [name]).fetchone():
                message = "Your previous request to create the named bucket succeeded and you already own it."
                raise Refused(409, "conflict", message)
            kept = {
                key: value for key, value in (resource or {}).items() if key in ("versioning", "location", "labels")
            }
            now = time.time()
            db.execute("insert into buckets values (?, ?, 1, ?, ?)", [name, _json(kept), now, now])
        return self.read_bucket(name)

    def read_bucket(self, name: str) -> dict[str, Any]:
        """The bucket's resource. Raises: Refused 404."""
        with self.transaction() as db:
            return to_bucket(_bucket_row(db, name))

    def patch_bucket(self, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Sets versioning or labels. Raises: Refused 404."""
        with self.transaction() as db:
            row = _bucket_row(db, name)
            resource = msgspec.json.decode(row[1]) | {k: v for k, v in changes.items() if k in ("versioning", "labels")}
            db.execute(
                "update buckets set resource = ?, metageneration = metageneration + 1, updated = ? where name = ?",
                [_json(resource), time.time(), name],
            )
            return to_bucket(_bucket_row(db, name))

    def delete_bucket(self, name: str) -> None:
        """Raises: Refused: 404; 409 when it is not empty."""
        with self.transaction() as db:
            _bucket_row(db, name)
            if db.execute("select 1 from objects where bucket = ? limit 1", [name]).fetchone():
                raise Refused(409, "conflict", "The bucket you tried to delete is not empty.")
            db.execute("delete from buckets where name = ?", [name])

    def list_buckets(self) -> list[dict[str, Any]]:
        """All buckets, by name."""
        with self.transaction() as db:
            rows = db.execute("select * from buckets order by name").fetchall()
        return [to_bucket(row) for row in rows]

    def insert(
        self,
        bucket: str,
        name: str,
        data: bytes,
        resource: Mapping[str, Any],
        conditions: Preconditions,
        *,
        hashes: Mapping[str, str] | None = None,
        components: int | None = None,
    ) -> StoredObject:
        """A new live generation. `hashes` (crc32c, md5Hash in base64) are what the sender computed.

        Raises: Refused: 404 without the bucket; 412, 304 by `conditions`; 400 when a hash is another's.
        """
        check_object_name(name)
        crc32c, md5 = to_hashes(data)
        for key, label, actual in (("crc32c", "CRC32C", crc32c), ("md5Hash", "MD5 hash", md5)):
            given = (hashes or {}).get(key)
            if given is not None and given != actual:
                raise broken_sum(label, given, actual)
        with self.transaction() as db:
            versioned = _is_versioned(_bucket_row(db, bucket))
            live = _live(db, bucket, name)
            conditions.check(live.generation if live else 0, live.metageneration if live else 0)
            if live:
                _retire(db, live, keep=versioned)
            generation, now = _next_generation(db), time.time()
            stored_md5 = None if components else md5  # composite objects have none (docs/composite-objects)
            db.execute(
                "insert into objects values (?, ?, ?, 1, 1, ?, ?, ?, ?, ?, ?, ?, null, ?)",
                [bucket, name, generation, crc32c, stored_md5, len(data), _json(resource), components, now, now, data],
            )
            return _read(db, bucket, name, generation)

    def read(
        self, bucket: str, name: str, conditions: Preconditions, *, generation: int | None = None
    ) -> tuple[StoredObject, bytes]:
        """An object and its bytes: the live generation, or the one asked for. Raises: Refused: 404, 412, 304."""
        with self.transaction() as db:
            found = _read(db, bucket, name, generation)
            conditions.check(found.generation, found.metageneration)
            data = db.execute(
                "select data from objects where bucket = ? and name = ? and generation = ?",
                [bucket, name, found.generation],
            ).fetchone()[0]
        return found, data

    def stat(self, bucket: str, name: str, conditions: Preconditions, *, generation: int | None = None) -> StoredObject:
        """An object without its bytes. Raises: Refused: 404, 412, 304."""
        with self.transaction() as db:
            found = _read(db, bucket, name, generation)
        conditions.check(found.generation, found.metageneration)
        return found

    def patch(self, bucket: str, name: str, changes: Mapping[str, Any], conditions: Preconditions) -> StoredObject:
        """Merges metadata: a null removes a field or a key. Raises: Refused: 404, 412, 304."""
        with self.transaction() as db:
            found = _read(db, bucket, name, None)
            conditions.check(found.generation, found.metageneration)
            merged = {**found.resource, **changes}
            if changes.get("metadata") is not None:
                custom = {**found.resource.get("metadata", {}), **changes["metadata"]}
                merged["metadata"] = {key: value for key, value in custom.items() if value is not None}
            merged = {key: value for key, value in merged.items() if value is not None}
            db.execute(
                "update objects set resource = ?, metageneration = metageneration + 1, updated = ? "
                "where bucket = ? and name = ? and generation = ?",
                [_json(merged), time.time(), bucket, name, found.generation],
            )
            return _read(db, bucket, name, found.generation)

    def delete(self, bucket: str, name: str, conditions: Preconditions, *, generation: int | None = None) -> None:
        """Removes the generation asked for, or retires the live one. Raises: Refused: 404, 412, 304."""
        with self.transaction() as db:
            versioned = _is_versioned(_bucket_row(db, bucket))
            found = _read(db, bucket, name, generation)
            conditions.check(found.generation, found.metageneration)
            _retire(db, found, keep=versioned and generation is None)

    def compose(
        self, bucket: str, name: str, sources: Sequence[Mapping[str, Any]], resource: Mapping[str, Any],
        conditions: Preconditions,
    ) -> StoredObject:  # fmt: skip
        """One object of up to 32 others' bytes. Raises: Refused: 400, 404, 412."""
        if not 1 <= len(sources) <= COMPOSE_SOURCES:
            message = (
                f"The number of source components provided ({len(sources)}) must be between 1 and {COMPOSE_SOURCES}"
            )
            raise Refused(400, "invalid", message)
        parts, components = [], 0
        with self.transaction():
            for source in sources:
                wanted = source.get("objectPreconditions", {}).get("ifGenerationMatch")
                found, data = self.read(
                    bucket,
                    source["name"],
                    Preconditions(generation_match=int(wanted) if wanted is not None else None),
                    generation=int(source["generation"]) if source.get("generation") else None,
                )
                parts.append(data)
                components += found.components or 1
            return self.insert(bucket, name, b"".join(parts), resource, conditions, components=components)

    def list(self, bucket: str, query: Mapping[str, str]) -> Listing:
        """One page, by name. Raises: Refused: 400, 404.

        Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list
        """
        limit = _page_size(query.get("maxResults"))
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end, versions = query.get("startOffset", ""), query.get("endOffset", ""), _is_true(query, "versions")
        glob = to_glob_pattern(query["matchGlob"]) if query.get("matchGlob") else None
        after = _from_token(query.get("pageToken", ""))
        with self.transaction() as db:
            _bucket_row(db, bucket)
            rows = db.execute(
                f"select {_COLUMNS} from objects where bucket = ? and name >= ? and (live = 1 or ?) "
                "order by name, generation",
                [bucket, max(prefix, start), versions],
            )
            items: list[StoredObject] = []
            prefixes: list[str] = []
            last = ("", 0)
            for row in rows:
                found = _to_object(row)
                if not found.name.startswith(prefix) or (end and found.name >= end):
                    break  # names come in order: no later one can start with the prefix or lie before the end
                if glob and not glob.fullmatch(found.name):
                    continue
                cut = found.name.find(delimiter, len(prefix)) if delimiter else -1
                shared = found.name[: cut + len(delimiter)] if cut >= 0 else ""
                place = (shared, 0) if shared else (found.name, found.generation)
                if place <= after or (shared and prefixes[-1:] == [shared]):
                    continue
                if len(items) + len(prefixes) == limit:
                    return Listing(items, prefixes, _to_token(*last))
                if shared:
                    prefixes.append(shared)
                if not shared or (_is_true(query, "includeTrailingDelimiter") and found.name == shared):
                    items.append(found)
                last = place
        return Listing(items, prefixes, "")


def _next_generation(db: sqlite3.Connection) -> int:
    """Microseconds since 1970, as the service's look; but always more than any given before, on any clock."""
    last = db.execute("select value from last_generation").fetchone()
    value = max(time.time_ns() // 1000, last[0] + 1 if last else 0)
    db.execute("update last_generation set value = ?" if last else "insert into last_generation values (?)", [value])
    return value


def _live(db: sqlite3.Connection, bucket: str, name: str) -> StoredObject | None:
    row = db.execute(
        f"select {_COLUMNS} from objects where bucket = ? and name = ? and live = 1", [bucket, name]
    ).fetchone()
    return _to_object(row) if row else None


def _read(db: sqlite3.Connection, bucket: str, name: str, generation: int | None) -> StoredObject:
    _bucket_row(db, bucket)
    if generation is None:
        found = _live(db, bucket, name)
    else:
        row = db.execute(
            f"select {_COLUMNS} from objects where bucket = ? and name = ? and generation = ?",
            [bucket, name, generation],
        ).fetchone()
        found = _to_object(row) if row else None
    if found is None:
        raise no_object(bucket, name)
    return found


def _retire(db: sqlite3.Connection, found: StoredObject, *, keep: bool) -> None:
    """With versioning a generation becomes noncurrent, without it is gone (soft delete is not emulated).

    Source: https://cloud.google.com/storage/docs/object-versioning
    """
    where = [found.bucket, found.name, found.generation]
    if keep:
        db.execute(
            "update objects set live = 0, deleted = ? where bucket = ? and name = ? and generation = ?",
            [time.time(), *where],
        )
    else:
        db.execute("delete from objects where bucket = ? and name = ? and generation = ?", where)


def _bucket_row(db: sqlite3.Connection, name: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = db.execute("select * from buckets where name = ?", [name]).fetchone()
    if row is None:
        raise no_bucket()
    return row


def _is_versioned(row: tuple[Any, ...]) -> bool:
    return bool(msgspec.json.decode(row[1]).get("versioning", {}).get("enabled"))


def _to_object(row: tuple[Any, ...]) -> StoredObject:
    fields = dict(zip(StoredObject.__struct_fields__, row, strict=True))
    return StoredObject(**{**fields, "live": bool(fields["live"]), "resource": msgspec.json.decode(fields["resource"])})


def _page_size(text: str | None) -> int:
    if text is None:
        return PAGE_SIZE
    if not text.isdecimal() or int(text) == 0:
        raise Refused(400, "invalid", f"Invalid value '{text}'", location=("parameter", "maxResults"))
    return min(int(text), PAGE_SIZE)


def _is_true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() == "true"  # Python's client writes True


def _to_token(name: str, generation: int) -> str:
    return base64.urlsafe_b64encode(_json([name, generation])).decode()


def _from_token(token: str) -> tuple[str, int]:
    if not token:
        return ("", 0)
    try:
        name, generation = msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[str, int])
    except ValueError as err:
        raise Refused(400, "invalid", "Invalid argument.", location=("parameter", "pageToken")) from err
    return name, generation


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
