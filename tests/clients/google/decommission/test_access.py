"""Who asks Google and where, what stops at the border, and what a missing package is."""

import sys
import threading
from collections.abc import Callable

import pytest
from google.auth.credentials import AnonymousCredentials

from switchyard.clients.google.decommission.access import Access, Api, open_access, wait
from switchyard.clients.google.decommission.errors import to_error
from switchyard.clients.google.decommission.opening import open_clouds, open_kinds
from switchyard.clients.settings import read_settings
from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.resources import Kind, Progress
from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain
from tests.clients.google.decommission.cases import ACCOUNT, INSTANCE
from tests.emulators.faults import Fault
from tests.emulators.google.project import Project

DENIED = {"message": "Permission 'run.services.get' denied on resource 'x' (or it may not exist)."}


@pytest.mark.parametrize(
    ("code", "body", "expected", "said"),
    [
        (403, DENIED, BadSetup, "the permission run.services.get is missing"),
        (403, {"message": "The caller does not have permission"}, BadSetup, "the permission a.b.c is missing"),
        (403, {"message": "no", "errors": [{"reason": "rateLimitExceeded"}]}, TryAgain, "403"),
        (403, {"message": "no", "details": [{"reason": "SERVICE_DISABLED"}]}, BadSetup, "gcloud services enable"),
        (403, {"message": "Object 'x' is under active Temporary hold"}, BadRequest, "holds it"),
        (401, {"message": "expired"}, BadSetup, "credentials are not valid"),
        (404, {"message": "no such"}, NotFound, "is not there"),
        (409, {"message": "x", "errors": [{"reason": "operationInProgress"}]}, TryAgain, "under way"),
        (409, {"message": "There were concurrent policy changes."}, TryAgain, "under way"),
        (409, {"message": "already exists"}, StaleWrite, "it changed since it was read"),
        (412, {"message": "Condition does not match."}, StaleWrite, "it changed since it was read"),
        (400, {"message": "The etag of the resource does not match"}, StaleWrite, "it changed since it was read"),
        (400, {"message": "The instance is protected"}, BadRequest, "refused it with 400"),
        (429, {"message": "slow down"}, TryAgain, "429"),
        (500, {}, TryAgain, "status 500"),
        (503, {"message": "later"}, TryAgain, "503"),
    ],
)
def test_each_answer_is_one_error_of_ours(
    code: int, body: dict[str, object], expected: type[SwitchyardError], said: str
) -> None:
    """By what the caller does next; a 403 is never "gone"."""
    err = to_error(code, body, "stop", "projects/p/x", "a.b.c")
    assert type(err) is expected
    assert said in str(err)
    assert "projects/p/x" in str(err)


def test_a_lost_reply_is_not_sent_again(project: Project, access: Access) -> None:
    """httplib2 would, for it takes the connection for an old one: the act would be done twice."""
    project.world.faults.order(Fault(kind="iam.*.delete", broken=True, after=True))
    with pytest.raises(TryAgain, match="connection"):
        Api(access, "iam", "v1").call(
            lambda client: client.projects().serviceAccounts().delete(name=ACCOUNT),
            action="delete",
            where=ACCOUNT,
            permission="iam.serviceAccounts.delete",
        )
    assert [call.method.id for call in project.world.log] == ["iam.projects.serviceAccounts.delete"]


def test_nothing_listens_there() -> None:
    """TryAgain, with the place."""
    cloud = open_kinds("acme-ml", open_access(endpoint="http://127.0.0.1:9"), kinds=[Kind.SQL_INSTANCE])
    with pytest.raises(TryAgain, match="projects/acme-ml/instances/mlflow-db"):
        cloud[Kind.SQL_INSTANCE].describe(INSTANCE)


def test_an_answer_that_is_not_google_s_is_told(project: Project, access: Access) -> None:
    """A proxy's page in place of JSON."""
    err = to_error(502, {"message": "<html>Bad gateway"}, "read", "x", "")
    assert "<html>" in str(err)


def test_one_setting_moves_all_addresses(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """And sends no one's name there; another machine by plain http is refused."""
    assert isinstance(access.credentials, AnonymousCredentials)
    assert set(open_kinds("p", access, kinds=[kind for kind in Kind if kind is not Kind.RUN_SERVICE])) == set(Kind) - {
        Kind.RUN_SERVICE
    }
    with pytest.raises(BadSetup, match="https"):
        open_access(endpoint="http://example.com")
    assert "credentials" not in repr(access)


@pytest.mark.needs_google_run
def test_all_is_opened_from_the_settings(project: Project, access: Access) -> None:
    """A `Cloud` for each kind, who uses it and what it costs; without a project, what to set."""
    settings = read_settings({"GCP_PROJECT_ID": "acme-ml", "GOOGLE_APIS_ENDPOINT": access.endpoint})
    clouds = open_clouds(settings)
    assert list(clouds.kinds) == list(Kind)
    assert all(cloud.kind is kind for kind, cloud in clouds.kinds.items())
    assert clouds.kinds[Kind.SQL_INSTANCE].describe(INSTANCE).name == INSTANCE
    with pytest.raises(BadSetup, match="no billing export is named"):
        clouds.costs.read([], project.world.start, project.world.now)
    with pytest.raises(BadSetup, match="GCP_PROJECT_ID="):
        open_clouds(read_settings({}))


def test_no_identity_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """What to set, or to run."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path) + "/none.json")
    with pytest.raises(BadSetup, match="gcloud auth application-default login"):
        open_access()


def test_a_missing_package_is_told_with_the_command(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Cloud Run services need google-cloud-run."""
    monkeypatch.setitem(sys.modules, "google.cloud.run_v2", None)
    with pytest.raises(BadSetup, match="pip install"):
        open_kinds("acme-ml", access)


def test_an_adapter_may_be_shared_by_threads(project: Project, open_cloud: Callable[[Kind], Cloud]) -> None:
    """httplib2's connection may not: each call has its own."""
    cloud = open_cloud(Kind.SERVICE_ACCOUNT)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(cloud.describe(ACCOUNT).name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [ACCOUNT] * 8


def test_an_operation_is_waited_for_and_not_for_ever() -> None:
    """A failed one, and one that takes too long, are TryAgain."""
    looks = iter([Progress(done=False), Progress(done=True)])
    pauses: list[float] = []
    wait(lambda: next(looks), "it", pause=pauses.append, patience_s=10)
    assert pauses == [2.0]
    with pytest.raises(TryAgain, match="broke"):
        wait(lambda: Progress(done=True, problem="broke"), "it", pause=pauses.append, patience_s=10)
    with pytest.raises(TryAgain, match="not over after 4 s"):
        wait(lambda: Progress(done=False), "it", pause=pauses.append, patience_s=4)
