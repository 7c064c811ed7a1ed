"""Promotion and rollback: who becomes champion, in place of which version, and by what right."""

import shlex
from typing import Any

import msgspec

from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.changes import (
    Change,
    Held,
    Step,
    check_move,
    refuse_tombstoned,
    refuse_without_files,
    say_champion,
    say_compared,
    say_version,
    to_change,
    to_replaced,
)
from switchyard.core.registry.rows import Judgement, Model, ModelVersion, Promotion, Rollback
from switchyard.core.registry.stages import Act, Stage, Validation


def promote(held: Held, wanted: Promotion) -> Change:
    """Returns the change that ends the champion and makes the version champion.

    If the version is champion already, it changes nothing.

    Raises:
        NotFound: no such version.
        StaleWrite: another one than `expected` is champion; the message says which, since when, and by whom.
        BadRequest: the version is tombstoned, has not passed against this champion, or force gives no reason.
    """
    model, version = held.model, held.read(wanted.version)
    if model.production == version.version:
        return Change(model=model)
    refuse_tombstoned(version)
    _expect_champion(held, wanted.expected)
    check_move(version, Stage.PRODUCTION, Act.PROMOTED)
    refuse_without_files(version)
    if wanted.force and not wanted.reason.strip():
        raise BadRequest("a forced promotion needs a reason: --reason '...'. The model's history shows it for ever")
    champion = held.versions[model.production] if model.production is not None else None
    problem = find_gate_problem(version, champion)
    if problem and not wanted.force:
        raise BadRequest(f"{problem}. To promote it all the same: --force --reason '...'")
    return _replace(
        held,
        Step(
            version=version.version,
            act=Act.PROMOTED,
            from_stage=version.stage,
            to_stage=Stage.PRODUCTION,
            reason=wanted.reason,
            forced=bool(problem),
            replaced=model.production,
            evidence=to_evidence(version),
        ),
        previous=model.production,
    )


def find_gate_problem(version: ModelVersion, champion: ModelVersion | None) -> str:
    """Returns why `version` may not take the place of `champion`; empty: it may.

    Where there is no champion there is nothing to be compared with, so that only a failed comparison is in the way.
    """
    judged, what = version.judgement, f"version {version.version} of model {version.name}"
    if judged.status is Validation.FAILED and (champion is None or _speaks_of(judged, version, champion)):
        return f"{what} failed its comparison"
    if champion is None:
        return ""
    against = f"the champion, version {champion.version}"
    first = f"compare them first: switchyard validate {shlex.quote(version.name)} {version.version}"
    if judged.status is not Validation.PASSED:
        return f"{what} was not compared with {against}: its validation is {judged.status}; {first}"
    if not _speaks_of(judged, version, champion):
        return f"{what} passed against {say_compared(judged.against)}, and not against {against}; {first}"
    return ""


def _speaks_of(judged: Judgement, version: ModelVersion, champion: ModelVersion) -> bool:
    return bool(
        judged.digest == version.digest
        and judged.against == champion.version
        and judged.against_digest == champion.digest
    )


def to_evidence(version: ModelVersion) -> dict[str, Any]:
    """Returns what the history keeps of the comparison that let a version through; empty: there was none."""
    if version.judgement.status is Validation.PENDING:
        return {}
    plain: dict[str, Any] = msgspec.to_builtins(version.judgement)
    return plain


def choose_rollback(model: Model, wanted: Rollback) -> int:
    """Returns the version that a rollback makes champion: known before its files are checked.

    Raises:
        BadRequest: none was champion before this one, or the last change was a rollback itself.
    """
    target = wanted.to if wanted.to is not None else model.previous
    if target is None:
        raise BadRequest(
            f"model {model.name} has no version to go back to: nothing was champion before, or the last change was a "
            f"rollback. Name one that was in Production before: switchyard rollback '{model.name}' --to <version>"
        )
    return target


def roll_back(held: Held, wanted: Rollback) -> Change:
    """Does what `promote` does, to a version that was champion before, whatever comparisons say.

    Where it is the champion already, nothing is changed.

    Raises:
        NotFound: no such version.
        StaleWrite: as `promote`.
        BadRequest: there is none to go back to, it is tombstoned, or it never was champion.
    """
    model = held.model
    # A champion other than the expected one comes first: who lost a race must hear that, and not that the model has
    # nothing to go back to since the other rollback.
    if wanted.to is None or wanted.to != model.production:
        _expect_champion(held, wanted.expected)
    target = held.read(choose_rollback(model, wanted))
    if model.production == target.version:
        return Change(model=model)
    refuse_tombstoned(target)
    if target.version not in held.served:
        raise BadRequest(
            f"version {target.version} of model {model.name} was never in Production, so a rollback cannot go to it. "
            f"Promote it: switchyard promote '{model.name}' {target.version} --expect {say_version(model.production)}"
        )
    check_move(target, Stage.PRODUCTION, Act.ROLLED_BACK)
    refuse_without_files(target)
    step = Step(
        version=target.version,
        act=Act.ROLLED_BACK,
        from_stage=target.stage,
        to_stage=Stage.PRODUCTION,
        reason=wanted.reason,
        replaced=model.production,
    )
    # No previous one: the next rollback would bring back what this one takes away.
    return _replace(held, step, previous=None)


def _replace(held: Held, step: Step, *, previous: int | None) -> Change:
    model = held.model
    steps = [step]
    if model.production is not None:
        steps.insert(0, to_replaced(held.versions[model.production], Stage.ARCHIVED, step.version))
    changed: dict[str, Any] = {"production": step.version, "previous": previous}
    if model.challenger == step.version:
        changed |= {"challenger": None, "share": 0.0}
    return to_change(model, steps, changed)


def _expect_champion(held: Held, expected: int | None) -> None:
    model = held.model
    if model.production == expected:
        return
    raise StaleWrite(
        f"{say_champion(held)}; {say_version(expected)} was expected. Nothing "
        f"was changed. To replace it all the same: --expect {say_version(model.production)}"
    )
