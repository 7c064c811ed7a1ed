"""What the port's suite needs to know of each kind: what is sought, who may change what, and what a walk may touch."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.resources import Kind, Operation, Progress, Resource, Sought
from switchyard.core.errors import NotFound, TryAgain
from tests.emulators.google.documents import Method
from tests.emulators.google.project import CONNECTION, EMAIL, OTHER_REGION, REGION, Project

T = TypeVar("T")

MLFLOW = f"projects/acme-ml/locations/{REGION}/services/mlflow"
API = f"projects/acme-ml/locations/{OTHER_REGION}/services/api"
TRAIN = f"projects/acme-ml/locations/{REGION}/jobs/train"
ACCOUNT = f"projects/acme-ml/serviceAccounts/{EMAIL}"
SECRET = "projects/acme-ml/secrets/mlflow-password"
INSTANCE = "projects/acme-ml/instances/mlflow-db"
BUCKET = "projects/_/buckets/acme-mlflow"
MEMBER = f"serviceAccount:{EMAIL}"
TRIGGER = f"projects/acme-ml/locations/{REGION}/triggers/mlflow-deploy"


def seek(project: Project) -> Sought:
    """The MLflow deployment of the planted project, with a control of each kind that has one."""
    host = project.run.services[MLFLOW]["uri"].removeprefix("https://") if MLFLOW in project.run.services else "gone"
    return Sought(
        project="acme-ml",
        regions=(REGION, OTHER_REGION),
        labels={"app": "mlflow"},
        names={
            Kind.RUN_SERVICE: ("mlflow",),
            Kind.SERVICE_ACCOUNT: (EMAIL,),
            Kind.SECRET: ("mlflow-password",),
            Kind.BUILD_TRIGGER: ("mlflow-deploy", "mlflow-nightly"),
        },
        references=(host, CONNECTION),
        controls={
            Kind.RUN_SERVICE: "shop",
            Kind.SQL_INSTANCE: "shop-db",
            Kind.BUILD_TRIGGER: "shop-deploy",
            Kind.BUCKET: "acme-shop",
            Kind.SERVICE_ACCOUNT: "ci@acme-ml.iam.gserviceaccount.com",
            Kind.SECRET: "shop-key",
            Kind.VARIABLE: "shop",
            Kind.BINDING: "user:owner@example.com",
        },
    )


@dataclass(frozen=True)
class Case:
    """One kind's part in the suite.

    Args:
        touch: someone changes the resource.
        replace: someone deletes it and makes another one of the same name.
        own: what of a snapshot a walk over the resource may change: patterns of its names.
        found: all that must be found.
        stops, prepares: whether stop and prepare change anything.
    """

    kind: Kind
    name: str
    touch: Callable[[Project], Any]
    replace: Callable[[Project], Any]
    own: tuple[str, ...]
    found: tuple[str, ...]
    stops: bool = True
    prepares: bool = False

    @property
    def id(self) -> str:
        """Returns the name that pytest shows."""
        return self.kind.replace(" ", "-")


def _touch_binding(project: Project) -> None:
    policy = project.policies.policies["project/acme-ml"]
    policy["bindings"].append({"role": "roles/editor", "members": [MEMBER]})
    policy["etag"] = project.world.new_etag()


def _replace_binding(project: Project) -> None:
    """All of the member's roles, and another one: bindings have no identity but what they give."""
    policy = project.policies.policies["project/acme-ml"]
    policy["bindings"] = [{"role": "roles/editor", "members": [MEMBER, "user:owner@example.com"]}]
    policy["etag"] = project.world.new_etag()


def _touch_variable(project: Project) -> None:
    project.run.services[API]["template"]["containers"][0]["env"][1]["value"] = "https://elsewhere.example"


def _replace_api(project: Project) -> None:
    env = [{"name": "MLFLOW_TRACKING_URI", "value": "https://elsewhere.example"}]
    project.run.plant_service(OTHER_REGION, "api", template={"containers": [{"image": "img/other", "env": env}]})


def _replace_trigger(project: Project) -> None:
    name = next(n for n, trigger in project.build.triggers.items() if trigger["name"] == "mlflow-deploy")
    project.build.triggers.pop(name)
    project.build.plant_trigger(REGION, "mlflow-deploy", filename="other.yaml")


def _touch_trigger(project: Project) -> None:
    trigger = next(trigger for trigger in project.build.triggers.values() if trigger["name"] == "mlflow-deploy")
    trigger["filename"] = "changed.yaml"


def _touch_service(project: Project) -> None:
    project.run.services[MLFLOW].update(labels={"app": "mlflow", "by": "someone"}, etag='"touched"')


def _touch_instance(project: Project) -> None:
    project.sql.instances["mlflow-db"]["settings"].update(tier="db-g1-small", settingsVersion="7")


def _replace_bucket(project: Project) -> None:
    for key in [key for key in project.storage.objects if key.startswith("acme-mlflow#")]:
        project.storage.objects.pop(key)
    project.storage.plant_bucket("acme-mlflow", labels={"app": "mlflow"})


CASES = (
    Case(
        Kind.RUN_SERVICE,
        MLFLOW,
        _touch_service,
        lambda project: project.run.plant_service(REGION, "mlflow", template={"containers": [{"image": "other"}]}),
        own=(f"run/services/{MLFLOW}", f"run/revisions/{MLFLOW}/.*", f"policies/policy/run/{MLFLOW}"),
        found=(MLFLOW,),
    ),
    Case(
        Kind.SQL_INSTANCE,
        INSTANCE,
        _touch_instance,
        lambda project: project.sql.plant_instance("mlflow-db", tier="db-g1-small"),
        own=("sqladmin/instances/mlflow-db", "sqladmin/databases/mlflow-db/.*", "sqladmin/backups/.*"),
        found=(INSTANCE,),
        prepares=True,
    ),
    Case(
        Kind.BUILD_TRIGGER,
        TRIGGER,
        _touch_trigger,
        _replace_trigger,
        own=(f"cloudbuild/triggers/projects/acme-ml/locations/{REGION}/triggers/.*",),
        found=(TRIGGER, "projects/acme-ml/locations/global/triggers/mlflow-nightly"),
    ),
    Case(
        Kind.BUCKET,
        BUCKET,
        lambda project: project.storage.buckets["acme-mlflow"].update(metageneration="9", labels={"app": "mlflow"}),
        _replace_bucket,
        own=("storage/[a-z_]+/acme-mlflow(#.*)?", "policies/policy/storage/acme-mlflow(#.*)?"),
        found=(BUCKET,),
        stops=False,
    ),
    Case(
        Kind.SERVICE_ACCOUNT,
        ACCOUNT,
        lambda project: project.iam.accounts[ACCOUNT].update(displayName="changed"),
        lambda project: project.iam.plant_account("mlflow-server"),
        own=(f"iam/accounts/{ACCOUNT}", r"iam/deleted/\d+", "policies/policy/.*"),
        found=(ACCOUNT,),
    ),
    Case(
        Kind.SECRET,
        SECRET,
        lambda project: project.secrets.secrets[SECRET].update(labels={"app": "mlflow", "by": "someone"}),
        lambda project: project.secrets.plant_secret("mlflow-password", versions=1),
        own=(f"secretmanager/[a-z]+/{SECRET}(/.*)?",),
        found=(SECRET,),
        prepares=True,
    ),
    Case(
        Kind.VARIABLE,
        f"{API}#MLFLOW_TRACKING_URI",
        _touch_variable,
        _replace_api,
        own=(f"run/services/{API}", f"run/revisions/{API}/.*"),
        found=(f"{TRAIN}#MLFLOW_TRACKING_URI", f"{API}#MLFLOW_TRACKING_URI", f"{API}#TRACKING_PASSWORD"),
    ),
    Case(
        Kind.BINDING,
        f"projects/acme-ml#{MEMBER}",
        _touch_binding,
        _replace_binding,
        own=("policies/policy/project/acme-ml",),
        found=(f"{BUCKET}#{MEMBER}", f"projects/acme-ml#{MEMBER}", f"{SECRET}#{MEMBER}"),
        stops=False,
    ),
)


def finish(cloud: Cloud, operation: Operation) -> Progress:
    """Polls until it is over; Google takes a few requests' time."""
    for _ in range(30):
        progress = insist(lambda: cloud.poll(operation))
        if progress.done:
            return progress
    raise AssertionError(f"{operation} is not over after 30 looks")


def insist(act: Callable[[], T]) -> T:
    """What a task does with `TryAgain`: the same call again."""
    for _ in range(6):
        try:
            return act()
        except TryAgain:
            continue
    return act()


def walk(cloud: Cloud, name: str, *acts: str) -> Resource:
    """Does `acts` one after the other as a decommission does, each with a fresh description; returns what was saved.

    `start` and `recover` are given what was read after `prepare`."""
    saved = insist(lambda: cloud.describe(name))
    for act in acts:
        given = saved if act in ("start", "recover") else describe_or(cloud, name, saved)
        progress = finish(cloud, insist(partial(getattr(cloud, act), given)))
        assert not progress.problem, progress.problem
        if act == "prepare":
            saved = insist(lambda: cloud.describe(name))
    return saved


def describe_or(cloud: Cloud, name: str, saved: Resource) -> Resource:
    """As it is now; what was saved, where it is not there: a variable that was taken out is not."""
    try:
        return insist(lambda: cloud.describe(name))
    except NotFound:
        return saved


def is_change(method: Method) -> bool:
    """Whether a request changes anything."""
    reads = ("getIamPolicy", "testIamPermissions", "entries.list", "jobs.query")
    return method.verb != "GET" and not method.id.endswith(reads)


def count_changes(project: Project) -> int:
    """How many requests that change something there were."""
    return sum(is_change(call.method) for call in project.world.log)


_VOLATILE = frozenset(
    {
        "etag", "uid", "generation", "createTime", "updateTime", "settingsVersion", "id", "resourceName",
        "metageneration",
        "latestReadyRevision", "latestCreatedRevision", "updated", "timeCreated", "timeDeleted", "softDeleteTime",
        "hardDeleteTime", "scheduledDestroyTime", "destroyTime", "expiryTime", "instanceDeletionTime", "backupInterval",
        "deletedAt", "effectiveTime", "name", "version", "revision",
    }
)  # fmt: skip


def to_lasting(value: Any) -> Any:
    """Without what a second one of the same never has again: identities, times."""
    if isinstance(value, dict):
        return {key: to_lasting(item) for key, item in value.items() if key not in _VOLATILE or key == "env"}
    if isinstance(value, list):
        return [{**to_lasting(item), "env name": item["name"]} if _is_env(item) else to_lasting(item) for item in value]
    return re.sub(r"\d{4,}", "N", value) if isinstance(value, str) else value


def _is_env(item: Any) -> bool:
    return isinstance(item, dict) and "name" in item and ("value" in item or "valueSource" in item)


_IDS = r"[0-9a-f]{8}-0000-4000-8000-[0-9a-f]{12}|\d{4,}"


def to_lasting_snapshot(project: Project) -> list[str]:
    """A snapshot that two walks can be compared by, though one of them took more requests."""
    return sorted(
        re.sub(r"[0-9a-f]{8}-0000-4000-8000-[0-9a-f]{12}|\d{4,}", "N", name)
        + " "
        + json.dumps(to_lasting(item), sort_keys=True)
        for name, item in project.world.snapshot().items()
    )


def to_saved(resource: Resource) -> Any:
    """What of a resource must be the same after an undo."""
    parts = {key: value for key, value in resource.parts.items() if key not in ("revisions", "backups")}
    return to_lasting(
        {
            "name of it": resource.name,
            "activity": resource.activity,
            "description": resource.description,
            "bindings": resource.policy.get("bindings", []),
            "parts": parts,
            "guards": resource.guards,
        }
    )
