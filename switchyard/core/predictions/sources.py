"""Where a served model comes from: the order of the sources, and what goes on to the next one, as tables."""

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from switchyard.core.errors import (
    BadRecord,
    BadRequest,
    BadSetup,
    NotFound,
    StaleWrite,
    SwitchyardError,
    TryAgain,
)
from switchyard.core.predictions.pickles import say_pickle
from switchyard.core.registry.flavors import PICKLED
from switchyard.core.registry.manifest import ModelFile
from switchyard.core.registry.names import Reference, check_model_name, read_reference
from switchyard.core.registry.stages import Stage


class Kind(StrEnum):
    """What a source names."""

    REGISTRY = "registry"  # models:/name/..., in a registry
    RUN_ID = "run id"
    RUN_NAME = "run name"
    FOLDER = "folder"


SETTINGS: Final = (
    ("MODEL_VARIANT", Kind.REGISTRY),
    ("MLFLOW_MODEL_URI", Kind.REGISTRY),
    ("MODEL_RUN_ID", Kind.RUN_ID),
    ("RUN_ID", Kind.RUN_ID),
    ("MODEL_RUN_NAME", Kind.RUN_NAME),
    ("MODEL_FILE", Kind.FOLDER),
    ("AIP_STORAGE_URI", Kind.FOLDER),
)
"""The settings that name a model, in the order in which they are tried. Vertex AI's own name for a folder comes
last."""


class Source(msgspec.Struct, frozen=True):
    """One setting that names a model."""

    setting: str
    kind: Kind
    value: str

    def __str__(self) -> str:
        return f"{self.setting}={self.value}"


class Tried(msgspec.Struct, frozen=True):
    """A source that was asked before the one in use, and why it is not the one."""

    source: str
    why_not: str


class Fate(StrEnum):
    """What becomes of a source that gives no model."""

    NEXT = "next"  # the next source is asked
    STOP = "stop"  # nothing else is loaded


FATES: Final[tuple[tuple[type[SwitchyardError], Fate], ...]] = (
    (NotFound, Fate.NEXT),  # no such model, stage, version or run
    (TryAgain, Fate.NEXT),  # it cannot be reached
    (BadSetup, Fate.STOP),  # we may not read it: an older model must not answer because a right was taken away
    (BadRecord, Fate.STOP),  # other files than registered, or files that are not a model
    (StaleWrite, Fate.STOP),  # other files than when it was first seen
    (BadRequest, Fate.STOP),  # the setting is wrong, or the version is retired
)


def choose_fate(err: Exception) -> Fate:
    """Returns what becomes of a source that raised `err`. What is not in the table is a bug, and stops."""
    return next((fate for kind, fate in FATES if isinstance(err, kind)), Fate.STOP)


def list_sources(settings: Mapping[str, str]) -> list[Source]:
    """Returns the sources that `settings` name by variable, in the order in which they are tried.

    An empty variable counts as none.
    """
    return [Source(name, kind, settings[name]) for name, kind in SETTINGS if settings.get(name)]


class ModelUri(msgspec.Struct, frozen=True):
    """What a registry's URI says."""

    name: str
    reference: str  # as `read_reference` takes it

    @property
    def asked(self) -> Reference:
        """The reference as it was read."""
        return read_reference(self.reference)


_URI: Final = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:/(?P<stage>[^/@]+)|(?P<alias>@[^/@]+))?")


def read_model_uri(text: str) -> ModelUri:
    """Returns the model and version that ``models:/name/Production``, ``/Staging``, ``/3`` or ``@champion`` names.

    The prefix may be left out, and so may Production.

    >>> read_model_uri("models:/shop@champion")
    ModelUri(name='shop', reference='@champion')
    >>> read_model_uri("shop")
    ModelUri(name='shop', reference='Production')

    Raises:
        BadRequest: it is not such a URI.
    """
    found = _URI.fullmatch(text)
    if found is None:
        raise BadRequest(
            f"{text!r} does not name a model. Write models:/<name>/Production, /Staging, /<version> or "
            "models:/<name>@<alias>"
        )
    reference = found["alias"] or found["stage"] or str(Stage.PRODUCTION)
    check_model_name(found["name"])
    read_reference(reference)
    return ModelUri(found["name"], reference)


SAFE_SUFFIXES: Final = (".parquet", ".json", ".ubj", ".xgb")
_CHECKED: Final = re.compile(
    r"model/([^/]+/)?([^/]+\.(skops|keras)|[^/]+\.h5"  # of MLflow's Keras: model/data/model.h5
    r"|([^/]+/)?((saved_model|fingerprint|keras_metadata)\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})"
    r"|assets/[^/]+))"
)
"""What a loader of rows holds against its own list before it is read, in a process of its own."""
_OF_MLFLOW: Final = re.compile(
    r"model/((metadata/)?(MLmodel|conda\.yaml|python_env\.yaml|requirements\.txt)|registered_model_meta"
    r"|data/(keras_module|save_format)\.txt|environment_variables\.txt)"
)


def find_unsafe(files: Iterable[ModelFile], agreed: Collection[str]) -> list[str]:
    """Returns the files of a source that must not be served, each with what is wrong and what to do.

    No one has judged these files. Allowed are data, what a loader checks before it reads it, MLflow's own files beside
    a model (of which only `MLmodel` is read), and a pickle that the operator has agreed to by its SHA-256.
    """
    return [
        f"{file.path!r} may hold a program, and no one has judged it"
        + (f": {say_pickle(file.path, file.sha256)}" if file.path.endswith(PICKLED) else ". Take it out of the folder")
        for file in files
        if not (
            file.path.endswith(SAFE_SUFFIXES)
            or _CHECKED.fullmatch(file.path)
            or _OF_MLFLOW.fullmatch(file.path)
            or (file.path.endswith(PICKLED) and file.sha256 in agreed)
        )
    ]
