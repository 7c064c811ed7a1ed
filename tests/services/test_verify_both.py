"""Verify of a run whose trainer logged to its file and to MLflow: what both hold is compared, by key and epoch."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.mapped import to_record
from switchyard.core.history.publication import Versions
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import MetricsRecord, RunIdentity, Sampling
from switchyard.core.metrics.writing import to_json
from switchyard.core.mlflow.logged import list_last_points, list_points, to_logged_params, to_logged_tags
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.ports import ANY
from switchyard.core.runs.rows import NewRun
from switchyard.core.verify.findings import State, VerifiedRun
from switchyard.services.verify import verify_rows
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.clients.results.places import NOW, run_sql
from tests.core.mlflow.factories import START_MS, make_info, make_points, make_run, make_series

RUN_ID = "a" * 32
PARAMS = {"optimizer": "adagrad", "epochs": 12, "learning_rate": 0.1, "nested": {"a": [1, 2]}, "wide": True}


def make_record() -> MetricsRecord:
    """A trainer's: params as what they are, and whose it is."""
    record = from_points(make_run({"val_recall_at_10": make_series([0.1] * 12)}, epochs=12))
    identity = RunIdentity(quick_test_id=1, key="k", attempt=1, restart=0)
    return msgspec.structs.replace(record, run=identity, params=dict(PARAMS))


def log(record: MetricsRecord) -> RawRun:
    """The MLflow run that its trainer logs beside the file."""
    points: dict[str, list[tuple[int, int, float]]] = {}
    for point in [*list_points(record, 0, len(record.epochs)), *list_last_points(record)]:
        points.setdefault(point.key, []).append((point.step, START_MS + point.step, point.value))
    return RawRun(
        info=make_info(run_id=RUN_ID),
        metrics={key: make_points(*found) for key, found in points.items()},
        params=to_logged_params(record),
        tags=to_logged_tags(record),
    )


@dataclass
class Both:
    """A run that was ingested from its file, and whose row names its MLflow run."""

    outside: Outside
    store: Path
    record: MetricsRecord

    @property
    def folder(self) -> str:
        return f"{self.outside.settings.artifacts_uri}/quick_tests/1"

    def ingest(self, record: MetricsRecord) -> None:
        """Writes the file and publishes it."""
        uri = f"{self.folder}/training_metrics.json"
        self.outside.objects(uri).write(uri, to_json(record), if_generation=ANY)
        publication = to_publication(record, quick_test_id=1, source="file", sampling=Sampling(), mlflow_run_id=RUN_ID)
        self.outside.histories.publish(publication, force=True, now=NOW)

    def mlflow(self, statement: str) -> None:
        with closing(sqlite3.connect(self.store, isolation_level=None)) as connection:
            connection.execute(statement)

    def sql(self, statement: str, **values: object) -> None:
        run_sql(self.outside.settings.results_url, statement, **values)

    def verify(self) -> VerifiedRun:
        (run,) = verify_rows(self.outside, self.outside.ledger.list_backfill(), whole=True)
        return run


@pytest.fixture
def both(tmp_path: Path) -> Both:
    store, record = make_sqlite(tmp_path / "mlflow.db"), make_record()
    with closing(sqlite3.connect(store)) as connection, connection:
        add_runs(connection, [log(record)])
    outside = Outside(
        read_settings({"STATE_DIR": str(tmp_path / "state"), "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{store}"})
    )
    migrate(outside.settings)
    outside.runs.create_run(NewRun(request_key="both"), now=NOW)
    made = Both(outside, store, record)
    made.sql("UPDATE quick_tests SET mlflow_run_id = :id, gcs_artifacts_path = :path", id=RUN_ID, path=made.folder)
    made.ingest(record)
    return made


def test_a_run_that_logged_to_both_is_verified_and_kept_in_full(both: Both) -> None:
    """Params are texts in MLflow, and edges have six decimals there."""
    run = both.verify()
    assert (run.state, run.differences, run.kept_in_full) == (State.VERIFIED, [], True)
    assert "file" in run.compared


@pytest.mark.parametrize("by_backfill", [False, True])
def test_rules_of_a_run_rename_no_key_of_its_trainers_file(both: Both, *, by_backfill: bool) -> None:
    """They stay with the run, for when it is read from MLflow; the file has its own names.

    One that backfill has made of MLflow has the names of the rules."""
    rules = '[names]\nval_recall_at_10 = "recall"\n'
    (run,) = both.outside.tracking.read_runs([RUN_ID])
    assert isinstance(run, RawRun)
    ruled = to_record(run, Versions(rules=rules))
    publication = to_publication(
        ruled,
        quick_test_id=1,
        source="mlflow",
        sampling=Sampling(),
        mlflow_run_id=RUN_ID,
        versions=Versions(rules=rules),
    )
    both.outside.histories.publish(publication, force=True, now=NOW)
    key = RunIdentity(quick_test_id=1, key=f"mlflow:{RUN_ID}", attempt=1, restart=0)
    both.ingest(msgspec.structs.replace(ruled, run=key) if by_backfill else both.record)
    (kept,) = both.outside.histories.read_kept([1])
    assert kept.versions.rules == rules
    found = both.verify()
    assert (found.state, found.differences, found.kept_in_full) == (State.VERIFIED, [], True)


def test_what_mlflow_lacks_is_no_difference(both: Both) -> None:
    """Logging never holds a training up: points may be missing there, which the file has."""
    both.mlflow("DELETE FROM metrics WHERE step >= 10")
    both.mlflow("DELETE FROM metrics WHERE key LIKE 'query_grad_hist_bin%'")
    assert (both.verify().state, both.verify().kept_in_full) == (State.VERIFIED, True)


def test_what_only_mlflow_holds_is_left_out(both: Both) -> None:
    """Someone logged a key by hand: right as far as it goes, but not kept."""
    both.mlflow(
        f"INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('auc', 1, 1, '{RUN_ID}', 3, 0)"
    )
    run = both.verify()
    assert (run.state, run.kept_in_full) == (State.VERIFIED, False)
    assert ["auc"] in [left.names for left in run.left_out]


def change_text(old: str, new: str) -> Callable[[Both], None]:
    def plant(both: Both) -> None:
        both.sql("UPDATE quick_tests SET training_history_json = replace(training_history_json, :old, :new)",
                 old=old, new=new)  # fmt: skip

    return plant


def drop_point_of_file(both: Both) -> None:
    """The damaged file was even published again: MLflow still has the value."""
    both.record.loss["val_loss"][7] = None
    both.ingest(both.record)


DAMAGES: dict[str, tuple[Callable[[Both], None], tuple[str, str, int | None]]] = {
    "a value in MLflow": (
        lambda both: both.mlflow("UPDATE metrics SET value = 9 WHERE key = 'val_loss' AND step = 7"),
        ("file", "val_loss", 7),
    ),
    "a count in MLflow": (
        lambda both: both.mlflow("UPDATE metrics SET value = 999 WHERE key = 'query_hist_bin_3' AND step = 7"),
        ("file", "query_hist_bin_3", 7),
    ),
    "a final metric in MLflow": (
        lambda both: both.mlflow("UPDATE metrics SET value = 9 WHERE key = 'test_recall_at_10'"),
        ("file", "test_recall_at_10", None),
    ),
    "a param in MLflow": (
        lambda both: both.mlflow("UPDATE params SET value = '13' WHERE key = 'epochs'"), ("file", "epochs", None),
    ),
    "a nested param in MLflow": (
        lambda both: both.mlflow("UPDATE params SET value = '{}' WHERE key = 'nested'"), ("file", "nested", None),
    ),
    "edges in MLflow": (
        lambda both: both.mlflow("UPDATE params SET value = replace(value, '-0.92', '-0.93')"),
        ("file", "candidate_grad_hist_bin_edges", None),
    ),
    "a param that is published": (change_text('"epochs":12', '"epochs":13'), ("history", "epochs", None)),
    "a point dropped from the file": (drop_point_of_file, ("file", "val_loss", 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_difference_is_named(both: Both, name: str) -> None:
    """Key and epoch, and whether it is between file and MLflow, or between the file and what is published of it."""
    plant, expected = DAMAGES[name]
    plant(both)
    run = both.verify()
    assert run.state is State.DIFFERS
    assert expected in [(found.place, found.key, found.epoch) for found in run.differences]


def test_a_file_that_is_gone_is_unread(both: Both) -> None:
    """What is published was made of it: nothing else proves that."""
    both.outside.objects(both.folder).delete(f"{both.folder}/training_metrics.json", if_generation=ANY)
    run = both.verify()
    assert run.state is State.UNREAD
    assert "published from its training_metrics.json, which could not be read" in run.reason


def test_a_legacy_collector_s_file_may_have_gaps(both: Both) -> None:
    """A null of version 0 is no value that was lost on the way: what MLflow has more is left out, and named."""
    both.record.loss["val_loss"][7] = None
    tree = msgspec.json.decode(to_json(both.record))
    for name in ("schema_version", "run", "metrics", "non_finite", "other_series"):
        tree.pop(name, None)
    uri = f"{both.folder}/training_metrics.json"
    both.outside.objects(uri).write(uri, msgspec.json.encode(tree), if_generation=ANY)
    from switchyard.core.metrics.reading import read_record

    record = read_record(msgspec.json.encode(tree), where="a legacy file")
    publication = to_publication(record, quick_test_id=1, source="file", sampling=Sampling())
    both.outside.histories.publish(publication, force=True, now=NOW)
    run = both.verify()
    assert (run.state, run.kept_in_full) == (State.VERIFIED, False)
    (left,) = [left for left in run.left_out if left.what.startswith("keys that the metrics file has not")]
    assert {"val_loss", "val_recall_at_10"} <= set(left.names)
