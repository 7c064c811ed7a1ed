"""Two people's signed statements, put into the folder of a decommission, as its gate counts them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.core.decommission.approvals import Statement
from switchyard.core.decommission.evidence import ApprovalEvidence
from switchyard.core.decommission.gates import Against, check_approval
from switchyard.core.decommission.readers import HandedIn
from switchyard.core.decommission.rules import Rules, to_approvals_folder, to_rules_digest
from switchyard.core.decommission.states import State
from switchyard.core.errors import BadSetup
from switchyard.services.decommission_approvals import FolderApprovals
from tests.clients.approvals.test_approvals import DIGEST, NOW, Desk, make_statement


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Alice and Bob may approve."""
    made = Desk(tmp_path)
    made.inbox = tmp_path / "decommission" / "approvals"
    made.inbox.mkdir(parents=True)
    made.allow.write_text("".join(f"{name}@example.com {made.make_key(name)}\n" for name in ("alice", "bob")))
    return made


def against(desk: Desk, **rules: Any) -> Against:
    given = {"approvals": 2, "folder_uri": desk.inbox.parent.as_uri(), **rules}
    return Against(inventory=f"sha256:{DIGEST}", rules=Rules(**given), now=NOW)


def make_own(desk: Desk, approver: str, **fields: str) -> Statement:
    """Makes an approval by the desk's rules."""
    return make_statement(approver, **{"rules": to_rules_digest(against(desk).rules), **fields})


def hand_in(desk: Desk, found: Against, **settings: str) -> HandedIn:
    outside = Outside(read_settings({"APPROVERS_FILE": str(desk.allow), **settings}))
    return FolderApprovals(outside)(found, State.APPROVED.value)


def check(handed_in: HandedIn, found: Against) -> list[str]:
    evidence = ApprovalEvidence(
        inventory=found.inventory, read_at=found.now, approvers=handed_in.approvers, refused=handed_in.refused
    )
    return check_approval(evidence, found, State.DELETING)


def test_two_people_who_signed_pass_until_the_first_statement_expires(desk: Desk) -> None:
    """They pass for the deletion too, and no longer."""
    for name in ("alice", "bob"):
        desk.hand_in(name, make_own(desk, f"{name}@example.com"), key=name)
    found = against(desk)
    handed_in = hand_in(desk, found)
    assert [(one.who, one.how) for one in handed_in.approvers] == [
        ("alice@example.com", "ssh signature"),
        ("bob@example.com", "ssh signature"),
    ]
    assert check(handed_in, found) == []
    later = msgspec.structs.replace(found, now=NOW + timedelta(days=3))
    assert "0 of 2 approvals" in check(hand_in(desk, later), later)[-1]


def test_what_does_not_count_is_named_where_too_few_approve(desk: Desk) -> None:
    """One has signed for another inventory; who the flow runs as may not approve."""
    desk.hand_in("alice", make_own(desk, "alice@example.com", digest="cd" * 32), key="alice")
    desk.hand_in("bob", make_own(desk, "bob@example.com"), key="bob")
    found = against(desk)
    refusals = check(hand_in(desk, found), found)
    assert refusals[0].startswith("Approval alice.txt (alice@example.com) does not count: it is about another")
    assert "1 of 2 approvals" in refusals[-1]


@pytest.mark.parametrize(
    ("signed", "why"), [({"rules": ""}, "must be signed again"), ({"rules": "cd" * 32}, "it is about other rules")]
)
def test_a_statement_of_other_rules_must_be_signed_again(desk: Desk, signed: dict[str, str], why: str) -> None:
    """Also one that was signed before statements named any."""
    desk.hand_in("alice", make_own(desk, "alice@example.com"), key="alice")
    desk.hand_in("bob", make_own(desk, "bob@example.com", **signed), key="bob")
    found = against(desk)
    refusals = check(hand_in(desk, found), found)
    assert why in refusals[0]
    assert "1 of 2 approvals" in refusals[-1]


def test_who_the_flow_runs_as_does_not_approve(desk: Desk) -> None:
    """It does not matter which list the account is on."""
    robot = "robot@p.iam.gserviceaccount.com"
    with desk.allow.open("a") as allowed:
        allowed.write(f"{robot} {desk.make_key('robot')}\n")
    desk.hand_in("robot", make_own(desk, robot), key="robot")
    found = against(desk)
    assert [one.who for one in hand_in(desk, found).approvers] == [robot]
    own = hand_in(desk, found, IDENTITY_SERVICE_ACCOUNT=robot)
    assert (own.approvers, "own account" in own.refused[0]) == ((), True)


def test_without_ssh_keygen_the_gate_says_what_to_install(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no refusal of anyone's approval: nothing was checked."""
    desk.hand_in("alice", make_own(desk, "alice@example.com"), key="alice")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadSetup, match=r"ssh-keygen is not installed.*apt-get install openssh-client.*worker's image"):
        hand_in(desk, against(desk))


def test_one_persons_typed_digest_reads_no_folder(desk: Desk) -> None:
    """It needs no allow-list and no ssh-keygen either."""
    found = against(desk, approvals=1, folder_uri="gs://not-asked/decommission")
    assert hand_in(desk, found) == HandedIn()
    assert to_approvals_folder(found.rules) == "gs://not-asked/decommission/approvals/"
