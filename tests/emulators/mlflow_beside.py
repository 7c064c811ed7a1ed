"""What an MLflow server tells besides runs and their points, over the same SQLite file as `mlflow_rest`.

That is inputs, the registry, and the logged models of MLflow 3. Each rule names where it comes from.

Sources, below as [handlers] and [registry]: mlflow/server/handlers.py
and mlflow/store/model_registry/sqlalchemy_store.py, of 2.9.2, and of 3.17.2 where `is_3`.
"""

import base64
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.emulators.mlflow_refused import Refused

_PROMPT: Final = "mlflow.prompt.is_prompt"
_VERSION: Final = {
    "name": "name",
    "creation_time": "creation_timestamp",
    "last_updated_time": "last_updated_timestamp",
    "description": "description",
    "user_id": "user_id",
    "current_stage": "current_stage",
    "source": "source",
    "run_id": "run_id",
    "status": "status",
    "status_message": "status_message",
    "run_link": "run_link",
}


class Beside:
    """The calls, and what they add to a run. `execute` runs one statement."""

    def __init__(self, execute: Callable[..., list[sqlite3.Row]], *, is_3: bool) -> None:
        self._sql = execute
        self._is_3 = is_3
        self.logged_models: list[dict[str, Any]] = []
        self.traces = 0

    def calls(self) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        """By the path's end."""
        calls = {
            "registered-models/search": self._search_models,
            "registered-models/get": self._get_model,
            "model-versions/search": self._search_versions,
        }
        return calls | ({"logged-models/search": self._search_logged, "traces/search": self._search_traces}
                        if self._is_3 else {})  # fmt: skip

    def to_inputs(self, run_id: str) -> dict[str, Any]:
        """The key ``inputs`` of a run, where it has any."""
        rows = self._sql(
            "SELECT i.input_uuid, d.* FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
            "WHERE i.destination_type = 'RUN' AND i.destination_id = ?",
            run_id,
        )
        names = {"dataset_source_type": "source_type", "dataset_source": "source", "dataset_schema": "schema",
                 "dataset_profile": "profile", "name": "name", "digest": "digest"}  # fmt: skip
        uses = [
            {
                "dataset": {name: row[column] for column, name in names.items() if row[column] is not None},
                "tags": [
                    {"key": tag["name"], "value": tag["value"]}
                    for tag in self._sql("SELECT * FROM input_tags WHERE input_uuid = ?", row["input_uuid"])
                ],
            }
            for row in rows
        ]
        return {"inputs": {"dataset_inputs": uses}} if uses else {}

    def _search_models(self, query: Mapping[str, Any]) -> dict[str, Any]:
        # [registry] search_registered_models: by name; MLflow 3 leaves prompts out, unless the filter asks for them.
        prompts = {row["name"] for row in self._sql("SELECT name FROM registered_model_tags WHERE key = ?", _PROMPT)}
        asks = _PROMPT in query.get("filter", "")
        rows = [
            row
            for row in self._sql("SELECT * FROM registered_models ORDER BY name")
            if (row["name"] in prompts) == asks or (not asks and not self._is_3)
        ]
        return page([self._to_model(row) for row in rows], "registered_models", query, 100)

    def _get_model(self, query: Mapping[str, Any]) -> dict[str, Any]:
        rows = self._sql("SELECT * FROM registered_models WHERE name = ?", query["name"])
        if not rows:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={query['name']} not found")
        return {"registered_model": self._to_model(rows[0])}

    def _search_versions(self, query: Mapping[str, Any]) -> dict[str, Any]:
        # [registry] search_model_versions: never those that were deleted; newest first.
        name = re.match(r"""name = (?:'([^']*)'|"([^"]*)")""", query["filter"])
        assert name is not None, query["filter"]
        chosen = name[1] or name[2]
        rows = self._sql(
            "SELECT * FROM model_versions WHERE name = ? AND current_stage <> 'Deleted_Internal' "
            "ORDER BY last_updated_time DESC, version DESC",
            chosen,
        )
        prompt = self._sql("SELECT 1 FROM registered_model_tags WHERE key = ? AND name = ?", _PROMPT, chosen)
        if self._is_3 and prompt and _PROMPT not in query["filter"]:
            rows = []
        return page([self._to_version(row) for row in rows], "model_versions", query, 10_000)

    def _to_model(self, row: sqlite3.Row) -> dict[str, Any]:
        tags = self._sql("SELECT key, value FROM registered_model_tags WHERE name = ?", row["name"])
        aliases = self._sql("SELECT alias, version FROM registered_model_aliases WHERE name = ?", row["name"])
        found = {
            "name": row["name"],
            "creation_timestamp": row["creation_time"],
            "last_updated_timestamp": row["last_updated_time"],
            "description": row["description"],
            "tags": [dict(tag) for tag in tags],
            "aliases": [{"alias": alias["alias"], "version": str(alias["version"])} for alias in aliases],
        }
        return {key: value for key, value in found.items() if value not in (None, [])}

    def _to_version(self, row: sqlite3.Row) -> dict[str, Any]:
        tags = self._sql(
            "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?", row["name"], row["version"]
        )
        found = {name: row[column] for column, name in _VERSION.items() if row[column] is not None}
        return found | {"version": str(row["version"])} | ({"tags": [dict(tag) for tag in tags]} if tags else {})

    def _search_logged(self, query: Mapping[str, Any]) -> dict[str, Any]:
        ids = set(query["experiment_ids"])
        models = [model for model in self.logged_models if model["info"]["experiment_id"] in ids]
        return page(models, "models", query, 100)

    def _search_traces(self, query: Mapping[str, Any]) -> dict[str, Any]:
        if int(query["max_results"]) > 500:  # [handlers] _search_traces_v3
            raise Refused(400, "INVALID_PARAMETER_VALUE", "max_results")
        traces = [
            {"trace_id": f"tr-{number}", "tags": {"mlflow.artifactLocation": f"mlflow-artifacts:/4/traces/tr-{number}"}}
            for number in range(self.traces)
        ]
        return page(traces, "traces", query, 100)


def page(items: list[Any], name: str, query: Mapping[str, Any], default: int) -> dict[str, Any]:
    # SearchUtils.paginate, mlflow/utils/search_utils.py: a token is an offset in base64; a last page has none.
    limit = int(query.get("max_results", default))
    token = query.get("page_token")
    offset = json.loads(base64.b64decode(token))["offset"] if token else 0
    page = items[offset : offset + limit]
    found: dict[str, Any] = {name: page} if page else {}
    if offset + limit < len(items):
        found["next_page_token"] = base64.b64encode(json.dumps({"offset": offset + limit}).encode()).decode()
    return found
