"""An SQLite file of our own is made, or brought up to date, by the first process that opens it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import switchyard.clients.results.embedded as embedded
from switchyard.clients.results.engine import Database
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.clients.results.tables import SCHEMA, VERSION_TABLE
from switchyard.core.errors import BadSetup, TryAgain
from switchyard.core.runs.rows import NewRun
from tests.clients.results.older import OLDER, make_schema
from tests.clients.results.places import NOW, run_sql, to_settings
from tests.clients.results.process import open_processes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is to be; its folder is not there yet."""
    return tmp_path / "a new folder, 100% #1" / "results.db"


def to_url(path: Path) -> str:
    return f"sqlite:///{path}"


def make_older(path: Path, version: str) -> None:
    """A database as an older version made it, with one row."""
    make_schema(to_url(path), version)
    with closing(sqlite3.connect(path)) as file, file:
        columns = {row[1]: row for row in file.execute("PRAGMA table_info(quick_tests)")}
        needed = [name for name, row in columns.items() if row[3] and row[4] is None and not row[5]]
        names = ["request_key", *(name for name in needed if name != "request_key")]
        marks = ", ".join("?" * len(names))
        file.execute(
            f"INSERT INTO quick_tests ({', '.join(names)}) VALUES ({marks})",
            ["old", *("completed" if name == "status" else "{}" for name in names[1:])],
        )


def read_version(path: Path) -> str:
    return str(run_sql(to_url(path), f"SELECT version_num FROM {VERSION_TABLE}")[0][0])


def test_a_missing_file_is_made(path: Path) -> None:
    """No migration before it; what is written is found again by the next one who opens it."""
    run = open_results(to_url(path)).runs.create_run(NewRun(request_key="first"), now=NOW)
    assert open_results(to_url(path)).runs.read_run(run.id) == run
    assert not list(path.parent.glob("*.schema-*"))


@pytest.mark.parametrize("kept", [("-wal", "-shm"), ("-wal",), ("-shm",), ("-journal",)])
@pytest.mark.parametrize("opened", [open_results, lambda url: migrate(to_settings(url))])
def test_a_file_that_is_gone_is_not_made_anew_beside_its_log(
    path: Path, kept: tuple[str, ...], opened: Callable[[str], object]
) -> None:
    """Where it was, what is left of it, and what to do; what is left stays as it is, and without it one is made."""
    path.parent.mkdir()
    left = [path.with_name(path.name + end) for end in kept]
    for one in left:
        one.write_bytes(b"changes")
    path.with_name(f"{path.name}.schema-0003").touch()
    with pytest.raises(BadSetup, match=r"is gone: there is no such file.*results\.db-.*schema-0003.* rm ") as refused:
        opened(to_url(path))
    assert all(str(one) in str(refused.value) for one in left)
    assert not path.exists()
    assert all(one.read_bytes() == b"changes" for one in left)
    for one in left:
        one.unlink()
    opened(to_url(path))
    assert read_version(path) == SCHEMA


def test_a_file_that_was_emptied_is_not_filled_beside_its_log(path: Path) -> None:
    """SQLite would delete the log."""
    path.parent.mkdir()
    path.touch()
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(b"changes")
    with pytest.raises(BadSetup, match=r"is gone: the file is empty"):
        open_results(to_url(path))
    assert log.read_bytes() == b"changes"


def test_an_empty_file_is_filled(path: Path) -> None:
    """`touch`, or a process that was killed before its first write."""
    path.parent.mkdir()
    path.touch()
    assert open_results(to_url(path)).runs.list_runs(limit=1) == []


@pytest.mark.parametrize("version", OLDER)
def test_an_older_file_is_copied_and_brought_up_to_date(path: Path, version: str) -> None:
    """Its rows stay, and the copy is the database as it was."""
    make_older(path, version)
    open_results(to_url(path))
    assert read_version(path) == SCHEMA
    assert run_sql(to_url(path), "SELECT request_key FROM quick_tests") == [("old",)]
    copy = path.with_name(f"results.db.schema-{version}")
    assert read_version(copy) == version
    assert run_sql(to_url(copy), "SELECT request_key FROM quick_tests") == [("old",)]
    open_results(to_url(path)).runs.create_run(NewRun(request_key="new"), now=NOW)


@pytest.mark.parametrize("start", ["none", OLDER[0]])
def test_of_two_at_once_one_migrates_and_both_work(path: Path, start: str) -> None:
    """Four processes open it at the same time, and each writes a row."""
    if start != "none":
        make_older(path, start)
    with open_processes() as processes:
        answers = processes.run("open_first", *[{"url": to_url(path)}] * 4)
    assert answers == [(0, SCHEMA)] * 4
    assert read_version(path) == SCHEMA


def test_a_file_that_an_older_process_has_open_stays_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could write what the newer schema does not have: the error says what to stop, and a later try works."""
    make_older(path, OLDER[0])
    monkeypatch.setattr("switchyard.clients.results.engine.LOCK_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(path)) as older:
        older.execute("SELECT count(*) FROM quick_tests").fetchall()
        for ask in (lambda: open_results(to_url(path)), lambda: migrate(to_settings(to_url(path)))):
            with pytest.raises(BadSetup, match=r"another process has it open.*Stop it"):
                ask()
    assert read_version(path) == OLDER[0]
    open_results(to_url(path))
    assert read_version(path) == SCHEMA


def test_a_current_file_is_migrated_again_while_it_is_open(path: Path) -> None:
    """There is nothing to do, and no one needs to stop."""
    results = open_results(to_url(path))
    results.runs.list_runs(limit=1)
    assert "already" in migrate(to_settings(to_url(path)))


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy has no room: no half of a copy stays, and the error says what to do."""
    make_older(path, OLDER[0])
    connect = sqlite3.connect

    def connect_full(database: Path) -> sqlite3.Connection:
        target = connect(database)
        target.execute("PRAGMA max_page_count = 1")
        return target

    # SQLite's own answer to a full disk. A real one takes a mount of the test's own, and root.
    monkeypatch.setattr(embedded, "_open_copy", connect_full)
    with pytest.raises(TryAgain, match=r"disk is full.*Free space"):
        open_results(to_url(path))
    assert read_version(path) == OLDER[0]
    assert not list(path.parent.glob("*.schema-*"))


def test_a_folder_that_cannot_be_written_is_named(path: Path) -> None:
    """As on read-only media: what cannot be locked is not touched."""
    make_older(path, OLDER[0])
    path.with_name("results.db.lock").mkdir()
    with pytest.raises(BadSetup, match=r"folder cannot be written.*name it in RESULTS_URL"):
        open_results(to_url(path))
    assert read_version(path) == OLDER[0]


def test_tables_of_others_are_left_to_a_person(path: Path) -> None:
    """A file with tables and none of ours is an application's: only `switchyard migrate` adds ours."""
    path.parent.mkdir()
    run_sql(to_url(path), "CREATE TABLE orders (id integer)")
    with pytest.raises(BadSetup, match="switchyard migrate"):
        open_results(to_url(path))


def test_a_newer_file_is_refused(path: Path) -> None:
    """There is no way back."""
    open_results(to_url(path)).close()
    run_sql(to_url(path), f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(BadSetup, match="found 9999"):
        open_results(to_url(path))


def test_an_application_s_table_is_left_to_a_person(path: Path) -> None:
    """RESULTS_TABLE is set: an older schema there names the command."""
    make_older(path, OLDER[0])
    with pytest.raises(BadSetup, match="switchyard migrate"):
        Database(to_url(path)).check()
    with pytest.raises(BadSetup, match="switchyard migrate"):
        open_results(to_url(path), "quick_tests")
    assert read_version(path) == OLDER[0]
