"""docs/mlflow-server.md: its variables are the entrypoint's, its numbers Terraform's, and what was not run says so."""

import inspect
import re

import pytest

from deployments.mlflow import entrypoint, local
from deployments.mlflow.entrypoint import FRONTS, POOL
from tests.deployments.mlflow.test_terraform import TEXT as TERRAFORM
from tests.docs.pages import read_page
from tests.root import ROOT

PAGE = read_page("mlflow-server.md")
NOT_RUN = "*(not run here"


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_its_variables_are_the_entrypoint_s() -> None:
    """Every one that it reads, and no other; what may stand in front, by its name."""
    table = section("What the entrypoint checks")
    named = {name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    read = set(re.findall(r'"(MLFLOW_\w+|HOST|PORT)"', inspect.getsource(entrypoint)))
    hidden = set(entrypoint.FIXED) | set(entrypoint.REFUSED) | {"MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"}
    assert named == read - hidden
    assert f"| {POOL['MLFLOW_SQLALCHEMYSTORE_POOL_SIZE']}; see" in table
    (row,) = [line for line in table.splitlines() if line.startswith("| `MLFLOW_BEHIND`")]
    assert set(re.findall(r"`(\w+)`", row)[1:]) == set(FRONTS)


def test_what_make_mlflow_prints_is_what_it_says() -> None:
    """Its three lines, and the variable of the Makefile."""
    said = inspect.getsource(local)
    for word in ("ready: ", "train: MLFLOW_TRACKING_URI=", "read its database: MLFLOW_BACKEND_STORE_URI="):
        assert word in section("On this machine")
        assert word in said
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^mlflow: .*mlflow-current", makefile, re.MULTILINE)
    assert "$(MLFLOW)" in makefile and "make mlflow MLFLOW=--port=5001" in PAGE


# In capital letters are the settings of Switchyard.
NAMED = re.findall(r"`([a-z0-9]+_\w+)(?:`| = )", section("On Google Cloud") + section("Backups"))


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_terraform_has_what_is_named(name: str) -> None:
    """Its variables and outputs."""
    assert re.search(rf'^(variable|output) "{name}"', TERRAFORM, re.MULTILINE)


def test_its_numbers_are_terraform_s() -> None:
    """Defaults and limits that a person plans by."""
    for name, number in (("noncurrent_days", 30), ("backup_days", 30), ("database_connections", 25), ("pool_size", 2)):
        block = TERRAFORM.split(f'variable "{name}" {{')[1].split("\n}\n")[0]
        assert f"default     = {number}" in block
    assert "for 30 days (`noncurrent_days`)" in PAGE
    assert "30 are kept (`backup_days`)" in PAGE
    assert "20 an instance, 2 instances" in PAGE
    assert "max_instance_request_concurrency = 20" in TERRAFORM


def test_what_was_not_run_says_so() -> None:
    """Each part whose commands need an engine, an account or GitHub."""
    for title in ("With Docker Compose", "On Google Cloud", "From GitHub Actions"):
        assert NOT_RUN in section(title)
    for part in PAGE.split("\n## "):
        foreign = re.search(r"^(\d\. `)?(docker|terraform|gcloud) ", part, re.MULTILINE)
        assert not foreign or NOT_RUN in part
