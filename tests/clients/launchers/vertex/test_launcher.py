"""The Vertex AI launcher over the real job client, by both transports, against an endpoint that runs jobs and fails."""

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import RefreshError, TransportError
from google.cloud.aiplatform_v1 import CustomJob
from google.cloud.aiplatform_v1 import JobState as VertexState

from switchyard.clients.connect import connect
from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite
from switchyard.core.errors import BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain
from switchyard.core.runs.jobs import JobOrder, JobReport, JobState, Reason, to_labels
from switchyard.core.runs.machine import MachineSpec
from tests.emulators.faults import Fault
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_core import CANCEL, CREATE, GET, LIST, REQUESTS
from tests.emulators.vertex_jobs import DEADLINE_S, PARENT, PYTHON_IMAGE, make_job
from tests.emulators.vertex_rules import PersistentResource
from tests.root import ROOT

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MakeLauncher = Callable[..., VertexLauncher]
StartVertex = Callable[..., VertexEmulator]


@pytest.fixture
def make_launcher(transport: str) -> Iterator[MakeLauncher]:
    """A launcher at an endpoint, by each transport; closed after the test."""
    launchers: list[VertexLauncher] = []

    def make(vertex: VertexEmulator, **changed: Any) -> VertexLauncher:
        site = VertexSite(
            project_id="demo-project",
            region="us-central1",
            trainer_image=PYTHON_IMAGE,
            api_endpoint=vertex.endpoint(transport),
            transport="rest" if transport == "rest" else "grpc",
        )
        quick: dict[str, Any] = {"relist_delays_s": (0.0, 0.05), "timeout_s": 20.0}
        launchers.append(VertexLauncher(site, **(quick | changed)))
        return launchers[-1]

    yield make
    for launcher in launchers:
        launcher.close()


def make_order(code: str = "", **changed: Any) -> JobOrder:
    """An order that runs `code`."""
    defaults: dict[str, Any] = {"display_name": "a run", "arguments": [code], "labels": {}, "timeout_s": 600}
    return JobOrder(**(defaults | changed))


def wait_for_end(launcher: VertexLauncher, job: JobReport) -> JobReport:
    """The job's report once it has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while not job.state.ended:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
        job = launcher.report([job.job_name])[job.job_name]
    return job


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Returns once `reached` is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)


# What is asked of Vertex AI ---------------------------------------------------------------------------------------


def test_submit_asks_for_what_the_order_says(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Image, machine, account, network, scheduling, labels, folder: each in its field."""
    machine = MachineSpec(
        image="us-docker.pkg.dev/demo-project/tests/other:1",
        machine_type="n1-highmem-8",
        accelerator_type="NVIDIA_TESLA_T4",
        accelerator_count=2,
        replica_count=4,
        boot_disk_type="pd-standard",
        boot_disk_size_gb=200,
        scheduling="flex_start",
        max_wait_s=3600,
        restarts="job",
        service_account="trainer@demo-project.iam.gserviceaccount.com",
        network="projects/123456789012/global/networks/vpc",
        tensorboard="projects/123456789012/locations/us-central1/tensorboards/1",
        labels="team=search,cost-center=7",
    )
    order = make_order(
        arguments=["--epochs=3"],
        labels=to_labels("abc", 7, 2),
        timeout_s=90,
        machine=machine,
        base_output_uri="gs://bucket/quick_tests/7",
    )
    key = order.labels["switchyard-key"]
    report = make_launcher(idle_vertex).submit(key, order)
    assert (report.key, report.state) == (key, JobState.QUEUED)
    job = CustomJob.wrap(idle_vertex.core.read(report.job_name))
    assert dict(job.labels) == order.labels | {"switchyard-timeout-s": "90", "team": "search", "cost-center": "7"}
    chief, workers = job.job_spec.worker_pool_specs
    assert (chief.replica_count, workers.replica_count) == (1, 3)
    for pool in (chief, workers):
        assert pool.container_spec.image_uri == machine.image
        assert list(pool.container_spec.args) == ["--epochs=3"]
        assert pool.machine_spec.machine_type == "n1-highmem-8"
        assert pool.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
        assert pool.machine_spec.accelerator_count == 2
        assert (pool.disk_spec.boot_disk_type, pool.disk_spec.boot_disk_size_gb) == ("pd-standard", 200)
    spec = job.job_spec
    assert spec.service_account == machine.service_account
    assert spec.network == machine.network
    assert spec.tensorboard == machine.tensorboard
    assert spec.base_output_directory.output_uri_prefix == "gs://bucket/quick_tests/7"
    scheduling = spec.scheduling
    assert scheduling.strategy.name == "FLEX_START"
    assert (scheduling.timeout, scheduling.max_wait_duration) == (timedelta(seconds=90), timedelta(hours=1))
    assert (scheduling.restart_job_on_worker_restart, scheduling.disable_retries) == (True, False)


def test_machines_that_stand_ready_are_used(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """A persistent resource by its id; a network that is not its own is refused by the service."""
    network = "projects/123456789012/global/networks/vpc"
    resource = PersistentResource(network=network, machine_types=("n1-standard-4",))
    vertex = start_vertex(new_job_state=1, persistent_resources={"ready": resource})
    launcher = make_launcher(vertex)
    report = launcher.submit("k1", make_order(machine=MachineSpec(persistent_resource="ready", network=network)))
    assert vertex.core.read(report.job_name).job_spec.persistent_resource_id == "ready"
    with pytest.raises(BadRequest, match="network"):
        launcher.submit("k2", make_order(machine=MachineSpec(persistent_resource="ready")))


@pytest.mark.parametrize("machine", [None, MachineSpec(), MachineSpec(scheduling="spot", restarts="never")])
def test_defaults_run(vertex: VertexEmulator, make_launcher: MakeLauncher, machine: MachineSpec | None) -> None:
    """With no machine asked for at all, or one by its defaults."""
    launcher = make_launcher(vertex)
    job = wait_for_end(launcher, launcher.submit("k1", make_order(machine=machine)))
    assert (job.state, job.message) == (JobState.SUCCEEDED, "")


def test_the_sites_account_is_used_where_the_machine_names_none(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """VERTEX_SERVICE_ACCOUNT."""
    site = VertexSite(
        project_id="demo-project",
        region="us-central1",
        trainer_image=PYTHON_IMAGE,
        service_account="site@demo-project.iam.gserviceaccount.com",
        api_endpoint=idle_vertex.rest_endpoint,
        transport="rest",
    )
    launcher = VertexLauncher(site)
    report = launcher.submit("k1", make_order())
    assert idle_vertex.core.read(report.job_name).job_spec.service_account == site.service_account
    launcher.close()


REFUSED = [
    (make_order(arguments=["--data-uri=file:///srv/data.parquet"]), "--data-uri must be on Cloud Storage"),
    (make_order(arguments=["--data-uri=/srv/data.parquet"]), "--data-uri must be on Cloud Storage"),
    (make_order(arguments=["--data-uri=data.parquet"]), "--data-uri must be on Cloud Storage"),
    (make_order(arguments=["--artifacts-uri=file:///srv/7"]), "--artifacts-uri must be on Cloud Storage"),
    (make_order(base_output_uri="file:///srv/7"), "base_output_uri must be on Cloud Storage"),
    (make_order(labels={"Team": "x"}), "label Team='x'"),
    (make_order(labels={"team": "x" * 64}), "label team="),
    (make_order(labels={f"l{n}": "" for n in range(64)}), "at most 64 labels; got 66"),
    (make_order(labels={"switchyard-key": "other"}), "label switchyard-key must be the job's key 'k1'; got 'other'"),
    (make_order(timeout_s=0), "timeout_s must be at least 1"),
    (
        make_order(machine=MachineSpec(tensorboard="projects/1/locations/us-central1/tensorboards/1")),
        "machine.tensorboard needs a service account",
    ),
]


@pytest.mark.parametrize(("order", "said"), REFUSED, ids=[row[1] for row in REFUSED])
def test_what_cannot_run_there_is_refused_before_any_request(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, order: JobOrder, said: str
) -> None:
    """Nothing is sent; the message says what was expected and what was given."""
    with pytest.raises(BadRequest, match=re.escape(said)):
        make_launcher(idle_vertex).submit("k1", order)
    assert idle_vertex.core.faults.counts() == {}


def test_all_that_cannot_run_is_said_at_once(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Two URIs and a label, one error."""
    arguments = ["--data-uri=file:///a", "--artifacts-uri=file:///b", "--epochs=3", "--data-uri-note=x"]
    with pytest.raises(BadRequest) as raised:
        make_launcher(idle_vertex).submit("k1", make_order(arguments=arguments, labels={"A": ""}))
    assert all(part in str(raised.value) for part in ("--data-uri ", "--artifacts-uri ", "label A="))


@pytest.mark.parametrize("key", ["", "Key", "k" * 64, "a/b"])
def test_a_key_that_is_no_label_is_refused(idle_vertex: VertexEmulator, make_launcher: MakeLauncher, key: str) -> None:
    """Jobs are found again by it."""
    with pytest.raises(BadRequest, match="switchyard-key"):
        make_launcher(idle_vertex).submit(key, make_order())


# One key, one job -------------------------------------------------------------------------------------------------


AMBIGUOUS = {
    "503 after the job was made": Fault(kind=CREATE, status=503, after=True),
    "500 after the job was made": Fault(kind=CREATE, status=500, after=True),
    "504 after the job was made": Fault(kind=CREATE, status=504, after=True),
    "499 after the job was made": Fault(kind=CREATE, status=499, after=True),
    "409 after the job was made": Fault(kind=CREATE, status=409, after=True),
    "the connection is lost": Fault(kind=CREATE, broken=True),
    "the answer comes too late": Fault(kind=CREATE, delay_s=4.0, after=True),
}


@pytest.mark.parametrize("fault", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_a_job_whose_answer_is_lost_is_adopted(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, fault: Fault
) -> None:
    """By the same call; create is sent once."""
    idle_vertex.core.faults.order(msgspec.structs.replace(fault))
    launcher = make_launcher(idle_vertex, timeout_s=2.0 if fault.delay_s else 20.0)
    report = launcher.submit("k1", make_order())
    assert [report.job_name] == idle_vertex.core.list_names()
    assert launcher.submit("k1", make_order()) == report
    assert idle_vertex.core.faults.counts()[CREATE] == 1


@pytest.mark.parametrize("status", [500, 503, 504])
def test_a_create_without_effect_is_left_to_the_next_submit(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, status: int
) -> None:
    """TryAgain after a bounded look; that submit looks again and makes the one job."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, status=status))
    launcher = make_launcher(idle_vertex)
    with pytest.raises(TryAgain, match="No job with key k1 is listed"):
        launcher.submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {CREATE: 1, LIST: 3}
    assert idle_vertex.core.list_names() == []
    launcher.submit("k1", make_order())
    assert len(idle_vertex.core.list_names()) == 1


def test_a_list_that_lags_is_looked_at_again(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """A job that a LIST does not show yet is adopted as soon as it does."""
    vertex = start_vertex(new_job_state=1, list_lag_s=0.3)
    vertex.core.faults.order(Fault(kind=CREATE, status=503, after=True))
    launcher = make_launcher(vertex, relist_delays_s=(0.0, 0.1, 0.5))
    assert [launcher.submit("k1", make_order()).job_name] == vertex.core.list_names()


def test_a_list_that_fails_after_a_lost_answer_makes_no_second_job(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """Then nothing is known, and nothing is done; the next submit adopts."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, status=503, after=True))
    idle_vertex.core.faults.order(Fault(kind=LIST, status=503, nth=2))
    launcher = make_launcher(idle_vertex)
    with pytest.raises(TryAgain):
        launcher.submit("k1", make_order())
    assert [launcher.submit("k1", make_order()).job_name] == idle_vertex.core.list_names()


def test_a_list_that_fails_before_a_create_stops_it(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Not knowing whether there is a job, none is made."""
    idle_vertex.core.faults.order(Fault(kind=LIST, status=500))
    with pytest.raises(TryAgain):
        make_launcher(idle_vertex).submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {LIST: 1}


def test_an_ended_job_is_returned_too(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """A key that has failed has had its job; another attempt has another key."""
    launcher = make_launcher(idle_vertex)
    first = launcher.submit("k1", make_order())
    idle_vertex.core.end(first.job_name, VertexState.JOB_STATE_FAILED, 3, "exited")
    again = launcher.submit("k1", make_order())
    assert (again.job_name, again.state) == (first.job_name, JobState.FAILED)


def test_of_two_jobs_with_one_key_the_younger_is_cancelled(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """However they came to be; ended ones are left alone."""
    jobs = []
    for _ in range(3):
        labels = {"switchyard-key": "k1"}
        custom_job = CustomJob.pb(CustomJob(make_job(labels=labels)))
        jobs.append(idle_vertex.core.invoke(CREATE, REQUESTS[CREATE](parent=PARENT, custom_job=custom_job)).name)
    idle_vertex.core.end(jobs[2], VertexState.JOB_STATE_FAILED)
    assert make_launcher(idle_vertex).submit("k1", make_order()).job_name == jobs[0]
    states = [idle_vertex.core.read(name).state for name in jobs]
    assert states == [1, VertexState.JOB_STATE_CANCELLING, VertexState.JOB_STATE_FAILED]


SUBMIT = """
import sys
from switchyard.clients.connect import connect
from switchyard.core.runs.jobs import JobOrder
order = JobOrder(display_name="a run", arguments=[""], labels={}, timeout_s=60)
print(connect().launcher.submit("k1", order).job_name)
"""


@pytest.fixture
def start_submit(idle_vertex: VertexEmulator, transport: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts processes that submit key k1, with nothing but settings in their environment."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        environ = to_environ(idle_vertex, transport)
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", SUBMIT],
                env=environ | {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    idle_vertex.core.faults.forget()
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def to_environ(vertex: VertexEmulator, transport: str) -> dict[str, str]:
    """The settings that point at an endpoint."""
    return {
        "TRAINING_BACKEND": "vertex",
        "GCP_PROJECT_ID": "demo-project",
        "GCP_REGION": "us-central1",
        "TRAINER_IMAGE": PYTHON_IMAGE,
        "ARTIFACTS_URI": "gs://bucket/runs",
        "VERTEX_API_ENDPOINT": vertex.endpoint(transport),
        "VERTEX_TRANSPORT": transport,
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(vertex.certificate),
    }


def test_two_processes_at_once_keep_one_job(
    idle_vertex: VertexEmulator, start_submit: Callable[[], subprocess.Popen[str]]
) -> None:
    """Both have seen no job and sent a create; both answer the older one, and the other is cancelled."""
    faults = idle_vertex.core.faults
    faults.order(Fault(kind=CREATE, hold=True, times=2))
    both = [start_submit(), start_submit()]
    wait_until(lambda: faults.count(CREATE) == 2, "both have sent their create")
    faults.forget()
    names = {process.communicate(timeout=DEADLINE_S)[0].strip() for process in both}
    older, younger = idle_vertex.core.list_names()
    assert names == {older}
    assert idle_vertex.core.read(older).state == VertexState.JOB_STATE_QUEUED
    assert idle_vertex.core.read(younger).state == VertexState.JOB_STATE_CANCELLING


@pytest.mark.parametrize(
    ("fault", "jobs_then"),
    [
        (Fault(kind=LIST, hold=True), 0),  # before the create
        (Fault(kind=CREATE, hold=True, after=True), 1),  # after it, before its answer
        (Fault(kind=LIST, hold=True, nth=2), 1),  # after its answer
    ],
    ids=["before create", "create answered by nobody", "after create"],
)
def test_a_killed_submit_leaves_one_job_to_the_next(
    idle_vertex: VertexEmulator,
    make_launcher: MakeLauncher,
    start_submit: Callable[[], subprocess.Popen[str]],
    fault: Fault,
    jobs_then: int,
) -> None:
    """kill -9 before and after every request."""
    faults = idle_vertex.core.faults
    faults.order(msgspec.structs.replace(fault))
    process = start_submit()
    wait_until(lambda: faults.count(fault.kind) == fault.nth, "the process is held")
    wait_until(lambda: len(idle_vertex.core.list_names()) == jobs_then, "the job is made")
    process.send_signal(signal.SIGKILL)
    process.wait()
    faults.forget()
    report = make_launcher(idle_vertex).submit("k1", make_order())
    assert [report.job_name] == idle_vertex.core.list_names()


def test_a_create_that_arrives_after_its_sender_died_is_repaired(
    idle_vertex: VertexEmulator,
    make_launcher: MakeLauncher,
    start_submit: Callable[[], subprocess.Popen[str]],
) -> None:
    """Two jobs for a while, which no LIST could have told; the next look at the key cancels the younger."""
    faults = idle_vertex.core.faults
    faults.order(Fault(kind=CREATE, hold=True))
    process = start_submit()
    wait_until(lambda: faults.count(CREATE) == 1, "the create is under way")
    process.send_signal(signal.SIGKILL)
    process.wait()
    launcher = make_launcher(idle_vertex)
    kept = launcher.submit("k1", make_order())
    faults.forget()
    wait_until(lambda: len(idle_vertex.core.list_names()) == 2, "the late create has had its effect")
    assert launcher.submit("k1", make_order()).job_name == kept.job_name
    states = {name: idle_vertex.core.read(name).state for name in idle_vertex.core.list_names()}
    assert states.pop(kept.job_name) == VertexState.JOB_STATE_QUEUED
    assert list(states.values()) == [VertexState.JOB_STATE_CANCELLING]


# Errors -----------------------------------------------------------------------------------------------------------


REFUSALS: list[tuple[int, str, type[SwitchyardError], str]] = [
    (403, "", BadSetup, "roles/aiplatform.user on project demo-project"),
    (
        403,
        "You do not have permission to act as service_account: trainer@x.iam.gserviceaccount.com",
        BadSetup,
        "roles/iam.serviceAccountUser",
    ),
    (403, "iam.serviceAccounts.actAs denied", BadSetup, "roles/iam.serviceAccountUser"),
    (
        403,
        "Vertex AI API has not been used in project 1 before or it is disabled.",
        BadSetup,
        "gcloud services enable aiplatform.googleapis.com --project demo-project",
    ),
    (404, "", BadSetup, "check GCP_PROJECT_ID and GCP_REGION"),
    (400, "Machine type is not supported.", BadRequest, "Vertex AI says: Machine type is not supported."),
    (429, "", TryAgain, "a quota of requests a minute is used up"),
    (
        429,
        "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus",
        BadSetup,
        "ask for more quota in the region at https://console.cloud.google.com/iam-admin/quotas?project=demo-project",
    ),
]


@pytest.mark.parametrize(("status", "message", "error", "said"), REFUSALS, ids=[row[3] for row in REFUSALS])
def test_a_refused_create_says_what_to_do(
    idle_vertex: VertexEmulator,
    make_launcher: MakeLauncher,
    status: int,
    message: str,
    error: type[SwitchyardError],
    said: str,
) -> None:
    """It certainly made no job: nobody looks for one, and nobody sends it again."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, status=status, message=message))
    with pytest.raises(error, match=re.escape(said)):
        make_launcher(idle_vertex).submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {LIST: 1, CREATE: 1}


def test_credentials_that_are_refused_are_a_matter_of_setup(
    start_vertex: StartVertex, make_launcher: MakeLauncher
) -> None:
    """The message says how to get some."""
    launcher = make_launcher(start_vertex(requires_token=True))
    with pytest.raises(BadSetup, match="gcloud auth application-default login"):
        launcher.submit("k1", make_order())


class BrokenCredentials(Credentials):
    """They can get no token, for a reason of their own."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reason = reason

    def refresh(self, request: object) -> None:
        raise self.reason


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (RefreshError("invalid_grant: account is disabled"), BadSetup),
        (TransportError("metadata server did not answer"), TryAgain),
    ],
)
def test_without_a_token_nothing_is_sent(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, reason: Exception, error: type[SwitchyardError]
) -> None:
    """A key that is refused must be replaced; a metadata server that is away comes back."""
    launcher = make_launcher(idle_vertex, credentials=BrokenCredentials(reason))
    with pytest.raises(error, match=re.escape(str(reason))):
        launcher.submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {}


@pytest.mark.parametrize("status", [429, 500, 503, 504])
@pytest.mark.parametrize("method", [GET, LIST, CANCEL])
def test_a_passing_error_is_tried_again_by_who_asked(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, method: str, status: int
) -> None:
    """One request is one request: the client's own retry is off."""
    launcher = make_launcher(idle_vertex)
    job = launcher.submit("k1", make_order())
    idle_vertex.core.faults.forget()
    idle_vertex.core.faults.order(Fault(kind=method, status=status))
    calls: dict[str, Callable[[], object]] = {
        GET: lambda: launcher.report([job.job_name]),
        LIST: lambda: launcher.list({}, LONG_AGO),
        CANCEL: lambda: launcher.cancel(job.job_name),
    }
    with pytest.raises(TryAgain, match="Vertex AI could not"):
        calls[method]()
    assert idle_vertex.core.faults.counts() == {method: 1}
    calls[method]()


def test_a_service_that_is_not_there_is_tried_again(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """The connection is refused."""
    vertex = start_vertex(new_job_state=1)
    launcher = make_launcher(vertex, timeout_s=2.0)
    vertex.__exit__(None, None, None)
    with pytest.raises(TryAgain):
        launcher.list({}, LONG_AGO)


def test_grpc_to_a_plain_address_is_refused() -> None:
    """The client would only say that it is unavailable."""
    site = VertexSite(
        project_id="demo-project", region="us-central1", trainer_image="x", api_endpoint="http://localhost:1"
    )
    with pytest.raises(BadSetup, match="VERTEX_TRANSPORT=rest"):
        VertexLauncher(site)


@pytest.mark.parametrize("endpoint", ["", "https://aiplatform.example:443"])
def test_each_region_has_its_own_endpoint(endpoint: str) -> None:
    """Unless the settings name one for all."""
    site = VertexSite(project_id="demo-project", region="us-central1", trainer_image="x", api_endpoint=endpoint)
    launcher = VertexLauncher(site, credentials=AnonymousCredentials())
    asked = launcher._client("europe-west4").transport.host
    assert asked == (endpoint.removeprefix("https://") or "europe-west4-aiplatform.googleapis.com:443")
    launcher.close()


# States, reasons, words -------------------------------------------------------------------------------------------


STATES = {
    1: JobState.QUEUED,
    2: JobState.QUEUED,
    3: JobState.RUNNING,
    4: JobState.SUCCEEDED,
    5: JobState.FAILED,
    6: JobState.RUNNING,
    7: JobState.CANCELLED,
    8: JobState.QUEUED,
    9: JobState.FAILED,
    10: JobState.RUNNING,
    11: JobState.FAILED,
}


def test_every_state_of_vertex_is_in_the_table() -> None:
    """A new version of the client may bring another; then this says so."""
    assert {int(state) for state in VertexState} == {0, *STATES}


@pytest.mark.parametrize(("number", "state"), STATES.items())
def test_each_state_is_mapped(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, number: int, state: JobState
) -> None:
    """In a report and in a list alike; only ended ones have an end."""
    launcher = make_launcher(idle_vertex)
    name = launcher.submit("k1", make_order()).job_name
    idle_vertex.core.move(name, number)
    report = launcher.report([name])[name]
    assert launcher.list({}, LONG_AGO) == [report]
    assert report.state is state
    assert (report.ended_at is not None) is state.ended


@pytest.mark.parametrize("number", [0, 12, 99])
def test_a_state_that_nobody_knows_is_an_error(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, number: int
) -> None:
    """With the job and the value; it is never guessed, never taken for no job, and does not hide the others."""
    launcher = make_launcher(idle_vertex)
    odd = launcher.submit("k1", make_order()).job_name
    other = launcher.submit("k2", make_order())
    idle_vertex.core.move(odd, number)
    with pytest.raises(BadSetup, match=f"{odd} must be .*; got {number}"):
        launcher.report([odd, other.job_name])
    with pytest.raises(BadSetup, match=f"got {number}"):
        launcher.submit("k1", make_order())
    assert launcher.list({}, LONG_AGO) == [other]
    assert len(idle_vertex.core.list_names()) == 2


FAILURES = [
    (5, 3, "The replica workerpool0-0 exited with a non-zero status of 1. Termination reason: Error.", Reason.EXITED),
    (5, 8, "The replica workerpool0-0 ran out of memory and exited with a non-zero status of 137.", Reason.KILLED),
    (5, 8, "The replica workerpool0-0 ran out-of-memory and exited with a non-zero status of 137", Reason.KILLED),
    (5, 3, "The replica workerpool0-0 exited with a non-zero status of 137.", Reason.KILLED),
    (5, 8, "Resources are insufficient in region: us-central1. Try a different region.", Reason.CAPACITY),
    (5, 8, "STOCKOUT: no spot resources", Reason.CAPACITY),
    (5, 8, "The replica workerpool0-0 was preempted. STOCKOUT", Reason.PREEMPTED),
    (5, 8, "The following quota metrics exceed quota limits: custom_model_training_cpus", Reason.QUOTA),
    (5, 13, "Internal error occurred for the current attempt", Reason.NEVER_STARTED),
    (5, 4, "The job took too long.", Reason.TIMED_OUT),
    (7, 1, "CustomJob was cancelled.", Reason.CANCEL_ASKED),
    (9, 0, "", Reason.NEVER_STARTED),
    (6, 0, "", Reason.CANCEL_ASKED),
]


@pytest.mark.parametrize(("number", "code", "said", "reason"), FAILURES)
def test_a_failure_has_its_reason_and_vertexs_words(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, number: int, code: int, said: str, reason: Reason
) -> None:
    """Quota, capacity and preemption are told apart from failures of the training."""
    launcher = make_launcher(idle_vertex)
    name = launcher.submit("k1", make_order()).job_name
    idle_vertex.core.move(name, number, code=code, message=said)
    report = launcher.report([name])[name]
    assert report.reason is reason
    assert said in report.message


@pytest.mark.parametrize(
    ("reason_words", "advice"),
    [
        ("Resources are insufficient in region: us-central1.", "scheduling=flex_start"),
        ("The replica workerpool0-0 was preempted.", "scheduling=standard"),
        ("quota metrics exceed quota limits", "iam-admin/quotas?project=demo-project"),
        ("ran out of memory and exited with a non-zero status of 137", "a machine_type with more of it"),
        ("", "Vertex AI has given no error yet"),
    ],
)
def test_a_failure_says_what_to_do(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, reason_words: str, advice: str
) -> None:
    """A person at night reads the row, not our source."""
    launcher = make_launcher(idle_vertex)
    name = launcher.submit("k1", make_order()).job_name
    idle_vertex.core.move(name, 5, code=8, message=reason_words)
    assert advice in launcher.report([name])[name].message


def test_a_true_failure_has_message_and_link(vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """The log's last words are in Vertex AI's message; the link opens exactly this job's log."""
    launcher = make_launcher(vertex)
    job = wait_for_end(launcher, launcher.submit("k1", make_order("raise SystemExit('no column buyer')")))
    assert (job.state, job.reason) == (JobState.FAILED, Reason.EXITED)
    assert "no column buyer" in job.message
    link = unquote(job.log_uri)
    assert link.startswith("https://console.cloud.google.com/logs/query;query=")
    assert 'resource.type="ml_job"' in link
    assert f'resource.labels.job_id="{job.job_name.rpartition("/")[2]}"' in link
    assert link.endswith("?project=demo-project")


def test_a_job_that_waits_long_is_short_of_quota(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """A short wait is usual, and says nothing."""
    later = make_launcher(idle_vertex, clock=lambda: datetime.now(UTC) + timedelta(minutes=11))
    name = make_launcher(idle_vertex).submit("k1", make_order()).job_name
    assert make_launcher(idle_vertex).report([name])[name].reason is Reason.NONE
    report = later.report([name])[name]
    assert (report.state, report.reason) == (JobState.QUEUED, Reason.QUOTA)
    assert "iam-admin/quotas" in report.message


def test_a_report_holds_plain_values(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """The client's own types stop at the launcher."""
    report = make_launcher(idle_vertex).submit("k1", make_order())
    assert type(report.created_at) is datetime
    assert {type(report.job_name), type(report.key), type(report.message)} == {str}
    assert msgspec.json.decode(msgspec.json.encode(report), type=JobReport) == report


# Report, list, cancel ---------------------------------------------------------------------------------------------


def test_names_of_no_job_are_left_out(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Another launcher's names are not even asked for."""
    launcher = make_launcher(idle_vertex)
    job = launcher.submit("k1", make_order())
    gone = job.job_name[:-3] + "000"
    idle_vertex.core.faults.forget()
    assert launcher.report([gone, "/srv/jobs/k1", "", job.job_name]) == {job.job_name: job}
    assert idle_vertex.core.faults.counts() == {GET: 2}


def test_a_job_of_another_region_is_read_there(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """After GCP_REGION has changed, what still runs in the old one has not vanished."""
    custom_job = CustomJob.pb(CustomJob(make_job()))
    parent = PARENT.replace("us-central1", "europe-west4")
    name = idle_vertex.core.invoke(CREATE, REQUESTS[CREATE](parent=parent, custom_job=custom_job)).name
    launcher = make_launcher(idle_vertex)
    assert list(launcher.report([name])) == [name]
    launcher.cancel(name)
    assert idle_vertex.core.read(name).state == VertexState.JOB_STATE_CANCELLING


def test_a_cancelled_job_runs_on_until_it_has_ended(vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """CANCELLING is running; a second cancel, and one that comes too late, do nothing."""
    launcher = make_launcher(vertex)
    code = "import signal, sys, time\nsignal.signal(15, lambda *_: (time.sleep(0.3), sys.exit(143)))\ntime.sleep(60)"
    job = launcher.submit("k1", make_order(code))
    wait_until(lambda: launcher.report([job.job_name])[job.job_name].state is JobState.RUNNING, "it runs")
    launcher.cancel(job.job_name)
    launcher.cancel(job.job_name)
    ended = wait_for_end(launcher, job)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, Reason.CANCEL_ASKED)
    launcher.cancel(job.job_name)
    assert launcher.report([job.job_name]) == {job.job_name: ended}


@pytest.mark.parametrize("name", ["projects/demo-project/locations/us-central1/customJobs/1", "/srv/jobs/k1", ""])
def test_cancel_of_no_job_is_not_found(idle_vertex: VertexEmulator, make_launcher: MakeLauncher, name: str) -> None:
    """The message has the name."""
    with pytest.raises(NotFound, match=re.escape(repr(name)) if not name.startswith("projects") else name):
        make_launcher(idle_vertex).cancel(name)


def test_a_thousand_jobs_are_watched_by_eleven_requests(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """A sweep's answer suffices, and sweeps keep nothing: memory is flat."""
    vertex = start_vertex(new_job_state=4)
    labels = {"switchyard-db": "abc"}
    for number in range(1001):
        custom_job = CustomJob.pb(CustomJob(make_job(labels=labels | {"switchyard-key": f"k{number}"})))
        vertex.core.invoke(CREATE, REQUESTS[CREATE](parent=PARENT, custom_job=custom_job))
    launcher = make_launcher(vertex)
    assert len(launcher.list(labels, LONG_AGO)) == 1001
    launcher.list(labels, LONG_AGO)  # what is loaded at first use is loaded
    vertex.core.faults.forget()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            assert len({report.key for report in launcher.list(labels, LONG_AGO)}) == 1001
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert vertex.core.faults.counts() == {LIST: 33}
    # A sweep's 1,001 reports are above 500 kB; what stays between sweeps is far below one of them.
    assert max(sizes[1:]) - sizes[0] < 100_000, sizes


def test_a_sweep_is_bounded_by_labels_and_time(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Another database's jobs, and those created before, are not read."""
    launcher = make_launcher(idle_vertex)
    ours = [launcher.submit(f"k{n}", make_order(labels={"switchyard-db": "abc"})) for n in range(3)]
    launcher.submit("other", make_order(labels={"switchyard-db": "xyz"}))
    assert launcher.list({"switchyard-db": "abc"}, ours[1].created_at) == ours[1:]


def test_settings_alone_point_at_an_endpoint(
    vertex: VertexEmulator, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """connect() gives a launcher that submits, watches and ends a job."""
    for name, value in to_environ(vertex, transport).items():
        monkeypatch.setenv(name, value)
    launcher = connect().launcher
    assert isinstance(launcher, VertexLauncher)
    assert wait_for_end(launcher, launcher.submit("k1", make_order())).state is JobState.SUCCEEDED
    launcher.close()
