"""Counts what an MLflow store holds, table by table (`core.ports.RowCounts`)."""

from switchyard.clients.mlflow.export.tables import open_tables
from switchyard.clients.mlflow.export.writer import read_export
from switchyard.core.errors import BadRecord, BadSetup, NotFound
from switchyard.core.mlflow.store_rows import StoreRows
from switchyard.core.ports import Objects

_DELETED_VERSION = "Deleted_Internal"
"""The stage of a model version that was deleted: its row stays, emptied. Source: STAGE_DELETED_INTERNAL of
mlflow/entities/model_registry/model_version_stages.py, 2.9.2 and 3.17.2."""


class DatabaseCounts:
    """The backend store at `uri`, all of one moment."""

    def __init__(self, uri: str) -> None:
        self._store = open_tables(uri)

    def count_rows(self) -> StoreRows:
        """See the port."""
        self._store.read_version()
        with self._store.lenient_snapshot() as snapshot:
            found = {table.name: snapshot.count(table) for table in snapshot.tables()}
            for table in snapshot.tables():
                if table.name == "model_versions" and found[table.name]:
                    stage = table.columns.index("current_stage")
                    found[table.name] -= sum(row[stage] == _DELETED_VERSION for row in snapshot.rows(table))
        return StoreRows(rows=found)


class ExportCounts:
    """The finished export at `at_uri`."""

    def __init__(self, at_uri: str, objects: Objects) -> None:
        self._at_uri, self._objects = at_uri.rstrip("/"), objects

    def count_rows(self) -> StoreRows:
        """See the port. A deleted model version's row is counted, for it is kept."""
        try:
            export = read_export(self._at_uri, self._objects)
        except (NotFound, BadRecord) as err:
            raise BadSetup(f"{err}; name the folder that an export was written to") from err
        return StoreRows(rows={table.name: table.rows for table in export.tables})
