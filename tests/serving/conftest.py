"""Fixtures of serving's tests: the application over a real database."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from serving.app import create_app
from switchyard.clients.connect import Outside
from switchyard.clients.results.open import ResultsPorts
from tests.clients.conftest import all_places, places
from tests.clients.results.places import KINDS, Place, Places
from tests.postgres import postgres

__all__ = ["all_places", "places", "postgres"]


@pytest.fixture
def place(places: Places, tmp_path: Path) -> Place:
    """A fresh SQLite database with our own table of runs."""
    return places.make("sqlite", tmp_path)


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    """The application over `place`."""
    yield from open_client(place)


@pytest.fixture(params=KINDS)
def any_place(request: pytest.FixtureRequest, places: Places, tmp_path: Path) -> Place:
    """Each kind of database and of runs' table, fresh for the test."""
    return places.make(request.param, tmp_path)


@pytest.fixture
def any_client(any_place: Place) -> Iterator[TestClient]:
    """The application over `any_place`."""
    yield from open_client(any_place)


class OverPlace(Outside):
    """The outside of a test's place, with the connections that the test closes itself."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.settings)
        self.place = place

    @property
    def _results(self) -> ResultsPorts:
        return self.place.ports


def open_client(place: Place) -> Iterator[TestClient]:
    """As a program of this machine asks."""
    app = create_app(OverPlace(place))
    here = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 5000)}
    with TestClient(app, raise_server_exceptions=False, **here) as made:  # type: ignore[arg-type]  # of two types
        # httpx asks for gzip by itself: a test says what it accepts.
        made.headers["Accept-Encoding"] = "identity"
        yield made


@pytest.fixture
def url(place: Place) -> Iterator[str]:
    """The address of a server over `place`."""
    server = uvicorn.Server(uvicorn.Config(create_app(OverPlace(place)), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        threading.Event().wait(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
