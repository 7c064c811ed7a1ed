"""Reads MLflow registries to import from (`core.ports.RegistrySource`): a database, an export of one, a server."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from switchyard.clients.mlflow.export.parts import read_rows
from switchyard.clients.mlflow.export.tables import Snapshot, open_tables
from switchyard.clients.mlflow.export.writer import check_export, read_export
from switchyard.clients.mlflow.registry_client import open_client
from switchyard.clients.mlflow.registry_errors import translated
from switchyard.clients.mlflow.registry_mirror import list_versions
from switchyard.clients.mlflow.schema import check_exported
from switchyard.core.errors import BadRecord, BadSetup, NotFound, SwitchyardError, catch
from switchyard.core.mlflow.export import Export, Missing
from switchyard.core.ports import Objects
from switchyard.core.registry.importing import LostModel, ModelOrigin, SourceModel, VersionOrigin
from switchyard.core.registry.mlflow_rows import (
    DEFAULT_WORKSPACE,
    OWN_TAGS,
    PROMPT_TAG,
    RUNS,
    TABLES,
    list_run_ids,
    to_models,
    to_place,
)

_PAGE: Final = 100
_LOGGED: Final = "models:/"
_ALL: Final = f"name != '{PROMPT_TAG}'"
"""MLflow 3's client adds that the prompts' tag must not be true, unless the filter speaks of it already. A server of
2.9.2 takes that for models that have the tag, and would answer with none.

Source: mlflow/prompt/registry_utils.py, 3.17.2.
"""


class DatabaseSource:
    """Reads the backend store at `uri`, all of one moment. What is not UTF-8 there hides nothing else."""

    def __init__(self, uri: str) -> None:
        self._store = open_tables(uri)
        self.where = self._store.where

    def read_models(self, workspace: str = "") -> list[SourceModel | LostModel]:
        """See the port."""
        self._store.read_version()
        with self._store.lenient_snapshot() as snapshot:
            tables = {name: list(_to_dicts(snapshot, name)) for name in TABLES}
            wanted = list_run_ids(tables["model_versions"])
            runs = _to_artifact_uris(_to_dicts(snapshot, RUNS) if wanted else (), wanted)
        return to_models(tables, runs, where=self.where, workspace=workspace)

    def close(self) -> None:
        """See the port. Each reading ends its connection."""


def _to_dicts(snapshot: Snapshot, name: str) -> Iterator[dict[str, Any]]:
    for table in snapshot.tables():
        if table.name == name:
            yield from (dict(zip(table.columns, row, strict=True)) for row in snapshot.rows(table))


def _to_artifact_uris(runs: Iterable[Mapping[str, Any]], wanted: set[str]) -> dict[str, str]:
    return {str(row["run_uuid"]): str(row["artifact_uri"]) for row in runs if row["run_uuid"] in wanted}


class ExportSource:
    """Reads the export of a backend store at `at_uri` (`switchyard export`), after checking every part."""

    def __init__(self, at_uri: str, objects: Objects) -> None:
        self._at_uri, self._objects = at_uri.rstrip("/"), objects
        self.where = f"the export at {at_uri}"

    def read_models(self, workspace: str = "") -> list[SourceModel | LostModel]:
        """See the port."""
        try:
            export = read_export(self._at_uri, self._objects)
            check_exported(export, self.where)
            check_export(export, self._at_uri, self._objects)
            tables = {name: list(self._to_dicts(export, name)) for name in TABLES}
            wanted = list_run_ids(tables["model_versions"])
            runs = _to_artifact_uris(self._to_dicts(export, RUNS) if wanted else (), wanted)
        except (NotFound, BadRecord) as err:
            raise BadSetup(f"{err}; name the folder that an export was written to") from err
        models = to_models(tables, runs, where=self.where, workspace=workspace)
        lost = [_to_lost(missing, self.where) for missing in export.missing if missing.kind == "model"]
        return sorted([*models, *lost], key=lambda model: model.name)

    def close(self) -> None:
        """See the port. There is nothing to end."""

    def _to_dicts(self, export: Export, name: str) -> Iterator[dict[str, Any]]:
        for table in export.tables:
            for part in table.parts if table.name == name else ():
                data, _ = self._objects.read(f"{self._at_uri}/{part.name}")
                yield from (dict(zip(table.columns, row, strict=True)) for row in read_rows(data, part.name))


def _to_lost(missing: Missing, where: str) -> LostModel:
    problem = f"it could not be read when the export was made: {missing.reason}; export again"
    return LostModel(missing.id, BadRecord(f"model {missing.id} of {where}", [problem]))


class ServerSource:
    """Reads the server at `uri`, by MLflow's own client.

    It does not show numbers of deleted versions: only those below the highest that is left are known to have been
    given."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.where = f"the MLflow registry {uri}"

    def read_models(self, workspace: str = "") -> list[SourceModel | LostModel]:
        """See the port."""
        if workspace:
            raise BadSetup(
                f"{self.where} is read by its server, which shows one workspace: set MLFLOW_WORKSPACE instead of "
                "--workspace"
            )
        client = open_client(self._uri)
        with translated(self.where), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(_list_models(client))
        read = [self._read(client, model) for model in sorted(found, key=lambda model: str(model.name))]
        return [model for model in read if isinstance(model, LostModel) or not _is_prompt(model)]

    def close(self) -> None:
        """See the port. MLflow's client keeps its connections for the process."""

    def _read(self, client: Any, model: Any) -> SourceModel | LostModel:
        def read() -> SourceModel:
            with translated(f"model {model.name} of {self.where}"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                whole = client.get_registered_model(model.name)
                versions = [_to_version(version) for version in list_versions(client, model.name)]
                wanted = list_run_ids({"source": version.source} for version in versions)
                runs = {run_id: client.get_run(run_id).info.artifact_uri for run_id in sorted(wanted)}
                return _to_model(whole, versions, runs | _locate_logged(client, versions))

        answer = catch(read)
        if isinstance(answer, SwitchyardError):
            return LostModel(model.name, answer)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _locate_logged(client: Any, versions: list[VersionOrigin]) -> dict[str, str]:
    """Returns where the logged models are that MLflow 3 names as sources; leaves out a missing one."""
    named = {version.source.removeprefix(_LOGGED) for version in versions if version.source.startswith(f"{_LOGGED}m-")}
    located = {}
    for model_id in sorted(named):
        with suppress(NotFound), translated(f"the logged model {model_id}"):
            located[model_id] = str(client.get_logged_model(model_id).artifact_location)
    return located


def _list_models(client: Any) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = client.search_registered_models(_ALL, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _is_prompt(model: SourceModel) -> bool:
    return model.origin.tags.get(PROMPT_TAG, "").lower() == "true"


def _to_model(model: Any, versions: list[VersionOrigin], artifact_uris: Mapping[str, str]) -> SourceModel:
    versions.sort(key=lambda version: version.number)
    workspace = getattr(model, "workspace", None) or ""
    return SourceModel(
        origin=ModelOrigin(
            name=model.name,
            workspace="" if workspace == DEFAULT_WORKSPACE else workspace,
            description=model.description or "",
            created_at_ms=model.creation_timestamp,
            updated_at_ms=model.last_updated_timestamp,
            tags=dict(sorted(model.tags.items())),
            aliases=dict(sorted((alias, int(number)) for alias, number in model.aliases.items())),
        ),
        versions=versions,
        places={version.number: to_place(version, artifact_uris) for version in versions},
    )


def _to_version(version: Any) -> VersionOrigin:
    return VersionOrigin(
        number=int(version.version),
        stage=version.current_stage or "None",
        description=version.description or "",
        source=version.source or "",
        run_id=version.run_id or "",
        run_link=version.run_link or "",
        user_id=version.user_id or "",
        status=str(version.status or ""),
        status_message=version.status_message or "",
        created_at_ms=version.creation_timestamp,
        updated_at_ms=version.last_updated_timestamp,
        tags={key: value for key, value in sorted(version.tags.items()) if not key.startswith(OWN_TAGS)},
    )
