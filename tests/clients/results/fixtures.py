"""Fixtures of a results database: each kind of place, for the tests of the clients and of the services."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.results.places import KINDS, Place, Places
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def all_places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Places:
    def server() -> Postgres:
        found = request.getfixturevalue("postgres")
        assert isinstance(found, Postgres)
        return found

    return Places(tmp_path_factory.mktemp("places"), server)


@pytest.fixture
def places(all_places: Places) -> Iterator[Places]:
    """Makes places of any kind, and closes them at the test's end."""
    yield all_places
    all_places.close()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, places: Places, tmp_path: Path) -> Place:
    """Each kind of database and of runs' table, fresh for the test."""
    return places.make(request.param, tmp_path)


@pytest.fixture(params=[kind for kind, (table, _) in KINDS.items() if not table])
def own_place(request: pytest.FixtureRequest, places: Places, tmp_path: Path) -> Place:
    """Each kind of database, with our own table of runs."""
    return places.make(request.param, tmp_path)


@pytest.fixture(params=[kind for kind, (table, _) in KINDS.items() if table])
def application_place(request: pytest.FixtureRequest, places: Places, tmp_path: Path) -> Place:
    """Each kind of database, with an application's table of runs."""
    return places.make(request.param, tmp_path)
