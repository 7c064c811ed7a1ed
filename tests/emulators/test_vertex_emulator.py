"""The local Vertex AI behaves as the sources that its rules name say, by both transports and by plain HTTP."""

import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx
import psutil
import pytest
from google.api_core import exceptions as api
from google.cloud.aiplatform_v1 import JobState

from tests.emulators.faults import Fault
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_asking import UNTIL_TOLD, MakeClient, StartVertex, ask
from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_core import CREATE, GET, LIST, VertexCore
from tests.emulators.vertex_errors import ServiceError
from tests.emulators.vertex_jobs import (
    DEADLINE_S,
    PARENT,
    PYTHON_IMAGE,
    create,
    make_job,
    wait_for,
    wait_for_log,
)
from tests.root import ROOT

SHOW_ENVIRONMENT = (
    "import json, os; print(json.dumps({'env': dict(os.environ), 'files': os.listdir()}))"  # one line of log
)


def test_a_job_runs_its_command_in_an_empty_directory(
    vertex: VertexEmulator, transport: str, make_client: MakeClient
) -> None:
    """With the environment that Vertex AI sets, the spec's own, and what the machine passes on; nothing else."""
    variables = [
        {"name": "TEAM", "value": "ranking"},
        {"name": "OUT", "value": "$(AIP_MODEL_DIR)$(TEAM)$(NONE)$$(TEAM)"},
    ]
    job = make_job(SHOW_ENVIRONMENT, base_output_directory={"output_uri_prefix": "gs://bucket/quick_tests/7"})
    job["job_spec"]["worker_pool_specs"][0]["container_spec"]["env"] = variables
    created = create(make_client(vertex, transport), job)
    assert created.state == JobState.JOB_STATE_QUEUED
    ended = wait_for(vertex, created.name)
    assert ended.state == JobState.JOB_STATE_SUCCEEDED
    shown = json.loads(vertex.core.log_of(created.name))
    assert shown["files"] == []
    env: dict[str, str] = {
        name: value for name, value in shown["env"].items() if name not in vertex.core.config.passed_on
    }
    env.pop("LC_CTYPE", None)  # set by Python itself
    cluster, tf_config = json.loads(env.pop("CLUSTER_SPEC")), json.loads(env.pop("TF_CONFIG"))
    assert env == {
        "AIP_MODEL_DIR": "gs://bucket/quick_tests/7/model/",
        "AIP_CHECKPOINT_DIR": "gs://bucket/quick_tests/7/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": "gs://bucket/quick_tests/7/logs/",
        "CLOUD_ML_JOB_ID": created.name.rpartition("/")[2],
        "TEAM": "ranking",
        "OUT": "gs://bucket/quick_tests/7/model/ranking$(NONE)$(TEAM)",
    }
    assert cluster["task"] == {"type": "workerpool0", "index": 0, "trial": ""}
    assert list(cluster["cluster"]) == ["workerpool0"]
    assert tf_config["task"] == {"type": "chief", "index": 0}


def test_without_an_output_directory_no_folder_is_named(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """AIP_* are passed "when this field is set" (CustomJobSpec.base_output_directory)."""
    created = create(make_client(vertex), make_job(SHOW_ENVIRONMENT))
    wait_for(vertex, created.name)
    assert "AIP_" not in vertex.core.log_of(created.name)


def test_every_replica_runs_and_knows_its_place(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """The chief is in the first pool, its workers are in the second; the job ends with the chief."""
    code = "import json, os, time; print(os.environ['TF_CONFIG'], flush=True); time.sleep(0.3)"
    created = create(make_client(vertex), make_job(code, replicas=3))
    assert wait_for(vertex, created.name).state == JobState.JOB_STATE_SUCCEEDED
    configs = [json.loads(line) for line in vertex.core.log_of(created.name).splitlines()]
    assert [config["task"] for config in configs] == [
        {"type": "chief", "index": 0},
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
    ]
    assert {name: len(hosts) for name, hosts in configs[0]["cluster"].items()} == {"chief": 1, "worker": 2}


def test_a_jobs_times_are_in_order(vertex: VertexEmulator, transport: str, make_client: MakeClient) -> None:
    """Start is its first RUNNING, end is its last state; a good end has no error."""
    client = make_client(vertex, transport)
    created = create(client, make_job())
    wait_for(vertex, created.name)
    job = client.get_custom_job(name=created.name)
    assert job.create_time <= job.start_time <= job.end_time <= job.update_time + timedelta(seconds=1)
    assert not job.error.message


def test_a_minutes_submissions_are_limited_and_refill() -> None:
    """The window slides with the clock; what is refused does not count."""
    now = [0.0]
    core = VertexCore(VertexConfig(new_job_state=1, submissions_per_minute=3), clock=lambda: now[0])
    for _ in range(3):
        ask(core, make_job())
    with pytest.raises(ServiceError, match="RESOURCE_EXHAUSTED: Quota exceeded") as raised:
        ask(core, make_job())
    assert raised.value.code == 8
    now[0] = 60.0
    ask(core, make_job())
    core.close()


def test_a_minutes_requests_are_limited(start_vertex: StartVertex, transport: str, make_client: MakeClient) -> None:
    """Reads count; by both transports the client's own 429 is raised."""
    client = make_client(start_vertex(requests_per_minute=2), transport)
    for _ in range(2):
        list(client.list_custom_jobs(parent=PARENT))
    with pytest.raises(api.TooManyRequests, match="Quota exceeded"):
        list(client.list_custom_jobs(parent=PARENT))


def test_a_machine_larger_than_the_quota_is_refused(start_vertex: StartVertex, make_client: MakeClient) -> None:
    """By the words that people quote."""
    with pytest.raises(api.TooManyRequests, match="custom_model_training_cpus"):
        create(make_client(start_vertex(training_cpus=3)), make_job())


def test_a_job_waits_in_the_queue_for_quota(start_vertex: StartVertex, make_client: MakeClient) -> None:
    """Until another has ended; cancelled meanwhile, it never starts."""
    vertex = start_vertex(training_cpus=4)
    client = make_client(vertex)
    first = create(client, make_job("import time; print('up', flush=True); time.sleep(60)"))
    wait_for_log(vertex, first.name, "up")
    second, third = create(client, make_job()), create(client, make_job())
    client.cancel_custom_job(name=third.name)
    assert wait_for(vertex, third.name).state == JobState.JOB_STATE_CANCELLED
    assert vertex.core.read(second.name).state == JobState.JOB_STATE_QUEUED
    client.cancel_custom_job(name=first.name)
    assert wait_for(vertex, second.name).state == JobState.JOB_STATE_SUCCEEDED
    assert not vertex.core.read(third.name).HasField("start_time")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, api.ServiceUnavailable),
        (500, api.InternalServerError),
        (429, api.TooManyRequests),
        (504, api.GatewayTimeout),
        (403, api.Forbidden),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_a_fault_answers_before_or_after_the_effect(
    idle_vertex: VertexEmulator,
    transport: str,
    make_client: MakeClient,
    status: int,
    error: type[Exception],
    after: bool,
) -> None:
    """The client cannot tell which; the jobs can."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, status=status, after=after))
    client = make_client(idle_vertex, transport)
    with pytest.raises(error):
        create(client, make_job())
    assert len(idle_vertex.core.list_names()) == int(after)
    create(client, make_job())
    assert idle_vertex.core.faults.counts()[CREATE] == 2


def test_a_lost_connection_has_had_its_effect(
    idle_vertex: VertexEmulator, transport: str, make_client: MakeClient
) -> None:
    """By REST an answer that is cut off, by gRPC an unavailable service."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, broken=True))
    with pytest.raises(Exception, match=r"Socket closed|Connection broken"):
        create(make_client(idle_vertex, transport), make_job())
    assert len(idle_vertex.core.list_names()) == 1


def test_a_slow_call_outlasts_the_clients_deadline(
    idle_vertex: VertexEmulator, transport: str, make_client: MakeClient
) -> None:
    """A GET that answers late is an error of time."""
    client = make_client(idle_vertex, transport)
    created = create(client, make_job())
    idle_vertex.core.faults.order(Fault(kind=GET, delay_s=1.0))
    with pytest.raises(Exception, match=r"(?i)deadline exceeded|timed out"):
        client.get_custom_job(name=created.name, timeout=0.2)


def test_orders_reach_it_over_http(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """What a test in another process, or a person with curl, may do."""
    url = f"{vertex.rest_endpoint}/_emulator"
    httpx.post(f"{url}/faults", json={"kind": LIST, "status": 503}).raise_for_status()
    with pytest.raises(api.ServiceUnavailable):
        make_client(vertex).list_custom_jobs(parent=PARENT, retry=None)
    assert httpx.get(f"{url}/calls").json() == {LIST: 1}
    created = create(make_client(vertex), make_job(UNTIL_TOLD))
    wait_for_log(vertex, created.name, "up")
    httpx.post(f"{url}/jobs", json={"name": created.name, "act": "run_out_of_memory"}).raise_for_status()
    assert "ran out of memory" in wait_for(vertex, created.name).error.message
    assert httpx.get(f"{url}/log", params={"name": created.name}).text == "up\n"


def test_a_thousand_jobs_are_held_cheaply(start_vertex: StartVertex, make_client: MakeClient) -> None:
    """They run nothing, and a sweep of 1,001 is 11 pages."""
    vertex = start_vertex(new_job_state=4)
    for _ in range(1001):
        ask(vertex.core, make_job())
    before = vertex.core.faults.counts().get(LIST, 0)
    since = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    jobs = make_client(vertex, "grpc").list_custom_jobs({"parent": PARENT, "filter": f'create_time>="{since}"'})
    assert len({job.name for job in jobs}) == 1001
    assert vertex.core.faults.counts()[LIST] - before == 11


def test_by_hand_it_serves_until_it_is_ended() -> None:
    """It prints the settings that point at it; SIGTERM ends it and every process that it runs."""
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.emulators.vertex", "--rest-port=0", "--grpc-port=0", "--grace-s=0.2"),
            f"--image={PYTHON_IMAGE}={sys.executable} -c",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert running.stdout is not None
    try:
        lines = [running.stdout.readline() for _ in range(4)]
        rest = re.search(r"VERTEX_TRANSPORT=rest VERTEX_API_ENDPOINT=(\S+)", "".join(lines))
        assert rest, lines
        assert "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=" in lines[3]
        pool = {
            "machineSpec": {"machineType": "n1-standard-4"},
            "replicaCount": "1",
            "containerSpec": {"imageUri": PYTHON_IMAGE, "args": [UNTIL_TOLD]},
        }
        body = {"displayName": "x", "jobSpec": {"workerPoolSpecs": [pool]}}
        name = httpx.post(f"{rest[1]}/v1/{PARENT}/customJobs", json=body).raise_for_status().json()["name"]
        deadline = time.monotonic() + DEADLINE_S
        while not httpx.get(f"{rest[1]}/_emulator/log", params={"name": name}).text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(running.pid).children(recursive=True)
        assert children
    finally:
        running.terminate()
        assert running.wait(20) == 0
        running.stdout.close()
    assert psutil.wait_procs(children, timeout=10)[1] == []
