"""Every region is asked, whether the plan names it or not; and what no list shows is said."""

from collections.abc import Callable

import msgspec
import pytest

from switchyard.clients.google.decommission.access import Access
from switchyard.clients.google.decommission.places import Places
from switchyard.clients.google.decommission.users import Users
from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.resources import Kind
from switchyard.core.errors import BadRecord, BadSetup
from tests.clients.google.decommission.cases import seek
from tests.clients.google.decommission.conftest import needs_google_run
from tests.emulators.faults import Fault
from tests.emulators.google.project import EMAIL, Project

UNNAMED = "asia-east1"
PLACE = f"projects/acme-ml/locations/{UNNAMED}"
REGIONAL = [
    pytest.param(Kind.RUN_SERVICE, marks=needs_google_run),
    Kind.VARIABLE,
    Kind.BUILD_TRIGGER,
    Kind.BINDING,
]


def plant(project: Project) -> dict[Kind, str]:
    """Of each regional kind something of MLflow's, in a region that no one named."""
    env = [{"name": "MLFLOW_TRACKING_URI", "value": seek(project).references[0]}]
    project.run.plant_service(UNNAMED, "mlflow", labels={"app": "mlflow"}, template={"containers": [{"image": "x"}]})
    reader = project.run.plant_service(UNNAMED, "reader", template={"containers": [{"image": "x", "env": env}]})
    member = f"serviceAccount:{EMAIL}"
    project.policies.plant(f"run/{reader}", {"role": "roles/run.invoker", "members": [member]})
    trigger = project.build.triggers[f"{PLACE}/triggers/{project.build.plant_trigger(UNNAMED, 'extra')}"]
    trigger["substitutions"] = {"_HOST": env[0]["value"]}
    return {
        Kind.RUN_SERVICE: f"{PLACE}/services/mlflow",
        Kind.VARIABLE: f"{reader}#MLFLOW_TRACKING_URI",
        Kind.BUILD_TRIGGER: f"{PLACE}/triggers/extra",
        Kind.BINDING: f"{reader}#{member}",
    }


@pytest.mark.parametrize("kind", REGIONAL)
def test_a_region_that_the_plan_does_not_name_is_asked_too(
    project: Project, open_cloud: Callable[[Kind], Cloud], kind: Kind
) -> None:
    """Else nothing there would ever be found, or missed."""
    planted = plant(project)
    found = open_cloud(kind).find(seek(project))
    assert planted[kind] in [one.name for one in found.resources]
    assert kind is Kind.BINDING or UNNAMED in found.places


def test_users_in_a_region_that_the_plan_does_not_name_count(project: Project, access: Access) -> None:
    """They break as much as others."""
    job = project.run.plant_job(UNNAMED, "audit", template={"template": {"serviceAccount": EMAIL}})
    project.build.plant_trigger(UNNAMED, "audit", serviceAccount=EMAIL)
    found = {need.by for need in Users(access).list_needs(seek(project)) if need.name == EMAIL}
    assert found >= {job, f"{PLACE}/triggers/audit"}


@pytest.mark.parametrize("api", ["run", "cloudbuild"])
def test_a_list_of_regions_without_those_of_the_plan_proves_nothing(project: Project, access: Access, api: str) -> None:
    """It is not whole, or the plan misspells one; and a permission that is missing is no silence."""
    places = Places(access)
    read = places.list_run if api == "run" else places.list_build
    project.world.faults.order(Fault(kind=f"{api}.projects.locations.list", empty=True))
    with pytest.raises(BadRecord, match=r"'europe-west1' is not among the 0 listed"):
        read(seek(project))
    with pytest.raises(BadRecord, match="'europe-wset1' is not among the 3 listed"):
        read(msgspec.structs.replace(seek(project), regions=("europe-wset1",)))
    project.world.denied = {f"{api}.locations.list"}
    with pytest.raises(BadSetup, match=rf"{api}\.locations\.list"):
        read(seek(project))


@pytest.mark.parametrize("kind", [Kind.SECRET, Kind.BINDING, Kind.VARIABLE])
def test_what_no_list_shows_is_said(project: Project, open_cloud: Callable[[Kind], Cloud], kind: Kind) -> None:
    """An absence that is not proved is not kept quiet."""
    assert open_cloud(kind).find(seek(project)).unseen
