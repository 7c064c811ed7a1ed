"""Finds a model or run of MLflow's to serve from, copies and hashes it, and records it as a version of ours.

That happens when it is first seen. From then on only those files load.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import msgspec

from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.mlflow.raw_run import TrackedRun
from switchyard.core.ports import RegistrySource, Tracking
from switchyard.core.predictions.sources import Kind, Source, find_unsafe, read_model_uri
from switchyard.core.registry.flavors import choose_flavor
from switchyard.core.registry.importing import LostModel, SourceModel, VersionOrigin, to_source_key
from switchyard.core.registry.names import Reference
from switchyard.core.registry.rows import ModelVersion, NewVersion
from switchyard.services.importing import Importing, copy_version
from switchyard.services.model_sources import FIRST_SEEN

DEFAULT_PATH: Final = "model"
LOOK_S: Final = 30.0
"""The time between two looks at MLflow's registry, which has to be read whole."""


@dataclass
class MlflowModels:
    """Implements `model_sources.Ports.import_from_mlflow`. Only one thread asks it."""

    open_registry: Callable[[], RegistrySource]
    importing: Callable[[], Importing]
    model_name: str  # of ours, under which a version is recorded
    clock: Callable[[], float] = time.monotonic
    take_run: Callable[[str, str], ModelVersion] | None = None  # of a run and a path in it; None: the registry alone
    open_tracking: Callable[[], Tracking] | None = None  # where a run's name is looked for; None: nowhere
    path: str = ""  # of a run; empty: what the registry has of it, else `DEFAULT_PATH`
    pickle_digests: frozenset[str] = frozenset()  # SHA-256 of pickles that the operator lets be served
    _known: dict[Source, tuple[float, ModelVersion]] = field(default_factory=dict)
    _newest: dict[str, str] = field(default_factory=dict)  # run ids by name: chosen once, no one approves of a next one

    def take(self, source: Source) -> ModelVersion:
        """Returns our version of `source`.

        A second call within `LOOK_S` asks nothing. A later one finds what MLflow names by then, and copies only what is
        new.

        Raises:
            NotFound: MLflow has no such model, version, stage, alias or run. TryAgain: it cannot be reached.
            BadSetup: we may not read it. BadRecord: two versions are in that stage, or its files may hold a program.
        """
        until, version = self._known.get(source, (0.0, None))
        if version is None or self.clock() >= until:
            version = self._find(source)
            self._known[source] = self.clock() + LOOK_S, version
        return version

    def _find(self, source: Source) -> ModelVersion:
        if source.kind is Kind.RUN_NAME:
            source = msgspec.structs.replace(source, kind=Kind.RUN_ID, value=self._find_newest(source))
        if source.kind is Kind.RUN_ID and self.take_run is not None:
            if self.path:
                return self.take_run(source.value, self.path)
            try:
                return self._find_registered(source)
            except NotFound:
                return self.take_run(source.value, DEFAULT_PATH)
        return self._find_registered(source)

    def _find_newest(self, source: Source) -> str:
        name = source.value
        if self.open_tracking is None:
            raise NotFound(f"no MLflow is named that could have a run {name!r}")
        if name not in self._newest:
            with closing(self.open_tracking()) as tracking:
                self._newest[name] = choose_newest(tracking.list_runs(), name)
        return self._newest[name]

    def _find_registered(self, source: Source) -> ModelVersion:
        with closing(self.open_registry()) as registry:
            models = registry.read_models()
            where = registry.where
        model, origin = choose_of_run(models, source) if source.kind is Kind.RUN_ID else choose_of_name(models, source)
        ports, key = self.importing(), to_source_key(model.origin, origin.number)
        known = ports.models.find_source(self.model_name, key)
        return known or self._register(ports, model, origin, f"version {origin.number} of {model.name} in {where}")

    def _register(self, ports: Importing, model: SourceModel, origin: VersionOrigin, where: str) -> ModelVersion:
        manifest, folder = copy_version(ports, self.model_name, model, origin)
        if unsafe := find_unsafe(manifest.files, self.pickle_digests):
            raise BadRecord(where, unsafe)
        new = NewVersion(
            name=self.model_name,
            source_key=to_source_key(model.origin, origin.number),
            source_uri=folder,
            manifest=manifest,
            description=f"{where}, {FIRST_SEEN}",
            flavor=choose_flavor(file.path for file in manifest.files),
        )
        return ports.models.register(new).version


def choose_newest(runs: Iterable[TrackedRun], name: str) -> str:
    """Returns the id of the run of that name that was finished last.

    Of two at the same time it is the one with the higher id. Runs that were deleted, failed or still go on have no
    model to serve. Raises: NotFound: there is none.
    """
    finished = (
        (run.ended_at_ms or 0, run.run_id)
        for run in runs
        if run.name == name
        and run.status == "FINISHED"
        and (run.lifecycle, run.experiment_lifecycle) == ("active", "active")
    )
    newest = max(finished, default=None)
    if newest is None:
        raise NotFound(f"MLflow has no finished run named {name!r}")
    return newest[1]


def choose_of_name(models: list[SourceModel | LostModel], source: Source) -> tuple[SourceModel, VersionOrigin]:
    """Returns the version that ``models:/name/...`` names. Raises: NotFound; BadRecord: it names two."""
    uri = read_model_uri(source.value)
    found = next((model for model in models if model.name == uri.name), None)
    if isinstance(found, LostModel):
        raise found.error
    if found is None:
        raise NotFound(f"neither the results database nor MLflow has a model {uri.name}")
    named = [version for version in found.versions if _is_named(found, version, uri.asked)]
    if not named:
        raise NotFound(f"MLflow's model {uri.name} has no version {uri.reference}")
    if len(named) > 1:
        numbers = ", ".join(str(version.number) for version in named)
        raise BadRecord(
            str(source), [f"MLflow has several versions there ({numbers}); name one: models:/{uri.name}/<number>"]
        )
    return found, named[0]


def _is_named(model: SourceModel, version: VersionOrigin, asked: Reference) -> bool:
    if asked.version is not None:
        return version.number == asked.version
    if asked.stage is not None:
        return version.stage == asked.stage
    return model.origin.aliases.get(asked.alias) == version.number


def choose_of_run(models: list[SourceModel | LostModel], source: Source) -> tuple[SourceModel, VersionOrigin]:
    """Returns the newest version that was registered from an MLflow run. Raises: NotFound: there is none."""
    found = [
        (version.number, model, version)
        for model in models
        if isinstance(model, SourceModel)
        for version in model.versions
        if version.run_id == source.value
    ]
    if not found:
        raise NotFound(f"no model in MLflow's registry was made from the run {source.value}")
    _, model, version = max(found, key=lambda each: (each[0], each[1].name))
    return model, version
