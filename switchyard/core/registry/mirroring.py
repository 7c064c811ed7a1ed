"""The registry's mirror in an MLflow registry: what differs, and what must be done there next. Ours is the truth.

MLflow takes no lock when a stage changes, so that two promoters may leave two versions in Production there. What is
planned here is therefore always planned from what was read back: the caller who acts on it reads and plans again until
nothing is left.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from switchyard.core.registry.rows import Model, ModelVersion
from switchyard.core.registry.stages import Stage

VERSION_TAG: Final = "switchyard.version"
DIGEST_TAG: Final = "switchyard.digest"
SOURCE_TAG: Final = "switchyard.source"
STATUS_TAG: Final = "switchyard.validation_status"
MAX_TEXT: Final = 5_000
"""Characters of a description and of a tag's value. Source: mlflow/store/model_registry/dbmodels/models.py, 2.9.2."""
MAX_KEY: Final = 250


class Theirs(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the mirror."""

    number: int
    stage: str = str(Stage.NONE)
    tags: Mapping[str, str] = {}
    created_at_ms: int | None = None


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the mirror, as it was read."""

    versions: Sequence[Theirs] = ()
    aliases: Mapping[str, int] = {}


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """A model of ours, as it was read."""

    model: Model
    versions: Sequence[ModelVersion] = ()
    aliases: Mapping[str, int] = {}
    tags: Mapping[int, Mapping[str, str]] = {}  # by version; 0: the model's
    origins: Mapping[int, int] = {}  # when the versions that were imported were made there, in ms


class CreateModel(msgspec.Struct, frozen=True, kw_only=True):
    """Make the model in the mirror."""

    description: str = ""


class CreateVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Make our version there; by its tags it is found again."""

    version: int
    source: str
    description: str = ""
    tags: Mapping[str, str] = {}


class SetTags(msgspec.Struct, frozen=True, kw_only=True):
    """Give a version in the mirror these tags."""

    number: int
    tags: Mapping[str, str]


class SetAlias(msgspec.Struct, frozen=True, kw_only=True):
    """Let an alias name this version of the mirror's, and no other."""

    alias: str
    number: int


class RemoveAlias(msgspec.Struct, frozen=True, kw_only=True):
    """Let an alias name nothing."""

    alias: str


class MoveStage(msgspec.Struct, frozen=True, kw_only=True):
    """Move a version of the mirror's; `archive`: all others that are in that stage are archived by the same call."""

    number: int
    stage: Stage
    archive: bool = False


class MirrorLook(msgspec.Struct, frozen=True, kw_only=True):
    """The last look at a model's mirror."""

    revision: int  # of our model, as it was then
    looked_at: datetime
    error: str = ""  # what was wrong; empty: nothing


class MirrorResult(msgspec.Struct, kw_only=True):
    """What one turn over the mirror did."""

    target: str = ""  # empty: no mirror is set
    looked_at: int = 0
    changed: dict[str, int] = {}  # models that were not as ours, and how much was done there
    created: dict[str, list[int]] = {}  # our versions that were made there
    several: dict[str, list[int]] = {}  # the mirror's versions found in Production together, which are repaired
    doubles: dict[str, list[int]] = {}  # the mirror's versions that were made twice; nothing uses them
    busy: list[str] = []  # another process looks after them now
    left: int = 0  # for the next turns
    failed: dict[str, str] = {}  # by model
    away: str = ""  # why no model could be looked at


MirrorChange = CreateModel | CreateVersion | SetTags | SetAlias | RemoveAlias | MoveStage


def plan(ours: Ours, mirror: Mirror | None, pairs: Mapping[int, int]) -> list[MirrorChange]:
    """Returns what to do next, in this order; then read and plan again. Empty: the mirror shows what we have.

    `pairs`: the mirror's numbers of our versions, as they were noted. None of what others made there is touched, but
    for versions in Production beside our champion, and the aliases that are ours.
    """
    if mirror is None:
        return [CreateModel(description=_cut(ours.model.description))]
    found = find_pairs(ours, mirror, pairs)
    missing = [version for version in reversed(ours.versions) if version.version not in found and _is_wanted(version)]
    if missing:
        return [_to_creation(version, ours) for version in sorted(missing, key=lambda version: version.version)]
    return [*_plan_tags(ours, mirror, found), *_plan_aliases(ours, mirror, found), *_plan_stages(ours, mirror, found)]


def find_pairs(ours: Ours, mirror: Mirror, pairs: Mapping[int, int]) -> dict[int, int]:
    """Returns the mirror's number of each version of ours that is there.

    Found by the note that was made of it, by its tags (the lowest number, should a lost answer have made a second one),
    or because it was imported from there.
    """
    theirs = {version.number: version for version in mirror.versions}
    found = {ours: number for ours, number in pairs.items() if number in theirs}
    by_tags: dict[tuple[str, str], int] = {}
    for number in sorted(theirs, reverse=True):
        tags = theirs[number].tags
        by_tags[tags.get(VERSION_TAG, ""), tags.get(DIGEST_TAG, "")] = number
    taken = set(found.values())
    for version in ours.versions:
        if version.version in found:
            continue
        tagged = by_tags.get((str(version.version), version.digest))
        there = tagged if tagged is not None else _find_origin(version.version, ours, theirs)
        if there is not None and there not in taken:
            found[version.version] = there
            taken.add(there)
    return found


def _find_origin(version: int, ours: Ours, theirs: Mapping[int, Theirs]) -> int | None:
    """Returns `version` if it was imported from there: with the same number, made at the same moment; else None."""
    made, there = ours.origins.get(version), theirs.get(version)
    return version if there is not None and made is not None and there.created_at_ms == made else None


def _is_wanted(version: ModelVersion) -> bool:
    """Returns True if the version is made in the mirror, or looked after there.

    One that is tombstoned, or has no files, is not made there. If it is there, it is looked after.
    """
    return version.tombstoned_at is None and bool(version.digest)


def _to_creation(version: ModelVersion, ours: Ours) -> CreateVersion:
    own = {key: _cut(value) for key, value in ours.tags.get(version.version, {}).items() if len(key) <= MAX_KEY}
    return CreateVersion(
        version=version.version,
        source=to_source(version),
        description=_cut(version.description),
        tags=own | _to_tags(version),
    )


def to_source(version: ModelVersion) -> str:
    """Returns where the files are, as MLflow's server takes it.

    It refuses every folder on a disk, for security: such a version gets an address that nothing can load, and a tag
    that says where the files are.

    >>> from datetime import datetime, UTC
    >>> of = ModelVersion(name="shop", version=3, digest="", source_uri="file:///a", created_at=datetime.now(UTC))
    >>> to_source(of)
    'switchyard:/shop/3'
    """
    if version.source_uri.startswith(("gs://", "s3://")):
        return version.source_uri
    return f"switchyard:/{version.name.replace(' ', '-')}/{version.version}"


def _to_tags(version: ModelVersion) -> dict[str, str]:
    return {
        VERSION_TAG: str(version.version),
        DIGEST_TAG: version.digest,
        SOURCE_TAG: _cut(version.source_uri),
        STATUS_TAG: str(version.judgement.status),
    }


def _plan_tags(ours: Ours, mirror: Mirror, found: Mapping[int, int]) -> list[MirrorChange]:
    theirs = {version.number: version for version in mirror.versions}
    changes: list[MirrorChange] = []
    for version in ours.versions:
        number = found.get(version.version)
        if number is None:
            continue
        there = theirs[number].tags
        wrong = {key: value for key, value in _to_tags(version).items() if there.get(key, "") != value}
        if wrong:
            changes.append(SetTags(number=number, tags=wrong))
    return changes


def _plan_aliases(ours: Ours, mirror: Mirror, found: Mapping[int, int]) -> list[MirrorChange]:
    """Returns what to do about aliases.

    An alias that we do not have is removed if it names a version of ours, or is one that the registry keeps.
    """
    changes: list[MirrorChange] = []
    for alias, version in sorted(ours.aliases.items()):
        number = found.get(version)
        if number is not None and mirror.aliases.get(alias) != number:
            changes.append(SetAlias(alias=alias, number=number))
    numbers = set(found.values())
    for alias, number in sorted(mirror.aliases.items()):
        if alias not in ours.aliases and number in numbers:
            changes.append(RemoveAlias(alias=alias))
    return changes


def _plan_stages(ours: Ours, mirror: Mirror, found: Mapping[int, int]) -> list[MirrorChange]:
    """Moves the champion first, by the one call that archives the version in Production beside it.

    So a reader sees the old one or the new one. What that call moves is looked at again in the next round.
    """
    theirs = {version.number: version for version in mirror.versions}
    changes: list[MirrorChange] = []
    moved: set[int] = set()
    champion = found.get(ours.model.production) if ours.model.production is not None else None
    if champion is not None:
        in_production = {number for number, version in theirs.items() if version.stage == Stage.PRODUCTION}
        if in_production != {champion}:
            changes.append(MoveStage(number=champion, stage=Stage.PRODUCTION, archive=True))
            moved = in_production | {champion}
    for version in ours.versions:
        number = found.get(version.version)
        if number is None or number in moved or theirs[number].stage == version.stage:
            continue
        if version.stage is Stage.PRODUCTION:
            continue  # a promotion came between two reads of ours: the next round sees it whole
        changes.append(MoveStage(number=number, stage=version.stage))
    return changes


def choose_due(
    models: Iterable[Model],
    looks: Mapping[str, MirrorLook],
    *,
    now: datetime | None = None,
    every: timedelta = timedelta(0),
) -> list[str]:
    """Returns the models in the order in which their mirrors are looked at.

    First those that have changed since the last look, then the one that was looked at longest ago. With `every`, one
    that has not changed waits that long.
    """

    def to_rank(model: Model) -> tuple[bool, float, str]:
        look = looks.get(model.name)
        if look is None:
            return (False, 0.0, model.name)
        return (look.revision == model.revision, look.looked_at.timestamp(), model.name)

    def is_due(model: Model) -> bool:
        look = looks.get(model.name)
        return look is None or now is None or look.revision != model.revision or look.looked_at + every <= now

    return [model.name for model in sorted(models, key=to_rank) if is_due(model)]


def find_doubles(ours: Ours, mirror: Mirror, found: Mapping[int, int]) -> list[int]:
    """Returns the mirror's numbers that have the tags of a version of ours that another number stands for."""
    named = {(str(version.version), version.digest) for version in ours.versions if version.version in found}
    taken = set(found.values())
    return sorted(
        version.number
        for version in mirror.versions
        if version.number not in taken
        and (version.tags.get(VERSION_TAG, ""), version.tags.get(DIGEST_TAG, "")) in named
    )


def find_several(mirror: Mirror | None) -> list[int]:
    """Returns the versions in Production if there is more than one."""
    numbers = sorted(version.number for version in (mirror.versions if mirror else ()) if version.stage == "Production")
    return numbers if len(numbers) > 1 else []


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
