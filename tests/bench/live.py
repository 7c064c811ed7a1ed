"""The CPU of one live publish, without Prefect: what a flow that waits, or reconcile, does for a run that trains.

One look is at a metrics file that has a new snapshot of 50 epochs, and one at a file that is as it was.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.metrics.record import MetricsRecord, RunIdentity
from switchyard.core.metrics.writing import to_json
from switchyard.core.ports import ANY
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.live import LiveState
from switchyard.core.runs.rows import Claim, Job, JobNews, NewRun
from switchyard.services.live import Snapshots, find_uri, publish_snapshot
from tests.bench.ingest import make_run

EPOCHS = 50
REPEATS = 60
WARM_UP = 10
LIMIT_MS = 5.0
OF_OUR_TRAINER = 3
"""Series beside losses, norms and statistics: recall, learning rate and seconds."""


def main() -> dict[str, float]:
    """Prints the table, and returns its figures: milliseconds of CPU, the mean of `REPEATS`."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'results.db'}"
        settings = read_settings({"RESULTS_URL": url, "STATE_DIR": folder})
        migrate(settings)
        outside = Outside(settings)
        figures = {
            "our trainer's snapshot": _measure_ms(outside, OF_OUR_TRAINER),
            "one of 134 keys": _measure_ms(outside, 100),
            "nothing new": _measure_look_ms(outside),
        }
        outside.close()
    print(f"one live publish of {EPOCHS} epochs with all statistics, CPU, mean of {REPEATS}:")
    for step, figure_ms in figures.items():
        print(f"  {step:<26}{figure_ms:8.2f} ms")
    print(f"  {'asked for: at most':<26}{LIMIT_MS:8.2f} ms")
    return figures


def _measure_ms(outside: Outside, metrics: int) -> float:
    """Each time the run's next snapshot: read, published over the last one, and its line written."""
    job = _start(outside, f"{metrics} series")
    whole = make_run(EPOCHS, metrics=metrics)
    uri = find_uri(outside, job)
    snapshots = Snapshots(outside, job, LiveState(), say=_refuse)
    times = []
    for number in range(WARM_UP + REPEATS):
        # Another restart each time, for other values of the same epochs would be kept out.
        outside.objects(uri).write(uri, to_json(_to_snapshot(whole, job, number)), if_generation=ANY)
        generation = snapshots.state.generation
        # The pause is over; every third snapshot has a ledger line, as of a training that writes one in ten seconds.
        snapshots.state = LiveState(generation=generation, line_s=time.monotonic() if number % 3 else None)
        started = time.process_time()
        snapshots.look()
        times.append(time.process_time() - started)
        assert snapshots.state.generation > generation
        stored = outside.histories.read_history(job.quick_test_id).history_json or b""
        assert msgspec.json.decode(stored)["loss"]["train"][0] == number
    return statistics.mean(times[WARM_UP:]) * 1e3


def _measure_look_ms(outside: Outside) -> float:
    job = _start(outside, "nothing new")
    uri = find_uri(outside, job)
    generation = outside.objects(uri).write(uri, to_json(make_run()), if_generation=ANY)

    def look() -> object:
        return publish_snapshot(outside, job, uri, seen=generation)

    return _to_median_ms(look)


def _start(outside: Outside, name: str) -> Job:
    now = datetime.now(UTC)
    run = outside.runs.create_run(NewRun(request_key=name), now=now)
    folder = f"{outside.settings.artifacts_uri}/quick_tests/{run.id}"
    asked = Claim(quick_test_id=run.id, request_key=name, artifacts_uri=folder, parameters={"epochs": EPOCHS})
    job = outside.jobs.claim_job(asked, now=now).job
    return outside.jobs.record_job(job.key, JobNews(state=JobState.RUNNING, job_name=f"job {name}"), now=now)


def _to_snapshot(record: MetricsRecord, job: Job, restart: int) -> MetricsRecord:
    identity = RunIdentity(quick_test_id=job.quick_test_id, key=job.key, attempt=job.attempt, restart=restart)
    loss = record.loss | {"loss": [float(restart), *record.loss["loss"][1:]]}
    return msgspec.structs.replace(record, status="partial", run=identity, loss=loss)


def _to_median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times) * 1e3


def _refuse(said: str) -> None:
    raise AssertionError(said)


if __name__ == "__main__":
    main()
