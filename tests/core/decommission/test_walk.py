"""The states, the acts in their order, the inventory, and what people read of them."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from switchyard.core.decommission.evidence import to_json as evidence_to_json
from switchyard.core.decommission.inventory import (
    find_folder_problem,
    list_newer,
    read_inventory,
    to_inventory_uri,
    to_json,
)
from switchyard.core.decommission.order import Act, list_deletions, list_open_guards, list_stops, list_undo
from switchyard.core.decommission.plan import to_plan, to_text
from switchyard.core.decommission.progress import Progress, Proof, find_surprise
from switchyard.core.decommission.record import to_json as record_to_json
from switchyard.core.decommission.record import to_markdown, to_record
from switchyard.core.decommission.resources import Activity, Cost, Found, Kind, Resource
from switchyard.core.decommission.rows import Step, Walk
from switchyard.core.decommission.states import MOVES, State, next_state
from switchyard.core.errors import BadRecord, BadRequest, NotFound
from tests.core.decommission.world import (
    ACCOUNT,
    BINDING,
    BUCKET,
    DIGEST,
    INSTANCE,
    INVENTORY,
    NOW,
    REPLICA,
    RULES,
    SECRET,
    SERVICE,
    TRIGGER,
    VARIABLE,
    make_evidence,
    make_resource,
)


def test_the_states_follow_one_another() -> None:
    """From the inventory to the bill; an undone walk begins again."""
    seen, state = [], State.INVENTORY
    while (following := next_state(state)) is not None:
        seen.append(following)
        state = following
    assert seen == list(MOVES) == [state for state in State if state not in (State.INVENTORY, State.UNDONE)]
    with pytest.raises(BadRequest, match="plan"):
        next_state(State.UNDONE)


def test_only_three_states_act_and_only_after_their_gates() -> None:
    """The soft stop looks at all that needs MLflow, the deletion at who approved; the sweep is of what is empty."""
    acting = {state: move.acts for state, move in MOVES.items() if move.acts != "nothing"}
    assert acting == {State.SOFT_STOPPED: "stop", State.DELETING: "delete", State.COST_CHECKED: "sweep"}
    assert {"inventory", "verify", "export", "drill", "quiet"} <= set(MOVES[State.SOFT_STOPPED].needs)
    assert {"inventory", "stop", "use", "approval"} <= set(MOVES[State.DELETING].needs)


def test_all_is_prepared_before_anything_is_stopped_and_the_account_is_last() -> None:
    """The service runs by the account, and a backup needs the instance at work."""
    acts = [(act.verb, act.resource) for act in list_stops(INVENTORY)]
    assert acts == [
        ("prepare", INSTANCE),
        ("prepare", SECRET),
        ("prepare", BUCKET),
        ("stop", TRIGGER),
        ("stop", VARIABLE),
        ("stop", SERVICE),
        ("stop", REPLICA),
        ("stop", INSTANCE),
        ("stop", SECRET),
        ("stop", ACCOUNT),
    ]


def test_children_are_deleted_before_their_parents() -> None:
    """Bindings before the account and the bucket, replicas before their instance."""
    names = [act.resource for act in list_deletions(INVENTORY)]
    assert names == [
        VARIABLE,
        BINDING,
        f"{BUCKET}#roles/storage.objectAdmin",
        TRIGGER,
        SERVICE,
        SECRET,
        REPLICA,
        INSTANCE,
        BUCKET,
        ACCOUNT,
    ]
    assert sorted(names) == sorted(one.name for one in INVENTORY.resources)


def test_undo_goes_back_the_way_that_was_gone() -> None:
    """What was deleted is brought back first, the last one first; then what was stopped is started."""
    begun = [*list_stops(INVENTORY)[3:], *list_deletions(INVENTORY)[:5]]
    undone = [(act.verb, act.resource) for act in list_undo(begun)]
    assert undone == [
        ("recover", SERVICE),
        ("recover", TRIGGER),
        ("recover", f"{BUCKET}#roles/storage.objectAdmin"),
        ("recover", BINDING),
        ("recover", VARIABLE),
        ("start", ACCOUNT),
        ("start", SECRET),
        ("start", INSTANCE),
        ("start", REPLICA),
        ("start", SERVICE),
        ("start", VARIABLE),
        ("start", TRIGGER),
    ]
    assert list_undo(list_stops(INVENTORY)[:3]) == ()


def test_a_replica_that_goes_first_is_no_guard() -> None:
    """One that stays is, and so is any other guard."""
    instance = INVENTORY.read(INSTANCE)
    assert list_open_guards(instance, INVENTORY) == ()
    other = msgspec.structs.replace(instance, description={"replicaNames": ["elsewhere"]})
    assert list_open_guards(other, INVENTORY) == instance.guards
    protected = msgspec.structs.replace(instance, guards=(*instance.guards, "It is protected."))
    assert list_open_guards(protected, INVENTORY) == ("It is protected.",)


def test_an_inventory_is_read_as_it_was_saved() -> None:
    """By its digest; a changed one is refused."""
    data = to_json(INVENTORY)
    assert read_inventory(data, "here", digest=DIGEST) == INVENTORY
    with pytest.raises(BadRecord, match="it was changed"):
        read_inventory(data.replace(b"mlflow-db", b"other-db"), "here", digest=DIGEST)
    assert to_inventory_uri("gs://b/f/", DIGEST) == f"gs://b/f/inventory-{DIGEST[7:]}.json"
    with pytest.raises(NotFound):
        INVENTORY.read("projects/other")


def test_what_must_outlive_the_deletion_is_not_kept_in_a_bucket_that_is_deleted() -> None:
    """The export and the inventory would go with it."""
    assert "mlflow-artifacts" in find_folder_problem(INVENTORY, "gs://mlflow-artifacts/export", "export")
    assert find_folder_problem(INVENTORY, "gs://mlflow-artifacts-2/export", "export") == ""
    assert find_folder_problem(INVENTORY, "file:///export", "export") == ""


def test_only_objects_of_a_bucket_that_came_since_are_newer() -> None:
    """A new version of an old name too; what is gone is not."""
    saved, objects = INVENTORY.read(BUCKET), [{"name": "a", "generation": "1"}, {"name": "b", "generation": "2"}]
    saved = msgspec.structs.replace(saved, parts={"objects": objects})
    assert list_newer(saved, msgspec.structs.replace(saved, parts={"objects": objects[:1]})) == ()
    more = [*objects, {"name": "a", "generation": "3"}, {"name": "c", "generation": "4"}]
    assert list_newer(saved, msgspec.structs.replace(saved, parts={"objects": more})) == ("a", "c")
    assert list_newer(INVENTORY.read(SERVICE), saved) == ()


def step(seq: int, act: str, outcome: Any, resource: str = SERVICE, **more: Any) -> Step:
    return Step(
        seq=seq,
        walk=1,
        state=State.SOFT_STOPPED,
        resource=resource,
        act=act,
        outcome=outcome,
        by="ann",
        at=NOW + timedelta(seconds=seq),
        **more,
    )


STOP = Act(verb="stop", kind=Kind.RUN_SERVICE, resource=SERVICE)
SWEEP = Act(verb="sweep", kind=Kind.RUN_SERVICE, resource=SERVICE)
DELETE = Act(verb="delete", kind=Kind.RUN_SERVICE, resource=SERVICE)


def test_the_steps_say_how_far_an_act_is() -> None:
    """Noted before it, named while it runs, done once it is read back, with the version that it left."""
    proof = msgspec.json.encode(Proof(left={SERVICE: "v2", VARIABLE: "v7"})).decode()
    steps = [
        step(1, "stop", "begun"),
        step(2, "stop", "running", operation="operations/1"),
        step(3, "stop", "done", proof=proof),
    ]
    states = [Progress(INVENTORY, steps[:count]).read(STOP).state for count in range(4)]
    assert states == ["open", "begun", "running", "done"]
    done = Progress(INVENTORY, steps)
    assert (done.expected_version(SERVICE), done.expected_version(VARIABLE)) == ("v2", "v7")
    assert Progress(INVENTORY, []).expected_version(SERVICE) == "v1"
    assert done.operations == ["operations/1"]
    assert done.has_acted
    assert not done.has_undone
    failed = Progress(INVENTORY, [*steps[:2], step(3, "stop", "stopped")])
    assert failed.read(STOP).state == "begun"


SAVED = make_resource(Kind.RUN_SERVICE, SERVICE)


@pytest.mark.parametrize(
    ("act", "steps", "fresh", "said"),
    [
        (STOP, [], SAVED, ""),
        (STOP, [], None, "is gone"),
        (STOP, [], msgspec.structs.replace(SAVED, version="v9"), "was changed by someone"),
        (STOP, [], msgspec.structs.replace(SAVED, unique_id="another"), "is another one"),
        (STOP, [], msgspec.structs.replace(SAVED, managed_by="terraform"), "managed by terraform now"),
        (STOP, [step(1, "stop", "begun")], msgspec.structs.replace(SAVED, version="v9"), ""),
        (STOP, [step(1, "stop", "begun")], msgspec.structs.replace(SAVED, unique_id="another"), "is another one"),
        (DELETE, [], None, "is gone"),
        (DELETE, [], msgspec.structs.replace(SAVED, activity=Activity.DELETED), "is gone"),
        (DELETE, [step(1, "delete", "begun")], None, ""),
        (DELETE, [step(1, "delete", "begun")], msgspec.structs.replace(SAVED, version="v9"), "was changed by"),
        (SWEEP, [], None, ""),
        (SWEEP, [], msgspec.structs.replace(SAVED, activity=Activity.DELETED), ""),
        (SWEEP, [], SAVED, "is in use again"),
        (SWEEP, [], msgspec.structs.replace(SAVED, activity=Activity.DELETED, version="v9"), "was changed by"),
        (SWEEP, [], msgspec.structs.replace(SAVED, activity=Activity.DELETED, unique_id="another"), "is another one"),
    ],
)
def test_what_nobody_expected_is_named(act: Act, steps: list[Step], fresh: Resource | None, said: str) -> None:
    """Half an effect of our own is expected; of a deletion only its whole effect is."""
    found = find_surprise(act, Progress(INVENTORY, steps), SAVED, fresh)
    assert said in found
    assert bool(said) == bool(found)


def test_a_variable_that_was_taken_away_is_stopped_and_later_deleted() -> None:
    """It has no half: the service runs without it."""
    variable = make_resource(Kind.VARIABLE, VARIABLE)
    delete = Act(verb="delete", kind=Kind.VARIABLE, resource=VARIABLE)
    taken = Progress(INVENTORY, [step(1, "stop", "begun", VARIABLE), step(2, "stop", "done", VARIABLE)])
    assert find_surprise(delete, taken, variable, None) == ""
    assert "is gone" in find_surprise(delete, Progress(INVENTORY, []), variable, None)


def test_the_plan_says_of_each_resource_what_is_done_and_how_it_comes_back() -> None:
    """With its cost, its guards, and the change to make where Terraform owns it."""
    managed = msgspec.structs.replace(make_resource(Kind.BUCKET, BUCKET), managed_by="terraform", guards=("Held.",))
    found = tuple(
        msgspec.structs.replace(one, resources=(managed,)) if one.kind is Kind.BUCKET else one
        for one in INVENTORY.found
    )
    inventory = msgspec.structs.replace(INVENTORY, found=found)
    plan = to_plan(inventory, RULES, [Cost(resource=SERVICE, amount=12.3, currency="EUR")])
    text = to_text(plan)
    for said in (
        f"# run service {SERVICE}",
        "~ stop     0 instances",
        "back: never by Google Cloud; undo deploys it again",
        "cost     12.30 EUR in the last 30 days",
        "! guard    Held.",
        "! managed  bucket",
        "terraform state rm",
        "Plan: 7 to stop, 10 to delete, 1 held",
        inventory.digest,
    ):
        assert said in text
    assert {line.name for line in plan.lines} == {one.name for one in inventory.resources}


def test_the_plan_says_how_long_this_instances_final_backup_is_kept() -> None:
    """As its own settings say, where that is longer than ours."""
    for days, said in ((365, 365), (7, 30)):
        settings = {"settings": {"finalBackupConfig": {"enabled": True, "retentionDays": days}}}
        instance = msgspec.structs.replace(make_resource(Kind.SQL_INSTANCE, INSTANCE), description=settings)
        found = Found(kind=Kind.SQL_INSTANCE, resources=(instance,), listed=1, places=("global",))
        (line,) = to_plan(msgspec.structs.replace(INVENTORY, found=(found,)), RULES).lines
        assert line.back.startswith(f"for {said} days")


WALK = Walk(name="mlflow", walk=1, state=State.GONE, since=NOW, by="ann", inventory=DIGEST, rules=RULES, revision=9)


def test_the_record_says_what_when_by_whom_and_what_is_saved() -> None:
    """The same facts in Markdown and in JSON."""
    evidence = evidence_to_json({"approval": make_evidence()["approval"]})
    steps = [
        step(1, "gate", "passed", "", evidence=evidence),
        step(2, "delete", "begun"),
        step(3, "delete", "running", operation="operations/7"),
        step(4, "delete", "done", proof="{}"),
        step(5, "stop", "stopped", INSTANCE, proof='{"why": "a | b"}'),
    ]
    costs = [Cost(resource=SERVICE, amount=30.0, currency="EUR"), Cost(resource=BUCKET, amount=9.0, currency="EUR")]
    record = to_record(WALK, INVENTORY, "gs://kept/i.json", steps, costs, 30, NOW)
    assert record.approved_by == ("ann (typed)",)
    assert record.saved_a_year == (("EUR", 365.0),)
    became = {one.name: one.became for one in record.resources}
    assert became[SERVICE].startswith("deleted 2026-11-20")
    assert became[BUCKET] == "untouched"
    found = msgspec.json.decode(record_to_json(record))
    assert found["steps"][2]["operation"] == "operations/7"
    assert found["steps"][0]["evidence"]["approval"]["approvers"][0]["who"] == "ann"
    text = to_markdown(record)
    for said in (
        "Approved by: ann (typed)",
        "operations/7",
        "365.00 EUR a year",
        DIGEST,
        "| 2026-11-20 12:00 UTC | ann",
    ):
        assert said in text
    unknown = to_markdown(to_record(WALK, INVENTORY, "gs://kept/i.json", steps, [], 30, NOW))
    assert "Not known: no billing export" in unknown
