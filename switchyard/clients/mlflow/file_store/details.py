"""Reads what an MLflow folder holds besides its runs' points (`core.ports.TrackingDetails`), for an export.

Source: mlflow/store/tracking/file_store.py, 3.17.2: ``<experiment>/tags/<key>``, ``datasets/<id>/meta.yaml``,
``models/<id>/{meta.yaml,params,tags,metrics}``; ``<run>/inputs/<id>/meta.yaml`` and ``outputs/<id>/meta.yaml``.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from switchyard.clients.mlflow.file_store.layout import MODELS, Layout, Place
from switchyard.clients.mlflow.file_store.metric_files import read_model_points
from switchyard.clients.mlflow.file_store.tracking import FolderTracking
from switchyard.core.artifacts.owners import LOCATION_TAG, ArtifactOwner
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound
from switchyard.core.mlflow.contents import (
    DatasetUse,
    ExperimentDetails,
    LoggedModel,
    ModelPoint,
    ModelUse,
    RunDetails,
)
from switchyard.core.mlflow.raw_run import LostRun, RawRun

_MODEL_STATUS: Final = {1: "LOGGED_MODEL_PENDING", 2: "LOGGED_MODEL_READY", 3: "LOGGED_MODEL_UPLOAD_FAILED"}
"""The statuses by their numbers. Source: enum LoggedModelStatus, mlflow/protos/service.proto, 3.17.2."""
_NOT_KEPT: Final = (
    "data sets that no run uses",
    "when a run was deleted, and the columns source_type, source_name, source_version and entry_point_name of old "
    "runs: what MLflow shows of them are tags",
)


class FolderDetails:
    """Reads what the folder of `tracking` holds besides.

    A damaged file concerns only its run. A logged model that cannot be read, or an experiment's tags, are from then on
    among what is not kept."""

    def __init__(self, tracking: FolderTracking) -> None:
        self._tracking = tracking
        self._damaged: dict[str, str] = {}

    @property
    def _layout(self) -> Layout:
        return self._tracking.layout

    def list_experiments(self) -> Iterator[ExperimentDetails]:
        """See the port."""
        seen: set[str] = set()
        for experiment in self._layout.list_experiments():
            if isinstance(experiment.error, NotFound) or experiment.experiment_id in seen:
                continue
            seen.add(experiment.experiment_id)
            meta = {} if experiment.error else self._layout.read_meta(experiment.folder)
            tags: dict[str, str] = {}
            with self._noting(f"tags of experiment {experiment.experiment_id}"):
                tags = self._read_texts(experiment.folder, "tags")
            yield ExperimentDetails(
                experiment_id=experiment.experiment_id,
                name=experiment.name,
                artifact_location=_to_text(meta.get("artifact_location")),
                lifecycle=experiment.lifecycle,
                created_at_ms=_to_ms(meta.get("creation_time")),
                updated_at_ms=_to_ms(meta.get("last_update_time")),
                tags=tags,
            )

    def read_details(self, run_ids: Iterable[str]) -> Iterator[RunDetails | LostRun]:
        """See the port. The files have no summary, so all points are read for the newest of each key."""
        return self._tracking.read_each(run_ids, self._to_details)

    def take_marks(self, run_ids: Iterable[str]) -> dict[str, str]:
        """See the port. Takes them from the files that are there."""
        return self._tracking.take_marks(run_ids)

    def list_logged_models(self) -> Iterator[LoggedModel]:
        """See the port. Leaves out deleted ones."""
        for folder, experiment_id in self._list_models():
            model_id = self._layout.to_id(folder)
            found = None
            with self._noting(f"the logged model {model_id}"):
                found = self._read_model(folder, model_id, experiment_id)
            if found:
                yield found

    def list_traces(self) -> Iterator[ArtifactOwner]:
        """See the port."""
        for experiment in self._layout.list_experiments():
            for folder in self._layout.list_folders(f"{experiment.folder}traces/"):
                trace_id, place = self._layout.to_id(folder), ""
                with self._noting(f"the trace {trace_id}"):
                    place = self._read_texts(folder, "tags").get(LOCATION_TAG, "")
                if place:
                    yield ArtifactOwner(id=trace_id, artifact_uri=place)

    def list_not_kept(self) -> list[str]:
        """See the port. Traces are counted, if there are any."""
        traces = self._count_traces()
        counted = [f"{traces} traces, and their spans and assessments"] if traces else []
        return [*_NOT_KEPT, *counted, *(f"{what}: {said}" for what, said in sorted(self._damaged.items()))]

    def count_not_kept(self) -> dict[str, int]:
        """See the port. Counts traces, and logged models that are deleted or damaged."""
        counts = {"trace_info": self._count_traces(), "logged_models": self._count_lost_models()}
        return {table: count for table, count in counts.items() if count}

    def _count_lost_models(self) -> int:
        return sum(1 for _ in self._list_models()) - sum(1 for _ in self.list_logged_models())

    def _count_traces(self) -> int:
        experiments = self._layout.list_experiments()
        return sum(len(self._layout.list_folders(f"{experiment.folder}traces/")) for experiment in experiments)

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BadRecord, BadRequest, BadSetup, NotFound) as err:
            self._damaged[what] = str(err)

    def _list_models(self) -> Iterator[tuple[str, str]]:
        for experiment in self._layout.list_experiments():
            for folder in self._layout.list_folders(f"{experiment.folder}{MODELS}/"):
                yield folder, experiment.experiment_id

    def _read_model(self, folder: str, model_id: str, experiment_id: str) -> LoggedModel | None:
        meta = self._layout.read_meta(folder)
        if meta.get("lifecycle_stage") == "deleted":
            self._damaged[f"the logged model {model_id}"] = "it is deleted"
            return None
        status = meta.get("status")
        return LoggedModel(
            model_id=model_id,
            experiment_id=experiment_id,
            name=_to_text(meta.get("name")),
            artifact_uri=_to_text(meta.get("artifact_location")),
            created_at_ms=_to_ms(meta.get("creation_timestamp")),
            updated_at_ms=_to_ms(meta.get("last_updated_timestamp")),
            status=_MODEL_STATUS.get(status, str(status)) if isinstance(status, int) else _to_text(status),
            status_message=_to_text(meta.get("status_message")),
            model_type=_to_text(meta.get("model_type")),
            run_id=_to_text(meta.get("source_run_id")),
            params=self._read_texts(folder, "params"),
            tags=self._read_texts(folder, "tags"),
            points=list(self._read_points(folder, model_id)),
        )

    def _to_details(self, place: Place, run: RawRun) -> RunDetails:
        meta = self._layout.read_meta(place.folder)
        datasets, models = [], []
        for folder in self._layout.list_folders(f"{place.folder}inputs/"):
            found = self._layout.read_meta(folder)
            if found.get("source_type") == "MODEL":
                models.append(ModelUse(model_id=_to_text(found.get("source_id"))))
            else:
                datasets.append(self._to_dataset(place, found))
        for folder in self._layout.list_folders(f"{place.folder}outputs/"):
            found = self._layout.read_meta(folder)
            step = found.get("step")
            model_id = _to_text(found.get("destination_id"))
            models.append(ModelUse(model_id=model_id, is_output=True, step=step if isinstance(step, int) else 0))
        return RunDetails(
            info=run.info,
            params=run.params,
            tags=run.tags,
            latest=[
                (key, points.steps[-1], points.timestamps_ms[-1], points.values[-1])
                for key, points in sorted(run.metrics.items())
            ],
            own_name=_to_text(meta.get("run_name") or meta.get("name")),
            user_id=_to_text(meta.get("user_id")),
            datasets=sorted(datasets, key=lambda use: (use.name, use.digest)),
            models=models,
        )

    def _to_dataset(self, place: Place, use: Mapping[str, Any]) -> DatasetUse:
        folder = f"{place.experiment.folder}datasets/{use.get('source_id')}/"
        found = self._layout.read_meta(folder)
        schema, profile = found.get("schema"), found.get("profile")
        tags = use.get("tags")
        return DatasetUse(
            name=_to_text(found.get("name")),
            digest=_to_text(found.get("digest")),
            source_type=_to_text(found.get("source_type")),
            source=_to_text(found.get("source")),
            schema=None if schema is None else str(schema),
            profile=None if profile is None else str(profile),
            tags={str(key): _to_text(value) for key, value in tags.items()} if isinstance(tags, dict) else {},
        )

    def _read_points(self, folder: str, model_id: str) -> Iterator[ModelPoint]:
        for key, uri in self._layout.list_files(folder, "metrics").items():
            data = self._layout.read_bytes(uri)
            for run_id, point, digest in read_model_points(data, key, model_id, uri, is_wanted=bool):
                yield ModelPoint(
                    run_id=run_id,
                    key=key,
                    step=point.step,
                    timestamp_ms=point.timestamp_ms,
                    value=point.value,
                    dataset=point.dataset,
                    dataset_digest=digest,
                )

    def _read_texts(self, folder: str, kind: str) -> dict[str, str]:
        return {key: self._layout.read_text(uri) for key, uri in self._layout.list_files(folder, kind).items()}


def _to_text(value: Any) -> str:
    return "" if value is None else str(value)


def _to_ms(value: Any) -> int | None:
    return value if isinstance(value, int) else None
