"""Reads MLflow's backend store in an SQLite file, which is opened read only."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from switchyard.clients.mlflow.errors import translated_sqlite
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
from switchyard.core.errors import BadRecord, BadSetup, NotFound
from switchyard.core.mlflow.facts import Look, choose_shows, look_closer
from switchyard.core.mlflow.marks import RunMark, hash_mark
from switchyard.core.mlflow.raw_run import Keys, LostRun, OwnedPoint, Points, RawRun, TrackedRun, to_points
from switchyard.core.mlflow.store_identity import StoreIdentity

_BATCH: Final = 100
_BUSY_TIMEOUT_S: Final = 10
_LOOKS: Final = f"""
    SELECT found.*,
        (SELECT max(timestamp) FROM latest_metrics l WHERE l.run_uuid = found.run_uuid),
        EXISTS (SELECT 1 FROM metrics m JOIN latest_metrics l ON l.key = m.key AND l.run_uuid = m.run_uuid
            WHERE m.run_uuid = found.run_uuid AND m.step <> l.step
                AND m.key NOT LIKE 'query\\_%%' ESCAPE '\\' AND m.key NOT LIKE 'candidate\\_%%' ESCAPE '\\'),
        EXISTS (SELECT 1 FROM params p WHERE p.run_uuid = found.run_uuid)
    FROM ({RUNS} WHERE r.run_uuid IN (%s)) found"""  # noqa: S608 - of constants
"""The first other point of a run with curves is found at once. A run without curves has few points, and is read. What
is logged of a tower may not be a curve."""

_HEAD: Final = b"SQLite format 3\0"
"""Source: https://www.sqlite.org/fileformat.html#magic_header_string"""
_MADE: Final = "sqlite1:"
# One query for each run, by the index on run_uuid: quicker than one sorted walk through all rows, with less memory.
_MARKED: Final = (
    "SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key",
    "SELECT key, value FROM tags WHERE run_uuid = ? ORDER BY key",
    "SELECT key, step, timestamp, value, is_nan FROM latest_metrics WHERE run_uuid = ? ORDER BY key",
)

_Chosen = tuple[str, list[str]]


class SqliteTracking:
    """Implements `core.ports.Tracking` on an SQLite file, with one transaction for a batch of runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = f"MLflow store sqlite:///{path}"

    def __repr__(self) -> str:
        return f"SqliteTracking({self.where})"

    def read_version(self) -> str:
        """Returns the schema's version. Raises: BadSetup: we do not know it."""
        with self._reading() as connection:
            return self._check(connection)

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Yields them in the order they were started."""
        with self._reading() as connection:
            yield from self._list(connection, experiments)

    def _list(self, connection: sqlite3.Connection, experiments: Sequence[str]) -> Iterator[TrackedRun]:
        query = RUNS
        # A name that is not a text must not hide the other runs. Reading its run says what is wrong.
        connection.text_factory = _to_some_text
        if experiments:
            known = {name for (name,) in connection.execute("SELECT name FROM experiments")}
            missing = set(experiments) - known
            if missing:
                raise NotFound(f"{self.where} has no experiment named {', '.join(map(repr, sorted(missing)))}")
            query += f" WHERE e.name IN ({_marks(experiments)})"
        query += " ORDER BY r.start_time, r.run_uuid"
        for row in connection.execute(query, tuple(experiments)):
            yield to_tracked_run(row)

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """See the port."""
        for batch in batched(run_ids, _BATCH):
            with self._reading() as connection:
                chosen = self._choose(connection, keys)
                owned = self._owned(connection, batch)
                for run_id in dict.fromkeys(batch):
                    try:
                        with translated_sqlite(f"run {run_id} of {self.where}"):
                            run = self._read(connection, run_id, chosen, keys)
                            yield msgspec.structs.replace(run, owned=owned.get(run_id, ()))
                    except (BadRecord, NotFound) as err:
                        yield LostRun(run_id=run_id, error=err)
                    except (TypeError, ValueError) as err:  # SQLite's columns take values of any type
                        where = f"run {run_id} of {self.where}"
                        yield LostRun(run_id=run_id, error=BadRecord(where, [f"a value has another type: {err}"]))

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """See the port."""
        for batch in batched(run_ids, _BATCH):
            unsure: dict[str, Look] = {}
            with self._reading() as connection:
                connection.text_factory = _to_some_text
                chosen = list(dict.fromkeys(batch))
                for *info, newest_ms, has_curve, has_param in connection.execute(_LOOKS % _marks(chosen), chosen):
                    shows = choose_shows(
                        has_curve=bool(has_curve), has_value=newest_ms is not None, has_param=bool(has_param)
                    )
                    look = Look(info=to_tracked_run(info), shows=shows, newest_ms=newest_ms)
                    if has_curve or newest_ms is None:
                        yield look
                    else:
                        unsure[look.info.run_id] = look
            yield from look_closer(unsure, self.read_runs(unsure))

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """See the port. Hashes and prints numbers here: SQLite can do neither to the last bit."""
        with self._reading() as connection:
            for info in list(self._list(connection, experiments)):
                yield RunMark(
                    run_id=info.run_id,
                    mark=hash_mark(_MADE, [msgspec.structs.astuple(info), *_read_marked(connection, info.run_id)]),
                    lifecycle=info.lifecycle,
                    experiment_lifecycle=info.experiment_lifecycle,
                )

    def identify(self) -> StoreIdentity:
        """See the port."""
        with self._reading() as connection:
            connection.text_factory = _to_some_text
            return to_store_identity(connection.execute(EXPERIMENTS))

    def describe(self) -> str:
        """Says the address and the schema."""
        return f"{self.where} by SQL (schema {self.read_version()})"

    def close(self) -> None:
        """See the port. Every connection ends with its walk through runs."""

    def _choose(self, connection: sqlite3.Connection, keys: Keys | None) -> _Chosen:
        """Returns a condition on the key, and its values."""
        if keys is None:
            return "", []
        if keys.without:
            return f" AND key NOT IN ({_marks(keys.without)})", sorted(keys.without)
        names = sorted(keys.names)
        if keys.prefixes:
            found = connection.execute("SELECT DISTINCT key FROM metrics ORDER BY key")
            names = [key for (key,) in found if key in keys]
        return f" AND key IN ({_marks(names)})", names

    def _read(self, connection: sqlite3.Connection, run_id: str, chosen: _Chosen, keys: Keys | None) -> RawRun:
        found = connection.execute(RUNS + " WHERE r.run_uuid = ?", (run_id,)).fetchone()
        if found is None:
            raise NotFound(f"{self.where} has no run {run_id} (any more)")
        pairs = {
            table: {
                key: value or ""
                for key, value in connection.execute(
                    f"SELECT key, value FROM {table} WHERE run_uuid = ?",  # noqa: S608 - one of two constants
                    (run_id,),
                )
            }
            for table in ("params", "tags")
        }
        return RawRun(
            info=to_tracked_run(found),
            metrics=dict(self._points(connection, run_id, chosen)),
            params=pairs["params"],
            tags=pairs["tags"],
            keys=keys,
        )

    def _owned(self, connection: sqlite3.Connection, run_ids: Sequence[str]) -> dict[str, list[OwnedPoint]]:
        table = "SELECT 1 FROM sqlite_master WHERE name = ?"
        if not connection.execute(table, (OWNED_TABLE,)).fetchone():
            return {}
        query = f"SELECT {', '.join(OWNED_COLUMNS)} FROM {OWNED_TABLE} WHERE run_id IN ({_marks(run_ids)})"  # noqa: S608
        return to_owned_points(connection.execute(query, tuple(run_ids)))

    def _points(self, connection: sqlite3.Connection, run_id: str, chosen: _Chosen) -> Iterator[tuple[str, Points]]:
        condition, keys = chosen
        rows = connection.execute(
            f"SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?{condition} ORDER BY key",  # noqa: S608
            (run_id, *keys),
        )
        for key, found in groupby(rows, itemgetter(0)):
            _, steps, times, values, are_nan = zip(*found, strict=True)
            yield key, to_points(steps, times, list(map(to_value, values, are_nan)))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        self._check_file()
        uri = f"file:{quote(str(self.path))}?mode=ro"
        with (
            translated_sqlite(self.where),
            closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as connection,
        ):
            connection.execute("BEGIN")  # all statements see the file as the first one does
            self._check(connection)
            yield connection

    def _check_file(self) -> None:
        """Checks the file: SQLite itself takes a folder for a failing disk, and an empty file for a database.

        Raises:
            BadSetup: what is there cannot be a database.
        """
        problem = ""
        try:
            with self.path.open("rb") as file:
                head = file.read(len(_HEAD))
        except IsADirectoryError:
            problem = f"it is a folder; MLflow's own (mlruns) is read by MLFLOW_TRACKING_URI={self.path}"
        except (FileNotFoundError, NotADirectoryError):
            problem = "there is no such file"
        except OSError:
            return  # SQLite says it
        else:
            if not head:
                problem = "the file is empty"
            elif head != _HEAD:
                problem = "the file is not a database of SQLite's"
        if problem:
            raise BadSetup(
                f"{self.where}: {problem}. MLFLOW_BACKEND_STORE_URI must name an MLflow backend store, as the server's "
                "--backend-store-uri does"
            )

    def _check(self, connection: sqlite3.Connection) -> str:
        table = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        found = (
            connection.execute("SELECT version_num FROM alembic_version")
            if connection.execute(table).fetchone()
            else ()
        )
        return check_versions([version for (version,) in found], self.where)


def _read_marked(connection: sqlite3.Connection, run_id: str) -> list[list[tuple[object, ...]]]:
    """Reads texts as SQLite's driver does, a fifth quicker; bytes that are not text are read as near as can be."""
    connection.text_factory = str
    try:
        return [connection.execute(query, (run_id,)).fetchall() for query in _MARKED]
    except sqlite3.OperationalError:
        connection.text_factory = _to_some_text
        return [connection.execute(query, (run_id,)).fetchall() for query in _MARKED]


def _to_some_text(stored: bytes) -> str:
    return stored.decode(errors="replace")


def _marks(items: Collection[str]) -> str:
    return ", ".join("?" * len(items))
