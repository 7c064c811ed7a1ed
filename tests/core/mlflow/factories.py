"""Raw MLflow runs for the tests: legacy ones, whole by default; each test names what differs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from switchyard.core.metrics.legacy_names import GRADIENT_NAMES
from switchyard.core.metrics.record import HISTOGRAM_BINS, LOSS_SERIES, TOWERS
from switchyard.core.mlflow.raw_run import Points, RawRun, TrackedRun, to_points

START_MS = 1_690_000_000_000
Point = tuple[int, float] | tuple[int, int, float]
"""(step, value), a second a step; or (step, milliseconds after the start, value)."""


def make_points(*points: Point) -> Points:
    whole = [point if len(point) == 3 else (point[0], 1_000 * point[0], point[1]) for point in points]
    return to_points([at[0] for at in whole], [START_MS + at[1] for at in whole], [at[2] for at in whole])


def make_series(values: Sequence[float], first: int = 0, stride: int = 1) -> Points:
    return make_points(*((first + i * stride, value) for i, value in enumerate(values)))


def make_info(**changes: Any) -> TrackedRun:
    values: dict[str, Any] = {
        "run_id": "0bf8d36e888d6d5e3e594dcfccf46732",
        "name": "a run",
        "experiment_id": "4",
        "experiment": "two-tower",
        "status": "FINISHED",
        "started_at_ms": START_MS,
        "ended_at_ms": START_MS + 60_000,
    }
    return TrackedRun(**(values | changes))


def make_run(
    metrics: Mapping[str, Points] | None = None,
    *,
    epochs: int = 3,
    params: Mapping[str, str] | None = None,
    **info: Any,
) -> RawRun:
    """A legacy run of all keys; `metrics` replaces or adds some (one without points is taken away)."""
    found = {key: make_series([1 / (1 + epoch + i) for epoch in range(epochs)]) for i, key in enumerate(_PLAIN)}
    for tower in TOWERS:
        for kind in ("", "grad_"):
            for number in range(HISTOGRAM_BINS):
                found[f"{tower}_{kind}hist_bin_{number}"] = make_series([float(number + i) for i in range(epochs)])
    found |= {"final_loss": make_points((0, 99_000, 0.25)), "test_recall_at_10": make_points((0, 99_000, 0.125))}
    found |= metrics or {}
    edges = {
        f"{tower}_{kind}hist_bin_edges": ",".join(f"{-1 + 0.08 * i:.6f}" for i in range(HISTOGRAM_BINS + 1))
        for tower in TOWERS
        for kind in ("", "grad_")
    }
    return RawRun(
        info=make_info(**info),
        metrics={key: points for key, points in found.items() if points.steps},
        params={"optimizer": "adagrad", "epochs": str(epochs), **edges} if params is None else dict(params),
        tags={"mlflow.user": "trainer"},
    )


def make_small(metrics: Mapping[str, Points], **changes: Any) -> RawRun:
    """A run of just these metrics, without params."""
    return msgspec.structs.replace(make_run(), metrics=dict(metrics), params={}, **changes)


_PLAIN = (
    *LOSS_SERIES,
    *GRADIENT_NAMES,
    *(f"{tower}_weights_{name}" for tower in TOWERS for name in ("mean", "std", "min", "max")),
    *(f"{tower}_grad_{name}" for tower in TOWERS for name in ("mean", "std", "min", "max", "norm")),
)
NAN, INF = math.nan, math.inf
NOTHING = make_points()
