"""Decides what a training job is told to log to MLflow: checked before anything starts, and never a secret."""

from switchyard.clients.settings import Settings
from switchyard.core.errors import BadSetup


def to_job_variables(settings: Settings) -> dict[str, str]:
    """Returns the variables of a job that logs to MLflow, as `trainer.environment` reads them.

    A job of this machine inherits the others, with the secrets among them, from the process that submits it.

    Raises:
        BadSetup: no server is named, its address is wrong, or a job on Vertex AI could not prove who it is: everyone
            who may list the jobs reads what a job's definition holds.
    """
    if not settings.mlflow_tracking_uri:
        raise BadSetup(
            "MLFLOW_TRACKING_URI is not set. A training that logs to MLflow (--tracker mlflow or both) needs it. "
            "Set it to the server's address, http(s)://<host>. Nothing was started"
        )
    from switchyard.clients.mlflow.server import GOOGLE_ID_TOKEN, Access, check_access

    check_access(Access(uri=settings.mlflow_tracking_uri, auth=settings.mlflow_tracking_auth))
    needs_secret = bool(settings.mlflow_tracking_token or settings.mlflow_tracking_username)
    if settings.training_backend == "vertex" and needs_secret and not settings.mlflow_tracking_auth:
        raise BadSetup(
            "a job on Vertex AI gets no secret, so it cannot log to MLflow by MLFLOW_TRACKING_TOKEN or "
            f"MLFLOW_TRACKING_USERNAME. Set MLFLOW_TRACKING_AUTH={GOOGLE_ID_TOKEN}: the job's service account "
            "(VERTEX_SERVICE_ACCOUNT) then proves who it is. Or train with --tracker file. Nothing was started"
        )
    found = {
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "MLFLOW_TRACKING_AUTH": settings.mlflow_tracking_auth,
        "MLFLOW_EXPERIMENT_NAME": settings.mlflow_experiment_name,
        "MLFLOW_RUN_NAME": settings.mlflow_run_name,
    }
    return {name: text for name, text in found.items() if text}
