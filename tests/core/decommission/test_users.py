"""What outside of a plan needs something of it, and which act would break that."""

import msgspec
import pytest

from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.order import Act
from switchyard.core.decommission.resources import Found, Kind, Resource
from switchyard.core.decommission.users import How, Need, UsedBy, find_users, list_hurt, list_refusals
from tests.core.decommission.world import (
    ACCOUNT,
    BINDING,
    BUCKET,
    INSTANCE,
    INVENTORY,
    REGION,
    SECRET,
    SERVICE,
    SOUGHT,
    TRIGGER,
)

EMAIL = "mlflow@shop-1.iam.gserviceaccount.com"
CONNECTION = "shop-1:europe-west1:mlflow-db"
HOST = "mlflow-abc-ew.a.run.app"
JOB = f"{REGION}/jobs/report"
API = f"{REGION}/services/api"


def make_inventory() -> Inventory:
    """With addresses, and one variable of `api` that is taken out."""

    def describe(one: Resource) -> Resource:
        if one.kind is Kind.SQL_INSTANCE and one.name == INSTANCE:
            return msgspec.structs.replace(one, description={"connectionName": CONNECTION})
        if one.kind is Kind.RUN_SERVICE:
            return msgspec.structs.replace(one, description={"uri": f"https://{HOST}"})
        if one.kind is Kind.VARIABLE:
            return msgspec.structs.replace(one, name=f"{API}#PASSWORD")
        return one

    found = [msgspec.structs.replace(one, resources=tuple(map(describe, one.resources))) for one in INVENTORY.found]
    return Inventory(sought=SOUGHT, found=tuple(found))


def need(how: How, name: str, kind: Kind | None, *, by: str = JOB, **more: str) -> Need:
    return Need(by=by, sort="job" if "/jobs/" in by else "service", how=how, name=name, kind=kind, **more)


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        (need("runs as", EMAIL, Kind.SERVICE_ACCOUNT), ACCOUNT),
        (need("runs as", f"projects/shop-1/serviceAccounts/{EMAIL}", Kind.SERVICE_ACCOUNT), ACCOUNT),
        (need("runs as", "api@shop-1.iam.gserviceaccount.com", Kind.SERVICE_ACCOUNT), ""),
        (need("runs as", "", Kind.SERVICE_ACCOUNT), ""),
        (need("mounts", "mlflow-password", Kind.SECRET), SECRET),
        (need("mounts", "projects/123456/secrets/mlflow-password", Kind.SECRET), SECRET),
        (need("mounts", "projects/shop-1/secrets/mlflow-password/versions/2", Kind.SECRET), SECRET),
        (need("mounts", "projects/other/secrets/mlflow-password", Kind.SECRET), ""),
        (need("mounts", "mlflow-password-2", Kind.SECRET), ""),
        (need("reads in", "mlflow-password", Kind.SECRET, variable="PASSWORD"), SECRET),
        (need("reads in", "mlflow-password", Kind.SECRET, by=API, variable="PASSWORD"), ""),  # it is taken out
        (need("reads in", "mlflow-password", Kind.SECRET, by=API, variable="PASSWORD", revision="api-1"), SECRET),
        (need("connects to", CONNECTION, Kind.SQL_INSTANCE), INSTANCE),
        (need("connects to", f"{CONNECTION}-2", Kind.SQL_INSTANCE), ""),
        (need("mounts", "mlflow-artifacts", Kind.BUCKET), BUCKET),
        (need("connects to", "gs://mlflow-artifacts", Kind.BUCKET), BUCKET),
        (need("names in", f"https://{HOST}/api", None, variable="TRACKING"), SERVICE),
        (need("names in", f"postgresql:///x?host=/cloudsql/{CONNECTION}", None, variable="DB"), INSTANCE),
        (need("names in", "gs://mlflow-artifacts", None, variable="FILES"), BUCKET),
        (need("names in", "gs://mlflow-artifacts-2/x", None, variable="FILES"), ""),
        (need("names in", "live", None, variable="MODE"), ""),
        (need("names in", f"x\n{CONNECTION}?port=5432", None), INSTANCE),
        (need("names in", f"{CONNECTION}-2=tcp:1", None), ""),
        (need("names in", f"other-{CONNECTION}", None), ""),
        (need("names in", "mlflow-artifacts", None, variable="BUCKET"), BUCKET),
        (need("names in", "mlflow-artifacts/x", None, variable="BUCKET"), BUCKET),
        (need("names in", "mlflow-artifacts", None), ""),  # an argument may be any word
        (need("names in", "https://storage.googleapis.com/mlflow-artifacts/x", None, variable="FILES"), BUCKET),
        (need("names in", "https://storage.googleapis.com/mlflow-artifacts.old/x", None, variable="FILES"), ""),
        (need("connects to", "https://storage.googleapis.com/mlflow-artifacts", Kind.BUCKET), BUCKET),
        (need("names in", f"serviceAccount:{EMAIL}", None, variable="AS"), ACCOUNT),
        (need("names in", f"--impersonate-service-account={EMAIL}", None), ACCOUNT),
        (need("names in", f"not-{EMAIL}", None, variable="AS"), ""),
        (need("names in", "mlflow-password", None, variable="SECRET"), SECRET),
        (need("names in", "mlflow-password:latest", None, variable="SECRET"), SECRET),
        (need("names in", "the mlflow-password", None, variable="HINT"), ""),
        (need("names in", "projects/shop-1/secrets/mlflow-password/versions/1", None, variable="SECRET"), SECRET),
        (need("names in", "projects/shop-1/secrets/mlflow-password-2", None, variable="SECRET"), ""),
        (need("reads in", "projects/$PROJECT_ID/secrets/mlflow-password", Kind.SECRET), SECRET),
        (need("reads in", "projects/${PROJECT_ID}/secrets/mlflow-password", Kind.SECRET), SECRET),
        (need("reads in", "projects/$PROJECT_NUMBER/secrets/mlflow-password", Kind.SECRET), SECRET),
        (need("runs as", EMAIL, Kind.SERVICE_ACCOUNT, by=SERVICE), ""),  # of the plan itself
        (need("runs as", EMAIL, Kind.SERVICE_ACCOUNT, by=TRIGGER), ""),
    ],
)
def test_a_user_is_found_by_what_it_needs(found: Need, meant: str) -> None:
    """By each form of the name, and no other."""
    assert [used.name for used in find_users(make_inventory(), [found])] == ([meant] if meant else [])


def test_what_names_no_account_runs_as_the_projects_default() -> None:
    """That is a user too, where the plan has it."""
    default = Resource(
        kind=Kind.SERVICE_ACCOUNT, name="projects/p/serviceAccounts/123-compute@developer.gserviceaccount.com"
    )
    found = Found(kind=Kind.SERVICE_ACCOUNT, resources=(default,), listed=1, places=("global",))
    inventory = Inventory(sought=SOUGHT, found=(found,))
    (used,) = find_users(inventory, [need("runs as", "", Kind.SERVICE_ACCOUNT)])
    assert used.name == default.name


def test_a_usual_word_is_no_name() -> None:
    """A secret that is called `password`: only its full name names it."""
    secret = Resource(kind=Kind.SECRET, name="projects/p/secrets/password")
    found = Found(kind=Kind.SECRET, resources=(secret,), listed=1, places=("global",))
    inventory = Inventory(sought=SOUGHT, found=(found,))
    assert find_users(inventory, [need("names in", "password", None, variable="MODE")]) == ()
    assert find_users(inventory, [need("names in", secret.name, None, variable="MODE")]) != ()


USER = UsedBy(kind=Kind.SERVICE_ACCOUNT, name=ACCOUNT, by=JOB, sort="job", how="runs as")


def test_a_refusal_names_who_what_and_what_to_do() -> None:
    """Unless it was given up by its name."""
    (said,) = list_refusals([USER, USER], ())
    assert said.startswith(f"Job {JOB} runs as service account {ACCOUNT}")
    assert "gcloud run jobs update report --region europe-west1 --service-account" in said
    assert list_refusals([USER], (JOB,)) == ()


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"kind": Kind.SECRET, "name": SECRET, "how": "mounts"}, "as files"),
        ({"kind": Kind.SECRET, "name": SECRET, "how": "reads in", "variable": "PW"}, "--remove-env-vars PW"),
        (
            {"by": f"{REGION}/workerPools/w", "sort": "worker pool", "how": "names in", "variable": "DB"},
            "Take it out: gcloud run worker-pools update w --region europe-west1 --remove-env-vars DB.",
        ),
        ({"kind": Kind.SQL_INSTANCE, "name": INSTANCE, "how": "connects to"}, "--clear-cloudsql-instances"),
        ({"kind": Kind.BUCKET, "name": BUCKET, "how": "mounts"}, "--remove-volume"),
        ({"kind": Kind.SQL_INSTANCE, "name": INSTANCE, "how": "names in"}, "--args <those that stay>"),
        ({"by": TRIGGER, "sort": "trigger"}, "gcloud builds triggers export mlflow-push --region europe-west1"),
        ({"revision": "api-1", "sort": "service", "by": API}, "update-traffic api --region europe-west1 --to-latest"),
        ({"by": f"{REGION}/workerPools/w", "sort": "worker pool"}, "gcloud run worker-pools update w"),
    ],
)
def test_each_use_has_its_remedy(used: dict[str, str], said: str) -> None:
    """A command to paste."""
    assert said in list_refusals([msgspec.structs.replace(USER, **used)], ())[0]


@pytest.mark.parametrize(
    ("act", "hurts"),
    [
        (Act(verb="stop", kind=Kind.SERVICE_ACCOUNT, resource=ACCOUNT), True),
        (Act(verb="delete", kind=Kind.SERVICE_ACCOUNT, resource=ACCOUNT), True),
        (Act(verb="delete", kind=Kind.BINDING, resource=f"projects/shop-1#serviceAccount:{EMAIL}"), True),
        (Act(verb="delete", kind=Kind.BINDING, resource=BINDING), False),
        (Act(verb="start", kind=Kind.SERVICE_ACCOUNT, resource=ACCOUNT), False),
        (Act(verb="stop", kind=Kind.SECRET, resource=SECRET), False),
    ],
)
def test_an_act_hurts_those_that_need_what_it_takes(act: Act, hurts: bool) -> None:
    """And no others; what takes back hurts no one."""
    assert list_hurt(act, INVENTORY, [USER]) == ((USER,) if hurts else ())


def test_the_value_of_a_variable_is_in_no_repr() -> None:
    """It may be a password."""
    assert "hunter2" not in repr(need("names in", "hunter2", None, variable="PASSWORD"))
