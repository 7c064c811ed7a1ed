"""Rows that version 0.1.0 published: served, verified and compared as it did, in every kind of database."""

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.core.history.publication import FIRST_VERSIONS, PublishResult, Versions
from switchyard.core.verify.findings import State
from switchyard.services.verify import verify_rows
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.clients.results.places import KINDS, Place, later, look
from tests.clients.results.version1 import IDS, ROWS, make_place, read_mlflow_run, to_current_publication

Old = tuple[Place, dict[int, str]]


@pytest.fixture(params=KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """A migrated place, and each row's history as it stood before the migration."""
    postgres = None if request.param.startswith("sqlite") else request.getfixturevalue("postgres")
    place, stored = make_place(request.param, tmp_path, postgres)
    request.addfinalizer(place.ports.close)
    return place, stored


def test_rows_of_version_1_are_served_as_stored(old: Old) -> None:
    """Byte for byte, under the ETag that they had, histograms too."""
    place, stored = old
    for row in ROWS:
        id_ = row["published"]["quick_test_id"]
        found = place.histories.read_history(id_)
        assert found.history_json == stored[id_].encode()
        assert found.etag == row["published"]["etag"]
        if place.history_type != "jsonb":
            assert stored[id_] == row["row"]["training_history_json"]
        for one in row["histograms"]:
            packed = place.histories.read_histogram(id_, one["kind"], one["tower"])
            assert packed == base64.b64decode(one["gzip_json"])
        assert place.histories.read_series(id_) is None


def test_rows_of_version_1_are_unchanged_when_their_source_is_published_again(old: Old) -> None:
    """Nothing of them is written, whatever versions the code has by now."""
    place, _ = old
    for name, id_ in IDS.items():
        before = look(place, id_)
        found = place.histories.publish(to_current_publication(name), now=later(60))
        assert (name, found) == (name, PublishResult.UNCHANGED)
        assert look(place, id_) == before


def test_force_makes_a_row_of_version_1_one_of_version_2(old: Old) -> None:
    """A person asks for every curve: history, digests, series and values are the newest, and recover puts it back."""
    place, _ = old
    for name, id_ in IDS.items():
        before, history = look(place, id_), place.histories.read_history(id_)
        new = to_current_publication(name)
        assert place.histories.publish(new, force=True, now=later(60)) is PublishResult.PUBLISHED
        (kept,) = place.histories.read_kept([id_])
        assert (kept.versions, kept.digests, kept.series) == (Versions(), new.digests, new.series)
        assert place.histories.publish(new, force=True, now=later(61)) is PublishResult.UNCHANGED
        replaced = place.histories.find_replaced(id_)
        assert replaced is not None
        assert place.histories.recover(id_, replaced, now=later(62))
        assert place.histories.read_history(id_) == history
        assert {**look(place, id_), "replaced": []} == before


def test_rows_of_version_1_are_verified_as_before(old: Old, tmp_path: Path) -> None:
    """By the versions that they were published by: each value still is MLflow's."""
    place, _ = old
    store = make_sqlite(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(store)) as connection, connection:
        add_runs(connection, [read_mlflow_run()])
    settings = {
        "STATE_DIR": str(tmp_path / "state"),
        "RESULTS_URL": place.url,
        "RESULTS_TABLE": place.table,
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{store}",
    }
    outside = Outside(read_settings(settings))
    (kept,) = place.histories.read_kept([IDS["mlflow"]])
    assert kept.versions == FIRST_VERSIONS
    for whole in (True, False):
        rows = [row for row in outside.ledger.list_backfill() if row.mlflow_run_id and (whole or not row.full_digest)]
        runs = verify_rows(outside, rows, whole=whole)
        assert [(run.state, run.differences) for run in runs] == [(State.VERIFIED, [])] * len(rows)
        assert rows
