"""docs/registry.md: its commands run as they stand, in order, and its deployment is one."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.settings import PREFECT_API_URL

from switchyard.clients.connect import Outside
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.registry.stages import Stage
from switchyard.core.runs.rows import NewRun
from switchyard.models_command.command import COMMANDS
from tests.clients.results.places import NOW
from tests.docs.pages import Folder, open_folder, read_blocks, read_commands, read_page
from tests.flows.test_registry import make_run
from tests.root import ROOT

PAGE = read_page("registry.md")


@pytest.fixture
def folder(tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """Where `switchyard` is on the PATH, with the session's Prefect server."""
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with open_folder(tmp_path / "checkout", PATH=path, PREFECT_API_URL=str(PREFECT_API_URL.value())) as made:
        yield made


@pytest.mark.timeout(600)
def test_every_command_runs_as_it_stands(folder: Folder, tmp_path: Path) -> None:
    """Runs 12 and 13 are completed and have a model; each command of `switchyard models` is one of the page's."""
    outside = Outside(read_settings({"STATE_DIR": str(folder.path / ".switchyard")}))
    for number in range(1, 12):
        outside.runs.create_run(NewRun(request_key=f"before {number}"), now=NOW)
    assert [make_run(outside, tmp_path, number) for number in (12, 13)] == [12, 13]
    said = {command: folder.run(command) for command in read_commands(PAGE)}
    model = outside.models.read_model("shop")
    assert (model.production, model.challenger, model.last_number) == (1, None, 2)
    retired = outside.models.find_version("shop", "2")
    assert (retired.stage, retired.tombstoned_at is not None) == (Stage.ARCHIVED, True)
    acts = [str(line.act) for line in outside.models.list_transitions("shop")]
    assert {"promoted", "rolled back", "moved", "share changed", "tombstoned"} <= set(acts)
    typed = {command.split()[2] if len(command.split()) > 2 else "list" for command in said if " models" in command}
    assert typed == set(COMMANDS)
    assert "promoted" in said["switchyard models history shop"]
    # A program reads the same of the commands that only look.
    for command in (one for one in said if one.split()[1:3][-1] in ("models", "versions", "show", "history")):
        json.loads(folder.run(f"{command} --json"))
    outside.close()


def test_the_deployment_of_one_s_own_is_one() -> None:
    """Prefect takes its trigger, and its parameters are register's."""
    [block] = read_blocks(PAGE, "yaml")
    [own] = yaml.safe_load(block.replace("*work_pool", "{name: pool}"))
    [trigger] = own["triggers"]
    more: dict[str, Any] = trigger.pop("parameters")
    found = DeploymentEventTrigger.model_validate(trigger | {"parameters": more})
    assert found.expect == {"training-run.completed"}
    from flows.register import register

    deployment = RunnerDeployment.from_flow(register, name=own["name"], parameters=own["parameters"])
    assert set(deployment._parameter_openapi_schema.properties) >= {*own["parameters"], *more}
