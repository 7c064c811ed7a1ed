"""The rows of an export that is made of a store's answers.

They have the tables and columns of MLflow's own schema, so that what reads an export of a database reads this one.

Source: mlflow/store/tracking/dbmodels/models.py and mlflow/store/model_registry/dbmodels/models.py, 2.9.2 and 3.17.2.
"""

import hashlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from switchyard.core.mlflow.contents import DatasetUse, ExperimentDetails, LoggedModel, RunDetails
from switchyard.core.mlflow.raw_run import RawRun

Row = tuple[Any, ...]
Rows = Mapping[str, Sequence[Row]]
"""The rows of some tables, by table."""

_POINT: Final = ("key", "value", "timestamp", "run_uuid", "step", "is_nan")

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "experiments": (
        *("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time"),
    ),
    "experiment_tags": ("key", "value", "experiment_id"),
    "runs": (
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time"),
        *("end_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id", "deleted_time"),
    ),
    "metrics": _POINT,
    "latest_metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    "params": ("key", "value", "run_uuid"),
    "tags": ("key", "value", "run_uuid"),
    "datasets": (
        *("dataset_uuid", "experiment_id", "name", "digest", "dataset_source_type", "dataset_source"),
        *("dataset_schema", "dataset_profile"),
    ),
    "inputs": ("input_uuid", "source_type", "source_id", "destination_type", "destination_id", "step"),
    "input_tags": ("input_uuid", "name", "value"),
    "logged_models": (
        *("model_id", "experiment_id", "name", "artifact_location", "creation_timestamp_ms"),
        *("last_updated_timestamp_ms", "status", "lifecycle_stage", "model_type", "source_run_id", "status_message"),
    ),
    "logged_model_metrics": (
        *("model_id", "metric_name", "metric_timestamp_ms", "metric_step", "metric_value", "experiment_id", "run_id"),
        *("dataset_uuid", "dataset_name", "dataset_digest"),
    ),
    "logged_model_params": ("model_id", "experiment_id", "param_key", "param_value"),
    "logged_model_tags": ("model_id", "experiment_id", "tag_key", "tag_value"),
    "registered_models": ("name", "creation_time", "last_updated_time", "description"),
    "registered_model_tags": ("key", "value", "name"),
    "registered_model_aliases": ("alias", "version", "name"),
    "model_versions": (
        *("name", "version", "creation_time", "last_updated_time", "description", "user_id", "current_stage", "source"),
        *("run_id", "status", "status_message", "run_link", "storage_location"),
    ),
    "model_version_tags": ("key", "value", "name", "version"),
}
"""The columns by table, as 2.9.2 has them, and the logged models of MLflow 3. `inputs` has the `step` of MLflow 3,
too."""

OF_RUNS: Final = (
    *("runs", "metrics", "latest_metrics", "params", "tags", "datasets", "inputs", "input_tags"),
    "logged_model_metrics",
)
"""Tables of which each run has rows (`to_run_rows`)."""

_STATUSES: Final = {
    "LOGGED_MODEL_STATUS_UNSPECIFIED": 0,
    "LOGGED_MODEL_PENDING": 1,
    "LOGGED_MODEL_READY": 2,
    "LOGGED_MODEL_UPLOAD_FAILED": 3,
}
"""Source: LoggedModelStatus, mlflow/entities/logged_model_status.py, 3.17.2."""


def to_run_rows(run: RawRun, details: RunDetails) -> dict[str, list[Row]]:
    """Returns the rows of OF_RUNS of one run, sorted.

    Of the points that MLflow 3 noted, those of a data set alone are among them; those of a model come with the model
    (`to_model_rows`).
    """
    info, run_id = run.info, run.info.run_id
    number = to_number(info.experiment_id)
    start, end = info.started_at_ms, info.ended_at_ms
    name, user = details.own_name or None, details.user_id or None
    row = (run_id, name, None, None, None, user, info.status or None, start, end, None)
    rows: dict[str, list[Row]] = {name: [] for name in OF_RUNS}
    rows["runs"] = [(*row, info.lifecycle, info.artifact_uri, number, None)]
    rows["metrics"] = list(_to_points(run))
    rows["latest_metrics"] = [
        (key, _to_stored(value), time, step, math.isnan(value), run_id)
        for key, step, time, value in sorted(details.latest, key=lambda latest: latest[0])
    ]
    rows["params"] = [(key, value, run_id) for key, value in sorted(run.params.items())]
    rows["tags"] = [(key, value, run_id) for key, value in sorted(run.tags.items())]
    for use in details.datasets:
        dataset = _add_dataset(rows, info.experiment_id, use)
        input_ = to_uuid("input", dataset, run_id)
        rows["inputs"].append((input_, "DATASET", dataset, "RUN", run_id, 0))
        rows["input_tags"] += [(input_, key, value) for key, value in sorted(use.tags.items())]
    for model in details.models:
        kind = "OUTPUT" if model.is_output else "INPUT"
        id_ = to_uuid(kind, run_id, model.model_id)
        rows["inputs"].append((id_, f"RUN_{kind}", run_id, f"MODEL_{kind}", model.model_id, model.step))
    rows["logged_model_metrics"] = [
        ("", point.key, point.timestamp_ms, point.step, point.value, number, run_id, None, point.dataset, None)
        for point in run.owned
        if not point.model_id
    ]
    return rows


def to_experiment_rows(experiment: ExperimentDetails) -> dict[str, list[Row]]:
    """Returns the row of an experiment, and those of its tags."""
    number = to_number(experiment.experiment_id)
    times = (experiment.created_at_ms, experiment.updated_at_ms)
    return {
        "experiments": [(number, experiment.name, experiment.artifact_location, experiment.lifecycle, *times)],
        "experiment_tags": [(key, value, number) for key, value in sorted(experiment.tags.items())],
    }


def to_model_rows(model: LoggedModel) -> dict[str, list[Row]]:
    """Returns the rows of one logged model."""
    number, id_ = to_number(model.experiment_id), model.model_id
    status: int | str = _STATUSES.get(model.status, model.status)
    times = (model.created_at_ms, model.updated_at_ms)
    ends = (model.model_type or None, model.run_id or None, model.status_message or None)
    points = sorted(model.points, key=lambda point: (point.run_id, point.key, point.step, point.timestamp_ms))
    return {
        "logged_models": [(id_, number, model.name, model.artifact_uri, *times, status, "active", *ends)],
        "logged_model_metrics": [
            (
                *(id_, point.key, point.timestamp_ms, point.step, point.value, number, point.run_id),
                to_uuid("dataset", model.experiment_id, point.dataset, point.dataset_digest) if point.dataset else None,
                *(point.dataset or None, point.dataset_digest or None),
            )
            for point in points
        ],
        "logged_model_params": [(id_, number, key, value) for key, value in sorted(model.params.items())],
        "logged_model_tags": [(id_, number, key, value) for key, value in sorted(model.tags.items())],
    }


def to_registry_rows(table: str, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Returns the rows of a registry's table, in the order of its columns, sorted by model name and version."""
    columns = COLUMNS[table]
    found = [tuple(row.get(column) for column in columns) for row in rows]
    keys = [columns.index(name) for name in ("name", "version", "key", "alias") if name in columns]
    return sorted(found, key=lambda row: tuple((str(type(row[at])), row[at]) for at in keys))


def to_number(experiment_id: str) -> int | str:
    """Returns the value as the table has it: a number, wherever it can be one."""
    return int(experiment_id) if experiment_id.isascii() and experiment_id.isdigit() else experiment_id


def to_uuid(*parts: str) -> str:
    """Returns an id of ours for what has an id in MLflow's database that no server tells.

    The same parts give the same id.
    """
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _add_dataset(rows: dict[str, list[Row]], experiment_id: str, use: DatasetUse) -> str:
    id_ = to_uuid("dataset", experiment_id, use.name, use.digest)
    row = (id_, to_number(experiment_id), use.name, use.digest, use.source_type, use.source, use.schema, use.profile)
    if row not in rows["datasets"]:
        rows["datasets"].append(row)
    return id_


def _to_points(run: RawRun) -> Iterator[Row]:
    for key in sorted(run.metrics):
        points = run.metrics[key]
        for step, time, value in zip(points.steps, points.timestamps_ms, points.values, strict=True):
            yield key, _to_stored(value), time, run.info.run_id, step, math.isnan(value)


def _to_stored(value: float) -> float:
    """Returns the value as MLflow's own store has it: NaN as 0 with a flag, an infinity as the largest number."""
    if math.isnan(value):
        return 0.0
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else float(value)
