"""Fills in the full series and values of runs that were published before there were any, a batch at a time.

It reads the run's metrics file or its MLflow run: the one that the published history was made of, if it is still there.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from switchyard.clients.connect import Outside
from switchyard.core.backfill.mapped import to_record
from switchyard.core.batches import batched
from switchyard.core.errors import BadSetup, TryAgain, catch, to_message
from switchyard.core.history.filling import (
    KIND,
    LEGACY,
    Fill,
    FillBatch,
    FillState,
    Unfilled,
    is_source,
    read_history,
    to_failed,
    to_fill,
    to_values_alone,
)
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MAX_FILE_BYTES, MetricsRecord
from switchyard.core.mlflow.raw_run import LostRun, RawRun
from switchyard.core.ports import Ledger

RUNS_AT_ONCE: Final = 50
"""Runs in a transaction: what is committed is not done again."""
_FILES_AT_ONCE: Final = 8  # a file in a bucket takes about 50 ms, most of it waiting

Found = MetricsRecord | str
"""A record that may be the history's source, or why there is none."""


def fill_runs(outside: Outside, ids: Sequence[int], *, export_uri: str = "") -> FillBatch:
    """Fills the runs. Each has its ledger line afterwards, in any case; a bad one does not stop the others.

    A second call writes the same.
    writes the same.

    Raises:
        TryAgain: the results or a source do not answer. What was committed stays.
        BadSetup: the results cannot be read.
    """
    result = FillBatch()
    for some in batched(ids, RUNS_AT_ONCE):
        fills = list(_to_fills(outside, outside.ledger.read_unfilled(some), export_uri))
        states = outside.ledger.fill_many(fills, now=datetime.now(UTC))
        for fill in fills:
            state = states[fill.quick_test_id]
            said = "its history was replaced meanwhile; the same command fills it" if state != fill.state else ""
            result.count(fill.quick_test_id, state, fill.error or said)
    return result


def give_up_runs(ledger: Ledger, ids: Sequence[int], since: datetime, error: str) -> FillBatch:
    """Writes `error` on the ledger line of each run that has none since `since`: its batch was given up.

    A second call finds the first one's lines and writes nothing."""
    settled = {line.quick_test_id: line for line in ledger.read_ledger(KIND) if line.updated_at >= since}
    result = FillBatch()
    for id_ in ids:
        if line := settled.get(id_):
            result.count(id_, FillState(line.state), line.error)
    left = [to_failed(id_, error) for id_ in ids if id_ not in settled]
    for some in batched(left, RUNS_AT_ONCE):
        ledger.fill_many(some, now=datetime.now(UTC))
        for fill in some:
            result.count(fill.quick_test_id, fill.state, fill.error)
    return result


def _to_fills(outside: Outside, rows: Sequence[Unfilled], export_uri: str) -> Iterator[Fill]:
    ours = [row for row in rows if row.digests is not None and not row.error]
    found = dict(_read_sources(outside, ours, export_uri))
    for row in rows:
        fill = catch(partial(_choose, row, found.get(row.quick_test_id, [])))
        # Data that no one has thought of. The message is for the person who mends this.
        yield to_failed(row.quick_test_id, to_message(fill)) if isinstance(fill, Exception) else fill


def _choose(row: Unfilled, sources: Sequence[Found]) -> Fill:
    if row.error:
        return to_failed(row.quick_test_id, row.error)
    if row.digests is None:
        return to_values_alone(row, LEGACY)
    history = read_history(row)
    for record in sources:
        if history is not None and not isinstance(record, str):
            return to_fill(row, history, record)
    why = "; ".join(found for found in sources if isinstance(found, str))
    return to_values_alone(row, why or "neither a metrics file nor an MLflow run is known of it")


def _read_sources(outside: Outside, rows: Sequence[Unfilled], export_uri: str) -> Iterator[tuple[int, list[Found]]]:
    """Yields what was found, by run id; a record only if it is what the history was made of."""
    histories = {row.quick_test_id: read_history(row) or {} for row in rows}
    mlflow = {
        row.quick_test_id: run_id
        for row in rows
        if histories[row.quick_test_id].get("source") != "file"
        and (run_id := row.mlflow_run_id or _to_text(histories[row.quick_test_id].get("mlflow_run_id")))
    }
    found: dict[int, list[Found]] = {row.quick_test_id: [] for row in rows}
    by_id = {row.quick_test_id: row for row in rows}
    for id_, run in _read_mlflow(outside, mlflow, export_uri):
        found[id_].append(_check(by_id[id_], f"MLflow run {mlflow[id_]}", run))
    # A backfill may have written the file of an MLflow run, which is the same record.
    left = [row for row in rows if not any(isinstance(one, MetricsRecord) for one in found[row.quick_test_id])]
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="files") as pool:
        for row, one in zip(left, pool.map(partial(_read_file, outside), left), strict=True):
            found[row.quick_test_id].append(one)
    yield from found.items()


def _read_mlflow(
    outside: Outside, run_ids: Mapping[int, str], export_uri: str
) -> Iterator[tuple[int, RawRun | LostRun | str]]:
    if not run_ids:
        return
    by_run: dict[str, list[int]] = {}
    for id_, run_id in run_ids.items():
        by_run.setdefault(run_id, []).append(id_)
    seen: set[int] = set()
    try:
        with closing(outside.open_tracking(export_uri)) as tracking:
            for run in tracking.read_runs(by_run):  # whole: version 1's mapping knows no other choice with every curve
                for id_ in by_run[run.run_id if isinstance(run, LostRun) else run.info.run_id]:
                    seen.add(id_)
                    yield id_, run
    except BadSetup as err:  # an MLflow that is gone for good does not stop the others
        for id_ in run_ids.keys() - seen:
            yield id_, f"MLflow run {run_ids[id_]} cannot be read: {err}"


def _read_file(outside: Outside, row: Unfilled) -> Found:
    if not row.gcs_artifacts_path:
        return "it has no folder, so there is no training_metrics.json"
    uri = f"{row.gcs_artifacts_path.rstrip('/')}/training_metrics.json"

    def read() -> MetricsRecord:
        return read_record(outside.objects(uri).read(uri, max_bytes=MAX_FILE_BYTES)[0], where=uri)

    record = catch(read)
    if isinstance(record, TryAgain):
        raise record
    return _check(row, uri, record)


def _check(row: Unfilled, where: str, source: RawRun | LostRun | MetricsRecord | Exception | str) -> Found:
    """Returns the record, if it is what is published; else why not."""
    if isinstance(source, str):
        return source
    if isinstance(source, LostRun):
        return f"{where} cannot be read: {source.error}"
    record: Any = catch(partial(to_record, source, row.versions)) if isinstance(source, RawRun) else source
    if isinstance(record, Exception):
        return f"{where} cannot be read: {to_message(record)}"
    if is_source(row, record):
        found: MetricsRecord = record
        return found
    return f"{where} differs from what is published: it was changed since"


def _to_text(value: object) -> str:
    return value if isinstance(value, str) else ""
