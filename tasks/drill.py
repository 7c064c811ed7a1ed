"""A restore drill is one task: restore, start MLflow over it, compare, end it."""

from contextlib import closing
from pathlib import Path

import requests

from switchyard.cli import find_checkout
from switchyard.clients.connect import connect
from switchyard.clients.mlflow.export.restore import restore_store
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.mlflow.temporary_server import read_version, run_server
from switchyard.core.decommission.drilling import DEFAULT_RUNS, Drilled, to_environment_name
from switchyard.core.errors import BadSetup
from switchyard.services.drill import drill
from tasks.policy import effect


@effect
def drill_export(export_uri: str, environment: str = "", runs: int = DEFAULT_RUNS) -> Drilled:
    """Restores the export into the database of MLFLOW_RESTORE_STORE_URI, starts an MLflow server over it and compares
    what it answers. A second call finds the database filled, compares every row of it, and drills again."""
    outside = connect()
    settings = outside.settings
    if not settings.mlflow_restore_store_uri:
        raise BadSetup(
            "A drill needs an empty database of the kind that was exported. Make one, then name it: "
            "export MLFLOW_RESTORE_STORE_URI=postgresql://<user>:<password>@<host>/<database>"
        )
    objects = outside.objects(export_uri)
    export, _ = restore_store(export_uri, objects, settings.mlflow_restore_store_uri)
    folder = (
        Path(environment) if environment else Path(settings.state_dir) / to_environment_name(export.alembic_version)
    )
    python = folder / "bin" / "python"
    if not python.exists():
        raise BadSetup(f"{folder} has no MLflow. Make it: make {folder}/.installed")
    entrypoint = find_checkout(Path.cwd()) / "deployments" / "mlflow" / "entrypoint.py"
    with (
        run_server(python, entrypoint, settings.mlflow_restore_store_uri) as url,
        closing(RestStore(MlflowServer(url, requests.Session))) as store,
        closing(outside.open_export(export_uri)) as exported,
        closing(outside.open_registry(export_uri)) as models,
    ):
        return drill(
            export_uri,
            schema=export.alembic_version,
            server=read_version(python),
            exported=(exported, models),
            answered=(store, store),
            runs=runs,
        )
