"""Verifies one batch of runs: reads what is kept of them, some at a time, beside MLflow's points as they come."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.core.backfill.plan import FILED
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord, BadRequest, SwitchyardError, TryAgain, catch, to_message
from switchyard.core.history.publication import Draft
from switchyard.core.metrics.record import MAX_FILE_BYTES
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.raw_run import LostRun, RawRun
from switchyard.core.ports import Tracking
from switchyard.core.verify.batches import FOUND, to_found_prefix
from switchyard.core.verify.findings import KIND, State, UnknownRun, VerifiedRun
from switchyard.core.verify.kept_run import KeptRun
from switchyard.core.verify.kinds import (
    COMPARED,
    NO_OTHERS,
    KindFound,
    KindName,
    find_kinds,
    list_beside,
    without_tables,
)
from switchyard.core.verify.models import VerifiedModels
from switchyard.core.verify.run import to_run_id, verify_run
from switchyard.services.artifacts import find_kept, find_owner_ids

CHARTED_RUNS: Final = 200
"""Runs that are compared at once, with their ledger lines in one transaction: 2 MB of histories, 20 MB of points."""
WHOLE_RUNS: Final = 25
"""The same with all keys, histograms and files."""
_FOUND_KEPT: Final = timedelta(days=7)  # for a verify that never reached its manifest
_OURS: Final = "switchyard_database"
"""A table that every results database has, and no other database."""
_FILES_AT_ONCE: Final = 8  # a file in a bucket takes about 50 ms, most of it waiting


def verify_rows(
    outside: Outside,
    rows: Sequence[BackfillRow],
    *,
    whole: bool,
    export_uri: str = "",
    found_kind: str = "",
) -> list[VerifiedRun]:
    """Compares each row's run with MLflow, and returns what became of it. Each has its ledger line afterwards.

    A row is left out if neither it nor its history names an MLflow run. A second call with the same `found_kind`
    compares only what no earlier call, in any process, has found. Without `found_kind` it compares all again.

    Args:
        found_kind: the kind of ledger lines that keep what is found so far, for the next call or `give_up_rows`.

    Raises:
        TryAgain, BadSetup: MLflow or the results cannot be read.
    """
    filed = {row.id for row in rows if row.ledger_state == FILED}
    compared = _read_found(outside, found_kind)
    with closing(outside.open_tracking(export_uri)) as tracking:
        reading = _Reading(outside, tracking, filed, found_kind)
        left = [row for row in rows if row.id not in compared]
        for run in reading.verify(_find_run_ids(outside, left), whole=whole):
            compared[run.quick_test_id] = run
        # For a run without a charted metric it is not known yet whether it has any.
        empty = {run.quick_test_id: run.mlflow_run_id for run in compared.values() if _may_be_empty(run)}
        for run in reading.verify(empty, whole=True):
            compared[run.quick_test_id] = run
    return list(compared.values())


def give_up_rows(
    outside: Outside, rows: Sequence[BackfillRow], error: str, *, found_kind: str = ""
) -> list[VerifiedRun]:
    """Writes the lines of a batch that could not be read to its end.

    They have what its tries have found (`verify_rows`), and `error` for the other runs. A second call writes the
    same."""
    compared = {id_: run for id_, run in _read_found(outside, found_kind).items() if not _may_be_empty(run)}
    lines = [
        VerifiedRun(quick_test_id=row.id, mlflow_run_id=row.mlflow_run_id, state=State.UNREAD, reason=error)
        for row in rows
        if row.id not in compared
    ]
    for some in batched(lines, CHARTED_RUNS):
        _record(outside, some)
    return [*compared.values(), *lines]


def forget_found(outside: Outside, key: str, *, now: datetime) -> None:
    """Clears what the tries of the verify of that `key` have found, once its manifest has it.

    It also clears what is left of verifies that never reached theirs. A second call does nothing."""
    outside.ledger.clear_ledger(to_found_prefix(key))
    outside.ledger.clear_ledger(FOUND, before=now - _FOUND_KEPT)


def list_unknown(outside: Outside, *, experiments: Sequence[str], export_uri: str = "") -> list[UnknownRun]:
    """Returns the MLflow runs that no row names, of all experiments. Raises: NotFound: no such experiment."""
    known = {row.mlflow_run_id for row in outside.ledger.list_backfill()}
    with closing(outside.open_tracking(export_uri)) as tracking:
        next(iter(tracking.list_runs(experiments=experiments)), None)
        return [
            UnknownRun(
                mlflow_run_id=run.run_id,
                name=run.name,
                experiment=run.experiment,
                deleted="deleted" in (run.lifecycle, run.experiment_lifecycle),
            )
            for run in tracking.list_runs()
            if run.run_id not in known
        ]


def count_kinds(
    outside: Outside,
    *,
    export_uri: str = "",
    kept_export_uri: str = "",
    models: VerifiedModels | None = None,
    others: Mapping[str, int] = NO_OTHERS,
    give_up: Collection[KindName] = (),
) -> tuple[list[KindFound], list[str]]:
    """Counts what the store holds besides runs, and what of that is kept nowhere else.

    It also says in words what could not be counted. A second call counts again.

    Raises:
        TryAgain, BadSetup: MLflow, the export or the results cannot be read.
    """
    store = outside.open_row_counts(export_uri).count_rows()
    placed, run_ids = _list_stored(outside, export_uri)
    kept = store if export_uri else None
    older: list[str] = []
    if kept_export_uri and not export_uri:
        _check_kept(outside, kept_export_uri, run_ids)
        kept = outside.open_row_counts(kept_export_uri).count_rows()
        kept = msgspec.structs.replace(kept, changed=outside.list_changed_tables(kept_export_uri, COMPARED))
        older = _say_older(kept_export_uri, kept.changed)
    models_placed, traces_placed = find_owner_ids(outside, export_uri)
    artifacts = msgspec.structs.replace(find_kept(outside), stored=placed, models=models_placed, traces=traces_placed)
    if _OURS in store.rows:  # MLflow's database also holds the results
        store = without_tables(store, outside.own_tables)
    kinds = find_kinds(store, kept=kept, models=models, artifacts=artifacts, others=others, give_up=give_up)
    return kinds, [*older, *store.untold, *list_beside(kinds, artifacts)]


def _say_older(export_uri: str, changed: Sequence[str]) -> list[str]:
    if not changed:
        return []
    return [
        f"what MLflow says now in {', '.join(changed)}: the export at {export_uri} has other rows. Export again: "
        f"switchyard export --to-uri {export_uri}"
    ]


def _list_stored(outside: Outside, export_uri: str) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the runs that name a place for artifacts, and all runs."""
    placed, all_ = set(), set()
    with closing(outside.open_tracking(export_uri)) as tracking:
        for run in tracking.list_runs():
            all_.add(run.run_id)
            if run.artifact_uri:
                placed.add(run.run_id)
    return frozenset(placed), frozenset(all_)


def _check_kept(outside: Outside, export_uri: str, run_ids: frozenset[str]) -> None:
    """Makes sure that the export has all runs of the store.

    Raises: BadRequest: it lacks runs: it is another store's, or older. BadRecord: it was changed."""
    with closing(outside.open_export(export_uri)) as exported:
        exported.describe()  # reads every part: it must be what was exported
        lacking = run_ids - {run.run_id for run in exported.list_runs()}
    if lacking:
        raise BadRequest(
            f"The export at {export_uri} lacks {len(lacking)} runs of this MLflow (such as {min(lacking)}), so it may "
            f"keep nothing of it. Export again: switchyard export --to-uri {export_uri}"
        )


def count_lines(outside: Outside, since: datetime) -> int | None:
    """Returns how many ledger lines were written since then; None: that is not known now."""
    try:
        return outside.ledger.count_ledger(KIND, since=since)
    except TryAgain:
        return None


def _find_run_ids(outside: Outside, rows: Sequence[BackfillRow]) -> dict[int, str]:
    """Returns the MLflow run of each row; where the row has lost its id, the one that its history names."""
    found = {row.id: row.mlflow_run_id for row in rows if row.mlflow_run_id}
    for some in batched([row.id for row in rows if not row.mlflow_run_id], CHARTED_RUNS):
        kept = outside.histories.read_kept(some)
        found |= {run.quick_test_id: run_id for run in kept if (run_id := to_run_id(run))}
    return found


class _Reading:
    """Holds what all batches of one call share."""

    def __init__(self, outside: Outside, tracking: Tracking, filed: set[int], found_kind: str) -> None:
        self._outside = outside
        self._tracking = tracking
        self._filed = filed
        self._found_kind = found_kind

    def verify(self, run_ids: Mapping[int, str], *, whole: bool) -> Iterator[VerifiedRun]:
        """Yields the comparison of each of these MLflow runs, which are given by quick test id."""
        by_run: dict[str, list[int]] = defaultdict(list)
        for id_, run_id in run_ids.items():
            by_run[run_id].append(id_)
        runs = self._tracking.read_runs(by_run, keys=None if whole else SCALARS)
        for some in batched(runs, WHOLE_RUNS if whole else CHARTED_RUNS):
            pairs = {id_: run for run in some for id_ in by_run[_to_id(run)]}
            kept = self._outside.histories.read_kept(list(pairs))
            files = _read_files(self._outside, kept) if whole else {}
            lines = [self._verify_one(run, pairs[run.quick_test_id], files.get(run.quick_test_id)) for run in kept]
            _record(self._outside, lines)
            _keep_found(self._outside, self._found_kind, lines)
            yield from lines

    def _verify_one(self, kept: KeptRun, found: RawRun | LostRun, file: bytes | SwitchyardError | None) -> VerifiedRun:
        line = catch(partial(verify_run, kept, found, file, is_filed=kept.quick_test_id in self._filed))
        if not isinstance(line, Exception):
            return line
        # Data that no one has thought of must not hide the other runs. The message is for the person who mends this.
        return VerifiedRun(
            quick_test_id=kept.quick_test_id,
            mlflow_run_id=_to_id(found),
            state=State.UNREAD,
            reason=f"it cannot be compared: {to_message(line)}",
        )


def _to_id(run: RawRun | LostRun) -> str:
    return run.run_id if isinstance(run, LostRun) else run.info.run_id


def _read_files(outside: Outside, kept: Sequence[KeptRun]) -> dict[int, bytes | SwitchyardError]:
    """Reads each run's ``training_metrics.json``, or says why it could not be read. Raises: TryAgain."""
    uris = {
        run.quick_test_id: f"{run.gcs_artifacts_path.rstrip('/')}/training_metrics.json"
        for run in kept
        if run.gcs_artifacts_path
    }
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="files") as pool:
        found = pool.map(lambda uri: _read_file(outside, uri), uris.values())
        return dict(zip(uris, found, strict=True))


def _read_file(outside: Outside, uri: str) -> bytes | SwitchyardError:
    found = catch(lambda: outside.objects(uri).read(uri, max_bytes=MAX_FILE_BYTES)[0])
    if isinstance(found, TryAgain):
        raise found
    if isinstance(found, Exception) and not isinstance(found, SwitchyardError):
        return BadRecord(uri, [f"it cannot be read: {to_message(found)}"])
    return found


def _may_be_empty(run: VerifiedRun) -> bool:
    return run.state is State.UNPUBLISHED and run.keys_read == "charted" and not run.points


def _record(outside: Outside, lines: Sequence[VerifiedRun]) -> None:
    drafts = [
        Draft(
            quick_test_id=line.quick_test_id,
            state=str(line.state),
            error="" if line.state is State.VERIFIED else str(line),
            source_digest=line.source_digest,
        )
        for line in lines
    ]
    outside.ledger.publish_many(KIND, drafts, now=datetime.now(UTC))


def _keep_found(outside: Outside, kind: str, lines: Sequence[VerifiedRun]) -> None:
    """Writes them after the ledger's own lines. Where a try is killed between, these runs are compared once more."""
    if kind:
        drafts = [
            Draft(
                quick_test_id=line.quick_test_id,
                state=str(line.state),
                error=msgspec.json.encode(line).decode(),
                source_digest=line.source_digest,
            )
            for line in lines
        ]
        outside.ledger.publish_many(kind, drafts, now=datetime.now(UTC))


def _read_found(outside: Outside, kind: str) -> dict[int, VerifiedRun]:
    """Returns what earlier tries have found, by quick test id."""
    lines = outside.ledger.read_ledger(kind) if kind else []
    return {line.quick_test_id: msgspec.json.decode(line.error, type=VerifiedRun) for line in lines}
