"""A walk over the real adapters and the strict endpoint, which holds a planted project.

MLflow's side is evidence that passes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from switchyard.clients.settings import read_settings
from switchyard.core.decommission.cloud import Clouds
from switchyard.core.decommission.resources import Kind, Sought
from switchyard.core.decommission.rules import Rules
from switchyard.core.decommission.states import State
from tests.emulators.google.project import EMAIL, EXPORT, OTHER_REGION, REGION, Project, plant_mlflow
from tests.emulators.google.server import serve
from tests.services.decommission_world import World

NAMES = {
    Kind.RUN_SERVICE: ("mlflow",),
    Kind.SQL_INSTANCE: ("mlflow-db",),
    Kind.BUILD_TRIGGER: ("mlflow-deploy", "mlflow-nightly"),
    Kind.BUCKET: ("acme-mlflow",),
    Kind.SERVICE_ACCOUNT: (EMAIL,),
    Kind.SECRET: ("mlflow-password",),
    Kind.VARIABLE: ("MLFLOW_*",),
}
NEIGHBOURS = ("shop", "report", "another", "/ci@", "owner")
"""In the names of what the plan must not list."""


class EndpointWorld(World):
    """Its time is the endpoint's: a second a request, and what passes between two commands."""

    def __init__(self, folder: Path, project: Project, url: str) -> None:
        super().__init__(folder)
        self.project = project
        self._url = url
        self.sought = Sought(
            project="acme-ml",
            regions=(REGION, OTHER_REGION),
            names=NAMES,
            labels={"app": "mlflow"},
            controls={
                Kind.RUN_SERVICE: "shop",
                Kind.SQL_INSTANCE: "shop-db",
                Kind.BUCKET: "acme-shop",
                Kind.SERVICE_ACCOUNT: "api@acme-ml.iam.gserviceaccount.com",
                Kind.SECRET: "shop-key",
                Kind.BUILD_TRIGGER: "shop-deploy",
            },
        )
        self.rules = Rules(
            switched_at=project.world.now - timedelta(days=30),
            known_callers=("switchyard/*",),
            export_uri=self.rules.export_uri,
            folder_uri=self.rules.folder_uri,
        )

    def clock(self) -> datetime:
        self.now = self.project.world.now
        return self.now

    def wait(self, seconds: float) -> None:
        self.project.world.let_pass(timedelta(seconds=seconds))

    def confirm(self) -> dict[str, Any]:
        world, now = self.project.world, self.clock()
        said = super().confirm()
        if self.now > now:
            world.let_pass(self.now - now)
        if self.walk.state is State.GONE:  # the neighbours' bill, so that the export has rows of that time
            self.project.bigquery.plant_cost(EXPORT, world.now - timedelta(days=2), 5.0, name="shop-db")
        if self.walk.state is State.DELETING:
            world.let_pass(timedelta(hours=25))
        return said

    @property
    def clouds(self) -> Clouds:
        from switchyard.clients.google.decommission.opening import open_clouds

        settings = read_settings(
            {"GCP_PROJECT_ID": "acme-ml", "GOOGLE_APIS_ENDPOINT": self._url, "BILLING_EXPORT_TABLE": EXPORT}
        )
        return open_clouds(settings, pause=self.wait)


@contextmanager
def open_world(folder: Path) -> Iterator[EndpointWorld]:
    """A planted project of its own. Nothing that it answered was against Google's documents."""
    project = plant_mlflow()
    with serve(project.world) as url:
        world = EndpointWorld(folder, project, url)
        yield world
        world.ports.close()
    assert not project.world.breaches
