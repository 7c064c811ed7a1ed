"""Takes a copy of a model and is killed before one of its effects: `python -m tests.services.killed_copy`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.open import open_objects
from switchyard.services.private_copy import take_copy
from switchyard.services.registering import read_manifest

EFFECTS = ("first read", "last read", "rename", "end")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killing(FileObjects):
    """Dies at the read of that number."""

    def __init__(self, at: int) -> None:
        self.left = at

    def read_range(self, uri: str, *, start: int, length: int) -> bytes:
        self.left -= 1
        if not self.left:
            die()
        return super().read_range(uri, start=start, length=length)


def main(source: Path, cache: Path, effect: str) -> None:
    uri = source.as_uri()
    manifest = read_manifest(open_objects(uri), uri, "a test")
    objects = Killing({"first read": 1, "last read": len(manifest.files)}.get(effect, -1))
    rename: Any = Path.rename
    if effect == "rename":
        Path.rename = lambda *_: die()  # type: ignore[method-assign, assignment]
    elif effect == "end":

        def rename_and_die(path: Path, target: Path) -> None:
            rename(path, target)
            die()

        Path.rename = rename_and_die  # type: ignore[method-assign, assignment]
    take_copy(manifest, objects, uri, cache)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
