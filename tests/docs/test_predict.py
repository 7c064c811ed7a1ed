"""docs/predict.md: its commands run, its tables are those of the code."""

import json
import re
import shutil

import pytest

from serving.predictions.rate import DEFAULT_RATE
from switchyard.core.predictions.requests import DEFAULT_K, MAX_BODY_BYTES, MAX_INSTANCES, MAX_K, Parameters
from switchyard.core.predictions.sources import SETTINGS
from tests.docs.pages import Folder, read_blocks, read_commands, read_page

PAGE = read_page("predict.md")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
def test_every_command_runs_as_it_stands(predicting_folder: Folder, port: int) -> None:
    """In order; the example has the keys of the answer, and every metric of the page is there."""
    start, *commands = (command.replace("8080", str(port)) for command in read_commands(PAGE))
    predicting_folder.run(start, health=f"http://127.0.0.1:{port}/health")
    predict, invoke, health, metrics = (predicting_folder.run(command) for command in commands)
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
