"""The manifest of one verify: what was compared with what, what was found of each run, and whether MLflow may go.

docs/contracts.md describes the file. It is written once and read by people who can no longer ask MLflow.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

import msgspec

from history.errors import BadRecord
from history.runs import BackfillRow

FORMAT: Final = 1
KIND: Final = "verify"
"""Of the ledger's lines; each has one of State's words for its state."""

Place = Literal["row", "history", "digests", "histograms", "file"]
"""Where a kept value stands: the run's row, its published history, the digests beside it, its histograms' rows, or its
``training_metrics.json``."""
KeptIn = Literal["training_metrics.json", "an export"]


class State(StrEnum):
    """What verify found of one run."""

    VERIFIED = "verified"  # all that is kept is what MLflow says
    DIFFERS = "differs"
    MISSING = "missing"  # the row's run is not in MLflow (any more)
    UNREAD = "unread"  # it could not be read, or not compared; `reason` says why
    LEGACY = "legacy"  # a history of the legacy application: nobody knows what it was made of
    UNPUBLISHED = "unpublished"
    UNCHARTED = "uncharted"  # nothing is published, and never will be: MLflow has points of it, but no charted metric
    EMPTY = "empty"  # nothing is published, and MLflow has not one point of it
    RUNNING = "running"  # a job of it is at work, so that MLflow moves on

    @property
    def failed(self) -> bool:
        """True for what ends the flow as failed; the others are known and by design."""
        return self in (State.DIFFERS, State.MISSING, State.UNREAD)


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place where what is kept is not what it should be. Values are texts, as JSON writes them; ``nan`` and ``inf``
    are not strict JSON's, and ``nothing`` says that there is none."""

    place: Place
    path: str  # the JSON path there
    key: str = ""  # MLflow's name of it: a metric key, or a param
    epoch: int | None = None  # the first one that differs; None: the value itself is not kept there, or has no epoch
    expected: str
    found: str
    more: int = 0  # other epochs of the same path that differ

    def __str__(self) -> str:
        key = f" (MLflow's {self.key})" if self.key and self.key != self.path else ""
        epoch = "" if self.epoch is None else f" at epoch {self.epoch}"
        more = f", and {self.more} more there" if self.more else ""
        where = f"{self.path}{key}{epoch} in the {self.place}" if self.path else f"the {self.place}"
        return f"{where}: expected {self.expected}, found {self.found}{more}"


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that MLflow has of a run and the published history has not."""

    what: str
    count: int | None = None  # None: nobody counted, for it was not read
    kept_in: KeptIn
    why: str
    names: list[str] = []  # the metric keys or tags, the first of them


class VerifiedRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run's line. Counts and digests are of what was read of it: `keys_read`."""

    quick_test_id: int
    mlflow_run_id: str
    state: State
    reason: str = ""
    name: str = ""
    experiment: str = ""
    mlflow_status: str = ""
    deleted: bool = False  # in MLflow: the run, or its experiment
    keys_read: Literal["none", "charted", "all"] = "none"
    compared: list[Place] = []
    kept_in_full: bool = False  # its training_metrics.json holds every epoch of every key, and was compared
    epochs: int = 0
    keys: int = 0
    points: int = 0
    source_digest: str = ""
    charted_digest: str = ""  # made of MLflow's points anew
    full_digest: str = ""  # the same; empty where only charted keys were read
    published_digest: str = ""  # `charted`, as it is published
    left_out: list[LeftOut] = []
    differences: list[Difference] = []

    def __str__(self) -> str:
        of = f"quick test {self.quick_test_id} (MLflow run {self.mlflow_run_id or 'unknown'}) {self.state}"
        named = sorted(self.differences, key=_to_rank)
        shown = "; ".join(map(str, named[:3]))
        more = f"; and {len(named) - 3} more differences" if len(named) > 3 else ""
        return ": ".join(filter(None, (of, self.reason, shown + more)))


def _to_rank(found: Difference) -> tuple[bool, ...]:
    """What says most goes first: a row that names another run explains the rest; a value says more than a digest."""
    return found.place != "row", found.place == "digests", found.epoch is None, not found.key


class UnknownRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of MLflow that no row names."""

    mlflow_run_id: str
    name: str
    experiment: str
    deleted: bool = False


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was to be looked at."""

    quick_test_id: int = 0  # 0: any
    limit: int = 0  # 0: all
    experiments: list[str] = []  # of which no run may be unknown; empty: all
    whole: bool = False  # every key was read, also where only charted ones are published

    @property
    def is_all(self) -> bool:
        """True where no run was left aside."""
        return not self.quick_test_id and not self.limit


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether MLflow may be deleted, in plain words."""

    safe: bool
    says: str
    not_safe: list[str] = []  # one reason each
    lost: list[str] = []  # what goes with it even so


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that one verify found. `counts` has the runs by state, and `epochs`, `keys`, `points` of what was read."""

    format: Literal[1] = 1
    verified_at: datetime
    database_id: str
    compared_with: str
    from_export: bool
    versions: dict[str, str]
    scope: Scope
    verdict: Verdict
    counts: dict[str, int]
    left_out: list[LeftOut]  # summed over the runs
    runs: list[VerifiedRun]
    unknown_runs: list[UnknownRun]


BEYOND_RUNS: Final = (
    "tags and descriptions, the time of each point, values that were logged before another of the same key and step",
    "the model registry, data sets, and the experiments themselves",
    "artifacts: they stay where they are, in the store that artifact_uri names",
)
"""What MLflow holds besides the records of its runs; docs/mapping.md."""


class SourceOfTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs are compared with, and by whom."""

    described: str
    database_id: str
    versions: dict[str, str]


class VerifyBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one task, and how their runs are read."""

    rows: list[BackfillRow]
    whole: bool
    export_uri: str = ""  # empty: from the MLflow that the settings name


def to_batches(
    rows: Sequence[BackfillRow], scope: Scope, export_uri: str, *, charted_size: int, whole_size: int
) -> list[VerifyBatch]:
    """Those in `scope`, by how they are read: whole where more than charted series is published. A row without an
    MLflow run is in it where something of ours is published: its history may name one."""
    wanted = [row for row in rows if row.mlflow_run_id or row.published == "ours"]
    if scope.quick_test_id:
        wanted = [row for row in wanted if row.id == scope.quick_test_id]
    if scope.limit:
        wanted = wanted[: scope.limit]
    batches = []
    for whole, size in ((False, charted_size), (True, whole_size)):
        chosen = [row for row in wanted if (scope.whole or row.full_digest is not None) is whole]
        batches += [
            VerifyBatch(rows=chosen[start : start + size], whole=whole, export_uri=export_uri)
            for start in range(0, len(chosen), size)
        ]
    return batches


def to_manifest(
    runs: Sequence[VerifiedRun],
    unknown: Sequence[UnknownRun],
    source: SourceOfTruth,
    *,
    scope: Scope,
    verified_at: datetime,
    from_export: bool,
) -> Manifest:
    """The manifest of `runs`; histories that seem swapped are named on their lines."""
    runs = name_swapped(sorted(runs, key=lambda run: run.quick_test_id))
    counts = Counter({state.value: 0 for state in State})
    for run in runs:
        counts.update({run.state.value: 1, "epochs": run.epochs, "keys": run.keys, "points": run.points})
    return Manifest(
        verified_at=verified_at,
        database_id=source.database_id,
        compared_with=source.described,
        from_export=from_export,
        versions=source.versions,
        scope=scope,
        verdict=to_verdict(runs, unknown, scope=scope, from_export=from_export),
        counts={"runs": len(runs), "unknown": len(unknown), **counts},
        left_out=_sum_up(runs),
        runs=list(runs),
        unknown_runs=list(unknown),
    )


def name_swapped(runs: Sequence[VerifiedRun]) -> list[VerifiedRun]:
    """`runs`; on the line of one whose published digest is that of another one's points, the other is named."""
    owners = {run.charted_digest: run for run in reversed(runs) if run.charted_digest}
    named = []
    for run in runs:
        other = owners.get(run.published_digest)
        if run.state is State.DIFFERS and other is not None and run.published_digest != run.charted_digest:
            reason = (
                f"what is published is what MLflow says of quick test {other.quick_test_id} (MLflow run "
                f"{other.mlflow_run_id}): the two are swapped, or one was published as the other"
            )
            run = msgspec.structs.replace(run, reason="; ".join(filter(None, (run.reason, reason))))
        named.append(run)
    return named


_UNSAFE: Final = {
    State.DIFFERS: "differ from MLflow",
    State.MISSING: "are not in MLflow (any more), so that nothing could be compared",
    State.UNREAD: "could not be read or compared",
    State.LEGACY: "have a history of the legacy application, which cannot be compared; publish them anew with "
    "python -m flows backfill --force",
    State.UNPUBLISHED: "have nothing published; see python -m flows backfill --dry-run",
    State.RUNNING: "have a job at work",
}


def to_verdict(
    runs: Sequence[VerifiedRun], unknown: Sequence[UnknownRun], *, scope: Scope, from_export: bool
) -> Verdict:
    """Safe is what was looked at whole, has no run that MLflow alone could tell of, and is kept in full: in each run's
    ``training_metrics.json``, or in the export that it was compared with. An export also keeps what is never published:
    runs without a charted metric, and runs that somebody has deleted."""
    found = Counter(run.state for run in runs)
    not_safe = [f"{found[state]} runs {words}" for state, words in _UNSAFE.items() if found[state]]
    if not scope.is_all:
        not_safe.append("only some of the runs were looked at (quick_test_id, limit)")
    elif live := sum(not run.deleted for run in unknown):
        not_safe.append(
            f"{live} runs of MLflow are known to no row (`unknown_runs`); publish them with python -m flows "
            "backfill --adopt --status all, or name the experiments that count"
        )
    if not from_export:
        not_safe += _list_export_only(
            found[State.UNCHARTED], sum(run.deleted for run in unknown) if scope.is_all else 0
        )
    sampled = sum(run.state is State.VERIFIED and not run.kept_in_full for run in runs)
    if sampled and not from_export:
        not_safe.append(
            f"{sampled} verified runs are published but not kept in full (sampled epochs, charted keys); write their "
            "training_metrics.json with python -m flows backfill --full, or keep an export: python -m flows export"
        )
    if not_safe:
        says = "It is NOT safe to delete this MLflow store: `not_safe` says why."
    elif from_export:
        says = "It is safe to delete the MLflow store as it was when it was exported, as long as the export is kept."
    else:
        says = "It is safe to delete this MLflow store if what `lost` names is not needed; an export would keep it."
    lost = list(BEYOND_RUNS[-1:] if from_export else BEYOND_RUNS)
    return Verdict(safe=not not_safe, says=says, not_safe=not_safe, lost=lost)


def _list_export_only(uncharted: int, deleted: int) -> list[str]:
    """What no backfill publishes, so that only an export keeps it."""
    keep = "keep an export, and verify it: python -m flows verify --export-uri"
    found = {
        f"{uncharted} runs have no charted metric, so that nothing of them is published": uncharted,
        f"{deleted} runs that are deleted in MLflow are known to no row (`unknown_runs`)": deleted,
    }
    return [f"{words}; {keep}" for words, count in found.items() if count]


def _sum_up(runs: Sequence[VerifiedRun]) -> list[LeftOut]:
    """By what, where and why; the count is that of all runs, None where one run's is not known."""
    counts: dict[tuple[str, KeptIn, str], int | None] = {}
    for run in runs:
        for left in run.left_out:
            group = (left.what, left.kept_in, left.why)
            before = counts.get(group, 0)
            counts[group] = None if before is None or left.count is None else before + left.count
    return [LeftOut(what=what, kept_in=kept_in, why=why, count=count) for (what, kept_in, why), count in counts.items()]


def to_json(manifest: Manifest) -> bytes:
    """The file: one line a run, so that it can be read with a pager, and grepped."""
    lines = []
    for name, value in msgspec.structs.asdict(manifest).items():
        found = msgspec.json.encode(value)
        if name in ("runs", "unknown_runs") and value:
            found = b"[\n" + b",\n".join(map(msgspec.json.encode, value)) + b"\n]"
        lines.append(b'"' + name.encode() + b'": ' + found)
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def read_manifest(data: bytes, where: str) -> Manifest:
    """The manifest that `data` holds. Raises: BadRecord: it is none, or one of another format."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as err:
        raise BadRecord(where, [f"it must be a verify's manifest of format {FORMAT}: {err}"]) from err
