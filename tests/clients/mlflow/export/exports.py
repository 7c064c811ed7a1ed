"""Exports for the tests.

As a program (``python -m tests.clients.mlflow.export.exports <store> <to> <part rows> <parts>``) one that is killed
right before it writes the part after a number of them.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.objects.open import open_objects


def export_to(uri: str, to_uri: str, part_rows: int = 5_000) -> str:
    """Exports the store at `uri`; returns the export's URI."""
    export_store(uri, to_uri, open_objects(to_uri), part_rows=part_rows)
    return to_uri


def export_to_folder(uri: str, folder: Path) -> str:
    """Exports the store at `uri` into `folder`; returns the export's URI."""
    return export_to(uri, folder.as_uri())


class Killing:
    """Kills the writer of objects before it writes the part after a number of them."""

    def __init__(self, objects: Any, parts: int) -> None:
        self._objects = objects
        self._left = parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def write(self, uri: str, data: bytes, **options: Any) -> int:
        """As the objects' own, as long as it is not killed."""
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1
        generation: int = self._objects.write(uri, data, **options)
        return generation


if __name__ == "__main__":
    store, to, part_rows, parts = sys.argv[1:]
    export_store(store, to, Killing(open_objects(to), int(parts)), part_rows=int(part_rows))
