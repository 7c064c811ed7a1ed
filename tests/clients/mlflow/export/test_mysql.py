"""Exports of a store on a real MariaDB, and what is restored from them. `make test-mlflow` runs this."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.mlflow.export import tables as any_tables
from switchyard.clients.mlflow.export.mysql_restore import UNFINISHED
from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.restore import compare_store, restore_store
from switchyard.clients.mlflow.export.writer import export_store, read_export
from switchyard.clients.mlflow.registry_sources import DatabaseSource, ExportSource
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.objects.files import FileObjects
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, TryAgain
from switchyard.core.mlflow.export import MARKER, Moved
from switchyard.core.mlflow.raw_run import RawRun, to_source_digest
from switchyard.core.ports import Tracking
from tests.clients.mlflow.stores import add_point, add_runs, make_mysql, make_sqlite
from tests.core.mlflow.factories import make_run, make_series
from tests.mariadb import MariaDB

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow]

RUNS = [make_run(run_id=letter * 32, epochs=4) for letter in "abcd"]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return (tmp_path / "export").as_uri()


@pytest.fixture
def database(mariadb: MariaDB) -> str:
    """A store with runs and a model; its name."""
    name = make_mysql(mariadb)
    fill(mariadb, name, RUNS)
    columns = "name, version, creation_time, last_updated_time, description, user_id, current_stage, source"
    mariadb.execute(
        "INSERT INTO registered_models (name, creation_time, description) VALUES ('shop', 5, 'Ünï 训练 🚀')",
        f"INSERT INTO model_versions ({columns}) VALUES ('shop', 3, 1, 2, 'a text', 'user', 'Production', 'gs://b/m')",
        "INSERT INTO registered_model_aliases (name, alias, version) VALUES ('shop', 'champion', 3)",
        "INSERT INTO model_version_tags (name, version, `key`, value) VALUES ('shop', 3, 'team', 'a')",
        database=name,
    )
    return name


def fill(mariadb: MariaDB, name: str, runs: list[RawRun]) -> None:
    with closing(mariadb.connect(name)) as connection, connection.cursor() as cursor:
        add_runs(cursor, runs)
        connection.commit()


def digests(store: Tracking) -> dict[str, str]:
    with closing(store):
        found = list(store.read_runs([run.run_id for run in store.list_runs()]))
    return {run.info.run_id: to_source_digest(run) for run in found if isinstance(run, RawRun)}


def at(stage: str, act: Callable[[], None]) -> Any:
    """Acts once, at the first part of that stage."""
    acts = [act]

    def watch(moved: Moved) -> None:
        if moved.stage == stage and acts:
            acts.pop()()

    return watch


def test_restored_store_is_the_exported_one(mariadb: MariaDB, database: str, uri: str) -> None:
    """The same rows, tables, keys and next numbers, table by table; and it can be written to."""
    old, new = database, mariadb.make_database("CHARACTER SET latin1")
    export = export_store(mariadb.url(old), uri, FileObjects(), part_rows=300)
    assert (export.dialect, export.schema.left_out) == ("mysql", [])
    assert restore_store(uri, FileObjects(), mariadb.url(new))[1] is True
    assert restore_store(uri, FileObjects(), mariadb.url(new))[1] is False
    expected = digests(open_store(mariadb.url(old)))
    assert len(expected) == len(RUNS)
    assert digests(open_store(mariadb.url(new))) == expected
    assert digests(open_export(uri, FileObjects())) == expected
    for (table,) in mariadb.read("SHOW TABLES", database=old):
        assert mariadb.read(f"SHOW CREATE TABLE {table}", database=old) == mariadb.read(
            f"SHOW CREATE TABLE {table}", database=new
        )
    ((before,),) = mariadb.read("SELECT max(experiment_id) FROM experiments", database=new)
    mariadb.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES ('another', 'active')", database=new)
    ((after,),) = mariadb.read("SELECT max(experiment_id) FROM experiments", database=new)
    assert after > before
    assert mariadb.read("SELECT @@character_set_database", database=new) == [("utf8mb4",)]


def test_export_of_an_unchanged_store_writes_nothing(mariadb: MariaDB, database: str, uri: str) -> None:
    """Rows come in the same order each time."""
    written: list[int] = []
    for _ in range(2):
        export_store(
            mariadb.url(database), uri, FileObjects(), part_rows=300, watch=lambda moved: written.append(moved.written)
        )
        last = written[-1]
    assert max(written) > 5
    assert last == 0


def test_every_kind_of_column_survives(mariadb: MariaDB, uri: str) -> None:
    """Types that MLflow 3 or someone else may have, a trigger, and names of any letters."""
    old, new = mariadb.make_database(), mariadb.make_database()
    columns = (
        "id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, `a ``column` TEXT, twice BIGINT AS (LENGTH(raw)) STORED, "
        "document JSON, amount DECIMAL(50, 10), raw LONGBLOB, at DATETIME(6), stamp TIMESTAMP NULL, day DATE, "
        "small FLOAT, large DOUBLE, flag BOOLEAN, bits BIT(9), kind ENUM('a', 'Ü'), old VARCHAR(9) CHARACTER SET latin1"
    )
    values = (
        "(18446744073709551615, 'tab\\t\\\\N, \"x\" %s', '{\"b\": 1,  \"a\": [null]}', 1e39, x'00ff27', "
        "'2026-01-01 00:00:00.000001', '2026-01-01 00:00:01', '0000-00-00', 0.1, 5e-324, NULL, b'100000001', 'Ü', 'é')"
    )
    names = "id, `a ``column`, document, amount, raw, at, stamp, day, small, large, flag, bits, kind, old"
    mariadb.execute(
        "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('f4a9b2c7d1e6')",
        f"CREATE TABLE `odd ``näme` ({columns})",
        f"INSERT INTO `odd ``näme` ({names}) VALUES {values}",
        "INSERT INTO `odd ``näme` (id, `a ``column`, raw) VALUES (0, '', '')",
        "CREATE TRIGGER guard BEFORE UPDATE ON `odd ``näme` FOR EACH ROW "
        "BEGIN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'kept as it is'; END",
        "CREATE VIEW seen AS SELECT version_num FROM alembic_version",
        database=old,
    )
    export = export_store(mariadb.url(old), uri, FileObjects())
    assert [table.name for table in export.tables] == ["alembic_version", "odd `näme"]
    assert export.schema.left_out == ["view or sequence seen"]
    assert restore_store(uri, FileObjects(), mariadb.url(new))[1] is True
    rows = [mariadb.read("SELECT *, small + 0e0 FROM `odd ``näme` ORDER BY id", database=name) for name in (old, new)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 2
    with pytest.raises(Exception, match="kept as it is"):
        mariadb.execute("UPDATE `odd ``näme` SET flag = true", database=new)


def test_reader_that_may_not_see_triggers_says_so(mariadb: MariaDB, database: str, uri: str) -> None:
    """The export names what it may lack."""
    mariadb.execute("CREATE USER exporter IDENTIFIED BY 'x'", f"GRANT SELECT ON {database}.* TO exporter")
    source = mariadb.url(database, user="exporter", password="x")
    (left,) = export_store(source, uri, FileObjects()).schema.left_out
    assert "GRANT TRIGGER" in left
    mariadb.execute(f"GRANT TRIGGER ON {database}.* TO exporter")
    assert export_store(source, uri, FileObjects()).schema.left_out == []


def test_large_tables_are_read_some_runs_at_a_time(
    mariadb: MariaDB, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is the same as in one piece, so that a run's rows are together either way."""
    fill(mariadb, database, [make_run({"long": make_series([1.0] * 900)}, run_id="0" * 32)])
    with closing(mariadb.connect(database)) as connection, connection.cursor() as cursor:
        add_point(cursor, "a" * 32, "again", -5, 1, 2.0)
        connection.commit()
    found = []
    for large in (700, 10**9):
        monkeypatch.setattr("switchyard.clients.mlflow.export.mysql_tables.LARGE", large)
        at_uri = (tmp_path / str(large)).as_uri()
        found.append(export_store(mariadb.url(database), at_uri, FileObjects(), part_rows=250).table("metrics").digest)
    assert found[0] == found[1]
    assert any_tables.LARGE == 200_000


def test_export_is_of_one_moment_and_a_lost_connection_is_tried_again(
    mariadb: MariaDB, database: str, uri: str
) -> None:
    """The server ends our connection in mid-export, and nothing is committed.

    The next try reads another snapshot, and what is logged meanwhile is not in it."""
    source = mariadb.url(database)

    def kill() -> None:
        for (number,) in mariadb.read("SELECT id FROM information_schema.processlist WHERE user = 'mlflow'"):
            mariadb.execute(f"KILL {number}")

    with pytest.raises(TryAgain, match="try again"):
        export_store(source, uri, FileObjects(), part_rows=300, watch=at("exporting", kill))
    assert not FileObjects().list(f"{uri}/{MARKER}")

    def log() -> None:
        mariadb.execute("UPDATE params SET value = 'too late'", database=database)
        fill(mariadb, database, [make_run(run_id="e" * 32)])

    export_store(source, uri, FileObjects(), part_rows=300, watch=at("exporting", log))
    found = open_export(uri, FileObjects())
    assert {run.run_id for run in found.list_runs()} == {run.info.run_id for run in RUNS}
    (run,) = found.read_runs(["a" * 32])
    assert isinstance(run, RawRun)
    assert run.params == RUNS[0].params
    with pytest.raises(BadRecord, match="table params must have"):
        compare_store(read_export(uri, FileObjects()), source)


def test_table_without_moments_is_refused(mariadb: MariaDB, database: str, uri: str) -> None:
    """MyISAM has no snapshots: its rows would be of several moments."""
    mariadb.execute("CREATE TABLE notes (id INT) ENGINE=MyISAM", database=database)
    with pytest.raises(BadSetup, match=r"table notes .* MyISAM.* ALTER TABLE `notes` ENGINE=InnoDB"):
        export_store(mariadb.url(database), uri, FileObjects())


def test_restore_that_was_killed_is_made_anew(mariadb: MariaDB, database: str, uri: str) -> None:
    """Some tables are there, and the mark beside them; the same call drops them, and ends as if nothing had been."""
    export_store(mariadb.url(database), uri, FileObjects(), part_rows=300)
    new = mariadb.make_database()

    def fail() -> None:
        raise TryAgain("the bucket is away")

    with pytest.raises(TryAgain, match="bucket"):
        restore_store(uri, FileObjects(), mariadb.url(new), watch=at("restoring", fail))
    assert (UNFINISHED,) in mariadb.read("SHOW TABLES", database=new)
    assert restore_store(uri, FileObjects(), mariadb.url(new))[1] is True
    assert (UNFINISHED,) not in mariadb.read("SHOW TABLES", database=new)
    assert digests(open_store(mariadb.url(new))) == digests(open_store(mariadb.url(database)))


def test_restore_never_mixes_or_overwrites(mariadb: MariaDB, database: str, uri: str, tmp_path: Path) -> None:
    """Not into another store, nor beside another table, nor from or into another kind of database, nor two at once."""
    export_store(mariadb.url(database), uri, FileObjects())
    changed = make_mysql(mariadb)
    with pytest.raises(BadRequest, match="is neither an empty database nor exactly this export"):
        restore_store(uri, FileObjects(), mariadb.url(changed))
    other = mariadb.make_database()
    mariadb.execute(f"CREATE TABLE {UNFINISHED} (id INT)", "CREATE TABLE theirs (id INT)", database=other)
    with pytest.raises(BadRequest, match="is neither an empty database nor exactly this export"):
        restore_store(uri, FileObjects(), mariadb.url(other))
    assert ("theirs",) in mariadb.read("SHOW TABLES", database=other)
    with pytest.raises(BadRequest, match="an export of mysql can only be restored into mysql"):
        restore_store(uri, FileObjects(), f"sqlite:///{tmp_path / 'new.db'}")
    small = (tmp_path / "small").as_uri()
    export_store(f"sqlite:///{make_sqlite(tmp_path / 'mlflow.db')}", small, FileObjects())
    empty = mariadb.make_database()
    with pytest.raises(BadRequest, match="an export of sqlite can only be restored into sqlite"):
        restore_store(small, FileObjects(), mariadb.url(empty))
    with closing(mariadb.connect(empty)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(CONCAT('switchyard ', MD5(DATABASE())), 0)")
        with pytest.raises(BadRequest, match=r"another restore into .* is under way"):
            restore_store(uri, FileObjects(), mariadb.url(empty))


def test_registry_is_read_from_the_database_and_its_export(mariadb: MariaDB, database: str, uri: str) -> None:
    """Models, versions, aliases and tags, as `import-models` takes them over."""
    export_store(mariadb.url(database), uri, FileObjects())
    (model,) = DatabaseSource(mariadb.url(database)).read_models()
    assert [model] == ExportSource(uri, FileObjects()).read_models()
    origin: Any = getattr(model, "origin", None)
    assert (origin.name, origin.description, origin.aliases) == ("shop", "Ünï 训练 🚀", {"champion": 3})
    (version,) = getattr(model, "versions", [])
    assert (version.number, version.stage, version.tags) == (3, "Production", {"team": "a"})
