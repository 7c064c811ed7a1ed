"""What services, jobs, worker pools and triggers need: `CloudUsers` over the endpoint."""

from typing import Any

import pytest

from switchyard.clients.google.decommission.access import Access
from switchyard.clients.google.decommission.users import Users
from switchyard.core.decommission.resources import Kind
from switchyard.core.errors import BadSetup
from tests.clients.google.decommission.cases import seek
from tests.emulators.google.project import CONNECTION, EMAIL, OTHER_REGION, REGION, Project

PLACE = f"projects/acme-ml/locations/{REGION}"
POD: dict[str, Any] = {
    "serviceAccount": EMAIL,
    "containers": [
        {
            "image": "img/x",
            "env": [
                {"name": "PW", "valueSource": {"secretKeyRef": {"secret": "mlflow-password", "version": "1"}}},
                {"name": "FILES", "value": "gs://acme-mlflow/x"},
            ],
        }
    ],
    "volumes": [
        {"name": "a", "secret": {"secret": "mlflow-password"}},
        {"name": "b", "gcs": {"bucket": "acme-mlflow"}},
        {"name": "c", "cloudSqlInstance": {"instances": [CONNECTION]}},
    ],
}
ALL = {
    ("runs as", EMAIL, Kind.SERVICE_ACCOUNT),
    ("mounts", "mlflow-password", Kind.SECRET),
    ("mounts", "acme-mlflow", Kind.BUCKET),
    ("connects to", CONNECTION, Kind.SQL_INSTANCE),
    ("reads in", "mlflow-password", Kind.SECRET),
    ("names in", "gs://acme-mlflow/x", None),
}


def list_of(project: Project, access: Access, by: str) -> set[tuple[str, str, Kind | None]]:
    found = Users(access).list_needs(seek(project))
    return {(need.how, need.name, need.kind) for need in found if need.by == by}


def test_services_jobs_and_worker_pools_need_what_their_template_names(project: Project, access: Access) -> None:
    """Accounts, variables and every sort of volume, in every region."""
    service = project.run.plant_service(OTHER_REGION, "user", template=POD)
    job = project.run.plant_job(REGION, "user", template={"template": POD})
    pool = project.run.plant_pool(REGION, "user", template=POD)
    for by in (service, job, pool):
        assert list_of(project, access, by) == ALL, by


def test_a_trigger_needs_its_account_secrets_and_buckets(project: Project, access: Access) -> None:
    """Wherever they stand in it; global ones too."""
    secret = "projects/acme-ml/secrets/mlflow-password"
    build = {
        "steps": [{"name": "gsutil", "args": ["cp", "x", "gs://acme-mlflow/y"]}],
        "availableSecrets": {"secretManager": [{"env": "PW", "versionName": f"{secret}/versions/1"}]},
    }
    account = f"projects/acme-ml/serviceAccounts/{EMAIL}"
    project.build.plant_trigger("global", "user", build=build, serviceAccount=account)
    found = list_of(project, access, "projects/acme-ml/locations/global/triggers/user")
    assert {one for one in found if one[2] is not None} == {
        ("runs as", account, Kind.SERVICE_ACCOUNT),
        ("reads in", secret, Kind.SECRET),
        ("connects to", "gs://acme-mlflow", Kind.BUCKET),
    }


def test_a_trigger_and_a_container_need_what_their_arguments_name(project: Project, access: Access) -> None:
    """A script of several lines, a substitution, and a database's proxy beside a server."""
    secret = "projects/$PROJECT_ID/secrets/mlflow-password"
    script = f"set -e\n{CONNECTION}\nx gs://acme-mlflow\ny {secret}\nz"
    build = {"steps": [{"name": "bash", "args": ["-c", script]}], "substitutions": {"_AS": EMAIL}}
    project.build.plant_trigger("global", "user", build=build, substitutions={"_DB": CONNECTION})
    pod = {"serviceAccount": "x@y", "containers": [{"image": "img/proxy", "args": ["--port=1", CONNECTION]}]}
    job = project.run.plant_job(REGION, "user", template={"template": pod})
    needs = Users(access).list_needs(seek(project))
    trigger = [one for one in needs if one.by == "projects/acme-ml/locations/global/triggers/user"]
    assert {(one.variable, one.name) for one in trigger if one.variable} == {("_AS", EMAIL), ("_DB", CONNECTION)}
    assert {one.name for one in trigger if one.kind} >= {secret, "gs://acme-mlflow"}
    assert any(CONNECTION in one.name.split("\n") for one in trigger if not one.variable)
    assert "--port=1\n" + CONNECTION in {one.name for one in needs if one.by == job}


def test_an_older_revision_counts_while_it_gets_traffic(project: Project, access: Access) -> None:
    """The template says only what is deployed next."""
    name = project.run.plant_service(REGION, "user", template=POD)
    old = project.run.services[name]["latestReadyRevision"].rpartition("/")[2]
    project.run.services[name]["template"] = {"containers": [{"image": "img/y"}]}
    project.run._add_revision(name)
    assert list_of(project, access, name) == {("runs as", "", Kind.SERVICE_ACCOUNT)}
    by_name = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": old, "percent": 100}
    project.run.services[name]["traffic"] = [by_name]
    assert list_of(project, access, name) >= ALL
    project.run.services[name]["traffic"] = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
    project.run.services[name]["latestReadyRevision"] = f"{name}/revisions/{old}"  # the new one does not start
    assert list_of(project, access, name) >= ALL


def test_a_list_that_may_not_be_read_is_no_silence(project: Project, access: Access) -> None:
    """No user, and no right to see one, are two things."""
    project.world.denied = {"run.workerpools.list"}
    with pytest.raises(BadSetup, match=r"run\.workerpools\.list"):
        Users(access).list_needs(seek(project))
