"""TensorFlow reads its settings when it is first imported, which a test module does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.trainer.forked_trainers import Trainers, open_trainers

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


@pytest.fixture(scope="session")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainers]:
    """Trainers that need not load TensorFlow."""
    with open_trainers(tmp_path_factory.mktemp("trainers")) as opened:
        yield opened


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The numbers of a training of LONGER_FLAGS on this machine that nothing interrupted, without checkpoints."""
    from switchyard.core.metrics.reading import read_record
    from tests.trainer.factories import LONGER_FLAGS, to_numbers

    folder = tmp_path_factory.mktemp("uninterrupted")
    command = [sys.executable, "-m", "trainer", f"--artifacts-uri={folder.as_uri()}", *LONGER_FLAGS]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return to_numbers(read_record((folder / "training_metrics.json").read_bytes(), where=str(folder)))
