"""What a sweep is, once it has begun: the same under its name for good.

How many trials it has, and how many at once, may change.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from switchyard.core.errors import BadRequest
from switchyard.core.history.best import Direction, find_direction, parse_directions
from switchyard.core.runs.spec import TrainSpec, to_digested
from switchyard.core.sweeps.space import Params, Space, draw, list_grid

Method = Literal["grid", "random", "tpe"]
_SOFTMAX: Final[Mapping[str, str]] = {
    "batch_size": "the loss is a softmax among the products of one batch",
    "temperature": "it divides the logits",
    "logq_correction": "it changes the logits",
}
_PENALTY: Final[Mapping[str, str]] = {"l2": "it weights the penalty"}
_MEASURES: Final[Mapping[str, Mapping[str, str]]] = {
    "loss": _SOFTMAX,
    "val_loss": _SOFTMAX,
    "total_loss": {**_SOFTMAX, **_PENALTY},
    "val_total_loss": {**_SOFTMAX, **_PENALTY},
    "regularization_loss": _PENALTY,
    "val_regularization_loss": _PENALTY,
}
"""Parameters that change what a loss of our trainer measures, and how; a smaller loss is then not a better model."""


class SweepPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What decides which trials a sweep has, and which is best."""

    base: dict[str, Any]  # what all trials share, as `to_digested` has it
    space: Space
    method: Method
    seed: int
    metric: str
    direction: Direction


def to_base(spec: TrainSpec, space: Space) -> dict[str, Any]:
    """Returns what all trials of a search in `space` share; fields that a later release adds leave it as it is."""
    return {name: value for name, value in to_digested(spec).items() if name not in space}


def choose_direction(metric: str, directions: tuple[str, ...]) -> Direction:
    """Returns which way `metric` is better.

    Raises: BadRequest: neither its name nor `directions` says it, or the series must not choose.
    """
    if metric.startswith("test_"):
        raise BadRequest(
            f"metric: {metric} is of the test rows, which must not choose among trials. Take one of validation, such "
            "as val_recall_at_10"
        )
    found = parse_directions(directions).get(metric) or find_direction(metric)
    if found is None:
        raise BadRequest(f"metric: {metric} does not say which way is better. Add: --directions {metric}=max (or =min)")
    return found


def check_comparable(metric: str, space: Space) -> None:
    """Checks that trials of the search differ in how good they are, not in what `metric` measures.

    Raises: BadRequest: `metric` is a loss, and the search changes what it measures.
    """
    changed = _MEASURES.get(metric, {}).keys() & space.keys()
    if changed:
        reasons = "; ".join(f"{name} ({_MEASURES[metric][name]})" for name in sorted(changed))
        raise BadRequest(
            f"metric: {metric} cannot compare trials that differ in {reasons}. Search other parameters, or take "
            "--metric val_recall_at_10"
        )


def count_trials(plan: SweepPlan, asked: int, default: int) -> int:
    """Returns how many trials the sweep is to have. `asked` 0: the whole grid, or `default`.

    Raises: BadRequest, as `list_grid`.
    """
    if plan.method != "grid":
        return asked or default
    size = len(list_grid(plan.space))
    return min(asked, size) if asked else size


def choose_params(plan: SweepPlan, number: int) -> Params | None:
    """Returns the parameters of trial `number`; None if they depend on how earlier trials ended."""
    if plan.method == "tpe":
        return None
    return list_grid(plan.space)[number] if plan.method == "grid" else draw(plan.space, plan.seed, number)


def to_trial_seed(plan: SweepPlan, number: int) -> int:
    """Returns the seed of what is drawn for trial `number` alone, [0, 2^32).

    A process that continues a sweep has drawn nothing before.
    """
    return int.from_bytes(hashlib.sha256(f"{plan.seed}:{number}".encode()).digest()[:4])


def check_same(stored: SweepPlan, wanted: SweepPlan, name: str) -> None:
    """Raises: BadRequest: the sweep of this name is another one; what differs."""
    differing = [field for field in SweepPlan.__struct_fields__ if getattr(stored, field) != getattr(wanted, field)]
    if "base" in differing:
        names = sorted(stored.base.keys() | wanted.base.keys())
        nothing = object()
        differing += [one for one in names if stored.base.get(one, nothing) != wanted.base.get(one, nothing)]
        differing.remove("base")
    if differing:
        raise BadRequest(
            f"sweep {name!r} began with other parameters: {', '.join(differing)}. Go on with those that it had, or "
            "start another sweep under another --name"
        )
