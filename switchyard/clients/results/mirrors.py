"""Keeps what is known of the registry's mirrors (`core.ports.MirrorNotes`), on SQLite and Postgres."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import delete, insert, or_, select, update

from switchyard.clients.results.engine import Database
from switchyard.clients.results.model_tables import ModelTables
from switchyard.clients.results.rows import upsert
from switchyard.core.registry.importing import VersionOrigin
from switchyard.core.registry.mirroring import MirrorLook

_NEVER = -1
"""The revision of a look that has not ended: no model has it."""


class SqlMirrorNotes:
    """Implements `core.ports.MirrorNotes`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlMirrorNotes({self._database.where})"

    @property
    def _tables(self) -> ModelTables:
        return self._database.tables.models

    def list_pairs(self, target: str, name: str) -> dict[int, int]:
        """See the port."""
        pairs = self._tables.pairs
        rows = self._database.rows(select(pairs).where(pairs.c.target == target, pairs.c.name == name))
        return {row.version: row.theirs for row in rows}

    def keep_pairs(self, target: str, name: str, wanted: Mapping[int, int]) -> None:
        """See the port."""
        pairs = self._tables.pairs
        rows = [{"target": target, "name": name, "version": ours, "theirs": n} for ours, n in wanted.items()]
        with self._database.writing() as connection:
            connection.execute(delete(pairs).where(pairs.c.target == target, pairs.c.name == name))
            if rows:
                connection.execute(insert(pairs), rows)

    def list_looks(self, target: str) -> dict[str, MirrorLook]:
        """See the port."""
        mirrors = self._tables.mirrors
        rows = self._database.rows(
            select(mirrors).where(mirrors.c.target == target, mirrors.c.revision != _NEVER).order_by(mirrors.c.name)
        )
        return {row.name: MirrorLook(revision=row.revision, looked_at=row.looked_at, error=row.error) for row in rows}

    def hold(self, target: str, name: str, holder: str, *, now: datetime, until: datetime) -> bool:
        """See the port."""
        mirrors = self._tables.mirrors
        empty = {"target": target, "name": name, "revision": _NEVER, "looked_at": now, "error": "", "holder": ""}
        free = or_(mirrors.c.holder.in_(("", holder)), mirrors.c.held_until <= now)
        same = (mirrors.c.target == target, mirrors.c.name == name)
        with self._database.writing() as connection:
            connection.execute(upsert(connection, mirrors).values(empty).on_conflict_do_nothing())
            held = connection.execute(update(mirrors).where(*same, free).values(holder=holder, held_until=until))
            return held.rowcount == 1

    def note_look(self, target: str, name: str, holder: str, look: MirrorLook) -> None:
        """See the port."""
        mirrors = self._tables.mirrors
        same = (mirrors.c.target == target, mirrors.c.name == name, mirrors.c.holder == holder)
        seen = msgspec.structs.asdict(look)
        with self._database.writing() as connection:
            connection.execute(update(mirrors).where(*same).values({**seen, "holder": "", "held_until": None}))

    def list_origins(self, name: str) -> dict[int, int]:
        """See the port."""
        imports = self._tables.imports
        rows = self._database.rows(select(imports).where(imports.c.name == name, imports.c.version > 0))
        made = {row.version: msgspec.json.decode(row.origin, type=VersionOrigin).created_at_ms for row in rows}
        return {version: at for version, at in made.items() if at is not None}
