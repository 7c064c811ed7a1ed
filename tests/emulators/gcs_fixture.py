"""Fixtures that start the Cloud Storage endpoint; a conftest imports them by name."""

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs


@pytest.fixture(scope="session")
def gcs_server() -> "Iterator[Gcs]":
    """One endpoint for all tests; each keeps to names of its own."""
    from tests.emulators.gcs import start_gcs

    with start_gcs() as server:
        yield server


@pytest.fixture
def gcs(gcs_server: "Gcs", monkeypatch: pytest.MonkeyPatch) -> "Iterator[Gcs]":
    """The endpoint, in the environment of the test and of its subprocesses; no fault outlives the test."""
    for name, value in gcs_server.environ.items():
        monkeypatch.setenv(name, value)
    yield gcs_server
    gcs_server.reset()


@pytest.fixture
def gcs_root(gcs: "Gcs") -> str:
    """The URI of an empty place; it has no slash at its end."""
    return f"gs://switchyard-test/{uuid.uuid4().hex}"
