"""`switchyard predict` as it is run, stopped and killed: which predictions are written then."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from switchyard.clients.results.engine import find_file
from tests.clients.results.places import Place
from tests.flows.polling import wait_for
from tests.predicting import promote, register_folder, write_model
from tests.root import ROOT

START_S = 60


@contextmanager
def run_server(place: Place, folder: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A real server of its own process, which answers; and what asks it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.predictions", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "RESULTS_URL": place.url, "STATE_DIR": str(folder / "state"), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"(http://\S+:\d+)/predict", first)
        assert found, first + process.communicate(timeout=START_S)[0]
        with httpx.Client(base_url=found[1], trust_env=False, timeout=60) as client:
            wait_for(lambda: client.get("/health").status_code == 200)
            yield client, process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def shop(place: Place, tmp_path: Path) -> Place:
    """A place with a model in Production."""
    promote(place.models, register_folder(place.models, write_model(tmp_path / "model")))
    return place


def predict(client: httpx.Client, *buyer_ids: str) -> list[str]:
    answer = client.post("/predict", json={"instances": list(buyer_ids)})
    assert answer.status_code == 200, answer.text
    return [one["prediction_id"] for one in answer.json()["predictions"]]


def list_rows(place: Place) -> set[str]:
    return {row.id for row in place.sql("SELECT id FROM switchyard_predictions")}


def tell(client: httpx.Client, prediction_id: str) -> dict[str, Any]:
    answer = client.post("/feedback", json={"prediction_id": prediction_id, "kind": "click"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_stopped_server_writes_what_waits(shop: Place, tmp_path: Path) -> None:
    """SIGTERM, as a platform stops a container: whatever was answered is there then."""
    with run_server(shop, tmp_path) as (client, process):
        answered = {id_ for _ in range(5) for id_ in predict(client, "b1", "b2")}
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_S) == 0 or process.returncode == -signal.SIGTERM
        assert list_rows(shop) == answered


def test_killed_server_loses_what_waits_and_nothing_else(shop: Place, tmp_path: Path) -> None:
    """kill -9 while another program holds the database: the answers were given, their rows are not there.

    Feedback on them is kept, without a version; what was written before stays, and the next server goes on.
    """
    path, _ = find_file(shop.url)
    assert path is not None
    with run_server(shop, tmp_path) as (client, process):
        before = predict(client, "b1")
        wait_for(lambda: list_rows(shop) == set(before))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            lost = [id_ for _ in range(5) for id_ in predict(client, "b1", "b2")]
            process.kill()
            process.wait(START_S)
            other.execute("ROLLBACK")
    assert list_rows(shop) == set(before)
    assert shop.sql("PRAGMA integrity_check")[0][0] == "ok"
    with run_server(shop, tmp_path) as (client, process):
        assert (tell(client, lost[0])["matched"], tell(client, before[0])["version"]) == (False, 1)
        after = predict(client, "b1", "b2")
        wait_for(lambda: list_rows(shop) == {*before, *after})
        statistics = client.get("/feedback/stats").json()
    (arm,) = statistics["arms"]
    assert (arm["predictions"], statistics["unmatched"]) == (3, [{"kind": "click", "waiting": 1, "never": 0}])
    hashes = {row.buyer_hash for row in shop.sql("SELECT buyer_hash FROM switchyard_predictions")}
    assert len(hashes) == 2  # the key of this machine outlives its servers
