"""Reads all that an MLflow server tells over REST: its runs (`RestTracking`), and what an export takes besides.

The latter is `core.ports.TrackingDetails` and `RegistryRows`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.rest import BULK_RUNS, RestTracking, to_pairs, to_value
from switchyard.core.artifacts.owners import LOCATION_TAG, ArtifactOwner
from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord, BadRequest, NotFound, SwitchyardError
from switchyard.core.mlflow.contents import (
    DatasetUse,
    ExperimentDetails,
    LatestValue,
    LoggedModel,
    ModelPoint,
    ModelUse,
    RunDetails,
)
from switchyard.core.mlflow.raw_run import Keys, LostRun, OwnedPoint, RawRun
from switchyard.core.registry.importing import LostModel, SourceModel
from switchyard.core.registry.mlflow_rows import PROMPT_TAG, TABLES, RegistryTables, list_run_ids, to_models

_API: Final = "/api/2.0/mlflow"
_TRACES: Final = "/api/3.0/mlflow/traces/search"
_PAGE_EXPERIMENTS: Final = 1_000
_PAGE_MODELS: Final = 100  # SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT, mlflow/store/model_registry, 2.9.2 and 3.17.2
_PAGE_VERSIONS: Final = 200
_PAGE_LOGGED: Final = 100  # SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT, mlflow/store/tracking, 3.17.2
_PAGE_OLD_TRACES: Final = 100
_PAGE_TRACES: Final = 500  # the most that _search_traces_v3 takes, mlflow/server/handlers.py, 3.17.2
_EXPERIMENTS_A_SEARCH: Final = 50
_IS_PROMPT: Final = f"tags.`{PROMPT_TAG}` = 'true'"

NOT_KEPT: Final = (
    "numbers, sources and tags of model versions that were deleted, and where MLflow keeps the files of a version "
    "whose source is another one",
    "data sets that no run uses, and MLflow's own ids of data sets and inputs: the export has ids of its own",
    "when a run was deleted, and the columns source_type, source_name, source_version and entry_point_name of old "
    "runs: what MLflow shows of them are tags",
)
"""What no server keeps."""
NOT_KEPT_3: Final = (
    "logged models that were deleted",
    "assessments, evaluation data sets, scorers, issues, labels, webhooks, and everything else of MLflow 3 that no run "
    "and no model has",
    "users and permissions",
)
"""What a server of MLflow 3 does not keep either."""


_Ask = Callable[[Sequence[str], Mapping[str, str]], dict[str, Any]]
"""A page of the traces of some experiments, by its token."""


class RestStore(RestTracking):
    """Implements `TrackingDetails`, `RegistryRows` and `RegistrySource` of `core.ports` on a server, and `Tracking`."""

    def __init__(self, server: MlflowServer, *, parallel: int = 4) -> None:
        super().__init__(server, parallel=parallel)
        self._has_models = True
        self._model_points: dict[str, Mapping[str, Sequence[OwnedPoint]]] = {}

    @property
    def where(self) -> str:
        """See `RegistrySource`."""
        return f"the MLflow registry {self._server.url}"

    def list_experiments(self) -> Iterator[ExperimentDetails]:
        """See the port."""
        body: dict[str, Any] = {"view_type": "ALL", "max_results": _PAGE_EXPERIMENTS}
        for found in self._pages("/experiments/search", body, "experiments", lambda one: str(one["experiment_id"])):
            with self._understood("the list of experiments"):
                experiment = ExperimentDetails(
                    experiment_id=str(found["experiment_id"]),
                    name=found["name"],
                    artifact_location=found.get("artifact_location", ""),
                    lifecycle="deleted" if found.get("lifecycle_stage") == "deleted" else "active",
                    created_at_ms=_to_int(found.get("creation_time")),
                    updated_at_ms=_to_int(found.get("last_update_time")),
                    tags=to_pairs(found, "tags"),
                )
            yield experiment

    def read_details(self, run_ids: Iterable[str]) -> Iterator[RunDetails | LostRun]:
        """See the port. Makes one call for each run."""
        for batch in batched(run_ids, BULK_RUNS):
            yield from self._pool.map(self._try_details, dict.fromkeys(batch))

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """See `Tracking`.

        A server over a database does not say for which logged model a point was logged. So the models of an experiment
        are asked for once, at the first of its runs."""
        for run in super().read_runs(run_ids, keys=keys):
            if isinstance(run, LostRun):
                yield run
                continue
            of_models = self._points_of_models(run.info.experiment_id).get(run.info.run_id, ())
            owned = [point for point in run.owned if not point.model_id]
            owned += [point for point in of_models if point.key in run.metrics]
            yield msgspec.structs.replace(run, owned=owned)

    def _points_of_models(self, experiment_id: str) -> Mapping[str, Sequence[OwnedPoint]]:
        """Returns them by run id. Keeps the experiments asked for last, as many as one listing of runs mixes."""
        if experiment_id not in self._model_points:
            found: dict[str, list[OwnedPoint]] = defaultdict(list)
            for model in self._search_models([experiment_id]):
                for point in model.points:
                    found[point.run_id].append(
                        OwnedPoint(
                            point.key, point.step, point.timestamp_ms, point.value, model.model_id, point.dataset
                        )
                    )
            self._model_points[experiment_id] = found
            if len(self._model_points) > _EXPERIMENTS_A_SEARCH:
                del self._model_points[next(iter(self._model_points))]
        return self._model_points[experiment_id]

    def take_marks(self, run_ids: Iterable[str]) -> dict[str, str]:
        """Returns none: a server's marks are made of what `read_details` says."""
        return {}

    def list_logged_models(self) -> Iterator[LoggedModel]:
        """See the port."""
        for some in batched([one.experiment_id for one in self.list_experiments()], _EXPERIMENTS_A_SEARCH):
            yield from self._search_models(some)

    def _search_models(self, experiment_ids: Sequence[str]) -> Iterator[LoggedModel]:
        """Yields none if the server is of MLflow 2, which has no such call."""
        if self._has_models:
            body = {"experiment_ids": experiment_ids, "max_results": _PAGE_LOGGED}
            try:
                for found in self._pages("/logged-models/search", body, "models", lambda one: one["info"]["model_id"]):
                    with self._understood("the list of logged models"):
                        model = _to_logged_model(found)
                    yield model
            except NotFound:
                self._has_models = False

    def list_traces(self) -> Iterator[ArtifactOwner]:
        """See the port."""
        experiments: Sequence[str] = [one.experiment_id for one in self.list_experiments()]
        for ask in (self._ask_traces, self._ask_old_traces):
            try:
                return iter(
                    [
                        found
                        for some in batched(experiments, _EXPERIMENTS_A_SEARCH)
                        for page in self._each_page(partial(ask, some))
                        for found in self._to_owners(page)
                    ]
                )
            except (NotFound, BadRequest):  # an older MLflow
                continue
        return iter(())

    def _to_owners(self, page: Mapping[str, Any]) -> Iterator[ArtifactOwner]:
        """Yields the owners. Tags are an object, and were a list of pairs in MLflow 2."""
        with self._understood("a page of traces"):
            for trace in page.get("traces", ()):
                tags = trace.get("tags", {})
                tags = tags if isinstance(tags, dict) else to_pairs(trace, "tags")
                if tags.get(LOCATION_TAG):
                    id_ = trace.get("trace_id") or trace["request_id"]
                    yield ArtifactOwner(id=id_, artifact_uri=tags[LOCATION_TAG])

    def list_not_kept(self) -> list[str]:
        """See the port. Traces are counted where the server can."""
        traces = self._count_traces()
        if traces is None:
            return [*NOT_KEPT, "traces, if there are any: this server does not count them"]
        counted = [f"{traces} traces, and their spans"] if traces else []
        return [*NOT_KEPT, *counted, *NOT_KEPT_3]

    def count_not_kept(self) -> dict[str, int]:
        """See the port. Counts traces a page at a time, because no call counts them."""
        traces = self._count_traces()
        return {"trace_info": traces} if traces else {}

    def read_rows(self) -> RegistryTables:
        """See the port. Includes the prompts of MLflow 3, which are kept among the models."""
        rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in TABLES}
        lost: list[LostModel] = []
        for name, condition in self._list_models().items():
            try:
                for table, found in self._read_model(name, condition).items():
                    rows[table] += found
            except (NotFound, BadRecord, BadRequest) as err:
                lost.append(LostModel(name, err))
            except SwitchyardError as err:
                if not self._answers():
                    raise
                lost.append(LostModel(name, err))
        return RegistryTables(tables=rows, lost=lost)

    def read_models(self, workspace: str = "") -> list[SourceModel | LostModel]:
        """See `RegistrySource`."""
        found = self.read_rows()
        details = self.read_details(sorted(list_run_ids(found.tables["model_versions"])))
        runs = {one.info.run_id: one.info.artifact_uri for one in details if isinstance(one, RunDetails)}
        models = to_models(found.tables, runs, where=self.where, workspace=workspace)
        return sorted([*models, *found.lost], key=lambda model: model.name)

    def _try_details(self, run_id: str) -> RunDetails | LostRun:
        try:
            with self._understood(f"MLflow run {run_id}"):
                run = self._server.read(f"{_API}/runs/get", {"run_id": run_id})["run"]
                data, inputs, outputs = (run.get(name, {}) for name in ("data", "inputs", "outputs"))
                return RunDetails(
                    info=self._to_info(run),
                    params=to_pairs(data, "params"),
                    tags=to_pairs(data, "tags"),
                    latest=[_to_latest(point) for point in data.get("metrics", ())],
                    own_name=run["info"].get("run_name", ""),
                    user_id=run["info"].get("user_id", ""),
                    datasets=sorted(map(_to_dataset, inputs.get("dataset_inputs", ())), key=_to_order),
                    models=[
                        *(ModelUse(model_id=found["model_id"]) for found in inputs.get("model_inputs", ())),
                        *(
                            ModelUse(model_id=found["model_id"], is_output=True, step=int(found.get("step", 0)))
                            for found in outputs.get("model_outputs", ())
                        ),
                    ],
                )
        except SwitchyardError as err:
            return self._lose(run_id, err)

    def _list_models(self) -> dict[str, str]:
        """Returns, by name, the condition that finds a model's versions.

        A server of MLflow 3 says nothing of a prompt unless it is asked for one."""
        names = {found["name"]: "" for found in self._search("/registered-models/search", {}, "registered_models")}
        for found in self._search("/registered-models/search", {"filter": _IS_PROMPT}, "registered_models"):
            names[found["name"]] = f" AND {_IS_PROMPT}" if found["name"] not in names else ""
        return dict(sorted(names.items()))

    def _read_model(self, name: str, condition: str) -> dict[str, list[Mapping[str, Any]]]:
        model = self._server.read(f"{_API}/registered-models/get", {"name": name})["registered_model"]
        quoted = f'"{name}"' if "'" in name else f"'{name}'"
        query = {"filter": f"name = {quoted}{condition}", "max_results": _PAGE_VERSIONS}
        versions = list(self._search("/model-versions/search", query, "model_versions"))
        with self._understood(f"model {name}"):
            rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
            rows["registered_models"].append(
                {
                    "name": name,
                    "creation_time": _to_int(model.get("creation_timestamp")),
                    "last_updated_time": _to_int(model.get("last_updated_timestamp")),
                    "description": model.get("description"),
                }
            )
            rows["registered_model_tags"] += [{**_to_pair(tag), "name": name} for tag in model.get("tags", ())]
            rows["registered_model_aliases"] += [
                {"alias": found["alias"], "version": int(found["version"]), "name": name}
                for found in model.get("aliases", ())
            ]
            for version in versions:
                number = int(version["version"])
                rows["model_versions"].append(_to_version(name, number, version))
                rows["model_version_tags"] += [
                    {**_to_pair(tag), "name": name, "version": number} for tag in version.get("tags", ())
                ]
        return rows

    def _search(self, path: str, query: Mapping[str, Any], items: str) -> Iterator[dict[str, Any]]:
        """Searches by GET: these calls know no other way."""
        asked = {"max_results": _PAGE_MODELS, **query}
        for page in self._each_page(lambda token: self._server.read(_API + path, {**asked, **token})):
            with self._understood(f"the page of {items}"):
                found = list(page.get(items, ()))
            yield from found

    def _count_traces(self) -> int | None:
        """Returns how many there are, counted a page at a time; None: the server has no such call."""
        experiments: Sequence[str] = [one.experiment_id for one in self.list_experiments()]
        for ask in (self._ask_traces, self._ask_old_traces):
            try:
                return sum(self._count_some(ask, some) for some in batched(experiments, _EXPERIMENTS_A_SEARCH))
            except (NotFound, BadRequest):  # an older MLflow
                continue
        return None

    def _count_some(
        self, ask: Callable[[Sequence[str], Mapping[str, str]], dict[str, Any]], some: Sequence[str]
    ) -> int:
        return sum(len(page.get("traces", ())) for page in self._each_page(partial(ask, some)))

    def _ask_traces(self, experiment_ids: Sequence[str], token: Mapping[str, str]) -> dict[str, Any]:
        """Asks MLflow 3 for traces. Source: search_traces_v3, mlflow/server/handlers.py, 3.17.2."""
        places = [
            {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": number}} for number in experiment_ids
        ]
        return self._server.search(_TRACES, {"locations": places, "max_results": _PAGE_TRACES, **token})

    def _ask_old_traces(self, experiment_ids: Sequence[str], token: Mapping[str, str]) -> dict[str, Any]:
        """Asks MLflow 2.14 to 2.22. Source: SearchTraces, mlflow/protos/service.proto, 3.17.2, which still names it."""
        query = {"experiment_ids": list(experiment_ids), "max_results": _PAGE_OLD_TRACES, **token}
        return self._server.read(f"{_API}/traces", query)


def _to_latest(point: Mapping[str, Any]) -> LatestValue:
    return point["key"], int(point.get("step", 0)), int(point.get("timestamp", 0)), to_value(point)


def _to_dataset(found: Mapping[str, Any]) -> DatasetUse:
    dataset = found["dataset"]
    return DatasetUse(
        name=dataset["name"],
        digest=dataset["digest"],
        source_type=dataset.get("source_type", ""),
        source=dataset.get("source", ""),
        schema=dataset.get("schema"),
        profile=dataset.get("profile"),
        tags=to_pairs(found, "tags"),
    )


def _to_order(use: DatasetUse) -> tuple[str, str]:
    return use.name, use.digest


def _to_logged_model(found: Mapping[str, Any]) -> LoggedModel:
    info, data = found["info"], found.get("data", {})
    return LoggedModel(
        model_id=info["model_id"],
        experiment_id=str(info["experiment_id"]),
        name=info.get("name", ""),
        artifact_uri=info.get("artifact_uri", ""),
        created_at_ms=_to_int(info.get("creation_timestamp_ms")),
        updated_at_ms=_to_int(info.get("last_updated_timestamp_ms")),
        status=info.get("status", ""),
        status_message=info.get("status_message", ""),
        model_type=info.get("model_type", ""),
        run_id=info.get("source_run_id", ""),
        params=to_pairs(data, "params"),
        tags=to_pairs(info, "tags"),
        points=[
            ModelPoint(
                run_id=point["run_id"],
                key=point["key"],
                step=int(point.get("step", 0)),
                timestamp_ms=int(point.get("timestamp", 0)),
                value=to_value(point),
                dataset=point.get("dataset_name", ""),
                dataset_digest=point.get("dataset_digest", ""),
            )
            for point in data.get("metrics", ())
        ],
    )


def _to_version(name: str, number: int, version: Mapping[str, Any]) -> Mapping[str, Any]:
    same = ("description", "user_id", "current_stage", "source", "run_id", "status", "status_message", "run_link")
    return {
        "name": name,
        "version": number,
        "creation_time": _to_int(version.get("creation_timestamp")),
        "last_updated_time": _to_int(version.get("last_updated_timestamp")),
        **{column: version.get(column) for column in same},
    }


def _to_pair(tag: Mapping[str, Any]) -> dict[str, Any]:
    return {"key": tag["key"], "value": tag.get("value", "")}


def _to_int(value: Any) -> int | None:
    return None if value is None else int(value)
