"""Backfills that are broken off on their way, and go on by the same command.

What breaks them off: credentials that expire, a disk that is full, an export that lacks a part, a page that has no end.
Each is told on the lines of the runs that it hits.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.backfill import backfill
from switchyard.clients.connect import Outside
from switchyard.clients.objects.files import FileObjects
from switchyard.core.errors import TryAgain
from tests.clients.mlflow.export.exports import export_to_folder
from tests.core.mlflow.factories import make_run
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.flows.mlflow_world import add_row, make_sqlite_store, read_published, serve_store
from tests.flows.test_backfill_bad_input import prompt

__all__ = ["prompt"]

pytestmark = pytest.mark.usefixtures("prefect_server", "impatient", "prompt")

IDS = [letter * 32 for letter in "abcd"]
RUNS = [make_run(run_id=run_id, name=run_id[0]) for run_id in IDS]


@pytest.fixture
def rows(outside: Outside) -> dict[str, int]:
    """A row for each run."""
    return {run_id: add_row(outside, run_id, name=run_id) for run_id in IDS}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowEmulator]:
    """The server that the settings name."""
    with serve_store(tmp_path / "mlflow.db", RUNS) as (emulator, url):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield emulator


def fail(said: str, **parameters: object) -> set[int]:
    """A backfill that fails, and says so; the rows that it failed at."""
    with pytest.raises(BackfillFailed, match=said) as raised:
        backfill(**parameters)
    return set(raised.value.result.failed)


def go_on(outside: Outside, rows: dict[str, int], **parameters: object) -> None:
    """The same command, which publishes what is left, and then has nothing to do."""
    result = backfill(**parameters)
    assert isinstance(result, BackfillResult)
    assert result.failed == {}
    assert {line.state for line in outside.ledger.read_ledger("backfill")} <= {"done", "filed"}
    assert all(read_published(outside, row) for row in rows.values())
    assert backfill(**parameters).to_do == 0


def check_lines(outside: Outside, rows: dict[str, int], hit: set[int], said: str) -> None:
    """Those runs' lines say it; the others are published."""
    lines = {line.quick_test_id: line for line in outside.ledger.read_ledger("backfill")}
    for row in rows.values():
        assert (lines[row].state == "failed") == (row in hit)
        assert (said in lines[row].error) == (row in hit)
        assert bool(read_published(outside, row)) == (row not in hit)


def test_credentials_that_expire_hit_the_runs_that_are_left(
    outside: Outside, rows: dict[str, int], server: MlflowEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before is published; with new ones the same command publishes the rest."""
    server._token = "first"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "first")

    def expire(kind: str, query: Any) -> None:
        if kind == "runs/get" and query.get("run_id") == IDS[2]:
            server._token = "second"

    server.replace = expire
    hit = fail("answered 401", batch_size=1)
    assert hit == {rows[IDS[2]], rows[IDS[3]]}
    check_lines(outside, rows, hit, "MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "second")
    go_on(outside, rows, batch_size=1)


@pytest.mark.parametrize("has_bulk", [True, False], ids=["of many runs", "of one run"])
def test_page_that_breaks_off_is_its_runs_trouble_alone(
    outside: Outside, rows: dict[str, int], server: MlflowEmulator, *, has_bulk: bool
) -> None:
    """A server that dies in the middle of a page with that run's points, as often as it is asked."""
    server._has_bulk = has_bulk
    half = Response('{"metrics": [{"key": "loss", "val', media_type="application/json")

    def break_off(kind: str, query: Any) -> Response | None:
        return half if kind.startswith("metrics/") and IDS[1] in query.getlist("run_id") else None

    server.replace = break_off
    hit = fail("breaks off")
    assert hit == {rows[IDS[1]]}
    check_lines(outside, rows, hit, "breaks off")
    server.replace = lambda _kind, _query: None
    go_on(outside, rows)


def test_full_disk_is_told_on_the_lines_of_the_runs_that_it_hits(
    outside: Outside, rows: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose file cannot be written is not published; there is room for the others, and later for it."""
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", make_sqlite_store(tmp_path / "mlflow.db", RUNS))
    write = FileObjects.write
    full = f"/{rows[IDS[1]]}/training_metrics.json"

    def write_if_there_is_room(self: FileObjects, uri: str, data: bytes, *, if_generation: int) -> int:
        if uri.endswith(full):
            raise TryAgain(f"could not write {uri}: the disk is full: make room, then try again; nothing was changed")
        return write(self, uri, data, if_generation=if_generation)

    with monkeypatch.context() as disk:
        disk.setattr(FileObjects, "write", write_if_there_is_room)
        hit = fail("the disk is full", full=True, batch_size=1)
    assert hit == {rows[IDS[1]]}
    check_lines(outside, rows, hit, "the disk is full")
    go_on(outside, rows, full=True, batch_size=1)


def test_export_that_lacks_a_part_is_told_on_each_line(outside: Outside, rows: dict[str, int], tmp_path: Path) -> None:
    """Which part, and nothing is published that may lack points; with the part back the same command publishes all."""
    export_uri = export_to_folder(make_sqlite_store(tmp_path / "mlflow.db", RUNS), tmp_path / "export")
    part = next(iter((tmp_path / "export" / "tables" / "metrics").iterdir()))
    away = part.rename(tmp_path / "away")
    hit = fail(f"metrics/{part.name}", export_uri=export_uri)
    assert hit == set(rows.values())
    check_lines(outside, rows, hit, part.name)
    away.rename(part)
    go_on(outside, rows, export_uri=export_uri)
