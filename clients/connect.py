"""The only wiring: settings in, ports out. Adapters are imported where they are used, so that what is not used is not
loaded."""

from functools import lru_cache

from clients.objects import open_objects
from clients.settings import Settings, read_settings
from history.ports import Launcher, Objects, Results


class Outside:
    """The outside systems that the settings name, each connected at its first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def objects(self, uri: str) -> Objects:
        """The objects under `uri`; its scheme picks the adapter."""
        return open_objects(uri)

    @property
    def results(self) -> Results:
        """The results database. Raises: BadSetup: its schema is not this version's (`python -m flows migrate`)."""
        return _results(self.settings)

    @property
    def launcher(self) -> Launcher:
        """Where training jobs run."""
        return _launcher(self.settings)


def connect() -> Outside:
    """The outside as the environment says now. A second call shares the first one's connections."""
    return Outside(read_settings())


@lru_cache(maxsize=8)
def _results(settings: Settings) -> Results:
    from clients.results import open_results

    return open_results(settings.results_url, table=settings.results_table)


@lru_cache(maxsize=8)
def _launcher(settings: Settings) -> Launcher:
    if settings.training_backend == "local":
        from clients.local_launcher import LocalLauncher

        return LocalLauncher(settings.state_dir)
    from clients.vertex import VertexLauncher, VertexSite

    return VertexLauncher(
        VertexSite(
            project_id=settings.gcp_project_id,
            region=settings.gcp_region,
            trainer_image=settings.trainer_image,
            service_account=settings.vertex_service_account,
            api_endpoint=settings.vertex_api_endpoint,
            transport=settings.vertex_transport,
        )
    )
