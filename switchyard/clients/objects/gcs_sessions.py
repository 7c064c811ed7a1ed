"""Brings one upload to Cloud Storage to its end: a session that the service has dropped is replaced by a new one."""

import time
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from google.api_core import exceptions as api
from google.api_core.retry import exponential_sleep_generator
from google.cloud import storage

from switchyard.clients.objects.gcs_errors import is_broken_sum

RESUMABLE_BYTES: Final = 8 * 1024 * 1024
"""A larger file goes up by a session. Source: google-cloud-storage 3.17, blob.py, _MAX_MULTIPART_SIZE"""

_BROKEN_SUMS = 3  # in a row: then the line is not at fault


def send(
    blob: storage.Blob,
    stream: BinaryIO,
    size_bytes: int,
    *,
    patience_s: Callable[[int], float] | None,
    **how: Any,
) -> None:
    """Uploads all of `stream`. A second call uploads again.

    With a `patience_s`, an upload starts again when it must: for ``patience_s(bytes sent)`` since it first failed at
    the place that it could not pass.

    A conflict with another writer's generation (412) is never tried again here.

    Raises: the vendor's errors.
    """
    furthest, since, sums = -1, 0.0, 0
    pauses = exponential_sleep_generator(1.0, 30.0)
    while True:
        stream.seek(0)
        try:
            blob.upload_from_file(stream, size=size_bytes, checksum="crc32c", **how)
        except api.GoogleAPICallError as err:
            sent, now = stream.tell(), time.monotonic()
            sums += is_broken_sum(err)
            if patience_s is None or sums == _BROKEN_SUMS or not _must_start_anew(err, sent, size_bytes):
                raise
            if sent > furthest:
                furthest, since = sent, now
            elif now - since > patience_s(sent):
                raise
            time.sleep(next(pauses))
        else:
            return


def _must_start_anew(err: api.GoogleAPICallError, sent_bytes: int, size_bytes: int) -> bool:
    """Returns true if the session is lost: 409 and 410 say so, and 404 if it had begun.

    At its begin, 404 means that the bucket is not there. The vendor's client leaves this to its caller. Source:
    https://cloud.google.com/storage/docs/json_api/v1/status-codes,
    https://github.com/googleapis/python-storage/issues/26"""
    code = int(err.code or 0)
    in_session = size_bytes > RESUMABLE_BYTES and sent_bytes > 0
    return code in (409, 410) or (code == 404 and in_session) or is_broken_sum(err)
