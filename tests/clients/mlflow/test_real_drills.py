"""Drills by real MLflow servers, 2.9.2 and a current one, each over a database that was restored from an export.

`make test-mlflow` builds both and runs this.
"""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.mlflow.temporary_server import run_server
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.settings import read_settings
from switchyard.core.decommission.evidence import DrillEvidence, ExportEvidence
from switchyard.core.decommission.gates import Against
from switchyard.core.decommission.rules import Rules
from switchyard.core.errors import BadRequest, BadSetup
from switchyard.services.drill import RestoreDrill
from tests.clients.mlflow.real_servers import find_environment, serve
from tests.clients.mlflow.test_real_exports import fill
from tests.core.decommission.world import make_evidence
from tests.postgres import Postgres
from tests.root import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.timeout(600)]

ENTRYPOINT = ROOT / "deployments" / "mlflow" / "entrypoint.py"
OBJECTS = FileObjects()


def run_drill(environment: Path, store_uri: str, export_uri: str, state: Path) -> DrillEvidence:
    outside = Outside(read_settings({"STATE_DIR": str(state), "MLFLOW_RESTORE_STORE_URI": store_uri}))
    against = Against(inventory="sha256:i", rules=Rules(drill_runs=4, export_uri=export_uri), now=datetime.now(UTC))
    export = make_evidence()["export"]
    assert isinstance(export, ExportEvidence)
    drill = RestoreDrill(outside, entrypoint=ENTRYPOINT, environment=str(environment))
    found = drill(against, msgspec.structs.replace(export, uri=export_uri))
    outside.close()
    return found


@pytest.mark.parametrize("version", ["2.9.2", "current"])
def test_a_real_server_over_a_restored_database_tells_what_was_exported(
    version: str, postgres: Postgres, tmp_path: Path
) -> None:
    """A second drill over a database that was changed since is refused, by the rows alone."""
    environment = find_environment(version).parent
    first, second = (postgres.url(postgres.make_database()).replace("+psycopg", "+psycopg2") for _ in range(2))
    with serve(version, first, tmp_path / "server", workers=1) as url:
        fill(url, is_3=version == "current")
    uri = (tmp_path / "export").as_uri()
    export_store(first, uri, OBJECTS)
    found = run_drill(environment, second, uri, tmp_path / "state")
    assert (found.differences, found.artifacts_equal) == (("artifacts: none compared",), False)
    assert (found.asked_runs, found.equal_runs, found.of_runs) == (4, 4, 6 if version == "current" else 5)
    assert (found.registry_equal, found.mlflow_version[0]) == (True, "2" if version == "2.9.2" else "3")
    with psycopg.connect(second.replace("+psycopg2", "")) as connection:
        connection.execute("UPDATE metrics SET value = value + 1")
        connection.execute("UPDATE latest_metrics SET value = value + 1")
    with pytest.raises(BadRequest, match="nor exactly this export"):
        run_drill(environment, second, uri, tmp_path / "state")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The database has no tables: the entrypoint's own words are in the error."""
    python = find_environment("current") / "python"
    server = run_server(python, ENTRYPOINT, f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(BadSetup, match="the database is empty"), server:
        pass
