"""The flows of the registry: register, promote, rollback, as a person runs them."""

from pathlib import Path
from typing import Any

import pytest

import switchyard.services.announcing
from flows.__main__ import read_command
from flows.promote import promote
from flows.register import register
from flows.registry_parameters import PromoteParameters, RegisterParameters, RollbackParameters
from flows.rollback import rollback
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRecord, BadRequest, StaleWrite
from switchyard.core.registry.rows import Outcome, Promotion
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, NewRun, RunStatus
from tests.clients.results.places import NOW, publication

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What was announced; Prefect's server keeps events where no client can ask for them at once."""
    seen: list[tuple[str, int, int]] = []

    def emit(outcome: Outcome, database_id: str, *, digest: str) -> bool:
        assert database_id
        assert digest.startswith("sha256:")
        seen.append((str(outcome.act), outcome.version, outcome.seq))
        return True

    monkeypatch.setattr(switchyard.services.announcing, "emit_model_event", emit)
    return seen


def make_run(outside: Outside, folder: Path, number: int) -> int:
    run = outside.runs.create_run(NewRun(request_key=f"run {folder} {number}"), now=NOW).id
    uri = (folder / str(number)).as_uri()
    job = outside.jobs.claim_job(
        Claim(quick_test_id=run, request_key=f"claim {folder} {number}", artifacts_uri=uri), now=NOW
    ).job
    outside.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    outside.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    (folder / str(number) / "embeddings").mkdir(parents=True)
    (folder / str(number) / "embeddings" / "e.npy").write_bytes(b"e" * number)
    return run


def test_model_is_registered_promoted_and_taken_back(
    outside: Outside, tmp_path: Path, events: list[tuple[str, int, int]]
) -> None:
    """Each is announced; a second call of each changes nothing."""
    for number in (1, 2):
        run = make_run(outside, tmp_path, number)
        made = register(quick_test_id=run, name="shop")
        assert (made.version, made.stage, made.is_new) == (number, "None", True)
        assert not register(quick_test_id=run, name="shop").is_new
    assert events == [("registered", 1, 1), ("registered", 1, 1), ("registered", 2, 2), ("registered", 2, 2)]
    events.clear()
    assert promote(name="shop", version=1).replaced is None
    with pytest.raises(BadRequest, match="was not compared with the champion, version 1"):
        promote(name="shop", version=2, expect="1")
    given: dict[str, Any] = {"force": True, "reason": "the first of its kind", "by": "ann"}
    second = promote(name="shop", version=2, expect="1", request_key="once", **given)
    assert (second.version, second.replaced, second.is_new) == (2, 1, True)
    assert promote(name="shop", version=2, expect="1", request_key="once", **given) == second
    with pytest.raises(StaleWrite, match=r"version 2 is in Production of model shop since .* \(promoted by ann\)"):
        rollback(name="shop", expect="1")
    back = rollback(name="shop", request_key="back", reason="no answers")
    assert (back.version, back.replaced) == (1, 2)
    assert rollback(name="shop", request_key="back", reason="no answers") == back
    with pytest.raises(BadRequest, match="--to"):
        rollback(name="shop")
    assert rollback(name="shop", to=2).version == 2
    assert [act for act, *_ in events] == [
        "promoted",
        "promoted",
        "promoted",
        "rolled back",
        "rolled back",
        "rolled back",
    ]
    assert events[1] == events[2]
    assert [line.seq for line in outside.models.list_transitions("shop")] == list(range(1, 10))


def test_rollback_to_files_that_have_changed_touches_nothing(outside: Outside, tmp_path: Path) -> None:
    """The bad champion answers on, and the file is named; the same before a promotion."""
    for number in (1, 2, 3):
        register(quick_test_id=make_run(outside, tmp_path, number), name="shop")
    promote(name="shop", version=1)
    promote(name="shop", version=2, expect="1", force=True, reason="why not")
    before = outside.models.read_model("shop"), outside.models.list_transitions("shop")
    for number in (1, 3):
        (tmp_path / str(number) / "embeddings" / "e.npy").write_bytes(b"f" * number)
    with pytest.raises(BadRecord, match=r"'embeddings/e\.npy' must have sha256"):
        rollback(name="shop")
    with pytest.raises(BadRecord, match=r"'embeddings/e\.npy' must have sha256"):
        promote(name="shop", version=3, expect="2", force=True, reason="why not")
    assert (outside.models.read_model("shop"), outside.models.list_transitions("shop")) == before


def test_promotion_that_was_killed_before_its_event_sends_it_when_run_again(
    outside: Outside, tmp_path: Path, events: list[tuple[str, int, int]]
) -> None:
    """The transaction was done; the flow that is run again finds that, and says so."""
    register(quick_test_id=make_run(outside, tmp_path, 1), name="shop")
    events.clear()
    done = outside.models.promote(Promotion(name="shop", version=1, expected=None, request_key="flow run"))
    again = promote(name="shop", version=1, request_key="flow run")
    assert (again.seq, again.is_new) == (done.seq, True)
    assert events == [("promoted", 1, 2)]
    assert len(outside.models.list_transitions("shop")) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["register", "12"], RegisterParameters(quick_test_id=12)),
        (["register", "12", "--name", "shop"], RegisterParameters(quick_test_id=12, name="shop")),
        (["promote", "shop", "7", "--expect", "5"], PromoteParameters(name="shop", version=7, expect="5")),
        (["promote", "--name=shop", "--version=7"], PromoteParameters(name="shop", version=7)),
        (["rollback", "shop"], RollbackParameters(name="shop")),
        (["rollback", "shop", "--to", "3"], RollbackParameters(name="shop", to=3)),
    ],
)
def test_commands_of_the_registry(arguments: list[str], expected: object) -> None:
    """As a person types them."""
    assert read_command(arguments).parameters == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["promote", "shop"],
        ["promote", "shop", "x"],
        ["promote", "a/b", "1"],
        ["promote", "shop", "1", "--name", "other"],
        ["promote", "shop", "1", "--expect", "-1"],
        ["rollback"],
    ],
)
def test_odd_commands_of_the_registry_are_refused(arguments: list[str]) -> None:
    """Before anything is asked."""
    with pytest.raises(BadRequest):
        read_command(arguments)
