"""What has changed in MLflow since it was read, and what is deleted there: decided from marks, without reading."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from switchyard.core.backfill.plan import SKIPPED, Behind, How, is_unended
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.runs.rows import RunStatus

CHANGED: Final = "it has changed in MLflow since it was read"
NOT_KNOWN: Final = "when it was read from MLflow is not known, or it was read by another way"


_OPEN: Final = frozenset(str(status) for status in RunStatus if not status.ended)


class FollowedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What was read last of a row's MLflow run."""

    quick_test_id: int
    mlflow_run_id: str
    store: str  # the MLflow that it was seen in, in words without a secret
    mark: str = ""  # empty: what is published was not read from there
    whole: bool = False  # all its metrics were read then
    missing_at: datetime | None = None  # since when the store does not name it
    deleted_at: datetime | None = None  # since when it is known to be deleted there


class FollowedStore(msgspec.Struct, frozen=True, kw_only=True):
    """How far an MLflow is followed."""

    store: str
    tried_at: datetime  # when the last follow began
    failed: int = 0  # runs that it could not bring up to date
    error: str = ""  # why it could not look for changes
    followed_until: datetime | None = None  # when the last one began that did all that it had to


class RowFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of rows does not say of one."""

    adopted: bool  # made for an MLflow run, in our own table
    has_job: bool  # a job of ours trains it, or has
    of_mlflow: bool  # what is published was read from MLflow


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """What a row says from now on of its MLflow run's being there."""

    quick_test_id: int
    mlflow_run_id: str
    store: str
    missing_at: datetime | None = None
    deleted_at: datetime | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the marks of all runs has found."""

    why: dict[int, str] = {}  # the rows to bring up to date
    settled: frozenset[int] = frozenset()  # those that were read, have nothing to publish, and have not changed


class Look(msgspec.Struct, frozen=True):
    """What a look is for."""

    rows: Sequence[BackfillRow]
    how: How


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at MLflow has found."""

    rows: Sequence[BackfillRow]
    marks: Mapping[str, RunMark] = {}
    changes: Changes = Changes()
    lifecycles: Sequence[Lifecycle] = ()
    error: str = ""  # why nobody could look


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a backfill that has looked."""

    store: str
    began_at: datetime
    lifecycles: Sequence[Lifecycle] = ()
    failed: int = 0
    error: str = ""
    is_whole: bool = True  # all that had to be done was tried


def list_candidates(
    rows: Sequence[BackfillRow], marks: Mapping[str, RunMark], known: Mapping[int, FollowedRun]
) -> dict[int, str]:
    """The rows whose run may have to be read again, and why. Those that have never been read are no such rows."""
    found = {}
    for row in rows:
        mark = marks.get(row.mlflow_run_id)
        if mark is None or row.published == "legacy":
            continue
        before = _to_mark(row, known)
        if before == mark.mark or (row.published == "nothing" and not before):
            continue
        found[row.id] = CHANGED if _same_way(before, mark.mark) else NOT_KNOWN
    return found


def choose_changes(
    rows: Sequence[BackfillRow],
    marks: Mapping[str, RunMark],
    known: Mapping[int, FollowedRun],
    facts: Mapping[int, RowFacts],
    how: How,
) -> Changes:
    """Which rows are brought up to date, and which need not be read.

    Args:
        facts: of the rows of `list_candidates`.
    """
    candidates = list_candidates(rows, marks, known)
    by_id = {row.id: row for row in rows}
    why = {id_: said for id_, said in candidates.items() if id_ in facts and _may_be_read(by_id[id_], facts[id_])}
    if how.force:
        return Changes(why=why)
    settled = frozenset(
        row.id
        for row in rows
        if row.published == "nothing"
        and row.ledger_state == SKIPPED
        and not is_unended(row)  # it may have to be called stale
        and row.mlflow_run_id in marks
        and _to_mark(row, known) == marks[row.mlflow_run_id].mark
        and (known[row.id].whole or not how.whole)
    )
    return Changes(why=why, settled=settled)


def _may_be_read(row: BackfillRow, facts: RowFacts) -> bool:
    """A run whose own file is published is brought up to date by its file; one that a job of ours trains, by its job's
    end."""
    if row.published == "ours" and not facts.of_mlflow:
        return False
    return not (facts.has_job and row.status in _OPEN)


def with_facts(row: BackfillRow, facts: RowFacts | None) -> BackfillRow:
    """The row with what else is known of it."""
    if facts is None:
        return row
    return msgspec.structs.replace(row, adopted=facts.adopted, has_job=facts.has_job)


def merge(behind: Behind, changes: Changes) -> Behind:
    """All rows that say less than MLflow does by now; what was found by looking closer says why."""
    return msgspec.structs.replace(behind, why=changes.why | behind.why, settled=changes.settled)


def list_doubtful(
    rows: Sequence[BackfillRow], marks: Mapping[str, RunMark], known: Mapping[int, FollowedRun], store: str
) -> list[str]:
    """The MLflow runs that this store has named before, and does not name now: each is to be asked for by itself. A
    store that names no run at all was emptied, or is another one: it says nothing of any run."""
    if not marks:
        return []
    return [
        row.mlflow_run_id
        for row in rows
        if row.mlflow_run_id
        and row.mlflow_run_id not in marks
        and (before := known.get(row.id)) is not None
        and (before.mlflow_run_id, before.store) == (row.mlflow_run_id, store)
        and before.deleted_at is None
    ]


def choose_lifecycles(
    rows: Sequence[BackfillRow],
    marks: Mapping[str, RunMark],
    known: Mapping[int, FollowedRun],
    lost: Collection[str],
    *,
    store: str,
    now: datetime,
) -> list[Lifecycle]:
    """What rows are to say from now on of their MLflow run's being there; nothing of those that say so already.

    A run is deleted where MLflow says so of it or of its experiment, and where two looks, one after the other, find it
    nowhere: one odd answer is not the truth.

    Args:
        lost: of `list_doubtful`, those that are not there when they are asked for by themselves.
        now: when this look began.
    """
    found = []
    for row in rows:
        if not row.mlflow_run_id:
            continue
        before = known.get(row.id)
        if before is not None and before.mlflow_run_id != row.mlflow_run_id:
            before = None
        was = (before.missing_at, before.deleted_at) if before else (None, None)
        says = _to_lifecycle(row.mlflow_run_id, marks, lost, was, now)
        if says is not None and says != was:
            found.append(
                Lifecycle(
                    quick_test_id=row.id,
                    mlflow_run_id=row.mlflow_run_id,
                    store=store,
                    missing_at=says[0],
                    deleted_at=says[1],
                )
            )
    return found


_Times = tuple[datetime | None, datetime | None]


def _to_lifecycle(
    run_id: str, marks: Mapping[str, RunMark], lost: Collection[str], was: _Times, now: datetime
) -> _Times | None:
    """Since when it is missing, and since when deleted; None: nobody knows more than before."""
    missing_at, deleted_at = was
    mark = marks.get(run_id)
    if mark is not None:
        return None, (deleted_at or now) if mark.is_deleted else None
    if run_id not in lost:
        return None
    if missing_at is None:
        return now, deleted_at
    return missing_at, deleted_at or (missing_at if missing_at != now else None)


def _to_mark(row: BackfillRow, known: Mapping[int, FollowedRun]) -> str:
    before = known.get(row.id)
    return before.mark if before is not None and before.mlflow_run_id == row.mlflow_run_id else ""


def _same_way(before: str, now: str) -> bool:
    return before.partition(":")[0] == now.partition(":")[0]
