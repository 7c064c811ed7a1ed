"""A state folder that was never used, and a launcher on it."""

from pathlib import Path

import pytest

from switchyard.clients.launchers.local.launcher import LocalLauncher
from tests.clients.launchers.local.jobs_here import open_launcher


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def launcher(state: Path) -> LocalLauncher:
    return open_launcher(state)
