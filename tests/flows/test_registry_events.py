"""The events of completed runs and of models, as a real Prefect server has them afterwards."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from prefect.client.orchestration import get_client

from flows.ingest import ingest
from flows.promote import promote
from flows.reconcile import RepairsFailed, reconcile
from flows.register import register
from flows.rollback import rollback
from flows.train import train
from switchyard.clients.connect import Outside
from switchyard.core.errors import JobFailed
from switchyard.services import announcing
from tests.flows.polling import wait_for
from tests.flows.test_registry import make_run

pytestmark = pytest.mark.usefixtures("prefect_server")


def read_events(resource: str) -> list[dict[str, Any]]:
    """What the server has kept of a resource, the oldest first."""
    path: Any = "/events/filter"
    asked = {"filter": {"resource": {"id_prefix": [resource]}, "order": "ASC"}, "limit": 50}
    with get_client(sync_client=True) as client:
        found = client.request("POST", path, json=asked).raise_for_status().json()["events"]
    return [event for event in found if event["resource"]["prefect.resource.id"] == resource]


def wait_for_event(resource: str, name: str) -> list[dict[str, Any]]:
    """All events of the resource, once one called `name` is there. The server keeps them in the order they came in."""
    wait_for(lambda: any(event["event"] == name for event in read_events(resource)), what=f"{name} of {resource}")
    return read_events(resource)


def test_a_model_s_events_arrive_once_each(outside: Outside, tmp_path: Path) -> None:
    """Registered, promoted and rolled back; the flows are run twice each, and the server keeps one event of each."""
    for number in (1, 2):
        run = make_run(outside, tmp_path, number)
        for _ in range(2):
            register(quick_test_id=run, name="told")
    promote(name="told", version=1)
    for _ in range(2):
        promote(name="told", version=2, expect="1", force=True, reason="new", request_key="second")
    for _ in range(2):
        rollback(name="told", request_key="back")
    found = wait_for_event("model.told", "model.rolled-back")
    digests = {version.version: version.digest for version in outside.models.list_versions("told")}
    assert [(event["event"], event["payload"]) for event in found] == [
        (name, {"name": "told", "version": version, "replaced": replaced, "seq": seq, "digest": digests[version]})
        for name, version, replaced, seq in (
            ("model.registered", 1, None, 1),
            ("model.registered", 2, None, 2),
            ("model.promoted", 1, None, 3),
            ("model.promoted", 2, 1, 5),
            ("model.rolled-back", 1, 2, 7),
        )
    ]


def test_a_completed_run_s_event_arrives_once_and_names_its_model(scripted: Outside) -> None:
    """With a label that an automation can match; publishing again sends the same event."""
    run = train(epochs=3, poll_interval_s=0.05, experiment="tea", register_as="shop").quick_test_id
    ingest(quick_test_id=run)
    plain = train(epochs=3, poll_interval_s=0.05).quick_test_id
    job, later = scripted.jobs.read_job(run), scripted.jobs.read_job(plain)
    assert job is not None
    assert later is not None
    # The server has events of other tests' runs, which have the same numbers; a key is of one job.
    wait_for(lambda: any(event["payload"]["key"] == later.key for event in read_events(f"training-run.{plain}")))
    found = [event for event in read_events(f"training-run.{run}") if event["payload"]["key"] == job.key]
    assert [event["payload"] for event in found] == [
        {"quick_test_id": run, "name": "", "experiment": "tea", "register_as": "shop", "key": job.key}
    ]
    labels = found[0]["resource"]
    assert (labels["switchyard.register-as"], labels["switchyard.experiment"]) == ("shop", "tea")


def test_a_run_that_names_no_model_has_no_label_of_one(scripted: Outside) -> None:
    """So that the automation starts nothing for it."""
    run = train(epochs=3, poll_interval_s=0.05).quick_test_id
    job = scripted.jobs.read_job(run)
    assert job is not None
    wait_for(lambda: any(e["payload"]["key"] == job.key for e in read_events(f"training-run.{run}")))
    [event] = [event for event in read_events(f"training-run.{run}") if event["payload"]["key"] == job.key]
    assert "switchyard.register-as" not in event["resource"]


def test_a_failed_run_has_no_event_of_its_completion(scripted: Outside) -> None:
    """Its job-ended event is all that is told of it."""
    with pytest.raises(JobFailed):
        train(epochs=3, poll_interval_s=0.05, name="exit:3")
    run = scripted.runs.list_runs(limit=1)[0].id
    wait_for_event(f"training-job.{run}", "training-job.failed")
    job = scripted.jobs.read_job(run)
    assert job is not None
    assert [e for e in read_events(f"training-run.{run}") if e["payload"]["key"] == job.key] == []


def test_a_completed_run_s_event_that_no_server_took_is_sent_later(
    scripted: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is completed all the same; reconcile tries again, ever more seldom, until a server takes it."""
    with monkeypatch.context() as away:
        # The flows' own server cannot be taken away from them: they would not run.
        away.setattr(announcing, "emit_run_completed", lambda *_, **__: False)
        run = train(epochs=3, poll_interval_s=0.05, register_as="late").quick_test_id
        with pytest.raises(
            RepairsFailed, match=rf"training-run\.completed of quick test {run} reached no Prefect server"
        ):
            reconcile()
        [line] = scripted.ledger.read_ledger("repair")
        assert (line.state, line.attempts) == ("failed", 1)
        assert reconcile().looked_at == 0  # it backs off
    scripted.ledger.write_ledger(msgspec.structs.replace(line, next_try_at=line.updated_at))
    assert reconcile().told == [run]
    job = scripted.jobs.read_job(run)
    assert job is not None
    wait_for(lambda: any(event["payload"]["key"] == job.key for event in read_events(f"training-run.{run}")))
    assert reconcile().looked_at == 0
