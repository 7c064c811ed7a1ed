"""What people decide of a version that is not champion: its stage, the challenger's share, a judgement, its end."""

import shlex
from typing import Any, Final

import msgspec

from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.changes import (
    Change,
    Held,
    Step,
    check_move,
    refuse_tombstoned,
    say_challenger,
    say_champion,
    say_compared,
    say_version,
    to_change,
    to_replaced,
)
from switchyard.core.registry.rows import ShareChange, StageMove, Tombstone, Verdict
from switchyard.core.registry.stages import Act, Stage, Validation

MAX_SHARE: Final = 0.5
"""The largest share of the traffic: a challenger that answers more than the champion would be the champion."""
FIRST_SHARE: Final = 0.05
"""The share of a new challenger, if no other share is asked for."""
_TO_REPLACE: Final = "To replace it all the same: --expect {challenger}"


def move(held: Held, wanted: StageMove) -> Change:
    """Moves a version to Staging, None or Archived.

    In Staging it is the challenger, in the place of the one before, which goes back to None. A version that is there
    already stays; the challenger gets the share that is asked for.

    Raises:
        NotFound: no such version.
        StaleWrite: the challenger is not `expected_challenger`.
        BadRequest: there is no such move, the share is out of range, or the champion's end gives no reason.
    """
    model, version = held.model, held.read(wanted.version)
    if wanted.stage is Stage.PRODUCTION:
        raise BadRequest(
            "a version enters Production by a promotion, which names the champion that it replaces: switchyard promote "
            f"{shlex.quote(model.name)} {version.version} --expect {say_version(model.production)}"
        )
    if version.stage is wanted.stage:
        if wanted.share is None or wanted.stage is not Stage.STAGING:
            return Change(model=model)
        _expect_challenger(held, wanted.expected_challenger, _TO_REPLACE)
        return _share(held, version.version, wanted.share, wanted.reason)
    refuse_tombstoned(version)
    check_move(version, wanted.stage, Act.MOVED)
    to_staging = wanted.stage is Stage.STAGING
    begun = FIRST_SHARE if wanted.share is None else wanted.share
    if to_staging:
        check_share(begun)
        _expect_challenger(held, wanted.expected_challenger, _TO_REPLACE)
    steps = []
    changed: dict[str, Any] = {}
    if to_staging and model.challenger is not None:
        steps.append(to_replaced(held.versions[model.challenger], Stage.NONE, version.version))
    if to_staging:
        changed = {"challenger": version.version, "share": begun}
    elif version.version == model.challenger:
        changed = {"challenger": None, "share": 0.0}
    elif version.version == model.production:
        if not wanted.reason.strip():
            raise BadRequest(
                f"version {version.version} of model {model.name} is in Production, and archiving it leaves none "
                "there. Say why with a reason, or promote another version instead"
            )
        changed = {"production": None, "previous": version.version}
    steps.append(
        Step(
            version=version.version,
            act=Act.MOVED,
            from_stage=version.stage,
            to_stage=wanted.stage,
            reason=wanted.reason,
            replaced=model.challenger if to_staging else None,
            share=begun if to_staging else None,
        )
    )
    return to_change(model, steps, changed)


def share(held: Held, wanted: ShareChange) -> Change:
    """Gives the challenger another share. The same share changes nothing.

    Raises:
        StaleWrite: another version is the challenger, or none is.
        BadRequest: the share is out of range.
    """
    check_share(wanted.share)
    _expect_challenger(held, wanted.version, "To see who is: switchyard models show {name} Staging")
    return _share(held, wanted.version, wanted.share, wanted.reason)


def _share(held: Held, version: int, share: float, reason: str) -> Change:
    check_share(share)
    if held.model.share == share:
        return Change(model=held.model)
    stage = held.read(version).stage
    step = Step(version=version, act=Act.SHARED, from_stage=stage, to_stage=stage, reason=reason, share=share)
    return to_change(held.model, [step], {"share": share})


def validate(held: Held, wanted: Verdict) -> Change:
    """Returns the change that keeps what a comparison said, on the version and in the history.

    The very same judgement again changes nothing.

    Raises:
        NotFound: no such version, or no such champion.
        StaleWrite: the files compared are not the version's, or not those of the champion that is named; or another one
            is champion by now if that is asked for.
        BadRequest: the judgement says nothing, or the version is tombstoned.
    """
    model, version, judged = held.model, held.read(wanted.version), wanted.judgement
    if wanted.of_champion and model.production != judged.against:
        raise StaleWrite(
            f"{say_champion(held)}; version {version.version} was compared with {say_compared(judged.against)}. "
            f"Nothing was written. To compare it again: switchyard validate '{model.name}' {version.version}"
        )
    if version.judgement == judged:
        return Change(model=model)
    refuse_tombstoned(version)
    if judged.status is Validation.PENDING:
        raise BadRequest("a judgement is passed or failed; pending is what a version is before the first one")
    expected = {version.version: (version.digest, judged.digest)}
    if judged.against is not None:
        expected[judged.against] = (held.read(judged.against).digest, judged.against_digest)
    for number, (digest, found) in expected.items():
        if digest != found:
            raise StaleWrite(f"version {number} of model {model.name} has digest {digest}; compared was {found}")
    step = Step(
        version=version.version,
        act=Act.VALIDATED,
        from_stage=version.stage,
        to_stage=version.stage,
        reason=wanted.reason or str(judged.status),
        evidence=msgspec.to_builtins(judged),
    )
    return to_change(model, [step], {})


def tombstone(held: Held, wanted: Tombstone) -> Change:
    """Returns the change that retires a version for ever; it changes nothing for a tombstoned version.

    Raises:
        NotFound: no such version.
        BadRequest: it is in Production or Staging, or no reason is given.
    """
    model, version = held.model, held.read(wanted.version)
    if version.tombstoned_at is not None:
        return Change(model=model)
    if version.stage in (Stage.PRODUCTION, Stage.STAGING):
        raise BadRequest(
            f"version {version.version} of model {model.name} is in {version.stage}. Archive it first, then "
            "tombstone it"
        )
    if not wanted.reason.strip():
        raise BadRequest("a tombstone needs a reason, which the history shows for ever")
    step = Step(
        version=version.version,
        act=Act.TOMBSTONED,
        from_stage=version.stage,
        to_stage=version.stage,
        reason=wanted.reason,
    )
    return to_change(model, [step], {"previous": None} if model.previous == version.version else {})


def check_share(share: float) -> None:
    """Refuses a share of the traffic that a challenger may not have.

    Raises: BadRequest: it is one.
    """
    if not 0 <= share <= MAX_SHARE:
        raise BadRequest(f"a challenger's share of the traffic is from 0 to {MAX_SHARE}; got {share}")


def _expect_challenger(held: Held, expected: int | msgspec.UnsetType | None, do: str) -> None:
    model = held.model
    if expected is msgspec.UNSET or expected == model.challenger:
        return
    done = do.format(challenger=say_version(model.challenger), name=shlex.quote(model.name))
    raise StaleWrite(f"{say_challenger(held)}; {say_version(expected)} was expected. Nothing was changed. {done}")
