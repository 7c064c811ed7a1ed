"""The rows of an MLflow registry's tables as models: of any of its versions, from its database or from an export of it.

Source: mlflow/store/model_registry/dbmodels/models.py, 2.9.2 and 3.17.2.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.core.errors import BadRecord, BadSetup
from switchyard.core.registry.importing import DELETED, LostModel, ModelOrigin, SourceModel, VersionOrigin

TABLES: Final = (
    "registered_models",
    "registered_model_tags",
    "registered_model_aliases",
    "model_versions",
    "model_version_tags",
)
RUNS: Final = "runs"
DEFAULT_WORKSPACE: Final = "default"
"""The one workspace of a registry that knows workspaces, and has no other."""
PROMPT_TAG: Final = "mlflow.prompt.is_prompt"
"""MLflow 3 keeps prompts among the models."""

OWN_TAGS: Final = "switchyard."
"""Tags that a mirror of ours has set there (`core.registry.mirroring`): they are not part of what they say."""

Row = Mapping[str, Any]


class RegistryTables(msgspec.Struct, frozen=True, kw_only=True):
    """A registry as the rows of TABLES, by column; and the models that could not be read."""

    tables: Mapping[str, Sequence[Row]]
    lost: Sequence[LostModel] = ()


def to_models(
    tables: Mapping[str, Iterable[Row]], artifact_uris: Mapping[str, str], *, where: str, workspace: str = ""
) -> list[SourceModel | LostModel]:
    """Returns the models of one workspace, by name; prompts are left out. A row that cannot be is its model's trouble.

    Args:
        tables: the rows of TABLES, as dictionaries.
        artifact_uris: of the runs that `runs:/` sources name.

    Raises:
        BadSetup: there are models in several workspaces, and none is chosen.
    """
    rows = {name: [dict(row) for row in tables.get(name, ())] for name in TABLES}
    chosen = _choose_workspace(rows["registered_models"], workspace, where)
    by_name = {name: _group(found, chosen) for name, found in rows.items()}
    models: list[SourceModel | LostModel] = []
    for name in sorted(by_name["registered_models"]):
        try:
            model = _to_model(name, {table: found.get(name, []) for table, found in by_name.items()}, artifact_uris)
        except (TypeError, ValueError, KeyError) as err:
            problem = BadRecord(f"model {name} of {where}", [f"a row of it has an odd value: {err}"])
            models.append(LostModel(name, problem))
            continue
        if model.origin.tags.get(PROMPT_TAG, "").lower() != "true":
            models.append(model)
    return models


def list_run_ids(versions: Iterable[Row]) -> set[str]:
    """Returns the runs that `runs:/` sources name."""
    sources = (str(row.get("source") or "") for row in versions)
    return {source.removeprefix("runs:/").partition("/")[0] for source in sources if source.startswith("runs:/")}


def to_place(version: VersionOrigin, artifact_uris: Mapping[str, str]) -> str:
    """Returns the URI below which a version's files lie; empty: it is not known.

    `artifact_uris`: of runs, and of logged models.

    >>> to_place(VersionOrigin(number=1, source="runs:/ab/model"), {"ab": "gs://b/ab/artifacts"})
    'gs://b/ab/artifacts/model'
    >>> to_place(VersionOrigin(number=1, source="models:/m-1"), {"m-1": "gs://b/models/m-1/artifacts"})
    'gs://b/models/m-1/artifacts'
    """
    uri = version.storage or version.source
    if uri.startswith("runs:/"):
        run_id, _, path = uri.removeprefix("runs:/").partition("/")
        root = artifact_uris.get(run_id, "")
        return f"{root.rstrip('/')}/{path}".rstrip("/") if root else ""
    return artifact_uris.get(uri.removeprefix("models:/"), "") if uri.startswith("models:/") else uri


def _choose_workspace(models: Sequence[Row], wanted: str, where: str) -> str | None:
    """Returns the workspace to read; None: this registry knows no workspaces."""
    known = sorted({str(row["workspace"]) for row in models if row.get("workspace") is not None})
    if wanted and wanted not in known:
        raise BadSetup(f"{where} has no workspace {wanted!r}; it has {', '.join(known) or 'none'}")
    if len(known) > 1 and not wanted:
        raise BadSetup(
            f"{where} has models in {len(known)} workspaces ({', '.join(known)}), whose names may be the same. Import "
            f"one at a time: --workspace {known[0]}"
        )
    return wanted or (known[0] if known else None)


def _group(rows: Iterable[Row], workspace: str | None) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if workspace is None or str(row.get("workspace")) == workspace:
            found[str(row["name"])].append(row)
    return found


def _to_model(name: str, rows: Mapping[str, list[Row]], artifact_uris: Mapping[str, str]) -> SourceModel:
    (model,) = rows["registered_models"]
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    for row in rows["model_version_tags"]:
        if not _to_text(row["key"]).startswith(OWN_TAGS):
            tags[_to_int(row["version"])][_to_text(row["key"])] = _to_text(row["value"])
    workspace = _to_text(model.get("workspace"))
    versions, deleted = [], []
    for row in rows["model_versions"]:
        number = _to_int(row["version"])
        if row["current_stage"] == DELETED:
            deleted.append(number)
        else:
            versions.append(_to_version(row, number, tags[number]))
    versions.sort(key=lambda version: version.number)
    return SourceModel(
        origin=ModelOrigin(
            name=name,
            workspace="" if workspace == DEFAULT_WORKSPACE else workspace,
            description=_to_text(model["description"]),
            created_at_ms=_to_ms(model["creation_time"]),
            updated_at_ms=_to_ms(model["last_updated_time"]),
            tags=dict(sorted((_to_text(row["key"]), _to_text(row["value"])) for row in rows["registered_model_tags"])),
            aliases=dict(
                sorted((_to_text(r["alias"]), _to_int(r["version"])) for r in rows["registered_model_aliases"])
            ),
            deleted=sorted(deleted),
        ),
        versions=versions,
        places={version.number: to_place(version, artifact_uris) for version in versions},
    )


def _to_version(row: Row, number: int, tags: Mapping[str, str]) -> VersionOrigin:
    return VersionOrigin(
        number=number,
        stage=_to_text(row["current_stage"]) or "None",
        description=_to_text(row["description"]),
        source=_to_text(row["source"]),
        storage=_to_text(row.get("storage_location")),
        run_id=_to_text(row["run_id"]),
        run_link=_to_text(row["run_link"]),
        user_id=_to_text(row["user_id"]),
        status=_to_text(row["status"]),
        status_message=_to_text(row["status_message"]),
        created_at_ms=_to_ms(row["creation_time"]),
        updated_at_ms=_to_ms(row["last_updated_time"]),
        tags=dict(sorted(tags.items())),
    )


def _to_int(value: Any) -> int:
    """Returns the value as a version's number; it is checked, because SQLite's columns take values of any type."""
    number = int(value)
    if isinstance(value, float) or number < 0 or number > 2**31 - 1:
        raise ValueError(f"{value!r} is not a version")
    return number


def _to_ms(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _to_text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = "" if value is None else str(value)
    # What no database of ours takes: clients/results/column_types.py.
    return text.replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
