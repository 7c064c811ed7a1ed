"""Registering: which source is which version."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.names import check_model_name
from switchyard.core.registry.rows import ModelVersion, NewVersion
from switchyard.core.runs.moments import read_moment, say_moment
from switchyard.core.runs.spec import TrainSpec


class ModelSource(msgspec.Struct, frozen=True):
    """Where a model that no run of ours left comes from."""

    kind: Literal["folder", "MLflow model", "MLflow run"]
    value: str  # a path or URI; ``models:/...``; the run's id
    path: str = ""  # below the run's artifacts


def read_source(text: str) -> ModelSource:
    """Returns the source that `text` names.

    >>> read_source("runs:/0bf8d36e/model")
    ModelSource(kind='MLflow run', value='0bf8d36e', path='model')
    >>> read_source("models:/shop/3").kind, read_source("../exports/shop").kind
    ('MLflow model', 'folder')

    Raises:
        BadRequest: it names nothing that we read.
    """
    if text.startswith("models:/"):
        return ModelSource("MLflow model", text)
    found = _RUN.fullmatch(text)
    if found and ".." not in (found[2] or "").split("/"):
        return ModelSource("MLflow run", found[1], found[2] or "model")
    scheme = _SCHEME.match(text)
    if found or not text.strip() or (scheme and scheme[1] not in ("file", "gs")):
        raise BadRequest(
            "a model is registered from a folder (a path, file://... or gs://...), from MLflow's registry "
            f"(models:/<name>/<version>, /<stage> or @<alias>), or from an MLflow run (runs:/<id>/<path>); got {text!r}"
        )
    return ModelSource("folder", text.rstrip("/") or text)


_RUN: Final = re.compile(r"runs:/([A-Za-z0-9][A-Za-z0-9_-]{0,31})(?:/([^/].*?))?/?")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_TRAINED: Final = frozenset(TrainSpec.__struct_fields__)


def to_run_source(quick_test_id: int, run_key: str) -> str:
    """Returns the source key of a run's model: of the job that trained it, where one of ours did.

    >>> to_run_source(12, "9f86d081")
    'run:9f86d081'
    >>> to_run_source(12, "")
    'quick-test:12'
    """
    return f"run:{run_key}" if run_key else f"quick-test:{quick_test_id}"


def to_trained_until(params: Mapping[str, Any]) -> str:
    """Returns the newest purchase that a training has seen, by the params that it left; empty: they do not say.

    The validation rows count: the model was chosen by them, and after a refit it has learned from them.

    >>> to_trained_until({"last_validation_time": "2023-11-14T22:13:20+00:00"}), to_trained_until({"epochs": 3})
    ('2023-11-14T22:13:20+00:00', '')
    """
    said = [str(params[name]) for name in ("last_validation_time", "model_trained_until") if name in params]
    try:
        return say_moment(max(map(read_moment, said))) if said else ""
    except BadRequest:
        return ""


def to_trained_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters that the model depends on, not how often its job is looked at.

    Another trainer's parameters, which have none of our names, are all kept.

    >>> to_trained_parameters({"epochs": 3, "poll_interval_s": 5})
    {'epochs': 3}
    >>> to_trained_parameters({"lr": 0.1})
    {'lr': 0.1}
    """
    ours = {name: value for name, value in parameters.items() if name in _TRAINED}
    return ours or dict(parameters)


def check_new(new: NewVersion) -> None:
    """Refuses a new version that has no valid model name.

    Raises: BadRequest: it has none.
    """
    check_model_name(new.name)


def check_same(registered: ModelVersion, new: NewVersion) -> None:
    """Checks that a source that is registered already has the files that it had then.

    Raises:
        StaleWrite: they have changed since.
    """
    if registered.digest != new.manifest.digest:
        raise StaleWrite(
            f"{new.source_uri} is version {registered.version} of model {new.name} already, with digest "
            f"{registered.digest}; its files have changed since, and have digest {new.manifest.digest}. A version's "
            "files never change: restore them, or train another run and register that"
        )
