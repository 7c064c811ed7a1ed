"""deployments/deploy.py against a real Prefect server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from deployments.deploy import ROOT
from switchyard.core.runs.machine import MachineSpec
from tasks.turns import AT_ONCE, LIMIT, PER_S
from tests.deployments.test_deploy import ENVIRON, read_prefect_yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # two deployments of everything each


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server with an empty database."""
    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


def deploy(pool: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deployments.deploy", pool]
    bare = {name: os.environ[name] for name in ("PATH", "HOME", "PREFECT_HOME") if name in os.environ}
    return subprocess.run(command, cwd=ROOT, env=bare | environ, capture_output=True, text=True, timeout=300)


def ask(path: Any, json: dict[str, Any] | None = None) -> Any:
    with get_client(sync_client=True) as client:
        return client.request("GET" if json is None else "POST", path, json=json).raise_for_status().json()


def _form(deployment: dict[str, Any]) -> dict[str, Any]:
    """What Prefect's UI draws of a deployment's parameters."""
    properties = deployment["parameter_openapi_schema"]["properties"]
    assert isinstance(properties, dict)
    return properties


@pytest.mark.parametrize(
    ("pool", "name"), [("cloud-run", "switchyard-cloud-run"), ("kubernetes", "switchyard-kubernetes")]
)
def test_pool_and_deployments_are_made_and_made_again(server: str, pool: str, name: str) -> None:
    """Twice with the same end: the pool has our defaults, and every deployment is in it.

    The forms of train and sweep have the whole machine, submissions are limited, and no file is left behind.
    """
    for _ in range(2):
        done = deploy(pool, PREFECT_API_URL=server, **ENVIRON)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    template = ask(f"/work_pools/{name}")["base_job_template"]
    assert template["variables"]["properties"]["image"]["default"] == ENVIRON["WORKER_IMAGE"]
    made = ask("/deployments/filter", {"work_pools": {"name": {"any_": [name]}}})
    assert {deployment["name"] for deployment in made} == {one["name"] for one in read_prefect_yaml()["deployments"]}
    by_hand = [deployment for deployment in made if deployment["name"] == "manual" and "machine" in _form(deployment)]
    assert {deployment["entrypoint"] for deployment in by_hand} == {"flows/sweep.py:sweep", "flows/train.py:train"}
    for deployment in by_hand:
        assert set(_form(deployment)["machine"]["properties"]) == set(MachineSpec.__struct_fields__)
    limit = ask(f"/v2/concurrency_limits/{LIMIT}")
    assert (limit["active"], limit["limit"], limit["slot_decay_per_second"]) == (True, AT_ONCE, PER_S)
    step = "prefect.deployments.steps.set_working_directory"
    assert all(deployment["pull_steps"] == [{step: {"directory": "/srv/switchyard"}}] for deployment in made)
    assert [
        path.name for path in ROOT.glob(".*-*") if path.suffix in (".yaml", ".json") and "pre-commit" not in path.name
    ] == []


def test_without_a_server_nothing_is_deployed() -> None:
    """Prefect would start one of its own, which no one watches."""
    done = deploy("machine")
    assert done.returncode == 1
    assert "PREFECT_API_URL is not set. Name the Prefect server to deploy to" in done.stderr
