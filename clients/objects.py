"""Picks the objects adapter by a URI's scheme."""

from history.errors import BadRequest
from history.ports import Objects


def open_objects(uri: str) -> Objects:
    """The adapter for `uri`. Raises: BadRequest: a scheme that no adapter serves."""
    scheme = uri.partition("://")[0]
    if scheme == "file":
        from clients.files import FileObjects

        return FileObjects()
    raise BadRequest(f"a URI must start with file://; got {uri!r}")
