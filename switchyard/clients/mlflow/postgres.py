"""Reads MLflow's backend store on Postgres, by our own SQL: read only by transaction, and best by role too.

MLflow's own store class is never used: one of MLflow 3 migrates a legacy database silently.
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, LiteralString

import psycopg
from psycopg import IsolationLevel, ServerCursor, sql
from psycopg.rows import TupleRow

from switchyard.clients.mlflow.errors import translated_postgres
from switchyard.clients.mlflow.schema import (
    EXPERIMENTS,
    OWNED_COLUMNS,
    OWNED_TABLE,
    RUNS,
    check_versions,
    to_owned_points,
    to_store_identity,
    to_tracked_run,
)
from switchyard.clients.postgres.connection import BoundedConnection
from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.mlflow.facts import Look, choose_shows, look_closer
from switchyard.core.mlflow.marks import RunMark, hash_mark
from switchyard.core.mlflow.raw_run import Keys, LostRun, OwnedPoint, Points, RawRun, TrackedRun, to_points
from switchyard.core.mlflow.store_identity import StoreIdentity

CHOSEN_BATCH: Final = 5_000
"""Runs in a query of some keys: it passes the index of those keys once, for any number of runs."""
WHOLE_BATCH: Final = 25
"""Runs in a query of all points: 160,000 of them at 50 epochs. They are in memory at once."""
_MANY_KEYS: Final = 1_000
"""More keys than these are not asked for one by one: each is a walk of its own through the index."""
_INFO_BATCH: Final = 500
_PAGE: Final = 1_000
_SILENCE_S: Final = 900.0
"""The time-out of a server that sorts the points of a batch: minutes, with 5,000 runs on a small machine."""

# The infinities are stored as the largest numbers: `mlflow_schema.DBL_MAX`.
# Packed by the server (step, timestamp, value): three arrays take it half as long again, and are unpacked one element
# after the other.
_POINTS: Final = """
    SELECT run_uuid, key, string_agg(int8send(step) || int8send(timestamp) || float8send(CASE
        WHEN is_nan THEN 'NaN'
        WHEN value >= 1.7976931348623157e308 THEN 'Infinity'
        WHEN value <= -1.7976931348623157e308 THEN '-Infinity'
        ELSE value END), '')
    FROM metrics WHERE"""
_POINT: Final = "qqd"
_POINT_BYTES: Final = struct.calcsize(f">{_POINT}")
_GROUPED: Final = ' GROUP BY run_uuid, key ORDER BY run_uuid COLLATE "C"'
# With the server's default of 4 MB it sorts on disk.
_ROOM: Final = "SET LOCAL work_mem = '64MB'"
# The server takes the points of a batch for more groups than they are, and sorts them by two texts, to group them
# afterwards. By hash it needs less than half of its processor time, and 9 MB (all points of 25 runs). Points then stay
# in the order of the index: by time, and nearly always by step.
_BY_HASH: Final = "SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off"
# Compiling the hash of a thousand runs takes the server half as long as the hashing.
_AS_IT_IS: Final = "SET LOCAL jit = off"
# One probe of the primary key, which starts with the key, for each key there is; not a scan of all points.
# Source: https://wiki.postgresql.org/wiki/Loose_indexscan
# LATERAL with LIMIT, or the server would read all points of all runs: the first other point of a run with curves is
# found at once, and a run without curves has few points, and is read. What is logged of a tower may not be a curve.
_LOOKS: Final = """
    SELECT r.run_uuid, n.newest, c.found IS NOT NULL, p.found IS NOT NULL
    FROM runs r
        LEFT JOIN LATERAL (SELECT max(l.timestamp) AS newest FROM latest_metrics l WHERE l.run_uuid = r.run_uuid) n
            ON TRUE
        LEFT JOIN LATERAL (SELECT 1 AS found FROM metrics m JOIN latest_metrics l
            ON l.key = m.key AND l.run_uuid = m.run_uuid
            WHERE m.run_uuid = r.run_uuid AND m.step <> l.step
                AND NOT starts_with(m.key, 'query_') AND NOT starts_with(m.key, 'candidate_') LIMIT 1) c ON TRUE
        LEFT JOIN LATERAL (SELECT 1 AS found FROM params WHERE run_uuid = r.run_uuid LIMIT 1) p ON TRUE
    WHERE r.run_uuid = ANY(%s)"""
_MADE: Final = "postgres2:"


# One hash of 64 bits for each row, made of its columns' hashes in turn, which takes half the time of hashing one text;
# and their sum for each run. A value counts by its eight bytes: how a number is printed is a setting. Another major
# version of Postgres may hash otherwise: then every run is read once more.
_PAIRS: Final = "sum(hashtextextended(key, hashtextextended(coalesce(value, ''), 0)))::text AS said"
# The server hashes a bigint by its halves' exclusive or: 1 and 2^32 would be alike. The upper half goes into the seed.
_VALUE: Final = "hashfloat8extended(value, is_nan::int)"
_LATEST: Final = f"""sum(hashtextextended(key, hashint8extended(step, (step >> 32) # coalesce(
            hashint8extended(timestamp, (timestamp >> 32) # {_VALUE}), {_VALUE}))))::text AS said"""
_CHOSEN: Final = """
    WHERE run_uuid IN (SELECT r.run_uuid FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
        WHERE e.name = ANY(%s))"""
_MARKED: Final = f"""
    SELECT r.run_uuid, r.lifecycle_stage, e.lifecycle_stage, r.name, r.experiment_id, e.name, r.status, r.start_time,
        r.end_time, r.artifact_uri, p.said, t.said, l.said
    FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
        LEFT JOIN (SELECT run_uuid, {_PAIRS} FROM params{{chosen}} GROUP BY 1) p ON p.run_uuid = r.run_uuid
        LEFT JOIN (SELECT run_uuid, {_PAIRS} FROM tags{{chosen}} GROUP BY 1) t ON t.run_uuid = r.run_uuid
        LEFT JOIN (SELECT run_uuid, {_LATEST} FROM latest_metrics{{chosen}} GROUP BY 1) l
            ON l.run_uuid = r.run_uuid{{runs}}"""  # noqa: S608 - of constants
_ALL_KEYS: Final = """
    WITH RECURSIVE found AS (
        SELECT min(key) AS key FROM metrics
        UNION ALL SELECT (SELECT min(key) FROM metrics WHERE key > found.key) FROM found WHERE found.key IS NOT NULL
    ) SELECT key FROM found WHERE key IS NOT NULL"""


class PostgresTracking:
    """Implements `core.ports.Tracking` on a Postgres database.

    Each batch has one transaction, so no row is locked for long, and what is read of a run is of one moment. Each walk
    through runs has its own connection while it lasts."""

    def __init__(self, conninfo: str, where: str) -> None:
        self.conninfo = conninfo
        self.where = where
        self._idle: deque[psycopg.Connection[TupleRow]] = deque()

    def __repr__(self) -> str:
        return f"PostgresTracking({self.where})"

    def read_version(self) -> str:
        """Returns the schema's version. Raises: BadSetup: we do not know it."""
        with self._reading() as connection:
            return self._check(connection)

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Yields them in the order they were started, in which their points lie on disk."""
        query = RUNS
        with self._reading() as connection:
            self._check(connection)
            if experiments:
                self._check_names(connection, experiments)
                query += " WHERE e.name = ANY(%s)"
            query += " ORDER BY r.start_time, r.run_uuid"
            with ServerCursor(connection, "runs") as cursor:
                cursor.itersize = _PAGE
                cursor.execute(query.encode(), (list(experiments),) if experiments else None)
                yield from map(to_tracked_run, cursor)

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """See the port."""
        size = WHOLE_BATCH if keys is None else CHOSEN_BATCH
        for batch in batched(run_ids, size):
            yield from self._read_some(sorted(set(batch)), keys)

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """See the port."""
        for batch in batched(run_ids, _INFO_BATCH):
            unsure: dict[str, Look] = {}
            with self._reading() as connection:
                self._check(connection)
                chosen = sorted(set(batch))
                infos = self._infos(connection, chosen)
                for run_id, newest_ms, has_curve, has_param in connection.execute(_LOOKS, (chosen,)):
                    shows = choose_shows(has_curve=has_curve, has_value=newest_ms is not None, has_param=has_param)
                    if run_id not in infos:
                        continue
                    look = Look(info=infos[run_id], shows=shows, newest_ms=newest_ms)
                    if has_curve or newest_ms is None:
                        yield look
                    else:
                        unsure[run_id] = look
            yield from look_closer(unsure, self.read_runs(unsure))

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """See the port. The server hashes row by row, and sums the hashes, so the order of rows does not matter."""
        with self._reading() as connection:
            self._check(connection)
            chosen, runs = "", ""
            values: list[list[str]] = []
            if experiments:
                self._check_names(connection, experiments)
                chosen, runs, values = _CHOSEN, " WHERE e.name = ANY(%s)", [list(experiments)] * 4
            connection.execute(f"{_ROOM}; {_AS_IT_IS}".encode())
            with ServerCursor(connection, "marks") as cursor:
                cursor.itersize = _PAGE
                cursor.execute(_MARKED.format(chosen=chosen, runs=runs).encode(), values)
                for row in cursor:
                    run_id, stage, experiment_stage = row[:3]
                    yield RunMark(
                        run_id=run_id,
                        mark=hash_mark(_MADE, list(row)),
                        lifecycle="deleted" if stage == "deleted" else "active",
                        experiment_lifecycle="deleted" if experiment_stage == "deleted" else "active",
                    )

    def identify(self) -> StoreIdentity:
        """See the port."""
        with self._reading() as connection:
            self._check(connection)
            return to_store_identity(connection.execute(EXPERIMENTS))

    def describe(self) -> str:
        """Says the address and the schema."""
        return f"{self.where} by SQL (schema {self.read_version()})"

    def close(self) -> None:
        """See the port."""
        while self._idle:
            self._idle.pop().close()

    def _check_names(self, connection: psycopg.Connection[TupleRow], experiments: Sequence[str]) -> None:
        rows = connection.execute("SELECT name FROM experiments WHERE name = ANY(%s)", (list(experiments),))
        missing = set(experiments) - {name for (name,) in rows}
        if missing:
            raise NotFound(f"{self.where} has no experiment named {', '.join(map(repr, sorted(missing)))}")

    def _read_some(self, run_ids: list[str], keys: Keys | None) -> Iterator[RawRun | LostRun]:
        """Yields them in the order of `run_ids`. If something cannot be read, the rest is read run by run."""
        done = 0
        try:
            with self._reading() as connection:
                self._check(connection)
                for run in self._read_batch(connection, run_ids, keys):
                    done += 1
                    yield run
        except BadRecord as err:
            if len(run_ids) == 1:
                yield LostRun(run_id=run_ids[0], error=err)
                return
            for run_id in run_ids[done:]:
                yield from self._read_some([run_id], keys)

    def _read_batch(
        self, connection: psycopg.Connection[TupleRow], batch: list[str], keys: Keys | None
    ) -> Iterator[RawRun | LostRun]:
        points = self._points(connection, batch, keys)
        current = next(points, None)
        for some in batched(batch, _INFO_BATCH):
            infos = self._infos(connection, some)
            params, tags = self._pairs(connection, "params", some), self._pairs(connection, "tags", some)
            owned = self._owned(connection, some)
            for run_id in some:
                metrics: dict[str, Points] = {}
                while current is not None and current[0] == run_id:
                    metrics[current[1]] = _unpack(current[2])
                    current = next(points, None)
                info = infos.get(run_id)
                if info is None:
                    yield LostRun(run_id=run_id, error=NotFound(f"{self.where} has no run {run_id} (any more)"))
                    continue
                yield RawRun(
                    info=info,
                    metrics=metrics,
                    params=params.get(run_id, {}),
                    tags=tags.get(run_id, {}),
                    keys=keys,
                    owned=owned.get(run_id, ()),
                )

    def _points(
        self, connection: psycopg.Connection[TupleRow], run_ids: list[str], keys: Keys | None
    ) -> Iterator[TupleRow]:
        """Yields run id, key, packed points; the runs in the order of their ids."""
        chosen, values = self._choose(connection, keys)
        connection.execute(f"{_ROOM}; {_BY_HASH}".encode())
        with ServerCursor(connection, "points") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(f"{_POINTS} {chosen}run_uuid = ANY(%s){_GROUPED}".encode(), [*values, run_ids], binary=True)
            yield from cursor

    def _choose(self, connection: psycopg.Connection[TupleRow], keys: Keys | None) -> tuple[str, list[list[str]]]:
        """Returns a condition on the key, and its values."""
        if keys is None:
            return "", []
        names = sorted(keys.names)
        if keys.prefixes or keys.without:
            limit = f" LIMIT {_MANY_KEYS + 1}" if keys.without else ""
            found = [key for (key,) in connection.execute(f"{_ALL_KEYS}{limit}".encode())]
            if keys.without and len(found) > _MANY_KEYS:
                return "key <> ALL(%s) AND ", [sorted(keys.without)]
            names = [key for key in found if key in keys]
        return "key = ANY(%s) AND ", [names]

    def _infos(self, connection: psycopg.Connection[TupleRow], run_ids: list[str]) -> dict[str, TrackedRun]:
        rows = connection.execute(f"{RUNS} WHERE r.run_uuid = ANY(%s)".encode(), (run_ids,))
        return {row[0]: to_tracked_run(row) for row in rows}

    def _pairs(
        self, connection: psycopg.Connection[TupleRow], table: LiteralString, run_ids: list[str]
    ) -> dict[str, dict[str, str]]:
        query = sql.SQL("SELECT run_uuid, key, value FROM {} WHERE run_uuid = ANY(%s)").format(sql.Identifier(table))
        found: dict[str, dict[str, str]] = {}
        for run_id, key, value in connection.execute(query, (run_ids,)):
            found.setdefault(run_id, {})[key] = value or ""
        return found

    def _owned(self, connection: psycopg.Connection[TupleRow], run_ids: list[str]) -> dict[str, list[OwnedPoint]]:
        """Returns none if the table is missing or we may not read it: a role may have been made for MLflow 2."""
        allowed = f"SELECT coalesce(has_table_privilege(to_regclass('{OWNED_TABLE}'), 'SELECT'), false)"
        if connection.execute(allowed.encode()).fetchone() != (True,):
            return {}
        query = f"SELECT {', '.join(OWNED_COLUMNS)} FROM {OWNED_TABLE} WHERE run_id = ANY(%s)"  # noqa: S608
        return to_owned_points(connection.execute(query.encode(), (run_ids,)))

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """Opens one transaction that can change nothing, whatever our rights are."""
        with translated_postgres(self.where):
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                with connection.transaction():
                    yield connection
                if not connection.closed:
                    self._idle.append(connection)
            except BaseException:
                connection.close()
                raise

    def _connect(self) -> psycopg.Connection[TupleRow]:
        connection = BoundedConnection.connect(self.conninfo, connect_timeout=10, application_name="switchyard")
        connection.silence_s = _SILENCE_S
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        return connection

    def _check(self, connection: psycopg.Connection[TupleRow]) -> str:
        (table,) = connection.execute("SELECT to_regclass('alembic_version')").fetchone() or (None,)
        found = connection.execute("SELECT version_num FROM alembic_version").fetchall() if table else []
        return check_versions([version for (version,) in found], self.where)


def _unpack(packed: bytes) -> Points:
    """Unpacks what `_POINTS` packs of one key."""
    found = struct.unpack(f">{len(packed) // _POINT_BYTES * _POINT}", packed)
    return to_points(list(found[0::3]), list(found[1::3]), list(found[2::3]))
