"""What the pages about predictions start from."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchyard.clients.results.open import open_results
from tests.docs.pages import Folder, open_folder
from tests.predicting import promote, register_folder, write_model


@pytest.fixture
def port() -> int:
    """A free port, in the place of the page's 8080."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def predicting_folder(tmp_path: Path) -> Iterator[Folder]:
    """With one model in Production."""
    with open_folder(tmp_path / "checkout") as made:
        ports = open_results(f"sqlite:///{made.path / '.switchyard' / 'results.db'}")
        promote(ports.models, register_folder(ports.models, write_model(tmp_path / "model")))
        ports.close()
        yield made
