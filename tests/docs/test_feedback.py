"""docs/feedback.md: its commands run, its tables and numbers are those of the code."""

import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from serving.predictions import feedback, recording
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.predictions import arms
from switchyard.core.predictions.feedback import MAX_BODY_BYTES, MAX_PRODUCT, MAX_VALUE, WAITING_S, FeedbackBody, Kind
from switchyard.core.predictions.statistics import KindStatistics, to_rate
from tests.clients.results.places import run_sql
from tests.docs.pages import Folder, read_blocks, read_commands, read_page
from tests.flows.polling import wait_for

PAGE = read_page("feedback.md")


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="no curl or openssl on the PATH")
def test_every_command_runs_as_it_stands(predicting_folder: Folder, port: int) -> None:
    """In order; the click is credited to the version that answered, and every metric of the page is there."""
    start, *commands = (command.replace("8080", str(port)) for command in read_commands(PAGE))
    predicting_folder.run(start.replace("--model", f"--port {port} --model"), health=f"http://127.0.0.1:{port}/health")
    predict, click, tell, read, hash_ = commands
    predicting_folder.run(predict)
    predicting_folder.run(click)
    wait_for(lambda: json.loads(predicting_folder.run(tell))["matched"])
    [example] = read_blocks(PAGE, "json")
    told = json.loads(predicting_folder.run(tell))
    assert set(told) == set(json.loads(example))
    same = ("kind", "product_id", "value", "matched", "model", "version", "arm")
    assert {key: told[key] for key in same} == {key: json.loads(example)[key] for key in same}
    (arm,) = json.loads(predicting_folder.run(read))["arms"]
    assert (arm["version"], arm["predictions"], arm["kinds"][0]["rate"]["rate"]) == (1, 1, 1.0)
    [row] = run_sql(
        f"sqlite:///{predicting_folder.path}/.switchyard/results.db", "SELECT buyer_hash FROM switchyard_predictions"
    )
    assert row.buyer_hash in predicting_folder.run(hash_)
    metrics = predicting_folder.run(f"curl -s http://127.0.0.1:{port}/metrics")
    for name in re.findall(r"^\| `(switchyard_[a-z_]+)` \|", PAGE, re.MULTILINE):
        assert f"# TYPE {name} " in metrics, name


def test_keys_are_those_of_the_code() -> None:
    """What is sent, what kinds there are, what statistics say."""
    tables = dict(re.findall(r"^\| `([a-z_]+)`(?:, `[a-z_]+`)? \| (.*) \|$", PAGE, re.MULTILINE))
    assert set(FeedbackBody.__struct_fields__) <= set(tables)
    assert set(re.findall(r"`([a-z]+)`", tables["kind"])) == set(Kind)
    for name in KindStatistics.__struct_fields__:
        assert f"`{name}`" in PAGE


def test_numbers_are_those_of_the_code() -> None:
    """Limits, defaults, and the example of an interval."""
    assert f"at most {MAX_PRODUCT} characters" in PAGE
    assert f"longer than {MAX_BODY_BYTES // 1024} KB" in PAGE
    assert (MAX_VALUE, WAITING_S) == (10**12, 3_600)
    assert f"slower than {feedback.DATABASE_S:.0f} s" in PAGE
    assert f"longer than {feedback.STATISTICS_S:.0f} s is refused" in PAGE
    assert f"up to {recording.WAITING:,} wait in memory, and are written {recording.BATCH} at a time" in PAGE
    assert f"for {recording.STOP_S:.0f} s at most" in PAGE
    assert recording.GATHER_S == 0.25
    said = f"more than {arms.MAX_ERROR_RATE * 100:.0f} % of its last {arms.WINDOW_CALLS} answers failed (of at least "
    assert f"{said}{arms.MIN_CALLS})" in PAGE
    rate = to_rate(1, 10)
    assert f"1 click of 10 is {rate.rate}, from {rate.low:.3f} to {rate.high:.3f}" in PAGE


def test_settings_that_are_named_exist(tmp_path: Path) -> None:
    """With the defaults that the page says."""
    settings = read_settings({"STATE_DIR": str(tmp_path / ".switchyard")})
    for name, default in re.findall(r"`([A-Z]+_DAYS)` \((\d+)\)", PAGE):
        assert msgspec.structs.asdict(settings)[name.lower()] == int(default)
    assert settings.buyer_key_file == str(tmp_path / ".switchyard" / "buyer.key")
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=iam)?`", PAGE))
    assert {"PREDICTIONS_DAYS", "FEEDBACK_DAYS", "BUYER_KEY_FILE", "SERVING_BEHIND", "PREDICT_RATE"} <= named
    assert named <= {name.upper() for name in Settings.__struct_fields__}
