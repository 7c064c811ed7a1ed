"""Imports another registry's models: one task for each thing that may be killed and done again."""

from collections.abc import Sequence
from contextlib import closing

from switchyard.clients.connect import connect
from switchyard.core.registry.importing import Chosen, LostModel, ModelVerified, SourceModel, VersionImport
from switchyard.services import importing
from switchyard.services.importing import Importing
from switchyard.services.importing_files import open_importing
from tasks.policy import effect


@effect
def read_registry(export_uri: str, workspace: str) -> tuple[str, Sequence[SourceModel | LostModel]]:
    """Returns the MLflow registry, or its export, in words, and its models."""
    with closing(connect().open_registry(export_uri)) as source:
        return source.where, source.read_models(workspace)


@effect
def begin_model(name: str, model: SourceModel) -> None:
    """Makes the model, and reserves its numbers."""
    connect().model_imports.begin(name, model)


@effect
def import_version(
    name: str,
    model: SourceModel,
    number: int,
    chosen: Chosen,
    where: str,
    destination: str,
    by: str,
    roots: Sequence[str] = (),
) -> VersionImport:
    """Imports one version with its files, once."""
    return importing.import_version(_open(where, destination, by, roots), name, model, number, chosen)


@effect
def finish_model(
    name: str, model: SourceModel, chosen: Chosen, production: int | None, where: str, by: str
) -> list[str]:
    """Keeps the chosen aliases, and the champion that a person says; returns what was not kept."""
    return importing.finish_model(_open(where, "", by), name, model, chosen, production)


@effect
def list_imported() -> dict[tuple[str, str], list[str]]:
    """Lists the names here of the models that were imported, by their workspace and name there."""
    outside = connect()
    return importing.list_imported(outside.models, outside.model_imports)


@effect
def verify_model(name: str, model: SourceModel) -> ModelVerified:
    """Compares the model here with the one there, to the last byte of its files."""
    return importing.verify_model(_open("", "", ""), name, model)


def _open(where: str, destination: str, by: str, roots: Sequence[str] = ()) -> Importing:
    return open_importing(connect(), where, destination, by, roots)
