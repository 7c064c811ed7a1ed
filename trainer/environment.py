"""The environment variables that Vertex AI and the submitter of the job set for the container.

`trainer/__main__.py` passes them in; nothing else reads them.

Source: https://cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables (AIP_*) and
https://cloud.google.com/vertex-ai/docs/training/distributed-training (CLUSTER_SPEC, TF_CONFIG).
"""

from collections.abc import Mapping

import msgspec

from switchyard.core.errors import BadRequest


class MlflowEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """The MLflow server that ``--tracker mlflow`` or ``both`` logs to, and the credentials for it.

    The fields are the variables MLFLOW_... and IDENTITY_... of ``.env.example`` in lower case, without ``mlflow_``."""

    tracking_uri: str = ""
    experiment_name: str = ""
    run_name: str = ""
    tracking_auth: str = ""
    tracking_token: str = ""
    tracking_username: str = ""
    tracking_password: str = ""
    identity_service_account: str = ""
    identity_from_gcloud: str = ""

    def __repr__(self) -> str:
        """Shows no secrets."""
        return f"MlflowEnvironment(tracking_uri={self.tracking_uri!r}, tracking_auth={self.tracking_auth!r})"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says; a field is empty where its variable is not set, as on a laptop.

    AIP_TENSORBOARD_LOG_DIR is not used: the trainer writes no event files, and its curves are in the published
    history."""

    model_uri: str = ""  # AIP_MODEL_DIR
    checkpoints_uri: str = ""  # AIP_CHECKPOINT_DIR
    job_id: str = ""  # CLOUD_ML_JOB_ID: the CustomJob's number
    baselines_python: str = ""  # BASELINES_PYTHON
    image: str = ""  # TRAINED_IN: set by our launcher to the image's digest
    mlflow: MlflowEnvironment = MlflowEnvironment()


class _Cluster(msgspec.Struct):
    cluster: dict[str, list[str]] = {}


def read_environment(variables: Mapping[str, str]) -> Environment:
    """Returns what `variables` say; a flag with the same meaning takes precedence (`trainer.options`).

    Raises:
        BadRequest: TF_CONFIG or CLUSTER_SPEC names several replicas, or cannot be read.
    """
    for name in ("TF_CONFIG", "CLUSTER_SPEC"):
        if variables.get(name):
            _check_alone(name, variables[name])
    return Environment(
        model_uri=variables.get("AIP_MODEL_DIR", "").rstrip("/"),
        checkpoints_uri=variables.get("AIP_CHECKPOINT_DIR", "").rstrip("/"),
        job_id=variables.get("CLOUD_ML_JOB_ID", ""),
        baselines_python=variables.get("BASELINES_PYTHON", ""),
        image=variables.get("TRAINED_IN", ""),
        mlflow=_read_mlflow(variables),
    )


def _read_mlflow(variables: Mapping[str, str]) -> MlflowEnvironment:
    names = {name: name.upper() for name in MlflowEnvironment.__struct_fields__}
    found = {
        name: variables.get(upper if name.startswith("identity_") else f"MLFLOW_{upper}", "")
        for name, upper in names.items()
    }
    return MlflowEnvironment(**found | {"tracking_uri": found["tracking_uri"].rstrip("/")})


def _check_alone(name: str, text: str) -> None:
    try:
        cluster = msgspec.json.decode(text, type=_Cluster).cluster
    except msgspec.DecodeError as err:
        raise BadRequest(f'{name} must be JSON such as {{"cluster": {{"chief": ["host:2222"]}}}}; {err}') from err
    replicas = {pool: len(hosts) for pool, hosts in cluster.items()}
    if sum(replicas.values()) > 1:
        shown = ", ".join(f"{count} {pool}" for pool, count in replicas.items())
        # Each replica would train the whole model on all the data, and overwrite what the others write.
        raise BadRequest(
            f"the trainer runs as one replica; {name} names {sum(replicas.values())} ({shown}): submit the job with "
            "replica_count 1 (--machine-replica-count), and a larger machine where one is too slow"
        )
