"""Page tokens of a LIST: opaque, and good only for the request that they came from.

Source: https://google.aip.dev/158
"""

import base64
import binascii
import json
from typing import Any

from tests.emulators.vertex_errors import invalid


def write_token(job: Any, filter_text: str) -> str:
    """The token of the page after `job`. It names a job, not a number: what is created meanwhile moves nothing."""
    last = [job.create_time.ToMicroseconds(), job.name, filter_text]
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def read_token(token: str, filter_text: str) -> tuple[int, str] | None:
    """When and under which name the last job of the page before was created (microseconds); None: the first page.

    Raises: ServiceError: INVALID_ARGUMENT.
    """
    if not token:
        return None
    try:
        created, name, of_filter = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error) as err:
        raise invalid([("page_token", "is not one that this service gave.")]) from err
    if of_filter != filter_text:
        raise invalid([("page_token", "belongs to a request with another filter.")])
    return int(created), str(name)
