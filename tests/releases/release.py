"""An older release, unpacked from its wheel, whose code runs in processes of its own."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from switchyard.clients.settings import Settings

WHEEL = Path(__file__).with_name("switchyard-0.1.0-py3-none-any.whl")


class Release:
    """The code of a wheel in `folder`. Its processes see it, what is installed, and nothing of this checkout's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with zipfile.ZipFile(WHEEL) as wheel:
            wheel.extractall(folder)

    def start(self, *arguments: str, variables: Mapping[str, str] = {}) -> "subprocess.Popen[str]":
        """``python <arguments>``, with pipes."""
        ours = {name.upper() for name in Settings.__struct_fields__} | {"PYTHONPATH"}
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=kept | {"PYTHONPATH": str(self.folder)} | dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self, code: str, *arguments: str, variables: Mapping[str, str] = {}) -> Any:
        """What `code` prints as JSON, as its last line."""
        process = self.start("-c", code, *arguments, variables=variables)
        said, wrong = process.communicate(timeout=120)
        assert process.returncode == 0, wrong
        return msgspec.json.decode(said.splitlines()[-1])
