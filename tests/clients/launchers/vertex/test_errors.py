"""Vertex AI's errors as ours: what to do about each, and what is tried again."""

import re
from collections.abc import Callable

import pytest
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import RefreshError, TransportError

from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite
from switchyard.core.errors import BadRequest, BadSetup, SwitchyardError, TryAgain
from tests.clients.launchers.vertex.launching import (
    LONG_AGO,
    MakeLauncher,
    StartVertex,
    make_order,
)
from tests.emulators.faults import Fault
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_core import CANCEL, CREATE, GET, LIST
from tests.emulators.vertex_errors import to_actas, to_missing, to_perimeter

REFUSALS: list[tuple[int, str, type[SwitchyardError], str]] = [
    (403, "", BadSetup, "roles/aiplatform.user on project demo-project"),
    (
        403,
        "You do not have permission to act as service_account: trainer@x.iam.gserviceaccount.com",
        BadSetup,
        "roles/iam.serviceAccountUser",
    ),
    (403, "iam.serviceAccounts.actAs denied", BadSetup, "roles/iam.serviceAccountUser"),
    (
        400,
        to_actas("trainer@x.iam.gserviceaccount.com"),
        BadSetup,
        "gcloud iam service-accounts add-iam-policy-binding trainer@x.iam.gserviceaccount.com --member CALLER --role "
        "roles/iam.serviceAccountUser",
    ),
    (403, to_perimeter("1A2B"), BadSetup, "a VPC Service Controls perimeter blocks the call"),
    (
        404,
        to_missing("projects/1/locations/us-east1/tensorboards/77"),
        BadSetup,
        "the TensorBoard '77' in us-east1 that machine.tensorboard names does not exist",
    ),
    (
        404,
        to_missing("projects/1/locations/us-central1/persistentResources/pool-a"),
        BadSetup,
        "gcloud ai persistent-resources list --region us-central1",
    ),
    (
        403,
        "Vertex AI API has not been used in project 1 before or it is disabled.",
        BadSetup,
        "gcloud services enable aiplatform.googleapis.com --project demo-project",
    ),
    (404, "", BadSetup, "check GCP_PROJECT_ID and GCP_REGION"),
    (400, "Machine type is not supported.", BadRequest, "Vertex AI says: Machine type is not supported."),
    (429, "", TryAgain, "a quota of requests a minute is used up"),
    (
        429,
        "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus",
        BadSetup,
        "ask for more quota in the region at https://console.cloud.google.com/iam-admin/quotas?project=demo-project",
    ),
]


@pytest.mark.parametrize(("status", "message", "error", "said"), REFUSALS, ids=[row[3] for row in REFUSALS])
def test_a_refused_create_says_what_to_do(
    idle_vertex: VertexEmulator,
    make_launcher: MakeLauncher,
    status: int,
    message: str,
    error: type[SwitchyardError],
    said: str,
) -> None:
    """It certainly made no job: no one looks for one, and no one sends it again."""
    idle_vertex.core.faults.order(Fault(kind=CREATE, status=status, message=message))
    with pytest.raises(error, match=re.escape(said)):
        make_launcher(idle_vertex).submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {LIST: 1, CREATE: 1}


def test_credentials_that_are_refused_are_a_matter_of_setup(
    start_vertex: StartVertex, make_launcher: MakeLauncher
) -> None:
    """The message says how to get some."""
    launcher = make_launcher(start_vertex(requires_token=True))
    with pytest.raises(BadSetup, match="gcloud auth application-default login"):
        launcher.submit("k1", make_order())


class BrokenCredentials(Credentials):
    """They can get no token, for a reason of their own."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reason = reason

    def refresh(self, request: object) -> None:
        raise self.reason


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (RefreshError("invalid_grant: account is disabled"), BadSetup),
        (TransportError("metadata server did not answer"), TryAgain),
    ],
)
def test_without_a_token_nothing_is_sent(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, reason: Exception, error: type[SwitchyardError]
) -> None:
    """A key that is refused must be replaced; a metadata server that is away comes back."""
    launcher = make_launcher(idle_vertex, credentials=BrokenCredentials(reason))
    with pytest.raises(error, match=re.escape(str(reason))):
        launcher.submit("k1", make_order())
    assert idle_vertex.core.faults.counts() == {}


@pytest.mark.parametrize("status", [429, 500, 503, 504])
@pytest.mark.parametrize("method", [GET, LIST, CANCEL])
def test_a_passing_error_is_tried_again_by_who_asked(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, method: str, status: int
) -> None:
    """One request is one request: the client's own retry is off."""
    launcher = make_launcher(idle_vertex)
    job = launcher.submit("k1", make_order())
    idle_vertex.core.faults.forget()
    idle_vertex.core.faults.order(Fault(kind=method, status=status))
    calls: dict[str, Callable[[], object]] = {
        GET: lambda: launcher.report([job.job_name]),
        LIST: lambda: launcher.list({}, LONG_AGO),
        CANCEL: lambda: launcher.cancel(job.job_name),
    }
    with pytest.raises(TryAgain, match="Vertex AI could not"):
        calls[method]()
    assert idle_vertex.core.faults.counts() == {method: 1}
    calls[method]()


def test_a_service_that_is_not_there_is_tried_again(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """The connection is refused."""
    vertex = start_vertex(new_job_state=1)
    launcher = make_launcher(vertex, timeout_s=2.0)
    vertex.__exit__(None, None, None)
    with pytest.raises(TryAgain):
        launcher.list({}, LONG_AGO)


def test_grpc_to_a_plain_address_is_refused() -> None:
    """The client would only say that it is unavailable."""
    site = VertexSite(
        project_id="demo-project", region="us-central1", trainer_image="x", api_endpoint="http://localhost:1"
    )
    with pytest.raises(BadSetup, match="VERTEX_TRANSPORT=rest"):
        VertexLauncher(site)


@pytest.mark.parametrize("endpoint", ["", "https://aiplatform.example:443"])
def test_each_region_has_its_own_endpoint(endpoint: str) -> None:
    """Unless the settings name one for all."""
    site = VertexSite(project_id="demo-project", region="us-central1", trainer_image="x", api_endpoint=endpoint)
    launcher = VertexLauncher(site, credentials=AnonymousCredentials())
    asked = launcher._client("europe-west4").transport.host
    assert asked == (endpoint.removeprefix("https://") or "europe-west4-aiplatform.googleapis.com:443")
    launcher.close()
