"""Fill over rows that version 0.1.0 published: what becomes of each, from whichever source is left."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.core.history.filling import KIND, FillBatch, FillState, to_fill
from switchyard.core.history.full_series import to_full_series
from switchyard.core.metrics.reading import read_record
from switchyard.core.verify.findings import State
from switchyard.services.fill import fill_runs, give_up_runs
from switchyard.services.verify import verify_rows
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.clients.results.places import NOW, Place, later, look, publication
from tests.clients.results.version1 import FILE, IDS, make_place, read_mlflow_run
from tests.root import ROOT

LEGACY = (
    '{"available": true, "epochs": [0], "loss": {"train": [NaN]}, "params": {"lr": "0.1"}, "x": "' + "y" * 400 + '"}'
)


@pytest.fixture(params=["sqlite", "sqlite with a table", "postgres", "postgres with a jsonb table"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    postgres = None if request.param.startswith("sqlite") else request.getfixturevalue("postgres")
    made, _ = make_place(request.param, tmp_path, postgres)
    request.addfinalizer(made.ports.close)
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy(FILE, folder)
    made.sql(
        f"UPDATE {made.runs_table} SET gcs_artifacts_path = :path WHERE id = :id",
        path=folder.as_uri(),
        id=IDS["file"],
    )
    return made


def to_outside(place: Place, tmp_path: Path, *, mlflow: bool = True) -> Outside:
    settings = {
        "STATE_DIR": str(tmp_path / "state"),
        "RESULTS_URL": place.url,
        "RESULTS_TABLE": place.table,
    }
    if mlflow:
        store = tmp_path / "mlflow.db"
        if not store.exists():
            make_sqlite(store)
            with closing(sqlite3.connect(store)) as connection, connection:
                add_runs(connection, [read_mlflow_run()])
        settings["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{store}"
    return Outside(read_settings(settings))


def test_every_row_of_version_1_is_filled(place: Place, tmp_path: Path) -> None:
    """From its file, or its MLflow run; histories stay byte for byte, verify agrees, and nothing is left to do."""
    outside = to_outside(place, tmp_path)
    before = {id_: (look(place, id_), place.histories.read_history(id_)) for id_ in IDS.values()}
    ids = outside.ledger.list_unfilled()
    assert ids == sorted(IDS.values())
    assert fill_runs(outside, ids) == FillBatch(done=3)
    assert outside.ledger.list_unfilled() == []
    for id_, (row, history) in before.items():
        assert place.histories.read_history(id_) == history
        assert {**look(place, id_), "series": [], "values": []} == row
        (kept,) = place.histories.read_kept([id_])
        assert kept.values_etag == history.etag
        assert {value.kind for value in kept.values} >= {"final", "last", "best", "param"}
    record = read_record(FILE.read_bytes(), where="the file")
    assert place.histories.read_series(IDS["file"]) == to_full_series(record)
    rows = [row for row in outside.ledger.list_backfill() if row.mlflow_run_id]
    found = verify_rows(outside, rows, whole=True)
    assert [(run.state, run.differences, run.compared[-2:]) for run in found] == [
        (State.VERIFIED, [], ["series", "values"])
    ] * 2
    (charted,) = verify_rows(outside, [row for row in rows if not row.full_digest], whole=False)
    assert (charted.state, charted.differences, charted.keys_read) == (State.VERIFIED, [], "charted")


def test_a_second_fill_changes_nothing(place: Place, tmp_path: Path) -> None:
    """As of a task that is tried again."""
    outside = to_outside(place, tmp_path)
    fill_runs(outside, list(IDS.values()))
    before = [look(place, id_) for id_ in IDS.values()]
    assert fill_runs(outside, list(IDS.values())) == FillBatch(done=3)
    assert [look(place, id_) for id_ in IDS.values()] == before


def test_of_what_has_no_source_the_values_are_filled(place: Place, tmp_path: Path) -> None:
    """No file, no MLflow, a legacy history: their values are those that the history says; each reason is told."""
    place.sql(f"UPDATE {place.runs_table} SET gcs_artifacts_path = ''")
    legacy = place.add_run("legacy", history=LEGACY) if place.history_type == "text" else None
    outside = to_outside(place, tmp_path, mlflow=False)
    found = fill_runs(outside, outside.ledger.list_unfilled())
    assert (found.done, found.failed, found.replaced) == (0, {}, {})
    assert "no folder" in found.values[IDS["file"]]
    assert "MLflow" in found.values[IDS["mlflow"]]
    (kept,) = place.histories.read_kept([IDS["file"]])
    assert kept.series is None
    kinds = {value.kind for value in kept.values}
    assert kinds == {"final", "last", "param"}
    if legacy is not None:
        assert "legacy" in found.values[legacy]
        (kept,) = place.histories.read_kept([legacy])
        assert [(value.kind, value.name, value.number) for value in kept.values] == [("param", "lr", 0.1)]
    lines = outside.ledger.read_ledger(KIND)
    assert {line.state for line in lines} == {FillState.VALUES}
    assert len(lines) == len(outside.ledger.list_unfilled())


def test_a_source_that_was_changed_since_makes_no_series(place: Place, tmp_path: Path) -> None:
    """They would contradict the history beside them."""
    outside = to_outside(place, tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE metrics SET value = value * 2 WHERE key = 'val_loss'")
    file = tmp_path / "files" / "training_metrics.json"
    file.write_bytes(file.read_bytes().replace(b'"batch_size":', b'"other_size":'))
    found = fill_runs(outside, list(IDS.values()))
    assert found.done == 0
    assert all("changed since" in why for why in found.values.values())
    assert [look(place, id_)["series"] for id_ in IDS.values()] == [[]] * 3


def test_one_poisoned_run_fails_alone(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that no one has thought of: its line says so, and the others are filled."""
    outside = to_outside(place, tmp_path)

    def poisoned(row: object, *rest: object) -> object:
        if row.quick_test_id == IDS["mlflow"]:  # type: ignore[attr-defined]
            raise RuntimeError("poison")
        return to_fill(row, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("switchyard.services.fill.to_fill", poisoned)  # no known data does this
    found = fill_runs(outside, list(IDS.values()))
    assert (found.done, list(found.failed)) == (2, [IDS["mlflow"]])
    assert "poison" in found.failed[IDS["mlflow"]]
    assert outside.ledger.list_unfilled() == [IDS["mlflow"]]


def test_a_history_that_is_replaced_meanwhile_is_left(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the read and the write: what is published then stays, and the reason is told."""
    outside = to_outside(place, tmp_path)
    real = type(outside.ledger).fill_many
    run = IDS["file"]

    def publish_first(*args: object, **more: object) -> object:
        monkeypatch.undo()
        place.histories.publish(publication(run, "b"), force=True, now=later(1))
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(outside.ledger), "fill_many", publish_first)  # the moment between two calls
    found = fill_runs(outside, [run])
    assert list(found.replaced) == [run]
    assert place.histories.read_series(run) == publication(run, "b").series


def test_a_batch_that_is_given_up_leaves_its_reason(place: Place, tmp_path: Path) -> None:
    """On the lines that the batch has not written; a second call writes nothing."""
    outside = to_outside(place, tmp_path)
    first, *rest = sorted(IDS.values())
    fill_runs(outside, [first])
    for _ in range(2):
        found = give_up_runs(outside.ledger, [first, *rest], NOW, "the database went away")
        assert (found.done, found.failed) == (1, dict.fromkeys(rest, "the database went away"))
    assert [line.attempts for line in outside.ledger.read_ledger(KIND)] == [1, 1, 1]


KILLED = """
# One process after another, forked after the imports: each fills, and dies after a statement more than the one before.
import os, signal, sys, traceback
from sqlalchemy import event
from sqlalchemy.engine import Engine
from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.services import fill

def fill_all(left):
    outside = Outside(read_settings(os.environ))
    ids = outside.ledger.list_unfilled()

    def count(*_):
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", count)
    fill.RUNS_AT_ONCE = 1
    fill.fill_runs(outside, ids)

for statement in range(1, 200):
    number = os.fork()
    if not number:
        try:
            fill_all(statement)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    print(status, flush=True)
    if status != -signal.SIGKILL:
        break
"""


@pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)
def test_fill_that_is_killed_between_any_two_statements_ends_as_one_that_was_not(place: Place, tmp_path: Path) -> None:
    """Killed again and again, each time a statement later; then run to its end: every row is as without the kills."""
    outside = to_outside(place, tmp_path)
    fill_runs(outside, outside.ledger.list_unfilled())
    plain = look_at_all(place)
    for table in ("series", "values", "ledger"):
        place.sql(f"DELETE FROM switchyard_{table}")
    environ = {"PATH": "/usr/bin", "STATE_DIR": str(tmp_path / "state"), "RESULTS_URL": place.url}
    environ["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=environ, capture_output=True, text=True)
    *kills, last = done.stdout.split()
    assert last == "0", done.stderr
    assert set(kills) == {"-9"}
    assert len(kills) > 8
    assert look_at_all(place) == plain


def look_at_all(place: Place) -> list[object]:
    lines = [(line.quick_test_id, line.state, line.error) for line in place.ledger.read_ledger(KIND)]
    return [*(look(place, id_) for id_ in IDS.values()), lines]
