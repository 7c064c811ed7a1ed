"""Picks the objects adapter by a URI's scheme."""

from typing import Any

from switchyard.core.errors import BadRequest, BadSetup
from switchyard.core.ports import Objects


def open_objects(uri: str, *, credentials: Any = None, retries_itself: bool = False) -> Objects:
    """The adapter for `uri`.

    Args:
        credentials: Google's, as `clients.prefect.credentials.load_credentials` returns them; None: the application
            default. Files need none.
        retries_itself: for callers without a task around them (the trainer): failures that may pass are retried
            inside, for minutes, before `TryAgain` is raised.

    Raises:
        BadRequest: a scheme that no adapter serves. BadSetup: no credentials can be found, or the
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
