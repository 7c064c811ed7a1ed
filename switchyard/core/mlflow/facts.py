"""What an MLflow run says of itself besides its series: tags, parent, and whether it has something to show."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from switchyard.core.metrics.legacy_names import to_place
from switchyard.core.metrics.showing import Shows, to_shows
from switchyard.core.mlflow.mapping import FILE_STATUS, from_points
from switchyard.core.mlflow.raw_run import LostRun, RawRun, TrackedRun

NOTE_TAG: Final = "mlflow.note.content"
PARENT_TAG: Final = "mlflow.parentRunId"
NOTE: Final = "note"
_OTHERS: Final = ("mlflow.", "switchyard.")
"""The tags that MLflow writes by itself, and our own bookkeeping (`core.runs.ownership`, `core.mlflow.tags`)."""
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")  # as in core.mlflow.sources


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a store says of a run without its points being read."""

    info: TrackedRun
    shows: Shows
    newest_ms: int | None = None  # the time of its newest point; None: it has none


def to_user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Returns the tags that a user has set, by name, and the run's description as `note`.

    A tag of that name goes before it, and the description keeps its own name then.

    >>> to_user_tags({"stage": "draft", "mlflow.user": "u", "mlflow.note.content": "try again", "switchyard.key": "k"})
    {'note': 'try again', 'stage': 'draft'}
    """
    found = {name: text for name, text in tags.items() if not name.startswith(_OTHERS)}
    if tags.get(NOTE_TAG):
        found[NOTE_TAG if NOTE in found else NOTE] = tags[NOTE_TAG]
    return dict(sorted(found.items()))


def to_parent_run_id(tags: Mapping[str, str]) -> str:
    """Returns the MLflow run that this one is nested in; empty: none, or what cannot be the id of one."""
    found = tags.get(PARENT_TAG, "")
    return found if _RUN_ID.fullmatch(found) else ""


def to_look(run: RawRun) -> Look:
    """Returns what a look at the store says of `run`, from its points."""
    if run.info.status not in FILE_STATUS:  # it is refused where it is published; what it has can be said
        known = msgspec.structs.replace(run, info=msgspec.structs.replace(run.info, status="FINISHED"))
        return msgspec.structs.replace(to_look(known), info=run.info)
    return Look(info=run.info, shows=to_shows(from_points(run)), newest_ms=to_newest_ms(run))


def to_newest_ms(run: RawRun) -> int | None:
    """Returns the time of its newest point; None: it has none."""
    return max((max(points.timestamps_ms) for points in run.metrics.values()), default=None)


def is_surely_curve(key: str) -> bool:
    """Returns True for a metric that is a curve where it was logged at two steps, whatever else its run has."""
    return not to_place(key).tower


def look_closer(looks: Mapping[str, Look], runs: Iterable[RawRun | LostRun]) -> Iterator[Look]:
    """Yields `looks` of runs without such a curve, decided by their few points: `runs`.

    One that cannot be read stays as it is.
    """
    for run in runs:
        if isinstance(run, LostRun):
            yield looks[run.run_id]
        else:
            yield msgspec.structs.replace(looks[run.info.run_id], shows=to_look(run).shows)


def choose_shows(*, has_curve: bool, has_value: bool, has_param: bool) -> Shows:
    """Returns the answer of `to_shows`, from what a database was asked."""
    if has_curve:
        return "curves"
    return "values" if has_value or has_param else "nothing"
