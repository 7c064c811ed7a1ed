"""Translates Cloud Storage's errors: the vendor's exceptions stop where `clients/objects/gcs.py` meets them."""

import contextlib
from collections.abc import Iterator

import requests
import urllib3.exceptions
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain

# Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes (408, 429, 5xx: retry; 409, 410: start again)
_PASSING = frozenset({408, 409, 410, 429})
# Source: same page, 403: these reasons say "slower", not "never".
_PASSING_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})


@contextlib.contextmanager
def translated(action: str, uri: str, permission: str) -> Iterator[None]:
    """Raises what the block raises as one of `core.errors`.

    Args:
        action: a verb for the message: ``write``, ``read``.
        permission: the IAM permission that `action` needs. Source: .../storage/docs/access-control/iam-permissions

    Raises:
        TryAgain: 408, 409, 410, 429, 5xx, a lost or cut connection, data that arrived corrupted.
        NotFound: no such object. StaleWrite: a precondition failed.
        BadSetup: no bucket, no permission, no credentials. BadRequest: a name or an argument that is refused.
    """
    try:
        yield
    except api.GoogleAPICallError as err:
        raise _to_error(err, action, uri, permission) from err
    except (api.RetryError, DataCorruption, requests.RequestException, urllib3.exceptions.HTTPError) as err:
        raise TryAgain(f"could not {action} {uri}: {_first_line(err)}; the connection or its data broke") from err
    except InvalidResponse as err:
        raise TryAgain(f"could not {action} {uri}: Cloud Storage did not answer: {_first_line(err)}") from err
    except ConnectionError as err:  # the client raises Python's own for a download that ended early
        raise TryAgain(f"could not {action} {uri}: the connection broke: {_first_line(err)}") from err
    except auth.DefaultCredentialsError as err:
        raise BadSetup(
            f"could not {action} {uri}: there are no Google credentials; name a GcpCredentials block, set "
            "GOOGLE_APPLICATION_CREDENTIALS, or run on a machine that has a service account"
        ) from err
    except auth.GoogleAuthError as err:
        if isinstance(err, auth.TransportError) or err.retryable:
            raise TryAgain(f"could not {action} {uri}: no token could be fetched: {_first_line(err)}") from err
        message = f"could not {action} {uri}: Google refused to give a token: {_first_line(err)}; check the credentials"
        raise BadSetup(message) from err


def no_bucket(action: str, uri: str) -> BadSetup:
    """Returns the error for a bucket that is not there."""
    bucket = uri.removeprefix("gs://").partition("/")[0]
    return BadSetup(
        f"could not {action} {uri}: there is no bucket {bucket}; create it, or mend the URI (ARTIFACTS_URI)"
    )


def is_broken_sum(err: api.GoogleAPICallError) -> bool:
    """Returns true if the data did not arrive as it was sent: ``invalid``, and no parameter or header is named.

    Source: the answer in https://github.com/googleapis/python-storage/issues/1541
    """
    _, details = _read_answer(err)
    return err.code == 400 and any(
        detail.get("reason") == "invalid" and not detail.get("location") for detail in details
    )


def _to_error(err: api.GoogleAPICallError, action: str, uri: str, permission: str) -> SwitchyardError:
    code = int(err.code or 0)
    said, details = _read_answer(err)
    reasons = {str(detail.get("reason")) for detail in details}
    failed = f"could not {action} {uri}"
    bucket = uri.removeprefix("gs://").partition("/")[0]
    if code in _PASSING or code >= 500 or reasons & _PASSING_REASONS:
        return TryAgain(f"{failed}: Cloud Storage answered {code}: {said}")
    if code in (401, 403):
        return BadSetup(f"{failed}: expected the permission {permission} on bucket {bucket}; got {code}: {said}")
    if code == 404 and action in ("write", "list"):  # these ask for no object, so it is the bucket that is missing
        return no_bucket(action, uri)
    if code == 404:
        return NotFound(f"expected an object at {uri}; there is none")
    if code in (304, 412):
        return StaleWrite(f"{failed}: its generation is another: someone else wrote, read it again")
    if is_broken_sum(err):
        return TryAgain(f"{failed}: the data changed on its way: {said}")
    return BadRequest(f"{failed}: Cloud Storage refused it with {code}: {said}")


def _read_answer(err: api.GoogleAPICallError) -> tuple[str, list[dict[str, object]]]:
    """Returns Google's own words and the error's details, without the address and the client's comment on them."""
    response = err.response
    if not isinstance(response, requests.Response):
        return _first_line(err), []
    try:
        error = response.json()["error"]
        return str(error["message"]), [dict(detail) for detail in error.get("errors", ())]
    except (ValueError, KeyError, TypeError):  # downloads answer in plain words, proxies in HTML
        return response.text.strip()[:300] or str(response.reason), []


def _first_line(err: BaseException) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0][:300]
