"""Looks for what has changed in MLflow since it was read, and notes what came of it."""

from switchyard.core.backfill.following import Followed, Look, Seen
from switchyard.core.backfill.plan import How
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.errors import catch, to_message
from tasks.following import look_at_mlflow, note_follow


def look_for_changes(rows: list[BackfillRow], how: How) -> Seen:
    """The rows whose run has changed since it was read; where MLflow could not be asked, why. Nothing is written."""
    if not how.store or not any(row.mlflow_run_id for row in rows):
        return Seen(rows=rows)
    found = catch(lambda: look_at_mlflow(Look(rows, how)))
    return Seen(rows=rows, error=to_message(found)) if isinstance(found, Exception) else found


def note_seen(seen: Seen, how: How, *, failed: int, is_whole: bool) -> None:
    """Notes which runs are deleted in MLflow, and until when it is followed, if `is_whole`: all that had to be done was
    tried. Where MLflow was not to be asked, nothing is noted."""
    if how.store and (seen.marks or seen.error):
        note_follow(
            Followed(
                store=how.store,
                began_at=how.since,
                lifecycles=seen.lifecycles,
                failed=failed,
                error=seen.error,
                is_whole=is_whole,
            )
        )
