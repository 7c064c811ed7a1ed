"""The last release, unpacked once."""

import pytest

from tests.releases.release import Release


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Its code, in a folder of its own."""
    return Release(tmp_path_factory.mktemp("release"))
