"""Which statements count, as tables of values."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from switchyard.core.decommission.approvals import (
    LONGEST,
    Approval,
    Statement,
    Unproved,
    Wanted,
    is_typed,
    read_statement,
    rule,
    to_audience,
    to_statement_digest,
    to_text,
)
from switchyard.core.errors import BadRecord, BadRequest

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DIGEST = "ab" * 32
OTHER = "cd" * 32
RULES = "12" * 32
FLOW = "flow@demo-project.iam.gserviceaccount.com"
WANTED = Wanted(
    digest=f"sha256:{DIGEST}", rules=RULES, state="approved", number=2, own_accounts=(FLOW, "starter@example.com")
)


def make(approver: str, *, key: str = "", expires_at: datetime | None = None, **what: str) -> Approval:
    """An approval that counts, but for what is said."""
    until = NOW + timedelta(days=1)
    fields = {"digest": DIGEST, "rules": RULES, "state": "approved", **what}
    statement = Statement(approver=approver, expires_at=until, **fields)
    return Approval(
        statement=statement,
        how="ssh",
        proof=key or f"key of {approver}",
        expires_at=expires_at or until,
        source=approver,
    )


ALICE, BOB = make("alice@example.com"), make("bob@example.com")


def test_two_people_suffice_and_the_first_expiry_bounds_both() -> None:
    """The gate has to be asked again after it."""
    sooner = make("bob@example.com", expires_at=NOW + timedelta(minutes=5))
    ruling = rule([ALICE, sooner], WANTED, NOW)
    assert (ruling.passed, ruling.expires_at, ruling.refused) == (True, NOW + timedelta(minutes=5), ())


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (make("alice@example.com", key="another key"), "the same person has approved already"),
        (make("Alice@Example.COM", key="another key"), "the same person has approved already"),
        (make("carol@example.com", key="key of alice@example.com"), "the same key has approved already"),
        (make("bob@example.com", digest=OTHER), "another inventory"),
        (make("bob@example.com", rules=OTHER), "other rules"),
        (make("bob@example.com", rules=""), "of format 1, which says nothing of the rules"),
        (make("bob@example.com", state="deleting"), "it allows the state 'deleting', not 'approved'"),
        (make("bob@example.com", expires_at=NOW), "it expired at 2026-12-01T12:00:00Z"),
        (make(FLOW), "the flow's own account"),
        (make("STARTER@example.com"), "the flow's own account"),
        (Unproved(source="x.txt", reason="nothing beside it proves who made it"), "nothing beside it"),
        (
            msgspec.structs.replace(
                BOB, statement=msgspec.structs.replace(BOB.statement, expires_at=NOW + LONGEST + timedelta(seconds=1))
            ),
            "more than 14 days",
        ),
    ],
)
def test_a_second_statement_that_does_not_count_is_refused_with_the_reason(
    second: Approval | Unproved, why: str
) -> None:
    """One person alone, however often and under however many names, is one."""
    ruling = rule([ALICE, second], WANTED, NOW)
    assert not ruling.passed
    assert ruling.counted == (ALICE,)
    assert why in ruling.refused[0].reason


def test_refused_statements_do_not_stand_in_the_way_of_those_that_count() -> None:
    """Anyone may put a file there; that must not hold the others up."""
    junk = [Unproved(source=f"{n}.txt", reason="junk") for n in range(3)]
    assert rule([*junk, make(FLOW), ALICE, BOB], WANTED, NOW).passed


def test_a_person_whose_first_statement_is_expired_may_sign_again() -> None:
    """Only a statement that counts makes the next one a double."""
    again = make("alice@example.com")
    old = make("alice@example.com", expires_at=NOW - timedelta(days=1))
    assert rule([old, again, BOB], WANTED, NOW).counted == (again, BOB)


def test_none_are_asked_for_where_the_typed_digest_is_enough() -> None:
    """`number` 0 is the least that a team may choose."""
    assert rule([], msgspec.structs.replace(WANTED, number=0), NOW).passed


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        (DIGEST, True),
        (f"sha256:{DIGEST}", True),
        (f" {DIGEST[:12].upper()}\n", True),
        (DIGEST[:11], False),
        ("sha256:", False),
        ("", False),
        (OTHER, False),
        (DIGEST + "00", False),
        ("y", False),
    ],
)
def test_a_digest_is_typed_whole_or_from_its_beginning(typed: str, right: bool) -> None:
    """Twelve digits are no accident; `y` is."""
    assert is_typed(DIGEST, typed) is right


def test_a_statement_is_read_as_it_was_written() -> None:
    """Signing and reading agree to the byte."""
    text = to_text(ALICE.statement)
    read = read_statement(text.encode(), "alice.txt")
    assert read == ALICE.statement
    assert to_text(msgspec.structs.replace(read, digest=f"sha256:{DIGEST}")) == text


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("switchyard-decommission 2", "switchyard-decommission 1"),
        lambda text: text.replace("switchyard-decommission 2", "switchyard-decommission 3"),
        lambda text: text.replace(f"rules: sha256:{RULES}\n", ""),
        lambda text: text + "also: everything else\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n",
        lambda text: text.replace("state: approved\n", ""),
        lambda text: text.replace("state: approved\n", "state: approved\nstate: deleting\n"),
        lambda text: text.replace("alice@example.com", "*@example.com"),
        lambda text: text.replace("alice@example.com", "alice@example.com,bob@example.com"),
        lambda text: text.replace("alice@", "älice@"),
        lambda text: text.replace("-12-02T", "-13-02T"),
        lambda text: text.replace(DIGEST, DIGEST[:-1]),
        lambda text: text.replace("inventory: sha256:", "inventory: "),
        lambda text: "",
    ],
)  # fmt: skip
def test_a_text_that_is_not_exactly_a_statement_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    """What is signed says no more, and nothing else, than what is shown."""
    text = to_text(ALICE.statement)
    assert change(text) != text
    with pytest.raises(BadRecord, match="not a statement"):
        read_statement(change(text).encode(), "alice.txt")


@pytest.mark.parametrize(
    "values",
    [
        {"state": "approved\napprover: eve@example.com"},
        {"state": ""},
        {"approver": "-f@example.com"},
        {"approver": "alice"},
        {"digest": "abc"},
        {"expires_at": datetime(2026, 12, 2)},
    ],
)
def test_a_statement_with_a_value_that_its_text_could_not_hold_is_not_written(values: dict[str, str]) -> None:
    """A line break in a value would be another line."""
    with pytest.raises(BadRequest):
        to_text(msgspec.structs.replace(ALICE.statement, **values))


def test_statements_that_differ_anywhere_have_other_digests_and_audiences() -> None:
    """A token is made for one of them alone."""
    later = ALICE.statement.expires_at + timedelta(seconds=1)
    others = [
        {"digest": OTHER},
        {"state": "deleting"},
        {"approver": "bob@example.com"},
        {"expires_at": later},
    ]
    all_ = [ALICE.statement, *(msgspec.structs.replace(ALICE.statement, **one) for one in others)]  # type: ignore[arg-type]
    assert len({to_statement_digest(one) for one in all_}) == len({to_audience(one) for one in all_}) == 5
