"""Fixtures of every room's tests. Each starts its server at first use, so that importing them costs nothing."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from switchyard.clients.prefect.analytics import ANALYTICS_OFF, switch_off_analytics
from tests.memory import keep_files_in_memory

switch_off_analytics()
keep_files_in_memory()

# Prefect makes its home when it is imported, and reads it ever after: the tests' own, whatever the surroundings say.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="switchyard-tests-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)

# The tests start hundreds of processes: each would compile our code again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No example is refused for its time: a busy machine is slow.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A shell that starts the tests in its background has Ctrl-C ignored, by them and by every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from tests.emulators.gcs_fixture import gcs, gcs_root, gcs_server  # noqa: E402  # after PREFECT_HOME is set
from tests.emulators.vertex_fixture import (  # noqa: E402  # as above
    idle_vertex,
    idle_vertex_server,
    make_client,
    start_vertex,
    transport,
    trusted_certificate,
    vertex,
    vertex_server,
)
from tests.prefect_server import prefect_server  # noqa: E402  # as above

HERE = Path(__file__).parent
LONG_FILES = ("flows", "trainer", "deployments", "releases", "test_command.py")
"""Where a file takes minutes. At the end of all, one worker would wait for another's; `make test` keeps this order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    items.sort(key=lambda item: item.path.relative_to(HERE).parts[0] not in LONG_FILES)


@pytest.fixture(autouse=True)
def prepared_for_one_test() -> Iterator[None]:
    """Takes back what a command that ran in this process has set for Prefect: it would hold for later tests too."""
    before = {name: value for name, value in os.environ.items() if is_prepared(name)}
    yield
    for name in [name for name in os.environ if is_prepared(name)]:
        del os.environ[name]
    os.environ.update(before)


def is_prepared(name: str) -> bool:
    """Returns True for a variable that a command's `prepare_prefect` may set."""
    return name in ("SERVING_URL", *ANALYTICS_OFF) or name.startswith("PREFECT_")


__all__ = [
    "gcs",
    "gcs_root",
    "gcs_server",
    "idle_vertex",
    "idle_vertex_server",
    "make_client",
    "prefect_server",
    "prepared_for_one_test",
    "start_vertex",
    "transport",
    "trusted_certificate",
    "vertex",
    "vertex_server",
]
