"""Reads MLflow's backend store on MySQL or MariaDB, by our own SQL in transactions that can change nothing.

A column's collation may hold "Loss", "loss" and "loss " for the same, and MLflow's primary keys follow it. So what is
chosen in SQL is only as narrow as the collation, so that the indexes help, and Python takes what is the same to the
letter. The collation says which run a row belongs to: its foreign key does too.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from switchyard.clients.mlflow.mysql_connection import MysqlServer, execute, stream
from switchyard.clients.mlflow.schema import (
    EXPERIMENTS,
    OWNED_COLUMNS,
    OWNED_TABLE,
    RUNS,
    check_versions,
    to_owned_points,
    to_store_identity,
    to_tracked_run,
    to_value,
)
from switchyard.core.batches import batched
from switchyard.core.errors import NotFound
from switchyard.core.mlflow.facts import Look, choose_shows, look_closer
from switchyard.core.mlflow.marks import RunMark, hash_mark
from switchyard.core.mlflow.raw_run import Keys, LostRun, OwnedPoint, Points, RawRun, TrackedRun, to_points
from switchyard.core.mlflow.store_identity import StoreIdentity

if TYPE_CHECKING:
    from pymysql.connections import Connection

_BATCH: Final = 100
"""Runs in a transaction: no version of a row is kept for long."""
_RUNS: Final = f"{RUNS} AND CAST(t.`key` AS BINARY) = 'mlflow.runName'"
_LOOKS: Final = """
    SELECT r.run_uuid,
        (SELECT max(l.timestamp) FROM latest_metrics l WHERE l.run_uuid = r.run_uuid),
        EXISTS (SELECT 1 FROM metrics m JOIN latest_metrics l ON l.run_uuid = m.run_uuid AND l.`key` = m.`key`
            WHERE m.run_uuid = r.run_uuid AND m.step <> l.step AND CAST(m.`key` AS BINARY) = CAST(l.`key` AS BINARY)
                AND CAST(LEFT(m.`key`, 6) AS BINARY) <> 'query_' AND CAST(LEFT(m.`key`, 10) AS BINARY) <> 'candidate_'),
        EXISTS (SELECT 1 FROM params p WHERE p.run_uuid = r.run_uuid)
    FROM runs r WHERE r.run_uuid IN %s"""
"""The first other point of a run with curves is found at once. A run without curves has few points, and is read. What
is logged of a tower may not be a curve. Of two keys that are one to the collation, only one has a latest value."""
_MADE: Final = "mysql1:"
# One hash of 64 bits a row, of its columns' hashes (or of the shortest text that reads as the number), and their sum
# for each run: no list that the server would cut in silence (GROUP_CONCAT), whatever the order of rows. By the index on
# `run_uuid`, run by run.
_HASH: Final = "SUM(CAST(CONV(LEFT(MD5(%s), 16), 16, 10) AS UNSIGNED))"
_PAIR: Final = _HASH % "CONCAT(MD5(p.`key`), MD5(COALESCE(p.value, '')))"
_POINT: Final = _HASH % "CONCAT_WS(':', MD5(p.`key`), p.step, COALESCE(p.timestamp, ''), p.value, p.is_nan)"
_MARKED: Final = f"""
    SELECT r.run_uuid, r.lifecycle_stage, e.lifecycle_stage, r.name, r.experiment_id, e.name, r.status, r.start_time,
        r.end_time, r.artifact_uri,
        (SELECT {_PAIR} FROM params p WHERE p.run_uuid = r.run_uuid),
        (SELECT {_PAIR} FROM tags p WHERE p.run_uuid = r.run_uuid),
        (SELECT {_POINT} FROM latest_metrics p WHERE p.run_uuid = r.run_uuid)
    FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"""  # noqa: S608 - of constants
# InnoDB appends the primary key to the index on `run_uuid`, which so has the whole row, by key and time.
_POINTS: Final = "SELECT `key`, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = %s"

_Chosen = tuple[str, list[Any]]


class MysqlTracking:
    """Implements `core.ports.Tracking` on MySQL or MariaDB, with one transaction and connection for a batch of runs."""

    def __init__(self, server: MysqlServer) -> None:
        self.server = server
        self.where = server.where

    def __repr__(self) -> str:
        return f"MysqlTracking({self.where})"

    def read_version(self) -> str:
        """Returns the schema's version. Raises: BadSetup: we do not know it."""
        with self.server.reading() as connection:
            return self._check(connection)

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Yields them in the order they were started."""
        with self.server.reading() as connection:
            self._check(connection)
            query, values = self._of(connection, _RUNS, experiments)
            for run in map(to_tracked_run, stream(connection, f"{query} ORDER BY r.start_time, r.run_uuid", values)):
                if not experiments or run.experiment in experiments:
                    yield run

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """See the port."""
        condition, chosen = _choose(keys)
        for batch in batched(run_ids, _BATCH):
            wanted = sorted(set(batch))
            with self.server.reading() as connection:
                self._check(connection)
                infos = self._infos(connection, wanted)
                params, tags = (_read_pairs(connection, table, list(infos)) for table in ("params", "tags"))
                owned = self._owned(connection, list(infos))
                for run_id in wanted:
                    if run_id not in infos:
                        yield LostRun(run_id=run_id, error=NotFound(f"{self.where} has no run {run_id} (any more)"))
                        continue
                    rows = stream(connection, f"{_POINTS}{condition}", (run_id, *chosen))
                    yield RawRun(
                        info=infos[run_id],
                        metrics=_to_metrics(rows, keys),
                        params=params.get(run_id, {}),
                        tags=tags.get(run_id, {}),
                        keys=keys,
                        owned=owned.get(run_id, ()),
                    )

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """See the port."""
        for batch in batched(run_ids, _BATCH):
            unsure: dict[str, Look] = {}
            with self.server.reading() as connection:
                self._check(connection)
                wanted = sorted(set(batch))
                infos = self._infos(connection, wanted)
                rows = execute(connection, _LOOKS, (list(infos),)) if infos else ()
                for run_id, newest_ms, has_curve, has_param in rows:
                    shows = choose_shows(
                        has_curve=bool(has_curve), has_value=newest_ms is not None, has_param=bool(has_param)
                    )
                    look = Look(info=infos[run_id], shows=shows, newest_ms=newest_ms)
                    if has_curve or newest_ms is None:
                        yield look
                    else:
                        unsure[run_id] = look
            yield from look_closer(unsure, self.read_runs(unsure))

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """See the port. The server hashes row by row, and sums the hashes."""
        with self.server.reading() as connection:
            self._check(connection)
            for row in stream(connection, *self._of(connection, _MARKED, experiments)):
                run_id, stage, experiment_stage, _, _, experiment = row[:6]
                if not experiments or experiment in experiments:
                    yield RunMark(
                        run_id=run_id,
                        mark=hash_mark(_MADE, list(row)),
                        lifecycle="deleted" if stage == "deleted" else "active",
                        experiment_lifecycle="deleted" if experiment_stage == "deleted" else "active",
                    )

    def identify(self) -> StoreIdentity:
        """See the port."""
        with self.server.reading() as connection:
            self._check(connection)
            return to_store_identity(execute(connection, EXPERIMENTS))

    def describe(self) -> str:
        """Says the address and the schema."""
        return f"{self.where} by SQL (schema {self.read_version()})"

    def close(self) -> None:
        """See the port. Every connection ends with its walk through runs."""

    def _of(self, connection: "Connection", query: str, experiments: Sequence[str]) -> tuple[str, Any]:
        """Returns a query of these experiments' runs, and perhaps of some with names that the collation equates.

        Raises: NotFound: one is not there."""
        if not experiments:
            return query, None
        known = {name for (name,) in execute(connection, "SELECT name FROM experiments")}
        missing = set(experiments) - known
        if missing:
            raise NotFound(f"{self.where} has no experiment named {', '.join(map(repr, sorted(missing)))}")
        return f"{query} WHERE {_to_column('e.name', experiments)} IN %s", (list(experiments),)

    def _infos(self, connection: "Connection", run_ids: Collection[str]) -> dict[str, TrackedRun]:
        """Returns those with these ids, to the letter."""
        rows = execute(connection, f"{_RUNS} WHERE {_to_column('r.run_uuid', run_ids)} IN %s", (list(run_ids),))
        return {run.run_id: run for run in map(to_tracked_run, rows) if run.run_id in run_ids}

    def _owned(self, connection: "Connection", run_ids: Collection[str]) -> dict[str, list[OwnedPoint]]:
        """Returns none if the table is missing or we may not read it: a role may have been made for MLflow 2."""
        if not run_ids or not _has_table(connection, OWNED_TABLE):
            return {}
        query = f"SELECT {', '.join(OWNED_COLUMNS)} FROM {OWNED_TABLE} WHERE run_id IN %s"  # noqa: S608 - constants
        return to_owned_points(execute(connection, query, (list(run_ids),)))

    def _check(self, connection: "Connection") -> str:
        has_versions = _has_table(connection, "alembic_version")
        found = execute(connection, "SELECT version_num FROM alembic_version") if has_versions else []
        return check_versions([version for (version,) in found], self.where)


def _has_table(connection: "Connection", name: str) -> bool:
    """Returns whether it is there: the server names only tables that we may read."""
    query = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s"
    return bool(execute(connection, query, (name,)))


def _read_pairs(connection: "Connection", table: str, run_ids: Collection[str]) -> dict[str, dict[str, str]]:
    query = f"""SELECT r.run_uuid, p.`key`, p.value FROM runs r JOIN {table} p ON p.run_uuid = r.run_uuid
        WHERE r.run_uuid IN %s"""  # noqa: S608 - one of two constants
    found: dict[str, dict[str, str]] = {}
    for run_id, key, value in execute(connection, query, (list(run_ids),)) if run_ids else ():
        found.setdefault(run_id, {})[key] = value or ""
    return found


def _choose(keys: Keys | None) -> _Chosen:
    """Returns a condition that holds for the rows of these keys, and perhaps for some that the collation equates."""
    if keys is None:
        return "", []
    if keys.without:
        # Not by the collation: it would leave out what is only alike.
        return " AND CAST(`key` AS BINARY) NOT IN %s", [[key.encode() for key in sorted(keys.without)]]
    column = _to_column("`key`", (*keys.names, *keys.prefixes))
    conditions = [*([f"{column} IN %s"] if keys.names else []), *[f"{column} LIKE %s ESCAPE '|'"] * len(keys.prefixes)]
    values: list[Any] = [sorted(keys.names)] if keys.names else []
    for prefix in keys.prefixes:
        escaped = prefix.replace("|", "||").replace("%", "|%").replace("_", "|_")
        values.append(f"{escaped}%")
    return f" AND ({' OR '.join(conditions) or 'FALSE'})", values


def _to_column(name: str, values: Iterable[str]) -> str:
    """Returns the column so that it can be compared with these values.

    One of latin1 cannot be compared with most that are not ASCII. Then no index helps."""
    return name if all(map(str.isascii, values)) else f"CONVERT({name} USING utf8mb4)"


def _to_metrics(rows: Iterable[Sequence[Any]], keys: Keys | None) -> dict[str, Points]:
    found: dict[str, tuple[list[int], list[int], list[float]]] = {}
    for key, step, timestamp_ms, value, is_nan in rows:
        columns = found.get(key)
        if columns is None:
            if keys is not None and key not in keys:
                continue
            columns = found[key] = ([], [], [])
        columns[0].append(step)
        columns[1].append(timestamp_ms)
        columns[2].append(to_value(value, is_nan))
    return {key: to_points(*columns) for key, columns in found.items()}
