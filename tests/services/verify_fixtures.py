"""Fixtures of verify's tests: the legacy database published once, and copies of it to damage."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.mlflow.stores import find_fixture, make_sqlite
from tests.postgres import Postgres
from tests.services.verify_world import World


@pytest.fixture(scope="session")
def legacy_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The legacy database, as MLflow has it."""
    return make_sqlite(tmp_path_factory.mktemp("mlflow") / "mlflow.db", find_fixture())


def publish(store: Path, folder: Path, results_url: str = "", **how: bool) -> World:
    shutil.copy(store, folder / "mlflow.db")
    world = World(folder, folder / "mlflow.db", results_url or f"sqlite:///{folder / 'results.db'}")
    world.publish(**how)
    world.close()
    return world


@pytest.fixture(scope="session")
def published(legacy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published with histograms and files."""
    return publish(legacy_store, tmp_path_factory.mktemp("whole"), full=True)


@pytest.fixture(scope="session")
def charted(legacy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published of the charted keys alone."""
    return publish(legacy_store, tmp_path_factory.mktemp("charted"))


@pytest.fixture
def world(published: World, tmp_path: Path) -> Iterator[World]:
    """A copy of `published`, for damage."""
    copied = published.copy(tmp_path)
    yield copied
    copied.close()


@pytest.fixture(scope="session")
def on_postgres(legacy_store: Path, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published with histograms and files, into results on Postgres."""
    url = postgres.url(postgres.make_database())
    return publish(legacy_store, tmp_path_factory.mktemp("postgres"), url, full=True)


# Verify speaks to both through ports, whose suites are in tests/clients/results: each damage on Postgres is slow.
@pytest.fixture(params=["published", pytest.param("on_postgres", marks=pytest.mark.slow)])
def kept(request: pytest.FixtureRequest) -> Iterator[World]:
    """Results on each database, for damage; as they were at the test's end."""
    world: World = request.getfixturevalue(request.param)
    with world.put_back():
        yield world
    world.close()
