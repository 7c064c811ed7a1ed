"""Keeps what was read last of each MLflow run, and until when MLflow was followed (`core.ports.Followed`)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, false, func, or_, select, update

from switchyard.clients.results.engine import Database
from switchyard.clients.results.rows import Writing, upsert, write_lines
from switchyard.clients.results.tables import Tables
from switchyard.core.backfill.following import (
    NO_ROW,
    STORE_KIND,
    FollowedRun,
    FollowedStore,
    Lifecycle,
    RowFacts,
    Unadopted,
    to_unadopted_kind,
)
from switchyard.core.backfill.rows import ADOPTED
from switchyard.core.batches import batched
from switchyard.core.history.publication import SeenRun
from switchyard.core.mlflow.store_identity import StoreIdentity
from switchyard.core.runs.ledger import LedgerLine

_IDS_AT_ONCE = 5_000
"""Runs in a query: a database takes about 30,000 values in one."""
_SEEN = ("mlflow_run_id", "store", "name", "mark", "whole", "seen_at")
_RUN_FIELDS = FollowedRun.__struct_fields__
_STORE_FIELDS = FollowedStore.__struct_fields__


_MAX_ID: Final = 2**31 - 1
"""The limit of Postgres' integer, which refuses a larger number."""


class SqlFollowed:
    """Implements `core.ports.Followed`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlFollowed({self._database.where})"

    @property
    def _tables(self) -> Tables:
        return self._database.tables

    def list_known(self) -> dict[int, FollowedRun]:
        """See the port. Takes one query."""
        followed = self._tables.followed
        rows = self._database.rows(select(*(followed.c[name] for name in _RUN_FIELDS)))
        return {row[0]: FollowedRun(**dict(zip(_RUN_FIELDS, row, strict=True))) for row in rows}

    def read_facts(self, quick_test_ids: Sequence[int]) -> dict[int, RowFacts]:
        """See the port. Makes a query for each 5,000 runs, which looks into the histories of these alone."""
        tables = self._tables
        runs, published, jobs = tables.runs, tables.published, tables.jobs
        adopted = func.substr(runs.c.request_key, 1, len(ADOPTED)) == ADOPTED if tables.own else false()
        of_mlflow = or_(*(tables.history_text.like(f'%"source":{blank}"mlflow"%') for blank in ("", " ")))
        query = select(
            runs.c.id,
            adopted.label("adopted"),
            exists().where(jobs.c.quick_test_id == runs.c.id).label("has_job"),
            and_(published.c.quick_test_id.is_not(None), of_mlflow).label("of_mlflow"),
        ).outerjoin_from(runs, published, published.c.quick_test_id == runs.c.id)
        found = {}
        for some in batched(quick_test_ids, _IDS_AT_ONCE):
            for row in self._database.rows(query.where(runs.c.id.in_(some))):
                found[row.id] = RowFacts(
                    adopted=bool(row.adopted), has_job=bool(row.has_job), of_mlflow=bool(row.of_mlflow)
                )
        return found

    def note_lifecycles(self, lifecycles: Sequence[Lifecycle]) -> None:
        """See the port. One transaction; what was read of a run stays."""
        if not lifecycles:
            return
        followed = self._tables.followed
        with self._database.writing() as connection:
            written = upsert(connection, followed)
            same_run = followed.c.mlflow_run_id == written.excluded.mlflow_run_id
            times = {name: written.excluded[name] for name in ("missing_at", "deleted_at")}
            connection.execute(
                written.on_conflict_do_update(index_elements=["quick_test_id"], set_=times, where=same_run),
                [{**msgspec.structs.asdict(one), "name": "", "mark": "", "whole": False} for one in lifecycles],
            )

    def note_follow(self, store: str, *, began_at: datetime, failed: int, error: str = "", is_whole: bool) -> None:
        """See the port. Takes one statement."""
        stores = self._tables.followed_stores
        until = began_at if is_whole and not failed and not error else None
        row = {"store": store, "tried_at": began_at, "failed": failed, "error": error, "followed_until": until}
        written = upsert(self._database.reader, stores)
        replaced: dict[str, Any] = {name: written.excluded[name] for name in ("tried_at", "failed", "error")}
        replaced["followed_until"] = func.coalesce(written.excluded.followed_until, stores.c.followed_until)
        self._database.write_again(
            written.on_conflict_do_update(index_elements=["store"], set_=replaced).values(row),
        )

    def list_identities(self) -> dict[str, StoreIdentity]:
        """See the port. Takes one query."""
        kind = self._tables.ledger.c.kind
        lines = select(kind, self._tables.ledger.c.error).where(_begins_with(kind, STORE_KIND))
        return {
            row.kind.removeprefix(STORE_KIND): msgspec.json.decode(row.error, type=StoreIdentity)
            for row in self._database.rows(lines)
        }

    def note_identity(self, store: str, identity: StoreIdentity, *, now: datetime) -> None:
        """See the port. Takes one statement."""
        with self._database.writing() as connection:
            self._write_identity(connection, store, identity, now)

    def replace_store(self, store: str, identity: StoreIdentity, *, now: datetime) -> None:
        """See the port. Takes one transaction."""
        followed, stores = self._tables.followed, self._tables.followed_stores
        before = f"{store} (another one, until {now:%Y-%m-%dT%H:%M:%SZ})"
        with self._database.writing() as connection:
            connection.execute(update(followed).where(followed.c.store == store).values(store=before, missing_at=None))
            connection.execute(update(stores).where(stores.c.store == store).values(followed_until=None))
            self._write_identity(connection, store, identity, now)

    def note_unadopted(self, store: str, found: Unadopted, *, now: datetime) -> None:
        """See the port. Takes one transaction."""
        ledger = self._tables.ledger
        lines = [_to_line(to_unadopted_kind(store, run_id), why, now, "failed") for run_id, why in found.why.items()]
        with self._database.writing() as connection:
            if found.is_all:
                others = _begins_with(ledger.c.kind, to_unadopted_kind(store))
                kept = [line["kind"] for line in lines]
                connection.execute(delete(ledger).where(others, ledger.c.kind.not_in(kept)))
            if lines:
                write_lines(Writing(connection, self._tables, now), lines)

    def _write_identity(self, connection: Connection, store: str, identity: StoreIdentity, now: datetime) -> None:
        said = msgspec.json.encode(identity, order="deterministic").decode()
        write_lines(Writing(connection, self._tables, now), [_to_line(f"{STORE_KIND}{store}", said, now, "followed")])

    def list_stores(self) -> list[FollowedStore]:
        """See the port. Takes one query."""
        stores = self._tables.followed_stores
        rows = self._database.rows(select(stores).order_by(stores.c.tried_at.desc(), stores.c.store))
        return [FollowedStore(**row._asdict()) for row in rows]

    def find_deleted(self, quick_test_ids: Sequence[int]) -> dict[int, datetime]:
        """See the port. One query; a number that no row can have belongs to no row."""
        possible = [id_ for id_ in quick_test_ids if 0 < id_ <= _MAX_ID]
        if not possible:
            return {}
        followed, runs = self._tables.followed, self._tables.runs
        query = (
            select(followed.c.quick_test_id, followed.c.deleted_at)
            .join(runs, and_(runs.c.id == followed.c.quick_test_id, runs.c.mlflow_run_id == followed.c.mlflow_run_id))
            .where(followed.c.quick_test_id.in_(possible), followed.c.deleted_at.is_not(None))
        )
        return {row.quick_test_id: row.deleted_at for row in self._database.rows(query)}


def _begins_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Compares without LIKE: SQLite's LIKE ignores a letter's case."""
    return func.substr(column, 1, len(prefix)) == prefix


def _to_line(kind: str, error: str, now: datetime, state: str) -> dict[str, Any]:
    line = LedgerLine(kind=kind, quick_test_id=NO_ROW, state=state, attempts=1, error=error, updated_at=now)
    return msgspec.structs.asdict(line)


def write_seen(writing: Writing, seen: Sequence[tuple[int, SeenRun]], replaced_elsewhere: Sequence[int]) -> None:
    """Notes what was read of these runs, in the transaction that settles them.

    For those in `replaced_elsewhere`, with a history from another source now, it notes that this is not known."""
    followed = writing.tables.followed
    if seen:
        written = upsert(writing.connection, followed)
        writing.connection.execute(
            written.on_conflict_do_update(
                index_elements=["quick_test_id"], set_={name: written.excluded[name] for name in _SEEN}
            ),
            [{"quick_test_id": id_, **msgspec.structs.asdict(one), "seen_at": writing.now} for id_, one in seen],
        )
    if replaced_elsewhere:
        writing.connection.execute(
            update(followed).where(followed.c.quick_test_id.in_(list(replaced_elsewhere))).values(mark="")
        )
