"""The rules by which things are kept, as a table of values; and how a plan is named."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from switchyard.core.decommission.clearing import (
    RULES,
    Facts,
    Policy,
    Thing,
    What,
    check_asked,
    decide,
    is_same,
    make_plan,
    to_digest,
)
from switchyard.core.errors import BadRequest, StaleWrite

NOW = datetime(2026, 6, 1, tzinfo=UTC)
STALE = Facts(has_owner=True, is_settled=True, is_named=False, is_unfinished=False, has_source=True)
"""Of whatever kind, no one needs it."""
ALL = Policy(models=True, copies=True)


def make(what: What, **facts: object) -> Thing:
    """An old thing that no one needs, but for what is said."""
    return Thing(
        what=what,
        name=f"file:///a/{what}",
        objects=((f"file:///a/{what}", 7),),
        size_bytes=1,
        written_at=NOW - timedelta(days=90),
        facts=replace(STALE, **facts),
    )


NEVER = {What.RUN_RECORD, What.EXPORT, What.EVIDENCE, What.UNKNOWN}


@pytest.mark.parametrize("what", What)
def test_what_nobody_needs_is_stale_but_for_what_is_never_deleted(what: What) -> None:
    """Records, exports, proofs and what is not recognised stay, whatever is known of them."""
    assert decide(make(what), ALL, NOW).delete is (what not in NEVER)


@pytest.mark.parametrize("what", What)
def test_of_what_nothing_is_known_nothing_is_deleted(what: What) -> None:
    """The defaults of `Facts` keep, but for what needs no one's word: an old model without any version."""
    thing = replace(make(what), facts=Facts())
    assert decide(thing, ALL, NOW).delete is (what is What.IMPORTED_MODEL)


@pytest.mark.parametrize("what", sorted(set(What) - NEVER))
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=89, hours=23), timedelta(days=-1), None])
def test_what_is_young_is_kept(what: What, age: timedelta | None) -> None:
    """Also what is of the future, by a clock that is wrong, or of an unknown time."""
    thing = replace(make(what), written_at=None if age is None else NOW - age)
    assert not decide(thing, ALL, NOW).delete


@pytest.mark.parametrize("what", What)
def test_a_doubt_keeps_everything(what: What) -> None:
    """And is what a person reads."""
    decided = decide(make(what, doubt="a list cannot be read"), ALL, NOW)
    assert (decided.delete, decided.reason) == (False, "a list cannot be read")


@pytest.mark.parametrize(
    ("what", "facts", "policy", "reason"),
    [
        (What.CHECKPOINTS, {"has_owner": False}, ALL, "no row"),
        (What.RUN_MODEL, {"has_owner": False}, ALL, "no row"),
        (What.JOB, {"has_owner": False}, ALL, "no row"),
        (What.CHECKPOINTS, {"is_settled": False}, ALL, "not settled"),
        (What.RUN_MODEL, {"is_settled": False}, ALL, "not settled"),
        (What.JOB, {"is_settled": False}, ALL, "not settled"),
        (What.RUN_MODEL, {"versions": ("3 of shop",)}, ALL, "version 3 of shop is made of it"),
        (What.IMPORTED_MODEL, {"versions": ("3 of shop",)}, ALL, "version 3 of shop is made of it"),
        (What.CACHED_MODEL, {"versions": ("3 of shop",)}, ALL, "version 3 of shop is made of it"),
        (What.RUN_MODEL, {"versions": ("3 of shop",), "retired": ("2 of shop",)}, ALL, "version 3 of shop"),
        (What.RUN_MODEL, {"retired": ("2 of shop",)}, Policy(), "--models"),
        (What.IMPORTED_MODEL, {"retired": ("2 of shop",)}, Policy(), "--models"),
        (What.RUN_MODEL, {"is_completed": True}, Policy(), "no version is made of it yet"),
        (What.CACHED_MODEL, {"has_source": False}, ALL, "are not there"),
        (What.COPIED_OBJECT, {"is_named": True}, ALL, "a run's copy has it"),
        (What.COPY_MANIFEST, {"is_named": True}, ALL, "newest"),
        (What.COPIED_OBJECT, {"is_unfinished": True}, ALL, "unfinished"),
        (What.COPY_MANIFEST, {"is_unfinished": True}, ALL, "unfinished"),
        (What.UNFINISHED_COPY, {"is_unfinished": True}, ALL, "goes on from it"),
        (What.COPIED_OBJECT, {}, Policy(), "--copies"),
        (What.COPY_MANIFEST, {}, Policy(), "--copies"),
    ],
)
def test_who_needs_a_thing_keeps_it_and_is_named(
    what: What, facts: dict[str, object], policy: Policy, reason: str
) -> None:
    """A rule each; without what is said, the thing is stale."""
    assert decide(make(what), ALL, NOW).delete
    decided = decide(make(what, **facts), policy, NOW)
    assert not decided.delete
    assert reason in decided.reason


def test_every_rule_has_a_name_of_its_own() -> None:
    """So that a person can speak of it."""
    assert len({name for name, _, _ in RULES}) == len(RULES)


def test_a_plan_is_named_by_what_it_deletes() -> None:
    """Not by what it keeps, nor by the order in which things were found; a new generation is another plan."""
    stale, kept = make(What.CHECKPOINTS), make(What.RUN_RECORD)
    digest = to_digest(make_plan([stale, kept], ALL, NOW))
    assert digest == to_digest(make_plan([stale], ALL, NOW + timedelta(days=1)))
    assert digest != to_digest(make_plan([replace(stale, objects=((stale.name, 8),))], ALL, NOW))
    assert digest != to_digest(make_plan([kept], ALL, NOW))


def test_a_plan_is_carried_out_only_where_its_digest_or_yes_is_said() -> None:
    """Another plan's digest says that something has changed."""
    plan = make_plan([make(What.CHECKPOINTS)], ALL, NOW)
    digest = to_digest(plan)
    assert not check_asked(plan, apply="", yes=False)
    assert check_asked(plan, apply="", yes=True)
    assert check_asked(plan, apply=digest[:16], yes=False)
    with pytest.raises(StaleWrite, match="Nothing was deleted"):
        check_asked(plan, apply="0" * 64, yes=False)
    with pytest.raises(StaleWrite):
        check_asked(plan, apply=digest[:6], yes=False)
    with pytest.raises(BadRequest, match="both --apply and --yes are given"):
        check_asked(plan, apply=digest, yes=True)


def test_what_is_left_of_a_thing_is_the_same_thing() -> None:
    """After a killed call; anything new makes it another one."""
    two = replace(make(What.CHECKPOINTS), objects=(("a", 1), ("b", 2)))
    assert is_same(two, replace(two, objects=(("b", 2),)))
    assert not is_same(two, replace(two, objects=(("a", 1), ("b", 3))))
    assert not is_same(two, replace(two, objects=(("a", 1), ("b", 2), ("c", 1))))
