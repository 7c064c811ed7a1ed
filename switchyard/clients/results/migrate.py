"""Brings the results database to this version's schema. Only this code changes a schema, and it never goes back."""

from contextlib import closing
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from switchyard.clients.results.embedded import (
    copy_alone,
    hold_file,
    is_outdated,
    read_file_version,
    refuse_without_file,
)
from switchyard.clients.results.engine import (
    find_file,
    make_engine_alone,
    make_engine_to_migrate,
    open_file,
    read_tables,
    read_version,
)
from switchyard.clients.results.errors import translated
from switchyard.clients.results.guards import find_unguarded, guard
from switchyard.clients.results.tables import OWN_RUNS, SCHEMA
from switchyard.clients.settings import Settings
from switchyard.core.errors import BadSetup

_LOCK: Final = 0x5357_4954_4348  # "SWITCH": the advisory lock's number, the same for all who migrate


def migrate(settings: Settings) -> str:
    """Makes or updates the tables; returns what was done. A second call, or one at the same time, changes nothing.

    An older SQLite database of our own is copied first. Triggers that a restore has lost are made again.

    Raises:
        BadSetup: a newer version made the schema, a table is in the way, or RESULTS_TABLE is wrong; or another process
            has an older SQLite database open; or its file is gone, and its log is there.
        TryAgain: the database is away, or locked for longer than its timeout; or the disk is full.
    """
    return bring_up_to_date(settings.results_url, settings.results_table) or _migrate_at(
        settings.results_url, settings.results_table
    )


def bring_up_to_date(url: str, table: str = "") -> str:
    """Makes or updates an SQLite database of our own; returns what was done, empty if nothing was to do.

    Others (Postgres, an application's table of runs) stay as they are.

    Raises: BadSetup, TryAgain: as `migrate`."""
    path, where = find_file(url)
    if path is not None:
        refuse_without_file(path, where)
    if path is None or table or not is_outdated(path):
        return ""
    with hold_file(path, where):
        if not is_outdated(path):  # another process did it meanwhile
            return ""
        return _migrate_alone(path, where) if read_file_version(path) else _migrate_at(url, table)


def _migrate_alone(path: Path, where: str) -> str:
    with closing(open_file(path, alone=True)) as file:
        copy = copy_alone(file, path, where)
        engine = make_engine_alone(file)
        with translated(where), engine.begin() as connection:
            done = _migrate(connection, "", where)
        return f"{done}; as it was before: {copy}"


def _migrate_at(url: str, table: str) -> str:
    engine, where = make_engine_to_migrate(url)
    try:
        with translated(where), engine.begin() as connection:
            return _migrate(connection, table, where)
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
    said = (
        f"{where} has schema {after} already" if before == after else f"{where}: schema {before or 'none'} -> {after}"
    )
    if unguarded := find_unguarded(connection):
        guard(connection, unguarded)
        said += f"; made these tables' triggers again, which were missing or switched off: {', '.join(unguarded)}"
    return said
