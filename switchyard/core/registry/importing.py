"""Another registry's models as ours: what was read there, and what it becomes here. Nothing here reads or writes.

MLflow's registry forgives what ours does not: two versions in Production, aliases of versions that are gone, names with
a slash. None of that is chosen silently: it is listed, and a person decides.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from switchyard.core.errors import BadRequest, SwitchyardError, catch
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.names import CHALLENGER, CHAMPION, check_free_alias
from switchyard.core.registry.rows import Lineage, ModelVersion
from switchyard.core.registry.stages import Stage

DELETED: Final = "Deleted_Internal"
"""The stage of a version that was deleted: its row stays. Source: mlflow/entities/model_registry/
model_version_stages.py, 2.9.2."""

NOT_HERE: Final = "it is not here: import again"
"""What a comparison says of a version that was not imported."""


class VersionOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """A version as its own registry has it."""

    number: int
    stage: str = str(Stage.NONE)
    description: str = ""
    source: str = ""
    storage: str = ""  # where the files lie, if not at the source: a copy of another model's version, say
    run_id: str = ""
    run_link: str = ""
    user_id: str = ""
    status: str = ""
    status_message: str = ""
    created_at_ms: int | None = None
    updated_at_ms: int | None = None
    tags: dict[str, str] = {}


class ModelOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its own registry has it, its versions aside."""

    name: str
    workspace: str = ""
    description: str = ""
    created_at_ms: int | None = None
    updated_at_ms: int | None = None
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    deleted: list[int] = []  # numbers that were given once


class SourceModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was read from another registry."""

    origin: ModelOrigin
    versions: Sequence[VersionOrigin] = ()  # by number
    places: Mapping[int, str] = {}  # the URIs below which their files lie; empty: no one knows

    @property
    def name(self) -> str:
        """The model's name in MLflow."""
        return self.origin.name

    @property
    def last_number(self) -> int:
        """The highest number ever given there, as far as it can be known."""
        return max([version.number for version in self.versions] + self.origin.deleted, default=0)


class LostModel(msgspec.Struct, frozen=True):
    """A model that could not be read; the others could."""

    name: str
    error: SwitchyardError


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What of a model's stages and aliases is taken, and what is not, in words for people."""

    production: int | None = None
    challenger: int | None = None
    stages: Mapping[int, Stage] = {}
    aliases: Mapping[str, int] = {}
    listed: Sequence[str] = ()


def choose(model: SourceModel, production: int | None = None) -> Chosen:
    """Chooses the champion, the challenger, and the aliases to take.

    `production`: the champion that a person says.

    Raises:
        BadRequest: no version has the number that a person says.
    """
    numbers = {version.number for version in model.versions}
    if production is not None and production not in numbers:
        raise BadRequest(
            f"model {model.origin.name} has no version {production} to be in Production; it has "
            f"{', '.join(map(str, sorted(numbers))) or 'none'}"
        )
    listed: list[str] = []
    champion = production
    if champion is None:
        champion = _choose_one(model, Stage.PRODUCTION, CHAMPION, listed)
    challenger = _choose_one(model, Stage.STAGING, CHALLENGER, listed)
    if challenger is not None and challenger == champion:
        challenger = None
    stages = {version.number: _to_stage(version, champion, challenger) for version in model.versions}
    return Chosen(
        production=champion,
        challenger=challenger,
        stages=stages,
        aliases=_choose_aliases(model, numbers, champion, challenger, listed),
        listed=listed,
    )


def _choose_one(model: SourceModel, stage: Stage, alias: str, listed: list[str]) -> int | None:
    """Returns the one version in a stage; if none is, the one that the alias names.

    Several: none, because no one knows who should answer.
    """
    name = model.origin.name
    found = [version.number for version in model.versions if version.stage == stage]
    named = model.origin.aliases.get(alias)
    if named is not None and named not in {version.number for version in model.versions}:
        named = None  # it dangles, which is said with the other aliases
    if len(found) > 1:
        which = " and ".join(map(str, found))
        say = f". Say which: --production '{name}={found[-1]}'" if stage is Stage.PRODUCTION else ""
        listed.append(f"versions {which} are in {stage}, so none of them is {alias} here{say}")
        return None
    if found and named is not None and named != found[0]:
        listed.append(
            f"the alias {alias} names version {named}, and version {found[0]} is in {stage}: the stage counts"
        )
    return found[0] if found else named


def _to_stage(version: VersionOrigin, champion: int | None, challenger: int | None) -> Stage:
    if version.number == champion:
        return Stage.PRODUCTION
    if version.number == challenger:
        return Stage.STAGING
    # It was in Production beside another one, or before the one that a person says.
    if version.stage in (Stage.PRODUCTION, Stage.ARCHIVED):
        return Stage.ARCHIVED
    return Stage.NONE


def _choose_aliases(
    model: SourceModel, numbers: set[int], champion: int | None, challenger: int | None, listed: list[str]
) -> dict[str, int]:
    taken: dict[str, int] = {}
    for alias, number in sorted(model.origin.aliases.items()):
        kept = {CHAMPION: champion, CHALLENGER: challenger}
        if number not in numbers:
            listed.append(f"the alias {alias} names version {number}, which is not there (any more): not taken")
        elif alias in kept:
            continue  # the registry keeps it; a difference is said where the stage is chosen
        elif (refused := catch(lambda alias=alias: check_free_alias(alias))) is not None:  # type: ignore[misc]
            listed.append(f"the alias {alias} of version {number} is not taken: {refused}")
        else:
            taken[alias] = number
    return taken


class ImportedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it is written here."""

    origin: VersionOrigin
    stage: Stage
    manifest: Manifest | None = None  # None: its files could not be read
    why_no_files: str = ""
    source_uri: str = ""  # the folder of the copied files
    flavor: str = ""
    lineage: Lineage = Lineage()  # the run of ours that its MLflow run is if one is


class VersionImport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one version."""

    number: int
    is_new: bool = False
    files: int = 0  # copied in this call
    size_bytes: int = 0
    no_files: str = ""  # why there are none


class ModelVerified(msgspec.Struct, kw_only=True):
    """What of a model here is as its own registry has it."""

    versions: int = 0  # every field of which is the same, and every file to the last byte
    files: int = 0
    size_bytes: int = 0
    without_files: list[int] = []
    differs: dict[str, list[str]] = {}  # by version; "model": the model itself


def to_source_key(origin: ModelOrigin, number: int) -> str:
    """Returns what an imported version was made from.

    >>> to_source_key(ModelOrigin(name="shop"), 3)
    'mlflow:shop/3'
    """
    workspace = f"{origin.workspace}:" if origin.workspace else ""
    return f"mlflow:{workspace}{origin.name}/{number}"


def find_conflicts(name: str, model: SourceModel, source_keys: Mapping[int, str]) -> str:
    """Returns why the model cannot be imported as `name`; empty: it can. Versions here have these `source_keys`."""
    ours = [
        number
        for number, key in sorted(source_keys.items())
        if number <= model.last_number and key != to_source_key(model.origin, number)
    ]
    if not ours:
        return ""
    return (
        f"model {name} has versions of its own here, with numbers that model {model.origin.name} has there too "
        f"({', '.join(map(str, ours))}). Import it under another name: --name '{model.origin.name}=<another name>'"
    )


def to_time(ms: int | None, otherwise: datetime) -> datetime:
    """Returns a time in ms; one that is not there, or that no calendar has, is `otherwise`."""
    try:
        return otherwise if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return otherwise


def to_evidence(version: ImportedVersion, where: str) -> dict[str, Any]:
    """Returns what the history's line of an import says of it."""
    origin = version.origin
    found: dict[str, Any] = {
        "imported_from": where,
        "stage": origin.stage,
        "created_at": _say_time(origin.created_at_ms),
        "last_updated_at": _say_time(origin.updated_at_ms),
    }
    return found | ({"no_files": version.why_no_files} if version.why_no_files else {})


def _say_time(ms: int | None) -> str | None:
    if ms is None:
        return None
    never = datetime.min.replace(tzinfo=UTC)
    at = to_time(ms, never)
    return str(ms) if at == never else at.isoformat(timespec="milliseconds")


def find_field_differences(
    origin: VersionOrigin, version: ModelVersion, tags: Mapping[str, str], kept: VersionOrigin | None
) -> list[str]:
    """Returns what of a version here is not as its own registry has it, its files aside; empty: nothing."""
    problems = []
    if kept != origin:
        problems.append("what is kept of its origin differs from what is there now")
    for what, expected, found in (
        ("number", origin.number, version.version),
        ("description", origin.description, version.description),
        ("created by", origin.user_id, version.created_by),
        ("tags", dict(origin.tags), dict(tags)),
        ("time of creation", to_time(origin.created_at_ms, version.created_at), version.created_at),
    ):
        if expected != found:
            problems.append(f"{what}: there {expected!r}, here {found!r}")
    return problems


def read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Reads pairs such as ``shop/v2=shop``, by what stands before the last ``=``. Raises: BadRequest.

    >>> read_pairs(["shop/v2=shop"])
    {'shop/v2': 'shop'}
    """
    found: dict[str, str] = {}
    for pair in pairs:
        there, _, here = pair.rpartition("=")
        if not there or not here:
            raise BadRequest(f"{pair!r} must be a model's name there, an equals sign, and what it is here")
        found[there] = here
    return found


def read_productions(pairs: Sequence[str]) -> dict[str, int]:
    """Reads pairs such as ``shop=3``: the champions that a person says. Raises: BadRequest."""
    found = read_pairs(pairs)
    if bad := [f"{name}={number}" for name, number in found.items() if not number.isdecimal()]:
        raise BadRequest(f"a version is a number, as in shop=3; got {', '.join(bad)}")
    return {name: int(number) for name, number in found.items()}
