"""The local Vertex AI behaves as the sources that its rules name say, by both transports and by plain HTTP."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import InvalidOperation
from google.cloud.aiplatform_v1 import CustomJob, JobServiceClient, JobState

from tests.emulators.faults import Fault
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_core import CREATE, GET, LIST, REQUESTS, VertexCore
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
from tests.emulators.vertex_rules import PersistentResource
from tests.root import ROOT

MakeClient = Callable[..., JobServiceClient]
StartVertex = Callable[..., VertexEmulator]

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


# What is refused --------------------------------------------------------------------------------------------------


def in_pool(**changed: Any) -> dict[str, Any]:
    job = make_job()
    job["job_spec"]["worker_pool_specs"][0].update(changed)
    return job


def on_machine(**machine: Any) -> dict[str, Any]:
    return in_pool(machine_spec={"machine_type": "n1-standard-4", **machine})


def in_container(**changed: Any) -> dict[str, Any]:
    return in_pool(container_spec={"image_uri": PYTHON_IMAGE, **changed})


ACCOUNT = "trainer@demo-project.iam.gserviceaccount.com"
TENSORBOARD = "projects/123456789012/locations/us-central1/tensorboards/1"
BASE = {"output_uri_prefix": "gs://bucket/runs"}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no name", make_job(display_name=""), "display_name"),
    ("a name of 129 characters", make_job(display_name="x" * 129), "display_name"),
    ("no pool", {"display_name": "x", "job_spec": {}}, "worker_pool_specs"),
    ("two chiefs", in_pool(replica_count=2), "replica_count"),
    ("no chief", in_pool(replica_count=0), "replica_count"),
    ("no machine", in_pool(machine_spec={}), "machine_type"),
    ("a machine that is none", on_machine(machine_type="big"), "machine_type"),
    ("a GPU without a count", on_machine(accelerator_type="NVIDIA_TESLA_T4"), "accelerator_count"),
    ("a count without a GPU", on_machine(accelerator_count=1), "accelerator_type"),
    ("three GPUs", on_machine(accelerator_type="NVIDIA_TESLA_T4", accelerator_count=3), "accelerator_count"),
    (
        "a GPU that the machine does not take",
        on_machine(machine_type="e2-standard-4", accelerator_type="NVIDIA_TESLA_T4", accelerator_count=1),
        "accelerator_type",
    ),
    (
        "another number of GPUs than the machine has",
        on_machine(machine_type="a2-highgpu-2g", accelerator_type="NVIDIA_TESLA_A100", accelerator_count=1),
        "accelerator_count",
    ),
    ("no task", in_pool(container_spec=None), "worker_pool_specs[0]"),
    ("no image", in_container(image_uri=""), "image_uri"),
    ("an image in no registry", in_container(image_uri="trainer:latest"), "image_uri"),
    ("a variable that is no identifier", in_container(env=[{"name": "A-B", "value": ""}]), "env[0].name"),
    ("101 variables", in_container(env=[{"name": f"A{n}", "value": ""} for n in range(101)]), "env"),
    ("a disk of no kind", in_pool(disk_spec={"boot_disk_type": "floppy"}), "boot_disk_type"),
    ("a disk of 50 GB", in_pool(disk_spec={"boot_disk_size_gb": 50}), "boot_disk_size_gb"),
    ("an uppercase label", make_job(labels={"Team": "x"}), "labels"),
    ("an uppercase value", make_job(labels={"team": "X"}), "labels"),
    ("a label of 64 characters", make_job(labels={"x" * 64: "x"}), "labels"),
    ("a value of 64 characters", make_job(labels={"x": "x" * 64}), "labels"),
    ("a label that starts with a digit", make_job(labels={"1x": "x"}), "labels"),
    ("65 labels", make_job(labels={f"x{n}": "x" for n in range(65)}), "labels"),
    ("a service account that is none", make_job(service_account="me@example.com"), "service_account"),
    ("a network by its project's id", make_job(network="projects/demo-project/global/networks/vpc"), "network"),
    ("ranges without a network", make_job(reserved_ip_ranges=["range"]), "reserved_ip_ranges"),
    ("a folder that is no bucket's", make_job(base_output_directory={"output_uri_prefix": "file:///x"}), "base_output"),
    ("an empty folder", make_job(base_output_directory={"output_uri_prefix": ""}), "base_output"),
    ("TensorBoard without an account", make_job(tensorboard=TENSORBOARD, base_output_directory=BASE), "account"),
    ("TensorBoard without a folder", make_job(tensorboard=TENSORBOARD, service_account=ACCOUNT), "base_output"),
    ("a TensorBoard that is none", make_job(tensorboard="x", service_account=ACCOUNT), "tensorboard"),
    ("a timeout of nothing", make_job(scheduling={"timeout": "0s"}), "timeout"),
    ("a strategy that is none", make_job(scheduling={"strategy": 5}), "strategy"),
    ("a wait that nobody waits", make_job(scheduling={"max_wait_duration": "5s"}), "max_wait_duration"),
    ("an unknown persistent resource", make_job(persistent_resource_id="other"), "persistent_resource_id"),
    ("another network than it has", make_job(persistent_resource_id="ready"), "network"),
]


@pytest.fixture(scope="module")
def strict_core() -> Iterator[VertexCore]:
    """A service behind no wire, for tables of what it takes."""
    resource = PersistentResource(network="projects/1/global/networks/vpc", machine_types=("n1-standard-8",))
    core = VertexCore(
        VertexConfig(new_job_state=1, submissions_per_minute=10_000, persistent_resources={"ready": resource})
    )
    yield core
    core.close()


def ask(core: VertexCore, job: dict[str, Any]) -> Any:
    return core.invoke(CREATE, REQUESTS[CREATE](parent=PARENT, custom_job=CustomJob.pb(CustomJob(job))))


@pytest.mark.parametrize(("job", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_field_that_breaks_its_rule_is_refused(strict_core: VertexCore, job: dict[str, Any], field: str) -> None:
    """INVALID_ARGUMENT, and the violation names the field."""
    with pytest.raises(ServiceError) as raised:
        ask(strict_core, job)
    assert raised.value.code == 3
    assert any(field in name for name, _ in raised.value.violations), raised.value.violations


@pytest.mark.parametrize(
    "job",
    [
        make_job(labels={"größe": "中", "a": "", "b-_9": "1"}),
        make_job(display_name="ü" * 128),
        on_machine(accelerator_type="NVIDIA_TESLA_T4", accelerator_count=1),
        on_machine(machine_type="a2-highgpu-2g", accelerator_type="NVIDIA_TESLA_A100", accelerator_count=2),
        make_job(tensorboard=TENSORBOARD, service_account=ACCOUNT, base_output_directory=BASE),
        make_job(scheduling={"strategy": 6, "max_wait_duration": "0s"}),
        make_job(network="projects/123/global/networks/vpc"),
    ],
)
def test_what_keeps_the_rules_is_taken(strict_core: VertexCore, job: dict[str, Any]) -> None:
    """Rules that are too strict would hide what works on Google's side."""
    assert ask(strict_core, job).state == JobState.JOB_STATE_QUEUED


def test_all_that_is_wrong_is_said_at_once(vertex: VertexEmulator, transport: str, make_client: MakeClient) -> None:
    """The client sees one error with a list of fields, as the real one shows it."""
    with pytest.raises(api.BadRequest) as raised:
        create(make_client(vertex, transport), make_job(display_name="", service_account="x"))
    assert "custom_job.display_name" in str(raised.value.message)
    assert "custom_job.job_spec.service_account" in str(raised.value.message)
    assert "field" in str(raised.value.details)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"displayName": "x", "image": "y"}, 'no field named "image"'),
        ({"displayName": "x", "jobSpec": {"workerPoolSpec": []}}, 'no field named "workerPoolSpec"'),
        ({"displayName": 5}, "displayName"),
        ({"displayName": "x", "jobSpec": {"scheduling": {"timeout": "soon"}}}, "timeout"),
        ("{", "Invalid JSON"),
    ],
)
def test_a_body_that_is_no_custom_job_is_refused(vertex: VertexEmulator, body: object, said: str) -> None:
    """A misspelt field is an error here as it is there, not a field that is ignored."""
    url = f"{vertex.rest_endpoint}/v1/{PARENT}/customJobs"
    answer = httpx.post(url, content=body if isinstance(body, str) else json.dumps(body))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert said in error["message"]


@pytest.mark.parametrize("query", ["orderBy=create_time", "pageSize=x", "pageSize=-1", "filter=colour%3Dred"])
def test_a_list_takes_only_what_is_documented(vertex: VertexEmulator, query: str) -> None:
    """ListCustomJobsRequest has no order_by."""
    assert httpx.get(f"{vertex.rest_endpoint}/v1/{PARENT}/customJobs?{query}").status_code == 400


def test_enums_are_numbers_only_for_who_asks(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """The generated clients ask; curl gets names."""
    created = create(make_client(vertex), make_job())
    wait_for(vertex, created.name)
    url = f"{vertex.rest_endpoint}/v1/{created.name}"
    assert httpx.get(url).json()["state"] == "JOB_STATE_SUCCEEDED"
    assert httpx.get(url, params={"$alt": "json;enum-encoding=int"}).json()["state"] == 4


def test_output_only_fields_of_a_request_are_ignored(idle_vertex: VertexEmulator, make_client: MakeClient) -> None:
    """https://google.aip.dev/203"""
    job = {**make_job(), "name": "projects/1/locations/x/customJobs/1", "state": 4}
    created = create(make_client(idle_vertex), job)
    assert created.state == JobState.JOB_STATE_QUEUED
    assert created.name.startswith("projects/123456789012/locations/us-central1/customJobs/")


def test_a_job_is_found_by_its_projects_id_and_number(idle_vertex: VertexEmulator, make_client: MakeClient) -> None:
    """Names come back with the number."""
    client = make_client(idle_vertex)
    created = create(client, make_job())
    by_id = created.name.replace("123456789012", "demo-project")
    assert client.get_custom_job(name=by_id).name == created.name


def test_what_is_not_there_is_not_found(vertex: VertexEmulator, transport: str, make_client: MakeClient) -> None:
    """Another project is forbidden, which says nothing of whether it is there."""
    client = make_client(vertex, transport)
    with pytest.raises(api.NotFound):
        client.get_custom_job(name=f"{PARENT}/customJobs/1")
    with pytest.raises(api.NotFound):
        client.cancel_custom_job(name=f"{PARENT}/customJobs/1")
    with pytest.raises(api.Forbidden):
        client.get_custom_job(name="projects/other-project/locations/us-central1/customJobs/1")


def test_without_a_token_nobody_is_served(start_vertex: StartVertex, transport: str, make_client: MakeClient) -> None:
    """Where the service asks for one. By REST the client then asks its credentials for another, and they have none."""
    with pytest.raises((api.Unauthorized, InvalidOperation)):
        create(make_client(start_vertex(requires_token=True), transport), make_job())


# Lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", "abcd"),
        ('display_name="a"', "a"),
        ('display_name!="a"', "bcd"),
        ('display_name:"*"', "abcd"),
        ('display_name:"a*"', "a"),
        ('state="JOB_STATE_RUNNING"', "b"),
        ('state!="JOB_STATE_RUNNING"', "acd"),
        ("labels.team=red", "ab"),
        ('labels.team="red"', "ab"),
        ("labels.team:*", "abc"),
        ("NOT labels.team:*", "d"),
        ('labels.team=red AND state="JOB_STATE_RUNNING"', "b"),
        ('display_name="d" OR labels.team=blue', "cd"),
        ("labels.team=red AND display_name=a OR display_name=c", "a"),  # OR binds tighter: https://google.aip.dev/160
        ("(labels.team=red AND display_name=a) OR display_name=c", "ac"),
        ('create_time>="2020-01-01T00:00:00Z"', "abcd"),
        ('create_time<"2020-01-01T00:00:00+02:00"', ""),
        ('labels.other="red"', ""),
    ],
)
def test_filter_keeps_what_it_says(idle_vertex: VertexEmulator, make_client: MakeClient, text: str, kept: str) -> None:
    """By every documented field and operator."""
    client = make_client(idle_vertex)
    for name, labels in (("a", {"team": "red"}), ("b", {"team": "red"}), ("c", {"team": "blue"}), ("d", {})):
        created = create(client, make_job(display_name=name, labels=labels))
        if name == "b":
            idle_vertex.core.move(created.name, JobState.JOB_STATE_RUNNING)
    jobs = client.list_custom_jobs({"parent": PARENT, "filter": text})
    assert "".join(sorted(job.display_name for job in jobs)) == kept


@pytest.mark.parametrize(
    "text",
    [
        "colour=red",
        'state="RUNNING"',
        'state>"JOB_STATE_RUNNING"',
        "display_name>a",
        "labels.team!=red",
        "labels.team:red",
        'create_time>"yesterday"',
        'create_time>"2020-01-01T00:00:00"',
        "labels.team=red AND",
        "(labels.team=red",
        "labels.team=red labels.team=blue",
    ],
)
def test_filter_that_is_not_documented_is_refused(
    idle_vertex: VertexEmulator, transport: str, make_client: MakeClient, text: str
) -> None:
    """So that a filter which only the emulator understood never ships."""
    with pytest.raises(api.BadRequest, match="Invalid filter"):
        make_client(idle_vertex, transport).list_custom_jobs({"parent": PARENT, "filter": text})


def test_pages_hold_every_job_once(idle_vertex: VertexEmulator, transport: str, make_client: MakeClient) -> None:
    """Also when one is created between two pages."""
    client = make_client(idle_vertex, transport)
    names = [create(client, make_job()).name for _ in range(7)]
    pages = client.list_custom_jobs({"parent": PARENT, "page_size": 3}).pages
    sizes, seen = [], []
    for page in pages:
        sizes.append(len(page.custom_jobs))
        seen += [job.name for job in page.custom_jobs]
        create(client, make_job())
    assert sizes == [3, 3, 1]
    assert sorted(seen) == sorted(names)


def test_token_of_another_filter_is_refused(idle_vertex: VertexEmulator, make_client: MakeClient) -> None:
    """https://google.aip.dev/158"""
    client = make_client(idle_vertex)
    for _ in range(2):
        create(client, make_job())
    token = client.list_custom_jobs({"parent": PARENT, "page_size": 1}).next_page_token
    for wrong in ({"page_token": token, "filter": "labels.a:*"}, {"page_token": "x"}):
        with pytest.raises(api.BadRequest):
            client.list_custom_jobs({"parent": PARENT, **wrong})


def test_read_mask_leaves_out_the_rest(idle_vertex: VertexEmulator, transport: str, make_client: MakeClient) -> None:
    """The name is always there; a field that a job has not is refused."""
    client = make_client(idle_vertex, transport)
    create(client, make_job(labels={"a": "b"}))
    (job,) = client.list_custom_jobs({"parent": PARENT, "read_mask": "labels,state"})
    assert job.name
    assert (dict(job.labels), job.state, job.display_name) == ({"a": "b"}, JobState.JOB_STATE_QUEUED, "")
    assert not job.job_spec.worker_pool_specs
    with pytest.raises(api.BadRequest):
        client.list_custom_jobs({"parent": PARENT, "read_mask": "colour"})


def test_jobs_of_another_region_are_not_listed(idle_vertex: VertexEmulator, make_client: MakeClient) -> None:
    """A list is of one location."""
    client = make_client(idle_vertex)
    create(client, make_job())
    elsewhere = PARENT.replace("us-central1", "europe-west4")
    assert list(client.list_custom_jobs(parent=elsewhere)) == []


def test_a_deleted_job_is_gone_and_its_processes_too(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """Delete answers an operation that is done."""
    client = make_client(vertex)
    created = create(client, make_job("import time; print('up', flush=True); time.sleep(60)"))
    wait_for_log(vertex, created.name, "up")
    client.delete_custom_job(name=created.name.replace("123456789012", "demo-project")).result(timeout=10)
    with pytest.raises(api.NotFound):
        client.get_custom_job(name=created.name)


# Quotas -----------------------------------------------------------------------------------------------------------


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


# Ends, restarts and cancellation ----------------------------------------------------------------------------------


def run(vertex: VertexEmulator, client: JobServiceClient, code: str, **changed: Any) -> Any:
    return wait_for(vertex, create(client, make_job(code, **changed)).name)


def test_an_exit_of_the_training_itself_is_permanent(
    vertex: VertexEmulator, transport: str, make_client: MakeClient
) -> None:
    """The error has the status, the log's end and the link to the log."""
    client = make_client(vertex, transport)
    job = run(vertex, client, "print('ran', flush=True); raise SystemExit('no column buyer')")
    job = client.get_custom_job(name=job.name)
    assert job.state == JobState.JOB_STATE_FAILED
    assert job.error.code == 3
    assert "The replica workerpool0-0 exited with a non-zero status of 1." in job.error.message
    assert "no column buyer" in job.error.message
    assert f"job_id%2F{job.name.rpartition('/')[2]}" in job.error.message
    assert vertex.core.log_of(job.name).count("ran") == 1


def test_an_exit_that_may_pass_restarts_the_job_three_times(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """SIGABRT and SIGSEGV do; where restarts are off, they do not."""
    code = "import os; print('ran', flush=True); os.abort()"
    job = run(vertex, make_client(vertex), code)
    assert job.state == JobState.JOB_STATE_FAILED
    assert "status of 134" in job.error.message
    assert vertex.core.log_of(job.name).count("ran") == 4
    job = run(vertex, make_client(vertex), code, scheduling={"disable_retries": True})
    assert vertex.core.log_of(job.name).count("ran") == 1


def test_memory_that_runs_out_ends_the_job(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """A SIGKILL that the platform did not send is the kernel's."""
    job = run(vertex, make_client(vertex), "import os; os.kill(os.getpid(), 9)")
    assert "ran out of memory and exited with a non-zero status of 137" in job.error.message


UNTIL_TOLD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("up", flush=True)
while True:
    time.sleep(0.05)
"""
ON_SECOND_RUN = (
    "import pathlib, sys; p = pathlib.Path({marker!r})\nif p.exists(): sys.exit(0)\np.touch()\n" + UNTIL_TOLD
)


@pytest.mark.parametrize("act", ["kill", "restart", "preempt"])
def test_a_lost_machine_runs_main_again_in_the_same_job(
    vertex: VertexEmulator, make_client: MakeClient, tmp_path: Path, act: Any
) -> None:
    """In an empty directory again; the start time stays that of the first run."""
    code = "import os; print(os.listdir(), flush=True); open('left', 'w').close()\n"
    created = create(make_client(vertex), make_job(code + ON_SECOND_RUN.format(marker=str(tmp_path / "marker"))))
    wait_for_log(vertex, created.name, "up")
    started = vertex.core.read(created.name).start_time
    vertex.core.act(created.name, act)
    job = wait_for(vertex, created.name)
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert job.start_time == started
    assert vertex.core.log_of(created.name).count("[]") == 2


def test_a_worker_is_restarted_five_times_then_the_job(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """The sixth loss starts the job anew."""
    created = create(make_client(vertex), make_job(UNTIL_TOLD))
    for run_number in range(1, 8):
        wait_for_log(vertex, created.name, "up", run_number)
        vertex.core.act(created.name, "kill")
    wait_for_log(vertex, created.name, "up", 8)
    assert vertex.core.read(created.name).state == JobState.JOB_STATE_RUNNING


def test_a_lost_machine_ends_a_job_without_restarts(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """disable_retries."""
    created = create(make_client(vertex), make_job(UNTIL_TOLD, scheduling={"disable_retries": True}))
    wait_for_log(vertex, created.name, "up")
    vertex.core.act(created.name, "kill")
    assert wait_for(vertex, created.name).state == JobState.JOB_STATE_FAILED


def test_all_replicas_restart_where_the_job_asks_for_it(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """restart_job_on_worker_restart; otherwise the lost one alone."""
    for whole, runs in ((True, 4), (False, 3)):
        job = make_job(UNTIL_TOLD, replicas=2, scheduling={"restart_job_on_worker_restart": whole})
        created = create(make_client(vertex), job)
        wait_for_log(vertex, created.name, "up", 2)
        vertex.core.act(created.name, "kill")
        wait_for_log(vertex, created.name, "up", runs)
        make_client(vertex).cancel_custom_job(name=created.name)
        wait_for(vertex, created.name)
        assert vertex.core.log_of(created.name).count("up") == runs


def test_a_region_without_machines_fails_the_job_after_three_more_tries(
    vertex: VertexEmulator, make_client: MakeClient
) -> None:
    """Three stockouts are outlived, four are not."""
    vertex.core.stockouts = 3
    assert run(vertex, make_client(vertex), "").state == JobState.JOB_STATE_SUCCEEDED
    vertex.core.stockouts = 4
    job = run(vertex, make_client(vertex), "")
    assert job.state == JobState.JOB_STATE_FAILED
    assert "Resources are insufficient in region: us-central1." in job.error.message
    assert not job.HasField("start_time")


def test_a_timeout_ends_the_job(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """With SIGTERM first."""
    code = UNTIL_TOLD.replace("lambda *_: sys.exit(143)", "lambda *_: (print('told', flush=True), sys.exit(143))")
    job = run(vertex, make_client(vertex), code, scheduling={"timeout": "1s"})
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert vertex.core.log_of(job.name).split() == ["up", "told"]


def test_cancel_is_asynchronous_and_tells_the_container(
    vertex: VertexEmulator, transport: str, make_client: MakeClient
) -> None:
    """CANCELLING first; a second cancel changes nothing; one of an ended job is refused."""
    client = make_client(vertex, transport)
    code = UNTIL_TOLD.replace("lambda *_: sys.exit(143)", "lambda *_: (time.sleep(0.3), sys.exit(143))")
    created = create(client, make_job(code))
    wait_for_log(vertex, created.name, "up")
    client.cancel_custom_job(name=created.name)
    assert client.get_custom_job(name=created.name).state == JobState.JOB_STATE_CANCELLING
    client.cancel_custom_job(name=created.name)
    job = wait_for(vertex, created.name)
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert job.HasField("end_time")
    with pytest.raises(api.BadRequest, match="JOB_STATE_CANCELLED"):
        client.cancel_custom_job(name=created.name)


def test_a_container_that_does_not_listen_is_killed_with_its_children(
    start_vertex: StartVertex, make_client: MakeClient
) -> None:
    """After the grace, the whole group."""
    vertex = start_vertex(grace_s=0.3)
    code = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', "
        "'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)'])\n"
    ) + UNTIL_TOLD.replace("lambda *_: sys.exit(143)", "signal.SIG_IGN")
    client = make_client(vertex)
    created = create(client, make_job(code))
    wait_for_log(vertex, created.name, "up")
    (pid,) = vertex.core.pids_of(created.name)
    group = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert len(group) == 2
    client.cancel_custom_job(name=created.name)
    assert wait_for(vertex, created.name).state == JobState.JOB_STATE_CANCELLED
    _, alive = psutil.wait_procs(group, timeout=10)
    assert alive == []


def test_an_error_appears_a_while_after_the_end(start_vertex: StartVertex, make_client: MakeClient) -> None:
    """As the service does, "about one minute after a job ends"."""
    vertex = start_vertex(error_delay_s=3600)
    job = run(vertex, make_client(vertex), "raise SystemExit(1)")
    assert job.state == JobState.JOB_STATE_FAILED
    assert not job.error.message


# Faults -----------------------------------------------------------------------------------------------------------


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
