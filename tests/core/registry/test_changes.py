"""What each request does to a model, as tables of values."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from switchyard.core.errors import BadRequest, NotFound, StaleWrite, SwitchyardError
from switchyard.core.registry.changes import Change, Held
from switchyard.core.registry.promotion import choose_rollback, find_gate_problem, promote, roll_back
from switchyard.core.registry.rows import (
    Judgement,
    Model,
    ModelVersion,
    Promotion,
    Rollback,
    ShareChange,
    StageMove,
    Tombstone,
    Transition,
    Verdict,
)
from switchyard.core.registry.stages import MOVES, Act, Stage, Validation, may_move
from switchyard.core.registry.staging import move, share, tombstone, validate

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def version(number: int, stage: Stage = Stage.NONE, **more: Any) -> ModelVersion:
    return ModelVersion(name="fraud", version=number, digest=f"sha256:{number}", stage=stage, created_at=NOW, **more)


def judged(number: int, against: int | None = 1, status: Validation = Validation.PASSED) -> Judgement:
    return Judgement(
        status=status,
        digest=f"sha256:{number}",
        against=against,
        against_digest="" if against is None else f"sha256:{against}",
        evidence={"recall_at_10": 0.5},
    )


def held(*versions: ModelVersion, served: tuple[int, ...] = (), **model: Any) -> Held:
    stages = {one.stage: one.version for one in versions}
    pointers = {"production": stages.get(Stage.PRODUCTION), "challenger": stages.get(Stage.STAGING)}
    return Held(
        model=Model(name="fraud", **{**pointers, "last_number": len(versions), "revision": 7, **model}),
        versions={one.version: one for one in versions},
        served=frozenset(served),
        last=Transition(
            name="fraud",
            seq=7,
            version=1,
            act=Act.PROMOTED,
            from_stage=Stage.NONE,
            to_stage=Stage.PRODUCTION,
            at=NOW,
            by="ann",
        ),
    )


CHAMPION = version(1, Stage.PRODUCTION)


def steps(change: Change) -> list[tuple[int, Act, Stage, Stage]]:
    return [(step.version, step.act, step.from_stage, step.to_stage) for step in change.steps]


def test_first_promotion_needs_no_comparison() -> None:
    """There is no champion that it could be compared with."""
    change = promote(held(version(1)), Promotion(name="fraud", version=1, expected=None))
    assert steps(change) == [(1, Act.PROMOTED, Stage.NONE, Stage.PRODUCTION)]
    assert change.model == Model(name="fraud", production=1, last_number=1, revision=8)
    assert not change.steps[0].forced


def test_promotion_archives_the_champion_first() -> None:
    """Two are never in Production, not even between two statements."""
    passed = version(2, Stage.STAGING, judgement=judged(2))
    change = promote(held(CHAMPION, passed, share=0.05), Promotion(name="fraud", version=2, expected=1))
    assert steps(change) == [
        (1, Act.REPLACED, Stage.PRODUCTION, Stage.ARCHIVED),
        (2, Act.PROMOTED, Stage.STAGING, Stage.PRODUCTION),
    ]
    assert change.model == Model(name="fraud", production=2, previous=1, last_number=2, revision=9)
    assert change.steps[1].replaced == 1
    assert change.steps[1].evidence["evidence"] == {"recall_at_10": 0.5}


def test_promotion_of_the_champion_changes_nothing() -> None:
    """Whatever champion the second call expects."""
    assert promote(held(CHAMPION), Promotion(name="fraud", version=1, expected=5)).steps == ()


def test_challenger_stays_where_another_version_is_promoted() -> None:
    """It is the new champion's challenger then, with its share."""
    before = held(CHAMPION, version(2, judgement=judged(2)), version(3, Stage.STAGING), share=0.2)
    after = promote(before, Promotion(name="fraud", version=2, expected=1)).model
    assert (after.production, after.challenger, after.share) == (2, 3, 0.2)


GATE = [
    (Judgement(), "its validation is pending"),
    (judged(2), ""),
    (judged(2, status=Validation.FAILED), "failed its comparison"),
    (judged(2, against=3), "passed against version 3, and not against the champion, version 1"),
    (judged(2, against=None), "passed against no champion"),
    (judged(3), "and not against the champion"),  # another version's files
    (msgspec.structs.replace(judged(2), against_digest="sha256:other"), "and not against the champion"),
    (judged(2, against=3, status=Validation.FAILED), "its validation is failed"),
]


@pytest.mark.parametrize(("judgement", "problem"), GATE)
def test_gate_takes_what_passed_for_these_files_against_this_champion(judgement: Judgement, problem: str) -> None:
    """Any other judgement speaks of something else."""
    found = find_gate_problem(version(2, judgement=judgement), CHAMPION)
    assert (problem in found) if problem else not found


@pytest.mark.parametrize(
    ("judgement", "is_told"),
    [(Judgement(), True), (judged(2, against=3), True), (judged(2, status=Validation.FAILED), False)],
)
def test_who_has_to_compare_first_reads_the_command(judgement: Judgement, is_told: bool) -> None:
    """What failed against this very champion would fail again."""
    with pytest.raises(BadRequest) as refused:
        promote(held(CHAMPION, version(2, judgement=judgement)), Promotion(name="fraud", version=2, expected=1))
    assert ("; compare them first: switchyard validate fraud 2. To promote" in str(refused.value)) is is_told


@pytest.mark.parametrize(
    ("judgement", "problem"),
    [(Judgement(), ""), (judged(2, None), ""), (judged(2, None, Validation.FAILED), "failed its comparison")],
)
def test_gate_without_a_champion_refuses_what_failed(judgement: Judgement, problem: str) -> None:
    """There is nothing to compare with, so only a failure is in the way."""
    found = find_gate_problem(version(2, judgement=judgement), None)
    assert (problem in found) if problem else not found


def test_force_needs_a_reason_and_shows() -> None:
    """Without force the gate holds; with it the history says so."""
    before = held(CHAMPION, version(2))
    wanted = Promotion(name="fraud", version=2, expected=1)
    with pytest.raises(BadRequest, match="--force"):
        promote(before, wanted)
    with pytest.raises(BadRequest, match="reason"):
        promote(before, msgspec.structs.replace(wanted, force=True, reason="  "))
    step = promote(before, msgspec.structs.replace(wanted, force=True, reason="the champion is broken")).steps[-1]
    assert (step.forced, step.reason) == (True, "the champion is broken")


def test_force_that_was_not_needed_does_not_show() -> None:
    """What passed was not forced."""
    before = held(CHAMPION, version(2, judgement=judged(2)))
    assert (
        not promote(before, Promotion(name="fraud", version=2, expected=1, force=True, reason="to be sure"))
        .steps[-1]
        .forced
    )


@pytest.mark.parametrize("expected", [None, 2, 3])
def test_loser_is_told_who_won(expected: int | None) -> None:
    """Which version, since when, and by whom."""
    before = held(CHAMPION, version(2, judgement=judged(2)))
    won = r"version 1 is in Production of model fraud since 2026-01-15 10:30:00 UTC \(promoted by ann\)"
    with pytest.raises(StaleWrite, match=won):
        promote(before, Promotion(name="fraud", version=2, expected=expected))
    with pytest.raises(StaleWrite, match=won):
        roll_back(before, Rollback(name="fraud", expected=expected))


def test_expected_champion_where_there_is_none_is_refused() -> None:
    """It was archived meanwhile."""
    with pytest.raises(StaleWrite, match="no version is in Production"):
        promote(held(version(1)), Promotion(name="fraud", version=1, expected=2))


def test_rollback_goes_back_to_the_version_before() -> None:
    """No comparison is asked for, and the next rollback would not swap back."""
    before = held(version(1, Stage.ARCHIVED), version(2, Stage.PRODUCTION), previous=1, served=(1, 2))
    change = roll_back(before, Rollback(name="fraud", expected=2, reason="it recommends nothing"))
    assert steps(change) == [
        (2, Act.REPLACED, Stage.PRODUCTION, Stage.ARCHIVED),
        (1, Act.ROLLED_BACK, Stage.ARCHIVED, Stage.PRODUCTION),
    ]
    assert (change.model.production, change.model.previous) == (1, None)
    with pytest.raises(BadRequest, match="--to"):
        choose_rollback(change.model, Rollback(name="fraud", expected=1))


def test_rollback_after_the_champion_was_archived() -> None:
    """Nothing is in Production, and the last one that was comes back."""
    before = held(version(1, Stage.ARCHIVED), previous=1, served=(1,))
    assert roll_back(before, Rollback(name="fraud", expected=None)).model.production == 1


@pytest.mark.parametrize(
    ("to", "error", "said"),
    [
        (3, BadRequest, "was never in Production"),
        (9, NotFound, "no version 9"),
        (4, BadRequest, "tombstoned"),
        (2, None, ""),
        (1, None, ""),
    ],
)
def test_rollback_to_a_number(to: int, error: type[SwitchyardError] | None, said: str) -> None:
    """Of versions that were champion once; of the champion itself: nothing to do."""
    before = held(
        version(1, Stage.ARCHIVED),
        version(2, Stage.PRODUCTION),
        version(3),
        version(4, Stage.ARCHIVED, tombstoned_at=NOW),
        served=(1, 2, 4),
    )
    wanted = Rollback(name="fraud", expected=2, to=to)
    if error is None:
        assert roll_back(before, wanted).model.production == to
        return
    with pytest.raises(error, match=said):
        roll_back(before, wanted)


def test_version_in_staging_is_the_challenger() -> None:
    """With 5 % of the traffic, unless told otherwise."""
    change = move(held(CHAMPION, version(2)), StageMove(name="fraud", version=2, stage=Stage.STAGING))
    assert (change.model.challenger, change.model.share) == (2, 0.05)
    assert change.steps[0].share == 0.05
    shadow = move(held(CHAMPION, version(2)), StageMove(name="fraud", version=2, stage=Stage.STAGING, share=0))
    assert (shadow.model.challenger, shadow.model.share) == (2, 0)


def test_new_challenger_sends_the_old_one_back() -> None:
    """One is in Staging at a time; who expects another one is refused."""
    before = held(CHAMPION, version(2, Stage.STAGING), version(3))
    wanted = StageMove(name="fraud", version=3, stage=Stage.STAGING)
    change = move(before, wanted)
    assert steps(change) == [
        (2, Act.REPLACED, Stage.STAGING, Stage.NONE),
        (3, Act.MOVED, Stage.NONE, Stage.STAGING),
    ]
    assert move(before, msgspec.structs.replace(wanted, expected_challenger=2)).model.challenger == 3
    for expected in (None, 1):
        with pytest.raises(StaleWrite, match="version 2 is the challenger"):
            move(before, msgspec.structs.replace(wanted, expected_challenger=expected))


@pytest.mark.parametrize("stage", [Stage.NONE, Stage.ARCHIVED])
def test_challenger_that_leaves_staging_has_no_share(stage: Stage) -> None:
    """Nor is it the challenger."""
    before = held(CHAMPION, version(2, Stage.STAGING), share=0.3)
    after = move(before, StageMove(name="fraud", version=2, stage=stage)).model
    assert (after.challenger, after.share) == (None, 0)


def test_champion_is_archived_for_a_reason_only() -> None:
    """It leaves nothing in Production; a rollback brings it back."""
    before = held(CHAMPION)
    with pytest.raises(BadRequest, match="leaves none"):
        move(before, StageMove(name="fraud", version=1, stage=Stage.ARCHIVED))
    after = move(before, StageMove(name="fraud", version=1, stage=Stage.ARCHIVED, reason="the shop closes")).model
    assert (after.production, after.previous) == (None, 1)


ALLOWED = {
    (Stage.NONE, Stage.STAGING),
    (Stage.NONE, Stage.ARCHIVED),
    (Stage.STAGING, Stage.NONE),
    (Stage.STAGING, Stage.ARCHIVED),
    (Stage.PRODUCTION, Stage.ARCHIVED),
    (Stage.ARCHIVED, Stage.NONE),
    (Stage.ARCHIVED, Stage.STAGING),
}


@pytest.mark.parametrize("before", Stage)
@pytest.mark.parametrize("after", Stage)
def test_moves_by_hand_are_those_of_the_table(before: Stage, after: Stage) -> None:
    """Production is entered by a promotion; a version that is there already stays."""
    known = held(version(1, before))
    wanted = StageMove(name="fraud", version=1, stage=after, reason="because")
    if (before, after) in ALLOWED:
        assert may_move(before, after, Act.MOVED)
        assert steps(move(known, wanted)) == [(1, Act.MOVED, before, after)]
    elif before is after and after is not Stage.PRODUCTION:
        assert move(known, wanted).steps == ()
    else:
        with pytest.raises(BadRequest):
            move(known, wanted)


def test_every_stage_has_its_moves() -> None:
    """No version is in a stage that the table does not know, and none stays where it is by a move."""
    assert set(MOVES) == set(Stage)
    assert all(before not in moves for before, moves in MOVES.items())


@pytest.mark.parametrize("share_", [-0.01, 0.51, float("nan")])
def test_share_out_of_range_is_refused(share_: float) -> None:
    """A challenger with most of the traffic would be the champion."""
    with pytest.raises(BadRequest, match=r"from 0 to 0\.5"):
        share(held(version(1, Stage.STAGING)), ShareChange(name="fraud", version=1, share=share_))
    with pytest.raises(BadRequest, match=r"from 0 to 0\.5"):
        move(held(version(1)), StageMove(name="fraud", version=1, stage=Stage.STAGING, share=share_))


def test_share_is_the_challengers() -> None:
    """Of no other version; the same share again is nothing."""
    before = held(CHAMPION, version(2, Stage.STAGING), share=0.05)
    change = share(before, ShareChange(name="fraud", version=2, share=0.5))
    assert (change.model.share, change.steps[0].act, change.steps[0].share) == (0.5, Act.SHARED, 0.5)
    assert share(before, ShareChange(name="fraud", version=2, share=0.05)).steps == ()
    with pytest.raises(StaleWrite, match="version 2 is the challenger"):
        share(before, ShareChange(name="fraud", version=1, share=0.1))


def test_judgement_is_of_the_versions_own_files() -> None:
    """And of the champion's own; the same one again is nothing."""
    before = held(CHAMPION, version(2))
    change = validate(before, Verdict(name="fraud", version=2, judgement=judged(2)))
    assert steps(change) == [(2, Act.VALIDATED, Stage.NONE, Stage.NONE)]
    assert change.steps[0].evidence["against_digest"] == "sha256:1"
    same = held(CHAMPION, version(2, judgement=judged(2)))
    assert validate(same, Verdict(name="fraud", version=2, judgement=judged(2))).steps == ()
    for wrong in (judged(1), msgspec.structs.replace(judged(2), against_digest="sha256:other")):
        with pytest.raises(StaleWrite, match="compared was"):
            validate(before, Verdict(name="fraud", version=2, judgement=wrong))
    with pytest.raises(NotFound):
        validate(before, Verdict(name="fraud", version=2, judgement=judged(2, against=9)))
    with pytest.raises(BadRequest, match="pending"):
        validate(before, Verdict(name="fraud", version=2, judgement=Judgement(digest="sha256:2")))


@pytest.mark.parametrize(
    ("champion", "against", "told"),
    [
        (None, 1, "no version is in Production .*compared with version 1"),
        (3, 1, r"version 3 is in Production of model fraud since .* \(promoted by ann\); .*compared with version 1"),
        (3, None, "version 3 is in Production .*compared with no champion"),
    ],
)
def test_judgement_against_another_champion_is_refused_where_it_is_asked_for(
    champion: int | None, against: int | None, told: str
) -> None:
    """Who compared hears who is champion by now; a program that keeps a judgement of another pair may do so."""
    others = [version(3, Stage.PRODUCTION)] if champion else []
    before = held(version(1, Stage.ARCHIVED), version(2, judgement=judged(2, against=against)), *others)
    wanted = Verdict(name="fraud", version=2, judgement=judged(2, against=against), of_champion=True)
    with pytest.raises(StaleWrite, match=told):
        validate(before, wanted)
    assert validate(before, msgspec.structs.replace(wanted, of_champion=False)).steps == ()


@pytest.mark.parametrize("stage", [Stage.PRODUCTION, Stage.STAGING])
def test_version_that_answers_is_not_tombstoned(stage: Stage) -> None:
    """It is archived first."""
    with pytest.raises(BadRequest, match=r"[Aa]rchive it first"):
        tombstone(held(version(1, stage)), Tombstone(name="fraud", version=1, reason="old"))


def test_tombstoned_version_goes_nowhere() -> None:
    """It keeps its number, and a second tombstone is nothing."""
    dead = held(version(1, Stage.ARCHIVED, tombstoned_at=NOW), previous=None)
    assert tombstone(dead, Tombstone(name="fraud", version=1)).steps == ()
    with pytest.raises(BadRequest, match="tombstoned"):
        promote(dead, Promotion(name="fraud", version=1, expected=None))
    with pytest.raises(BadRequest, match="tombstoned"):
        move(dead, StageMove(name="fraud", version=1, stage=Stage.STAGING))


def test_tombstone_takes_the_way_back() -> None:
    """A rollback does not go to a version that never answers again."""
    before = held(version(1, Stage.ARCHIVED), version(2, Stage.PRODUCTION), previous=1)
    with pytest.raises(BadRequest, match="reason"):
        tombstone(before, Tombstone(name="fraud", version=1))
    change = tombstone(before, Tombstone(name="fraud", version=1, reason="its data was wrong"))
    assert (change.model.previous, change.model.last_number) == (None, 2)
