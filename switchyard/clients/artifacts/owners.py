"""Lists the logged models and traces of an MLflow store, and where their files are (`core.ports.ArtifactOwners`).

It reads a database, an export, or a server's or a folder's answers.
"""

from collections.abc import Iterator
from typing import Any

from switchyard.clients.mlflow.export.from_tracking import Answers
from switchyard.clients.mlflow.export.parts import read_rows
from switchyard.clients.mlflow.export.tables import open_tables
from switchyard.clients.mlflow.export.writer import read_export
from switchyard.core.artifacts.owners import LOCATION_TAG, ArtifactOwner
from switchyard.core.errors import BadRecord, BadSetup, NotFound
from switchyard.core.ports import Objects


class DatabaseOwners:
    """Reads the backend store at `uri`. MLflow 2's has no such tables, and so no owners."""

    def __init__(self, uri: str) -> None:
        self._store = open_tables(uri)

    def list_models(self) -> list[ArtifactOwner]:
        """See the port. Includes deleted ones."""
        return [_to_model(row) for row in self._read("logged_models")]

    def list_traces(self) -> list[ArtifactOwner]:
        """See the port."""
        return [_to_trace(row) for row in self._read("trace_tags") if row["key"] == LOCATION_TAG]

    def _read(self, name: str) -> Iterator[dict[str, Any]]:
        with self._store.lenient_snapshot() as snapshot:
            for table in snapshot.tables():
                if table.name == name:
                    yield from (dict(zip(table.columns, row, strict=True)) for row in snapshot.rows(table))


class ExportOwners:
    """Reads the finished export at `at_uri`. An export that was made of answers has no traces."""

    def __init__(self, at_uri: str, objects: Objects) -> None:
        self._at_uri, self._objects = at_uri.rstrip("/"), objects

    def list_models(self) -> list[ArtifactOwner]:
        """See the port. Includes deleted ones where it was made of a database."""
        return [_to_model(row) for row in self._read("logged_models")]

    def list_traces(self) -> list[ArtifactOwner]:
        """See the port."""
        return [_to_trace(row) for row in self._read("trace_tags") if row["key"] == LOCATION_TAG]

    def _read(self, name: str) -> Iterator[dict[str, Any]]:
        try:
            export = read_export(self._at_uri, self._objects)
            for table in export.tables:
                for part in table.parts if table.name == name else ():
                    data, _ = self._objects.read(f"{self._at_uri}/{part.name}")
                    yield from (dict(zip(table.columns, row, strict=True)) for row in read_rows(data, part.name))
        except (NotFound, BadRecord) as err:
            raise BadSetup(f"{err}; name the folder that an export was written to") from err


class AnswersOwners:
    """Asks a server or a folder. Neither lists deleted logged models."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def list_models(self) -> list[ArtifactOwner]:
        """See the port."""
        try:
            return [
                ArtifactOwner(id=model.model_id, artifact_uri=model.artifact_uri, run_id=model.run_id)
                for model in self._answers.details.list_logged_models()
            ]
        finally:
            self._answers.tracking.close()

    def list_traces(self) -> list[ArtifactOwner]:
        """See the port."""
        try:
            return list(self._answers.details.list_traces())
        finally:
            self._answers.tracking.close()


def _to_model(row: dict[str, Any]) -> ArtifactOwner:
    return ArtifactOwner(
        id=str(row["model_id"]), artifact_uri=row["artifact_location"] or "", run_id=row["source_run_id"] or ""
    )


def _to_trace(row: dict[str, Any]) -> ArtifactOwner:
    return ArtifactOwner(id=str(row["request_id"]), artifact_uri=row["value"] or "")
