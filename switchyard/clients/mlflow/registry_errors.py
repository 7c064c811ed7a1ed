"""Translates what MLflow's own client raises into our errors, by what the caller does next."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from switchyard.clients.mlflow.registry_client import prepare_client
from switchyard.core.errors import BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain

_CLASSES: Final[dict[str, type[SwitchyardError]]] = {
    # Source: mlflow/protos/databricks.proto, 2.9.2 and 3.17.2
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "NOT_FOUND": NotFound,
    "INVALID_PARAMETER_VALUE": BadRequest,
    "BAD_REQUEST": BadRequest,
    "MALFORMED_REQUEST": BadRequest,
    "RESOURCE_ALREADY_EXISTS": BadRequest,
    "INVALID_STATE": BadRequest,
    "INVALID_STATE_TRANSITION": BadRequest,
    "PERMISSION_DENIED": BadSetup,
    "UNAUTHENTICATED": BadSetup,
    "CUSTOMER_UNAUTHORIZED": BadSetup,
    "ENDPOINT_NOT_FOUND": BadSetup,
}
_LET_US_IN: Final = (
    "see MLFLOW_TRACKING_AUTH (a Google ID token), MLFLOW_TRACKING_TOKEN, and MLFLOW_TRACKING_USERNAME with "
    "MLFLOW_TRACKING_PASSWORD"
)
_SHOWN: Final = 300


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raises our errors for MLflow's, and says `where`.

    Raises:
        TryAgain: the server is away or fails. NotFound, BadRequest, BadSetup: as the server says.
    """
    prepare_client()
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as err:
        raise _to_ours(err.error_code, str(err), where) from err
    except (requests.RequestException, OSError) as err:
        raise TryAgain(f"{where}: no answer: {_shorten(str(err))}") from err


def _to_ours(code: str, said: str, where: str) -> SwitchyardError:
    told = f"{where}: {_shorten(said)}"
    # An answer of another than its API (a proxy, a login page, its artifact proxy) has its status only in the words.
    status = re.search("failed with error code ([0-9]{3})|([0-9]{3}) (?:Client|Server) Error", said)
    if status is not None:
        number = int(status[1] or status[2])
        if number == 404 and status[2]:
            return NotFound(told)
        if number in (401, 403):
            return BadSetup(f"{told}; {_LET_US_IN}")
        if number < 500 and number not in (408, 425, 429):
            return BadSetup(f"{told}; is MLFLOW_TRACKING_URI the address of an MLflow server?")
        return TryAgain(told)
    kind = _CLASSES.get(code, TryAgain)
    return kind(f"{told}; {_LET_US_IN}") if kind is BadSetup else kind(told)


def _shorten(said: str) -> str:
    """Returns the first line: 2.9.2 answers with its whole SQL."""
    line = next(iter(said.strip().splitlines()), "no word of it")
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "..."
