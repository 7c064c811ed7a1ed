"""Brings the results database to this version's schema: the only code that changes a schema, and it never goes back."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from switchyard.clients.results.engine import make_engine_to_migrate, read_tables, read_version
from switchyard.clients.results.errors import translated
from switchyard.clients.results.tables import OWN_RUNS, SCHEMA
from switchyard.clients.settings import Settings
from switchyard.core.errors import BadSetup

_LOCK: Final = 0x5357_4954_4348  # "SWITCH": the advisory lock's number, the same for all who migrate


def migrate(settings: Settings) -> str:
    """Makes or updates the tables; says what was done. A second call, or one at the same time, changes nothing.

    Raises:
        BadSetup: a newer version made the schema, a table is in the way, or RESULTS_TABLE is not what it must be.
        TryAgain: the database is away, or locked for longer than its timeout.
    """
    engine, where = make_engine_to_migrate(settings.results_url)
    try:
        with translated(where), engine.begin() as connection:
            return _migrate(connection, settings.results_table, where)
    finally:
        engine.dispose()


def _migrate(connection: Connection, table: str, where: str) -> str:
    if connection.dialect.name != "sqlite":  # there BEGIN IMMEDIATE has taken the lock
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    before = read_version(connection)
    if table:
        read_tables(connection, table, where)
    elif before is None and inspect(connection).has_table(OWN_RUNS):
        raise BadSetup(
            f"{where} has a table {OWN_RUNS} that Switchyard did not make; if it holds your runs, "
            f"set RESULTS_TABLE={OWN_RUNS}, else name another database in RESULTS_URL"
        )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, results_table=table)
    try:
        command.upgrade(config, "head")
    except CommandError as err:
        raise BadSetup(
            f"{where} must have a schema up to {SCHEMA}; found {before}; use the version of Switchyard that made it"
        ) from err
    after = read_version(connection)
    if before == after:
        return f"{where} has schema {after} already"
    return f"{where}: schema {before or 'none'} -> {after}"
