"""Reads what is published from the JSON API of a Switchyard server, without the database."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from switchyard.core.errors import BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain

_TIMEOUT_S: Final = (10, 60)
"""The time-out: to connect, and between two bytes."""
_MAX_SAID: Final = 300


class ApiPublished:
    """Implements `core.ports.Published` over HTTP.

    A busy server (429, 503) is asked three more times, as its Retry-After says: a notebook has no task around it that
    would retry."""

    def __init__(self, address: str, token: str = "") -> None:
        self._address = address.rstrip("/")
        self._session = requests.Session()
        retry = Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 503), raise_on_status=False)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __repr__(self) -> str:
        return f"ApiPublished({self._address!r})"

    def read_history(self, quick_test_id: int) -> bytes:
        """Returns it as `/training-history/` answers it."""
        return self._get(f"/api/quick-tests/{quick_test_id}/training-history/")

    def read_series(self, quick_test_id: int) -> bytes:
        """Returns it as `/series/` answers it."""
        return self._get(f"/api/quick-tests/{quick_test_id}/series/")

    def find_runs(self, question: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Yields line by line, a page for each call."""
        path, asked = "/api/quick-tests/", dict(question)
        while path:
            page = msgspec.json.decode(self._get(path, asked))
            yield from page["items"]
            # The next page's address holds all that was asked.
            path, asked = page["next"] or "", {}

    def compare(self, ids: Sequence[int]) -> bytes:
        """Returns it as `/compare/` answers it."""
        return self._get("/api/quick-tests/compare/", {"ids": ",".join(map(str, ids))})

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _get(self, path: str, asked: Mapping[str, str] | None = None) -> bytes:
        try:
            answer = self._session.get(self._address + path, params=asked, timeout=_TIMEOUT_S)
        except requests.RequestException as err:
            raise TryAgain(f"{self._address} does not answer: {err}. Is it running (`switchyard serve`)?") from err
        if answer.status_code != requests.codes.ok:
            raise self._to_error(answer)
        if not answer.headers.get("content-type", "").startswith("application/json"):
            raise BadSetup(f"{self._address} answers no JSON at {path}: it is not the address of a Switchyard server")
        return answer.content

    def _to_error(self, answer: requests.Response) -> SwitchyardError:
        said = f"{self._address}: {_read_problem(answer)}"
        match answer.status_code:
            case 401 | 403:
                return BadSetup(f"{said}. Give a token that may read: API_TOKEN, or token=... (`switchyard token`)")
            case 404:
                return NotFound(said)
            case 429 | 500 | 502 | 503 | 504:
                return TryAgain(said)
            case _:
                return BadRequest(said)


def _read_problem(answer: requests.Response) -> str:
    """Returns what the server says is wrong; its status, if it is not ours."""
    try:
        found = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        found = None
    said = found.get("detail") if isinstance(found, dict) else None
    return said if isinstance(said, str) and said else f"it answers {answer.status_code} {answer.reason}"[:_MAX_SAID]
