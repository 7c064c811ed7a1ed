"""docs/registry.md, section Validate: its commands run as they stand, and its defaults are those of the flow."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.registry_parameters import ValidateParameters
from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.registry.rows import Promotion
from switchyard.core.registry.stages import Act
from switchyard.core.runs.flags import to_flag
from tests.docs.pages import Folder, open_folder, read_blocks, read_page
from tests.root import ROOT
from tests.services.validation_world import NAME, Shop

SECTION = read_page("registry.md").partition("## Validate\n")[2].partition("\n## ")[0]


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
    """Version 1 is champion; version 2 is better, so that it passes and is promoted without force."""
    settings = read_settings({"STATE_DIR": str(folder.path / ".switchyard")})
    migrate(settings)
    outside = Outside(settings)
    shop = Shop(outside.models, tmp_path)
    purchases = shop.list_purchases()
    own = {"data_uri": shop.write(purchases, "own.csv")}
    shop.register(1, noise=0.5, parameters=own)
    outside.models.promote(Promotion(name=NAME, version=1, expected=None))
    shop.register(2, parameters=own)
    shop.write(purchases, "checkout/orders.csv")
    [commands] = read_blocks(SECTION, "sh")
    said = {command: folder.run(command) for command in commands.splitlines()}
    assert all("2 of model shop passed against version 1" in text for line, text in said.items() if "validate" in line)
    assert outside.models.read_model(NAME).production == 2
    acts = [line.act for line in outside.models.list_transitions(NAME)]
    assert acts.count(Act.VALIDATED) == len(said) - 1
    outside.close()


def test_flags_and_defaults_are_as_the_section_says() -> None:
    """Each flag exists; the table's and the text's defaults are the flow's."""
    flags = {name.removeprefix("--no-").removeprefix("--") for name in re.findall(r"--[a-z][a-z-]+", SECTION)}
    known = {to_flag(name).removeprefix("--") for name in ValidateParameters.__struct_fields__}
    assert len(flags) > 12
    assert flags - known - {"expect"} == set()
    defaults = ValidateParameters(name="shop", version=2)
    for names, _, said in re.findall(r"^\| (`--.*?) \| (.*?) \| (.*?) \|$", SECTION, re.MULTILINE):
        for flag in re.findall("--([a-z-]+)", names):
            default = getattr(defaults, flag.replace("-", "_"))
            assert said == ("yes" if default is True else f"{default:g}"), flag
    for flag, said in re.findall(r"`--([a-z-]+)` \(([0-9,]+)\)", SECTION):
        assert getattr(defaults, flag.replace("-", "_")) == int(said.replace(",", "")), flag
