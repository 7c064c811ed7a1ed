"""The only wiring: settings in, ports out.

Adapters are imported where they are used, so that nothing is loaded that is not used.
"""

from collections.abc import Callable, Container, Iterable
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from switchyard.clients.objects.open import open_objects, open_private_objects
from switchyard.clients.settings import Settings, is_folder, read_settings
from switchyard.core.artifacts.places import Allowed, to_allowed
from switchyard.core.errors import BadSetup
from switchyard.core.ports import (
    ArtifactCopies,
    ArtifactOwners,
    ArtifactSource,
    Catalogue,
    Decommissions,
    Followed,
    Histories,
    Jobs,
    Launcher,
    Ledger,
    MirrorNotes,
    ModelImports,
    ModelMirror,
    Models,
    Objects,
    Predictions,
    RegistrySource,
    RowCounts,
    Runs,
    Tracking,
    Trials,
)

if TYPE_CHECKING:
    import requests

    from switchyard.clients.approvals.reading import ApprovalFiles
    from switchyard.clients.mlflow.export.from_tracking import Answers
    from switchyard.clients.results.open import ResultsPorts
    from switchyard.core.decommission.cloud import Clouds


class Outside:
    """The outside systems that the settings name, each connected at its first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def objects(self, uri: str) -> Objects:
        """Opens the objects under `uri`; its scheme picks the adapter."""
        credentials = _credentials(self.settings.gcp_credentials_block) if uri.startswith("gs://") else None
        return open_objects(uri, credentials=credentials)

    def private_objects(self, folder: str) -> Objects:
        """Opens objects like `objects`, in a folder on this machine that only its owner may read.

        In a bucket its policy decides.

        Raises: BadSetup: others may read it.
        """
        credentials = _credentials(self.settings.gcp_credentials_block) if folder.startswith("gs://") else None
        return open_private_objects(folder, credentials=credentials)

    def to_allowed(self, roots: Iterable[str], destination: str = "", *, copies: str = "") -> Allowed:
        """Says which of the places that MLflow names may be read.

        These are the roots that a command or the settings name, and what of this machine they say is MLflow's; never
        our own files, nor the `copies` of it.
        """
        settings = self.settings
        folder = settings.mlflow_tracking_uri if is_folder(settings.mlflow_tracking_uri) else ""
        named = (root.strip() for root in settings.mlflow_artifacts_roots.split(","))
        ours = (Path(settings.state_dir).as_uri(), settings.artifacts_uri, copies)
        return to_allowed([*roots, destination, folder, *named], filter(None, ours))

    @property
    def runs(self) -> Runs:
        """The rows of runs in the results database, like the four below.

        Raises: BadSetup: its schema is not this version's (`switchyard migrate`).
        """
        return self._results.runs

    @property
    def jobs(self) -> Jobs:
        """The rows of training jobs. Raises: BadSetup, as `runs`."""
        return self._results.jobs

    @property
    def histories(self) -> Histories:
        """What is published. Raises: BadSetup, as `runs`."""
        return self._results.histories

    @property
    def ledger(self) -> Ledger:
        """The ledger of work on many runs. Raises: BadSetup, as `runs`."""
        return self._results.ledger

    @property
    def followed(self) -> Followed:
        """What was read of MLflow's runs. Raises: BadSetup, as `runs`."""
        return self._results.followed

    @property
    def models(self) -> Models:
        """The registry of models. Raises: BadSetup, as `runs`."""
        return self._results.models

    @property
    def mirror_notes(self) -> MirrorNotes:
        """What is known of the registry's mirror. Raises: BadSetup, as `runs`."""
        return self._results.mirrors

    @property
    def mirror(self) -> ModelMirror | None:
        """The MLflow registry that shows what ours has; None: the settings want none. Connected at its first use."""
        if self.settings.mlflow_mirror != "yes":
            return None
        from switchyard.clients.mlflow.registry_mirror import MlflowMirror

        return MlflowMirror(self.settings.mlflow_tracking_uri)

    @property
    def predictions(self) -> Predictions:
        """What was answered, and the feedback on it. Raises: BadSetup, as `runs`."""
        return self._results.predictions

    @property
    def catalogue(self) -> Catalogue:
        """The registry of models, page by page. Raises: BadSetup, as `runs`."""
        return self._results.catalogue

    @property
    def model_imports(self) -> ModelImports:
        """Another registry's models, written into ours. Raises: BadSetup, as `runs`."""
        return self._results.imports

    @property
    def artifact_copies(self) -> ArtifactCopies:
        """Where the artifacts of MLflow's runs were copied to. Raises: BadSetup, as `runs`."""
        return self._results.artifact_copies

    @property
    def approvals(self) -> "ApprovalFiles":
        """Reads who has approved what, by signatures and tokens of the people whom the settings name.

        Raises: BadSetup: what checks tokens is not installed.
        """
        from switchyard.clients.approvals.reading import ApprovalFiles
        from switchyard.clients.approvals.ssh import SshSignatures

        settings, tokens = self.settings, None
        if settings.approvers:
            try:
                from switchyard.clients.approvals.google_tokens import GoogleTokens
            except ModuleNotFoundError as err:
                raise BadSetup(
                    f"Google's tokens need the extra push: pip install -e '.[push]' in the checkout ({err})"
                ) from err

            tokens = GoogleTokens(
                [address.strip() for address in settings.approvers.split(",")],
                audience=settings.approvers_audience,
                certs_url=settings.push_certs_url,
            )
        signatures = SshSignatures(Path(settings.approvers_file)) if settings.approvers_file else None
        return ApprovalFiles(signatures=signatures, tokens=tokens)

    @property
    def decommissions(self) -> Decommissions:
        """How far the decommission of an MLflow deployment is. Raises: BadSetup, as `runs`."""
        return self._results.decommissions

    def open_clouds(self) -> "Clouds":
        """Opens Google Cloud's resources, as a decommission reads, stops and deletes them.

        Raises: BadSetup: what reads them is not there.
        """
        name = "switchyard.clients.google.decommission.opening"
        try:
            opening = import_module(name)
        except ModuleNotFoundError as err:
            raise BadSetup(
                f"Google Cloud's resources cannot be read: {err}. Install what reads them: "
                "pip install -c constraints.txt -e '.[decommission]'"
            ) from err
        credentials = _credentials(self.settings.gcp_credentials_block)
        found: Clouds = opening.open_clouds(self.settings, credentials=credentials)
        return found

    def open_artifacts(self, reader: Literal["objects", "mlflow"], allowed: Allowed) -> ArtifactSource:
        """Opens the artifacts of MLflow's runs, by our own adapters or by MLflow's artifact repositories.

        Our own read only what is `allowed`; MLflow's are imported at their first use.
        """
        if reader == "objects":
            from switchyard.clients.artifacts.own import ObjectsSource

            return ObjectsSource(self.objects, allowed)
        from switchyard.clients.artifacts.repositories import RepositorySource

        return RepositorySource(self.settings.mlflow_tracking_uri)

    def open_artifact_owners(self, export_uri: str = "") -> ArtifactOwners:
        """Opens what has files besides runs, in an export or in MLflow.

        It is the export at `export_uri`; if that is empty, the MLflow that the settings name. Raises: BadSetup: none is
        named.
        """
        from switchyard.clients.artifacts.owners import AnswersOwners, DatabaseOwners, ExportOwners

        if export_uri:
            return ExportOwners(export_uri, self.objects(export_uri))
        if self.settings.mlflow_backend_store_uri:
            return DatabaseOwners(self.settings.mlflow_backend_store_uri)
        return AnswersOwners(self.open_answers())

    def open_registry(self, export_uri: str = "") -> RegistrySource:
        """Opens the MLflow registry to import from; the caller closes it.

        It is the export at `export_uri`; if that is empty, the database of the settings, else their server or folder.
        Raises: BadSetup: none is named.
        """
        from switchyard.clients.mlflow.registry_sources import DatabaseSource, ExportSource, ServerSource

        if export_uri:
            return ExportSource(export_uri, self.objects(export_uri))
        if self.settings.mlflow_backend_store_uri:
            return DatabaseSource(self.settings.mlflow_backend_store_uri)
        if is_folder(self.settings.mlflow_tracking_uri):
            from switchyard.clients.mlflow.file_store.registry import FolderSource

            return FolderSource(self.settings.mlflow_tracking_uri, self.objects(self.settings.mlflow_tracking_uri))
        if self.settings.mlflow_tracking_uri:
            return ServerSource(self.settings.mlflow_tracking_uri)
        raise BadSetup("no MLflow is named: set MLFLOW_BACKEND_STORE_URI or MLFLOW_TRACKING_URI; see .env.example")

    def open_row_counts(self, export_uri: str = "") -> RowCounts:
        """Opens what counts the rows of the export at `export_uri`; if that is empty, of the MLflow of the settings.

        Raises: BadSetup: none is named.
        """
        from switchyard.clients.mlflow.row_counts import AnswersCounts, DatabaseCounts, ExportCounts

        if export_uri:
            return ExportCounts(export_uri, self.objects(export_uri))
        if self.settings.mlflow_backend_store_uri:
            return DatabaseCounts(self.settings.mlflow_backend_store_uri)
        return AnswersCounts(self.open_answers())

    def list_changed_tables(self, export_uri: str, names: Container[str]) -> list[str]:
        """Lists those of these tables in which MLflow's database has other rows than its export at `export_uri`.

        It lists none if the settings name no database. Raises: BadSetup, TryAgain: it cannot be read.
        """
        from switchyard.clients.mlflow.export.restore import list_changed

        if not self.settings.mlflow_backend_store_uri:
            return []
        return list_changed(export_uri, self.objects(export_uri), self.settings.mlflow_backend_store_uri, names)

    @property
    def own_tables(self) -> frozenset[str]:
        """The names of our own tables, which may lie in MLflow's database."""
        from switchyard.clients.results.tables import list_own_tables

        return list_own_tables(self.settings.results_table)

    def close(self) -> None:
        """Closes the results database's connections; a later use opens new ones."""
        self._results.close()

    @property
    def _results(self) -> "ResultsPorts":
        return _open_results(self.settings)

    def trials(self, sweep: str) -> Trials:
        """Opens the trials of the sweep of this name.

        Raises: BadSetup: Optuna is not installed, or its storage is another release's.
        """
        return _open_trials(self.settings.sweeps_url, sweep)

    def hold_sweep(self, name: str) -> AbstractContextManager[Callable[[], None]]:
        """Holds the sweep of this name: within the block no other process does it.

        What is yielded raises TryLater when that is no longer sure. Raises: TryLater: another process does it.
        """
        from switchyard.clients.sweeps.places import Place

        return Place(self.settings.sweeps_url).hold(name)

    @property
    def launcher(self) -> Launcher:
        """Where training jobs run."""
        return _launcher(self.settings)

    def read_image_digest(self, image: str) -> str:
        """Returns `image` by its digest, so that it is known what ran after its tag has moved.

        The image stays as it is if it has a digest already, if it is in a registry that is not Google's, or if Vertex
        AI is an endpoint on this machine, which needs no identity.

        Raises: NotFound, BadSetup, TryAgain: it was not read, and the message says why.
        """
        from switchyard.clients.google.image_digests import is_resolvable, open_session, read_digest
        from switchyard.clients.launchers.vertex.launcher import is_on_this_machine

        if is_on_this_machine(self.settings.vertex_api_endpoint) or not is_resolvable(image):
            return image
        with open_session(_credentials(self.settings.gcp_credentials_block)) as session:
            return read_digest(image, session)

    @property
    def tracking(self) -> Tracking:
        """Opens the MLflow store that the settings name; the caller closes it.

        Each call opens it again. Its database goes before its server or folder.

        Raises: BadSetup: none is named, or by a URI that we do not read.
        """
        settings = self.settings
        if settings.mlflow_backend_store_uri:
            from switchyard.clients.mlflow.sql import open_store

            return open_store(settings.mlflow_backend_store_uri)
        if not settings.mlflow_tracking_uri:
            raise BadSetup("no MLflow is named: set MLFLOW_BACKEND_STORE_URI or MLFLOW_TRACKING_URI; see .env.example")
        if is_folder(settings.mlflow_tracking_uri):
            from switchyard.clients.mlflow.file_store.tracking import FolderTracking

            return FolderTracking(settings.mlflow_tracking_uri, self.objects(settings.mlflow_tracking_uri))
        from switchyard.clients.mlflow.server import open_server

        return open_server(settings, lambda: self.session(settings.mlflow_tracking_uri))

    def open_answers(self) -> "Answers":
        """Opens what an export reads of MLflow if the settings name no database; the caller closes its `tracking`.

        Raises: BadSetup: no MLflow is named, or one that answers no more than `Tracking`.
        """
        from switchyard.clients.mlflow.export.from_tracking import Answers
        from switchyard.clients.mlflow.file_store.details import FolderDetails
        from switchyard.clients.mlflow.file_store.registry import FolderSource
        from switchyard.clients.mlflow.file_store.tracking import FolderTracking
        from switchyard.clients.mlflow.rest_store import RestStore

        tracking = self.tracking
        if isinstance(tracking, FolderTracking):
            return Answers(tracking, FolderDetails(tracking), FolderSource(tracking.root, self.objects(tracking.root)))
        if isinstance(tracking, RestStore):
            return Answers(tracking, tracking, tracking)
        tracking.close()
        raise BadSetup("MLFLOW_TRACKING_URI must name a server or a folder to export what it tells")

    @property
    def mlflow_name(self) -> str:
        """The MLflow that `tracking` reads, in words without a user or a password; empty: the settings name none."""
        from switchyard.core.mlflow.sources import to_shown_uri

        return to_shown_uri(self.settings.mlflow_backend_store_uri or self.settings.mlflow_tracking_uri)

    def open_export(self, uri: str) -> Tracking:
        """Opens the MLflow store that was exported to `uri`. Raises: BadSetup: no finished export is there."""
        from switchyard.clients.mlflow.export.reader import open_export

        return open_export(uri, self.objects(uri))

    def open_tracking(self, export_uri: str = "") -> Tracking:
        """Opens the export at `export_uri`, or if that is empty, the MLflow of the settings. The caller closes it."""
        return self.open_export(export_uri) if export_uri else self.tracking

    def session(self, url: str) -> "requests.Session":
        """Returns a session for calls to the Cloud Run service at `url`, each with a valid ID token."""
        from switchyard.clients.google.identity import Caller, open_session

        caller = Caller(
            impersonate=self.settings.identity_service_account, gcloud=self.settings.identity_from_gcloud == "yes"
        )
        # Who impersonates says so on purpose: it goes before the block.
        credentials = None if caller.impersonate else _credentials(self.settings.gcp_credentials_block)
        return open_session(url, caller=caller, credentials=credentials)


def connect() -> Outside:
    """Returns the outside as the environment says now. A second call shares the first one's connections."""
    return Outside(read_settings())


@lru_cache(maxsize=8)
def _open_results(settings: Settings) -> "ResultsPorts":
    from switchyard.clients.results.open import open_results

    return open_results(settings.results_url, table=settings.results_table)


@lru_cache(maxsize=8)
def _open_trials(url: str, sweep: str) -> Trials:
    from switchyard.clients.sweeps.places import Place

    try:
        from switchyard.clients.sweeps.optuna_trials import OptunaTrials
    except ModuleNotFoundError as err:
        raise BadSetup(
            f"a sweep needs Optuna ({err}). Install it: pip install -c constraints.txt -e '.[worker,sweep]', or in a "
            "checkout run make sweep-setup and set PYTHONPATH as it says (docs/sweep.md)"
        ) from err
    return OptunaTrials(Place(url), sweep)


@lru_cache(maxsize=8)
def _launcher(settings: Settings) -> Launcher:
    if settings.training_backend == "local":
        from switchyard.clients.launchers.local.launcher import LocalLauncher

        return LocalLauncher(settings.state_dir)
    from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite

    return VertexLauncher(
        VertexSite(
            project_id=settings.gcp_project_id,
            region=settings.gcp_region,
            trainer_image=settings.trainer_image,
            service_account=settings.vertex_service_account,
            api_endpoint=settings.vertex_api_endpoint,
            transport=settings.vertex_transport,
        ),
        credentials=_credentials(settings.gcp_credentials_block),
    )


@lru_cache(maxsize=8)
def _credentials(block_name: str) -> Any:
    """Returns Google's credentials from a block, read once in a process.

    None: each client finds the application default.
    """
    if not block_name:
        return None
    from switchyard.clients.prefect.credentials import load_credentials

    return load_credentials(block_name)
