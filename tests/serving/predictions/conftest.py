"""Fixtures of the predictions' tests."""

from pathlib import Path

import pytest

from tests.clients.results.places import Place
from tests.serving.door.conftest import tokens
from tests.serving.predictions.world import World

__all__ = ["tokens"]


@pytest.fixture
def world(place: Place, tmp_path: Path) -> World:
    """An empty registry."""
    return World(place, tmp_path)
