"""What `make up` deploys: prefect.yaml, with the schedules that a laptop does not want paused."""

import os
import subprocess
import sys

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL

from deployments.local import find_pausable, to_lines, to_local, to_name
from tests.deployments.test_deploy import read_prefect_yaml
from tests.root import ROOT

NIGHTLY, WEEKLY, MINUTELY = "train/nightly", "verify/weekly", "reconcile/every-minute"
HOURLY = "backfill/hourly"
"""Off everywhere until a person switches it on."""


@pytest.mark.parametrize("resumed", [set(), {NIGHTLY}, {NIGHTLY, WEEKLY}])
def test_schedules_are_paused_until_a_person_resumes_them(resumed: set[str]) -> None:
    """Reconcile's is not: nothing else publishes what a lost event left. All else is prefect.yaml's."""
    prefect_yaml = read_prefect_yaml()
    local = to_local(prefect_yaml, resumed)
    active = {
        to_name(one): schedule.pop("active") for one in local["deployments"] for schedule in one.get("schedules", [])
    }
    assert active == {HOURLY: False, NIGHTLY: NIGHTLY in resumed, WEEKLY: WEEKLY in resumed, MINUTELY: True}
    for one in prefect_yaml["deployments"]:
        for schedule in one.get("schedules", []):
            assert schedule.pop("active") is (to_name(one) != HOURLY)  # what `make deploy` deploys
    assert local == prefect_yaml


def test_the_lines_name_all_deployments_and_those_that_are_paused() -> None:
    """They are read from prefect.yaml, so that none is forgotten."""
    prefect_yaml = read_prefect_yaml()
    deployed, paused = to_lines(prefect_yaml, {WEEKLY})
    assert deployed == f"deployed: {', '.join(map(to_name, prefect_yaml['deployments']))}"
    assert paused.startswith(f"paused: the schedules of {NIGHTLY}, {HOURLY}. ")
    assert len(to_lines(prefect_yaml, find_pausable(prefect_yaml))) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_person_resumed_is_kept(prefect_server: None) -> None:
    """The second `make up` changes neither what was resumed nor what was left alone, and leaves no file."""
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}

    def deploy() -> dict[str, bool]:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.local"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        names = (NIGHTLY, WEEKLY, MINUTELY)
        return {name: client.read_deployment_by_name(name).schedules[0].active for name in names}

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="switchyard", type="process"), overwrite=True)
        assert deploy() == {NIGHTLY: False, WEEKLY: False, MINUTELY: True}
        nightly = client.read_deployment_by_name(NIGHTLY)
        client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=True)
        assert deploy() == {NIGHTLY: True, WEEKLY: False, MINUTELY: True}
    assert not list(ROOT.glob(".prefect-*"))
