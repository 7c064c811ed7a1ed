"""What is to be done of the artifacts of many runs: which runs, in which batches, and of one run which objects."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from switchyard.core.artifacts.manifest import Copied, LeftOut, Manifest, SourceObject
from switchyard.core.artifacts.places import Allowed, Moved, lies_in

KIND = "artifacts"
"""The kind of the ledger's lines."""


class ArtifactRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of MLflow's to take artifacts of; or a logged model or a trace, which no row names."""

    mlflow_run_id: str  # or the id of the model, or of the trace
    artifact_uri: str = ""  # as MLflow says; empty: it says none
    quick_test_ids: tuple[int, ...] = ()  # the rows that name it
    problem: str = ""  # MLflow does not know it (any more), or cannot tell


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How artifacts are copied."""

    to_uri: str  # without a slash at its end
    destination: str = ""  # the MLflow server's own --artifacts-destination; empty: not known
    moved: tuple[Moved, ...] = ()  # what lies elsewhere than MLflow says
    allowed: Allowed = Allowed()  # what our own adapters may read
    server: str = ""  # the MLflow server that the settings name, which hands artifacts through; empty: none
    concurrency: int = 8  # objects at once
    in_flight_bytes: int = 1 << 30  # of the objects that are read at once, unless one alone is larger
    again: bool = False  # reads also what is kept already, and mends what is damaged


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a run's artifacts, and what of it is kept already."""

    mlflow_run_id: str
    place: str
    quick_test_ids: tuple[int, ...] = ()
    state: Literal["copied", "to copy", "nothing", "unreachable"]
    reader: str = ""
    objects: int = 0
    size_bytes: int = 0
    to_copy: int = 0  # objects that are new, or have changed
    to_copy_bytes: int = 0
    reason: str = ""  # of `unreachable`; of `nothing`, where more is known
    left_out: tuple[LeftOut, ...] = ()  # that will not be copied


class Todo(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done of the objects of one run."""

    keep: tuple[Copied, ...]
    copy: tuple[SourceObject, ...]


def choose(found: Iterable[SourceObject], known: Mapping[str, Copied]) -> Todo:
    """Returns which objects are to be copied: those that no copy before has, and those that are not what it read."""
    keep, copy = [], []
    for one in found:
        before = known.get(one.path)
        if before is not None and before.is_of(one):
            keep.append(before)
        else:
            copy.append(one)
    return Todo(keep=tuple(keep), copy=tuple(copy))


def is_up_to_date(manifest: Manifest, source: str, found: Sequence[SourceObject], left_out: Sequence[LeftOut]) -> bool:
    """Returns True if a copy has all that is there; what its source has no longer stays in it.

    What was left out then, and still is, counts as done: it will never be copied.
    """
    return (
        manifest.source == source
        and not choose(found, {one.path: one for one in manifest.objects}).copy
        and {one.path for one in manifest.left_out} == {one.path for one in left_out}
    )


def to_groups(runs: Iterable[ArtifactRun]) -> list[list[ArtifactRun]]:
    """Returns the runs by place: those of one place, or of a place within it, are one group, the widest place first.

    An object of two runs is read once when the runs of a group are copied one after the other.
    """
    groups: list[list[ArtifactRun]] = []
    root = ""
    for run in sorted(runs, key=lambda run: (run.artifact_uri.rstrip("/") + "/", run.mlflow_run_id)):
        place = run.artifact_uri.rstrip("/")
        if root and lies_in(place, root):
            groups[-1].append(run)
        else:
            groups.append([run])
            root = place
    return groups


def to_batches(runs: Iterable[ArtifactRun], size: int) -> list[list[ArtifactRun]]:
    """Returns the runs, about `size` a batch, by place; a group is in one batch."""
    batches: list[list[ArtifactRun]] = []
    for group in to_groups(runs):
        if not batches or len(batches[-1]) >= size:
            batches.append([])
        batches[-1] += group
    return batches


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of a plan together."""

    runs: int
    objects: int
    size_bytes: int
    to_copy: int
    to_copy_bytes: int
    copied_runs: int
    to_copy_runs: int
    empty_runs: int
    unreachable_runs: int
    left_out: int


def to_totals(plans: Sequence[RunPlan]) -> Totals:
    """Counts all runs of a plan together; an object of two runs counts for both."""
    return Totals(
        runs=len(plans),
        objects=sum(plan.objects for plan in plans),
        size_bytes=sum(plan.size_bytes for plan in plans),
        to_copy=sum(plan.to_copy for plan in plans),
        to_copy_bytes=sum(plan.to_copy_bytes for plan in plans),
        copied_runs=sum(plan.state == "copied" for plan in plans),
        to_copy_runs=sum(plan.state == "to copy" for plan in plans),
        empty_runs=sum(plan.state == "nothing" for plan in plans),
        unreachable_runs=sum(plan.state == "unreachable" for plan in plans),
        left_out=sum(len(plan.left_out) for plan in plans),
    )
