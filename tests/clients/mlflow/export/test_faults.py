"""Exports that are killed, overtaken, or lose their database; restores that break off."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
import pytest

from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.restore import restore_store
from switchyard.clients.mlflow.export.writer import check_export, export_store, read_export
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadSetup, StaleWrite, TryAgain
from switchyard.core.mlflow.export import MARKER, Export, Moved
from switchyard.core.ports import ANY
from tests.clients.mlflow.stores import add_runs, find_fixture, make_sqlite, restore, to_libpq
from tests.core.mlflow.factories import make_run
from tests.postgres import Postgres

RUNS = [make_run(run_id=letter * 32, epochs=4) for letter in "abcd"]


@pytest.fixture
def database(postgres: Postgres) -> str:
    """An MLflow store's URL on Postgres, with RUNS."""
    name = postgres.make_database()
    restore(postgres, name, find_fixture().with_name("empty292.sql.gz"))
    with psycopg.connect(to_libpq(postgres.url(name))) as connection:
        add_runs(connection, RUNS)
    return postgres.url(name)


@pytest.fixture(params=["file", "gs"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to export to: each kind of place."""
    return (tmp_path / "export").as_uri() if request.param == "file" else str(request.getfixturevalue("gcs_root"))


def to_content(export: Export) -> object:
    """What an export says, without when it was written."""
    parts = [(part.name, part.rows, part.digest) for part in export.parts]
    return parts, export.schema, [(table.name, table.rows, table.digest) for table in export.tables]


def list_files(uri: str) -> set[str]:
    return {found.removeprefix(uri) for found in open_objects(uri).list(f"{uri}/")}


@pytest.mark.parametrize(("uri", "parts"), [("file", 5), ("gs", 5), ("file", 0)], indirect=["uri"])
def test_export_killed_with_sigkill_goes_on_where_it_was(database: str, uri: str, tmp_path: Path, parts: int) -> None:
    """Run again, it ends with the very files of one that was never interrupted, and leaves what was there."""
    command = [sys.executable, "-m", "tests.clients.mlflow.export.exports", database, uri, "200", str(parts)]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    objects = open_objects(uri)
    assert len(objects.list(f"{uri}/tables/")) == parts
    before = {found: objects.stat(found).generation for found in objects.list(f"{uri}/tables/")}
    assert f"/{MARKER}" not in list_files(uri)
    with pytest.raises(BadSetup, match="no finished export"):
        open_export(uri, objects)
    resumed = export_store(database, uri, objects, part_rows=200)
    whole_uri = (tmp_path / "whole").as_uri()
    whole = export_store(database, whole_uri, FileObjects(), part_rows=200)
    assert to_content(resumed) == to_content(whole)
    assert list_files(uri) == list_files(whole_uri)
    assert {found: objects.stat(found).generation for found in before} == before


def at(stage: str, act: Callable[[], object]) -> Callable[[Moved], None]:
    """Does `act` once, when the stage is reached."""
    acts = [act]

    def watch(moved: Moved) -> None:
        if moved.stage == stage and acts:
            acts.pop()()

    return watch


def test_lost_connection_is_tried_again_and_the_export_is_of_one_moment(
    database: str, postgres: Postgres, uri: str
) -> None:
    """The database ends our connection in mid-export, and nothing is committed.

    The next try reads a new snapshot, and nothing that was logged between the two is mixed in."""
    objects = open_objects(uri)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'switchyard'"
    with pytest.raises(TryAgain, match="try again"):
        export_store(database, uri, objects, part_rows=300, watch=at("exporting", lambda: postgres.execute(kill)))
    assert f"/{MARKER}" not in list_files(uri)
    with psycopg.connect(to_libpq(database)) as connection:
        connection.execute("UPDATE params SET value = 'another' WHERE run_uuid = %s", ("a" * 32,))
        add_runs(connection, [make_run(run_id="0" * 32, epochs=2)])

    def log() -> None:
        with psycopg.connect(to_libpq(database)) as connection:
            connection.execute("UPDATE params SET value = 'too late'")
            add_runs(connection, [make_run(run_id="e" * 32)])

    export = export_store(database, uri, objects, part_rows=300, watch=at("exporting", log))
    assert list_files(uri) == {f"/{MARKER}", *(f"/{part.name}" for part in export.parts)}
    tracking = open_export(uri, objects)
    assert {run.run_id for run in tracking.list_runs()} == {"0" * 32, *(run.info.run_id for run in RUNS)}
    (run,) = tracking.read_runs(["a" * 32])
    assert set(getattr(run, "params", {}).values()) == {"another"}


def test_slower_of_two_exports_to_one_place_fails(database: str, uri: str) -> None:
    """It must not name parts that the faster one has cleared away; what the faster one wrote stays whole."""
    objects = open_objects(uri)

    def overtake() -> None:
        with psycopg.connect(to_libpq(database)) as connection:
            connection.execute("UPDATE params SET value = 'newer'")
        export_store(database, uri, objects, part_rows=300)

    def watch(moved: Moved) -> None:
        if moved.stage == "checking" and moved.done == moved.rows:
            overtake()

    with pytest.raises(StaleWrite, match=r"another export to .* ended meanwhile"):
        export_store(database, uri, objects, part_rows=300, watch=watch)
    check_export(read_export(uri, objects), uri, objects)


def test_only_an_export_s_own_files_are_cleared_away(database: str, tmp_path: Path) -> None:
    """An export into a folder with something in it keeps that; parts of an earlier export are gone."""
    uri = (tmp_path / "export").as_uri()
    objects = FileObjects()
    stray = f"{uri}/tables/metrics/000099-0123456789abcdef.parquet"
    others = [f"{uri}/tables/metrics/mine.parquet", f"{uri}/artifacts/model.bin", f"{uri}/tables.txt"]
    for name in [stray, *others]:
        objects.write(name, b"x", if_generation=ANY)
    export_store(database, uri, objects)
    assert stray.removeprefix(uri) not in list_files(uri)
    assert {other.removeprefix(uri) for other in others} < list_files(uri)


def test_folder_with_another_marker_is_refused(database: str, tmp_path: Path) -> None:
    """A newer Switchyard's export, or someone else's file of that name, is not overwritten."""
    uri = (tmp_path / "export").as_uri()
    FileObjects().write(f"{uri}/{MARKER}", msgspec.json.encode({"format": 99}), if_generation=ANY)
    with pytest.raises(Exception, match="`format` must be 1; got 99; export to another place, or delete it"):
        export_store(database, uri, FileObjects())


def test_restore_that_breaks_off_leaves_an_empty_database(database: str, postgres: Postgres, tmp_path: Path) -> None:
    """All of it or nothing, on Postgres and in a file; the same call then succeeds, and once more finds it done."""
    small = f"sqlite:///{make_sqlite(tmp_path / 'mlflow.db')}"
    for store, new in (
        (database, postgres.url(postgres.make_database())),
        (small, f"sqlite:///{tmp_path / 'new.db'}"),
    ):
        uri = (tmp_path / new.rpartition("/")[2].partition("?")[0]).as_uri() + "-export"
        export_store(store, uri, FileObjects(), part_rows=300)

        def fail() -> None:
            raise TryAgain("the bucket is away")

        with pytest.raises(TryAgain):
            restore_store(uri, FileObjects(), new, watch=at("restoring", fail))
        assert restore_store(uri, FileObjects(), new)[1] is True
        assert restore_store(uri, FileObjects(), new)[1] is False
