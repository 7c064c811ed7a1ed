"""What the commands of `switchyard models` answer: ``--json`` prints these values as they are."""

from datetime import datetime
from typing import Any

import msgspec

from switchyard.core.ports import Models
from switchyard.core.registry.rows import Lineage, Model, ModelVersion, Outcome, Transition
from switchyard.core.registry.stages import Stage


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """A model, and which of its versions answer."""

    name: str
    production: int | None  # the champion
    previous: int | None  # what a rollback goes back to
    challenger: int | None
    share: float  # of the traffic, that the challenger answers
    last_number: int
    aliases: dict[str, int]


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models, by name."""

    models: list[ModelLine]


class VersionLine(msgspec.Struct, frozen=True, kw_only=True):
    """A version in a list."""

    version: int
    stage: str
    share: float | None  # of the traffic; None: it is not the challenger
    validation: str
    against: int | None  # the champion that it was compared with
    digest: str
    quick_test_id: int | None
    aliases: list[str]
    description: str
    created_at: datetime
    created_by: str
    tombstoned_at: datetime | None


class VersionList(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of a model, the newest first."""

    name: str
    versions: list[VersionLine]


class FileLine(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a version."""

    path: str
    size_bytes: int
    sha256: str


class VersionShown(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one version."""

    name: str
    line: VersionLine
    source_uri: str
    source_key: str
    size_bytes: int
    files: list[FileLine]
    lineage: Lineage
    evidence: dict[str, Any]  # of its last comparison
    history: list[Transition]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a model's versions, the oldest first."""

    name: str
    transitions: list[Transition]


class InProduction(msgspec.Struct, frozen=True, kw_only=True):
    """Which version was in Production at a moment."""

    name: str
    at: datetime
    version: int | None  # None: none was


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did, and where the version stands now."""

    outcome: Outcome
    stage: Stage
    share: float | None  # of the traffic; None: it is not the challenger
    is_tombstoned: bool


class Aliased(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias names now."""

    name: str
    alias: str
    version: int | None  # None: nothing any more


def list_models(models: Models) -> ModelList:
    """Lists all models."""
    return ModelList(models=[_to_model_line(models, model) for model in models.list_models()])


def list_versions(models: Models, name: str) -> VersionList:
    """Lists the model's versions.

    Raises: NotFound: no such model.
    """
    model, aliases = models.read_model(name), models.list_aliases(name)
    return VersionList(name=name, versions=[_to_line(one, model, aliases) for one in models.list_versions(name)])


def show_version(models: Models, name: str, reference: str) -> VersionShown:
    """Returns all that is known of one version.

    Raises: NotFound: no such model or version; BadRequest: `reference` is not a reference.
    """
    model, found = models.read_model(name), models.find_version(name, reference)
    manifest = models.read_files(name, found.version)
    return VersionShown(
        name=name,
        line=_to_line(found, model, models.list_aliases(name)),
        source_uri=found.source_uri,
        source_key=found.source_key,
        size_bytes=manifest.size_bytes,
        files=[FileLine(**msgspec.structs.asdict(file)) for file in manifest.files],
        lineage=found.lineage,
        evidence=found.judgement.evidence,
        history=[line for line in models.list_transitions(name) if line.version == found.version],
    )


def list_history(models: Models, name: str, last: int) -> History:
    """Lists the lines of the model's history.

    Raises: NotFound: no such model.
    """
    models.read_model(name)
    return History(name=name, transitions=models.list_transitions(name)[-last:])


def find_production(models: Models, name: str, at: datetime) -> InProduction:
    """Finds the version in Production, by one query.

    If there is none, a second query tells a model without a champion from no model at all.

    Raises: NotFound: no such model.
    """
    version = models.find_production(name, at)
    if version is None:
        models.read_model(name)
    return InProduction(name=name, at=at, version=version)


def to_changed(models: Models, outcome: Outcome) -> Changed:
    """Returns what the change did, and what the registry says of the version after it."""
    model, found = models.read_model(outcome.name), models.find_version(outcome.name, str(outcome.version))
    return Changed(
        outcome=outcome, stage=found.stage, share=_to_share(found, model), is_tombstoned=found.tombstoned_at is not None
    )


def _to_model_line(models: Models, model: Model) -> ModelLine:
    return ModelLine(
        name=model.name,
        production=model.production,
        previous=model.previous,
        challenger=model.challenger,
        share=model.share,
        last_number=model.last_number,
        aliases=models.list_aliases(model.name),
    )


def _to_line(found: ModelVersion, model: Model, aliases: dict[str, int]) -> VersionLine:
    return VersionLine(
        version=found.version,
        stage=found.stage,
        share=_to_share(found, model),
        validation=found.judgement.status,
        against=found.judgement.against,
        digest=found.digest,
        quick_test_id=found.lineage.quick_test_id,
        aliases=[alias for alias, version in aliases.items() if version == found.version],
        description=found.description,
        created_at=found.created_at,
        created_by=found.created_by,
        tombstoned_at=found.tombstoned_at,
    )


def _to_share(found: ModelVersion, model: Model) -> float | None:
    return model.share if found.version == model.challenger else None
