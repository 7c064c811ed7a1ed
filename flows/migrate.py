"""Bring the results database to this version's schema. The one flow that Prefect need not run: it must work first."""

from tasks.migrate import migrate_results


def migrate() -> dict[str, str]:
    """Migrates under a lock; a second call changes nothing."""
    return {"results": migrate_results()}
