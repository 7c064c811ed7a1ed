"""Looks for what has changed in MLflow since it was read, and notes what came of it."""

from collections.abc import Sequence
from contextlib import closing

from switchyard.clients.connect import Outside
from switchyard.core.backfill.following import (
    Followed,
    Look,
    Seen,
    choose_changes,
    choose_lifecycles,
    list_candidates,
    list_doubtful,
    with_facts,
)
from switchyard.core.errors import NotFound
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.mlflow.raw_run import Keys, LostRun


def look_for_changes(outside: Outside, look: Look) -> Seen:
    """The rows whose run has changed since it was read, by marks that are taken now: before any point is read, so that
    a run that changes while it is read is found by the next look. Nothing is written; a second call looks again.

    Raises:
        TryAgain, BadSetup: MLflow or the results cannot be read.
    """
    rows, how = look.rows, look.how
    marks = _read_marks(outside)
    known = outside.followed.list_known()
    candidates = list_candidates(rows, marks, known)
    facts = outside.followed.read_facts(list(candidates)) if candidates else {}
    doubtful = list_doubtful(rows, marks, known, how.store)
    lost = _list_lost(outside, doubtful) if doubtful else []
    return Seen(
        rows=[with_facts(row, facts.get(row.id)) for row in rows],
        marks=marks,
        changes=choose_changes(rows, marks, known, facts, how),
        lifecycles=choose_lifecycles(rows, marks, known, lost, store=how.store, now=how.since),
    )


def note(outside: Outside, found: Followed) -> None:
    """Which runs are deleted in MLflow, or are there again; then, until when MLflow is followed. A second call writes
    the same."""
    if found.lifecycles:
        outside.followed.note_lifecycles(found.lifecycles)
    outside.followed.note_follow(
        found.store, began_at=found.began_at, failed=found.failed, error=found.error, is_whole=found.is_whole
    )


def _read_marks(outside: Outside) -> dict[str, RunMark]:
    """The marks of all runs of the MLflow that the settings name, by MLflow run id."""
    with closing(outside.tracking) as tracking:
        return {mark.run_id: mark for mark in tracking.read_marks()}


def _list_lost(outside: Outside, run_ids: Sequence[str]) -> list[str]:
    """Those of these runs that are nowhere in that MLflow when each is asked for by itself."""
    with closing(outside.tracking) as tracking:
        runs = tracking.read_runs(run_ids, keys=Keys())
        return [run.run_id for run in runs if isinstance(run, LostRun) and isinstance(run.error, NotFound)]
