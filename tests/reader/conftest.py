"""Fixtures of the reader's tests: one database with runs, read by itself and through a real server over it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from switchyard.core.metrics.record import OtherSeries
from tests.clients.results.places import Place
from tests.serving.door.conftest import run_server
from tests.serving.factories import make_record, make_run, publish_run


@dataclass(frozen=True)
class Runs:
    """Where they are read from, and their ids."""

    database: str
    api: str
    first: int  # eleven epochs, the validation loss of the sixth NaN
    second: int  # three epochs, another optimizer, a series on steps of its own
    empty: int  # nothing is published


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder: Path = tmp_path_factory.mktemp("reader")
    place = Place(f"sqlite:///{folder / 'results.db'}")
    first = publish_run(place, make_record(epochs=11, nan_at=5), name="the first")
    changed = make_record(
        epochs=3,
        params={"epochs": 3, "optimizer": "adam"},
        other_series={"batch_loss": OtherSeries(steps=[0, 100, 2**60], values=[3.0, None, 1.0])},
    )
    second = publish_run(place, changed, name="the second")
    empty = make_run(place, "nothing yet").id
    with run_server(place, state_dir=folder) as (address, _):
        yield Runs(place.url, address, first, second, empty)
    place.ports.close()


@pytest.fixture(params=["database", "api"])
def source(request: pytest.FixtureRequest, runs: Runs) -> str:
    """The same runs, from their database or through the API."""
    return str(getattr(runs, request.param))
