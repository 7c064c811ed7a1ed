"""Fixtures of the door's tests: applications with tokens, and real servers."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from switchyard.clients.connect import Outside
from switchyard.clients.results.open import ResultsPorts
from switchyard.clients.settings import Settings
from switchyard.clients.token_file import add_token
from switchyard.core.access.tokens import Scope, make_token
from tests.clients.results.places import Place

START_S = 60


class Doored(Outside):
    """A place's outside under other settings."""

    def __init__(self, place: Place, settings: Settings) -> None:
        super().__init__(settings)
        self._place = place

    @property
    def _results(self) -> ResultsPorts:
        return self._place.ports


Open = Callable[..., TestClient]


@pytest.fixture
def open_app(place: Place) -> Iterator[Open]:
    """Opens the application under changed settings, asked from this machine."""
    opened: list[TestClient] = []

    def open_(base_url: str = "http://127.0.0.1:8000", **changes: str) -> TestClient:
        settings = msgspec.structs.replace(place.settings, **changes)
        app = create_app(Doored(place, settings))
        client = TestClient(
            app,
            base_url=base_url,
            client=("127.0.0.1", 5000),
            raise_server_exceptions=False,
            follow_redirects=False,
        )
        opened.append(client)
        return client

    yield open_
    for client in opened:
        client.close()


@dataclass(frozen=True)
class Tokens:
    """A file of tokens, and the tokens of it."""

    path: Path
    reads: str
    writes: str
    late: str


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """One that reads, one that writes, one that has expired."""
    path, now = tmp_path / "tokens.json", datetime.now(UTC)
    made = {}
    for name, scope, at in (
        ("reads", Scope.READ, now),
        ("writes", Scope.WRITE, now),
        ("late", Scope.WRITE, now - timedelta(days=3)),
    ):
        made[name], token = make_token(name, scope, now=at, expires_in_days=2)
        add_token(path, token)
    return Tokens(path, **made)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def run_server(
    place: Place, *arguments: str, state_dir: Path, **environ: str
) -> Iterator[tuple[str, Callable[[], str]]]:
    """A real server of its own process: its address, and what ends it and tells its log."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "--port", "0", *arguments],
        env={**os.environ, "RESULTS_URL": place.url, "STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""

    def end() -> str:
        nonlocal said
        process.terminate()
        said += process.communicate(timeout=START_S)[0]
        return said

    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"Serving http://[^:/]+:(\d+)/quick-tests/", first)
        assert found, first + process.communicate(timeout=START_S)[0]
        said = first
        yield f"http://127.0.0.1:{found[1]}", end
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ask(url: str, **named: object) -> httpx.Response:
    """One GET past any proxy of the surroundings."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.get(url, **named)  # type: ignore[arg-type]  # passed on as they are
