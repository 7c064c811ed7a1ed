"""Reads the registry in an MLflow folder (`mlruns/models`), without the mlflow package.

That package makes folders when it reads.

Source: mlflow/store/model_registry/file_store.py, 2.9.2 and 3.17.2:
``models/<name>/{meta.yaml,tags/<key>,aliases/<alias>}`` and ``models/<name>/version-<number>/{meta.yaml,tags/<key>}``.
"""

from collections.abc import Iterator
from typing import Any, Final

from switchyard.clients.mlflow.file_store.layout import META, MODELS, Layout
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound
from switchyard.core.ports import Objects
from switchyard.core.registry.importing import LostModel, SourceModel
from switchyard.core.registry.mlflow_rows import TABLES, RegistryTables, list_run_ids, to_models

_VERSION: Final = "version-"
_COLUMNS: Final = (
    *("current_stage", "description", "source", "run_id", "run_link", "user_id", "status", "status_message"),
)
"""The columns of a version's row; the older the folder, the fewer it has."""

_Rows = dict[str, list[dict[str, Any]]]


class FolderSource:
    """Reads the registry in the folder at `root`, a URI. A damaged file concerns only its model."""

    def __init__(self, root: str, objects: Objects) -> None:
        self._root = root.rstrip("/")
        self._objects = objects
        self._layout = Layout(self._root, objects, map)
        self.where = f"the registry in the MLflow folder {self._root}"

    def read_models(self, workspace: str = "") -> list[SourceModel | LostModel]:
        """See the port."""
        if workspace:
            raise BadSetup(f"{self.where} has no workspaces: leave --workspace out")
        found = self.read_rows()
        places = self._find_artifacts(list_run_ids(found.tables["model_versions"]))
        return sorted([*to_models(found.tables, places, where=self.where), *found.lost], key=lambda model: model.name)

    def read_rows(self) -> RegistryTables:
        """See `core.ports.RegistryRows`. Includes the prompts of MLflow 3."""
        self._layout.list_experiments()  # raises where this is not an MLflow folder
        tables: _Rows = {name: [] for name in TABLES}
        lost: list[LostModel] = []
        for folder in self._objects.list_folders(f"{self._root}/{MODELS}/"):
            name = self._layout.to_id(folder)
            try:
                for table, rows in self._read_rows(folder, name).items():
                    tables[table] += rows
            except (BadRecord, BadRequest, BadSetup, NotFound) as err:
                lost.append(LostModel(name, err))
        return RegistryTables(tables=tables, lost=lost)

    def close(self) -> None:
        """See the port: there is nothing to end."""

    def _read_rows(self, folder: str, name: str) -> _Rows:
        """Reads them as a database has them."""
        rows: _Rows = {
            "registered_models": [{"name": name, "description": None, **self._read_meta(folder, name)}],
            "registered_model_tags": [
                {"name": name, "key": key, "value": value} for key, value in self._read_texts(folder, "tags")
            ],
            "registered_model_aliases": [
                {"name": name, "alias": alias, "version": version}
                for alias, version in self._read_texts(folder, "aliases")
            ],
            "model_versions": [],
            "model_version_tags": [],
        }
        for inner in self._objects.list_folders(folder):
            if not self._layout.to_id(inner).startswith(_VERSION):
                continue
            number = self._layout.to_id(inner).removeprefix(_VERSION)
            version = self._read_meta(inner, name)
            if str(said := version.get("version")) != number:
                raise BadRecord(inner + META, [f"`version` must be {number}, as its folder's; got {said!r}"])
            rows["model_versions"].append(dict.fromkeys(_COLUMNS) | version)
            rows["model_version_tags"] += [
                {"name": name, "version": number, "key": key, "value": value}
                for key, value in self._read_texts(inner, "tags")
            ]
        return rows

    def _read_meta(self, folder: str, name: str) -> dict[str, Any]:
        found = self._layout.read_meta(folder)
        if str(found.get("name")) != name:
            raise BadRecord(folder + META, [f"`name` must be {name!r}, as its folder's; got {found.get('name')!r}"])
        found.pop("workspace", None)  # 3.17.2 writes `default`; a folder has no other
        times = {"creation_time": "creation_timestamp", "last_updated_time": "last_updated_timestamp"}
        return found | {column: found.get(key) for column, key in times.items()}

    def _read_texts(self, folder: str, kind: str) -> Iterator[tuple[str, str]]:
        for key, uri in self._layout.list_files(folder, kind).items():
            yield key, self._layout.read_text(uri)

    def _find_artifacts(self, run_ids: set[str]) -> dict[str, str]:
        """Returns where the runs that `runs:/` sources name have their artifacts."""
        if not run_ids:
            return {}
        index = self._layout.find_runs(self._layout.list_experiments())
        found = {}
        for run_id in run_ids & index.keys():
            info, _ = self._layout.read_info(self._layout.choose(index[run_id]))
            if info is not None and info.artifact_uri:
                found[run_id] = info.artifact_uri
        return found
