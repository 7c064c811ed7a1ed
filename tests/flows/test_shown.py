"""What Prefect's UI shows of flow runs: their names, and one progress artifact each that is updated."""

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import flow, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import Artifact
from rich.console import Console

from flows.backfill import backfill
from flows.cancel import cancel
from flows.export import export
from flows.fill import fill
from flows.ingest import ingest
from flows.progress import batches
from flows.progress.batches import Watch
from flows.reconcile import reconcile
from flows.recover import recover
from flows.restore import restore
from flows.terminal import FlowLog
from flows.train import train
from flows.verify import verify
from switchyard.clients.connect import Outside
from switchyard.core.errors import SwitchyardError
from switchyard.core.mlflow.export import Moved
from switchyard.core.runs.jobs import Progress
from switchyard.core.runs.rows import RunStatus
from tasks.show import BatchProgress, StoreProgress, TrainingProgress, name_flow_run

pytestmark = pytest.mark.usefixtures("prefect_server")


def count_named(name: str) -> int:
    """The server's flow runs of this name; other tests' are among them."""
    with get_client(sync_client=True) as client:
        return len(client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name]))))


def test_a_training_is_named_by_its_run(scripted: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id is known once the row is there; one request gives the name."""
    names = []
    really = SyncPrefectClient.set_flow_run_name

    def count(client: SyncPrefectClient, flow_run_id: UUID, name: str) -> Any:
        names.append(name)
        return really(client, flow_run_id, name)

    # Prefect's client has no count of its requests.
    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_name", count)
    before = count_named("train quick-test-1")
    assert train(poll_interval_s=0.05, epochs=3).quick_test_id == 1
    assert names == ["train quick-test-1"]
    assert count_named("train quick-test-1") == before + 1


CALLS: list[tuple[Callable[..., Any], dict[str, object], str]] = [
    (ingest, {"quick_test_id": 4711}, "ingest quick-test-4711"),
    (cancel, {"quick_test_id": 4711}, "cancel quick-test-4711"),
    (recover, {"quick_test_id": 4711}, "recover quick-test-4711"),
    (reconcile, {}, "reconcile"),
    (backfill, {}, "backfill"),
    (fill, {}, "fill"),
    (verify, {}, "verify"),
    (verify, {"quick_test_id": 4711}, "verify quick-test-4711"),
    (export, {}, "export"),
    (restore, {}, "restore"),
]


@pytest.mark.parametrize(("call", "parameters", "name"), CALLS, ids=[name for _, _, name in CALLS])
def test_every_flow_run_says_what_it_does(
    outside: Outside, call: Callable[..., Any], parameters: dict[str, object], name: str
) -> None:
    """Its flow, and the run that it is about; one that fails has its name too."""
    before = count_named(name)
    with suppress(SwitchyardError):  # no such run, no MLflow: it is the name that counts
        call(**parameters)
    assert count_named(name) == before + 1


def test_a_name_that_is_not_taken_fails_no_run(scripted: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training goes on under Prefect's own name, and its log says so."""

    def refuse(client: SyncPrefectClient, flow_run_id: UUID, name: str) -> Any:
        raise httpx.ConnectError("the server is away")

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_name", refuse)
    before = count_named("train quick-test-1")
    shown = io.StringIO()
    with FlowLog(Console(file=shown, width=300)):
        assert train(poll_interval_s=0.05, epochs=3).status is RunStatus.COMPLETED
    assert count_named("train quick-test-1") == before
    assert "quick test 1 trains in" in shown.getvalue()


def test_outside_of_a_flow_run_nothing_is_named() -> None:
    """A flow's function that is called plainly asks no server."""
    name_flow_run("nothing")
    assert count_named("nothing") == 0


def read_artifacts(flow_run_id: str) -> list[Artifact]:
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
        return client.read_artifacts(artifact_filter=mine)


def show_training() -> None:
    artifact = TrainingProgress(7)
    for done in (1, 2, 3):
        artifact.show(Progress(epochs_done=done, epochs_asked=4))


def show_batches() -> None:
    counts = [1, 2, 3]
    watch = Watch("verify", 4, lambda: counts.pop(0), BatchProgress("verify", "compared").show)
    for _ in range(3):
        watch.look()


def show_store() -> None:
    artifact = StoreProgress("export-progress")
    for done in (25, 50, 75):
        artifact.show(Moved(stage="exporting", table="metrics", done=done, rows=100))


@pytest.mark.parametrize(
    ("show", "key", "said"),
    [
        (show_training, "quick-test-7-progress", "3 of 4 epochs trained"),
        (show_batches, "verify-progress", "3 of 4 runs compared"),
        (show_store, "export-progress", "exporting metrics: 75 of 100 rows"),
    ],
)
def test_progress_is_one_artifact_that_is_updated(
    show: Callable[[], None], key: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three reports leave one artifact, which says the last of them."""
    monkeypatch.setattr(batches, "SHOW_S", -1.0)

    @flow
    def reports() -> str:
        show()
        return str(runtime.flow_run.id)

    (artifact,) = read_artifacts(reports())
    assert (artifact.type, artifact.key, artifact.description) == ("progress", key, said)
    assert float(str(artifact.data)) == 75.0


def test_a_progress_that_somebody_deleted_is_made_again() -> None:
    """In Prefect's UI each artifact can be deleted, at any time."""

    @flow
    def reports() -> str:
        id_ = str(runtime.flow_run.id)
        artifact = TrainingProgress(8)
        artifact.show(Progress(epochs_done=1, epochs_asked=4))
        (made,) = read_artifacts(id_)
        with get_client(sync_client=True) as client:
            client.delete_artifact(made.id)
        artifact.show(Progress(epochs_done=2, epochs_asked=4))
        return id_

    (artifact,) = read_artifacts(reports())
    assert artifact.description == "2 of 4 epochs trained"
