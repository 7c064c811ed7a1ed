"""A plugin for MLflow's own client: with ``MLFLOW_TRACKING_AUTH=google-id-token`` its calls have a Google ID token.

So it reaches a server on Cloud Run. The token is renewed before it expires; MLFLOW_TRACKING_TOKEN's is not.

Source: mlflow/tracking/request_auth, MLflow 2.9.2 (entry point group ``mlflow.request_auth_provider``).
"""

from functools import lru_cache

from switchyard.clients.google.identity import Caller, IdTokenAuth
from switchyard.clients.mlflow.server import GOOGLE_ID_TOKEN
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.errors import BadSetup


class GoogleIdTokenProvider:
    """Answers MLflow, which makes one, asks its name, and before each request asks what authenticates it."""

    def get_name(self) -> str:
        """Returns the value of MLFLOW_TRACKING_AUTH that selects this provider."""
        return GOOGLE_ID_TOKEN

    def get_auth(self) -> IdTokenAuth:
        """Returns the same at every call, because it keeps the token, which goes only to MLFLOW_TRACKING_URI's server.

        Raises:
            BadSetup: MLFLOW_TRACKING_URI is not set, or no identity can be found.
        """
        return _to_auth(read_settings())


@lru_cache(maxsize=4)
def _to_auth(settings: Settings) -> IdTokenAuth:
    if not settings.mlflow_tracking_uri:
        raise BadSetup(
            "MLFLOW_TRACKING_URI is not set. It must name the server that the ID token is for (mlflow.set_tracking_uri "
            "alone does not tell which server to trust)"
        )
    caller = Caller(impersonate=settings.identity_service_account, gcloud=settings.identity_from_gcloud == "yes")
    return IdTokenAuth(settings.mlflow_tracking_uri, caller=caller)
