"""docs/predict.md: its commands run, its tables are those of the code."""

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.predictions.rate import DEFAULT_RATE
from switchyard.clients.results.open import open_results
from switchyard.core.predictions.requests import DEFAULT_K, MAX_BODY_BYTES, MAX_INSTANCES, MAX_K, Parameters
from switchyard.core.predictions.sources import SETTINGS
from tests.docs.pages import Folder, open_folder, read_blocks, read_commands, read_page
from tests.predicting import promote, register_folder, write_model

PAGE = read_page("predict.md")


@pytest.fixture
def port() -> int:
    """A free port, in the place of the page's 8080."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """With one model in Production."""
    with open_folder(tmp_path / "checkout") as made:
        ports = open_results(f"sqlite:///{made.path / '.switchyard' / 'results.db'}")
        promote(ports.models, register_folder(ports.models, write_model(tmp_path / "model")))
        ports.close()
        yield made


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
def test_every_command_runs_as_it_stands(folder: Folder, port: int) -> None:
    """In order; the example has the keys of the answer, and every metric of the page is there."""
    start, *commands = (command.replace("8080", str(port)) for command in read_commands(PAGE))
    folder.run(start, health=f"http://127.0.0.1:{port}/health")
    predict, invoke, health, metrics = (folder.run(command) for command in commands)
    [example] = map(json.loads, read_blocks(PAGE, "json"))
    said = json.loads(predict)
    assert [set(each) for each in said["predictions"]] == [set(each) for each in example["predictions"]]
    assert {**said["model"], "digest": ""} == {**example["model"], "digest": ""}
    assert json.loads(invoke)["predictions"][0]["product_ids"] == said["predictions"][0]["product_ids"]
    assert json.loads(health)["status"] == "ready"
    for key in json.loads(health):
        assert f"`{key}`" in PAGE or key in ("ready", "degraded")
    names = re.findall(r"^\| `(switchyard_[a-z_]+)` \|", PAGE, re.MULTILINE)
    assert names
    for name in names:
        assert f"# TYPE {name.removesuffix('_total')}" in metrics, name


def test_settings_and_limits_are_those_of_the_code() -> None:
    """In the order in which they are tried."""
    table = PAGE[PAGE.index("## Which model") : PAGE.index("With none set")]
    places = [table.index(f"`{setting}`") for setting, _ in SETTINGS]
    assert places == sorted(places)
    for name in Parameters.__struct_fields__:
        assert f"| `{name}` |" in PAGE
    assert f"1 to {MAX_K:,}; default {DEFAULT_K}" in PAGE
    assert f"at most {MAX_BODY_BYTES:,}" in PAGE
    assert f"at most {MAX_INSTANCES} instances" in PAGE
    assert DEFAULT_RATE == "1000/second"
    assert "1,000 requests a second" in PAGE
