"""What is deployed to which work pool: made from prefect.yaml and the pools' files, without editing either."""

import json
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from prefect_gcp.credentials import GcpCredentials
from prefect_gcp.workers.cloud_run_v2 import CloudRunWorkerV2

from deployments.deploy import ROOT, list_pools, read_pool, to_prefect_file, to_template
from switchyard.clients.settings import Settings
from switchyard.core.errors import BadSetup
from tests.emulators.tokens import make_key

ENVIRON = {
    "WORKER_IMAGE": "us-docker.pkg.dev/demo-project/switchyard/worker:1",
    "WORKER_SERVICE_ACCOUNT": "switchyard-worker@demo-project.iam.gserviceaccount.com",
    "TRAINER_IMAGE": "us-docker.pkg.dev/demo-project/switchyard/trainer:1",
    "VERTEX_SERVICE_ACCOUNT": "switchyard-trainer@demo-project.iam.gserviceaccount.com",
    "ARTIFACTS_URI": "gs://bucket/runs",
    "GCP_PROJECT_ID": "demo-project",
    "GCP_REGION": "europe-west4",
    "SERVING_URL": "https://serving.example",
    "KUBERNETES_NAMESPACE": "switchyard",
}


def read_kubernetes_template() -> dict[str, Any]:
    """As Prefect's server knows it: its worker is not among our dependencies."""
    views = Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"
    template = json.loads(views.read_text())["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
    assert isinstance(template, dict)
    return template


def read_prefect_yaml() -> dict[str, Any]:
    read = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert isinstance(read, dict)
    return read


def test_prefect_yaml_is_of_the_pinned_version() -> None:
    """Prefect does not compare them itself."""
    assert read_prefect_yaml()["prefect-version"] == prefect.__version__


@pytest.mark.parametrize("name", list_pools())
def test_every_deployment_goes_to_the_pool(name: str) -> None:
    """All of prefect.yaml, each as it is there but for its pool; images have the flows in a folder of theirs."""
    pool, before = read_pool(name, ENVIRON), read_prefect_yaml()
    deployed = to_prefect_file(before, pool)
    assert len(deployed["deployments"]) == len(before["deployments"]) > 0
    for was, now in zip(before["deployments"], deployed["deployments"], strict=True):
        assert now == was | {"work_pool": {"name": pool.name}}
    pulled = [step["prefect.deployments.steps.set_working_directory"] for step in deployed.get("pull", [])]
    assert pulled == ([{"directory": "/srv/switchyard"}] if pool.type != "process" else [])
    assert before == read_prefect_yaml()


def test_the_machine_s_pool_is_that_of_make_up() -> None:
    """prefect.yaml names it."""
    named = {deployment["work_pool"]["name"] for deployment in read_prefect_yaml()["deployments"]}
    assert named == {read_pool("machine", {}).name}


def test_cloud_run_jobs_get_settings_and_secrets_names() -> None:
    """The worker's own types take the template; no password is in it, only the name of its secret."""
    pool = read_pool("cloud-run", ENVIRON | {"CLOUDSQL_INSTANCE": "demo-project:europe-west4:switchyard"})
    template = to_template(CloudRunWorkerV2.get_default_base_job_template(), pool)
    defaults = {name: entry.get("default") for name, entry in template["variables"]["properties"].items()}
    # Not given, they are the worker's own, which this machine has none of.
    defaults["credentials"] = GcpCredentials(service_account_info=make_service_account())
    configuration = CloudRunWorkerV2.job_configuration.model_validate(_apply(template["job_configuration"], defaults))
    assert configuration.region == "europe-west4"
    assert configuration.env["TRAINING_BACKEND"] == "vertex"
    assert "RESULTS_URL" not in configuration.env
    assert configuration.env_from_secrets["RESULTS_URL"].secret == "switchyard-results-url"
    assert configuration.cloudsql_instances == ["demo-project:europe-west4:switchyard"]
    job = configuration.job_body["template"]["template"]
    assert job["containers"][0]["image"] == ENVIRON["WORKER_IMAGE"]
    assert job["serviceAccount"] == ENVIRON["WORKER_SERVICE_ACCOUNT"]


def make_service_account() -> dict[str, str]:
    """A key that no account has."""
    return {
        "type": "service_account",
        "project_id": "demo-project",
        "client_email": ENVIRON["WORKER_SERVICE_ACCOUNT"],
        "private_key": make_key("worker").private_pem,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def _apply(value: Any, defaults: dict[str, Any]) -> Any:
    """`{{ name }}` as the pool's default of that name."""
    if isinstance(value, dict):
        filled = {key: _apply(item, defaults) for key, item in value.items()}
        return {key: item for key, item in filled.items() if item is not None}
    if isinstance(value, list):
        return [_apply(item, defaults) for item in value]
    if isinstance(value, str) and value.startswith("{{"):
        return defaults.get(value.strip("{} "))
    return value


def test_kubernetes_jobs_keep_the_template_s_own_and_run_as_nobody() -> None:
    """What the file says is laid over Prefect's manifest: its image, command and limits stay."""
    template = to_template(read_kubernetes_template(), read_pool("kubernetes", ENVIRON))
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (container["image"], container["name"]) == ("{{ image }}", "prefect-job")
    assert container["envFrom"] == [{"secretRef": {"name": "switchyard-settings"}}]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["serviceAccountName"] == "{{ service_account_name }}"
    assert template["variables"]["properties"]["image"]["default"] == ENVIRON["WORKER_IMAGE"]


@pytest.mark.parametrize("name", ["cloud-run", "kubernetes"])
def test_settings_that_a_pool_hands_on_are_settings(name: str) -> None:
    """A variable that no one reads would be a misspelt one."""
    pool = read_pool(name, ENVIRON)
    handed = {*pool.variables["env"], *pool.variables.get("env_from_secrets", {})}
    assert handed <= {field.upper() for field in Settings.__struct_fields__}


def test_all_missing_names_are_reported_at_once() -> None:
    """No one has to set one to learn of the next; what is optional is not named."""
    with pytest.raises(BadSetup) as raised:
        read_pool("cloud-run", {"GCP_REGION": "us-central1"})
    said = str(raised.value)
    assert all(name in said for name in ("ARTIFACTS_URI", "TRAINER_IMAGE", "WORKER_IMAGE", "GCP_PROJECT_ID"))
    assert "CLOUDSQL_INSTANCE" not in said
    assert "GCP_REGION" not in said


@pytest.mark.parametrize("reference", ["worker@sha256:" + "0a" * 32, "worker:1@sha256:" + "0a" * 32, "worker:1.0-rc_2"])
def test_images_are_named_by_tag_or_by_digest(reference: str) -> None:
    """A digest is what a tag may be moved away from."""
    image = f"us-docker.pkg.dev/demo-project/switchyard/{reference}"
    for name in ("cloud-run", "kubernetes"):
        assert read_pool(name, ENVIRON | {"WORKER_IMAGE": image}).variables["image"] == image


@pytest.mark.parametrize("reference", ["worker", "worker@sha256:0a", "worker@" + "0a" * 32, "worker:", "wor ker:1"])
def test_image_that_is_none_is_refused(reference: str) -> None:
    """Before a pool is made of which no flow run could start; without a tag it would be another one each day."""
    image = f"us-docker.pkg.dev/demo-project/switchyard/{reference}"
    with pytest.raises(BadSetup, match=r"TRAINER_IMAGE must be .*; WORKER_IMAGE must be an image by tag or by digest"):
        read_pool("cloud-run", ENVIRON | {"WORKER_IMAGE": image, "TRAINER_IMAGE": image})


def test_variables_that_the_pool_s_kind_lacks_are_refused() -> None:
    """Prefect itself would drop them without a word."""
    pool = read_pool("kubernetes", ENVIRON)
    known: dict[str, Any] = {name: {} for name in pool.variables if name != "memory_limit"}
    with pytest.raises(BadSetup, match="has no variable memory_limit"):
        to_template({"variables": {"properties": known}}, pool)
