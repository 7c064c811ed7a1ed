"""Real MLflow, 2.9.2 and a current one, over a real MariaDB: read, exported, restored, upgraded.

`make test-mlflow` builds both and runs this; tests/flows/test_following_real.py follows one that is used.
"""

import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import requests

from switchyard.clients.mlflow.export.parts import to_digest
from switchyard.clients.mlflow.export.restore import restore_store
from switchyard.clients.mlflow.export.tables import open_tables
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.mlflow.registry_sources import DatabaseSource, ExportSource, ServerSource
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.objects.files import FileObjects
from switchyard.core.mlflow.raw_run import RawRun
from tests.clients.mlflow.real_servers import find_environment, serve
from tests.clients.mlflow.stores import make_mysql
from tests.clients.mlflow.test_real_exports import Client, fill
from tests.clients.mlflow.test_real_servers import digests, open_rest
from tests.mariadb import MariaDB

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.timeout(600)]

VALUES = [0.1, 5e-324, 1.7976931348623155e308, "-Infinity", "NaN", 2.5]


def read_tables(uri: str) -> dict[str, str]:
    """Each table's digest of all rows."""
    with open_tables(uri).snapshot() as snapshot:
        return {table.name: to_digest(snapshot.rows(table)) for table in snapshot.tables()}


def read_statements(mariadb: MariaDB, database: str) -> dict[str, list[str]]:
    """How each table of MLflow's would be made, whose indexes come in any order."""
    names = [name for (name,) in mariadb.read("SHOW TABLES", database=database)]
    found = [mariadb.read(f"SHOW CREATE TABLE {name}", database=database)[0] for name in names]
    plain = {name: re.sub(",$| AUTO_INCREMENT=[0-9]+", "", statement, flags=re.M) for name, statement in found}
    return {name: sorted(statement.splitlines()) for name, statement in plain.items()}


def log_odd_run(client: Client) -> str:
    """Logs values and steps that few stores keep; returns the run's id.

    MLflow itself cannot log a second key there that is the same to MariaDB."""
    run_id: str = client.call("runs/create", experiment_id="0", run_name="odd")["run"]["info"]["run_id"]
    points = [
        {"key": "loss", "value": value, "timestamp": 1_700_000_000_000 + step, "step": step - 2}
        for step, value in enumerate(VALUES)
    ]
    client.call("runs/log-batch", run_id=run_id, metrics=points)
    client.end(run_id)
    return run_id


def test_store_of_2_9_2_is_read_exported_restored_and_upgraded(mariadb: MariaDB, tmp_path: Path) -> None:
    """SQL reads it as its server says it, to the last bit, and a restore has it table by table.

    The current version's migrations change no run."""
    database = mariadb.make_database()
    uri = mariadb.url(database)
    with serve("2.9.2", uri, tmp_path / "server") as url:
        made = read_statements(mariadb, database)
        fill(url, is_3=False)
        odd = log_odd_run(Client(url))
        expected = digests(open_rest(url))
        models = [getattr(model, "origin", None) for model in ServerSource(url).read_models()]
    assert made == read_statements(mariadb, make_mysql(mariadb))  # what the other tests of MySQL stand on
    assert len(expected) == 6
    assert digests(open_store(uri)) == expected
    with closing(open_store(uri)) as store:
        (run,) = store.read_runs([odd])
    assert isinstance(run, RawRun)
    assert list(run.metrics["loss"].values[:3]) == VALUES[:3]
    assert str(list(run.metrics["loss"].values[3:])) == "[-inf, nan, 2.5]"
    exported = (tmp_path / "export").as_uri()
    export_store(uri, exported, FileObjects())
    found = [getattr(model, "origin", None) for model in DatabaseSource(uri).read_models()]
    assert [model.name for model in found if model] == [model.name for model in models if model]
    assert DatabaseSource(uri).read_models() == ExportSource(exported, FileObjects()).read_models()
    restored = mariadb.url(mariadb.make_database())
    assert restore_store(exported, FileObjects(), restored)[1] is True
    assert read_tables(restored) == read_tables(uri)

    upgrade = [str(find_environment("current") / "mlflow"), "db", "upgrade", restored]
    done = subprocess.run(upgrade, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(open_store(restored)) == expected
    again = (tmp_path / "again").as_uri()
    export = export_store(restored, again, FileObjects())
    assert len(export.tables) > 60
    assert export.schema.left_out == []
    other = mariadb.url(mariadb.make_database())
    assert restore_store(again, FileObjects(), other)[1] is True
    assert read_tables(other) == read_tables(restored)
    with serve("current", other, tmp_path / "current", workers=1) as url:
        assert digests(open_rest(url)) == expected
        api = f"{url}/api/2.0/mlflow"
        made_after = requests.post(f"{api}/experiments/create", json={"name": "after the restore"}, timeout=60)
        assert made_after.status_code == 200, made_after.text
