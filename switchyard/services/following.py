"""Looks for what has changed in MLflow since it was read, and notes the outcome."""

from collections.abc import Sequence
from contextlib import closing

from switchyard.clients.connect import Outside
from switchyard.core.backfill.following import (
    NOT_LISTED,
    Accept,
    Followed,
    Identified,
    Look,
    Seen,
    choose_changes,
    choose_lifecycles,
    count_unknown,
    find_doubt,
    identify_store,
    list_candidates,
    list_doubtful,
    with_facts,
)
from switchyard.core.errors import NotFound
from switchyard.core.mlflow.raw_run import Keys, LostRun
from switchyard.core.ports import Tracking


def look_for_changes(outside: Outside, look: Look) -> Seen:
    """Returns all rows, and those with runs that have changed since they were read. Writes nothing.

    Marks are taken now, before any point is read. So the next look finds a run that changes while it is read. A run
    that the store does not list is asked for by itself: it is gone, or it is read like one that has changed, which then
    fails with the reason. MLflow is not asked if none is followed, or no row names a run of it. A second call looks
    again.

    Raises:
        TryAgain, BadSetup: MLflow or the results cannot be read.
        OtherStore: this MLflow is not one that was followed.
    """
    how, rows = look.how, outside.ledger.list_backfill()
    if not how.store or not any(row.mlflow_run_id for row in rows):
        return Seen(rows=rows)
    with closing(outside.tracking) as tracking:
        identified = identify(outside, tracking, how.store, look.accept)
        marks = {mark.run_id: mark for mark in tracking.read_marks()}
        known = outside.followed.list_known()
        doubtful = list_doubtful(rows, marks, known, identified.names)
        lost, there = _ask(tracking, doubtful) if doubtful else ([], set())
    also = {row.id: NOT_LISTED for row in rows if row.mlflow_run_id in there}
    candidates = list_candidates(rows, marks, known) | also
    facts = outside.followed.read_facts(list(candidates)) if candidates else {}
    doubt = "" if look.accept.missing else find_doubt(rows, marks, known, identified.names, lost)
    return Seen(
        rows=[with_facts(row, facts.get(row.id)) for row in rows],
        marks=marks,
        changes=choose_changes(rows, marks, known, facts, how, also),
        lifecycles=choose_lifecycles(
            rows,
            marks,
            known,
            [] if doubt else lost,
            store=how.store,
            now=how.since,
            is_sure=look.accept.missing,
        ),
        identified=identified,
        unknown=count_unknown(rows, marks),
        doubt=doubt,
    )


def identify(outside: Outside, tracking: Tracking, store: str, accept: Accept) -> Identified:
    """Returns which of the followed stores `tracking` reads. Writes nothing; a second call asks again.

    Raises:
        OtherStore: it is none of them, and the command does not say that this is right.
    """
    recorded = outside.followed.list_identities()
    followed: list[str] = []
    if store not in recorded:  # only then is it asked what earlier versions have followed
        followed = [found.store for found in outside.followed.list_stores() if found.followed_until is not None]
    return identify_store(store, tracking.identify(), recorded, followed, accept)


def replace_store(outside: Outside, look: Look, identified: Identified) -> None:
    """Begins to follow another store under the name of one that was followed.

    That comes before anything of it is published, so that no run of it is taken for one of the other. A second call
    changes nothing of what was published before both."""
    assert identified.identity is not None
    outside.followed.replace_store(look.how.store, identified.identity, now=look.how.since)


def note(outside: Outside, found: Followed) -> None:
    """Notes which runs are deleted in MLflow or there again, which store it is, and which runs have no row.

    Then it notes until when MLflow is followed. A second call writes the same."""
    followed, began_at = outside.followed, found.began_at
    if found.lifecycles:
        followed.note_lifecycles(found.lifecycles)
    if found.identity is not None:
        followed.note_identity(found.store, found.identity, now=began_at)
    if found.unadopted is not None:
        followed.note_unadopted(found.store, found.unadopted, now=began_at)
    followed.note_follow(
        found.store, began_at=began_at, failed=found.failed, error=found.error, is_whole=found.is_whole
    )


def _ask(tracking: Tracking, run_ids: Sequence[str]) -> tuple[list[str], set[str]]:
    """Asks for each of these runs by itself; returns those that are nowhere in that MLflow, and the others.

    The others are there, or it cannot be told."""
    found = tracking.read_runs(run_ids, keys=Keys())
    lost = [run.run_id for run in found if isinstance(run, LostRun) and isinstance(run.error, NotFound)]
    return lost, set(run_ids) - set(lost)
