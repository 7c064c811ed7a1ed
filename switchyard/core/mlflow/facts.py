"""What an MLflow run says of itself besides its series: a user's own tags, its parent, and whether it has anything to
show."""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from switchyard.core.mlflow.raw_run import Points, RawRun, TrackedRun

NOTE_TAG: Final = "mlflow.note.content"
PARENT_TAG: Final = "mlflow.parentRunId"
NOTE: Final = "note"
_OTHERS: Final = ("mlflow.", "switchyard.")
"""The tags that MLflow writes by itself, and our own bookkeeping (`core.runs.ownership`, `core.mlflow.tags`)."""
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")  # as in core.mlflow.sources

Shows = Literal["curves", "values", "nothing"]
"""What there is to look at: ``curves`` where a metric was logged more than once; ``values`` where each was logged once,
or there are params alone; ``nothing`` where there is neither metric nor param."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a store says of a run without its points being read."""

    info: TrackedRun
    shows: Shows
    newest_ms: int | None = None  # the time of its newest point; None: it has none


def to_user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that a user has set, by name, and the run's description as `note`; a tag of that name goes before it,
    and the description keeps its own name then.

    >>> to_user_tags({"stage": "draft", "mlflow.user": "u", "mlflow.note.content": "try again", "switchyard.key": "k"})
    {'note': 'try again', 'stage': 'draft'}
    """
    found = {name: text for name, text in tags.items() if not name.startswith(_OTHERS)}
    if tags.get(NOTE_TAG):
        found[NOTE_TAG if NOTE in found else NOTE] = tags[NOTE_TAG]
    return dict(sorted(found.items()))


def to_parent_run_id(tags: Mapping[str, str]) -> str:
    """The MLflow run that this one is nested in; empty: none, or what cannot be the id of one."""
    found = tags.get(PARENT_TAG, "")
    return found if _RUN_ID.fullmatch(found) else ""


def to_look(run: RawRun) -> Look:
    """What a look at the store says of `run`, from its points."""
    return Look(
        info=run.info,
        shows=to_shows(run),
        newest_ms=max((max(points.timestamps_ms) for points in run.metrics.values()), default=None),
    )


def to_shows(run: RawRun) -> Shows:
    """What there is to look at, of the metrics that were read."""
    if any(map(_is_curve, run.metrics.values())):
        return "curves"
    return "values" if run.metrics or run.params else "nothing"


def choose_shows(*, has_curve: bool, has_value: bool, has_param: bool) -> Shows:
    """As `to_shows`, from what a database was asked."""
    if has_curve:
        return "curves"
    return "values" if has_value or has_param else "nothing"


def _is_curve(points: Points) -> bool:
    """Two points, at different steps or times."""
    steps, times = points.steps, points.timestamps_ms
    return steps[0] != steps[-1] or times[0] != times[-1]
