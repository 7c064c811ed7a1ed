"""Which evidence passes which gate."""

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from switchyard.core.decommission.evidence import (
    Approver,
    EvidenceSet,
    FoundNow,
    KeptKind,
    PublishedRun,
    from_json,
    to_evidence_digest,
    to_json,
)
from switchyard.core.decommission.gates import check, check_account_wait
from switchyard.core.decommission.inventory import list_billed
from switchyard.core.decommission.resources import Activity, Caller, Cost, Kept, Kind
from switchyard.core.decommission.rules import Rules, check_known_callers, is_known, to_approved_digest
from switchyard.core.decommission.states import MOVES, State
from switchyard.core.errors import BadRequest
from tests.core.decommission.world import (
    BACKUP,
    BUCKET,
    CONTROL,
    DIGEST,
    FINAL,
    INSTANCE,
    INVENTORY,
    NOW,
    RULES,
    SECRET,
    SERVICE,
    STOPPED_AT,
    SWITCHED,
    change,
    make_against,
    make_evidence,
    make_now,
)

LATER = Kept(what="version 1", state="DISABLED", until=NOW + timedelta(days=1))
BACK = Kept(what="version 2", state="ENABLED")
ANN = Approver(
    who="ann",
    how="ssh signature",
    digest=to_approved_digest(DIGEST, RULES),
    state="approved",
    approved_at=NOW - timedelta(hours=1),
)
STRANGER = Caller(who="python-requests/2.32", requests=4, last_at=NOW - timedelta(hours=5))
TWO = msgspec.structs.replace(RULES, approvals=2)
RIGHT: dict[str, Any] = {**make_evidence()}


def now_with(**changed: Any) -> tuple[Any, ...]:
    return (msgspec.structs.replace(make_now(SERVICE, Kind.RUN_SERVICE, activity=Activity.ACTIVE), **changed),)


def stopped_with(**changed: Any) -> tuple[Any, ...]:
    return (msgspec.structs.replace(make_now(SERVICE, Kind.RUN_SERVICE), **changed),)


def run_with(**changed: Any) -> tuple[PublishedRun, ...]:
    runs = RIGHT["published"].runs
    return (msgspec.structs.replace(runs[0], **changed), *runs[1:])


def found_with(**changed: Any) -> tuple[FoundNow, ...]:
    found = RIGHT["gone"].found
    return (msgspec.structs.replace(found[0], **changed), *found[1:])


@pytest.mark.parametrize("state", MOVES)
def test_right_evidence_passes_each_gate(state: State) -> None:
    """Before its acts, and after them."""
    assert check(state, make_evidence(), make_against()) == ()
    assert check(state, make_evidence(), make_against(), proves=True) == ()


@pytest.mark.parametrize("state", MOVES)
def test_missing_evidence_refuses_each_gate(state: State) -> None:
    """Each piece that the gate needs is named."""
    refusals = check(state, {}, make_against())
    assert [refusal.split(" was read")[0] for refusal in refusals] == [
        f"No evidence of {name}" for name in MOVES[state].needs
    ]


WRONG: list[tuple[State, str, dict[str, Any], str]] = [
    # the inventory
    (State.VERIFIED, "inventory", {"resources": now_with(version="v3")}, "was changed by someone: version v2"),
    (State.VERIFIED, "inventory", {"resources": now_with(is_there=False)}, "is gone, and no act"),
    (State.SOFT_STOPPED, "inventory", {"resources": now_with(is_same=False)}, "it was made again"),
    (State.SOFT_STOPPED, "inventory", {"resources": now_with(managed_by="terraform")}, "terraform state rm"),
    (State.SOFT_STOPPED, "inventory", {"resources": now_with(managed_by="config connector")}, "config connector"),
    (State.SOFT_STOPPED, "inventory", {"resources": now_with(guards=("It is protected.",))}, "It is protected"),
    (
        State.DELETING,
        "inventory",
        {"resources": now_with(missing_permissions=("run.services.delete",))},
        "run.services.delete",
    ),
    (State.DELETING, "inventory", {"unlisted": ("projects/p/services/other",)}, "is not in the inventory"),
    (State.VERIFIED, "inventory", {"without_control": (Kind.BUCKET,)}, "every bucket would be empty"),
    (State.VERIFIED, "inventory", {"folder_problems": ("The export is in it.",)}, "The export is in it"),
    (State.SOFT_STOPPED, "inventory", {"resources": now_with(newer=("2/model.keras",))}, "2/model.keras. Find out who"),
    # verify
    (State.VERIFIED, "verify", {"verified_at": NOW - timedelta(hours=25)}, "is 25 h old; at most 24 h"),
    (State.VERIFIED, "verify", {"verified_at": NOW + timedelta(hours=1)}, "later than now"),
    (State.VERIFIED, "verify", {"failed": 1}, "1 runs failed"),
    (State.VERIFIED, "verify", {"safe": False, "not_safe": ("2 runs differ",)}, "2 runs differ"),
    (State.VERIFIED, "verify", {"is_all": False}, "some of the runs only"),
    (State.VERIFIED, "verify", {"database_id": "def"}, "is of database def"),
    (State.QUIET, "verify", {"unseen": ("e" * 32,)}, "does not name: eeee"),
    (State.EXPORTED, "verify", {"mlflow_runs": 41}, "MLflow has 41 runs now"),
    # published
    (State.VERIFIED, "published", {"runs": run_with(source="mlflow")}, "was published from mlflow"),
    (State.VERIFIED, "published", {"runs": run_with(completed_at=SWITCHED - timedelta(1))}, "before the switch"),
    (State.VERIFIED, "published", {"runs": run_with(page_problem="status 500")}, "does not open: status 500"),
    (State.VERIFIED, "published", {"runs": run_with()[:2]}, "3 completed runs are needed; there are 2"),
    # kept
    (State.VERIFIED, "kept", {"kinds": (KeptKind(kind="registry", missing="3 models"),)}, "safe --give-up registry"),
    (
        State.VERIFIED,
        "kept",
        {"counted": False},
        "verify --require-safe --give-up artifacts, and for the drill: switchy",
    ),
    # export and drill
    (State.EXPORTED, "export", {"runs": 39}, "has 39 runs; MLflow has 40"),
    (State.EXPORTED, "export", {"runs": 39}, "Run: switchyard export --to-uri gs://kept/export"),
    (State.EXPORTED, "export", {"problem": "part 3 has another digest"}, "part 3 has another digest"),
    (State.EXPORTED, "export", {"missing": ("run abc",)}, "lacks what could not be read: run abc"),
    (State.EXPORTED, "export", {"digest": "sha256:" + "9" * 64}, "The drill is of export sha256:222"),
    (State.EXPORTED, "drill", {"drilled_at": NOW - timedelta(hours=25)}, "at most 24 h count"),
    (State.EXPORTED, "drill", {"asked_runs": 2, "equal_runs": 2}, "asked for 2 runs; 3 are needed"),
    (State.EXPORTED, "drill", {"asked_runs": 1, "equal_runs": 1, "of_runs": 2}, "asked for 1 runs; 2 are needed"),
    (State.EXPORTED, "drill", {"equal_runs": 2, "differences": ("run a: loss",)}, "1 of 3 runs differ"),
    (State.EXPORTED, "drill", {"registry_equal": False}, "registry differs"),
    (State.EXPORTED, "drill", {"artifacts_equal": False}, "Artifacts differ"),
    (State.EXPORTED, "drill", {"artifacts_compared": 0}, "compared no artifacts"),
    (State.EXPORTED, "drill", {"artifacts_compared": 0, "artifacts_equal": False}, "--give-up artifacts"),
    (State.EXPORTED, "drill", {"mlflow_version": ""}, "No MLflow answered"),
    # quiet
    (State.QUIET, "quiet", {"newest_run_at": NOW - timedelta(hours=1)}, "was started or ended at"),
    (State.QUIET, "quiet", {"newest_point_at": NOW - timedelta(hours=1)}, "A metric was logged"),
    (State.QUIET, "quiet", {"callers": (STRANGER,), "requests": 4}, "python-requests/2.32 asked MLflow: 4"),
    (State.QUIET, "quiet", {"requests": 13}, "counts 13 requests"),
    (State.QUIET, "quiet", {"services": (), "requests": 0, "callers": ()}, "no request log says"),
    (State.QUIET, "quiet", {"since": NOW - timedelta(days=6)}, "7 days are needed"),
    (State.QUIET, "quiet", {"requests": 14, "edge": 1}, "names callers of 12, and has 1 just before"),
    (State.QUIET, "quiet", {"controls": ()}, "was not tried"),
    (
        State.QUIET,
        "quiet",
        {"controls": (msgspec.structs.replace(CONTROL, logged_at=None),)},
        "its request log has no entry",
    ),
    (
        State.QUIET,
        "quiet",
        {"controls": (msgspec.structs.replace(CONTROL, counted=0),)},
        "its metric request_count has",
    ),
    (State.SOFT_STOPPED, "export", {"taken_at": SWITCHED - timedelta(hours=1)}, "which it may lack"),
    (State.SOFT_STOPPED, "quiet", {"verified_at": NOW - timedelta(hours=9)}, "compared with a manifest"),
    # stopped
    (State.QUIET_AGAIN, "stop", {"resources": stopped_with(activity=Activity.ACTIVE)}, "is at work again"),
    (State.QUIET_AGAIN, "stop", {"resources": stopped_with(version="v3")}, "was changed by someone"),
    (State.QUIET_AGAIN, "stop", {"resources": stopped_with(is_there=False)}, "is gone, and no act"),
    (State.APPROVED, "stop", {"backups": ((INSTANCE, ()),)}, "has no backup in state SUCCESSFUL: there is none"),
    (State.APPROVED, "stop", {"backups": ((INSTANCE, (Kept(what="b", state="FAILED"),)),)}, "b FAILED"),
    # quiet again
    (State.QUIET_AGAIN, "use", {"stopped_at": NOW - timedelta(days=6)}, "7 days of quiet end at"),
    (State.QUIET_AGAIN, "use", {"since": STOPPED_AT + timedelta(hours=1)}, "leaves a gap"),
    (State.QUIET_AGAIN, "use", {"callers": (STRANGER,)}, "python-requests/2.32 still asks"),
    (State.QUIET_AGAIN, "use", {"starts": ("revision mlflow-9 by ann",)}, "revision mlflow-9 by ann"),
    (State.DELETING, "use", {"frozen_digest": ""}, "is not stored"),
    (State.QUIET_AGAIN, "use", {"requests": 1}, "counts 1 requests"),
    (
        State.DELETING,
        "use",
        {"controls": (msgspec.structs.replace(CONTROL, logged_at=None),)},
        "its request log has no entry",
    ),
    # approved
    (State.APPROVED, "approval", {"approvers": ()}, "0 of 1 approvals"),
    (
        State.APPROVED,
        "approval",
        {"approvers": (msgspec.structs.replace(ANN, digest="sha256:other"),)},
        "approved sha256:other",
    ),
    (
        State.APPROVED,
        "approval",
        {"approvers": (msgspec.structs.replace(ANN, digest=DIGEST),)},
        "approved the inventory without the rules",
    ),
    (State.APPROVED, "approval", {"approvers": (msgspec.structs.replace(ANN, state="quiet"),)}, "approved 'quiet'"),
    (State.DELETING, "approval", {"approvers": (msgspec.structs.replace(ANN, expires_at=NOW),)}, "expired at"),
    (
        State.APPROVED,
        "approval",
        {"approvers": (msgspec.structs.replace(ANN, approved_at=NOW + timedelta(hours=1)),)},
        "later than now",
    ),
    (State.APPROVED, "approval", {"approvers": (msgspec.structs.replace(ANN, who=""),)}, "0 of 1 approvals"),
    # gone
    (State.GONE, "gone", {"found": found_with(still_there=(SERVICE,))}, "is still listed"),
    (State.GONE, "gone", {"found": found_with(control="")}, "does not hold its control"),
    (State.GONE, "gone", {"found": found_with(places=())}, "names no place"),
    (State.GONE, "gone", {"found": found_with(problem="a region is missing")}, "proves nothing: a region is missing"),
    (State.GONE, "gone", {"asked_places": ("us-central1",)}, "every run service was not asked in us-central1"),
    (
        State.GONE,
        "gone",
        {"found": found_with(had_places=("global", "europe-west1", "asia-east1"))},
        "every run service was not asked in asia-east1",
    ),
    (State.GONE, "gone", {"found": found_with()[1:]}, "No list of every run service"),
    (State.GONE, "gone", {"controls": (), "found": found_with(control="", listed=0)}, "is empty, so it proves nothing"),
    (State.GONE, "gone", {"backups": ((INSTANCE, (Kept(what="x FINAL", state="FAILED"),)),)}, "no final backup"),
    (State.GONE, "gone", {"backups": ((INSTANCE, (Kept(what="on demand", state="SUCCESSFUL"),)),)}, "no final backup"),
    (State.GONE, "gone", {"deleted_members": ("deleted:serviceAccount:m?uid=1",)}, "is left in a policy"),
    (State.GONE, "gone", {"variables": ("api#env MLFLOW",)}, "still points to MLflow"),
    # cost
    (State.COST_CHECKED, "cost", {"deleted_at": NOW - timedelta(days=7)}, "7 full days end at"),
    (State.COST_CHECKED, "cost", {"was_asked": False}, "BILLING_EXPORT_TABLE"),
    (State.COST_CHECKED, "cost", {"costs": (Cost(resource="disk", amount=1.5, currency="EUR"),)}, "still cost 1.50"),
    (State.COST_CHECKED, "cost", {"waiting": ((SECRET, (LATER,)),)}, "is empty at 2026-11-21 12:00:00 UTC"),
    (
        State.COST_CHECKED,
        "cost",
        {"waiting": ((SECRET, (LATER, BACK)),)},
        "is in use again: version 1 DISABLED, version 2 ENABLED",
    ),
    (State.COST_CHECKED, "cost", {"since": datetime(2026, 11, 15, tzinfo=UTC)}, "7 full days since"),
]


@pytest.mark.parametrize(("state", "name", "changed", "said"), WRONG, ids=[f"{w[1]}: {w[3]}" for w in WRONG])
def test_wrong_evidence_is_refused_by_name(state: State, name: str, changed: dict[str, Any], said: str) -> None:
    """One wrong fact, at least one sentence that names it."""
    refusals = check(state, change(name, **changed), make_against())
    assert any(said in refusal for refusal in refusals), refusals


NAMES = sorted(make_evidence())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inventory": "sha256:other"}, "is of inventory sha256:other"),
        ({"inventory": ""}, "is of inventory none"),
        ({"read_at": NOW - timedelta(hours=2)}, "more than 1 h ago"),
        ({"read_at": NOW + timedelta(seconds=1)}, "later than now"),
    ],
)
def test_evidence_of_another_time_or_inventory_is_refused(name: str, changed: dict[str, Any], said: str) -> None:
    """Whatever else it says, in every gate that looks at it."""
    for state, move in MOVES.items():
        if name in move.needs:
            refusals = check(state, change(name, **changed), make_against())
            assert any(said in refusal for refusal in refusals), (state, refusals)


def test_what_was_given_up_by_name_may_be_lost() -> None:
    """That kind, and no other; also where the manifest is of a format that counted nothing."""
    rules = msgspec.structs.replace(RULES, give_up=("artifacts", "registry"))
    lost = (KeptKind(kind="registry", missing="3 models"), KeptKind(kind="traces", missing="5 trace_info"))
    (refusal,) = check(State.VERIFIED, change("kept", kinds=lost), make_against(rules))
    assert "traces" in refusal
    assert check(State.VERIFIED, change("kept", counted=False), make_against(rules)) == ()


def test_a_switch_whose_time_is_unknown_is_refused() -> None:
    """No run is newer than it then."""
    rules = msgspec.structs.replace(RULES, switched_at=None)
    (refusal,) = check(State.VERIFIED, make_evidence(), make_against(rules))
    assert "--switched-at" in refusal


def sign(*approvers: Approver) -> EvidenceSet:
    return change("approval", approvers=approvers, flow_account="robot")


def test_two_approvals_are_of_two_people() -> None:
    """Both signed, and neither runs the flow."""
    ann = msgspec.structs.replace(ANN, digest=to_approved_digest(DIGEST, TWO))
    bob = msgspec.structs.replace(ann, who="bob")
    robot = msgspec.structs.replace(ann, who="robot")
    typed = msgspec.structs.replace(bob, how="typed")
    against = make_against(TWO)
    assert check(State.APPROVED, sign(ann, bob), against) == ()
    for others in ([ann], [ann, ann], [ann, robot], [ann, typed]):
        refusals = check(State.APPROVED, sign(*others), against)
        assert any("1 of 2 approvals" in refusal for refusal in refusals), others


@pytest.mark.parametrize("runs", ["bob@example.com", "Bob@Example.com", "bob", " bob "])
def test_who_runs_the_command_is_known_by_a_user_name_too(runs: str) -> None:
    """A command line knows `bob`, and the signature is of bob@example.com."""
    ann = msgspec.structs.replace(ANN, digest=to_approved_digest(DIGEST, TWO))
    bob = msgspec.structs.replace(ann, who="bob@example.com")
    found = change("approval", approvers=(ann, bob), flow_account=runs)
    assert any("cannot approve it too" in refusal for refusal in check(State.APPROVED, found, make_against(TWO)))
    found = change("approval", approvers=(ann, bob), flow_account="bo")
    assert check(State.APPROVED, found, make_against(TWO)) == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"known_callers": ("switchyard/*", "python-requests/*")},
        {"quiet_again_days": 1},
        {"quiet_days": 1},
        {"give_up": ("registry",)},
        {"approvals": 2},
        {"switched_at": None},
        {"export_uri": "gs://elsewhere"},
    ],
)
def test_an_approval_is_of_the_rules_too(changed: dict[str, Any]) -> None:
    """Whichever rule is changed after it, it no longer counts; that someone looked at the bill is none of them."""
    seen = make_against(msgspec.structs.replace(RULES, costs_seen=True))
    assert check(State.APPROVED, make_evidence(), seen) == ()
    other = msgspec.structs.replace(RULES, **changed)
    assert any("rules were changed since" in one for one in check(State.APPROVED, make_evidence(), make_against(other)))


@pytest.mark.parametrize(
    ("known", "who", "account", "is_ours"),
    [
        ("a", "python-requests/2.32", "", False),
        ("python-requests", "python-requests/2.32", "", False),
        ("python-requests/", "python-requests/2.32", "", False),
        ("python-requests/*", "python-requests/2.32", "", True),
        ("python-requests/*", "python-requests/", "", False),
        ("requests/*", "python-requests/2.32", "", False),
        ("python-requests/2.32", "python-requests/2.32", "", True),
        ("python-requests/2.3", "python-requests/2.32", "", False),
        ("*", "python-requests/2.32", "", False),
        ("*/*", "python-requests/2.32", "", False),
        ("", "python-requests/2.32", "", False),
        ("eve@example.com", "curl/8 as eve@example.com", "eve@example.com", True),
        ("Eve@Example.com", "curl/8 as eve@example.com", "eve@example.com", True),
        ("eve@example.com", "curl/8 as steve@example.com", "steve@example.com", False),
        ("eve@example.com", "curl/8 as eve@example.com", "", False),
        ("curl/8", "curl/8 as eve@example.com", "eve@example.com", True),
        ("curl/*", "curl/8 as eve@example.com", "eve@example.com", True),
        ("curl/8 as eve@example.com", "curl/8 as eve@example.com", "eve@example.com", True),
        ("no user agent", "no user agent", "", True),
        ("Mozilla/5.0 (X11; *)", "Mozilla/5.0 (X11; *)", "", True),
        ("Mozilla/5.0 (X11; *)", "Mozilla/5.0 (X11; Linux)", "", False),
        ("py*", "py*", "", False),
    ],
)
def test_a_known_caller_is_known_by_a_whole_name(known: str, who: str, account: str, is_ours: bool) -> None:
    """A part of one would excuse everyone; a user agent cannot say that it is someone's account."""
    caller = Caller(who=who, account=account, requests=1, last_at=NOW)
    assert is_known(caller, Rules(known_callers=(known,))) is is_ours


@pytest.mark.parametrize("name", ["*", "", " ", "py*", "*/*", "/*", "two words/*"])
def test_a_known_caller_that_would_excuse_others_is_refused(name: str) -> None:
    """With what is taken in its place."""
    with pytest.raises(BadRequest, match="takes the whole name"):
        check_known_callers(["switchyard/*", name])


@pytest.mark.parametrize("who", ["Mozilla/5.0 (X11; *)", "curl/8 as eve@example.com", "odd*", ""])
def test_a_refusal_names_no_caller_in_a_way_that_is_refused(who: str) -> None:
    """What it says to paste is taken, or it says what to do instead."""
    caller = Caller(who=who, requests=1, last_at=NOW)
    (said,) = check(State.QUIET, change("quiet", callers=(caller,), requests=1), make_against())
    _, found, name = said.partition("switchyard decommission next --known-callers ")
    assert bool(found) is (who not in ("odd*", ""))
    if found:
        check_known_callers(shlex.split(name))
        rules = msgspec.structs.replace(RULES, known_callers=tuple(shlex.split(name)))
        assert is_known(caller, rules)


def test_a_drill_without_copies_passes_where_artifacts_are_given_up() -> None:
    """By their own name, and no other."""
    found = change("drill", artifacts_compared=0, artifacts_equal=False)
    for given_up, passes in ((("artifacts",), True), (("registry",), False)):
        rules = msgspec.structs.replace(RULES, give_up=given_up)
        assert (check(State.EXPORTED, found, make_against(rules)) == ()) is passes


def test_costs_may_be_looked_at_by_a_person() -> None:
    """Where no export is named, once the days are over."""
    rules = msgspec.structs.replace(RULES, costs_seen=True)
    unasked = change("cost", was_asked=False, costs=())
    assert check(State.COST_CHECKED, unasked, make_against(rules)) == ()
    early = change("cost", was_asked=False, deleted_at=NOW - timedelta(days=1))
    assert check(State.COST_CHECKED, early, make_against(rules)) != ()


def test_only_what_is_kept_by_name_may_cost() -> None:
    """A final backup is billed until its time is over; its instance is not, whatever is kept of it."""
    backup = FINAL.name
    kept = ((INSTANCE, (FINAL.what,)),)
    of_backup, of_instance = (Cost(resource=name, amount=0.4, currency="EUR") for name in (backup, INSTANCE))
    found = change("cost", costs=(of_backup,), expected=(backup,), kept=kept)
    assert check(State.COST_CHECKED, found, make_against()) == ()
    found = change("cost", costs=(of_backup, of_instance), expected=(backup,), kept=kept)
    (refusal,) = check(State.COST_CHECKED, found, make_against())
    assert refusal.startswith(f"{INSTANCE} still cost 0.40 EUR")
    assert f"Of it are kept, or were: {FINAL.what}. Where the report" in refusal
    seen = make_against(msgspec.structs.replace(RULES, costs_seen=True))
    assert check(State.COST_CHECKED, found, seen) == ()
    found = change("cost", costs=(of_instance,), expected=(backup,))
    assert check(State.COST_CHECKED, found, seen) != ()  # nothing is kept of it


def test_a_bill_is_asked_for_what_is_kept_too() -> None:
    """By its own name, once; a bucket that is kept has its own."""
    kept = {INSTANCE: (BACKUP, FINAL), BUCKET: (msgspec.structs.replace(FINAL, name=BUCKET),)}
    billed = list_billed(INVENTORY, kept)
    assert billed[: len(INVENTORY.resources)] == INVENTORY.resources
    assert [(one.kind, one.name) for one in billed[len(INVENTORY.resources) :]] == [
        (Kind.SQL_INSTANCE, BACKUP.name), (Kind.SQL_INSTANCE, FINAL.name),
    ]  # fmt: skip


def test_an_account_is_deleted_a_day_after_it_was_disabled() -> None:
    """Not before."""
    assert "2026-11-21 12:00:00" in check_account_wait(NOW, NOW + timedelta(hours=23))
    assert check_account_wait(NOW, NOW + timedelta(hours=24)) == ""


def test_evidence_is_stored_as_it_was_read() -> None:
    """As strict JSON with one digest."""
    found = make_evidence()
    assert from_json(to_json(found)) == found
    assert to_evidence_digest(found) == to_evidence_digest(dict(reversed(found.items())))
