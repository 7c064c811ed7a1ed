"""A second run beside the one that is tried, which reconcile comes to first and cannot repair: it stops no other."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from switchyard.clients.results.open import ResultsPorts
from switchyard.clients.settings import Settings
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, NewRun
from tests.clients.results.places import run_sql
from tests.emulators.gcs import Gcs
from tests.emulators.gcs_rules import Preconditions

Poison = Literal[
    "parameters that hold NaN",
    "an interval that is a word",
    "a row that cannot be fetched",
    "mlflow_info.json nested 1,000 deep",
    "a file at whose read reconcile is killed",
]

NEIGHBOUR_ID = 0
"""Below every id that the database gives: reconcile takes the oldest first."""

_UPDATES: dict[Poison, str] = {
    "parameters that hold NaN": "UPDATE switchyard_jobs SET parameters = '{\"interval\": NaN}' WHERE quick_test_id = 0",
    "an interval that is a word": (
        'UPDATE switchyard_jobs SET parameters = \'{"interval": "five"}\' WHERE quick_test_id = 0'
    ),
    "a row that cannot be fetched": "UPDATE quick_tests SET completed_at = 'noon' WHERE id = 0",
}
_REPAIRED: tuple[Poison, ...] = (
    "mlflow_info.json nested 1,000 deep",  # its metrics file is good, and goes first
    "a file at whose read reconcile is killed",  # where the try outlasts its first pause
)


def add_neighbour(poison: Poison, results: ResultsPorts, settings: Settings, gcs: Gcs, good_file: bytes) -> None:
    """A run of a job that has succeeded, not published yet; `good_file` is the metrics file of another."""
    now, folder = datetime.now(UTC), f"{settings.artifacts_uri}/quick_tests/{NEIGHBOUR_ID}"
    run = results.runs.create_run(NewRun(request_key="neighbour"), now=now)
    claim = Claim(quick_test_id=run.id, request_key="neighbour", artifacts_uri=folder, parameters={"interval": 2})
    job = results.jobs.claim_job(claim, now=now).job
    results.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=now)
    for table, column in (("quick_tests", "id"), ("switchyard_jobs", "quick_test_id")):
        run_sql(settings.results_url, f"UPDATE {table} SET {column} = {NEIGHBOUR_ID} WHERE {column} = :id", id=run.id)
    if poison in _UPDATES:
        run_sql(settings.results_url, _UPDATES[poison])
    record: dict[str, Any] = json.loads(good_file)
    record["run"] |= {"quick_test_id": NEIGHBOUR_ID, "key": job.key}
    write = _to_writer(gcs, folder)
    write("training_metrics.json", json.dumps(record).encode())
    if poison == "mlflow_info.json nested 1,000 deep":
        write("mlflow_info.json", b'{"a":' * 1000 + b"1" + b"}" * 1000)


def check_neighbour(poison: Poison, results: ResultsPorts) -> list[str]:
    """What is wrong: what became of it must be written down, so that it is not tried again each turn."""
    lines = [line for line in results.ledger.read_ledger("repair") if line.quick_test_id == NEIGHBOUR_ID]
    if len(lines) == 1:
        [line] = lines
        if line.state == "failed" and line.error and line.next_try_at and poison != _REPAIRED[0]:
            return []
        if line.state == "done" and poison in _REPAIRED:
            return []
    return [f"the neighbour must have a line in the ledger that says what became of it; got {lines}"]


def _to_writer(gcs: Gcs, folder: str) -> Callable[[str, bytes], object]:
    bucket, _, prefix = folder.removeprefix("gs://").partition("/")
    return lambda name, data: gcs.store.insert(bucket, f"{prefix}/{name}", data, {}, Preconditions())


POISONS: tuple[Poison, ...] = get_args(Poison)
