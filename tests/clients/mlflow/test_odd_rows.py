"""Odd rows of an MLflow store: each is listed with what can be said of it, and hides no other run."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import requests

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.rest import RestTracking
from switchyard.clients.mlflow.sql import open_store
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.plan import choose_adopted
from switchyard.core.errors import BadRecord, catch
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import LostRun, RawRun
from switchyard.core.ports import Tracking
from tests.clients.mlflow.export.exports import export_to
from tests.clients.mlflow.stores import POSTGRES_SCHEMA, add_runs, make_sqlite, restore, to_libpq
from tests.core.mlflow.factories import make_run
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread

ODD, GOOD = "a" * 32, "b" * 32
WAYS = ("sqlite", "postgres", "rest", "export")
NULLS = "UPDATE runs SET status = NULL, name = NULL, start_time = NULL, artifact_uri = NULL WHERE run_uuid = "


@pytest.fixture(params=WAYS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracking]:
    """Two runs, of which one has NULL wherever the schema lets it, by each way."""
    runs = [make_run(run_id=ODD), make_run(run_id=GOOD)]
    with ExitStack() as stack:
        if request.param == "postgres":
            server = request.getfixturevalue("postgres")
            database = server.make_database()
            restore(server, database, POSTGRES_SCHEMA)
            with psycopg.connect(to_libpq(server.url(database))) as connection:
                add_runs(connection, runs)
                connection.execute(f"{NULLS} '{ODD}'".encode())
            tracking: Tracking = open_store(server.url(database))
        else:
            path = make_sqlite(tmp_path / "mlflow.db")
            with sqlite3.connect(path) as file:
                add_runs(file, runs)
                file.execute(f"{NULLS} '{ODD}'")
            file.close()
            uri = f"sqlite:///{path}"
            if request.param == "rest":
                emulator = MlflowEmulator(path)
                stack.callback(emulator.close)
                url = stack.enter_context(serve_in_thread(emulator.app))
                tracking = RestTracking(MlflowServer(url, requests.Session))
            elif request.param == "export":
                tracking = Outside(read_settings({})).open_export(export_to(uri, (tmp_path / "export").as_uri()))
            else:
                tracking = open_store(uri)
        stack.callback(tracking.close)
        yield tracking


def test_run_without_a_status_is_listed_and_left_out_with_the_reason(store: Tracking) -> None:
    """It is not known whether it ended; the other one is adopted.

    A server of MLflow cannot name the odd one: its experiment stands for it."""
    found = {run.run_id: run for run in store.list_runs()}
    odd = "without a status, in experiment 4" if isinstance(store, RestTracking) else ODD
    assert found.keys() == {odd, GOOD}
    assert (found[odd].status, found[odd].name, found[odd].artifact_uri) == ("", "", "")
    assert found[odd].experiment == found[GOOD].experiment
    adoption = choose_adopted(found.values(), set(), status="all")
    assert [run.mlflow_run_id for run in adoption.runs] == [GOOD]
    (left_out,) = adoption.left_out
    assert (left_out.mlflow_run_id, left_out.status) == (odd, "")
    assert "no status" in left_out.why_not


def test_run_without_a_status_fails_alone_where_a_row_names_it(store: Tracking) -> None:
    """Its record is refused in plain words, and the other run's is made."""
    found = list(store.read_runs([ODD, GOOD]))
    runs = {run.info.run_id: run for run in found if isinstance(run, RawRun)}
    assert from_points(runs[GOOD]).epochs == [0, 1, 2]
    lost = {run.run_id: run.error for run in found if isinstance(run, LostRun)}
    refused: object = lost[ODD] if ODD in lost else catch(lambda: from_points(runs[ODD]))
    assert isinstance(refused, BadRecord)
    assert ODD in str(refused)
    assert "no status" in str(refused)
    assert [look.info.run_id for look in store.look_at_runs([GOOD])] == [GOOD]


ODD_VALUES = {
    "a time that is a text": ("start_time", "'yesterday'"),
    "a time with a fraction": ("start_time", "1690000000000.5"),
    "an end that is bytes": ("end_time", "x'00ff'"),
    "a name that is bytes": ("name", "x'ff41'"),
    "a name that is no UTF-8": ("name", "CAST(x'ff41' AS TEXT)"),
    "a name that is a number": ("name", "7"),
    "a status that is none": ("status", "'SLEEPING'"),
    "a status that is a number": ("status", "4"),
}


@pytest.mark.parametrize(("column", "value"), ODD_VALUES.values(), ids=ODD_VALUES)
def test_value_of_another_type_hides_no_other_run(column: str, value: str, tmp_path: Path) -> None:
    """SQLite's columns take values of any type: the list is made, and in order."""
    path = make_sqlite(tmp_path / "mlflow.db")
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA ignore_check_constraints = ON")
        add_runs(file, [make_run(run_id=ODD), make_run(run_id=GOOD)])
        file.execute(f"UPDATE runs SET {column} = {value} WHERE run_uuid = '{ODD}'")
    file.close()
    store = open_store(f"sqlite:///{path}")
    adoption = choose_adopted(store.list_runs(), set(), status="all")
    adopted = {run.mlflow_run_id for run in adoption.runs}
    assert adopted | {run.mlflow_run_id for run in adoption.left_out} == {ODD, GOOD}
    assert GOOD in adopted
    assert {run.display_name for run in adoption.runs} <= {"a run", "\ufffdA", "7"}
    read = {run.info.run_id for run in store.read_runs([ODD, GOOD]) if isinstance(run, RawRun)}
    assert GOOD in read
