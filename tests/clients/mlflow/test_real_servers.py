"""The readers against real MLflow servers, of 2.9.2 and a current version, each in an environment of its own.

`make test-mlflow` builds both and runs this. What it proves of them, `tests/emulators/mlflow_rest.py` stands for.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from prefect.settings import PREFECT_API_URL

from switchyard.clients.mlflow.export.parts import to_digest
from switchyard.clients.mlflow.export.tables import open_tables
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.rest import RestTracking
from switchyard.clients.mlflow.sql import open_store
from switchyard.core.backfill.plan import choose_adopted
from switchyard.core.errors import BadRecord, catch
from switchyard.core.mlflow.keys import CHARTED, SCALARS
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import Keys, LostRun, RawRun, to_source_digest
from switchyard.core.ports import Tracking
from tests.clients.mlflow.real_servers import find_environment, serve
from tests.clients.mlflow.stores import find_fixture, restore, to_libpq
from tests.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow]

VERSIONS = ("2.9.2", "current")


@pytest.fixture(scope="module", params=VERSIONS)
def store(request: pytest.FixtureRequest, postgres: Postgres) -> tuple[str, str]:
    """A copy of the legacy database, upgraded by that version's own migrations, and the version."""
    version: str = request.param
    environment = find_environment(version)
    database = postgres.make_database()
    restore(postgres, database, find_fixture())
    # psycopg2's name, which MLflow has, wherever SQLAlchemy would choose another one.
    url = postgres.url(database).replace("+psycopg", "+psycopg2")
    if version == "current":
        subprocess.run([environment / "mlflow", "db", "upgrade", url], check=True, capture_output=True)
    return version, url


@pytest.fixture(scope="module")
def server(store: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    version, uri = store
    with serve(version, uri, tmp_path_factory.mktemp("server")) as url:
        yield url


def digests(store: Tracking, keys: Keys | None = None) -> dict[str, str]:
    try:
        found = list(store.read_runs([run.run_id for run in store.list_runs()], keys=keys))
    finally:
        store.close()
    assert all(isinstance(run, RawRun) for run in found)
    return {run.info.run_id: to_source_digest(run) for run in found if isinstance(run, RawRun)}


def read_tables(uri: str) -> dict[str, str]:
    """Each table's digest of all rows."""
    with open_tables(uri).snapshot() as snapshot:
        return {table.name: to_digest(snapshot.rows(table)) for table in snapshot.tables()}


def open_rest(url: str) -> RestTracking:
    return RestTracking(MlflowServer(url, requests.Session))


@pytest.mark.parametrize("keys", [None, CHARTED, SCALARS], ids=["all keys", "charted keys", "scalars"])
def test_server_and_database_say_the_same(store: tuple[str, str], server: str, keys: Keys | None) -> None:
    """All 24 runs of the legacy database, bit for bit, by REST and by SQL."""
    found = digests(open_rest(server), keys)
    assert len(found) == 24
    assert found == digests(open_store(store[1]), keys)


def test_upgraded_database_holds_what_the_legacy_one_did(store: tuple[str, str], postgres: Postgres) -> None:
    """MLflow's migrations change no run, so one SQL reads both schemas."""
    database = postgres.make_database()
    restore(postgres, database, find_fixture())
    assert digests(open_store(store[1])) == digests(open_store(postgres.url(database)))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_without_a_status_is_alone_with_it(version: str, postgres: Postgres, tmp_path: Path) -> None:
    """MLflow's schema lets it be NULL, and its server then answers for no page of runs that has it.

    The others are adopted and read over REST, too. Where a row names the odd one, it alone fails."""
    environment = find_environment(version)
    database = postgres.make_database()
    restore(postgres, database, find_fixture())
    with psycopg.connect(to_libpq(postgres.url(database))) as connection:
        rows = connection.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' ORDER BY run_uuid")
        odd, good, *others = [run_id for (run_id,) in rows]
        connection.execute("UPDATE runs SET status = NULL WHERE run_uuid = %s", (odd,))
    uri = postgres.url(database).replace("+psycopg", "+psycopg2")
    if version == "current":
        subprocess.run([environment / "mlflow", "db", "upgrade", uri], check=True, capture_output=True)
    with serve(version, uri, tmp_path / "server") as url:
        for store in (open_rest(url), open_store(uri)):
            with closing(store):
                adoption = choose_adopted(store.list_runs(), set(), status="all")
                assert {good, *others} <= {run.mlflow_run_id for run in adoption.runs}
                assert "" in {run.status for run in adoption.left_out}  # by its id, or its experiment's
                assert odd not in {run.mlflow_run_id for run in adoption.runs}
                found = list(store.read_runs([odd, good], keys=SCALARS))
                assert good in {look.info.run_id for look in store.look_at_runs([odd, good])}
            runs = {run.info.run_id: run for run in found if isinstance(run, RawRun)}
            assert from_points(runs[good]).epochs
            lost = {run.run_id: run.error for run in found if isinstance(run, LostRun)}
            refused: object = lost[odd] if odd in lost else catch(partial(from_points, runs[odd]))
            assert isinstance(refused, BadRecord)
            assert odd in str(refused)
            assert "no status" in str(refused)


def run_flow(*arguments: str, **settings: str) -> dict[str, Any]:
    """The answer of ``python -m flows``."""
    environ = os.environ | settings | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-m", "flows", *arguments, "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_restored_store_serves_a_server_of_its_version(
    store: tuple[str, str], postgres: Postgres, prefect_server: None, tmp_path: Path
) -> None:
    """A server over the export alone, restored by the two commands, answers with the same runs, and takes new ones.

    The exported store is as it was."""
    version, source = store
    expected = digests(open_store(source))
    before = read_tables(source)
    state = str(tmp_path / "state")
    exported = run_flow("export", STATE_DIR=state, MLFLOW_BACKEND_STORE_URI=source)
    assert exported["left_out"] == []
    assert read_tables(source) == before
    restored = postgres.url(postgres.make_database()).replace("+psycopg", "+psycopg2")
    answer = run_flow("restore", STATE_DIR=state, MLFLOW_RESTORE_STORE_URI=restored)
    assert (answer["filled"], answer["rows"]) == (True, exported["rows"])
    assert read_tables(restored) == before
    with serve(version, restored, tmp_path / "server") as url:
        assert digests(open_rest(url)) == expected
        api = f"{url}/api/2.0/mlflow"
        made = requests.post(f"{api}/experiments/create", json={"name": "after the restore"}, timeout=60)
        assert made.status_code == 200, made.text
        body = {"experiment_id": made.json()["experiment_id"], "run_name": "a new run"}
        assert requests.post(f"{api}/runs/create", json=body, timeout=60).status_code == 200
    with psycopg.connect(to_libpq(restored.replace("+psycopg2", ""))) as connection:
        (count,) = connection.execute("SELECT count(*) FROM runs").fetchone() or (0,)
    assert count == 25


def test_mlflow_s_own_client_finds_our_plugin(store: tuple[str, str]) -> None:
    """MLFLOW_TRACKING_AUTH=google-id-token is a name that the real client knows once this package is installed."""
    environment = find_environment(store[0])
    code = (
        "from mlflow.tracking.request_auth.registry import _request_auth_provider_registry as found\n"
        "print([provider.get_name() for provider in found])"
    )
    done = subprocess.run([environment / "python", "-c", code], capture_output=True, text=True, check=True)
    assert "google-id-token" in done.stdout, done.stdout + done.stderr
