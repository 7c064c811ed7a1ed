"""Says which places that MLflow names our own adapters may read.

Everyone who may write to MLflow chooses them, and they are read with our rights.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from switchyard.clients.objects.file_uris import to_path, to_uri
from switchyard.core.artifacts.places import Allowed, find_refusal, without_password
from switchyard.core.errors import BadSetup


def open_places(allowed: Allowed) -> Callable[[str], str]:
    """Returns a function that says where a place is behind links, spelled as our adapters do.

    Links are resolved once for a place. A reader follows none there, so a link that is made later leads nowhere.

    The answer raises BadSetup if the place may not be read, and BadRequest if it is not a file's URI.
    """
    behind = Allowed(
        roots=tuple(_resolve(root) for root in allowed.roots), ours=tuple(_resolve(own) for own in allowed.ours)
    )

    @lru_cache(maxsize=64)
    def find(place: str) -> str:
        found = _resolve(place)
        if refusal := find_refusal(found, behind):
            raise BadSetup(f"{without_password(place)} is not read: {refusal}")
        return found

    return find


def _resolve(uri: str) -> str:
    if not uri.startswith("file:"):
        return uri
    if uri == "file:":  # the whole disk, without the slashes at its end
        return uri
    return to_uri(Path(os.path.realpath(to_path(uri))))
