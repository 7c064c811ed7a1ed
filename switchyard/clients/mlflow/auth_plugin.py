"""A plugin for MLflow's own client: with ``MLFLOW_TRACKING_AUTH=google-id-token`` its calls bear a Google ID token, so
that it reaches a server on Cloud Run. The token is renewed before it expires; MLFLOW_TRACKING_TOKEN's is not.

Source: mlflow/tracking/request_auth, MLflow 2.9.2 (entry point group ``mlflow.request_auth_provider``).
"""

from functools import lru_cache

from switchyard.clients.google.identity import Caller, IdTokenAuth
from switchyard.clients.mlflow.server import GOOGLE_ID_TOKEN
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.errors import BadSetup


class GoogleIdTokenProvider:
    """What MLflow calls: it makes one, asks its name, and before each request what authenticates it."""

    def get_name(self) -> str:
        """What MLFLOW_TRACKING_AUTH must be for this provider to be used."""
        return GOOGLE_ID_TOKEN

    def get_auth(self) -> IdTokenAuth:
        """The same at every call, for it keeps the token. Its token goes to MLFLOW_TRACKING_URI's server alone.

        Raises:
            BadSetup: MLFLOW_TRACKING_URI is not set, or no identity can be found.
        """
        return _to_auth(read_settings())


@lru_cache(maxsize=4)
def _to_auth(settings: Settings) -> IdTokenAuth:
    if not settings.mlflow_tracking_uri:
        raise BadSetup(
            "MLFLOW_TRACKING_URI must name the server that the ID token is for; it is not set (mlflow.set_tracking_uri "
            "alone does not tell whom to trust)"
        )
    caller = Caller(impersonate=settings.identity_service_account, gcloud=settings.identity_from_gcloud == "yes")
    return IdTokenAuth(settings.mlflow_tracking_uri, caller=caller)
