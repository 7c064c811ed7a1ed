"""Calls an MLflow server: waits for one that starts cold, tries again what may pass, and accepts only JSON.

`mlflow_rest` knows what to ask.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import requests

from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain, TryLater

_TIMEOUT_S: Final = (10.0, 120.0)  # to connect; between two bytes
_ANSWER_S: Final = 300.0
_ANSWER_BYTES: Final = 512 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_PASSING: Final = frozenset({408, 425, 429})
_ATTEMPTS: Final = 5
COLD_START_S: Final = 120.0
USER_AGENT: Final = f"switchyard/{version('switchyard')}"
"""Our own reads have this name in the request log of an MLflow that is to go."""
_SHOWN: Final = 200
_NO_STATUS: Final = "status cannot be None"
"""Source: mlflow/entities/run_info.py, 2.9.2, which the server makes of every row before it answers."""


class Patience(msgspec.Struct, frozen=True):
    """How to wait; tests pass their own clock."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    cold_start_s: float = COLD_START_S


class MlflowServer:
    """One server's REST interface. Threads may share it: each gets its own session.

    One step of a task reads a store with thousands of calls, so this is the retry layer for each of them: five tries
    with growing, jittered delays, for calls that change nothing.

    Args:
        url: the tracking URI, without a slash at its end.
        open_session: makes a session that proves who calls.
    """

    def __init__(
        self, url: str, open_session: Callable[[], requests.Session], *, patience: Patience | None = None
    ) -> None:
        self.url = url
        self._open_session = open_session
        self._patience = patience or Patience()
        self._own = threading.local()
        self._sessions: list[requests.Session] = []
        self._lock = threading.Lock()
        self._is_awake = False
        self._awake_by: float | None = None

    def read(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the JSON object that GET answers; a list in `query` is its key several times. Raises: as `search`."""
        return self._ask("GET", path, params=query)

    def search(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the JSON object that POST answers. Only for calls that change nothing, because they are repeated.

        Raises:
            NotFound: the server has no such thing, or no such call. BadRequest: it refuses the question.
            BadSetup: it does not let us in, or is not an MLflow server. TryAgain: it does not answer; TryLater: it has
            not for two minutes.
        """
        return self._ask("POST", path, json=body)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the JSON object that POST answers, asked once.

        For calls that must not be repeated before a look whether the first one took effect. Raises: as `search`;
        TryAgain: it may have."""
        self._wake()
        return self._ask_once("POST", path, json=body)

    def put(self, path: str, file: Path) -> None:
        """Sends the file's bytes, part by part, once; a second call replaces what is there. Raises: as `search`."""
        self._wake()
        with file.open("rb") as opened:
            # For an empty stream requests sends no length, and sends it in chunks.
            self._call("PUT", path, data=opened if file.stat().st_size else b"")

    def close(self) -> None:
        """Ends all connections."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self._own = threading.local()
        for session in sessions:
            session.close()

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        self._wake()
        attempt = 1
        while True:
            try:
                return self._ask_once(method, path, **arguments)
            except TryAgain as err:
                if attempt == _ATTEMPTS:
                    raise
                self._patience.pause(_delay_s(attempt, err))
                attempt += 1

    def _wake(self) -> None:
        """Waits until the server answers at all: one on Cloud Run may need most of a minute for its first call.

        All threads wait the same two minutes, not one after the other."""
        if self._is_awake:
            return
        with self._lock:
            patience, attempt = self._patience, 1
            if self._awake_by is None:
                self._awake_by = patience.now() + patience.cold_start_s
            while not self._is_awake:
                try:
                    # Any answer shows that a server is there; /health itself may be missing behind a proxy.
                    self._call("GET", "/health")
                    self._is_awake = True
                except NotFound:
                    self._is_awake = True
                except TryAgain as err:
                    delay = _delay_s(attempt, err)
                    if patience.now() + delay > self._awake_by:
                        raise TryLater(
                            f"the MLflow server {self.url} did not wake in {patience.cold_start_s:.0f} s: {err}"
                        ) from err
                    patience.pause(delay)
                    attempt += 1

    def _ask_once(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        data, kind = self._call(method, path, **arguments)
        try:
            answer = json.loads(data)  # the bulk call says NaN, which strict JSON readers refuse
        except ValueError as err:
            if data.lstrip()[:1] in (b"{", b"["):
                raise TryAgain(f"{method} {self.url}{path} answered JSON that breaks off: {err}") from err
            raise BadSetup(
                f"{method} {self.url}{path} must answer JSON; got {kind or 'something else'}: {_shorten(data)}; is "
                "MLFLOW_TRACKING_URI the server's own address, and not that of a login page in front of it?"
            ) from err
        if not isinstance(answer, dict):
            raise BadSetup(f"{method} {self.url}{path} must answer a JSON object; got {_shorten(data)}")
        return answer

    def _call(self, method: str, path: str, **arguments: Any) -> tuple[bytes, str]:
        """Returns the body and its type."""
        where = f"{method} {self.url}{path}"
        try:
            with closing(
                self._session().request(
                    method, self.url + path, timeout=_TIMEOUT_S, allow_redirects=False, stream=True, **arguments
                )
            ) as response:
                data = self._read_body(response, where)
                if response.status_code != 200:
                    raise _to_error(response, data, where)
                return data, response.headers.get("Content-Type", "")
        except (requests.RequestException, OSError) as err:
            raise TryAgain(f"{where}: no answer: {_first_line(err)}") from err

    def _read_body(self, response: requests.Response, where: str) -> bytes:
        deadline = self._patience.now() + _ANSWER_S
        parts, size = [], 0
        for part in response.iter_content(_CHUNK_BYTES):
            parts.append(part)
            size += len(part)
            if size > _ANSWER_BYTES or self._patience.now() > deadline:
                raise BadSetup(
                    f"{where}: an answer must end within {_ANSWER_BYTES >> 20} MB and {_ANSWER_S:.0f} s; got more"
                )
        return b"".join(parts)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = self._open_session()
            session.headers["User-Agent"] = USER_AGENT
            self._sessions.append(session)
        return session


class NoStatus(BadRecord):
    """A run has no status in MLflow's database: its server then answers no page of runs that has it."""


class _Later(TryAgain):
    """The server said how long to wait."""

    def __init__(self, message: str, delay_s: float) -> None:
        super().__init__(message)
        self.delay_s = delay_s


def _delay_s(attempt: int, err: TryAgain) -> float:
    """Returns 0.5 s, 1 s, 2 s, ... up to 10 s, each with up to half of it more; or what the server asks for."""
    if isinstance(err, _Later):
        return err.delay_s
    delay = min(10.0, 0.5 * 2.0 ** (attempt - 1))
    return delay * (1 + random.random() / 2)


def _to_error(response: requests.Response, data: bytes, where: str) -> SwitchyardError:
    code = response.status_code
    said = _read_message(data) or _shorten(data) or response.reason
    failed = f"{where} answered {code}: {said}"
    if code >= 500 and _NO_STATUS in said:
        problem = "a run has no status in MLflow's database, and its server cannot answer for it. Set one there"
        return NoStatus(where, [problem])
    if code in _PASSING or code >= 500:
        after = response.headers.get("Retry-After", "")
        return _Later(failed, min(float(after), 60.0)) if after.isdigit() else TryAgain(failed)
    if code in (401, 403):
        return BadSetup(
            f"{failed}; it does not let us in: set MLFLOW_TRACKING_AUTH (a Google ID token), "
            "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD"
        )
    if code in (404, 405, 501):
        return NotFound(failed)
    if 300 <= code < 400:
        return BadSetup(
            f"{where} answered {code}, elsewhere ({response.headers.get('Location', '')[:_SHOWN]}); "
            "MLFLOW_TRACKING_URI must be the server's own address"
        )
    return BadRequest(failed)


def _read_message(data: bytes) -> str:
    """Returns MLflow's own words."""
    try:
        answer = json.loads(data)
        return f"{answer['error_code']}: {answer['message']}"[:_SHOWN]
    except (ValueError, KeyError, TypeError):
        return ""


def _shorten(data: bytes) -> str:
    return " ".join(data[:1000].decode(errors="replace").split())[:_SHOWN]


def _first_line(err: BaseException) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0][:300]
