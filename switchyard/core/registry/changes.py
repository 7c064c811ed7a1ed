"""A change of a model as a value: decided from the rows as they are under the lock, then written whole or not at all.

Nothing here reads or writes. `promotion` and `staging` say what each request does.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from switchyard.core.errors import BadRecord, BadRequest, NotFound
from switchyard.core.registry.rows import Model, ModelVersion, Transition
from switchyard.core.registry.stages import Act, Stage, may_move


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line for the history, and the version's new stage."""

    version: int
    act: Act
    from_stage: Stage
    to_stage: Stage
    reason: str = ""
    forced: bool = False
    replaced: int | None = None
    share: float | None = None
    evidence: dict[str, Any] = {}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The model's row after a change, and the steps in the order of writing; the last step answers the request.

    If there is nothing to write, there are no steps. The stage that is left comes first, because two versions are never
    in Production at once.
    """

    model: Model
    steps: tuple[Step, ...] = ()


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model while its row is held."""

    model: Model
    versions: Mapping[int, ModelVersion]  # at least those that the request and the model's row name
    served: frozenset[int] = frozenset()  # those of them that were champion once
    last: Transition | None = None  # the line by which Production changed last
    challenged: Transition | None = None  # the line by which the challenger became it

    def read(self, version: int) -> ModelVersion:
        """Returns the version of that number.

        Raises: NotFound: there is none.
        """
        if version not in self.versions:
            raise NotFound(f"model {self.model.name} has no version {version}; its highest is {self.model.last_number}")
        return self.versions[version]


def to_replaced(version: ModelVersion, stage: Stage, by: int) -> Step:
    """Returns the step by which a version makes room for version `by`.

    Raises:
        BadRecord: its stage is not what the model's row says: another program has written past the registry.
    """
    if not may_move(version.stage, stage, Act.REPLACED):
        said = f"is in {version.stage}, and the model's row names another stage: another program wrote it"
        raise BadRecord(f"version {version.version} of model {version.name}", [said])
    return Step(
        version=version.version,
        act=Act.REPLACED,
        from_stage=version.stage,
        to_stage=stage,
        reason=f"replaced by version {by}",
    )


def to_change(model: Model, steps: list[Step], changed: Mapping[str, Any]) -> Change:
    """Returns the change of `steps`, after which the model's row has what `changed` says."""
    after = msgspec.structs.replace(model, **changed, revision=model.revision + len(steps))
    return Change(model=after, steps=tuple(steps))


def check_move(version: ModelVersion, stage: Stage, act: Act) -> None:
    """Refuses a move that the table of moves does not have.

    Raises: BadRequest: it is one.
    """
    if not may_move(version.stage, stage, act):
        raise BadRequest(
            f"version {version.version} of model {version.name} is in {version.stage}, and cannot go to {stage}"
        )


def refuse_tombstoned(version: ModelVersion) -> None:
    """Refuses a version that is tombstoned.

    Raises: BadRequest: it is.
    """
    if version.tombstoned_at is not None:
        raise BadRequest(
            f"version {version.version} of model {version.name} was tombstoned at "
            f"{version.tombstoned_at:%Y-%m-%d %H:%M} UTC, and stays so. Use another version, or "
            "register the run under another name"
        )


def refuse_without_files(version: ModelVersion) -> None:
    """Refuses a version that was imported without files, because they could not be read.

    Raises: BadRequest: it is one.
    """
    if not version.digest:
        raise BadRequest(
            f"version {version.version} of model {version.name} has no files here, so it cannot be loaded. To "
            "import them once they can be read: switchyard import-models"
        )


def say_version(version: object) -> str:
    """Returns a version, or that there is none, as `--expect` takes it."""
    return "none" if version is None else str(version)


def say_champion(held: Held) -> str:
    """Returns who is in Production, since when, and by whom."""
    model, last = held.model, held.last
    found = "no version is" if model.production is None else f"version {model.production} is"
    since = ""
    if last is not None:
        by = f" by {last.by}" if last.by else ""
        since = f" since {last.at:%Y-%m-%d %H:%M:%S} UTC ({last.act}{by})"
    return f"{found} in Production of model {model.name}{since}"


def say_challenger(held: Held) -> str:
    """Returns who is the challenger, since when, by whom, and with which share."""
    model, line = held.model, held.challenged
    if model.challenger is None:
        return f"no version is the challenger of model {model.name}"
    since = ""
    if line is not None:
        by = f" by {line.by}" if line.by else ""
        since = f" since {line.at:%Y-%m-%d %H:%M:%S} UTC ({line.act}{by})"
    return f"version {model.challenger} is the challenger of model {model.name}{since}, with share {model.share:g}"


def say_compared(version: int | None) -> str:
    """Returns the version that another one was compared with, in words."""
    return "no champion" if version is None else f"version {version}"
