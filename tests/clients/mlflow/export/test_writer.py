"""Exports of a raw MLflow store, and what is restored from them."""

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from switchyard.clients.mlflow.export.parts import read_rows, to_digest, to_parquet
from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.restore import compare_store, restore_store
from switchyard.clients.mlflow.export.writer import check_export, export_store, read_export
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.objects.files import FileObjects
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound
from switchyard.core.mlflow.export import MARKER, Moved
from switchyard.core.mlflow.raw_run import RawRun, to_source_digest
from switchyard.core.ports import ANY
from tests.clients.mlflow.stores import add_point, add_runs, find_fixture, make_sqlite, restore, to_libpq
from tests.core.mlflow.factories import make_run, make_series
from tests.postgres import Postgres

RUNS = [make_run(run_id=letter * 32, epochs=4) for letter in "abcd"]
POINTS = sum(len(points.steps) for run in RUNS for points in run.metrics.values())


class Killed(BaseException):
    """Stands for kill -9 at one write."""


class CountedObjects(FileObjects):
    """Files that count their writes, and may stop before one."""

    def __init__(self, stop_before: int = -1) -> None:
        self.written: list[str] = []
        self._stop_before = stop_before

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        if len(self.written) == self._stop_before:
            raise Killed
        self.written.append(uri.rpartition("/export/")[2])
        return super().write(uri, data, if_generation=if_generation)


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = make_sqlite(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as connection:
        add_runs(connection, RUNS)
        connection.execute("INSERT INTO registered_models (name, creation_time) VALUES ('a model', 5)")
    connection.close()
    return f"sqlite:///{path}"


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return (tmp_path / "export").as_uri()


def change(store: str, statement: str, *values: Any) -> None:
    with sqlite3.connect(store.removeprefix("sqlite:///")) as connection:
        assert connection.execute(statement, values).rowcount != 0
    connection.close()


def source_digests(store: Any) -> dict[str, str]:
    try:
        found = store.read_runs([run.run_id for run in store.list_runs()])
        return {run.info.run_id: to_source_digest(run) for run in found if isinstance(run, RawRun)}
    finally:
        store.close()


def test_export_holds_every_table_in_bounded_parts(store: str, uri: str) -> None:
    """Registry and version tables too, empty ones by their names; no part has more rows than allowed."""
    seen: list[Moved] = []
    export = export_store(store, uri, FileObjects(), part_rows=300, watch=seen.append)
    rows = {table.name: table.rows for table in export.tables}
    assert rows["metrics"] == POINTS
    assert (rows["registered_models"], rows["model_versions"], rows["alembic_version"]) == (1, 0, 1)
    assert len(rows) == 16
    assert all(part.rows <= 300 for table in export.tables for part in table.parts)
    assert len(export.table("metrics").parts) == -(-POINTS // 300)
    ends = {("exporting", export.rows), ("checking", sum(part.rows for part in export.parts))}
    assert {(moved.stage, moved.done) for moved in seen} >= ends
    assert export == read_export(uri, FileObjects())


def test_exported_parts_are_plain_parquet(store: str, uri: str, tmp_path: Path) -> None:
    """Any tool can read an export that is found years later."""
    export = export_store(store, uri, FileObjects())
    (part,) = export.table("params").parts
    table = pq.read_table(tmp_path / "export" / part.name)
    assert table.column_names == ["key", "value", "run_uuid"]
    assert table.num_rows == 24


@pytest.mark.parametrize("stop_before", range(0, 12, 2))
def test_killed_export_is_not_there_and_goes_on_where_it_was(store: str, uri: str, stop_before: int) -> None:
    """No reader takes half an export; the next call writes only what was missing, and ends as if never killed."""
    killed = CountedObjects(stop_before)
    with pytest.raises(Killed):
        export_store(store, uri, killed, part_rows=500)
    with pytest.raises(BadSetup, match="no finished export"):
        open_export(uri, FileObjects())
    resumed = CountedObjects()
    export = export_store(store, uri, resumed, part_rows=500)
    assert not set(killed.written) & set(resumed.written)
    assert resumed.written[-1] == MARKER
    assert len(killed.written) + len(resumed.written) == 1 + len(export.parts)


def test_second_export_of_the_same_store_writes_nothing(store: str, uri: str) -> None:
    """It says what the first one said."""
    first = export_store(store, uri, FileObjects())
    again = CountedObjects()
    assert export_store(store, uri, again) == first
    assert again.written == []


def test_changed_store_is_exported_anew(store: str, uri: str) -> None:
    """The parts that changed are replaced, and nothing of the old ones is left behind."""
    first = export_store(store, uri, FileObjects())
    change(store, "UPDATE metrics SET value = value + 1 WHERE run_uuid = ? AND key = 'loss' AND step = 2", "b" * 32)
    again = CountedObjects()
    second = export_store(store, uri, again)
    assert len(again.written) == 2
    assert first.table("metrics").digest != second.table("metrics").digest
    assert first.table("params").digest == second.table("params").digest
    assert len(FileObjects().list(f"{uri}/tables/")) == sum(len(table.parts) for table in second.tables)


def test_damage_to_an_export_is_found(store: str, uri: str) -> None:
    """A changed value, a cut file and a lost one: each names its part, and is never restored."""
    objects = FileObjects()
    export = export_store(store, uri, objects)
    part = export.table("metrics").parts[0]
    where = f"{uri}/{part.name}"
    data, _ = objects.read(where)
    rows = list(read_rows(data, where))
    value = export.table("metrics").columns.index("value")
    flipped = [(*rows[0][:value], rows[0][value] + 2**-40, *rows[0][value + 1 :]), *rows[1:]]
    for damaged in (to_parquet(export.table("metrics").columns, flipped), data[: len(data) // 2]):
        objects.write(where, damaged, if_generation=ANY)
        with pytest.raises(BadRecord, match=r"tables/metrics/000000.*\.parquet"):
            check_export(export, uri, objects)
        with pytest.raises(BadRecord):
            restore_store(uri, objects, store + ".new")
    objects.delete(where, if_generation=ANY)
    with pytest.raises(BadRecord, match="this part of the export is missing: export again"):
        check_export(export, uri, objects)
    with pytest.raises(BadSetup, match="is not whole"):
        list(open_export(uri, objects).read_runs(["a" * 32]))
    again = export_store(store, uri, objects)
    assert [table.digest for table in again.tables] == [table.digest for table in export.tables]
    check_export(read_export(uri, objects), uri, objects)


def test_restored_sqlite_store_is_the_exported_one(store: str, uri: str, tmp_path: Path) -> None:
    """Schema, rows and digests are the same, whatever became of the source."""
    export_store(store, uri, FileObjects(), part_rows=300)
    expected = source_digests(open_store(store))
    old, new = Path(store.removeprefix("sqlite:///")), tmp_path / "new.db"
    schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
    with sqlite3.connect(old) as connection:
        statements = connection.execute(schema).fetchall()
    connection.close()
    old.unlink()
    restore_store(uri, FileObjects(), f"sqlite:///{new}")
    assert source_digests(open_store(f"sqlite:///{new}")) == expected
    with sqlite3.connect(new) as connection:
        assert connection.execute(schema).fetchall() == statements
    connection.close()


def test_restore_never_mixes_or_overwrites(store: str, uri: str, postgres: Postgres) -> None:
    """A database with something else in it, or of another kind, is refused and stays as it is."""
    export_store(store, uri, FileObjects())
    assert restore_store(uri, FileObjects(), store)[1] is False
    change(store, "UPDATE params SET value = 'x' WHERE run_uuid = ? AND key = 'optimizer'", "a" * 32)
    with pytest.raises(BadRequest, match=r"neither an empty database nor exactly this export.* table params must have"):
        restore_store(uri, FileObjects(), store)
    change(store, "CREATE TABLE another (a)")
    with pytest.raises(BadRequest, match="it has 17 tables; the export 16"):
        restore_store(uri, FileObjects(), store)
    with pytest.raises(
        BadRequest, match=r"export of sqlite can only be restored into sqlite.* names a postgresql database"
    ):
        restore_store(uri, FileObjects(), postgres.url("postgres"))
    with pytest.raises(NotFound, match="no finished export"):
        restore_store(uri + "-none", FileObjects(), store + ".new")


def test_difference_between_export_and_store_is_found(store: str, uri: str) -> None:
    """What is compared after a restore would notice a flipped bit, a lost row and one too many."""
    export = export_store(store, uri, FileObjects())
    compare_store(export, store)
    change(store, "UPDATE metrics SET value = 7 WHERE run_uuid = ? AND key = 'loss' AND step = 1", "c" * 32)
    change(store, "DELETE FROM params WHERE key = 'optimizer' AND run_uuid = ?", "a" * 32)
    change(store, "INSERT INTO tags VALUES ('z', 'z', ?)", "f" * 32)
    with pytest.raises(BadRecord) as raised:
        compare_store(export, store)
    assert [problem.split()[1] for problem in raised.value.problems] == ["metrics", "params", "tags"]


def test_restored_postgres_store_is_the_exported_one(postgres: Postgres, tmp_path: Path) -> None:
    """The legacy database comes back with the same rows, constraints, indexes and sequences, and can be written to."""
    names = [postgres.make_database() for _ in range(2)]
    old, new = (postgres.url(name) for name in names)
    restore(postgres, names[0], find_fixture())
    uri = (tmp_path / "export").as_uri()
    export_store(old, uri, FileObjects(), part_rows=20_000)
    restore_store(uri, FileObjects(), new)
    assert source_digests(open_store(new)) == source_digests(open_store(old))
    catalogs = [read_catalog(url) for url in (old, new)]
    assert catalogs[0] == catalogs[1]
    assert len(catalogs[0]["indexes"]) > 16
    with psycopg.connect(to_libpq(new)) as connection:
        insert = "INSERT INTO experiments (name, lifecycle_stage) VALUES ('another', 'active') RETURNING experiment_id"
        (number,) = connection.execute(insert).fetchone() or (0,)
        taken = connection.execute("SELECT max(experiment_id) FROM experiments WHERE name <> 'another'").fetchone()
    assert (number,) > (taken or (0,))


def read_catalog(url: str) -> dict[str, list[Any]]:
    """What pg_dump would take from the catalog, read another way."""
    queries = {
        "columns": "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
        "sequences": "SELECT * FROM pg_sequences WHERE schemaname = 'public' ORDER BY 2",
    }
    with psycopg.connect(to_libpq(url)) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def test_every_kind_of_column_survives(postgres: Postgres, tmp_path: Path) -> None:
    """Types that MLflow 3 or someone else may have: identity, generated, json, numeric, arrays, binary, times."""
    names = [postgres.make_database() for _ in range(2)]
    old, new = (postgres.url(name) for name in names)
    for statement in (
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('f4a9b2c7d1e6')",
        'CREATE TABLE "odd ""name" (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, "a column" text, '
        "twice bigint GENERATED ALWAYS AS (id * 2) STORED, document json, amount numeric, list int[], "
        "raw bytea, at timestamptz, small real, flag boolean, is_ok boolean DEFAULT true NOT NULL)",
        """INSERT INTO "odd ""name" ("a column", document, amount, list, raw, at, small, flag) VALUES
            (E'tab\\t\\\\N, "x"', '{"b": 1,  "a": [null]}', 1e40, '{1,NULL,3}', '\\x00ff', '2026-01-01', 0.1, NULL),
            ('', NULL, 'NaN', '{}', '', '-infinity', 'Infinity', true)""",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'kept as it is'; END$$",
        'CREATE TRIGGER guard BEFORE UPDATE ON "odd ""name" FOR EACH ROW EXECUTE FUNCTION refuse()',
        "CREATE VIEW seen AS SELECT version_num FROM alembic_version",
    ):
        postgres.execute(statement, database=names[0])
    uri = (tmp_path / "export").as_uri()
    export = export_store(old, uri, FileObjects())
    assert {table.name for table in export.tables} == {"alembic_version", 'odd "name'}
    restore_store(uri, FileObjects(), new)
    rows = [read_catalog(url) for url in (old, new)]
    for column in ("columns", "constraints", "indexes", "sequences"):
        known = [[row for row in catalog[column] if "seen" not in row] for catalog in rows]
        assert known[0] == known[1]
    with psycopg.connect(to_libpq(new)) as connection:
        found = connection.execute('SELECT id, twice, "a column", list, raw FROM "odd ""name" ORDER BY id').fetchall()
        (number,) = connection.execute('INSERT INTO "odd ""name" DEFAULT VALUES RETURNING id').fetchone() or (0,)
        with pytest.raises(psycopg.errors.RaiseException, match="kept as it is"):
            connection.execute('UPDATE "odd ""name" SET flag = true')
    assert export.schema.left_out == ["view or partition seen"]
    assert found == [(1, 2, 'tab\t\\N, "x"', [1, None, 3], b"\x00\xff"), (2, 4, "", [], b"")]
    assert number == 3


def test_rows_of_mixed_types_come_back_as_they_were() -> None:
    """SQLite's columns hold what they are given."""
    rows = [(1, None, "text", 0.1), (2**63 - 1, b"\x00", 5, -0.0), ("three", None, None, float("inf"))]
    found = list(read_rows(to_parquet(["a", "b", "c", "d"], rows), "a test"))
    assert to_digest(found) == to_digest(rows)
    assert [[type(value) for value in row] for row in found] == [[type(value) for value in row] for row in rows]


def test_large_tables_are_read_some_runs_at_a_time(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is the same as in one piece, so that a run's rows are together either way."""
    monkeypatch.setattr("switchyard.clients.mlflow.export.tables.LARGE", 700)
    name = postgres.make_database()
    find_fixture()
    restore(postgres, name, find_fixture().with_name("empty292.sql.gz"))
    with psycopg.connect(to_libpq(postgres.url(name))) as connection:
        add_runs(connection, [*RUNS, make_run({"long": make_series([1.0] * 900)}, run_id="0" * 32)])
        add_point(connection, "a" * 32, "again", -5, 1, 2.0)
    grouped = export_store(postgres.url(name), (tmp_path / "grouped").as_uri(), FileObjects(), part_rows=250)
    monkeypatch.setattr("switchyard.clients.mlflow.export.tables.LARGE", 10**9)
    whole = export_store(postgres.url(name), (tmp_path / "whole").as_uri(), FileObjects(), part_rows=250)
    assert grouped.table("metrics").digest == whole.table("metrics").digest
