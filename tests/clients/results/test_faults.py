"""The database is locked, away, full, or not what it should be: what the caller is told, and that it works after."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from switchyard.clients.results import engine as results_engine
from switchyard.clients.results.engine import Database
from switchyard.clients.results.open import open_results
from switchyard.core.errors import BadSetup, TryAgain
from switchyard.core.runs.rows import NewRun
from tests.clients.results.places import NOW, Place, Places, publication, run_sql
from tests.postgres import Postgres


@pytest.fixture
def file_place(places: Places, tmp_path: Path) -> Place:
    return places.make("sqlite", tmp_path)


def hold_lock(path: str) -> sqlite3.Connection:
    """Holds another program's write transaction on the file."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_write_waits_for_another_writer(file_place: Place) -> None:
    """A lock that is released in time costs no one an error; reading needs no lock at all."""
    run = file_place.add_run()
    other = hold_lock(file_place.url.removeprefix("sqlite:///"))
    release = threading.Timer(0.3, other.close)
    release.start()
    assert file_place.histories.read_history(run).history_json is None
    assert file_place.histories.publish(publication(run), now=NOW) == "published"
    release.join()


def test_lock_that_is_not_released_is_to_try_again(file_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout, and the next try works."""
    monkeypatch.setattr(results_engine, "LOCK_TIMEOUT_S", 0.05)
    results = file_place.open()  # its connections are made with the short timeout
    other = hold_lock(file_place.url.removeprefix("sqlite:///"))
    with pytest.raises(TryAgain, match="locked"):
        results.runs.create_run(NewRun(request_key="r"), now=NOW)
    other.close()
    assert results.runs.create_run(NewRun(request_key="r"), now=NOW).status == "pending"


def test_row_that_another_transaction_holds_is_to_try_again(places: Places, tmp_path: Path) -> None:
    """An application may hold its row for long; no one waits for ever."""
    place = places.make("postgres with a jsonb table", tmp_path)
    run = place.add_run()
    holder = Database(place.url)
    results = open_results(place.url + "&options=-c%20lock_timeout%3D50ms", place.table)
    with holder.writing() as connection:
        connection.exec_driver_sql(f"SELECT id FROM {place.table} FOR UPDATE")
        with pytest.raises(TryAgain, match="lock timeout"):
            results.histories.publish(publication(run), now=NOW)
    assert results.histories.publish(publication(run), now=NOW) == "published"
    holder.close()


def test_every_wait_in_postgres_has_a_limit(postgres: Postgres) -> None:
    """Ours, unless the URL says another one."""
    database = Database(postgres.url("postgres") + "&options=-c%20statement_timeout%3D5s")
    with database.writing() as connection:
        limits = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        }
    assert limits == {
        "lock_timeout": "10s",
        "statement_timeout": "5s",
        "idle_in_transaction_session_timeout": "1min",
    }


def test_full_disk_is_to_try_again_and_says_where(file_place: Place) -> None:
    """The page limit stands for the disk's: SQLite gives the same error. Nothing is half written."""
    run = file_place.add_run()
    results = file_place.open()
    pages = file_place.sql("PRAGMA page_count")[0][0]
    with results.database.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(TryAgain, match=r"free space.*") as caught:
        results.histories.publish(publication(run, params={"note": "x" * 1_000_000}), now=NOW)
    assert "results.db" in str(caught.value)
    assert file_place.histories.read_history(run).history_json is None
    assert file_place.histories.publish(publication(run), now=NOW) == "published"


def test_postgres_that_was_stopped_is_to_try_again(places: Places, tmp_path: Path, postgres: Postgres) -> None:
    """Every method says so while it is away, and works at its first call when it is back."""
    place = places.make("postgres", tmp_path)
    run = place.add_run()
    results = place.ports
    results.histories.publish(publication(run), now=NOW)
    before = results.histories.read_history(run)
    postgres.stop()
    try:
        calls: list[Callable[[], object]] = [
            lambda: results.histories.read_history(run),
            lambda: results.runs.list_runs(limit=1),
            lambda: results.histories.publish(publication(run), now=NOW),
            lambda: results.runs.create_run(NewRun(request_key="r"), now=NOW),
        ]
        for ask in calls:
            with pytest.raises(TryAgain, match="results database postgresql"):
                ask()
        late = open_results(place.url)  # a server of pages may start while the database is away
    finally:
        postgres.start()
    assert results.histories.read_history(run) == before
    assert late.histories.read_history(run) == before
    assert results.histories.publish(publication(run), now=NOW) == "unchanged"


@pytest.mark.parametrize("ask", ["read_history", "list_runs", "publish"])
def test_restart_between_two_calls_goes_unnoticed(places: Places, tmp_path: Path, postgres: Postgres, ask: str) -> None:
    """The pool's connections are all dead then."""
    place = places.make("postgres", tmp_path)
    run = place.add_run()
    calls: dict[str, Callable[[], object]] = {
        "read_history": lambda: place.histories.read_history(run),
        "list_runs": lambda: place.runs.list_runs(limit=1),
        "publish": lambda: place.histories.publish(publication(run), now=NOW),
    }
    calls[ask]()
    postgres.stop()
    postgres.start()
    calls[ask]()


@pytest.mark.parametrize("server", ["localhost:1", "127.0.0.1:1"])
def test_refused_connection_is_to_try_again_without_a_password(server: str) -> None:
    """Neither the message nor the repr shows it, wherever the URL has it."""
    for url in (
        f"postgresql+psycopg://user:hush@{server}/db",
        f"postgresql+psycopg://user@{server}/db?password=hush",
    ):
        results = open_results(url)
        with pytest.raises(TryAgain, match="no connection") as caught:
            results.runs.list_runs(limit=1)
        assert "hush" not in str(caught.value) + repr(results)


@pytest.mark.parametrize("password", ["hush@hush2", "a@b:hush2"])
def test_a_part_of_a_password_is_not_shown_as_the_host(password: str) -> None:
    """An @ that is not escaped ends the password for the parser, and what follows would be the host."""
    with pytest.raises(BadSetup, match=r"^RESULTS_URL ") as caught:
        open_results(f"postgresql+psycopg://user:{password}@h.invalid/db")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["database=nobody", "user=nobody"])
def test_unknown_database_or_user_is_a_matter_of_setup(postgres: Postgres, wrong: str) -> None:
    """Trying again does not help; the error says which of the two is wrong."""
    url = postgres.url("postgres")
    name, _, value = wrong.partition("=")
    bad = url.replace("postgres:@", f"{value}:@") if name == "user" else postgres.url(value)
    with pytest.raises(BadSetup, match=r"nobody.*does not exist"):
        open_results(bad)


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """RESULTS_URL names something else."""
    path = tmp_path / "results.db"
    path.write_text("not a database, however long it is read" * 100)
    with pytest.raises(BadSetup, match="not a database"):
        open_results(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


def test_missing_file_of_an_application_is_not_made(tmp_path: Path) -> None:
    """With RESULTS_TABLE, only a migration makes anything, and the error names that."""
    with pytest.raises(BadSetup, match="switchyard migrate"):
        open_results(f"sqlite:///{tmp_path / 'none' / 'results.db'}", "quicktest")
    assert list(tmp_path.iterdir()) == []


def test_constraint_of_an_application_is_named(places: Places, tmp_path: Path) -> None:
    """Its table may not let a status in that ours has."""
    place = places.make("postgres with a jsonb table", tmp_path, fresh=True)
    run = place.add_run()
    place.sql(f"ALTER TABLE {place.table} ADD CHECK (status <> 'submitted')")
    with pytest.raises(BadSetup, match="constraint"):
        place.claim(run)
    assert place.jobs.read_job(run) is None


def test_many_threads_share_one_database(own_place: Place) -> None:
    """As a server of requests does: all of them read and write, none fails."""
    run = own_place.add_run()
    own_place.histories.publish(publication(run), now=NOW)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                assert own_place.histories.read_history(run).history_json
                own_place.runs.create_run(NewRun(request_key=f"{number}/{turn}"), now=NOW)
        except BaseException as err:  # noqa: BLE001  # a thread's error is the test's
            failures.append(err)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert own_place.sql("SELECT count(*) AS n FROM quick_tests")[0].n == 61
    assert run_sql(own_place.url, "SELECT 1")
