"""Sends to Cloud Storage over a line of any pace: a time-out bounds a silence, never the size of what is sent."""

import io
import threading
import time
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter

SLOWEST_BYTES_PER_S: Final = 62_500.0
"""The pace of one of eight uploads that share a line of 4 Mbit/s, until something was measured."""

_PIECE_BYTES = 16 * 1024  # urllib3's block of a file
_MEASURED_BYTES = 256 * 1024  # less says more of the delay than of the bandwidth
_TIMES = 4.0  # a shared line may be as many times slower than it was a moment ago


class Pace:
    """How fast one upload of this process is, as measured last. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowed_bytes_per_s = SLOWEST_BYTES_PER_S

    def to_allowance_s(self, size_bytes: int) -> float:
        """Returns how long `size_bytes` may be under way, beyond the patience for a request without a size.

        That is as long as `SLOWEST_BYTES_PER_S` takes; once something was measured, four times as long as that says."""
        with self._lock:
            return size_bytes / self._allowed_bytes_per_s

    def note(self, size_bytes: int, took_s: float) -> None:
        """Notes that a request of `size_bytes` was answered `took_s` after it began. Small ones are not counted."""
        if size_bytes >= _MEASURED_BYTES:
            with self._lock:
                self._allowed_bytes_per_s = size_bytes / max(took_s, 1e-3) / _TIMES

    def note_timeout(self) -> None:
        """Notes that a request timed out: from now on there is twice as much time."""
        with self._lock:
            self._allowed_bytes_per_s /= 2


class PatientAdapter(HTTPAdapter):
    """Sends a body piece by piece, and waits for the answer as long as its size needs at this line's pace.

    urllib3 (2.x) gives the whole of a body in bytes to one ``sendall`` under the *connect* time-out, so 16 MiB had to
    leave within 10 s. A body with `read` is sent by 16 KiB, each with its own time-out. What the kernel has taken may
    still be on its way when the last piece is gone: hence the allowance.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        super().__init__()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Sends as the vendor's adapter does.

        `timeout` is to connect (with a body of more than one piece: for a piece to leave, which is the time between two
        bytes), and between two bytes of an answer."""
        body = request.body
        if not isinstance(body, bytes) or len(body) <= _PIECE_BYTES or not isinstance(timeout, tuple):
            return super().send(request, stream, timeout, verify, cert, proxies)
        connect_s, read_s = timeout
        began = time.monotonic()
        request.body = io.BytesIO(body)
        try:
            patient = (max(connect_s, read_s), read_s + self.pace.to_allowance_s(len(body)))
            answer = super().send(request, stream, patient, verify, cert, proxies)
        except (requests.Timeout, requests.ConnectionError):  # a piece that does not leave is a ConnectionError
            self.pace.note_timeout()
            raise
        finally:
            request.body = body
        self.pace.note(len(body), time.monotonic() - began)
        return answer


def find_pace(session: requests.Session) -> Pace:
    """Returns the pace of `session`'s line. A session gets its `PatientAdapter` at its first call."""
    adapter = session.get_adapter("https://storage.googleapis.com")
    if not isinstance(adapter, PatientAdapter):
        adapter = PatientAdapter()
        if not getattr(session, "is_mtls", False):  # a session with a client certificate needs the vendor's adapter
            session.mount("https://", adapter)
            session.mount("http://", adapter)
    return adapter.pace
