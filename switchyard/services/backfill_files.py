"""Writes the training_metrics.json of past runs. With it an old run is like a new one, and no longer needs MLflow."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.core.backfill.plan import BACKFILLED, FILED, STALE
from switchyard.core.errors import BadRecord, StaleWrite, TryAgain, catch, to_message
from switchyard.core.history.digest import to_digests
from switchyard.core.history.publication import Draft, Rank
from switchyard.core.history.publishing import to_rank
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MAX_FILE_BYTES, MetricsRecord, RunIdentity
from switchyard.core.metrics.writing import to_json
from switchyard.core.ports import ABSENT

FILES_AT_ONCE: Final = 8
"""Files that are written at once: most of the time is waiting for the disk or a bucket."""


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to write if there is none."""

    quick_test_id: int
    mlflow_run_id: str
    folder: str
    data: bytes
    full_digest: str | None
    key: str = ""  # of the run, as the file has it
    rank: Rank = Rank()


def to_file(record: MetricsRecord, *, quick_test_id: int, mlflow_run_id: str, name: str, folder: str) -> RunFile:
    """Returns the file of `record`. Equal records of one run give equal bytes.

    For a run that a job of ours has logged, `record.run` says which attempt it is, and the file says so too: ingest
    would take another identity for an earlier attempt's.

    Raises:
        BadRecord: the record is not whole, or breaks the files' contract.
    """
    key = f"{BACKFILLED}{mlflow_run_id}"
    identity = record.run or RunIdentity(quick_test_id=quick_test_id, key=key, attempt=0, restart=0)
    identity = msgspec.structs.replace(identity, name=name)
    return RunFile(
        quick_test_id=quick_test_id,
        mlflow_run_id=mlflow_run_id,
        folder=folder,
        data=to_json(msgspec.structs.replace(record, run=identity)),
        full_digest=to_digests(record).full,
        key=identity.key,
        rank=to_rank(record),
    )


def write_files(outside: Outside, drafts: Sequence[tuple[Draft, RunFile | None]]) -> list[Draft]:
    """Returns the drafts once their files are there. A draft fails later if its file could not be written.

    A second call finds the files, and writes nothing.

    Raises:
        TryAgain: a store did not answer; some files may have been written.
    """
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(lambda one: _write(outside, *one), drafts))


def _write(outside: Outside, draft: Draft, file: RunFile | None) -> Draft:
    if file is None:
        return draft
    err = catch(partial(write_file, outside, file))
    if isinstance(err, TryAgain):
        raise err
    if err is not None:
        return msgspec.structs.replace(draft, publication=None, state="failed", error=to_message(err))
    state = STALE if draft.state == STALE else FILED  # a stale run is found by that word
    return msgspec.structs.replace(draft, state=state, gcs_artifacts_path=file.folder)


def write_file(outside: Outside, file: RunFile) -> None:
    """Writes the file if there is none, and accepts one that says the same. A second call does nothing.

    A file that was written of the same run while it went on is replaced, unless it says more.

    Raises:
        StaleWrite: there is a file that says something else, or cannot be read. It is left as it is.
    """
    uri = f"{file.folder}/training_metrics.json"
    objects = outside.objects(uri)
    try:
        objects.write(uri, file.data, if_generation=ABSENT)
    except StaleWrite as err:
        where = f"training_metrics.json of quick test {file.quick_test_id} ({uri})"
        left = f"it is left as it is. To publish MLflow run {file.mlflow_run_id}: backfill without --full"
        try:
            data, generation = objects.read(uri, max_bytes=MAX_FILE_BYTES)
            record = read_record(data, where=where)
        except BadRecord as unreadable:
            raise StaleWrite(f"a file that cannot be read is there: {unreadable}; {left}") from err
        if _is_earlier(record, file):
            objects.write(uri, file.data, if_generation=generation)
            return
        there = to_digests(record).full
        if there != file.full_digest:
            raise StaleWrite(
                f"{where} must say what MLflow run {file.mlflow_run_id} says, with digest {file.full_digest}; "
                f"its own is {there}; {left}. To publish the file: switchyard ingest {file.quick_test_id}"
            ) from err


def _is_earlier(there: MetricsRecord, file: RunFile) -> bool:
    """Returns true for an earlier file of the same run.

    It was written before the run ended, or an earlier backfill made it of the same MLflow run, which has changed
    since."""
    if there.run is None or there.run.key != file.key:
        return False
    if there.status == "partial":
        return to_rank(there) <= file.rank
    return file.key == f"{BACKFILLED}{file.mlflow_run_id}"
