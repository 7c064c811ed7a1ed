"""Every caller gives up a silent Postgres, and no other."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from switchyard.clients.postgres.connection import BoundedConnection
from switchyard.clients.postgres.deadlines import waiting_at_most
from switchyard.clients.results import engine
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.core.errors import TryAgain
from tests.clients.results.places import NOW, to_settings
from tests.postgres import Postgres
from tests.silent_proxy import SilentProxy, silent_proxy


@pytest.fixture
def proxied(postgres: Postgres) -> Iterator[tuple[SilentProxy, str]]:
    """A fresh database behind a proxy, and its URL."""
    with silent_proxy(postgres.url(postgres.make_database())) as (proxy, url):
        yield proxy, url


def connect(url: str) -> BoundedConnection:
    return BoundedConnection.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))


def test_server_that_falls_silent_in_a_query_is_given_up(proxied: tuple[SilentProxy, str]) -> None:
    """After the connection's own time; it is closed, for what comes later would answer another question."""
    proxy, url = proxied
    with connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        proxy.silent.set()
        connection.silence_s = 0.3
        with pytest.raises(psycopg.OperationalError, match="no answer from the database server"):
            connection.execute("SELECT 2")
        assert connection.closed


def test_server_that_is_silent_from_the_start_is_given_up(proxied: tuple[SilentProxy, str]) -> None:
    """It ends at the caller's deadline, even if that is shorter than what libpq can be told."""
    proxy, url = proxied
    proxy.silent.set()
    with waiting_at_most(0.3), pytest.raises(psycopg.OperationalError, match="no answer from the database server"):
        connect(url)


def test_slow_answer_within_the_time_is_taken(proxied: tuple[SilentProxy, str]) -> None:
    """Several wake-ups later than asked; a notice on the way is an answer too."""
    _, url = proxied
    with connect(url) as connection, waiting_at_most(60):
        assert connection.execute("SELECT 3 FROM pg_sleep(0.5)").fetchone() == (3,)


def test_past_deadline_asks_nothing_more(proxied: tuple[SilentProxy, str]) -> None:
    """What is left of a request that has had its answer does not hold its thread any longer."""
    _, url = proxied
    with connect(url) as connection, waiting_at_most(0), pytest.raises(psycopg.OperationalError, match="no answer"):
        connection.execute("SELECT pg_sleep(60)")


def test_what_is_given_up_ends_at_the_server_too(proxied: tuple[SilentProxy, str]) -> None:
    """At once: it would hold a core and a connection of the server's for a minute."""
    _, url = proxied
    with connect(url) as watcher:
        with connect(url) as connection:
            pid = connection.info.backend_pid
            with waiting_at_most(0.3), pytest.raises(psycopg.OperationalError, match="no answer"):
                connection.execute("SELECT pg_sleep(60)")
            assert connection.closed
        ended = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        until = time.monotonic() + 30
        while watcher.execute(ended, [pid]).fetchone() != (0,):
            assert time.monotonic() < until, "the server still works on what no one waits for"
            watcher.commit()


def test_flows_give_a_silent_database_up_too(proxied: tuple[SilentProxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing, without a request's deadline, end in an error that a task tries again.

    The connection is replaced, and the database is used again when it answers."""
    proxy, url = proxied
    monkeypatch.setattr(BoundedConnection, "silence_s", 0.5)
    migrate(to_settings(url))
    results = open_results(url)
    try:
        assert results.runs.list_runs(limit=1) == []
        proxy.silent.set()
        for ask in (
            lambda: results.runs.list_runs(limit=1),
            lambda: results.histories.read_history(1),
            lambda: results.runs.record_error(1, "x"),
            lambda: results.ledger.list_unsettled(now=NOW, limit=1),
        ):
            with pytest.raises(TryAgain, match="no answer from the database server"):
                ask()
        proxy.silent.clear()
        assert results.runs.list_runs(limit=1) == []
    finally:
        results.close()


def test_statement_of_the_server_s_own_limit_is_not_cut_off() -> None:
    """The server says itself that a statement took too long, before it counts as silent."""
    assert "statement_timeout=60s" in engine._POSTGRES_OPTIONS
    assert BoundedConnection.silence_s > 60
