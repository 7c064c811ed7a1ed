"""Decides which of the submitter's environment a training on this machine gets."""

from collections.abc import Mapping

_NEVER = ("RESULTS_URL", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_RESTORE_STORE_URI", "PREFECT_", "PUSH_", "API_TOKENS_FILE")
_TRACKING = "MLFLOW_"


def to_training_environ(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Returns `environ` without what only flows and serving need, because it may hold passwords; adds `variables`.

    Left out are the databases' addresses, and Prefect's and the pushes' settings. MLflow's are left out where
    `variables` of the order name none: the run does not log there. The cloud's credentials, proxies and CUDA's settings
    stay."""
    tracks = any(name.startswith(_TRACKING) for name in variables)
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_NEVER) and (tracks or not name.startswith(_TRACKING))
    }
    return kept | dict(variables)
