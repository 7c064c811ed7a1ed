"""What an MLflow store tells besides the points of its runs, where no database says it: what an export is made of."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from switchyard.core.mlflow.raw_run import Lifecycle, Points, RawRun, TrackedRun

LatestValue = tuple[str, int, int, float]
"""The newest point of one key, as the run itself names it: key, step, timestamp in milliseconds, value."""


class ExperimentDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment, whole."""

    experiment_id: str
    name: str
    artifact_location: str = ""
    lifecycle: Lifecycle = "active"
    created_at_ms: int | None = None
    updated_at_ms: int | None = None
    tags: Mapping[str, str] = {}


class DatasetUse(msgspec.Struct, frozen=True, kw_only=True):
    """A data set that is an input of a run. `tags` are of this use, such as ``mlflow.data.context``."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None
    tags: Mapping[str, str] = {}


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model of MLflow 3 that is an input of a run, or its output at a step."""

    model_id: str
    is_output: bool = False
    step: int = 0


class RunDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A run without its points."""

    info: TrackedRun
    params: Mapping[str, str]
    tags: Mapping[str, str]
    latest: Sequence[LatestValue]
    own_name: str = ""  # without that of its tag `mlflow.runName`
    user_id: str = ""
    datasets: Sequence[DatasetUse] = ()
    models: Sequence[ModelUse] = ()


class ModelPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A point that was logged for a logged model; it is among its run's points, too."""

    run_id: str
    key: str
    step: int
    timestamp_ms: int
    value: float
    dataset: str = ""
    dataset_digest: str = ""


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model of MLflow 3."""

    model_id: str
    experiment_id: str
    name: str = ""
    artifact_uri: str = ""
    created_at_ms: int | None = None
    updated_at_ms: int | None = None
    status: str = ""  # as MLflow names it, such as LOGGED_MODEL_READY
    status_message: str = ""
    model_type: str = ""
    run_id: str = ""
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    points: Sequence[ModelPoint] = ()


def is_of_one_moment(run: RawRun, details: RunDetails) -> bool:
    """Returns True if a run's points, and what was read of it afterwards, can be of one moment.

    Its row, params and tags are the same, and each newest point is among its points.
    """
    if (run.info, run.params, run.tags) != (details.info, details.params, details.tags):
        return False
    if {key for key, *_ in details.latest} != run.metrics.keys():
        return False
    return all(_holds(run.metrics[key], step, time, value) for key, step, time, value in details.latest)


def _holds(points: Points, step: int, timestamp_ms: int, value: float) -> bool:
    wanted = (step, timestamp_ms)
    columns = map(reversed, (points.steps, points.timestamps_ms, points.values))
    return any(
        (found_step, found_ms) == wanted and (found == value or (math.isnan(found) and math.isnan(value)))
        for found_step, found_ms, found in zip(*columns, strict=True)
    )
