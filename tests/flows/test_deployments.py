"""A real Prefect server and worker, as `make up` starts them: every way to start a run, to its published result.

The stacks take most of the time; what the tests wait for runs at the same time in one of them.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import msgspec
import psutil
import pytest
import yaml
from playwright.sync_api import expect
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from deployments.local import to_name
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.local_servers import find_local_servers
from switchyard.clients.prefect.analytics import ANALYTICS_OFF
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import RunStatus
from tests.chromium import open_browser, skip_without_chromium
from tests.flows.polling import wait_for
from tests.root import ROOT
from tests.terminals import Terminal

pytestmark = pytest.mark.timeout(600)

COMMAND = Path(sys.executable).with_name("switchyard")
TOY: dict[str, object] = {
    "epochs": 3,
    "synthetic_buyers": 60,
    "synthetic_products": 40,
    "synthetic_interactions": 1_000,
    "batch_size": 64,
    "embedding_dim": 8,
    "top_k": 10,
}


MODEL = "by event"


class Stack:
    """A running `switchyard up`."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.folder, self.ports = folder, ports
        self.api_url = f"http://127.0.0.1:{ports[0]}/api"
        self.log = folder / "up.log"
        self.process = start_up(folder, ports, self.log)

    @property
    def results(self) -> ResultsPorts:
        return open_results(f"sqlite:///{self.folder / 'state' / 'results.db'}", table="")

    def read_log(self) -> str:
        return self.log.read_text()

    def wait_until_ready(self) -> None:
        wait_for(lambda: "ready. Prefect" in self.read_log() or self.process.poll() is not None, deadline_s=240)
        assert self.process.poll() is None, self.read_log()

    def list_processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> list[psutil.Process]:
        """Ctrl-C; the processes that are left after it. A second call does nothing."""
        if self.process.poll() is not None:
            return []
        processes = self.list_processes()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        return [process for process in processes if process.is_running()]


def start_up(folder: Path, ports: tuple[int, int], log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    for name in (*ANALYTICS_OFF, *(field.upper() for field in Settings.__struct_fields__)):
        environment.pop(name, None)
    with log.open("ab") as output:
        return subprocess.Popen(
            # From a subfolder: what it starts must find the programs all the same.
            [COMMAND, "up", f"--prefect-port={ports[0]}", f"--port={ports[1]}"],
            cwd=ROOT / "docs",
            env=environment | {"STATE_DIR": str(folder / "state")},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@contextmanager
def running_stack(folder: Path, ports: tuple[int, int] | None = None) -> Iterator[Stack]:
    stack = Stack(folder, ports or free_ports())
    try:
        stack.wait_until_ready()
        yield stack
    finally:
        left = stack.stop()
        for process in left:
            process.kill()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: stack.api_url}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def started(client: SyncPrefectClient) -> dict[str, UUID]:
    """A run of each kind, all under way at once: their flow runs' ids, and the deployment of the scheduled one."""
    nightly = client.read_deployment_by_name("train/nightly").id
    # Prefect's scheduler may take its loop of 60 s to see a new schedule, and makes no run for a time that has passed.
    soon = IntervalSchedule(interval=timedelta(days=1), anchor_date=datetime.now(UTC) + timedelta(seconds=90))
    scheduled = DeploymentScheduleCreate(schedule=soon, active=True, parameters=TOY | {"name": "scheduled"})
    client.create_deployment_schedules(nightly, [scheduled])
    return {
        "manual": run_deployment(client, "train/manual", TOY | {"name": "by hand", "register_as": MODEL}),
        "left": run_deployment(client, "train/manual", TOY | {"name": "left", "wait": False}),
        "nightly": nightly,
    }


def run_deployment(client: SyncPrefectClient, name: str, parameters: dict[str, object]) -> UUID:
    deployment = client.read_deployment_by_name(name)
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def wait_for_state(client: SyncPrefectClient, flow_run: UUID, state: str, log: Stack) -> None:
    def is_there() -> bool:
        now = client.read_flow_run(flow_run).state
        assert now is not None
        assert now.name == state or not now.is_final(), f"{now.name}: {now.message}\n{log.read_log()[-5_000:]}"
        return now.name == state

    wait_for(is_there, deadline_s=180, what=f"flow run {flow_run} {state}")


def find_run(results: ResultsPorts, name: str) -> int | None:
    return next((run.id for run in results.runs.list_runs(limit=100) if run.display_name == name), None)


def wait_for_result(results: ResultsPorts, name: str) -> int:
    """The id of the run called `name`, completed and published."""

    def is_there() -> bool:
        id_ = find_run(results, name)
        return id_ is not None and results.runs.read_run(id_).status is RunStatus.COMPLETED

    wait_for(is_there, deadline_s=240, what=f"run {name!r} completed")
    id_ = find_run(results, name)
    assert id_ is not None
    stored = results.histories.read_history(id_).history_json
    assert stored is not None
    assert msgspec.json.decode(stored)["epochs"] == [0, 2]
    return id_


def test_a_run_started_by_hand_is_published(stack: Stack, client: SyncPrefectClient, started: dict[str, UUID]) -> None:
    """`prefect deployment run train/manual` with the form's parameters ends Completed, its history published."""
    wait_for_state(client, started["manual"], "Completed", stack)
    wait_for_result(stack.results, "by hand")


def test_a_scheduled_run_is_published(stack: Stack, client: SyncPrefectClient, started: dict[str, UUID]) -> None:
    """A schedule of train/nightly starts its run by itself."""
    wait_for_result(stack.results, "scheduled")
    by_deployment = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[started["nightly"]]))
    assert any(run.auto_scheduled for run in client.read_flow_runs(flow_run_filter=by_deployment))


def test_a_job_s_end_starts_its_ingest(stack: Stack, client: SyncPrefectClient, started: dict[str, UUID]) -> None:
    """No one waits for the job: reconcile's next turn announces its end, and the event's ingest publishes it."""
    wait_for_state(client, started["left"], "Completed", stack)
    id_ = wait_for_result(stack.results, "left")
    ingest = client.read_deployment_by_name("ingest/on-job-ended").id
    by_deployment = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[ingest]))
    ingests = [
        run for run in client.read_flow_runs(flow_run_filter=by_deployment) if run.parameters["quick_test_id"] == id_
    ]
    assert ingests, stack.read_log()[-5_000:]
    wait_for_state(client, ingests[0].id, "Completed", stack)


def test_a_completed_run_that_names_a_model_is_registered_by_its_event(
    stack: Stack, client: SyncPrefectClient, started: dict[str, UUID]
) -> None:
    """By register/on-run-completed, once, though its ingest sends the event again.

    Nothing is started for the run that names none. Other deployments promote versions and take them back by their
    forms, and the server has the events.
    """
    first, left = wait_for_result(stack.results, "by hand"), wait_for_result(stack.results, "left")
    results = stack.results
    wait_for(lambda: results.models.list_versions(MODEL), deadline_s=240, what=f"a version of {MODEL}")
    [made] = results.models.list_versions(MODEL)
    assert (made.lineage.quick_test_id, made.created_by) == (first, "register/on-run-completed")
    by_hand: list[tuple[str, dict[str, object]]] = [
        ("register/manual", {"quick_test_id": left, "name": MODEL}),
        ("promote/manual", {"name": MODEL, "version": 1}),
        ("promote/manual", {"name": MODEL, "version": 2, "expect": "1", "force": True, "reason": "new"}),
        ("rollback/manual", {"name": MODEL}),
    ]
    for deployment, parameters in by_hand:
        wait_for_state(client, run_deployment(client, deployment, parameters), "Completed", stack)
    assert results.models.read_model(MODEL).production == 1
    results.close()
    asked = {"filter": {"resource": {"id": [f"model.{MODEL}"]}, "order": "ASC"}, "limit": 50}

    def read_events() -> list[str]:
        found = httpx.post(f"{stack.api_url}/events/filter", json=asked).raise_for_status().json()["events"]
        return [f"{event['event']} {event['payload']['version']}" for event in found]

    wait_for(lambda: "model.rolled-back 1" in read_events(), what="the last event")
    assert read_events() == [
        "model.registered 1",
        "model.registered 2",
        "model.promoted 1",
        "model.promoted 2",
        "model.rolled-back 1",
    ]
    registers = client.read_deployment_by_name("register/on-run-completed").id
    by_deployment = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[registers]))
    started_for = [run.parameters["quick_test_id"] for run in client.read_flow_runs(flow_run_filter=by_deployment)]
    assert set(started_for) == {first}


def test_cancelling_a_waiting_flow_run_cancels_its_job(stack: Stack, client: SyncPrefectClient) -> None:
    """The flow run is cancelled in Prefect's UI: the training it waits for ends too."""
    long = run_deployment(client, "train/manual", TOY | {"name": "not wanted", "epochs": 100_000, "statistics": False})
    wait_for_job(stack.results, "not wanted")
    client.set_flow_run_state(long, Cancelling(message="not wanted any more"))
    id_ = find_run(stack.results, "not wanted")
    assert id_ is not None
    wait_for(
        lambda: stack.results.runs.read_run(id_).status is RunStatus.CANCELLED, deadline_s=240, what="run cancelled"
    )


def wait_for_job(results: ResultsPorts, name: str) -> str:
    """The name of the running job of the run called `name`."""
    names: list[str] = []

    def is_there() -> bool:
        id_ = find_run(results, name)
        job = results.jobs.read_job(id_) if id_ is not None else None
        names[:] = [job.job_name] if job and job.state is JobState.RUNNING else []
        return bool(names)

    wait_for(is_there, deadline_s=180, what=f"job of {name!r} running")
    return names[0]


def test_a_second_make_up_says_that_one_is_running(stack: Stack, tmp_path: Path) -> None:
    """Two on one state folder would fight over one database."""
    second = start_up(stack.folder, free_ports(), tmp_path / "second.log")
    assert second.wait(60) == 1
    assert f"one is running already for {stack.folder / 'state'}" in (tmp_path / "second.log").read_text()


def test_schedules_are_paused_but_reconciles_and_the_log_names_all(stack: Stack, client: SyncPrefectClient) -> None:
    """A laptop does not train at night until someone wants it to."""
    prefect_yaml = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    active: dict[str, bool] = {}
    for deployment in prefect_yaml["deployments"]:
        assert to_name(deployment) in stack.read_log()
        found = client.read_deployment_by_name(to_name(deployment))
        active |= {to_name(deployment): schedule.active for schedule in found.schedules}
    paused = {"train/nightly": False, "backfill/hourly": False, "verify/weekly": False}
    assert active == paused | {"reconcile/every-minute": True}
    assert "paused: the schedules of train/nightly, backfill/hourly, verify/weekly." in stack.read_log()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The message says which port, and how to name another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = start_up(tmp_path, (free_ports()[0], port), tmp_path / "up.log")
        assert up.wait(60) == 1
    assert f"port {port} of 127.0.0.1 is taken" in (tmp_path / "up.log").read_text()


def test_no_process_sends_anything_home(stack: Stack, started: dict[str, UUID]) -> None:
    """Prefect's server, the worker, its flow runs and the API have what keeps Prefect quiet in their environment.

    The surroundings of `make up` have nothing of it here.
    """
    assert ANALYTICS_OFF.keys() & psutil.Process(stack.process.pid).environ().keys() == set()
    seen: dict[str, dict[str, str]] = {}

    kinds = ("server start", "worker start", "serving", "flow run")

    def has_seen_all() -> bool:
        for process in stack.list_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                environ = process.environ()
                flow_run = "flow run" if "PREFECT__FLOW_RUN_ID" in environ else ""
                seen[flow_run or " ".join(process.cmdline())] = environ
        return all(any(kind in one for one in seen) for kind in kinds)

    wait_for(has_seen_all, deadline_s=180, what="a process of each kind")
    # A worker hands its settings on as Python writes them: `False`.
    assert {
        one: {name: environ.get(name) for name in ANALYTICS_OFF}
        for one, environ in seen.items()
        if any(environ.get(name, "").lower() != value for name, value in ANALYTICS_OFF.items())
    } == {}
    server = httpx.get(f"{stack.api_url}/admin/settings").json()["server"]
    assert (server["analytics_enabled"], server["ui"]["v2_enabled"]) == (False, False)


@pytest.mark.needs_browser
@skip_without_chromium
def test_prefects_pages_ask_nobody_else(stack: Stack) -> None:
    """The newer of Prefect's two UIs asks Amplitude's host for a configuration, whatever is switched off."""
    asked: list[str] = []
    with open_browser() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(stack.api_url.removesuffix("api"), wait_until="networkidle")
        expect(page.get_by_text("Deployments").first).to_be_visible()
    assert {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))} == {"127.0.0.1"}


def test_the_command_line_uses_the_running_server(stack: Stack) -> None:
    """`python -m flows` beside a running `make up` starts no second server on the same database."""
    settings = read_settings({"STATE_DIR": str(stack.folder / "state")})
    servers = find_local_servers(settings)
    assert servers is not None
    assert servers.prefect_api_url == stack.api_url


@pytest.mark.slow  # a stack of its own
@pytest.mark.parametrize(
    ("interrupt", "status"), [(Terminal.press_ctrl_c, -signal.SIGINT), (Terminal.terminate, -signal.SIGTERM)]
)
def test_make_up_at_a_terminal_stops_in_order(
    tmp_path: Path, interrupt: Callable[[Terminal], None], status: int
) -> None:
    """The whole group has the signal, and `make` passes SIGTERM on: nothing is killed, no process and no note stays.

    The shell sees that make was interrupted.
    """
    ports = free_ports()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {"STATE_DIR": str(tmp_path / "state"), "TERM": "xterm"}
    make = ["make", "up", f"UP=--prefect-port={ports[0]} --port={ports[1]}"]
    with Terminal(make, cwd=ROOT, env=environment) as terminal:
        wait_for(lambda: "ready. Prefect" in terminal.read() or terminal.process.poll() is not None, deadline_s=300)
        processes = psutil.Process(terminal.process.pid).children(recursive=True)
        interrupt(terminal)
        assert terminal.process.wait(60) in (status, 2), terminal.read()
        said = terminal.read()
    assert "up | stopping" in said.replace("\033[0m", "")
    assert "killing" not in said
    assert "Traceback" not in said
    wait_for(lambda: not [process for process in processes if process.is_running()], what=str(processes))
    assert not (tmp_path / "state" / "up.json").exists()


@pytest.mark.slow  # two stacks of its own, one after the other
def test_the_loss_of_the_worker_loses_no_run(tmp_path: Path) -> None:
    """kill -9 of the worker and of the waiting flow run: everything stops with a message, and the job goes on.

    The next `make up` publishes it. Ctrl-C leaves no process behind.
    """
    ports = free_ports()
    with running_stack(tmp_path, ports) as lost:
        with temporary_settings({PREFECT_API_URL: lost.api_url}), get_client(sync_client=True) as client:
            run_deployment(client, "train/manual", TOY | {"name": "lost", "synthetic_interactions": 20_000})
        job_name = wait_for_job(lost.results, "lost")
        worker = next(child for child in lost.list_processes() if "worker" in child.cmdline())
        for process in [*worker.children(recursive=True), worker]:
            process.kill()
        assert lost.process.wait(60) == 1
        assert "worker has ended by itself with status -9" in lost.read_log()
    launcher = LocalLauncher(str(tmp_path / "state"))
    wait_for(lambda: launcher.report([job_name])[job_name].state is JobState.SUCCEEDED, deadline_s=120)
    with running_stack(tmp_path, ports) as again:
        wait_for_result(again.results, "lost")
        assert again.stop() == []
