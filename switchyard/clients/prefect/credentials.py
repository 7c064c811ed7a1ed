"""Finds Google credentials for flows: a GcpCredentials block of Prefect's by its name, or the application default.

The trainer and serving have no Prefect: their clients find the application default by themselves.
"""

from typing import cast

from google.auth import default, exceptions
from google.auth.credentials import Credentials, with_scopes_if_required

from switchyard.core.errors import BadSetup, TryAgain

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
"""What a service may do is for IAM to say; this scope takes nothing away.
Source: https://cloud.google.com/compute/docs/access/service-accounts#scopes_best_practice"""


def load_credentials(block_name: str = "") -> Credentials:
    """Returns the credentials that the block `block_name` holds; without a name the application default.

    A second call reads the block again. The result is for clients only: it is never a task's parameter or result, so
    Prefect never stores it.

    Raises:
        BadSetup: there is no such block, it holds no key, or there are no application default credentials.
        TryAgain: Prefect's API or the metadata server does not answer.
    """
    if block_name:
        return _read_block(block_name)
    try:
        credentials, _ = default(scopes=SCOPES)
    except exceptions.DefaultCredentialsError as err:
        raise BadSetup(
            "there are no application default credentials; run on a machine that has a service account, "
            "set GOOGLE_APPLICATION_CREDENTIALS, or name a GcpCredentials block in GCP_CREDENTIALS_BLOCK"
        ) from err
    except exceptions.TransportError as err:
        raise TryAgain(f"the metadata server did not say which account this machine has: {err}") from err
    return credentials


def _read_block(name: str) -> Credentials:
    import httpx
    from prefect_gcp.credentials import GcpCredentials
    from pydantic import ValidationError

    try:
        block = GcpCredentials.load(name, _sync=True)
        if not isinstance(block, GcpCredentials):
            raise BadSetup(f"the block {name!r} must be a GcpCredentials block; got {type(block).__name__}")
        found = block.get_credentials_from_service_account()
    except httpx.HTTPError as err:
        raise TryAgain(f"could not read the GcpCredentials block {name!r}: {type(err).__name__}: {err}") from err
    except exceptions.TransportError as err:
        raise TryAgain(f"could not use the GcpCredentials block {name!r}: {err}") from err
    except (ValidationError, RuntimeError) as err:
        # Not "from err": Pydantic's text quotes what it refused, which may be the key.
        raise BadSetup(f"the GcpCredentials block {name!r} is not usable: {_find_problems(err)}") from None
    except (ValueError, exceptions.GoogleAuthError) as err:
        if "Unable to find block" in str(err):
            raise BadSetup(
                f"there is no GcpCredentials block named {name!r} (GCP_CREDENTIALS_BLOCK); create it in the Prefect "
                "UI, or leave the setting empty to use the application default"
            ) from err
        message = f"the GcpCredentials block {name!r} must hold a service account's key; {type(err).__name__}: {err}"
        raise BadSetup(message) from err
    return cast("Credentials", with_scopes_if_required(found, SCOPES))


def _find_problems(err: BaseException) -> str:
    from pydantic import ValidationError

    cause = err if isinstance(err, ValidationError) else err.__cause__
    if not isinstance(cause, ValidationError):
        return f"{type(err).__name__}; save it again"
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in cause.errors())
