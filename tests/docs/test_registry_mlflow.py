"""The commands of docs/registry.md about MLflow's registry."""

import re
import shlex
from pathlib import Path

import pytest

from flows.__main__ import main, read_command
from switchyard.clients.mlflow.export.writer import read_export
from switchyard.clients.objects.open import open_objects
from switchyard.clients.results.open import open_results
from tests.root import ROOT
from tests.services.import_world import make_store


def list_commands(section: str) -> list[list[str]]:
    """What stands after ``switchyard`` in a section. They are no `console` blocks: they need an MLflow."""
    text = (ROOT / "docs" / "registry.md").read_text()
    body = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [shlex.split(line, comments=True)[1:] for line in re.findall(r"^switchyard .*$", body, re.MULTILINE)]


@pytest.mark.parametrize("section", ["Register", "Mirror", "Import"])
def test_each_command_is_one_that_there_is(section: str) -> None:
    """With flags that it takes."""
    commands = list_commands(section)
    assert commands
    for arguments in commands:
        assert read_command(arguments).flow == arguments[0]


def test_commands_of_the_import_do_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    """In their order, on a registry with two models; the export's place is its own."""
    store = make_store(tmp_path, names=("shop", "two"))
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{store}")
    monkeypatch.setenv("MLFLOW_ARTIFACTS_ROOTS", str(tmp_path))  # where the page says that files of this machine are
    at = (tmp_path / "state" / "artifacts" / "mlflow-export").as_uri()
    for arguments in list_commands("Import"):
        assert main([at if part.startswith("file:") else part for part in arguments]) == 0, arguments
    assert read_export(at, open_objects(at)).rows > 0
    ours = open_results(f"sqlite:///{tmp_path / 'state' / 'results.db'}")
    assert {model.name: model.production for model in ours.models.list_models()} == {
        "shop": 3,
        "shop from MLflow": 3,
        "two": 2,
    }
    ours.close()
