"""One try of one fault: done to a run of its own, recovered from as in production, then checked."""

import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from google.cloud.aiplatform_v1.types import JobState

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.clients.settings import Settings, read_settings
from tests.emulators.faults import Fault
from tests.emulators.gcs_rules import Preconditions
from tests.emulators.vertex_table import TERMINAL
from tests.faults.cases import Case, FlowName
from tests.faults.checking import RUN_ID, JobSeen, Left, Violations, find_violations, read_left
from tests.faults.neighbours import add_neighbour, check_neighbour
from tests.faults.orders import FlowOrder, Kill
from tests.faults.site import BUCKET, IMAGE, Site
from tests.flows.vertex_world import to_environ
from tests.postgres import Postgres

DEADLINE_S = 300.0
"""For all of a try: what a run needs on this machine is seconds, the longest outage and its retries a minute."""
RECOVERIES: tuple[tuple[FlowName, ...], ...] = (("reconcile",), ("train",), ("train", "reconcile"))
"""What comes first after the fault, by the try's number: reconcile, the same request once more, or both at once."""

_MIGRATING = threading.Lock()  # Alembic is for one thread
_SERVING = threading.Lock()  # the wheel that starts Postgres, too


class Trial:
    """A run at a region, below a folder and in a results database of its own."""

    def __init__(self, site: Site, name: str, case: Case, number: int) -> None:
        self.case = case
        self._site = site
        self._region = f"{name}-{number}"
        self._number = number
        self._until = time.monotonic() + DEADLINE_S
        self._folder = site.folder / self._region
        self._folder.mkdir()
        self._root = f"gs://{BUCKET}/{self._region}"
        self._environ = to_environ(site.vertex, self._folder, self._root, image=IMAGE) | {"GCP_REGION": self._region}
        self._late: list[str] = []
        self._flows_started = 0
        self._postgres: Postgres | None = None

    def run(self, *, recover: bool = True) -> Left:
        """What is left once the fault was done, and recovered from."""
        with ExitStack() as stack:
            if self.case.database == "away":
                folder = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-"))
                )  # a socket's path is short
                with _SERVING:
                    self._postgres = Postgres(folder)
                    self._environ["RESULTS_URL"] = self._postgres.url(self._postgres.make_database())
                stack.callback(self._remove_postgres)
            with _MIGRATING:
                migrate(self._settings)
            results = open_results(self._settings.results_url)
            if self.case.unwatched:
                self._finish([self._start("train", wait=False)])
                self._wait_for_jobs()
            if self.case.neighbour:
                good = self._read_files()["training_metrics.json"]
                add_neighbour(self.case.neighbour, results, self._settings, self._site.gcs, good)
            faults = self._order_faults()
            with self._database_trouble():
                self._do()
            if recover:
                self._recover(results)
            self._check_done(faults)
            if self.case.neighbour:
                self._late += check_neighbour(self.case.neighbour, results)
            return read_left(results, self._list_jobs(), self._read_files(), events=self._count_events())

    def check(self, left: Left, plain: Left) -> Violations:
        """What of it is wrong."""
        return find_violations(left, plain, late=self._late)

    def _remove_postgres(self) -> None:
        assert self._postgres is not None
        with _SERVING:
            self._postgres.remove()

    @property
    def points(self) -> list[str]:
        """What the first flow did to the outside, in order."""
        return (self._folder / "1.points").read_text().splitlines()

    @property
    def _settings(self) -> Settings:
        return read_settings(self._environ)

    def _order_faults(self) -> list[Fault]:
        prefix = f"{self._region}/quick_tests/{RUN_ID}/"
        vertex = [
            msgspec.structs.replace(fault, target=f"*/locations/{self._region}*", seen=0) for fault in self.case.vertex
        ]
        gcs = [msgspec.structs.replace(fault, target=prefix + fault.target, seen=0) for fault in self.case.gcs]
        for fault in vertex:
            self._site.vertex.core.faults.order(fault)
        for fault in gcs:
            self._site.gcs.inject(fault)
        return [*vertex, *gcs]

    def _do(self) -> None:
        """The flows under the fault, to their ends."""
        kill = self.case.kill
        numbers = [self._start(flow, kill=kill) for flow in self.case.flows]
        while self.case.racing and self._site.flows.is_alive(numbers[0]) and self._left_s():
            self._finish([self._start("reconcile")])
        ends = self._finish(numbers)
        if kill is not None and -signal.SIGKILL not in ends:
            self._late.append(f"the fault was not injected: {self.case.flows} ended with {ends}, not by {kill}")

    def _recover(self, results: ResultsPorts) -> None:
        """Reconcile, the same request, or both, then each in turn, as in production, until nothing is left to do."""
        plan = ("reconcile",) if self.case.neighbour else RECOVERIES[self._number % len(RECOVERIES)]
        while not self._is_settled(results):
            if not self._left_s():
                self._late.append(f"not settled within {DEADLINE_S:g} s")
                return
            self._finish([self._start(flow) for flow in plan])
            self._wait_for_jobs()
            if self.case.neighbour:
                continue  # the repeated request would publish its run past whatever stops reconcile
            plan = ("train",) if plan == ("reconcile",) else ("reconcile",)

    def _is_settled(self, results: ResultsPorts) -> bool:
        left = read_left(results, self._list_jobs(), {}, events=0)
        has_ended = all(job.state in ("succeeded", "failed", "cancelled") for job in left.jobs)
        return bool(left.runs and left.jobs and left.unsettled == 0 and left.is_announced and has_ended)

    def _check_done(self, faults: list[Fault]) -> None:
        missed = [fault for fault in faults if fault.seen < fault.nth]
        job_ids = [job.name.rpartition("/")[2] for job in self._list_jobs()]
        if self.case.act is not None and not any((self._site.notes / job_id).exists() for job_id in job_ids):
            self._late.append(f"the fault was not injected: no container came to {self.case.act}")
        self._late.extend(f"the fault was not injected: {fault}" for fault in missed)

    def _start(self, flow: FlowName, *, kill: Kill | None = None, wait: bool = True) -> int:
        parameters: dict[str, Any] = {"quick_test_id": RUN_ID} if flow == "ingest" else {}
        if flow == "train":
            name = self.case.act.to_name(self._region) if self.case.act else ""
            parameters = {"request_key": "once", "name": name, "epochs": 6, "poll_interval_s": 0.1, "wait": wait}
        self._flows_started += 1
        order = FlowOrder(
            number=0,
            flow=flow,
            parameters=parameters,
            environ=self._environ,
            kill=kill,
            call_timeout_s=self.case.call_timeout_s,
            log=str(self._folder / f"{self._flows_started}.log"),
        )
        return self._site.flows.start(order)

    def _finish(self, numbers: list[int]) -> list[int | None]:
        ends = [self._site.flows.wait(number, self._left_s()) for number in numbers]
        if None in ends:
            self._late.append(f"a flow that had not ended after {DEADLINE_S:g} s")
        if 3 in ends:
            self._late.append(f"a flow that ended with an error that is not ours: see {self._folder}/*.log")
        return ends

    def _wait_for_jobs(self) -> None:
        """Until every job has ended: Vertex AI holds each to its own timeout."""
        while any(job.state not in ("succeeded", "failed", "cancelled") for job in self._list_jobs()):
            if not self._left_s():
                self._late.append("a job that had not ended")
                return
            time.sleep(0.02)

    def _left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def _list_jobs(self) -> list[JobSeen]:
        core = self._site.vertex.core
        jobs = [core.read(name) for name in core.list_names() if f"/locations/{self._region}/" in name]
        return [
            JobSeen(
                name=job.name,
                key=job.labels["switchyard-key"],
                state=JobState(job.state).name.removeprefix("JOB_STATE_").lower(),
            )
            for job in jobs
        ]

    def _read_files(self) -> dict[str, bytes]:
        store, prefix = self._site.gcs.store, f"{self._region}/quick_tests/{RUN_ID}/"
        names = [item.name for item in store.list(BUCKET, {"prefix": prefix}).items]
        return {name.removeprefix(prefix): store.read(BUCKET, name, Preconditions())[1] for name in names}

    def _count_events(self) -> int:
        return sum(log.read_text().splitlines().count("emit the event") for log in self._folder.glob("*.points"))

    @contextmanager
    def _database_trouble(self) -> Iterator[None]:
        """The database is locked, or away, from a moment on and for a time, while the body runs."""
        if not self.case.database:
            yield
            return
        thread = threading.Thread(target=self._trouble_database)
        thread.start()
        yield
        thread.join()

    def _wait_for_running(self) -> None:
        core = self._site.vertex.core
        while self._left_s():
            names = [name for name in core.list_names() if f"/locations/{self._region}/" in name]
            states = [core.read(name).state for name in names]
            if any(state == JobState.JOB_STATE_RUNNING or state in TERMINAL for state in states):
                return
            time.sleep(0.005)

    def _trouble_database(self) -> None:
        if self.case.database_from == "running":
            self._wait_for_running()
        if self._postgres is not None:
            with _SERVING:
                self._postgres.stop()
            time.sleep(self.case.database_for_s)
            with _SERVING:
                self._postgres.start()
            return
        connection = sqlite3.connect(self._folder / "results.db", isolation_level=None, timeout=30)
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(self.case.database_for_s)
        connection.execute("COMMIT")
        connection.close()


def run_plain(site: Site, name: str = "plain") -> tuple[Left, list[str]]:
    """What a run leaves that nothing is done to, and the points that its flow passed."""
    trial = Trial(site, name, Case(step="submit", fault="none"), 0)
    left = trial.run()
    late = [*trial.check(left, left)]
    assert not late, late
    return left, trial.points
