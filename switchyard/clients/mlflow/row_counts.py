"""Counts what an MLflow store holds, table by table (`core.ports.RowCounts`): a database, an export, or answers."""

from collections import Counter

from switchyard.clients.mlflow.export.from_tracking import Answers
from switchyard.clients.mlflow.export.tables import open_tables
from switchyard.clients.mlflow.export.writer import read_export
from switchyard.core.errors import BadRecord, BadSetup, NotFound
from switchyard.core.mlflow.contents import RunDetails
from switchyard.core.mlflow.export import Export
from switchyard.core.mlflow.store_rows import StoreRows
from switchyard.core.ports import Objects
from switchyard.core.registry.importing import DELETED


class DatabaseCounts:
    """Counts the backend store at `uri`, all of one moment."""

    def __init__(self, uri: str) -> None:
        self._store = open_tables(uri)

    def count_rows(self) -> StoreRows:
        """See the port."""
        self._store.read_version()
        with self._store.lenient_snapshot() as snapshot:
            tables = snapshot.tables()
            found = {table.name: snapshot.count(table) for table in tables}
            for table in tables:
                if table.name == "model_versions" and found[table.name]:
                    stage = table.columns.index("current_stage")
                    found[table.name] -= sum(row[stage] == DELETED for row in snapshot.rows(table))
        return StoreRows(rows=found)


class ExportCounts:
    """Counts the finished export at `at_uri`."""

    def __init__(self, at_uri: str, objects: Objects) -> None:
        self._at_uri, self._objects = at_uri.rstrip("/"), objects

    def count_rows(self) -> StoreRows:
        """See the port. Counts a deleted model version's row, because it is kept."""
        try:
            export = read_export(self._at_uri, self._objects)
        except (NotFound, BadRecord) as err:
            raise BadSetup(f"{err}; name the folder that an export was written to") from err
        return StoreRows(
            rows={table.name: table.rows for table in export.tables},
            unkept=_count_missing(export),
            untold=export.not_kept,
        )


def _count_missing(export: Export) -> dict[str, int]:
    """Counts models and runs that could not be read: they are missing too."""
    tables = {"model": "registered_models", "run": "runs"}
    lost = Counter(tables[missing.kind] for missing in export.missing)
    return {**export.not_kept_rows, **lost}


class AnswersCounts:
    """Asks a server or a folder for all that it tells; each run once."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def count_rows(self) -> StoreRows:
        """See the port. Not of one moment. Memory grows only with the number of data sets."""
        details = self._answers.details
        try:
            found = Counter(details.count_not_kept())
            for experiment in details.list_experiments():
                found.update(experiments=1, experiment_tags=len(experiment.tags))
            datasets: set[tuple[str, str, str]] = set()
            for run in details.read_details(run.run_id for run in self._answers.tracking.list_runs()):
                if not isinstance(run, RunDetails):
                    continue  # verify names it: it could not be read there either
                found.update(
                    runs=1,
                    inputs=len(run.datasets) + len(run.models),
                    input_tags=sum(len(use.tags) for use in run.datasets),
                )
                datasets.update((run.info.experiment_id, use.name, use.digest) for use in run.datasets)
            found["datasets"] = len(datasets)
            for model in details.list_logged_models():
                found.update(
                    logged_models=1,
                    logged_model_metrics=len(model.points),
                    logged_model_params=len(model.params),
                    logged_model_tags=len(model.tags),
                )
            registry = self._answers.registry.read_rows()
            found.update({table: len(rows) for table, rows in registry.tables.items()})
            found["registered_models"] += len(registry.lost)
            return StoreRows(rows=dict(found), untold=details.list_not_kept())
        finally:
            self._answers.tracking.close()
