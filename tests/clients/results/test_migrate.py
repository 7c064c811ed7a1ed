"""Migrations: what they make, what they leave alone, and who refuses a schema that does not fit."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event

import switchyard.clients.results.migrations
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.clients.results.tables import EXPRESSION_INDEXES, SCHEMA, VERSION_TABLE, to_tables
from switchyard.core.errors import BadSetup
from tests.clients.results.older import OLDER, make_schema
from tests.clients.results.places import make_application_table, run_sql, to_settings
from tests.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database; SQLite's folder is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a new folder, 100% #1' / 'results.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.make_database())


def test_newest_migration_is_the_one_that_the_code_fits() -> None:
    """A migration that is added without its number in the code would be refused by the code."""
    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(switchyard.clients.results.migrations.__path__)))))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA]


def test_migrations_make_the_tables_that_the_code_has(url: str) -> None:
    """Column by column, with their indexes and types."""
    migrate(to_settings(url))
    assert differences(url) == []


def test_migrations_make_the_indexes_over_expressions(url: str) -> None:
    """Those that a comparison with the code's tables leaves out."""
    migrate(to_settings(url))
    catalogue = "SELECT name FROM sqlite_master" if url.startswith("sqlite") else "SELECT indexname FROM pg_indexes"
    found = {name for (name,) in run_sql(url, catalogue)}
    assert set(EXPRESSION_INDEXES) <= found


def differences(url: str, table: str = "") -> list[Any]:
    """Between the database and the code's tables; an application's own is not ours."""
    engine = create_engine(url)

    def is_compared(_: Any, name: str | None, *_more: Any) -> bool:
        return name not in EXPRESSION_INDEXES

    options = {"version_table": VERSION_TABLE, "compare_type": True, "include_object": is_compared}
    try:
        with engine.connect() as connection, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index")
            context = MigrationContext.configure(connection, opts=options)
            found = compare_metadata(context, to_tables(table).metadata)
            return [one for one in found if not table or f"'{table}'" not in str(one)]
    finally:
        engine.dispose()


def test_second_migration_changes_nothing(url: str) -> None:
    """It says so, and the database keeps its id."""
    assert f"none -> {SCHEMA}" in migrate(to_settings(url))
    first = open_results(url).runs.read_database_id()
    assert "already" in migrate(to_settings(url))
    assert open_results(url).runs.read_database_id() == first


def test_postgres_without_a_schema_is_refused(postgres: Postgres) -> None:
    """Everything but the migration names the command."""
    with pytest.raises(BadSetup, match="switchyard migrate"):
        open_results(postgres.url(postgres.make_database()))


@pytest.mark.parametrize("found", ["0000", "9999"])
def test_other_schema_is_refused(url: str, found: str) -> None:
    """An older and a newer one; the error says which, and what to do in either case."""
    migrate(to_settings(url))
    run_sql(url, f"UPDATE {VERSION_TABLE} SET version_num = :found", found=found)
    with pytest.raises(BadSetup, match=rf"schema {SCHEMA}; found {found}.*switchyard migrate.*newer"):
        open_results(url)


def test_schema_of_a_newer_version_is_not_migrated(url: str) -> None:
    """There is no way back, and no guess."""
    migrate(to_settings(url))
    run_sql(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(BadSetup, match="9999"):
        migrate(to_settings(url))
    assert run_sql(url, f"SELECT version_num FROM {VERSION_TABLE}") == [("9999",)]


def test_mlflow_in_the_same_database_is_left_alone(url: str) -> None:
    """It has an alembic_version of its own."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    run_sql(url, "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
    run_sql(url, "INSERT INTO alembic_version VALUES ('acf3f17fdcc7')")
    migrate(to_settings(url))
    assert run_sql(url, "SELECT version_num FROM alembic_version") == [("acf3f17fdcc7",)]
    assert open_results(url).runs.list_runs(limit=1) == []


def test_table_of_an_application_is_used_in_place_of_ours(url: str) -> None:
    """No quick_tests is made then."""
    table = prepare_table(url)
    migrate(to_settings(url, table))
    assert open_results(url, table).runs.list_runs(limit=1) == []
    with pytest.raises(BadSetup, match="RESULTS_TABLE"):
        open_results(url)


def prepare_table(url: str, table: str = "quicktest") -> str:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    make_application_table(url, table, "text")
    return table


def test_table_that_is_not_there_is_refused_before_anything_is_made(url: str) -> None:
    """RESULTS_TABLE misspelt: the database stays as it was."""
    prepare_table(url)
    with pytest.raises(BadSetup, match="no table quicktets"):
        migrate(to_settings(url, "quicktets"))
    with pytest.raises(BadSetup, match="no schema"):
        open_results(url, "quicktest")


def test_quick_tests_of_somebody_else_is_not_taken(url: str) -> None:
    """A table of that name which we did not make is an application's: it must be named."""
    prepare_table(url, "quick_tests")
    with pytest.raises(BadSetup, match="RESULTS_TABLE=quick_tests"):
        migrate(to_settings(url))
    migrate(to_settings(url, "quick_tests"))
    assert open_results(url, "quick_tests").runs.list_runs(limit=1) == []


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetup, match="folder"):
        migrate(to_settings(f"sqlite:///{tmp_path / 'file' / 'results.db'}"))


PUBLISHED = {
    "quick_test_id": 1,
    "charted_digest": "sha256:a",
    "full_digest": "sha256:b",
    "series_digests": "{}",
    "etag": "sha256:c",
    "status": "completed",
    "rank_attempt": 1,
    "rank_restart": 0,
    "rank_epochs": 11,
    "rank_status": 2,
    "cached_at": "2026-01-15 10:30:00",
    "published_at": "2026-01-15 10:30:00",
}


@pytest.mark.parametrize("table", ["", "quicktest"])
@pytest.mark.parametrize("version", OLDER)
def test_every_older_schema_is_brought_up_to_date(url: str, version: str, table: str) -> None:
    """It has the newest one's tables then; what was published before has the first versions, and no series yet."""
    make_schema(url, version, table=table)
    names = ", ".join(PUBLISHED)
    run_sql(
        url,
        f"INSERT INTO switchyard_published ({names}) VALUES ({', '.join(map(repr, PUBLISHED.values()))})",
    )
    migrate(to_settings(url, table))
    assert differences(url, table) == []
    (row,) = run_sql(url, "SELECT * FROM switchyard_published")
    assert (row.digest_version, row.mapping_version, row.rules) == (1, 1, "")
    assert {name: str(value)[:19] for name, value in row._asdict().items() if name in PUBLISHED} == {
        name: str(value) for name, value in PUBLISHED.items()
    }
    for empty in ("series", "values"):
        assert run_sql(url, f"SELECT * FROM switchyard_{empty}") == []


OLD_RUN = {
    "status": "completed",
    "gcs_artifacts_path": "",
    "mlflow_run_id": "m" * 5_000,
    "display_name": "n" * 5_000,
    "mlflow_experiment_name": "e" * 5_000,
    "parameters": "{}",
    "request_key": "one",
    "error": "",
    "created_at": "2026-01-15 10:30:00",
    "training_history_json": None,
}


@pytest.mark.parametrize("version", OLDER)
def test_runs_of_every_older_schema_are_neither_archived_nor_have_notes(url: str, version: str) -> None:
    """They are listed as before; a long name is too much for none of the new indexes."""
    make_schema(url, version)
    marks = ", ".join(f":{name}" for name in OLD_RUN)
    run_sql(url, f"INSERT INTO quick_tests ({', '.join(OLD_RUN)}) VALUES ({marks})", **OLD_RUN)
    migrate(to_settings(url))
    (row,) = run_sql(url, "SELECT notes, archived_at FROM quick_tests")
    assert tuple(row) == (None, None)
    (run,) = open_results(url).runs.list_runs(limit=9)
    assert (run.status, len(run.display_name)) == ("completed", 5_000)


OLD_JOB = {
    "attempt": 1,
    "state": "succeeded",
    "job_name": "",
    "reason": "",
    "error": "",
    "log_uri": "",
    "image": "",
    "parameters": "{}",
    "claimed_at": "2026-01-15 10:30:00",
}


@pytest.mark.parametrize("version", [version for version in OLDER if version < "0008"])
def test_completions_that_were_told_before_are_owed_to_nobody(url: str, version: str) -> None:
    """An upgrade starts nothing for runs of before; of one whose end is still to be told, it is owed as ever."""
    make_schema(url, version)
    for key, ended in (("told", "2026-01-15 11:30:00"), ("owed", None)):
        row = {
            **OLD_JOB,
            "key": key,
            "request_key": key,
            "quick_test_id": len(key + str(ended)),
            "ended_event_at": ended,
        }
        marks = ", ".join(f":{name}" for name in row)
        run_sql(url, f"INSERT INTO switchyard_jobs ({', '.join(row)}) VALUES ({marks})", **row)
    migrate(to_settings(url))
    found = run_sql(url, "SELECT key, completed_event_at FROM switchyard_jobs ORDER BY key")
    assert [(row.key, str(row.completed_event_at)[:19]) for row in found] == [
        ("owed", "None"),
        ("told", "2026-01-15 11:30:00"),
    ]


def test_mlflow_runs_are_found_by_the_index(tmp_path: Path) -> None:
    """SQLite walks no row: the condition names the part of the table that the index is of."""
    url = f"sqlite:///{tmp_path / 'results.db'}"
    migrate(to_settings(url))
    asked: list[str] = []
    ports = open_results(url)
    event.listen(ports.database.reader, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert ports.runs.find_mlflow_runs(["a", "b"]) == {}
    plan = run_sql(url, "EXPLAIN QUERY PLAN " + asked[-1].replace("?, ?", "'a', 'b'"))
    assert any("quick_tests_mlflow_run_id" in row.detail for row in plan), plan
