"""Brings our registry's models into the registry that mirrors it: read, plan, do, read again, until both agree.

Nothing waits for this. A promotion is done when our registry has it, and the next look repairs what is wrong here. One
model's trouble does not stop the others.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

from switchyard.core.errors import NotFound, StaleWrite, TryAgain, catch, to_message
from switchyard.core.ports import MirrorNotes, ModelMirror, Models
from switchyard.core.registry.mirroring import (
    CreateModel,
    CreateVersion,
    Mirror,
    MirrorChange,
    MirrorLook,
    MirrorResult,
    MoveStage,
    Ours,
    RemoveAlias,
    SetAlias,
    SetTags,
    choose_due,
    find_doubles,
    find_pairs,
    find_several,
    plan,
)

ROUNDS: Final = 6
"""Rounds: model and versions; tags, aliases, stages; a look; and as many again if others change it meanwhile."""
UNDONE: Final = -2
"""The revision of a look that failed. No model has it, so the next turn looks again."""
HELD: Final = timedelta(minutes=5)
"""How long one process looks after a model alone. One look takes seconds."""


def read_now() -> datetime:
    """Returns the time now."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Mirroring:
    """Holds what mirroring reaches, and how long it may take."""

    models: Models
    notes: MirrorNotes
    mirror: ModelMirror
    deadline: float = math.inf  # by `clock`; what is not done then waits for the next turn
    every: timedelta = timedelta(0)  # the time between two looks at a model that has not changed
    now: Callable[[], datetime] = read_now
    clock: Callable[[], float] = time.monotonic

    @property
    def is_over(self) -> bool:
        """Returns true if the turn's time is over."""
        return self.clock() > self.deadline


def mirror_models(ports: Mirroring, names: Sequence[str] = ()) -> MirrorResult:
    """Looks at the mirrors of all models, or of `names`, and repairs them. A second call finds nothing to do.

    The answer has what went wrong, by model.

    Raises:
        NotFound: we have no model of one of the names.
    """
    result, holder = MirrorResult(target=ports.mirror.target), uuid4().hex
    models = {model.name: model for model in ports.models.list_models()}
    if unknown := sorted(set(names) - set(models)):
        raise NotFound(f"there is no model {', '.join(unknown)}")
    wanted = [models[name] for name in names] if names else list(models.values())
    due = choose_due(wanted, ports.notes.list_looks(ports.mirror.target), now=ports.now(), every=ports.every)
    for done, name in enumerate(due):
        if done and ports.is_over:
            result.left = len(due) - done
            break
        if isinstance(err := _look_at(ports, name, holder, result), TryAgain):  # it would fail for all others too
            result.away, result.left = str(err), len(due) - done
            break
    return result


def _look_at(ports: Mirroring, name: str, holder: str, result: MirrorResult) -> Exception | None:
    target, now = ports.mirror.target, ports.now()
    if not ports.notes.hold(target, name, holder, now=now, until=now + HELD):
        result.busy.append(name)
        return None
    revision = ports.models.read_model(name).revision
    result.looked_at += 1
    err = catch(partial(mirror_model, ports, name, result))
    error = to_message(err) if isinstance(err, Exception) else ""
    if isinstance(err, TryAgain):
        revision = UNDONE
    elif error:
        result.failed[name] = error
    ports.notes.note_look(target, name, holder, MirrorLook(revision=revision, looked_at=ports.now(), error=error))
    return err


def mirror_model(ports: Mirroring, name: str, result: MirrorResult) -> None:
    """Makes the model's mirror show what our registry has.

    Raises:
        StaleWrite: others keep changing it. BadRequest, NotFound, TryAgain, BadSetup: as `ModelMirror`.
    """
    notes, target = ports.notes, ports.mirror.target
    for _ in range(ROUNDS):
        ours, mirror = read_ours(ports, name), ports.mirror.read(name)
        pairs = notes.list_pairs(target, name)
        if mirror is not None:
            found = find_pairs(ours, mirror, pairs)
            if found != pairs:
                notes.keep_pairs(target, name, found)
                pairs = found
            _say_odd(name, ours, mirror, pairs, result)
        changes = plan(ours, mirror, pairs)
        if not changes:
            return
        for change in changes:
            _carry_out(ports.mirror, name, change, result)
            result.changed[name] = result.changed.get(name, 0) + 1
            if ports.is_over:
                raise TryAgain(f"the time for this turn is over; the mirror of model {name} goes on at the next one")
    raise StaleWrite(
        f"model {name} of {target} is changed by others as fast as it is repaired, and will be looked at again. Let "
        "only Switchyard change its stages and aliases there"
    )


def read_ours(ports: Mirroring, name: str) -> Ours:
    """Returns the model as our registry has it. A promotion may come between two queries: the next round sees it."""
    return Ours(
        model=ports.models.read_model(name),
        versions=ports.models.list_versions(name),
        aliases=ports.models.list_aliases(name),
        tags=ports.models.list_tags(name),
        origins=ports.notes.list_origins(name),
    )


def _say_odd(name: str, ours: Ours, mirror: Mirror, pairs: dict[int, int], result: MirrorResult) -> None:
    if several := find_several(mirror):
        result.several.setdefault(name, several)
    if doubles := find_doubles(ours, mirror, pairs):
        result.doubles[name] = doubles


def _carry_out(mirror: ModelMirror, name: str, change: MirrorChange, result: MirrorResult) -> None:
    match change:
        case CreateModel():
            mirror.create_model(name, change)
        case CreateVersion():
            mirror.create_version(name, change)  # its number is read later: the call's answer may be lost
            result.created.setdefault(name, []).append(change.version)
        case SetTags():
            mirror.set_tags(name, change)
        case SetAlias():
            mirror.set_alias(name, change)
        case RemoveAlias():
            mirror.remove_alias(name, change)
        case MoveStage():
            mirror.move(name, change)
