"""What a mirror must be made to show, as a table of values: no MLflow, no database."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from switchyard.core.registry.mirroring import (
    DIGEST_TAG,
    MAX_TEXT,
    SOURCE_TAG,
    STATUS_TAG,
    VERSION_TAG,
    CreateModel,
    CreateVersion,
    Mirror,
    MirrorChange,
    MirrorLook,
    MoveStage,
    Ours,
    RemoveAlias,
    SetAlias,
    SetTags,
    Theirs,
    choose_due,
    find_doubles,
    find_pairs,
    find_several,
    plan,
)
from switchyard.core.registry.rows import Model, ModelVersion
from switchyard.core.registry.stages import Stage

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PAIRS = {1: 11, 2: 12, 3: 13}


def version(number: int, stage: Stage = Stage.NONE, **more: object) -> ModelVersion:
    given = {"digest": f"sha256:{number}", "source_uri": f"gs://b/{number}", "created_at": NOW, **more}
    return msgspec.convert({"name": "shop", "version": number, "stage": stage, **given}, ModelVersion)


def tags_of(number: int, **more: str) -> dict[str, str]:
    tags = {VERSION_TAG: str(number), DIGEST_TAG: f"sha256:{number}", SOURCE_TAG: f"gs://b/{number}"}
    return {**tags, STATUS_TAG: "pending", **more}


def theirs(number: int, stage: str = "None", **more: str) -> Theirs:
    return Theirs(number=number, stage=stage, tags=tags_of(number - 10, **more))


def stranger(number: int, stage: str = "None") -> Theirs:
    return Theirs(number=number, stage=stage, tags={"team": "x"})


def ours(*stages: Stage, aliases: Mapping[str, int] | None = None, **more: object) -> Ours:
    """Versions 1, 2, ... in these stages."""
    numbers = {stage: number for number, stage in enumerate(stages, 1)}
    champion, challenger = numbers.get(Stage.PRODUCTION), numbers.get(Stage.STAGING)
    kept = {"champion": champion, "challenger": challenger}
    return Ours(
        model=Model(name="shop", production=champion, challenger=challenger),
        versions=[version(number, stage) for number, stage in reversed(list(enumerate(stages, 1)))],
        aliases={alias: at for alias, at in kept.items() if at is not None} | dict(aliases or {}),
        **more,  # type: ignore[arg-type]
    )


NONE, STAGING, PRODUCTION, ARCHIVED = Stage.NONE, Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED
PROMOTE_2 = MoveStage(number=12, stage=PRODUCTION, archive=True)
CASES: dict[str, tuple[Ours, Mirror | None, list[MirrorChange]]] = {
    "nothing is there": (ours(NONE), None, [CreateModel()]),
    "all is as ours": (
        ours(ARCHIVED, PRODUCTION, STAGING),
        Mirror(
            versions=[theirs(11, "Archived"), theirs(12, "Production"), theirs(13, "Staging")],
            aliases={"champion": 12, "challenger": 13},
        ),
        [],
    ),
    "aliases before stages": (
        ours(ARCHIVED, PRODUCTION),
        Mirror(versions=[theirs(11, "Production"), theirs(12)], aliases={"champion": 11}),
        [SetAlias(alias="champion", number=12), PROMOTE_2],
    ),
    "another one of ours is in Production too: one call archives it": (
        ours(ARCHIVED, PRODUCTION),
        Mirror(versions=[theirs(11, "Production"), theirs(12, "Production")], aliases={"champion": 12}),
        [PROMOTE_2],
    ),
    "someone else's is in Production too": (
        ours(ARCHIVED, PRODUCTION),
        Mirror(
            versions=[theirs(11, "Archived"), theirs(12, "Production"), stranger(14, "Production")],
            aliases={"champion": 12},
        ),
        [PROMOTE_2],
    ),
    "without a champion of ours, someone else's Production is theirs": (
        ours(NONE, NONE),
        Mirror(versions=[theirs(11), theirs(12), stranger(14, "Production")], aliases={"champion": 14}),
        [],
    ),
    "our champion was archived, and no one came": (
        ours(ARCHIVED, NONE),
        Mirror(versions=[theirs(11, "Production"), theirs(12)], aliases={"champion": 11}),
        [RemoveAlias(alias="champion"), MoveStage(number=11, stage=ARCHIVED)],
    ),
    "a free alias of ours moves, one that we do not have goes, a stranger's stays": (
        ours(NONE, NONE, aliases={"stable": 2}),
        Mirror(
            versions=[theirs(11), theirs(12), stranger(14)],
            aliases={"stable": 11, "old": 12, "theirs": 14},
        ),
        [SetAlias(alias="stable", number=12), RemoveAlias(alias="old")],
    ),
    "a tag that was changed or removed is put back": (
        ours(NONE),
        Mirror(versions=[msgspec.structs.replace(theirs(11), tags={"switchyard.validation_status": "passed"})]),
        [SetTags(number=11, tags=tags_of(1))],
    ),
    "a promotion between two reads of ours": (
        Ours(model=Model(name="shop", production=2), versions=[version(2), version(1, PRODUCTION)], aliases={}),
        Mirror(versions=[theirs(11), theirs(12)]),
        [PROMOTE_2],
    ),
    "a version without files is not made; what there is goes on": (
        Ours(model=Model(name="shop", production=2), versions=[version(2, PRODUCTION, digest=""), version(1)]),
        Mirror(versions=[theirs(11)]),
        [],
    ),
    "a tombstoned one is not made": (
        Ours(model=Model(name="shop"), versions=[version(2, tombstoned_at=NOW), version(1)]),
        Mirror(versions=[theirs(11)]),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_plan_is_what_differs(case: str) -> None:
    """In the order in which it is done; what others made is left alone, but for a second Production."""
    own, mirror, expected = CASES[case]
    assert plan(own, mirror, PAIRS) == expected


def test_versions_that_are_missing_come_first_and_by_number() -> None:
    """Nothing else is planned before they are read back: their numbers there are not known.

    A folder on a disk gets an address that MLflow's server takes; long texts are cut to what it keeps.
    """
    own = Ours(
        model=Model(name="a b"),
        versions=[version(3), version(2, description="é" * 9_000), version(1, name="a b", source_uri="file:///a")],
        tags={2: {"k": "v" * 6_000, "x" * 251: "too long a key"}},
    )
    changes = plan(own, Mirror(versions=[theirs(13, "Production")], aliases={"champion": 13}), {3: 13})
    assert [change.version for change in changes if isinstance(change, CreateVersion)] == [1, 2]
    first, second = changes
    assert isinstance(first, CreateVersion)
    assert isinstance(second, CreateVersion)
    assert (first.source, first.tags[SOURCE_TAG]) == ("switchyard:/a-b/1", "file:///a")
    assert (second.source, len(second.description), len(second.tags["k"])) == ("gs://b/2", MAX_TEXT, MAX_TEXT)
    assert set(second.tags) == {*tags_of(2), "k"}


def test_versions_are_found_by_note_then_by_tags_then_by_origin() -> None:
    """A note of a version that is gone counts for nothing; of two with the same tags the lower one is ours.

    The other of the two is told. One that was imported from there is the one with its number, if it was made in that
    moment.
    """
    own = Ours(
        model=Model(name="shop"),
        versions=[version(number) for number in (5, 4, 3, 2, 1)],
        origins={4: 1_700, 5: 1_800},
    )
    there = Mirror(
        versions=[
            stranger(11),
            theirs(12),
            msgspec.structs.replace(theirs(12), number=22),
            theirs(13),
            Theirs(number=4, created_at_ms=1_700),
            Theirs(number=5, created_at_ms=1_801),
        ]
    )
    found = find_pairs(own, there, {1: 11, 3: 99})
    assert found == {1: 11, 2: 12, 3: 13, 4: 4}
    assert find_doubles(own, there, found) == [22]


def test_a_version_with_our_number_and_other_files_is_not_ours() -> None:
    """It may be another database's."""
    own = Ours(model=Model(name="shop"), versions=[version(2)])
    other = Theirs(number=7, tags=tags_of(2) | {DIGEST_TAG: "sha256:other"})
    assert find_pairs(own, Mirror(versions=[other]), {}) == {}


def test_several_in_production_are_told() -> None:
    """Only where there is more than one."""
    assert find_several(None) == []
    assert find_several(Mirror(versions=[theirs(11, "Production"), theirs(12)])) == []
    assert find_several(Mirror(versions=[theirs(12, "Production"), theirs(11, "Production")])) == [11, 12]


def test_changed_models_are_looked_at_first() -> None:
    """Then the one that was looked at longest ago; with `every`, those that were looked at lately wait."""

    def look(revision: int, ago_s: int) -> MirrorLook:
        return MirrorLook(revision=revision, looked_at=NOW - timedelta(seconds=ago_s))

    models = [Model(name=name, revision=3) for name in ("a", "b", "c", "new")]
    looks = {"a": look(3, 10), "b": look(3, 400), "c": look(2, 20)}
    assert choose_due(models, looks) == ["new", "c", "b", "a"]
    assert choose_due(models, looks, now=NOW, every=timedelta(minutes=5)) == ["new", "c", "b"]
