"""What watching a thousand jobs on Vertex AI costs: reconcile's requests a turn (a minute), its time, its memory."""

import gc
import os
import random
import statistics
import tempfile
import time
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from google.cloud.aiplatform_v1.types import CreateCustomJobRequest, DeleteCustomJobRequest
from google.cloud.aiplatform_v1.types import JobState as VertexState
from prefect.events.worker import EventsWorker
from prefect.logging import disable_run_logger
from prefect.testing.utilities import prefect_test_harness

from flows.reconcile import ReconcileResult, reconcile
from switchyard.clients.connect import Outside, connect
from switchyard.clients.launchers.vertex.custom_job import to_custom_job
from switchyard.clients.results.migrate import migrate
from switchyard.core.runs.jobs import JobOrder, JobState, to_labels
from switchyard.core.runs.missing import LOOKS
from switchyard.core.runs.rows import Claim, JobNews, NewRun
from tests.emulators.certificate import make_certificate
from tests.emulators.gcs import start_gcs
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_core import CREATE, DELETE, GET, LIST
from tests.emulators.vertex_jobs import PARENT, make_config
from tests.flows.vertex_world import SCRIPTED, to_environ

JOBS = 1_000
TURNS = 24
ENDING, VANISHING = 3, 2
"""The jobs that end, and those that are gone, between two turns."""


class Fleet:
    """Submitted runs that no one waits for, all at work."""

    def __init__(self, outside: Outside, vertex: VertexEmulator, jobs: int) -> None:
        self._vertex = vertex
        self._random = random.Random(7)
        self.names = [self._submit(outside, number) for number in range(jobs)]

    def _submit(self, outside: Outside, number: int) -> str:
        """A run and its job, as `train --no-wait` leaves them; the service is asked directly, which is quicker."""
        now = datetime.now(UTC)
        run = outside.runs.create_run(NewRun(request_key=f"request-{number}"), now=now)
        folder = f"{outside.settings.artifacts_uri}/quick_tests/{run.id}"
        job = outside.jobs.claim_job(
            Claim(quick_test_id=run.id, request_key=f"r{number}", artifacts_uri=folder, image=SCRIPTED), now=now
        ).job
        labels = to_labels(outside.runs.read_database_id(), run.id, job.attempt)
        arguments = [f"--artifacts-uri={folder}", *(f"--argument-{n}=value" for n in range(40))]
        order = JobOrder(display_name=f"run {run.id}", arguments=arguments, labels=labels, timeout_s=600)
        asked = to_custom_job(job.key, order, image=SCRIPTED, service_account="")
        created = self._vertex.core.invoke(
            CREATE, CreateCustomJobRequest.pb(CreateCustomJobRequest(parent=PARENT, custom_job=asked))
        )
        self._vertex.core.move(created.name, VertexState.JOB_STATE_RUNNING)
        outside.jobs.record_job(job.key, JobNews(state=JobState.RUNNING, job_name=created.name), now=now)
        return str(created.name)

    def live_a_minute(self) -> None:
        """Some jobs are cancelled by someone, and some are deleted."""
        self._random.shuffle(self.names)
        for _ in range(ENDING):
            self._vertex.core.end(self.names.pop(), VertexState.JOB_STATE_CANCELLED)
        self.lose(VANISHING)

    def lose(self, jobs: int) -> None:
        """Someone deletes that number of jobs."""
        for _ in range(jobs):
            gone = DeleteCustomJobRequest.pb(DeleteCustomJobRequest(name=self.names.pop()))
            self._vertex.core.invoke(DELETE, gone)


class Turn(msgspec.Struct, frozen=True):
    """One turn of reconcile: its requests by method, its processor time, and what the process holds after it."""

    requests: Counter[str]
    settled: int
    cpu_ms: float
    held_bytes: int


def turn(vertex: VertexEmulator) -> Turn:
    """Runs reconcile once, and counts."""
    vertex.core.faults.forget()
    started = time.process_time()
    with disable_run_logger():
        result = reconcile(missing_grace_s=0)
    cpu_ms = (time.process_time() - started) * 1_000
    assert isinstance(result, ReconcileResult)
    counts = Counter(vertex.core.faults.counts())
    EventsWorker.instance().wait_until_empty()  # Prefect sends its own events later: they are no growth
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return Turn(counts, len(result.settled), cpu_ms, held)


def measure(transport: str) -> dict[str, float | str]:
    """The figures by one transport."""
    with tempfile.TemporaryDirectory() as folder, start_gcs() as gcs:
        config = make_config(new_job_state=VertexState.JOB_STATE_QUEUED)
        with VertexEmulator(config) as vertex:
            environ = to_environ(vertex, Path(folder), "gs://switchyard-test/runs", transport=transport)
            os.environ.update(gcs.environ | environ)
            migrate(connect().settings)
            fleet = Fleet(connect(), vertex, JOBS)
            turns = []
            for number in range(TURNS):
                if number == 2:  # what the first turns load and keep is no growth
                    tracemalloc.start()
                fleet.live_a_minute()
                turns.append(turn(vertex))
            tracemalloc.stop()
    # A deleted job is called gone by the third look that misses it.
    assert all(one.settled == ENDING + VANISHING for one in turns[LOOKS - 1 :])
    held_kb = [one.held_bytes / 1024 for one in turns[4:]]
    growth_kb = statistics.linear_regression(range(len(held_kb)), held_kb).slope
    most = max(one.requests.total() for one in turns)
    cpu_ms = statistics.median(one.cpu_ms for one in turns[:2])
    lists, gets = turns[-1].requests[LIST], turns[-1].requests[GET]
    print(f"{transport:9} | {most:22} | {lists:5} | {gets:4} | {cpu_ms:8.0f} | {held_kb[-1]:12.0f} | {growth_kb:11.1f}")
    return {f"{transport}_requests_a_turn": most, f"{transport}_kb_a_turn": round(growth_kb, 1)}


def main() -> dict[str, float | str]:
    """Prints a line a transport."""
    print(f"{JOBS} jobs at work; between two turns {ENDING} end and {VANISHING} are deleted; {TURNS} turns")
    print("transport | most requests in a turn | LISTs | GETs | CPU [ms] | memory [KiB] | its growth a turn [KiB]")
    with tempfile.NamedTemporaryFile(suffix=".pem") as roots:
        roots.write(make_certificate()[1])
        roots.flush()
        os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = roots.name
        with prefect_test_harness(server_startup_timeout=120):
            return measure("rest") | measure("grpc")


if __name__ == "__main__":
    print(datetime.now(UTC).date(), main())
