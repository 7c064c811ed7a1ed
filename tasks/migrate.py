"""Migrates the results database's schema. Works without Prefect, because its import takes longer than the migration."""

from switchyard.clients.connect import connect
from switchyard.clients.results.migrate import migrate


def migrate_results() -> str:
    """Brings the schema to this version's; returns what was done."""
    return migrate(connect().settings)
