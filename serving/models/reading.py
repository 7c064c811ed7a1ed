"""A version's files, where it has any."""

from switchyard.clients.connect import Outside
from switchyard.core.errors import NotFound
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.rows import ModelVersion

_NO_FILES = Manifest(())


def read_files(outside: Outside, version: ModelVersion) -> Manifest:
    """Reads the files of a version that is there; none if it was imported without them."""
    try:
        return outside.models.read_files(version.name, version.version)
    except NotFound:
        return _NO_FILES
