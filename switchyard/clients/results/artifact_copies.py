"""Knows where the artifacts of MLflow's runs were copied to (`core.ports.ArtifactCopies`), on SQLite and Postgres."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Table, select

from switchyard.clients.results.engine import Database
from switchyard.clients.results.rows import upsert
from switchyard.core.artifacts.copies import ArtifactCopy
from switchyard.core.batches import batched

_IDS_A_QUERY: Final = 1_000


class SqlArtifactCopies:
    """Implements `core.ports.ArtifactCopies`, which has the contracts. Safe for several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"SqlArtifactCopies({self._database.where})"

    @property
    def _table(self) -> Table:
        return self._database.tables.artifact_copies

    def keep(self, copy: ArtifactCopy) -> None:
        """See the port."""
        values = msgspec.structs.asdict(copy)
        with self._database.writing() as connection:
            written = upsert(connection, self._table).values(values)
            changed = {name: value for name, value in values.items() if name != "mlflow_run_id"}
            connection.execute(written.on_conflict_do_update(index_elements=["mlflow_run_id"], set_=changed))

    def read(self, mlflow_run_ids: Sequence[str]) -> dict[str, ArtifactCopy]:
        """See the port."""
        found: dict[str, ArtifactCopy] = {}
        for some in batched(mlflow_run_ids, _IDS_A_QUERY):
            query = select(self._table).where(self._table.c.mlflow_run_id.in_(some))
            for row in self._database.rows(query):
                found[row.mlflow_run_id] = ArtifactCopy(**row._asdict())
        return found

    def list_ids(self) -> list[str]:
        """See the port."""
        column = self._table.c.mlflow_run_id
        return [row.mlflow_run_id for row in self._database.rows(select(column).order_by(column))]
