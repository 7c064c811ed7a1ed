"""The look at a team's own files. Without Prefect: it reads what lies where the command is typed."""

from pathlib import Path

from switchyard.services import scanning
from switchyard.services.scanning import Scanned


def scan_files(path: str) -> Scanned:
    """What still names MLflow there."""
    return scanning.scan(Path(path))
