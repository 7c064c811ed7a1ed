"""What `switchyard clean` may delete: a table of what there is, who needs it, and how old it is.

A `Thing` is what is kept or deleted as one. `decide` goes through the rules from the first to the last; the first that
holds keeps the thing, and says why. What no rule keeps is stale. What is not recognised is kept, always.
"""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from switchyard.core.decommission.approvals import is_typed
from switchyard.core.errors import BadRequest, StaleWrite


class What(StrEnum):
    """Kinds of things below ARTIFACTS_URI and STATE_DIR."""

    RUN_RECORD = "run's record"  # training_metrics.json and what lies beside it
    RUN_MODEL = "run's model"  # model/, embeddings/, score/
    CHECKPOINTS = "run's checkpoints"
    JOB = "job's folder"  # log, order, record of a job on this machine
    IMPORTED_MODEL = "imported model"
    CACHED_MODEL = "cached model"  # a private copy, from which `switchyard predict` loads
    COPIED_OBJECT = "copied artifact"  # of an MLflow run
    COPY_MANIFEST = "list of copied artifacts"
    UNFINISHED_COPY = "notes of an unfinished copy"
    EXPORT = "export of MLflow"
    EVIDENCE = "manifest of verify"
    UNKNOWN = "not recognised"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Who needs a thing, as it is known at one moment. The defaults keep."""

    has_owner: bool = False  # its row (of the run, the job's run) is there; or it needs none
    is_settled: bool = False  # of a run: it has ended, and nothing is left to do for it
    is_completed: bool = False  # of a run
    versions: tuple[str, ...] = ()  # that are made of it and may answer still: `shop 3`
    retired: tuple[str, ...] = ()  # that are made of it and tombstoned
    holds: tuple[str, ...] = ()  # versions that have files in this very thing, whatever its kind, and may answer still
    is_named: bool = True  # something names it: a row its manifest, a manifest its object
    is_unfinished: bool = True  # someone may be at work there, or went away from unfinished work
    has_source: bool = False  # of a copy: what it is a copy of is there
    doubt: str = ""  # why it is not known who needs it


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """Objects that are kept or deleted as one."""

    what: What
    name: str  # a URI; with a slash at its end all below it
    objects: tuple[tuple[str, int], ...]  # URI and generation, in the order in which they would be deleted
    size_bytes: int
    written_at: datetime | None  # the newest of its objects; None: not known
    facts: Facts = Facts()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for."""

    older_than_days: int = 90
    models: bool = False  # also models that were never registered, or have retired versions alone
    copies: bool = False  # also copied artifacts that no manifest names


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a thing, and why."""

    thing: Thing
    delete: bool
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found, and what becomes of it; `to_digest` names it."""

    policy: Policy
    decisions: tuple[Decision, ...]

    @property
    def deletes(self) -> tuple[Decision, ...]:
        """What would be deleted."""
        return tuple(one for one in self.decisions if one.delete)


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a thing that was to be deleted."""

    what: What
    name: str
    deleted: int = 0  # objects
    size_bytes: int = 0
    kept: str = ""  # why it, or the rest of it, was left after all


_Rule = tuple[str, Callable[[Thing, Policy, datetime], bool], Callable[[Thing], str]]

_RUNS: Final = (What.RUN_RECORD, What.RUN_MODEL, What.CHECKPOINTS)
_MODELS: Final = (What.RUN_MODEL, What.IMPORTED_MODEL)


def _is_young(thing: Thing, policy: Policy, now: datetime) -> bool:
    return thing.written_at is None or now - thing.written_at < timedelta(days=policy.older_than_days)


RULES: Final[tuple[_Rule, ...]] = (
    ("doubt", lambda thing, *_: bool(thing.facts.doubt), lambda thing: thing.facts.doubt),
    ("unknown", lambda thing, *_: thing.what is What.UNKNOWN, lambda _: "not recognised: never deleted"),
    (
        "holds",
        lambda thing, *_: bool(thing.facts.holds),
        lambda thing: f"version {', '.join(thing.facts.holds)} is made of what lies in it",
    ),
    (
        "evidence",
        lambda thing, *_: thing.what is What.EVIDENCE,
        lambda _: "it proves what was compared with MLflow",
    ),
    (
        "export",
        lambda thing, *_: thing.what is What.EXPORT,
        lambda _: "it is a source of runs once MLflow is gone",
    ),
    (
        "no row",
        lambda thing, *_: thing.what in (*_RUNS, What.JOB) and not thing.facts.has_owner,
        lambda _: "no row: it may be another database's, or come back from a backup",
    ),
    (
        "unsettled",
        lambda thing, *_: thing.what in (*_RUNS, What.JOB) and not thing.facts.is_settled,
        lambda _: "the run is not settled",
    ),
    (
        "record",
        lambda thing, *_: thing.what is What.RUN_RECORD,
        lambda _: "the run's history is published from it; there may be no other source",
    ),
    (
        "registered",
        lambda thing, *_: thing.what in (*_MODELS, What.CACHED_MODEL) and bool(thing.facts.versions),
        lambda thing: f"version {', '.join(thing.facts.versions)} is made of it",
    ),
    (
        "last copy",
        lambda thing, *_: thing.what is What.CACHED_MODEL and not thing.facts.has_source,
        lambda _: "the files that it is a copy of are not there",
    ),
    (
        "named",
        lambda thing, *_: thing.what in (What.COPY_MANIFEST, What.COPIED_OBJECT) and thing.facts.is_named,
        lambda thing: (
            "a run's copy has it" if thing.what is What.COPIED_OBJECT else "it is a run's newest, or has no row"
        ),
    ),
    (
        "unfinished",
        lambda thing, *_: (
            thing.what in (What.COPY_MANIFEST, What.COPIED_OBJECT, What.UNFINISHED_COPY) and thing.facts.is_unfinished
        ),
        lambda _: "a copy is unfinished, and goes on from it",
    ),
    ("young", _is_young, lambda thing: f"written {_say_day(thing.written_at)}: not old enough"),
    (
        "retired",
        lambda thing, policy, _: thing.what in _MODELS and bool(thing.facts.retired) and not policy.models,
        lambda thing: f"version {', '.join(thing.facts.retired)} was made of it, and is retired; --models deletes it",
    ),
    (
        "unregistered",
        lambda thing, policy, _: thing.what is What.RUN_MODEL and thing.facts.is_completed and not policy.models,
        lambda _: "no version is made of it yet; --models deletes it",
    ),
    (
        "copies",
        lambda thing, policy, _: thing.what in (What.COPIED_OBJECT, What.COPY_MANIFEST) and not policy.copies,
        lambda _: "no run's copy has it any more; --copies deletes it while no `artifacts copy` runs",
    ),
)
"""Name, whether it keeps, and why. The order matters: what is needed is said before what is only young."""

_STALE: Final = {
    What.RUN_MODEL: "no version is made of it",
    What.CHECKPOINTS: "the run has ended, and is settled",
    What.JOB: "the job has ended, and its run is settled",
    What.IMPORTED_MODEL: "no version is made of it",
    What.CACHED_MODEL: "it is fetched again when it is asked for",
    What.COPIED_OBJECT: "no run's copy has it any more",
    What.COPY_MANIFEST: "the run has a newer one",
    What.UNFINISHED_COPY: "the run's copy was finished since",
}


def decide(thing: Thing, policy: Policy, now: datetime) -> Decision:
    """Returns whether the thing is stale, by the rules."""
    for _, keeps, why in RULES:
        if keeps(thing, policy, now):
            return Decision(thing=thing, delete=False, reason=why(thing))
    return Decision(thing=thing, delete=True, reason=f"{_STALE[thing.what]}; written {_say_day(thing.written_at)}")


def make_plan(things: Iterable[Thing], policy: Policy, now: datetime) -> Plan:
    """Returns what becomes of each, by name."""
    decided = [decide(thing, policy, now) for thing in things]
    return Plan(policy=policy, decisions=tuple(sorted(decided, key=lambda one: (one.thing.name, one.thing.what))))


def to_digest(plan: Plan) -> str:
    """Returns 64 hex digits of all that the plan deletes, to the generation.

    Plans that delete the same have the same digest.
    """
    lines = [[one.thing.what, one.thing.name, sorted(one.thing.objects)] for one in plan.deletes]
    return hashlib.sha256(msgspec.json.encode(lines)).hexdigest()


def check_asked(plan: Plan, *, apply: str, yes: bool) -> bool:
    """Returns True if the plan is to be carried out: its digest was typed, or `yes`.

    Raises:
        StaleWrite: another plan's digest was typed: something has changed since it was made.
        BadRequest: both were given.
    """
    if apply and yes:
        raise BadRequest("both --apply and --yes are given. Give one of them")
    if apply and not is_typed(to_digest(plan), apply):
        raise StaleWrite(
            f"the plan has changed: it is {to_digest(plan)[:16]} now, not {apply[:80]!r}. Nothing was deleted. Look at "
            "it again: switchyard clean"
        )
    return bool(apply) or yes


def is_same(planned: Thing, found: Thing) -> bool:
    """Returns True if what is there now is what was planned, or what is left of it."""
    return set(found.objects) <= set(planned.objects)


def _say_day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "at an unknown time"
