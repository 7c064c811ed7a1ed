"""What Vertex AI's endpoint refuses and takes: each field's rule, by both transports."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import InvalidOperation
from google.cloud.aiplatform_v1 import JobState

from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_asking import MakeClient, StartVertex, ask
from tests.emulators.vertex_config import VertexConfig
from tests.emulators.vertex_core import VertexCore
from tests.emulators.vertex_errors import ServiceError
from tests.emulators.vertex_jobs import (
    PARENT,
    PYTHON_IMAGE,
    create,
    make_job,
    wait_for,
)
from tests.emulators.vertex_rules import PersistentResource


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
    """What a request says of fields that only the service sets is not read.

    Source: https://google.aip.dev/203
    """
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
