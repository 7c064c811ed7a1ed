"""The strict endpoint: what it refuses, and the rules that no document has."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tests.emulators.faults import Fault
from tests.emulators.google.documents import APIS, Document, match, read_methods
from tests.emulators.google.project import EMAIL, REGION, Project, plant_mlflow
from tests.emulators.google.server import serve
from tests.emulators.google.world import find_changed

MLFLOW = f"/v2/projects/acme-ml/locations/{REGION}/services/mlflow"
INSTANCE = "/v1/projects/acme-ml/instances/mlflow-db"
SECRET = "/v1/projects/acme-ml/secrets/mlflow-password"
ACCOUNTS = "/v1/projects/acme-ml/serviceAccounts"
BUCKET = "/storage/v1/b/acme-mlflow"


@dataclass
class Answer:
    """What came back."""

    status: int
    body: Any

    @property
    def said(self) -> str:
        """The error's words."""
        return str(self.body["error"]["message"])


@dataclass
class Endpoint:
    """The planted project and its address."""

    project: Project
    url: str

    def ask(self, verb: str, path: str, body: Any = None) -> Answer:
        """One request, by the standard library alone."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, method=verb)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as reply:
                raw = reply.read()
                return Answer(reply.status, json.loads(raw) if raw else None)
        except urllib.error.HTTPError as err:
            with err:
                return Answer(err.code, json.loads(err.read()))


@pytest.fixture
def google() -> Iterator[Endpoint]:
    """One that no other test sees."""
    project = plant_mlflow()
    with serve(project.world) as url:
        yield Endpoint(project, url)
    assert not project.world.breaches


def test_every_route_that_it_answers_is_in_a_document() -> None:
    """A handler under a name that no API has would never be called."""
    known = {method.id for name in APIS for method in Document(name).methods}
    assert set(plant_mlflow().world._routes) <= known


def test_a_path_is_the_method_with_most_of_it_written_out() -> None:
    """An account's e-mail does not swallow the verb behind the colon."""
    found = match("POST", f"{ACCOUNTS}/a%40b:disable")
    assert found[0][0].id == "iam.projects.serviceAccounts.disable"
    assert found[0][1]["serviceAccountsId"] == "a@b"
    assert sum(len(methods) for methods in read_methods().values()) > 900


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "said"),
    [
        ("GET", "/v2/projects/acme-ml/nothing/like/it", None, 404, "no API has"),
        ("GET", f"{MLFLOW}?viewOnly=true", None, 400, 'Unknown name "viewOnly"'),
        ("DELETE", f"{MLFLOW}?validateOnly=perhaps", None, 400, "TYPE_BOOL"),
        ("DELETE", f"{MLFLOW}?etag=a&etag=b", None, 400, "expected one value"),
        ("PATCH", MLFLOW, {"scalling": {}}, 400, 'Unknown name "scalling"'),
        ("PATCH", MLFLOW, {"scaling": {"scalingMode": "NONE"}}, 400, "expected one of"),
        ("PATCH", MLFLOW, {"scaling": {"scalingMode": 9}}, 400, "Invalid value"),
        ("PATCH", MLFLOW, {"scaling": {"manualInstanceCount": "0"}}, 400, "expected a integer"),
        ("PATCH", MLFLOW, {"traffic": {"percent": 100}}, 400, "expected an array"),
        ("PATCH", f"{MLFLOW}?updateMask=scale", {}, 400, "Invalid update mask"),
        ("GET", f"{MLFLOW}/revisions", {"pageSize": 3}, 400, "takes no body"),
        ("PATCH", INSTANCE, {"settings": {"settingsVersion": True}}, 400, "expected a string"),
        ("PATCH", INSTANCE, {"settings": {"settingsVersion": "one"}}, 400, "int64"),
        ("PATCH", f"{SECRET}?updateMask=versionDestroyTtl", {"versionDestroyTtl": "a week"}, 400, "seconds"),
        ("PATCH", f"{SECRET}?updateMask=version_destroy_ttl", {"versionDestroyTtl": "60s"}, 400, "24 hours"),
        ("GET", "/storage/v1/b", None, 400, "Required parameter: [project]"),
        ("POST", f"{ACCOUNTS}/{EMAIL}:signJwt", {"payload": "{}"}, 501, "this endpoint does not"),
        (
            "POST",
            "/v2/entries:list",
            {"resourceNames": ["projects/acme-ml"], "filter": "severity>=ERROR"},
            400,
            "filter",
        ),
    ],
)
def test_what_no_document_knows_is_refused(
    google: Endpoint, verb: str, path: str, body: Any, status: int, said: str
) -> None:
    """Paths, query names, fields, types, enum names; nothing changes."""
    before = google.project.world.snapshot()
    answer = google.ask(verb, path, body)
    assert (answer.status, said in answer.said) == (status, True), answer
    assert find_changed(before, google.project.world.snapshot()) == set()


def test_its_own_replies_are_held_to_the_documents() -> None:
    """A field that Google does not have is an error of the endpoint's own, and is remembered."""
    project = plant_mlflow()
    project.sql.instances["mlflow-db"]["colour"] = "red"
    with serve(project.world) as url:
        answer = Endpoint(project, url).ask("GET", INSTANCE)
    assert (answer.status, "the endpoint's own reply" in answer.said) == (500, True)
    assert len(project.world.breaches) == 1


def test_lists_come_in_pages(google: Endpoint) -> None:
    """Whatever page is asked for, so that a client that takes the first page for the whole is found out."""
    first = google.ask("GET", f"{ACCOUNTS}?pageSize=100").body
    rest = google.ask("GET", f"{ACCOUNTS}?pageToken={first['nextPageToken']}").body
    assert (len(first["accounts"]), len(rest["accounts"]), "nextPageToken" in rest) == (2, 1, False)


def test_a_stale_etag_is_a_conflict(google: Endpoint) -> None:
    """Cloud Run: 409; Cloud SQL's settings version: 412; a policy: 409; a bucket's metageneration: 412."""
    assert google.ask("DELETE", f"{MLFLOW}?etag=old").status == 409
    assert google.ask("PATCH", INSTANCE, {"settings": {"settingsVersion": "99"}}).status == 412
    policy = {"policy": {"etag": "b2xk", "bindings": []}}
    assert google.ask("POST", "/v3/projects/acme-ml:setIamPolicy", policy).status == 409
    assert google.ask("PATCH", f"{BUCKET}?ifMetagenerationMatch=99", {}).status == 412
    assert google.ask("DELETE", f"{SECRET}?etag=old").status == 400


def test_a_long_operation_is_done_later_or_failed(google: Endpoint) -> None:
    """Its effect is there when it is done. DONE with an error is HTTP 200, and has no effect."""
    begun = google.ask("PATCH", INSTANCE, {"settings": {"activationPolicy": "NEVER"}}).body
    assert begun["status"] == "PENDING"
    again = google.ask("PATCH", INSTANCE, {"settings": {"tier": "db-g1-small"}})
    assert (again.status, again.body["error"]["errors"][0]["reason"]) == (409, "operationInProgress")
    google.project.world.finish()
    operation = f"/v1/projects/acme-ml/operations/{begun['name']}"
    assert google.ask("GET", operation).body["status"] == "DONE"
    assert google.ask("GET", INSTANCE).body["settings"]["activationPolicy"] == "NEVER"
    google.project.world.faults.order(Fault(kind="sql.instances.delete", error="out of disks"))
    failed = google.ask("DELETE", INSTANCE).body
    google.project.world.finish()
    answer = google.ask("GET", f"/v1/projects/acme-ml/operations/{failed['name']}")
    assert (answer.status, answer.body["status"]) == (200, "DONE")
    assert answer.body["error"]["errors"][0]["message"] == "out of disks"
    assert google.ask("GET", INSTANCE).status == 200


def test_an_instance_takes_its_backups_with_it(google: Endpoint) -> None:
    """Unless one asked otherwise before: this is the trap that a decommission must not fall into."""
    google.ask("DELETE", INSTANCE)
    google.project.world.finish()
    assert [backup["instance"] for backup in google.project.sql.backups.values()] == ["shop-db"]


def test_an_instance_that_keeps_its_backups_does(google: Endpoint) -> None:
    """`retainBackupsOnDelete` keeps them, `enableFinalBackup` adds the last one, until its time is over."""
    google.ask("PATCH", INSTANCE, {"settings": {"retainBackupsOnDelete": True}})
    google.project.world.finish()
    google.ask("DELETE", f"{INSTANCE}?enableFinalBackup=true&finalBackupTtlDays=30")
    google.project.world.finish()
    mine = [b["type"] for b in google.project.sql.backups.values() if b["instance"] == "mlflow-db"]
    assert sorted(mine) == ["AUTOMATED", "FINAL"]
    google.project.world.let_pass(timedelta(days=31))
    google.ask("GET", "/v1/projects/acme-ml/instances")
    mine = [b["type"] for b in google.project.sql.backups.values() if b["instance"] == "mlflow-db"]
    assert mine == ["AUTOMATED"]


@pytest.mark.parametrize("setting", [{"deletionProtectionEnabled": True}, {}])
def test_a_protected_instance_or_one_with_replicas_is_not_deleted(google: Endpoint, setting: dict[str, Any]) -> None:
    """400, with the reason."""
    google.project.sql.instances["mlflow-db"]["settings"].update(setting)
    if not setting:
        google.project.sql.instances["mlflow-db"]["replicaNames"] = ["mlflow-db-2"]
    assert google.ask("DELETE", INSTANCE).status == 400


def test_a_missing_permission_is_403_and_testable(google: Endpoint) -> None:
    """Each API in its own words; testIamPermissions leaves it out."""
    google.project.world.denied = {"run.services.delete", "cloudsql.instances.delete", "storage.buckets.delete"}
    assert "Permission 'run.services.delete' denied" in google.ask("DELETE", MLFLOW).said
    assert google.ask("DELETE", INSTANCE).said == "The client is not authorized to make this request."
    assert "storage.buckets.delete" in google.ask("DELETE", BUCKET).said
    asked = {"permissions": ["run.services.delete", "run.services.get"]}
    held = google.ask("POST", "/v3/projects/acme-ml:testIamPermissions", asked).body
    assert held == {"permissions": ["run.services.get"]}


def test_an_account_by_the_wildcard_is_refused_when_gone(google: Endpoint) -> None:
    """403 with ``projects/-``, where 404 would be the truth."""
    assert google.ask("GET", "/v1/projects/-/serviceAccounts/no@acme-ml.iam.gserviceaccount.com").status == 403
    assert google.ask("GET", f"{ACCOUNTS}/no@acme-ml.iam.gserviceaccount.com").status == 404
    assert google.ask("GET", f"/v1/projects/-/serviceAccounts/{EMAIL}").status == 200


def test_a_deleted_account_stays_in_policies_under_another_name(google: Endpoint) -> None:
    """`:undelete` by its id within 30 days gives it its name back; both forms of one account are refused."""
    uid = google.ask("GET", f"{ACCOUNTS}/{EMAIL}").body["uniqueId"]
    google.ask("DELETE", f"{ACCOUNTS}/{EMAIL}")
    deleted = f"deleted:serviceAccount:{EMAIL}?uid={uid}"
    policy = google.ask("POST", "/v3/projects/acme-ml:getIamPolicy", {"options": {"requestedPolicyVersion": 3}}).body
    assert deleted in policy["bindings"][1]["members"]
    google.project.iam.plant_account("mlflow-server")
    policy["bindings"][1]["members"].append(f"serviceAccount:{EMAIL}")
    assert google.ask("POST", "/v3/projects/acme-ml:setIamPolicy", {"policy": policy}).status == 400
    assert google.ask("POST", f"{ACCOUNTS}/{uid}:undelete", {}).status == 409
    google.ask("DELETE", f"{ACCOUNTS}/{EMAIL}")
    assert google.ask("POST", f"{ACCOUNTS}/{uid}:undelete", {}).status == 200
    google.ask("DELETE", f"{ACCOUNTS}/{EMAIL}")
    google.project.world.let_pass(timedelta(days=30))
    assert google.ask("POST", f"{ACCOUNTS}/{uid}:undelete", {}).status == 404


def test_conditions_show_in_version_3_alone(google: Endpoint) -> None:
    """Who asks for less gets a role of another name, which cannot be written back."""
    path = "/v3/projects/acme-ml"
    old = google.ask("POST", f"{path}:getIamPolicy", {}).body
    assert any("_withcond_" in binding["role"] for binding in old["bindings"])
    assert google.ask("POST", f"{path}:setIamPolicy", {"policy": old}).status == 400
    new = google.ask("POST", f"{path}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}}).body
    assert google.ask("POST", f"{path}:setIamPolicy", {"policy": {**new, "version": 1}}).status == 400
    assert google.ask("POST", f"{path}:setIamPolicy", {"policy": new}).status == 200


def test_a_destroyed_version_waits_where_the_secret_says_so(google: Endpoint) -> None:
    """Disabled until then; enabling takes it back. Without a delay it is gone. A secret takes all with it at once."""
    first, second = f"{SECRET}/versions/1", f"{SECRET}/versions/2"
    assert google.ask("POST", f"{second}:destroy", {}).body["state"] == "DESTROYED"
    assert google.ask("POST", f"{second}:enable", {}).status == 400
    google.ask("PATCH", f"{SECRET}?updateMask=version_destroy_ttl", {"versionDestroyTtl": "86400s"})
    waiting = google.ask("POST", f"{first}:destroy", {}).body
    assert (waiting["state"], "scheduledDestroyTime" in waiting) == ("DISABLED", True)
    assert google.ask("POST", f"{first}:enable", {}).body["state"] == "ENABLED"
    google.ask("POST", f"{first}:destroy", {})
    google.project.world.let_pass(timedelta(days=1))
    listed = google.ask("GET", f"{SECRET}/versions").body["versions"]
    assert {version["state"] for version in listed} == {"DESTROYED"}
    google.ask("DELETE", SECRET)
    assert google.ask("GET", SECRET).status == 404
    assert not [name for name in google.project.secrets.versions if "mlflow" in name]


def test_a_bucket_is_deleted_empty_and_restored_by_its_generation(google: Endpoint) -> None:
    """Not where a live one has the name, and not when its time is over."""
    assert google.ask("DELETE", BUCKET).status == 409
    shop = google.project.storage.plant_bucket("acme-empty")
    generation = google.project.storage.buckets[shop]["generation"]
    assert google.ask("DELETE", f"/storage/v1/b/{shop}").status == 204
    assert google.ask("GET", f"/storage/v1/b/{shop}?softDeleted=true&generation={generation}").status == 200
    assert google.ask("POST", f"/storage/v1/b/{shop}/restore?generation=1").status == 404
    assert google.ask("POST", f"/storage/v1/b/{shop}/restore?generation={generation}").status == 200
    assert google.ask("POST", f"/storage/v1/b/{shop}/restore?generation={generation}").status == 409
    google.ask("DELETE", f"/storage/v1/b/{shop}")
    google.project.world.let_pass(timedelta(days=8))
    assert google.ask("POST", f"/storage/v1/b/{shop}/restore?generation={generation}").status == 404


def test_triggers_of_a_region_are_not_in_the_global_list(google: Endpoint) -> None:
    """Each place is a list of its own."""
    lists = {
        place: [
            trigger["name"]
            for trigger in google.ask("GET", f"/v1/projects/acme-ml/locations/{place}/triggers").body["triggers"]
        ]
        for place in ("global", REGION)
    }
    assert lists == {"global": ["mlflow-nightly", "shop-deploy"], REGION: ["mlflow-deploy", "another"]}


def test_a_template_that_names_its_revision_is_refused_when_changed(google: Endpoint) -> None:
    """409: that revision is there, and differs."""
    api = "/v2/projects/acme-ml/locations/us-central1/services/api"
    template = google.ask("GET", api).body["template"]
    template["containers"][0]["env"] = []
    google.project.run.services[api.removeprefix("/v2/")]["template"]["revision"] = "api-1"
    google.project.run._add_revision(api.removeprefix("/v2/"))
    answer = google.ask("PATCH", f"{api}?updateMask=template", {"template": {**template, "revision": "api-1"}})
    assert (answer.status, "already exists" in answer.said) == (409, True)


def test_faults_hit_the_call_that_is_named(google: Endpoint) -> None:
    """By method and number: refused, lost after its effect, empty and stale lists."""
    faults = google.project.world.faults
    faults.order(Fault(kind="iam.projects.serviceAccounts.get", nth=2, status=503))
    statuses = [google.ask("GET", f"{ACCOUNTS}/{EMAIL}").status for _ in range(3)]
    assert statuses == [200, 503, 200]
    faults.order(Fault(kind="iam.projects.serviceAccounts.disable", broken=True, after=True))
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        google.ask("POST", f"{ACCOUNTS}/{EMAIL}:disable", {})
    assert google.ask("GET", f"{ACCOUNTS}/{EMAIL}").body["disabled"] is True
    google.ask("DELETE", f"{ACCOUNTS}/{EMAIL}")
    faults.order(Fault(kind="*.serviceAccounts.list", stale=True))
    assert len(google.ask("GET", ACCOUNTS).body["accounts"]) == 2
    faults.order(Fault(kind="*.serviceAccounts.list", empty=True))
    assert google.ask("GET", ACCOUNTS).body == {}


@pytest.mark.needs_google_run
def test_enums_have_the_numbers_of_google_cloud_run() -> None:
    """A generated client sends numbers: the document's order must be that of the client's own enums."""
    run_v2 = pytest.importorskip("google.cloud.run_v2", reason="needs google-cloud-run: make test-decommission")
    schemas = Document("run.v2").schemas
    for schema, field, enum in (
        ("GoogleCloudRunV2Service", "ingress", run_v2.IngressTraffic),
        ("GoogleCloudRunV2ServiceScaling", "scalingMode", run_v2.ServiceScaling.ScalingMode),
        ("GoogleCloudRunV2TrafficTarget", "type", run_v2.TrafficTargetAllocationType),
        ("GoogleCloudRunV2RevisionTemplate", "executionEnvironment", run_v2.ExecutionEnvironment),
    ):
        names = schemas[schema]["properties"][field]["enum"]
        assert [(member.name, member.value) for member in enum] == [(name, n) for n, name in enumerate(names)][
            : len(enum)
        ]
