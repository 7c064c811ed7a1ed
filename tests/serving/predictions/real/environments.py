"""Environments of the libraries whose models are served, which `make test-models` builds."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.root import ROOT


def find_python(name: str) -> str:
    """The interpreter of an environment; the test is skipped where it is not built."""
    state = Path(os.environ.get("STATE_DIR") or ROOT / ".switchyard")
    found = state / f"models-{name}" / "bin" / "python"
    if not found.exists():
        pytest.skip(f"no environment of the extra `{name}` at {found}: make test-models builds it")
    return str(found)


def run_there(python: str, script: Path, *arguments: str) -> Any:
    """What a script prints as JSON, of a library that this environment has not."""
    done = subprocess.run([python, str(script), *arguments], capture_output=True, text=True, check=False, timeout=240)
    return read_json(done)


def read_json(done: "subprocess.CompletedProcess[str]") -> Any:
    """The last line that a script printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
