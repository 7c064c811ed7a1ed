"""Looks for what has changed in MLflow since it was read, and notes what came of it."""

from switchyard.core.backfill.following import Accept, Followed, Look, OtherStore, Seen, Unadopted
from switchyard.core.backfill.plan import How
from switchyard.core.errors import catch, to_message
from tasks.backfill import list_backfill
from tasks.following import look_at_mlflow, note_follow, replace_store


def look_for_changes(how: How, accept: Accept, *, dry_run: bool) -> Seen:
    """Returns all rows, those with a run that has changed since it was read, and why MLflow could not be asked.

    It writes nothing, except that another store is accepted.

    Raises:
        OtherStore: the settings name another MLflow than the one that was followed.
    """
    look = Look(how, accept)
    found = catch(lambda: look_at_mlflow(look))
    if isinstance(found, OtherStore):
        if not dry_run:
            note_seen(Seen(error=to_message(found)), how, failed=0, is_whole=False)
        raise found
    if isinstance(found, Exception):
        # Results that cannot be read are raised here: that is not MLflow's answer.
        return Seen(rows=list_backfill(), error=to_message(found))
    if found.identified.replaces and not dry_run:
        replace_store(look, found.identified)
    return found


def note_seen(seen: Seen, how: How, *, failed: int, is_whole: bool, unadopted: Unadopted | None = None) -> None:
    """Notes which runs are deleted in MLflow; if `is_whole`, also until when MLflow is followed.

    `is_whole`: everything that had to be done was tried. If MLflow could not be asked, it notes nothing.
    """
    if how.store and (seen.marks or seen.error or seen.doubt or unadopted is not None):
        note_follow(
            Followed(
                store=how.store,
                began_at=how.since,
                lifecycles=seen.lifecycles,
                identity=None if seen.error or seen.identified.is_noted else seen.identified.identity,
                failed=failed + (len(unadopted.why) if unadopted else 0),
                error=seen.error or seen.doubt,
                is_whole=is_whole,
                unadopted=unadopted,
            )
        )
