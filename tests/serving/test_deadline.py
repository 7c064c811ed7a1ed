"""A database that takes connections and never answers: every route says so, in time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.deadline import DEADLINE_S
from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from tests.clients.results.places import Places
from tests.postgres import Postgres
from tests.serving.factories import publish_run
from tests.silent_proxy import SilentProxy, silent_proxy

PATHS = (
    "/health",
    "/api/quick-tests/",
    "/api/quick-tests/1/training-history/",
    "/api/quick-tests/1/histogram-data/",
    "/quick-tests/",
    "/quick-tests/1",
    "/quick-tests/1/loss-curves.png",
)
MARGIN_S = 10.0
"""For a machine that does much else: without a bound nothing comes at all."""


@pytest.fixture
def served(places: Places, tmp_path: Path, postgres: Postgres) -> Any:
    """A server over a database behind a proxy, with one published run."""
    place = places.make("postgres", tmp_path)
    assert publish_run(place) == 1
    with silent_proxy(place.url) as (proxy, url):
        outside = Outside(read_settings({"RESULTS_URL": url}))
        with TestClient(create_app(outside), raise_server_exceptions=False) as client:
            yield proxy, client
        outside.close()


def time_of(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    return call(), time.monotonic() - started


@pytest.mark.parametrize("connected", [True, False], ids=["in a query", "at connect"])
def test_silent_database_is_answered_503_in_time(served: tuple[SilentProxy, TestClient], connected: bool) -> None:
    """All routes at once, over connections that it has and over new ones; when it speaks again, so does the server."""
    proxy, client = served
    if connected:
        for path in PATHS:
            assert client.get(path).status_code == 200
    proxy.silent.set()
    with ThreadPoolExecutor(len(PATHS)) as pool:
        answers = dict(zip(PATHS, pool.map(lambda path: time_of(lambda: client.get(path)), PATHS), strict=True))
    for path, (answer, took_s) in answers.items():
        assert (path, answer.status_code) == (path, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert took_s < DEADLINE_S + MARGIN_S, path
    proxy.silent.clear()
    for path in PATHS:
        assert (path, client.get(path).status_code) == (path, 200)
