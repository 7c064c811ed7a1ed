"""Looks for what has changed in MLflow since it was read, and notes what came of it."""

from collections.abc import Mapping, Sequence

import msgspec

from switchyard.core.backfill.following import (
    Changes,
    Lifecycle,
    choose_changes,
    choose_lifecycles,
    list_candidates,
    list_doubtful,
    with_facts,
)
from switchyard.core.backfill.plan import How
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.errors import catch, to_message
from switchyard.core.mlflow.marks import RunMark
from tasks.backfill import list_known, list_lost, note_follow, note_lifecycles, read_facts, read_marks


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at MLflow has found."""

    rows: list[BackfillRow]
    marks: Mapping[str, RunMark] = {}
    changes: Changes = Changes()
    lifecycles: Sequence[Lifecycle] = ()
    error: str = ""  # why nobody could look


def look_for_changes(rows: list[BackfillRow], how: How) -> Seen:
    """The rows whose run has changed since it was read, by marks that are taken now: before any point is read, so that
    a run that changes while it is read is found by the next look. Nothing is written."""
    if not how.store or not any(row.mlflow_run_id for row in rows):
        return Seen(rows=rows)
    found = catch(read_marks)
    if isinstance(found, Exception):
        return Seen(rows=rows, error=to_message(found))
    marks, known = found, list_known()
    candidates = list_candidates(rows, marks, known)
    facts = read_facts(list(candidates)) if candidates else {}
    doubtful = list_doubtful(rows, marks, known, how.store)
    lost = list_lost(doubtful) if doubtful else []
    return Seen(
        rows=[with_facts(row, facts.get(row.id)) for row in rows],
        marks=marks,
        changes=choose_changes(rows, marks, known, facts, how),
        lifecycles=choose_lifecycles(rows, marks, known, lost, store=how.store, now=how.since),
    )


def note_seen(seen: Seen, how: How, *, failed: int, is_whole: bool) -> None:
    """Notes which runs are deleted in MLflow, and until when it is followed, if `is_whole`: all that had to be done was
    tried. Where nobody was to look, nothing is noted."""
    if not how.store or not (seen.marks or seen.error):
        return
    if seen.lifecycles:
        note_lifecycles(seen.lifecycles)
    note_follow(how.store, how.since, failed, seen.error, is_whole)
