"""Mirrors our registry in an MLflow server's (`core.ports.ModelMirror`), by MLflow's own client.

Nothing of it is loaded before the first call. Its own retries are off: if a version's creation is asked for again after
a lost answer, the version is there twice.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from switchyard.clients.mlflow.registry_client import open_client
from switchyard.clients.mlflow.registry_errors import translated
from switchyard.core.registry.mirroring import (
    CreateModel,
    CreateVersion,
    Mirror,
    MoveStage,
    RemoveAlias,
    SetAlias,
    SetTags,
    Theirs,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE: Final = 200


class MlflowMirror:
    """Implements `core.ports.ModelMirror`, which has the contracts.

    Args:
        uri: the server's address, or any other URI of a registry that MLflow's client takes.
    """

    def __init__(self, uri: str) -> None:
        self.target = uri

    def __repr__(self) -> str:
        return f"MlflowMirror({self.target})"

    @cached_property
    def _client(self) -> "MlflowClient":
        return open_client(self.target)

    def read(self, name: str) -> Mirror | None:
        """See the port."""
        with self._calling(f"model {name}"):
            model = _find(self._client, name)
            if model is None:
                return None
            versions = [_to_theirs(version) for version in list_versions(self._client, name)]
            return Mirror(versions=versions, aliases={alias: int(at) for alias, at in model.aliases.items()})

    def create_model(self, name: str, change: CreateModel) -> None:
        """See the port."""
        from mlflow.exceptions import MlflowException

        with self._calling(f"model {name}"):
            try:
                self._client.create_registered_model(name, description=change.description or None)
            except MlflowException as err:
                if err.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def create_version(self, name: str, change: CreateVersion) -> int:
        """See the port."""
        with self._calling(f"version {change.version} of model {name}"):
            made = self._client.create_model_version(
                name,
                change.source,
                tags=dict(change.tags),
                description=change.description or None,
                await_creation_for=0,
            )
            return int(made.version)

    def set_tags(self, name: str, change: SetTags) -> None:
        """See the port."""
        with self._calling(f"version {change.number} of model {name}"):
            for key, value in change.tags.items():
                self._client.set_model_version_tag(name, str(change.number), key, value)

    def set_alias(self, name: str, change: SetAlias) -> None:
        """See the port."""
        with self._calling(f"the alias {change.alias} of model {name}"):
            self._client.set_registered_model_alias(name, change.alias, str(change.number))

    def remove_alias(self, name: str, change: RemoveAlias) -> None:
        """See the port."""
        with self._calling(f"the alias {change.alias} of model {name}"):
            self._client.delete_registered_model_alias(name, change.alias)

    def move(self, name: str, change: MoveStage) -> None:
        """See the port."""
        with self._calling(f"version {change.number} of model {name}"):
            self._client.transition_model_version_stage(
                name, str(change.number), str(change.stage), archive_existing_versions=change.archive
            )

    def close(self) -> None:
        """See the port. MLflow's client keeps its connections for the process."""

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        with translated(f"{what} of the MLflow registry {self.target}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that stages are deprecated, at each call
            yield


def list_versions(client: "MlflowClient", name: str) -> Iterator[Any]:
    """Yields all versions of a model, which MLflow answers in pages."""
    token: str | None = None
    while True:
        quoted = f'"{name}"' if "'" in name else f"'{name}'"
        page = client.search_model_versions(f"name = {quoted}", max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _find(client: "MlflowClient", name: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as err:
        if err.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _to_theirs(version: Any) -> Theirs:
    return Theirs(
        number=int(version.version),
        stage=version.current_stage,
        tags=dict(version.tags),
        created_at_ms=version.creation_timestamp,
    )
