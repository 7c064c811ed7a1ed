"""Drills by real MLflow servers, 2.9.2 and a current one, each over a database that was restored from an export.

`make test-mlflow` builds both and runs this.
"""

from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import requests

from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.restore import restore_store
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.registry_sources import ExportSource
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.mlflow.temporary_server import read_version, run_server
from switchyard.clients.objects.files import FileObjects
from switchyard.core.decommission.drilling import Drilled
from switchyard.core.errors import BadSetup
from switchyard.services.drill import drill
from tests.clients.mlflow.real_servers import find_environment, serve
from tests.clients.mlflow.test_real_exports import fill
from tests.postgres import Postgres
from tests.root import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.timeout(600)]

ENTRYPOINT = ROOT / "deployments" / "mlflow" / "entrypoint.py"
OBJECTS = FileObjects()


def run_drill(python: Path, store_uri: str, export_uri: str) -> Drilled:
    with (
        run_server(python, ENTRYPOINT, store_uri) as url,
        closing(RestStore(MlflowServer(url, requests.Session))) as store,
    ):
        return drill(
            export_uri,
            schema="as restored",
            server=read_version(python),
            exported=(open_export(export_uri, OBJECTS), ExportSource(export_uri, OBJECTS)),
            answered=(store, store),
            runs=4,
        )


@pytest.mark.parametrize("version", ["2.9.2", "current"])
def test_a_real_server_over_a_restored_database_tells_what_was_exported(
    version: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second drill finds the same, so that starting a server changed nothing; one value that is lost in the database
    is found; and what the environment holds besides, such as a token, is not handed to the server."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a secret")
    python = find_environment(version) / "python"
    first, second = (postgres.url(postgres.make_database()).replace("+psycopg", "+psycopg2") for _ in range(2))
    with serve(version, first, tmp_path / "server", workers=1) as url:
        fill(url, is_3=version == "current")
    uri = (tmp_path / "export").as_uri()
    export_store(first, uri, OBJECTS)
    restore_store(uri, OBJECTS, second)
    found = run_drill(python, second, uri)
    assert (found.differences, len(found.runs), found.server.partition(".")[0]) == (
        (),
        4,
        "2" if "2" in version else "3",
    )
    assert found.of_runs == (6 if version == "current" else 5)
    assert not restore_store(uri, OBJECTS, second)[1]  # it compares every row, too
    with psycopg.connect(second.replace("+psycopg2", "")) as connection:
        connection.execute("UPDATE metrics SET value = value + 1")
        connection.execute("UPDATE latest_metrics SET value = value + 1")
    assert "tells other points of" in run_drill(python, second, uri).differences[0]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The database has no tables: the entrypoint's own words are in the error."""
    python = find_environment("current") / "python"
    server = run_server(python, ENTRYPOINT, f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(BadSetup, match="the database is empty"), server:
        pass
