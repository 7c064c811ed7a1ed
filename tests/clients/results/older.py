"""Databases as older versions of the code made them: their schema, and rows as they wrote them."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import switchyard.clients.results.embedded as embedded
import switchyard.clients.results.migrations
from switchyard.clients.results.engine import make_engine_to_migrate
from switchyard.clients.results.tables import SCHEMA
from tests.clients.results.places import make_application_table

OLDER = sorted(path.name[:4] for path in embedded._VERSIONS.glob("0*.py") if path.name[:4] != SCHEMA)
"""The schemas that there were before this version's, the oldest first."""


def make_schema(url: str, version: str, *, table: str = "", history_type: str = "text") -> None:
    """The tables of `version`, in a database that has none; an application's table of runs too, where one is named."""
    engine, _ = make_engine_to_migrate(url)
    if table:
        make_application_table(url, table, history_type)
    config = Config()
    folder = str(Path(next(iter(switchyard.clients.results.migrations.__path__))))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes.update(connection=connection, results_table=table)
        command.upgrade(config, version)
    engine.dispose()
