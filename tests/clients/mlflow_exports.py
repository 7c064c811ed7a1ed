"""Exports for the tests."""

from pathlib import Path

from clients.files import FileObjects
from clients.mlflow_export import export_store


def export_to_folder(uri: str, folder: Path) -> str:
    """Exports the store at `uri` into `folder`; returns the export's URI."""
    to_uri = folder.as_uri()
    export_store(uri, to_uri, FileObjects(), part_rows=5_000)
    return to_uri
