"""Picks the objects adapter by a URI's scheme."""

import shlex
from typing import Any, Final

from switchyard.clients.objects.folders import make_folder, translated
from switchyard.core.errors import BadRequest, BadSetup
from switchyard.core.ports import Objects

PRIVATE: Final = 0o700


def open_private_objects(folder: str, *, credentials: Any = None) -> Objects:
    """Opens the adapter for `folder`, which only its owner may read. A second call changes nothing.

    On this machine it is made so. In a bucket its policy decides.

    Raises:
        BadRequest, BadSetup: as `open_objects`; or the folder is there and others may read it.
    """
    if folder.startswith("file://"):
        from switchyard.clients.objects.file_uris import to_path

        path = to_path(folder)
        with translated(f"make {folder} for its owner alone"):
            make_folder(path, mode=PRIVATE)
            found = path.stat().st_mode
        if found & 0o077:
            raise BadSetup(
                f"others may read {folder}, where passwords are kept. Run: chmod 700 {shlex.quote(str(path))}"
            )
    return open_objects(folder, credentials=credentials)


def open_objects(uri: str, *, credentials: Any = None, retries_itself: bool = False) -> Objects:
    """Opens the adapter for `uri`.

    Args:
        credentials: Google's, as `clients.prefect.credentials.load_credentials` returns them; None: the application
            default. Files need none.
        retries_itself: for callers without a task around them (the trainer): failures that may pass are retried inside,
            for minutes, before `TryAgain` is raised.

    Raises:
        BadRequest: no adapter serves the scheme. BadSetup: no credentials can be found, or the
            vendor's package is not installed.
    """
    scheme = uri.partition("://")[0]
    if scheme == "file":
        from switchyard.clients.objects.files import FileObjects

        return FileObjects()
    if scheme == "gs":
        try:
            from switchyard.clients.objects.gcs import open_gcs
        except ImportError as err:
            raise BadSetup(f"{uri} is read by google-cloud-storage, which is not installed: {err}") from err

        return open_gcs(credentials=credentials, retries_itself=retries_itself)
    raise BadRequest(f"a URI must start with file:// or gs://; got {uri!r}")
