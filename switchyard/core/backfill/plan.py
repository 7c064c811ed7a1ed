"""What backfill does with which row: the plan, as pure decisions, and what its batches say of themselves."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from switchyard.core.backfill.rows import AdoptedRun, BackfillRow
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.mlflow.raw_run import UNREADABLE, TrackedRun
from switchyard.core.runs.rows import RunStatus

KIND: Final = "backfill"
"""The kind of its lines in the ledger."""
FILED: Final = "filed"
"""The state of a run's line once its ``training_metrics.json`` is written."""
BACKFILLED: Final = "mlflow:"
"""How the key of a run begins in a ``training_metrics.json`` that backfill has made of its MLflow run."""
SKIPPED: Final = "skipped"
"""The state of the line of a run that was read and not published. Where nothing else is, it has nothing to show."""
STALE: Final = "stale"
"""The state of the line of a run that never ended in MLflow, and is taken for dead."""
ROW_STATUS: Final[Mapping[str, RunStatus]] = {
    "FINISHED": RunStatus.COMPLETED,
    "FAILED": RunStatus.FAILED,
    "KILLED": RunStatus.CANCELLED,
    "RUNNING": RunStatus.RUNNING,  # perhaps for ever: MLflow never ends a run after its process died
    "SCHEDULED": RunStatus.PENDING,
}
"""The status of an adopted row, by MLflow's."""

NO_CURVE: Final = "it has values alone: none of its metrics is a curve"
"""The reason on the line of a run with only params and last values published."""

_NEVER_READ: Final = (
    "MLflow's own tags, and the experiment's",
    "the time of each point, and the values that a step logged again has overwritten",
    "the model registry, data sets and inputs",
)
_THINNED: Final = "of series above 2,000 points, those between each bucket's minimum, maximum and last"
_HISTOGRAMS: Final = "histograms"

_UNENDED: Final = frozenset(str(status) for status in RunStatus if not status.ended)

StatusChoice = Literal["completed", "all"]
ToDo = Literal["publish", "replace", "complete", "write the file", "bring up to date", "adopt and publish"]


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How each run of a batch is read and published."""

    histograms: bool = False
    full: bool = False  # also writes training_metrics.json
    force: bool = False
    interval: int = 5
    keep_extremes: bool = False
    max_points: int = 500
    directions: dict[str, Literal["min", "max"]] = {}
    export_uri: str = ""  # empty: from the MLflow that the settings name
    store: str = ""  # the MLflow that is followed, in words; empty: none is
    rules: str = ""  # a team's own, for the names of metrics, as TOML
    stale_after_hours: float = 168  # after its last point a run that never ended in MLflow is taken for dead
    since: datetime  # when the flow began: ledger lines from then on are its own

    @property
    def whole(self) -> bool:
        """True if all metrics are read, the histograms' bins too."""
        return self.histograms or self.full


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One row to publish, and where its metrics are."""

    quick_test_id: int
    mlflow_run_id: str
    gcs_artifacts_path: str = ""
    whole: bool = False  # it was published whole: all metrics are read again
    filed: bool = False  # backfill has written its file, which is to say the same
    follows: bool = False  # its row says what MLflow says of the run
    rules: str = ""  # for names, where the call gives none: those that the run had
    mark: str = ""  # of the run, before its points are read; empty: not known
    is_new: bool = False  # nothing is published of it: no other version's digests need be made
    attempts: int = 0  # how often its ledger line was written before: one more, and this flow has settled it
    is_moving: bool = False  # it was logged to since it was read, whatever its clock says

    def to_how(self, how: How) -> How:
        """Returns how this one is read and published: never with less than it was before."""
        histograms, full = how.histograms or self.whole, how.full or self.filed
        return msgspec.structs.replace(
            how, histograms=histograms, full=full, rules=how.rules if how.rules.strip() else self.rules
        )


class Batch(msgspec.Struct, frozen=True):
    """The rows of one task."""

    items: Sequence[Item]


class BatchResult(msgspec.Struct, kw_only=True):
    """What became of a batch; reasons by quick test id."""

    published: int = 0
    unchanged: int = 0
    values_alone: int = 0  # of the two above: those without a curve
    skipped: dict[int, str] = {}
    failed: dict[int, str] = {}

    @property
    def settled(self) -> int:
        """How many runs have an outcome, whichever."""
        return self.published + self.unchanged + len(self.skipped) + len(self.failed)

    def add(self, other: "BatchResult") -> None:
        """Adds the counts and reasons of `other`."""
        self.published += other.published
        self.unchanged += other.unchanged
        self.values_alone += other.values_alone
        self.skipped.update(other.skipped)
        self.failed.update(other.failed)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs have curves, how many have values alone, and how many have nothing to publish.

    Values alone are params, or metrics that were logged once; see `core.metrics.showing.to_shows`.
    """

    curves: int = 0
    values: int = 0
    nothing: int = 0
    not_there: int = 0  # in MLflow
    why_unknown: str = ""  # why MLflow did not say

    @property
    def sentence(self) -> str:
        """What a dry run says of it; empty: there is no run to speak of."""
        if self.why_unknown:
            return f"cannot say how many have curves: {self.why_unknown}"
        if not any((self.curves, self.values, self.nothing, self.not_there)):
            return ""
        found = [f"would publish {self.curves} with curves", f"{self.values} with values alone"]
        found += [f"{self.nothing} have nothing"]
        return ", ".join(found + ([f"{self.not_there} are not in MLflow"] if self.not_there else []))


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the dry run's list: what would be done, or why nothing would."""

    quick_test_id: int | None = None  # None: it has no row yet
    mlflow_run_id: str = ""
    status: str = ""  # the row's, or MLflow's of a run without a row
    todo: ToDo | None = None
    why: str = ""
    why_not: str = ""
    is_unasked: bool = False  # MLflow could not be asked what became of it
    odd: bool = False  # it could not be adopted though it was to be: something is wrong with it


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is there and what is to do; the counts are of all rows, `to_do` is after the limit and for this shard."""

    rows: int = 0
    completed: int = 0
    with_mlflow_run: int = 0  # of the rows of a chosen status, as all below
    published: int = 0  # by Switchyard
    legacy: int = 0  # by the legacy application
    to_do: list[Item] = []
    runs: list[PlannedRun] = []


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """The MLflow runs that no row knows: those to make rows for, and why not for the others."""

    runs: list[AdoptedRun] = []
    left_out: list[PlannedRun] = []


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that say less than MLflow does by now, and why, by id; and those of which no one could say."""

    why: dict[int, str] = {}
    unknown: list[PlannedRun] = []
    settled: frozenset[int] = frozenset()  # nothing to publish when they were read, and not changed since
    moving: frozenset[int] = frozenset()  # of `why`: what MLflow has of them differs from what was read


NOTHING_BEHIND: Final = Behind()
NO_MARKS: Final[Mapping[str, RunMark]] = {}


def is_chosen(row: BackfillRow, status: StatusChoice) -> bool:
    """Returns True for the rows that a flow run is about."""
    return status == "all" or row.status == RunStatus.COMPLETED


def is_unended(row: BackfillRow) -> bool:
    """Returns True if an adopted row waits for MLflow's last word."""
    return row.adopted and (row.status in _UNENDED or row.ledger_state == STALE)


def _is_filed(row: BackfillRow) -> bool:
    """Returns whether backfill has written the row's file: an adopted row has no folder otherwise."""
    return row.ledger_state == FILED or (row.adopted and bool(row.gcs_artifacts_path))


def _choose_todo(row: BackfillRow, how: How, behind: Behind) -> ToDo | None:
    if row.id in behind.settled:
        return None
    is_behind = row.id in behind.why and bool(row.mlflow_run_id)
    return choose_todo(row, how) or ("bring up to date" if is_behind else None)


def make_plan(
    rows: Sequence[BackfillRow],
    how: How,
    *,
    status: StatusChoice = "completed",
    limit: int = 0,
    shards: int = 1,
    shard: int = 1,
    behind: Behind = NOTHING_BEHIND,
    marks: Mapping[str, RunMark] = NO_MARKS,
) -> Plan:
    """Returns which rows are to be published, by id.

    It takes the first `limit` of them (0: all), and of those the rows of `shard`. A row that is behind is brought up to
    date whatever its status. `marks` were taken before, by MLflow run.
    """
    chosen = [row for row in rows if is_chosen(row, status) or row.id in behind.why]
    todo = [(row, found) for row in chosen if (found := _choose_todo(row, how, behind)) is not None]
    todo = todo[: limit or None]
    mine = [(row, found) for row, found in todo if row.id % shards == shard % shards]
    left_out = [
        PlannedRun(quick_test_id=row.id, mlflow_run_id=row.mlflow_run_id, status=row.status, why_not=why_not)
        for row in chosen
        if _choose_todo(row, how, behind) is None and (why_not := _to_why_not(row, behind))
    ]
    return Plan(
        rows=len(rows),
        completed=sum(row.status == RunStatus.COMPLETED for row in rows),
        with_mlflow_run=sum(bool(row.mlflow_run_id) for row in chosen),
        published=sum(row.published == "ours" for row in chosen),
        legacy=sum(row.published == "legacy" for row in chosen),
        to_do=[
            Item(
                quick_test_id=row.id,
                mlflow_run_id=row.mlflow_run_id,
                gcs_artifacts_path=row.gcs_artifacts_path,
                whole=found == "bring up to date" and row.full_digest is not None,
                filed=found == "bring up to date" and _is_filed(row),
                follows=row.adopted and not row.has_job and (row.id in behind.why or is_unended(row)),
                mark=found_mark.mark if (found_mark := marks.get(row.mlflow_run_id)) else "",
                is_new=row.published == "nothing",
                attempts=row.ledger_attempts,
                is_moving=row.id in behind.moving,
            )
            for row, found in mine
        ],
        runs=[
            PlannedRun(
                quick_test_id=row.id,
                mlflow_run_id=row.mlflow_run_id,
                status=row.status,
                todo=found,
                why=behind.why.get(row.id, ""),
            )
            for row, found in mine
        ]
        + left_out
        + behind.unknown,
    )


def choose_todo(row: BackfillRow, how: How) -> ToDo | None:
    """Returns what there is to do for one row; None: nothing."""
    if not row.mlflow_run_id:
        return None
    if row.published == "nothing":
        return "publish"
    if how.force:
        return "replace"
    if row.published == "legacy":
        return None
    if how.whole and row.full_digest is None:
        # Its charted series were published by an earlier backfill.
        return "complete"
    if how.full and row.lacks_file:
        # Published by a backfill without a file, or by ingest or reconcile; a run of another source has its own file.
        return "write the file"
    return None


def _to_why_not(row: BackfillRow, behind: Behind) -> str:
    if row.id in behind.settled:
        return "MLflow had nothing to publish of it when it was read, and it has not changed since"
    if row.published == "legacy":
        return "a history of the legacy application is published; --force replaces it"
    if row.published == "nothing" and not row.mlflow_run_id:
        return "nothing is published, and the row names no MLflow run"
    return ""


def choose_adopted(tracked: Iterable[TrackedRun], known: set[str], *, status: StatusChoice = "completed") -> Adoption:
    """Returns the runs of an MLflow store that no row knows, the oldest first.

    Deleted ones are left to MLflow: who deleted them did not want to see them again.
    """
    unknown = sorted(
        (run for run in tracked if run.run_id not in known), key=lambda run: (run.started_at_ms or 0, run.run_id)
    )
    adopted, left_out = [], []
    for run in unknown:
        why_not = _to_why_not_adopted(run, status)
        if why_not:
            odd = run.status not in ROW_STATUS and not _is_deleted(run)
            left_out.append(PlannedRun(mlflow_run_id=run.run_id, status=run.status, why_not=why_not, odd=odd))
        else:
            adopted.append(_to_adopted(run))
    return Adoption(runs=adopted, left_out=left_out)


def _to_why_not_adopted(run: TrackedRun, status: StatusChoice) -> str:
    if _is_deleted(run):
        what = "it" if run.lifecycle == "deleted" else f"its experiment {run.experiment!r}"
        return f"{what} is deleted in MLflow; restore it there to adopt it"
    if run.status not in ROW_STATUS:
        if not run.status:
            return "it has no status in MLflow, so whether it ended is not known. Set one there to adopt it"
        if run.status.startswith(UNREADABLE):
            return f"it cannot be read: {run.status.removeprefix(UNREADABLE)}"
        return f"its status must be one of {', '.join(ROW_STATUS)}; got {run.status!r}"
    if status == "completed" and run.status != "FINISHED":
        return "it did not finish; --status all adopts it"
    return ""


def _is_deleted(run: TrackedRun) -> bool:
    return "deleted" in (run.lifecycle, run.experiment_lifecycle)


def _to_adopted(run: TrackedRun) -> AdoptedRun:
    status = ROW_STATUS[run.status]
    started_at = to_time(run.started_at_ms)
    return AdoptedRun(
        mlflow_run_id=run.run_id,
        status=status,
        display_name=run.name,
        mlflow_experiment_name=run.experiment,
        created_at=started_at,
        started_at=started_at,
        completed_at=to_time(run.ended_at_ms) if status.ended else None,
    )


def to_time(at_ms: int | None) -> datetime | None:
    """Returns that time; None also of what is not a time: someone logged nanoseconds as milliseconds."""
    try:
        return None if not at_ms or at_ms < 0 else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    except OverflowError:
        return None


def to_batches(items: Sequence[Item], size: int) -> list[Batch]:
    """Returns `items` in their order, `size` a batch."""
    return [Batch(items[start : start + size]) for start in range(0, len(items), size)]


def to_ways(items: Sequence[Item], how: How) -> list[tuple[How, list[Item]]]:
    """Returns the items by how they are read and published; one way, nearly always."""
    found: dict[tuple[bool, bool, str], list[Item]] = {}
    for item in items:
        way = item.to_how(how)
        found.setdefault((way.histograms, way.full, way.rules), []).append(item)
    return [(some[0].to_how(how), some) for some in found.values()]


def to_export_only(how: How) -> list[str]:
    """Returns what of a run is then kept only by an export of the raw store.

    A person who deletes MLflow without an export loses it.
    """
    lost = [] if how.full else [*([] if how.histograms else [_HISTOGRAMS]), _THINNED]
    return [*lost, *_NEVER_READ]
