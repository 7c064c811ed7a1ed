"""A page of docs/ as its reader uses it: its commands, run as they stand; its code; its tables."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.root import ROOT

START_S = 60


def read_page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def read_blocks(page: str, language: str) -> list[str]:
    """The blocks of code in one language."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def read_commands(page: str) -> list[str]:
    """Each line behind a `$`, in order."""
    lines = [line for block in read_blocks(page, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@dataclass
class Folder:
    """A folder that looks like a checkout to a page's commands, with a state of its own."""

    path: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    servers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def run(self, command: str, *, health: str = "", timeout_s: float = 120) -> str:
        """What the command says on stdout. One that ends with ``&`` goes on, once `health` answers."""
        environ = {**os.environ, "STATE_DIR": str(self.path / ".switchyard"), **self.environ}
        if command.endswith("&"):
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec env {command.removesuffix('&')}"], cwd=self.path, env=environ
            )
            self.servers.append(process)
            wait_for(health, process)
            return ""
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=self.path, env=environ, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def open_folder(path: Path, **environ: str) -> Iterator[Folder]:
    """The folder, whose servers are ended at the end."""
    path.mkdir(exist_ok=True)
    (path / ".switchyard").mkdir()
    (path / ".venv").symlink_to(ROOT / ".venv")
    folder = Folder(path, environ)
    try:
        yield folder
    finally:
        for server in folder.servers:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=START_S)


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Until `url` answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            with opener.open(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {START_S} s")
