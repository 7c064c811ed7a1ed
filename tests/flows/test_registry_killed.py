"""Flows of the registry that are killed with SIGKILL between every two of their outside effects, and run again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL

from flows.ingest import ingest
from flows.promote import promote
from flows.reconcile import reconcile
from flows.register import register
from flows.rollback import rollback
from flows.train import train
from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.migrate import migrate
from switchyard.core.registry.rows import Promotion
from switchyard.core.runs.rows import RunStatus
from switchyard.services.registering import Ports, register_run
from tests.flows.polling import wait_for
from tests.flows.test_faults import wait_for_success, wire
from tests.flows.test_registry import make_run
from tests.flows.test_registry_events import read_events, wait_for_event

pytestmark = pytest.mark.usefixtures("prefect_server")

READS = ("list_odd", "read_range")
"""Before anything was read, and before a file is."""


def make_state(folder: Path, flow: str, effect: str, monkeypatch: pytest.MonkeyPatch) -> Outside:
    """A database and two runs with models, in the state in which `flow` is started.

    The model's name is of this kill alone, because all share one Prefect server.
    """
    own = folder / f"{flow}-{effect}"
    own.mkdir()
    monkeypatch.setenv("STATE_DIR", str(own / "state"))
    migrate(connect().settings)
    outside, name = connect(), f"{flow}-{effect}"
    (own / "more.json").write_text(json.dumps({"name": name}))
    ports = Ports(outside.runs, outside.jobs, outside.models, outside.objects)
    for number in (1, 2):
        make_run(outside, own, number)
        if flow != "register":
            register_run(ports, number, name)
    if flow != "register":
        outside.models.promote(Promotion(name=name, version=1, expected=None))
    if flow == "rollback":
        outside.models.promote(Promotion(name=name, version=2, expected=1, force=True, reason="new"))
    return outside


def kill(folder: Path, flow: str, effects: tuple[str, ...], **parameters: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.killed_registry", str(folder), flow, json.dumps(parameters), *effects],
        env=os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())},
        check=True,
        timeout=240,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [-signal.SIGKILL] * len(effects)


def look(outside: Outside, name: str) -> tuple[Any, ...]:
    return outside.models.list_models(), outside.models.list_versions(name), outside.models.list_transitions(name)


def test_register_is_killed_between_its_effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the version is written there is none of it; the flow that is run again registers once, and says so once."""
    effects = (*READS, "register", "emit_model_event")
    states = {effect: make_state(tmp_path, "register", effect, monkeypatch) for effect in effects}
    kill(tmp_path, "register", effects, quick_test_id=2)
    for effect, outside in states.items():
        name, is_written = f"register-{effect}", effect == "emit_model_event"
        assert [one.version for one in outside.models.list_versions(name)] == [1] * is_written
        assert len(outside.models.list_models()) == is_written
        monkeypatch.setenv("STATE_DIR", outside.settings.state_dir)
        assert read_events(f"model.{name}") == []
        made = register(quick_test_id=2, name=name)
        assert (made.version, made.is_new) == (1, not is_written)
        assert len(outside.models.list_transitions(name)) == 1
        assert len(wait_for_event(f"model.{name}", "model.registered")) == 1


@pytest.mark.parametrize(
    ("flow", "effects", "champion", "event"),
    [
        ("promote", (*READS, "promote", "emit_model_event"), 2, "model.promoted"),
        ("rollback", (*READS, "roll_back", "emit_model_event"), 1, "model.rolled-back"),
    ],
)
def test_promotion_and_rollback_are_killed_between_their_effects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: str, effects: tuple[str, ...], champion: int, event: str
) -> None:
    """Until the transaction the champion of before answers; the same request, sent again, is done and told once."""
    states = {effect: make_state(tmp_path, flow, effect, monkeypatch) for effect in effects}
    before = {effect: look(outside, f"{flow}-{effect}") for effect, outside in states.items()}
    wanted: dict[str, Any] = {"request_key": "once", "reason": "for the test"}
    if flow == "promote":
        wanted |= {"version": 2, "expect": "1", "force": True}
    kill(tmp_path, flow, effects, **wanted)
    run = {"promote": promote, "rollback": rollback}[flow]
    for effect, outside in states.items():
        name, is_written = f"{flow}-{effect}", effect == "emit_model_event"
        assert (look(outside, name) == before[effect]) is not is_written
        monkeypatch.setenv("STATE_DIR", outside.settings.state_dir)
        done = run(name=name, **wanted)
        assert (done.version, done.replaced, done.is_new) == (champion, 3 - champion, True)
        assert outside.models.read_model(name).production == champion
        assert [line.request_key for line in outside.models.list_transitions(name)].count("once") == 1
        assert len(outside.models.list_transitions(name)) == len(before[effect][2]) + 2
        assert len(wait_for_event(f"model.{name}", event)) == 1


def test_a_run_whose_flow_is_killed_before_its_event_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published, then killed: the job's end is still owed, and reconcile tells it.

    The ingest that this starts sends the event of the completed run, by which it is registered.
    """
    own = tmp_path / "ingest-emit_run_completed"
    own.mkdir()
    (own / "more.json").write_text("{}")
    monkeypatch.setenv("STATE_DIR", str(own / "state"))
    migrate(connect().settings)
    outside = wire(monkeypatch, own / "state")
    run = train(request_key="once", epochs=3, wait=False, register_as="killed").quick_test_id
    wait_for_success(outside)
    kill(tmp_path, "ingest", ("emit_run_completed",), quick_test_id=run)
    job = outside.jobs.read_job(run)
    assert outside.runs.read_run(run).status is RunStatus.COMPLETED
    assert job is not None
    assert job.ended_event_at is None

    def list_told() -> list[Any]:
        return [event for event in read_events(f"training-run.{run}") if event["payload"]["key"] == job.key]

    assert list_told() == []
    assert reconcile().announced == [run]
    ingest(quick_test_id=run)  # as ingest/on-job-ended does
    wait_for(list_told)  # other tests' runs of that number have told the server, too
    assert [event["payload"]["register_as"] for event in list_told()] == ["killed"]


def test_a_run_whose_ingest_is_killed_after_its_end_was_told_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconcile sends the event of the completed run later, and a server has it once.

    Reconcile told the job's end, and the ingest that this started published and was killed before that event, or before
    it noted the event.
    """
    effects = ("note_completed_event", "emit_run_completed")
    states: dict[str, Outside] = {}
    for effect in effects:
        own = tmp_path / f"ingest-{effect}"
        own.mkdir()
        (own / "more.json").write_text("{}")
        monkeypatch.setenv("STATE_DIR", str(own / "state"))
        migrate(connect().settings)
        states[effect] = wire(monkeypatch, own / "state")
        assert train(request_key="once", epochs=3, wait=False, register_as=effect).quick_test_id == 1
        wait_for_success(states[effect])
        assert reconcile(grace_s=3600).announced == [1]
    kill(tmp_path, "ingest", effects, quick_test_id=1)

    def list_told(effect: str) -> list[Any]:
        return [event for event in read_events("training-run.1") if event["payload"]["register_as"] == effect]

    wait_for(lambda: bool(list_told("note_completed_event")))
    assert list_told("emit_run_completed") == []
    for effect in effects:
        outside = wire(monkeypatch, tmp_path / f"ingest-{effect}" / "state")
        job = outside.jobs.read_job(1)
        assert outside.runs.read_run(1).status is RunStatus.COMPLETED
        assert job is not None
        assert (job.ended_event_at is None, job.completed_event_at) == (False, None)
        assert reconcile(grace_s=3600).told == []  # that ingest may still be at work
        assert reconcile().told == [1]
        noted = outside.jobs.read_job(1)
        assert noted is not None
        assert noted.completed_event_at is not None
        assert reconcile().looked_at == 0
    # The server keeps them in the order they came in: a second one of the first run would be there by now.
    wait_for(lambda: bool(list_told("emit_run_completed")))
    assert [len(list_told(effect)) for effect in effects] == [1, 1]
