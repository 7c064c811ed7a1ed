"""What a training on this machine may know of the environment that it was submitted from."""

from collections.abc import Mapping

_NEVER = ("RESULTS_URL", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_RESTORE_STORE_URI", "PREFECT_", "PUSH_", "API_TOKENS_FILE")
_TRACKING = "MLFLOW_"


def to_training_environ(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what only flows and serving need, for it may hold passwords: the databases' addresses,
    Prefect's and the pushes' settings; and without MLflow's, where `variables` of the order name none: the run does not
    log there. Everything else stays: credentials of the cloud, proxies, CUDA's settings. `variables` are added."""
    tracks = any(name.startswith(_TRACKING) for name in variables)
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_NEVER) and (tracks or not name.startswith(_TRACKING))
    }
    return kept | dict(variables)
