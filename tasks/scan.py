"""Looks at a team's own files. Works without Prefect: it reads files where the command is typed."""

from pathlib import Path

from switchyard.services import scanning
from switchyard.services.scanning import Scanned


def scan_files(path: str) -> Scanned:
    """Finds what still names MLflow there."""
    return scanning.scan(Path(path))
