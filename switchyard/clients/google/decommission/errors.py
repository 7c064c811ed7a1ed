"""Translates Google's errors into ours. The vendor's exceptions stop here, for all adapters of a decommission.

A missing permission is never "gone": 403 is `BadSetup`, with the permission's name.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httplib2
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from googleapiclient.errors import HttpError

from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain

# Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes and google/rpc/code.proto
_PASSING = frozenset({408, 429})
_PASSING_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"})
_PERMISSION = re.compile(r"[Pp]ermission '?([a-z][A-Za-z]*(?:\.[A-Za-z]+)+)'?")
# Source: https://cloud.google.com/storage/docs/bucket-lock, /docs/object-holds: a 403 that no permission changes.
_HELD = re.compile(r"under active .* hold|retention policy", re.IGNORECASE)


@contextlib.contextmanager
def translated(action: str, where: str, permission: str) -> Iterator[None]:
    """Raises what the block raises as one of `core.errors`.

    Args:
        action: a verb for the message: ``stop``, ``list``.
        where: the resource's full name.
        permission: what `action` needs; the message names it where Google does not.

    Raises:
        TryAgain: 408, 429, 5xx, a lost connection, another operation in progress, a policy that changed in between.
        NotFound: 404. StaleWrite: 409 and 412. BadSetup: 401 and 403, no credentials. BadRequest: all else.
    """
    try:
        yield
    except HttpError as err:
        raise to_error(int(err.status_code), _read_body(err.content), action, where, permission) from err
    except api.GoogleAPICallError as err:
        body = (
            _read_body(err.response.content) if isinstance(err.response, requests.Response) else {"message": str(err)}
        )
        raise to_error(int(err.code or 0), body, action, where, permission) from err
    except auth.DefaultCredentialsError as err:
        raise BadSetup(
            f"could not {action} {where}: there are no Google credentials. Set GOOGLE_APPLICATION_CREDENTIALS, run on "
            "a machine that has a service account, or log in: gcloud auth application-default login"
        ) from err
    except auth.GoogleAuthError as err:
        if isinstance(err, auth.TransportError) or err.retryable:
            raise TryAgain(f"could not {action} {where}: no token could be fetched: {_first_line(err)}") from err
        raise BadSetup(f"could not {action} {where}: Google refused to give a token: {_first_line(err)}") from err
    except (httplib2.error.HttpLib2Error, requests.RequestException, OSError) as err:
        raise TryAgain(f"could not {action} {where}: the connection broke: {_first_line(err)}") from err


def to_error(code: int, body: Mapping[str, Any], action: str, where: str, permission: str) -> SwitchyardError:
    """Translates one error answer."""
    said = str(body.get("message") or f"status {code}")
    reasons = {str(item.get("reason")) for key in ("errors", "details") for item in body.get(key, ())}
    failed = f"could not {action} {where}"
    if code in _PASSING or code >= 500 or reasons & _PASSING_REASONS:
        return TryAgain(f"{failed}: Google answered {code}: {said}")
    if code in (401, 403):
        return _to_refusal(code, body, said, reasons, failed, permission)
    if code == 404:
        return NotFound(f"{where} is not there: {said}")
    if code == 409 and ("operationInProgress" in reasons or "concurrent policy changes" in said):
        return TryAgain(f"{failed}: something else is under way there: {said}")
    if code in (409, 412) or (code == 400 and "etag" in said):
        return StaleWrite(f"{failed}: it changed since it was read: {said.rstrip('.')}. Read it again")
    return BadRequest(f"{failed}: Google refused it with {code}: {said}")


def _to_refusal(
    code: int, body: Mapping[str, Any], said: str, reasons: set[str], failed: str, permission: str
) -> SwitchyardError:
    if code == 401:
        return BadSetup(f"{failed}: the credentials are not valid: {said}")
    if _HELD.search(said):
        return BadRequest(f"{failed}: something holds it: {said}")
    if reasons & {"SERVICE_DISABLED", "accessNotConfigured"}:
        return BadSetup(f"{failed}: its API is not enabled: {said}. Enable it: gcloud services enable <the API's name>")
    named = [str(item["metadata"]["permission"]) for item in body.get("details", ()) if _names_permission(item)]
    found = _PERMISSION.search(said)
    missing = named[0] if named else found[1] if found else permission
    return BadSetup(f"{failed}: the permission {missing} is missing: {said}")


def _names_permission(detail: Mapping[str, Any]) -> bool:
    metadata = detail.get("metadata")
    return isinstance(metadata, Mapping) and "permission" in metadata


def _read_body(content: bytes) -> dict[str, Any]:
    try:
        error = json.loads(content)["error"]
        return dict(error) if isinstance(error, dict) else {"message": str(error)}
    except (ValueError, KeyError, TypeError):  # proxies answer in HTML
        return {"message": content.decode(errors="replace").strip()[:300]}


def _first_line(err: BaseException) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0][:300]
