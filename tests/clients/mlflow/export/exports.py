"""Exports for the tests.

As a program (``python -m tests.clients.mlflow.export.exports <store> <to> <part rows>``) one that can be
killed.
"""

import sys
from pathlib import Path

from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.objects.open import open_objects


def export_to(uri: str, to_uri: str, part_rows: int = 5_000) -> str:
    """Exports the store at `uri`; returns the export's URI."""
    export_store(uri, to_uri, open_objects(to_uri), part_rows=part_rows)
    return to_uri


def export_to_folder(uri: str, folder: Path) -> str:
    """Exports the store at `uri` into `folder`; returns the export's URI."""
    return export_to(uri, folder.as_uri())


if __name__ == "__main__":
    export_to(sys.argv[1], sys.argv[2], int(sys.argv[3]))
