"""Knows the database schemas of MLflow in which the tables of runs are as 2.9.2 has them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from switchyard.core.errors import BadSetup
from switchyard.core.mlflow.export import API, Export
from switchyard.core.mlflow.raw_run import OwnedPoint, TrackedRun, choose_name
from switchyard.core.mlflow.store_identity import StoreIdentity, to_experiment, to_identity

LEGACY: Final = "acf3f17fdcc7"
CURRENT: Final = "f4a9b2c7d1e6"
"""The schema of 3.18; that of 3.17.2 is dc11669786a5."""
# Every revision from 2.9.2's to 3.18's. None of them changes a column of `metrics`, `latest_metrics`, `params`, `runs`;
# `tags.value` grows longer, and `experiments` gains `workspace`.
# Source: mlflow/store/db_migrations/versions of 2.9.2 and 3.17.2; 3.18's, from a database that it made.
# fmt: off
KNOWN: Final = frozenset(
    (
        "acf3f17fdcc7", "867495a8f9d4", "5b0e9adcef9c", "4465047574b1", "f5a4f2784254", "0584bdc529eb",
        "400f98739977", "6953534de441", "bda7b8c39065", "cbc13b556ace", "770bee3ae1dd", "a1b2c3d4e5f6",
        "de4033877273", "1a0cddfcaa16", "534353b11cbc", "71994744cf8e", "3da73c924c2f", "bf29a5ff90ea",
        "1bd49d398cd23", "b7c8d9e0f1a2", "5d2d30f0abce", "c9d4e5f6a7b8", "2c33131f4dae", "d3e4f5a6b7c8",
        "d0e1f2a3b4c5", "c8d9e0f1a2b3", "1b5f0d9ad7c1", "e1f2a3b4c5d6", "76601a5f987d", "c3d6457b6d8a",
        "a5b4c3d2e1f0", "ae8bbe7743c9", "7d34483879f0", "da6fb0208061", "89d3d66ed43f", "b7e4c1a90f23",
        "a8b9c0d1e2f3", "c1d2e3f4a5b6", "c3d9e7f1a2b4", "6f8d9c3b2a1e", "1971f2d9a75b", "17e22815139b",
        "b7e2c1a4d9f3", "75868b020152", "dc11669786a5", "f4a9b2c7d1e6",
    )
)
# fmt: on

# Every revision before 2.9.2's, from the first one. Source: mlflow/store/db_migrations/versions of 2.9.2.
# fmt: off
EARLIER: Final = frozenset(
    (
        "451aebb31d03", "90e64c465722", "181f10493468", "df50e92ffc5e", "7ac759974ad8", "89d4b8295536",
        "2b4d017a5e9b", "cfd24bdc0731", "0a8213491aaa", "728d730b5ebd", "27a6a02d2cf1", "84291f40a231",
        "a8c4a736bde6", "39d1c3be5f05", "c48cb773bb87", "bd07f7e963c5", "0c779009ac13", "cc1f77228345",
        "97727af70f4d", "3500859a5d39", "7f2a7d5fae7d", "2d6e25af4d3e",
    )
)
# fmt: on

DBL_MAX: Final = 1.7976931348623157e308
"""What MLflow stores for an infinity. Source: SqlAlchemyStore._log_metric, mlflow/store/tracking/sqlalchemy_store.py"""

RUNS: Final = """
    SELECT r.run_uuid, r.name, r.experiment_id, e.name, r.status, r.lifecycle_stage, e.lifecycle_stage, r.start_time,
        r.end_time, r.artifact_uri, t.value
    FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
        LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'mlflow.runName'"""
"""Selects the rows that `to_tracked_run` takes."""


EXPERIMENTS: Final = "SELECT experiment_id, name, artifact_location, creation_time FROM experiments"
"""Selects the rows that `to_store_identity` takes."""

OWNED_TABLE: Final = "logged_model_metrics"
"""A table of MLflow 3: which points were logged for a model, on which data set. Each is in `metrics` too, without that.
Source: SqlAlchemyStore.log_metric and revision 400f98739977, mlflow/store, 3.17.2."""
OWNED_COLUMNS: Final = (
    *("run_id", "metric_name", "metric_step", "metric_timestamp_ms", "metric_value", "model_id", "dataset_name"),
)


def to_value(value: float | None, is_nan: bool | int) -> float:
    """Returns what was logged. MLflow stores NaN as a flag beside 0, and an infinity as the largest number."""
    if is_nan or value is None:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= DBL_MAX else float(value)


def to_owned_points(rows: Iterable[Sequence[Any]]) -> dict[str, list[OwnedPoint]]:
    """Returns the points by run, from rows of OWNED_COLUMNS."""
    found: dict[str, list[OwnedPoint]] = {}
    for run_id, key, step, timestamp_ms, value, model_id, dataset in rows:
        number = math.nan if value is None else float(value)
        if abs(number) >= DBL_MAX:
            number = math.copysign(math.inf, number)
        point = OwnedPoint(key, step, timestamp_ms, number, model_id or "", dataset or "")
        found.setdefault(run_id, []).append(point)
    return found


def check_versions(found: Sequence[str], where: str) -> str:
    """Returns the version that `alembic_version` has.

    Raises:
        BadSetup: there is none, there are several, or we do not know it.
    """
    if len(found) == 1 and found[0] in KNOWN:
        return found[0]
    shown = ", ".join(map(repr, found)) or "nothing in alembic_version"
    if found and EARLIER.issuperset(found):
        advice = (
            "That is older. Copy the database, upgrade the copy by a newer MLflow (pip install mlflow==3.17.2, then "
            "`mlflow db upgrade <URL of the copy>`), and name the copy; see docs/mlflow-reference.md"
        )
    elif not found:
        advice = "It is no database of MLflow's: name the one that the server's --backend-store-uri names"
    else:
        advice = (
            "Its tables may mean something else there: read that server over REST (MLFLOW_TRACKING_URI), or use a "
            "Switchyard that knows it"
        )
    raise BadSetup(
        f"{where} must have a schema of MLflow 2.9.2 to 3.18 ({LEGACY} to {CURRENT}); found {shown}. {advice}. "
        "Nothing was changed"
    )


def check_exported(export: Export, where: str) -> None:
    """Raises BadSetup if the export is of a database with a version that we do not know.

    An export of a store's answers has our own tables."""
    if export.dialect != API:
        check_versions([export.alembic_version], where)


def to_tracked_run(row: Sequence[Any]) -> TrackedRun:
    """Makes a run of a row of RUNS.

    An odd value counts as missing, so that the other runs are still read: a status that is NULL, or a time that is a
    text, which SQLite allows."""
    run_id, name, experiment_id, experiment, status, stage, experiment_stage, start, end, artifact_uri, tag = row
    return TrackedRun(
        run_id=_to_text(run_id),
        name=choose_name(_to_text(name), {"mlflow.runName": _to_text(tag)}),
        experiment_id=str(experiment_id),
        experiment=_to_text(experiment),
        status=_to_text(status),
        lifecycle=stage or "active",
        experiment_lifecycle=experiment_stage or "active",
        started_at_ms=_to_ms(start),
        ended_at_ms=_to_ms(end),
        artifact_uri=_to_text(artifact_uri),
    )


def to_store_identity(rows: Iterable[Sequence[Any]]) -> StoreIdentity:
    """Makes the identity of rows of EXPERIMENTS."""
    return to_identity(
        (number, to_experiment(_to_text(name), _to_text(location), _to_ms(created)))
        for number, name, location, created in rows
    )


def _to_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


def _to_ms(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None
