"""What has changed in MLflow since it was read, and what is deleted there: decided from marks, without reading."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from switchyard.core.backfill.plan import SKIPPED, Adoption, Behind, How, is_unended
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.errors import BadSetup
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.mlflow.store_identity import StoreIdentity
from switchyard.core.runs.rows import RunStatus

CHANGED: Final = "it has changed in MLflow since it was read"
NOT_KNOWN: Final = "when it was read from MLflow is not known, or it was read by another way"
NOT_LISTED: Final = "MLflow does not list it, and does not say that it is gone"
_NOT_READABLE: Final = "MLflow lists it, and it cannot be read"

_NOT_PUBLISHED: Final = "; read, and not published"
"""At the end of a mark: something newer was published already, or another application's, and stayed."""

_MISSING_SHARE: Final = 0.1
_MISSING_FEW: Final = 3
"""How many of the followed runs, or which share of them, may be gone at once, as `mlflow gc` takes them."""

STORE_KIND: Final = "store/"
"""What the kind of the ledger's line of a followed store begins with, before its name; the line's `error` is its
identity, as JSON."""
UNADOPTED_KIND: Final = "unadopted/"
"""The same of a run of MLflow for which no row could be made, before `to_unadopted_kind`'s rest."""
NO_ROW: Final = 0
"""The quick test of such lines."""

NOTHING_ELSE: Final[Mapping[int, str]] = {}
_OPEN: Final = frozenset(str(status) for status in RunStatus if not status.ended)


class OtherStore(BadSetup):
    """The settings name another MLflow than the one that was followed."""


class FollowedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What was read last of a row's MLflow run."""

    quick_test_id: int
    mlflow_run_id: str
    store: str  # the MLflow that it was seen in, in words without a secret
    mark: str = ""  # empty: what is published was not read from there; see `to_read_mark`, `to_unpublished_mark`
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


class Accept(msgspec.Struct, frozen=True):
    """What a person says of the MLflow that the settings name."""

    store: bool = False  # it is the right one, though it is another than was followed
    missing: bool = False  # what it lacks was deleted there, however much that is


class Look(msgspec.Struct, frozen=True):
    """What a look is for."""

    how: How
    accept: Accept = Accept()


class Identified(msgspec.Struct, frozen=True, kw_only=True):
    """Which store the settings name, beside what is known of those that were followed."""

    identity: StoreIdentity | None = None  # None: no one has looked
    names: frozenset[str] = frozenset()  # under which this very store was followed, by whatever address and way
    replaces: bool = False  # another one was followed under the same name, and someone says that this is right
    is_noted: bool = False  # as it is now


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at MLflow has found."""

    rows: Sequence[BackfillRow] = ()
    marks: Mapping[str, RunMark] = {}
    changes: Changes = Changes()
    lifecycles: Sequence[Lifecycle] = ()
    identified: Identified = Identified()
    unknown: int = 0  # runs that are not deleted, and have no row
    error: str = ""  # why no one could look
    doubt: str = ""  # why no one believes what it does not name


class Unadopted(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of MLflow that have no row, and for which none can be made."""

    why: Mapping[str, str] = {}  # by MLflow run
    is_all: bool = True  # all experiments were looked at


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a backfill that has looked."""

    store: str
    began_at: datetime
    lifecycles: Sequence[Lifecycle] = ()
    identity: StoreIdentity | None = None  # to note
    failed: int = 0
    error: str = ""
    is_whole: bool = True  # it looked at all runs, and had to keep every one
    unadopted: Unadopted | None = None  # None: no one looked


def list_candidates(
    rows: Sequence[BackfillRow], marks: Mapping[str, RunMark], known: Mapping[int, FollowedRun]
) -> dict[int, str]:
    """Lists the rows that may have to be read from MLflow again, and why.

    Rows that have never been read are not among them.
    """
    found = {}
    for row in rows:
        mark = marks.get(row.mlflow_run_id)
        if mark is None or row.published == "legacy":
            continue
        if mark.error:
            found[row.id] = f"{_NOT_READABLE}: {mark.error}"
            continue
        before = to_read_mark(_to_mark(row, known))
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
    also: Mapping[int, str] = NOTHING_ELSE,
) -> Changes:
    """Returns which rows are brought up to date, and which need not be read.

    Args:
        facts: of the rows of `list_candidates`, and of those of `also`.
        also: others that have to be read, and why.
    """
    candidates = {**list_candidates(rows, marks, known), **also}
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
        and _to_mark(row, known) == (marks[row.mlflow_run_id].mark or None)
        and (known[row.id].whole or not how.whole)
    )
    return Changes(why=why, settled=settled)


def _may_be_read(row: BackfillRow, facts: RowFacts) -> bool:
    """Returns False for a run that its own file, or the end of a job of ours, brings up to date."""
    if row.published == "ours" and not facts.of_mlflow:
        return False
    return not (facts.has_job and row.status in _OPEN)


def with_facts(row: BackfillRow, facts: RowFacts | None) -> BackfillRow:
    """Returns the row with what else is known of it."""
    if facts is None:
        return row
    return msgspec.structs.replace(row, adopted=facts.adopted, has_job=facts.has_job)


def merge(behind: Behind, changes: Changes) -> Behind:
    """Returns all rows that say less than MLflow does by now; what was found by looking closer says why."""
    moving = frozenset(id_ for id_, why in changes.why.items() if why == CHANGED)
    return msgspec.structs.replace(behind, why=changes.why | behind.why, settled=changes.settled, moving=moving)


def count_unknown(rows: Sequence[BackfillRow], marks: Mapping[str, RunMark]) -> int:
    """Returns how many runs of the store have no row; without those that someone has deleted there."""
    known = {row.mlflow_run_id for row in rows}
    return sum(mark.run_id not in known and not mark.is_deleted for mark in marks.values())


def list_doubtful(
    rows: Sequence[BackfillRow],
    marks: Mapping[str, RunMark],
    known: Mapping[int, FollowedRun],
    names: Collection[str],
) -> list[str]:
    """Returns the MLflow runs that this store, by one of its `names`, named before and does not name now.

    Each is asked for by itself.
    """
    return [run_id for run_id in _list_followed(rows, known, names) if run_id not in marks]


def find_doubt(
    rows: Sequence[BackfillRow],
    marks: Mapping[str, RunMark],
    known: Mapping[int, FollowedRun],
    names: Collection[str],
    lost: Collection[str],
) -> str:
    """Returns why the store is not believed that it has deleted the runs that are `lost` in it; empty: it is believed.

    A store that lacks many runs at once is a part of what it was: a folder that is half mounted, a database that was
    restored, a role that may not see all.
    """
    if not lost:
        return ""
    followed = len(_list_followed(rows, known, names))
    if marks and len(lost) <= max(_MISSING_FEW, int(followed * _MISSING_SHARE)):
        return ""
    return (
        f"{len(lost)} of the {followed} runs that were followed are not in MLflow any more, and MLflow does not call "
        f"them deleted (such as {min(lost)}). None was marked as deleted. See whether the settings name the whole of "
        "it. If these runs were removed for good: switchyard backfill --accept-missing"
    )


def _list_followed(rows: Sequence[BackfillRow], known: Mapping[int, FollowedRun], names: Collection[str]) -> list[str]:
    """Returns the runs that were there when the store was looked at last."""
    return [
        row.mlflow_run_id
        for row in rows
        if row.mlflow_run_id
        and (before := known.get(row.id)) is not None
        and before.mlflow_run_id == row.mlflow_run_id
        and before.store in names
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
    is_sure: bool = False,
) -> list[Lifecycle]:
    """Returns what rows are to say from now on of their MLflow run's being there; nothing of those that say so already.

    A run is deleted where MLflow says so of it or of its experiment, and where two looks, one after the other, find it
    nowhere: one odd answer is not the truth.

    Args:
        lost: of `list_doubtful`, those that are not there when they are asked for by themselves.
        now: when this look began.
        is_sure: someone says that what is lost was deleted: no second look is needed.
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
        if says is not None and is_sure and row.mlflow_run_id in lost:
            says = says[0], says[1] or now
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
    """Returns since when it is missing, and since when deleted; None: nothing more is known than before."""
    missing_at, deleted_at = was
    mark = marks.get(run_id)
    if mark is not None:
        return None, (deleted_at or now) if mark.is_deleted else None
    if run_id not in lost:
        return None
    if missing_at is None:
        return now, deleted_at
    return missing_at, deleted_at or (missing_at if missing_at != now else None)


def identify_store(
    store: str, found: StoreIdentity, recorded: Mapping[str, StoreIdentity], followed: Collection[str], accept: Accept
) -> Identified:
    """Returns which of the followed stores this one is.

    Args:
        store: its name, of the settings.
        recorded: what is known of those that were followed, by name.
        followed: the names of all that were followed; earlier versions noted nothing of them.

    Raises:
        OtherStore: it is none of them, and no one said that this is right.
    """
    names = frozenset(name for name, before in recorded.items() if found.is_of(before))
    is_other = bool(recorded) and (store in recorded or store not in followed) and not names
    replaces = store in recorded and store not in names
    if (is_other or replaces) and not accept.store:
        known = store if store in recorded else ", ".join(sorted(recorded)[:3])
        has = f"has {len(found.experiments)} experiments" if found.experiments else "has no experiment"
        raise OtherStore(
            f"{store} is another MLflow than the one that was followed ({known}): it {has}, and none of them was made "
            "when those of that one were. Nothing was read, and nothing marked. Set MLFLOW_BACKEND_STORE_URI or "
            "MLFLOW_TRACKING_URI to the right one; if this is the right one: switchyard backfill --accept-store"
        )
    return Identified(
        identity=found,
        names=names if replaces else names | {store},
        replaces=replaces,
        is_noted=recorded.get(store) == found,
    )


def to_unadopted(adoption: Adoption, experiments: Sequence[str]) -> Unadopted:
    """Returns the runs that were to be adopted, and of which something is wrong."""
    odd = [run for run in adoption.left_out if run.odd]
    return Unadopted(
        why={run.mlflow_run_id: f"MLflow run {run.mlflow_run_id}: {run.why_not}" for run in odd},
        is_all=not experiments,
    )


def to_read_mark(mark: str) -> str:
    """Returns the mark of what was read, whether it was published or not."""
    return mark.removesuffix(_NOT_PUBLISHED)


def to_unpublished_mark(mark: str) -> str:
    """Returns the mark of what was read, and not published because something else stays.

    It is read again when it changes, and when nothing is published of its run any more.
    """
    return f"{mark}{_NOT_PUBLISHED}" if mark else mark


def to_unadopted_kind(store: str, mlflow_run_id: str = "") -> str:
    """Returns the ledger's kind of the line of that run.

    Without a run, it returns how the kinds of all runs of that store begin.
    """
    return f"{UNADOPTED_KIND}{hashlib.sha256(store.encode()).hexdigest()[:12]}/{mlflow_run_id}"


def _to_mark(row: BackfillRow, known: Mapping[int, FollowedRun]) -> str:
    before = known.get(row.id)
    return before.mark if before is not None and before.mlflow_run_id == row.mlflow_run_id else ""


def _same_way(before: str, now: str) -> bool:
    return before.partition(":")[0] == now.partition(":")[0]
