"""An MLflow run as raw points: what the `Tracking` port yields, whichever way the run was read.

What the points mean is decided later, by `core.mlflow.mapping`.
"""

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from operator import lt
from typing import Literal

import msgspec

from switchyard.core.errors import SwitchyardError

TrackedStatus = Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]
"""Source: https://mlflow.org/docs/2.9.2/rest-api.html#runstatus"""
Lifecycle = Literal["active", "deleted"]

NAME_TAG = "mlflow.runName"
UNREADABLE = "unreadable: "
"""What the status of a run begins with that is there and cannot be read; the reason follows."""
_MINUS_ZERO = struct.pack("d", -0.0)


class TrackedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What MLflow says of a run besides its metrics. Times are milliseconds since 1970, UTC, as MLflow has them."""

    run_id: str
    name: str  # of a run without one, its tag `mlflow.runName`: MLflow before 1.30 kept it there alone
    experiment_id: str
    experiment: str
    status: str  # a TrackedStatus, as far as we know
    lifecycle: Lifecycle = "active"
    experiment_lifecycle: Lifecycle = "active"
    started_at_ms: int | None = None
    ended_at_ms: int | None = None  # None: it never ended, as far as MLflow knows
    artifact_uri: str = ""


class Points(msgspec.Struct, frozen=True):
    """All points of one key, [points] each, ascending by step, then timestamp, then value (NaN below all numbers).

    The same step may be there more than once, and negative. `values` has true infinities and NaN. Made by `to_points`.
    """

    steps: Sequence[int]
    timestamps_ms: Sequence[int]
    values: Sequence[float]


class Keys(msgspec.Struct, frozen=True):
    """A choice of metric keys: those in `names`, and those that start with one of `prefixes`; or all but `without`."""

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()  # empty: `names` and `prefixes` choose

    def __contains__(self, key: str) -> bool:
        if self.without:
            return key not in self.without
        return key in self.names or key.startswith(self.prefixes)


class OwnedPoint(msgspec.Struct, frozen=True):
    """A point that MLflow 3 has also noted for a logged model, perhaps on a data set."""

    key: str
    step: int
    timestamp_ms: int
    value: float
    model_id: str = ""
    dataset: str = ""


class RawRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run, whole or (`keys`) only some of its metrics; params and tags are always whole."""

    info: TrackedRun
    metrics: dict[str, Points]  # a key without points is not there
    params: dict[str, str]
    tags: dict[str, str]
    keys: Keys | None = None  # None: all metrics that the run has
    owned: Sequence[OwnedPoint] = ()  # of the points in `metrics`, those of a model or a data set if that is known


class LostRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that could not be read, and why; others can."""

    run_id: str
    error: SwitchyardError


def to_points(steps: Sequence[int], timestamps_ms: Sequence[int], values: Sequence[float]) -> Points:
    """Returns the points in the order that `Points` promises, whatever order they come in; [points] each."""
    if all(map(lt, steps, steps[1:])):
        return Points(steps, timestamps_ms, values)
    found = sorted(zip(steps, timestamps_ms, values, strict=True))
    columns = list(map(list, zip(*found, strict=True)))
    if not all(map(lt, columns[0], columns[0][1:])):  # only then do the other columns matter
        found.sort(key=lambda at: (at[0], at[1], not math.isnan(at[2]), at[2]))
        columns = list(map(list, zip(*found, strict=True)))
    return Points(*columns)


def choose_name(name: str | None, tags: Mapping[str, str]) -> str:
    """Returns a run's name, which old runs have in a tag only."""
    return name or tags.get(NAME_TAG, "")


def to_source_digest(run: RawRun) -> str:
    """Returns ``sha256:<hex>`` of all that was read of the run.

    It covers points with their timestamps and repetitions, params, tags, status, times and lifecycle. Equal reads, by
    whatever way, have equal digests; of a choice of keys it is that choice's.

    MLflow's own side effects change it (a renamed or deleted run, a new tag); for the values alone there is
    `core.history.digest.to_digests`.
    """
    info = msgspec.structs.asdict(run.info)
    found = hashlib.sha256(b"switchyard source 1\n")
    found.update(msgspec.json.encode([info, sorted(run.params.items()), sorted(run.tags.items())]))
    for key in sorted(run.metrics):
        points = run.metrics[key]
        name, count = key.encode(), len(points.steps)
        head = struct.pack(f"<qq{len(name)}s", len(name), count, name)
        found.update(head + struct.pack(f"<{2 * count}q", *points.steps, *points.timestamps_ms) + _pack(points.values))
    return f"sha256:{found.hexdigest()}"


def _pack(values: Sequence[float]) -> bytes:
    """Packs values into eight bytes each, with one pattern for NaN, and zero without a sign."""
    packed = struct.pack(f"<{len(values)}d", *values)
    if _MINUS_ZERO in packed or math.isnan(sum(values)):  # perhaps of two infinities, or across two values
        return struct.pack(f"<{len(values)}d", *[math.nan if value != value else value + 0.0 for value in values])
    return packed
