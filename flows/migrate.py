"""Brings the results database to this version's schema. Prefect need not run this flow, because it must work first."""

from tasks.migrate import migrate_results


def migrate() -> dict[str, str]:
    """Migrates under a lock; a second call changes nothing."""
    return {"results": migrate_results()}
