"""The flows of `decommission`, and their command line, over a deployment in memory."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import tasks.decommission
from flows.__main__ import main, read_command
from flows.answers.decommission import DecommissionHeld
from flows.decommission_next import decommission_next
from flows.decommission_parameters import DecommissionNextParameters, DecommissionPlanParameters
from flows.decommission_plan import decommission_plan, to_rules, to_sought
from flows.decommission_record import decommission_record
from flows.decommission_status import decommission_status
from flows.decommission_undo import decommission_undo
from switchyard.clients.connect import Outside, connect
from switchyard.core.decommission.resources import Kind
from switchyard.core.decommission.states import State
from switchyard.core.errors import BadRequest, BadSetup, NotFound
from tests.core.decommission.world import NAMES, SERVICE
from tests.services.decommission_world import FakeEvidence, World

FLAGS = (
    *("--regions", "europe-west1", "--switched-at", "2026-11-01T00:00:00+01:00"),
    *("--services", "mlflow", "--instances", "mlflow-db", "--instances", "a-replica", "--triggers", "mlflow-push"),
    *("--buckets", "mlflow-artifacts", "--accounts", "mlflow@shop-1.iam.gserviceaccount.com"),
    *("--secrets", "mlflow-password", "--references", "mlflow-abc.a.run.app", "--controls", "run-service=serving"),
    *("--known-callers", "switchyard/*", "--by", "ann"),
)


@pytest.fixture(autouse=True)
def project(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings name it."""
    monkeypatch.setenv("GCP_PROJECT_ID", "shop-1")


@pytest.fixture
def world(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Google Cloud in memory, in the place of what would ask the real one; MLflow's evidence is right."""
    (tmp_path / "world").mkdir()
    made = World(tmp_path / "world")
    monkeypatch.setattr(Outside, "open_clouds", lambda _outside: made.clouds)
    # A drill takes a server of MLflow, which these tests have not.
    made.evidence = FakeEvidence(tasks.decommission.now)
    monkeypatch.setattr("tasks.decommission.OutsideEvidence", lambda *_given, **_more: made.evidence)
    yield made
    made.ports.close()


def parse(*flags: str) -> DecommissionPlanParameters:
    found = read_command(["decommission", "plan", *flags]).parameters
    assert isinstance(found, DecommissionPlanParameters)
    return found


def test_flags_say_what_is_sought_and_what_is_asked(outside: Outside) -> None:
    """With the settings' own places where none is given."""
    wanted = parse(*FLAGS, "--labels", "app=mlflow", "--quiet-again-days", "9", "--approvals", "2")
    sought = to_sought(wanted)
    assert (sought.project, sought.regions) == ("shop-1", ("europe-west1",))
    assert sought.names[Kind.SQL_INSTANCE] == ("mlflow-db", "a-replica")
    assert sought.labels == {"app": "mlflow"}
    assert sought.controls == {Kind.RUN_SERVICE: "serving"}
    rules = to_rules(wanted)
    assert (rules.quiet_again_days, rules.approvals, rules.known_callers) == (9, 2, ("switchyard/*",))
    assert rules.switched_at is not None
    assert rules.switched_at.utcoffset() is not None
    assert rules.export_uri == f"{connect().settings.artifacts_uri}/mlflow-export"
    assert rules.folder_uri == f"{connect().settings.artifacts_uri}/decommission"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--regions", "r"), "name what the deployment consists of"),
        (("--services", "mlflow"), "GCP_REGION"),
        (("--services", "m", "--regions", "r", "--labels", "app"), "key=value"),
        (("--services", "m", "--regions", "r", "--controls", "disk=x"), "run-service"),
    ],
)
def test_flags_that_say_too_little_are_refused(outside: Outside, flags: tuple[str, ...], said: str) -> None:
    """Before anything is asked."""
    with pytest.raises(BadRequest, match=said):
        to_sought(parse(*flags))


@pytest.mark.parametrize(
    "flags",
    [
        ("plan", "--switched-at", "2026-11-01"),
        ("plan", "--name", "Two Words"),
        ("next", "--confirm", "yes"),
        ("plan", "--export-uri", "/somewhere"),
        ("drop",),
        (),
    ],
)
def test_wrong_flags_end_with_2(flags: tuple[str, ...]) -> None:
    """And nothing is done."""
    assert main(["decommission", *flags]) == 2


def test_a_digest_may_be_typed_with_or_without_its_prefix() -> None:
    """Only whole."""
    digest = "0" * 64
    for given in (digest, f"sha256:{digest}"):
        found = read_command(["decommission", "next", "--confirm", given]).parameters
        assert isinstance(found, DecommissionNextParameters)
        assert found.confirm == given


def test_what_reads_google_cloud_is_asked_for_by_name(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the command that installs it is in the message."""
    monkeypatch.setitem(sys.modules, "switchyard.clients.google.decommission.opening", None)
    with pytest.raises(BadSetup, match="pip install"):
        outside.open_clouds()


def test_the_flows_walk_a_deployment_and_take_it_back(prefect_server: None, world: World) -> None:
    """Each says in words what it did; a gate that refuses fails its flow, and a record is written at any time."""
    given = msgspec.to_builtins(parse(*FLAGS))
    dry = decommission_plan(**{**given, "dry_run": True})
    assert dry.dry_run
    with pytest.raises(NotFound, match="decommission plan"):
        decommission_status()
    planned = decommission_plan(**given)
    assert planned.is_new
    assert planned.plan.digest == dry.plan.digest
    text = "\n".join(planned.lines)
    assert f"# run service {SERVICE}" in text
    assert f"Plan: 7 to stop, {sum(map(len, NAMES.values()))} to delete" in text
    world.evidence.planted["published"] = {"runs": ()}
    with pytest.raises(DecommissionHeld, match="3 completed runs are needed") as held:
        decommission_next(by="ann")
    with pytest.raises(DecommissionHeld, match="3 completed runs are needed"):
        decommission_next(by="ann", dry_run=True)
    world.evidence.planted.clear()
    assert decommission_next(by="ann", dry_run=True).lines[-1] == "A dry run: decommission mlflow stays 'inventory'."
    assert held.value.result.state is State.INVENTORY
    taken = decommission_next(by="ann")
    assert (taken.before, taken.state) == (State.INVENTORY, State.VERIFIED)
    with pytest.raises(DecommissionHeld, match=r"'verified' \(a dry run\). No evidence of drill"):
        decommission_next(by="ann", dry_run=True)
    status = decommission_status()
    assert (status.state, status.following, status.by) == (State.VERIFIED, State.EXPORTED, "ann")
    assert any(line.startswith("next       exported and drilled") for line in status.lines)
    assert decommission_undo(by="ann").state is State.UNDONE
    record = decommission_record()
    assert "MLflow of project shop-1: undone" in record.lines[0]
    written = [Path(file.removeprefix("file://")) for file in record.files]
    assert json.loads(written[1].read_bytes())["state"] == "undone"
    assert world.google.writes == []


def test_the_command_line_prints_words_or_one_json_line(
    prefect_server: None, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with 1 where a gate refuses."""
    assert main(["decommission", "plan", *FLAGS]) == 0
    assert "Plan: 7 to stop" in capsys.readouterr().out
    assert main(["decommission", "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["following"]) == ("inventory", "verified")
    assert main(["decommission", "undo", "--by", "ann"]) == 0
    capsys.readouterr()
    assert main(["decommission", "next", "--by", "ann"]) == 1
    assert "decommission next failed: This decommission was undone" in capsys.readouterr().err
