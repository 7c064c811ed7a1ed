"""`switchyard predict` as it is run: what it needs to start, several workers, promotions under load, and tokens."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest

from switchyard.clients.token_file import add_token
from switchyard.core.access.tokens import Scope, make_token
from tests.predicting import promote
from tests.root import ROOT
from tests.serving.predictions.world import World

START_S = 120
IN_A_ROW = 60
"""Answers of one version: neither of two workers, each of which takes its part, has another one any more."""
EVERYWHERE = "0.0.0.0"  # noqa: S104  (what is tested)
HERE = {"instances": ["b0", "b1"]}


def to_environment(world: World, **settings: str) -> dict[str, str]:
    return {**os.environ, "RESULTS_URL": world.place.url, "STATE_DIR": str(world.root / "state"), **settings}


@contextmanager
def run_predict(world: World, *arguments: str, **settings: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The server in a process of its own, once it is ready; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "switchyard.cli", "predict", *arguments],
        cwd=ROOT,
        env=to_environment(world, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    reading = None
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Answering http://"), line + process.stdout.read()
        url = line.split()[1].removesuffix("/predict").replace(EVERYWHERE, "127.0.0.1")
        reading = threading.Thread(target=process.stdout.read)  # what it says must not fill the pipe
        reading.start()
        wait_until(lambda: process.poll() is not None or _is_ready(url))
        yield url, process
    finally:
        process.terminate()
        process.wait(timeout=START_S)
        if reading is not None:
            reading.join()
        if process.stdout is not None:
            process.stdout.close()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=START_S).status_code == 200
    except httpx.TransportError:
        return False


def start_in_vain(world: World, *arguments: str, **settings: str) -> str:
    """What a server says that must not start."""
    done = subprocess.run(
        [sys.executable, "-m", "switchyard.cli", "predict", "--port", "0", *arguments],
        cwd=ROOT,
        env=to_environment(world, **settings),
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--host", EVERYWHERE], {}, "--host 0.0.0.0 can be reached from other machines"),
        ([], {"AIP_HTTP_PORT": "8080"}, "--host 0.0.0.0 can be reached from other machines"),
        (["--model", "models:/shop/latest"], {}, "a version is a number, Production, Staging or @alias; got 'latest'"),
        (["--rate", "often"], {}, "PREDICT_RATE must be like 100/second or 5000/minute, or none; got 'often'"),
        ([], {"MLFLOW_MODEL_URI": "shop"}, "MLFLOW_MODEL_URI must be models:/"),
        (["--workers", "0"], {}, "--workers"),
    ],
)
def test_what_cannot_serve_does_not_start(
    world: World, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    """It says why, and what to set."""
    assert said in start_in_vain(world, *arguments, **settings)


def test_promotion_under_load_loses_no_request(world: World) -> None:
    """Two workers, asked all the while: each request is answered, by one model.

    Both workers come to answer with the promoted version, and with the one before it once that is promoted again.
    """
    first = world.add_champion(1)
    second = world.add(2)
    answers: list[set[int]] = []
    stop = threading.Event()

    def ask(url: str) -> None:
        while not stop.is_set():
            with httpx.Client(timeout=START_S) as client:  # a connection of its own: each worker takes some
                body = client.post(f"{url}/predict", json=HERE).raise_for_status().json()
            answers.append({each["version"] for each in body["predictions"]} | {body["model"]["version"]})

    with (
        run_predict(world, "--port", "0", "--workers", "2", PREDICT_RATE="none") as (url, _),
        ThreadPoolExecutor(3) as threads,
    ):
        wait_until(lambda: all(_is_ready(url) for _ in range(IN_A_ROW)))  # both workers have a model
        asking = [threads.submit(ask, url) for _ in range(3)]
        for version in (second, first):
            promote(world.place.models, version)
            wanted = [{version.version}] * IN_A_ROW
            wait_until(partial(_ends_with, answers, wanted))
        stop.set()
        for each in asking:
            each.result()  # which raises for a request that was lost
    assert {len(said) for said in answers} == {1}


def _ends_with(answers: list[set[int]], wanted: list[set[int]]) -> bool:
    return answers[-len(wanted) :] == wanted


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_vertex_starts_it_by_its_own_names(world: World) -> None:
    """Port, paths and folder from AIP_...; the folder is a version from then on."""
    version = world.add(1)
    with (
        httpx.Client() as client,
        run_predict(
            world,
            "--port",
            "0",  # AIP_HTTP_PORT names a port that may be taken here
            AIP_HTTP_PORT="8080",
            AIP_PREDICT_ROUTE="/v1/endpoints/7:predict",
            AIP_HEALTH_ROUTE="/v1/endpoints/7",
            AIP_STORAGE_URI=version.source_uri,
            SERVING_BEHIND="iam",
        ) as (url, _),
    ):
        assert client.get(f"{url}/v1/endpoints/7").status_code == 200
        body = client.post(f"{url}/v1/endpoints/7:predict", json=HERE).json()
        assert len(body["predictions"]) == 2
        assert (body["model"]["name"], body["model"]["digest"]) == ("served", version.digest)


def test_tokens_count_as_for_the_results(world: World, tmp_path: Path) -> None:
    """One that may read may ask; health checks need none."""
    world.add_champion(1)
    reader, kept = make_token("reader", Scope.READ, now=datetime.now(UTC), expires_in_days=1)
    add_token(tmp_path / "tokens.json", kept)
    with run_predict(world, "--port", "0", API_TOKENS_FILE=str(tmp_path / "tokens.json")) as (url, _):
        assert httpx.post(f"{url}/predict", json=HERE).status_code == 401
        assert httpx.get(f"{url}/metrics").status_code == 401
        answer = httpx.post(f"{url}/predict", json=HERE, headers={"Authorization": f"Bearer {reader}"})
        assert answer.status_code == 200


def test_neither_tensorflow_nor_fastapi_is_loaded(world: World, tmp_path: Path) -> None:
    """The model answers without the one, and is ready sooner without the other; numpy works with one thread."""
    world.add_champion(1)
    program = """
import json, os, sys
import serving.predictions.__main__
from serving.predictions.app import Options, create_from_environment
app = create_from_environment(Options())
app.routes.holder.look()
print(json.dumps([app.routes.holder.state.is_ready, os.environ["OPENBLAS_NUM_THREADS"],
    sorted({"tensorflow", "keras", "fastapi", "prefect", "mlflow", "google.cloud.storage"} & set(sys.modules))]))
"""
    environment = to_environment(world)
    environment.pop("OPENBLAS_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [True, "1", []]
