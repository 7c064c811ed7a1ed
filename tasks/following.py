"""Follows MLflow: a task is one look at all of it, or all that came of that look."""

from switchyard.clients.connect import connect
from switchyard.core.backfill.following import Followed, Identified, Look, Seen
from switchyard.services import following
from tasks.policy import effect


def name_mlflow() -> str:
    """Names the MLflow of the settings, in words without a secret; empty: none. It is not a task: nothing is asked."""
    return connect().mlflow_name


@effect
def look_at_mlflow(look: Look) -> Seen:
    """Returns every row, and which of their runs have changed or are gone, by one look at the marks of all runs.

    It is one task, because each costs as much as asking for hundreds of runs.
    """
    return following.look_for_changes(connect(), look)


@effect
def replace_store(look: Look, identified: Identified) -> None:
    """Follows another store from now on under the name of the settings."""
    following.replace_store(connect(), look, identified)


@effect
def note_follow(found: Followed) -> None:
    """Notes which runs are deleted in MLflow, and until when it is followed."""
    following.note(connect(), found)
