"""MLflow stores for the tests, each on Postgres, on SQLite and behind a server.

They are the fixture's database, restored, and small ones made on the spot.
"""

import gzip
import itertools
import math
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymysql.cursors import Cursor

from switchyard.core.mlflow.raw_run import RawRun
from tests.mariadb import MariaDB
from tests.postgres import Postgres
from tests.root import ROOT

FIXTURES = ROOT.parent / "shared" / "fixtures"
MYSQL_SCHEMA = Path(__file__).with_name("mlflow292_mysql.sql")
SQLITE_SCHEMA = Path(__file__).with_name("mlflow292_sqlite.sql")
POSTGRES_SCHEMA = FIXTURES / "empty292.sql.gz"
FIXTURE = FIXTURES / "mlflow292.sql.gz"
DBL_MAX = 1.7976931348623157e308
_COPY = re.compile(r"^COPY public\.(\w+) \((.*)\) FROM stdin;$")
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}


def find_fixture() -> Path:
    """The legacy database's dump; the test is skipped where it is not."""
    if not FIXTURE.exists():
        pytest.skip(f"the legacy MLflow database is not at {FIXTURE}")
    return FIXTURE


def restore(postgres: Postgres, database: str, dump: Path) -> None:
    """What `psql -f` would do with a plain dump of pg_dump."""
    with psycopg.connect(to_libpq(postgres.url(database)), autocommit=True) as connection:
        for statement, rows in read_dump(dump):
            if rows is None:
                connection.execute(statement.encode())
                continue
            with connection.cursor().copy(statement.encode()) as copy:
                for line in rows:
                    copy.write(line)


def to_libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def read_dump(dump: Path) -> Iterator[tuple[str, list[str] | None]]:
    """Each statement, and of COPY its rows."""
    with gzip.open(dump, "rt", encoding="utf-8") as lines:
        statement = ""
        for line in lines:
            if not statement and (line.startswith(("--", "\\")) or not line.strip()):
                continue
            statement += line
            if not statement.rstrip().endswith(";"):
                continue
            rows = None
            if statement.startswith("COPY "):
                rows = list(itertools.takewhile(lambda row: row != "\\.\n", lines))
            yield statement.rstrip().rstrip(";") if rows is not None else statement, rows
            statement = ""


def make_sqlite(path: Path, dump: Path | None = None) -> Path:
    """A store of MLflow 2.9.2 in a file, empty or with the rows of `dump`."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"BEGIN; {SQLITE_SCHEMA.read_text()} COMMIT;")
    if dump is not None:
        connection.execute("BEGIN")
        for table, columns, rows in read_tables(dump):
            names = ", ".join(f'"{name}"' for name in columns)
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        connection.execute("COMMIT")
    connection.close()
    return path


def read_tables(dump: Path) -> Iterator[tuple[str, list[str], Iterator[list[Any]]]]:
    """The tables of a dump of pg_dump but for `alembic_version`: name, columns, rows as values."""
    for statement, rows in read_dump(dump):
        found = _COPY.match(statement + ";") if rows is not None else None
        if found is None or found[1] == "alembic_version":
            continue
        columns = [name.strip().strip('"') for name in found[2].split(",")]
        yield found[1], columns, _to_rows(rows or [], columns, is_metric=found[1].endswith("metrics"))


def _to_rows(lines: list[str], columns: list[str], *, is_metric: bool) -> Iterator[list[Any]]:
    for line in lines:
        texts = line.rstrip("\n").split("\t")
        yield [_to_value(name, text, is_metric=is_metric) for name, text in zip(columns, texts, strict=True)]


def make_mysql(server: MariaDB, dump: Path | None = None, *, charset: str = "utf8mb4") -> str:
    """A database with the tables of MLflow 2.9.2, empty or with the rows of `dump`; its name."""
    database = server.make_database(f"CHARACTER SET {charset}")
    tables = MYSQL_SCHEMA.read_text().replace("utf8mb4 COLLATE=utf8mb4_general_ci", charset)
    statements = tables.split(";\n")
    server.execute(*(statement for statement in statements if statement.strip()), database=database)
    if dump is None:
        return database
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'")
        for table, columns, rows in read_tables(dump):
            names = ", ".join(f"`{name}`" for name in columns)
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(rows))
        connection.commit()
    return database


def _to_value(column: str, text: str, *, is_metric: bool) -> Any:
    if text == "\\N":
        return None
    if is_metric and column == "is_nan":
        return text == "t"
    if is_metric and column == "value":
        return float(text)  # SQLite's own reading of a text may differ in the last bit
    return re.sub(r"\\[tnr\\]", lambda found: _ESCAPES[found[0]], text)


def add_runs(database: Any, runs: list[RawRun]) -> None:
    """Stores runs as MLflow's own store does: NaN as 0 with a flag, infinities as the largest numbers.

    `database` is a connection of psycopg or sqlite3, or a cursor of PyMySQL, in a transaction; the caller commits.
    """
    mark = "?" if isinstance(database, sqlite3.Connection) else "%s"
    for run in runs:
        info = run.info
        _insert(
            database,
            mark,
            "experiments",
            {
                "experiment_id": int(info.experiment_id),
                "name": info.experiment,
                "lifecycle_stage": info.experiment_lifecycle,
                "creation_time": 1_690_000_000_000,
            },
        )
        _insert(
            database,
            mark,
            "runs",
            {
                "run_uuid": info.run_id,
                "name": info.name or None,
                "status": info.status,
                "lifecycle_stage": info.lifecycle,
                "start_time": info.started_at_ms,
                "end_time": info.ended_at_ms,
                "experiment_id": int(info.experiment_id),
                "artifact_uri": info.artifact_uri,
            },
        )
        for table, pairs in (("params", run.params), ("tags", run.tags)):
            for key, text in pairs.items():
                _insert(database, mark, table, {"run_uuid": info.run_id, "key": key, "value": text})
        for key, points in run.metrics.items():
            for step, timestamp, value in zip(points.steps, points.timestamps_ms, points.values, strict=True):
                add_point(database, info.run_id, key, step, timestamp, value)
            last = {
                "run_uuid": info.run_id,
                "key": key,
                "step": points.steps[-1],
                "timestamp": points.timestamps_ms[-1],
            }
            _insert(database, mark, "latest_metrics", last | _to_stored(points.values[-1]))


def add_point(database: Any, run_id: str, key: str, step: int, timestamp: int, value: float) -> None:
    mark = "?" if isinstance(database, sqlite3.Connection) else "%s"
    row = {"run_uuid": run_id, "key": key, "step": step, "timestamp": timestamp}
    _insert(database, mark, "metrics", row | _to_stored(value))


def _to_stored(value: float) -> dict[str, Any]:
    stored = 0.0 if math.isnan(value) else math.copysign(DBL_MAX, value) if math.isinf(value) else value
    return {"value": stored, "is_nan": math.isnan(value)}


def _insert(database: Any, mark: str, table: str, row: Mapping[str, Any]) -> None:
    marks = ", ".join([mark] * len(row))
    if isinstance(database, Cursor):
        names = ", ".join(f"`{name}`" for name in row)
        database.execute(f"INSERT IGNORE INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
        return
    columns = ", ".join(row)
    database.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING", tuple(row.values()))
