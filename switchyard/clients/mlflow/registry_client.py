"""Opens MLflow's own client, which is not loaded before, and tells it what it must not do."""

import os
from typing import TYPE_CHECKING, Final

from switchyard.core.errors import BadSetup

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLIENT_SETTINGS: Final = {
    # Source: mlflow/telemetry/utils.py and mlflow/environment_variables.py, 3.17.2
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Variables of MLflow's client for this process; it has no arguments for them."""


def prepare_client() -> None:
    """Imports MLflow's client with CLIENT_SETTINGS, which replace what was set before. A second call changes nothing.

    Call it before anything else of MLflow's is imported: the import itself begins to send.

    Raises: BadSetup: the package is not installed."""
    os.environ.update(CLIENT_SETTINGS)
    try:
        import mlflow  # noqa: F401  (for the error)
    except ImportError as err:
        raise BadSetup(
            "MLflow's own client is not installed: pip install -e '.[mlflow]' in the checkout (the worker's image has "
            "it)"
        ) from err


def open_client(uri: str) -> "MlflowClient":
    """Opens MLflow's client for the registry at `uri`. Raises: BadSetup: as `prepare_client`."""
    prepare_client()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)
