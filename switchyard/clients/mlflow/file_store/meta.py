"""Reads the `meta.yaml` of an experiment and of a run, and says what is wrong with each.

Source: mlflow/store/tracking/file_store.py, 2.9.2 and 3.17.2.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from switchyard.core.errors import SwitchyardError
from switchyard.core.mlflow.raw_run import Lifecycle, TrackedRun

_STATUS: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
"""The statuses by their numbers. Source: enum RunStatus, mlflow/protos/service.proto."""
_MOST_MS: Final = 2**63 - 1


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment's folder."""

    experiment_id: str
    folder: str  # its URI, with a slash at its end
    name: str = ""
    lifecycle: Lifecycle = "active"
    artifact_location: str = ""
    created_at_ms: int | None = None  # None: not known
    error: SwitchyardError | None = None  # why its name cannot be known


def to_experiment(meta: Mapping[str, Any], known: Experiment) -> tuple[Experiment, list[str]]:
    """Returns `known`, which has only its place, with what its file says; and what is wrong with the file."""
    problems = []
    name = meta.get("name")
    if name is None or not str(name):
        problems.append("`name` is missing: it must be the experiment's")
    if str(meta.get("experiment_id")) != known.experiment_id:
        problems.append(
            f"`experiment_id` must be its folder's name, {known.experiment_id}; got {meta.get('experiment_id')!r}"
        )
    lifecycle = _to_lifecycle(meta, problems)
    if known.lifecycle == "deleted":  # in .trash, whatever it says: MLflow moves it, then writes it
        lifecycle = "deleted"
    found = msgspec.structs.replace(
        known,
        name="" if name is None else str(name),
        lifecycle=lifecycle,
        artifact_location=_to_text(meta.get("artifact_location")),
        created_at_ms=_to_ms(meta, "creation_time", []),  # an odd one harms no run
    )
    return found, problems


def to_run(meta: Mapping[str, Any], run_id: str, experiment: Experiment) -> tuple[TrackedRun, list[str]]:
    """Returns the run in the folder `run_id`, as far as its file makes sense; and what is wrong with the file.

    A run without a name has none here."""
    problems: list[str] = []
    said = meta.get("run_uuid") or meta.get("run_id")
    if str(said) != run_id:
        problems.append(f"`run_id` must be its folder's name, {run_id}; got {said!r}")
    if str(meta.get("experiment_id")) != experiment.experiment_id:
        problems.append(
            f"`experiment_id` must be that of the folder it lies in, {experiment.experiment_id}; "
            f"got {meta.get('experiment_id')!r}"
        )
    run = TrackedRun(
        run_id=run_id,
        name=_to_text(meta.get("run_name") or meta.get("name")),
        experiment_id=experiment.experiment_id,
        experiment=experiment.name,
        status=_to_status(meta.get("status", 1), problems),
        lifecycle=_to_lifecycle(meta, problems),
        experiment_lifecycle=experiment.lifecycle,
        started_at_ms=_to_ms(meta, "start_time", problems),
        ended_at_ms=_to_ms(meta, "end_time", problems),
        artifact_uri=_to_text(meta.get("artifact_uri")),
    )
    return run, problems


def to_unknown_run(run_id: str, experiment: Experiment) -> TrackedRun:
    """Returns what can be said of a run if its file says nothing."""
    return TrackedRun(
        run_id=run_id,
        name="",
        experiment_id=experiment.experiment_id,
        experiment=experiment.name,
        status="",
        experiment_lifecycle=experiment.lifecycle,
    )


def _to_status(value: Any, problems: list[str]) -> str:
    if isinstance(value, int) and value in _STATUS:
        return _STATUS[value]
    if value in _STATUS.values():
        return str(value)
    known = ", ".join(f"{number} ({name})" for number, name in _STATUS.items())
    problems.append(f"`status` must be one of {known}; got {str(value)[:80]!r}")
    return ""


def _to_lifecycle(meta: Mapping[str, Any], problems: list[str]) -> Lifecycle:
    value = meta.get("lifecycle_stage", "active")
    if value == "active" or value == "deleted":
        return "deleted" if value == "deleted" else "active"
    problems.append(f"`lifecycle_stage` must be active or deleted; got {value!r}")
    return "active"


def _to_ms(meta: Mapping[str, Any], key: str, problems: list[str]) -> int | None:
    value = meta.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST_MS):
        return value
    problems.append(f"`{key}` must be milliseconds since 1970; got {str(value)[:80]!r}")
    return None


def _to_text(value: Any) -> str:
    return "" if value is None else str(value)
