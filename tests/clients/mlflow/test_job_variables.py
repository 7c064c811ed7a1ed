"""What a training job is told of the MLflow server that it logs to, and on Vertex AI what it is not told."""

import pytest

from switchyard.clients.launchers.vertex.custom_job import to_custom_job
from switchyard.clients.mlflow.job_variables import to_job_variables
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.errors import BadSetup
from switchyard.core.runs.jobs import JobOrder

SERVER = {"MLFLOW_TRACKING_URI": "https://mlflow.example/"}
ON_VERTEX = {
    "TRAINING_BACKEND": "vertex",
    "GCP_PROJECT_ID": "demo-project",
    "GCP_REGION": "us-central1",
    "TRAINER_IMAGE": "us-docker.pkg.dev/demo-project/switchyard/trainer:test",
    "ARTIFACTS_URI": "gs://bucket/runs",
}
BY_TOKEN = {"MLFLOW_TRACKING_TOKEN": "s3cret"}
BY_NAME = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s3cret"}
BY_GOOGLE = {"MLFLOW_TRACKING_AUTH": "google-id-token"}


def make_settings(*variables: dict[str, str]) -> Settings:
    return read_settings({name: text for one in variables for name, text in one.items()})


@pytest.mark.parametrize("secret", [{}, BY_TOKEN, BY_NAME], ids=["none", "token", "password"])
def test_a_job_of_this_machine_is_told_addresses_and_names(secret: dict[str, str]) -> None:
    """No secret is written down: the process inherits it from who submits."""
    found = to_job_variables(make_settings(SERVER, secret, {"MLFLOW_RUN_NAME": "nightly"}))
    assert found == {"MLFLOW_TRACKING_URI": "https://mlflow.example", "MLFLOW_RUN_NAME": "nightly"}


@pytest.mark.parametrize("secret", [{}, BY_TOKEN, BY_NAME], ids=["none", "token", "password"])
def test_a_job_on_vertex_proves_itself_by_its_service_account(secret: dict[str, str]) -> None:
    """google-id-token goes before a token or a name, and its name is all that the job's definition says."""
    settings = make_settings(ON_VERTEX, SERVER, BY_GOOGLE, secret, {"MLFLOW_EXPERIMENT_NAME": "two towers"})
    variables = to_job_variables(settings)
    order = JobOrder(display_name="", arguments=[], labels={}, timeout_s=60, variables=variables)
    job = to_custom_job("k1", order, image=settings.trainer_image, service_account="")
    (pool,) = job.job_spec.worker_pool_specs
    assert {variable.name: variable.value for variable in pool.container_spec.env} == {
        "MLFLOW_TRACKING_URI": "https://mlflow.example",
        "MLFLOW_TRACKING_AUTH": "google-id-token",
        "MLFLOW_EXPERIMENT_NAME": "two towers",
        "TRAINED_IN": settings.trainer_image,
    }
    assert "s3cret" not in str(job)


REFUSED: list[tuple[list[dict[str, str]], str]] = [
    ([], "MLFLOW_TRACKING_URI is not set. A training"),
    ([{"MLFLOW_TRACKING_URI": "postgresql://db/mlflow"}], "MLFLOW_TRACKING_URI must be http"),
    ([SERVER, {"MLFLOW_TRACKING_AUTH": "kerberos"}], "MLFLOW_TRACKING_AUTH must be google-id-token"),
    ([ON_VERTEX, SERVER, BY_TOKEN], "a job on Vertex AI gets no secret"),
    ([ON_VERTEX, SERVER, BY_NAME], "a job on Vertex AI gets no secret"),
]


@pytest.mark.parametrize(("variables", "message"), REFUSED)
def test_what_cannot_be_logged_to_is_refused(variables: list[dict[str, str]], message: str) -> None:
    """The message names the setting, and no secret."""
    with pytest.raises(BadSetup, match=message) as caught:
        to_job_variables(make_settings(*variables))
    assert "s3cret" not in str(caught.value)
