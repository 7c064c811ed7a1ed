"""The verify flow: what it answers, the manifest that it leaves, and when it fails."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from flows.answers.verify import VerifyFailed, VerifyResult
from flows.verify import verify
from switchyard.clients.connect import Outside, connect
from switchyard.core.backfill.plan import How, Item
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.ports import Tracking
from switchyard.core.verify.findings import LeftOut, State
from switchyard.core.verify.manifest import Manifest, read_manifest
from switchyard.services import verify as verifying
from switchyard.services.backfill import backfill_runs
from tests.clients.mlflow.export.exports import export_to_folder
from tests.clients.mlflow.stores import add_runs
from tests.clients.results.places import NOW, run_sql
from tests.core.mlflow.factories import INF, make_points, make_run, make_series
from tests.flows.mlflow_world import add_row, make_sqlite_store, serve_store
from tests.flows.test_command_line import run_flows
from tests.services.verify_tries import WatchedStore

pytestmark = pytest.mark.usefixtures("prefect_server")

COMPARING = 2  # of the stores that a verify opens, from 0: after those that say what it is and list its runs
ONE, OTHER, AWKWARD = "a" * 32, "b" * 32, "c" * 32
RUNS = [
    make_run({"val_recall_at_10": make_series([0.1 * i for i in range(12)])}, run_id=ONE, epochs=12),
    make_run(run_id=OTHER, epochs=7, name="the other", lifecycle="deleted"),
    make_run(
        {
            "loss": make_points((0, 3.0), (1, 2.5), (1, 1_500, 2.4), (2, INF)),
            "batch_loss": make_series([i / 7 for i in range(40)]),
            "final_loss": make_points((0, 0.5), (1, 0.4)),
        },
        run_id=AWKWARD,
        experiment_id="9",
        experiment="second",
    ),
]


@pytest.fixture
def store(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An MLflow store of RUNS, which the settings name; each has a row."""
    path = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", make_sqlite_store(path, RUNS))
    for run in RUNS:
        add_row(outside, run.info.run_id, name=run.info.run_id)
    return path


def backfill(**how: Any) -> None:
    """Publishes all rows, without a flow."""
    outside = connect()
    items = [
        Item(quick_test_id=row.id, mlflow_run_id=row.mlflow_run_id, gcs_artifacts_path=row.gcs_artifacts_path)
        for row in outside.ledger.list_backfill()
    ]
    assert backfill_runs(outside, items, How(since=NOW, **how)).published == len(items)


def verify_now(**parameters: object) -> VerifyResult:
    result = verify(**parameters)
    assert isinstance(result, VerifyResult)
    return result


def read(result: VerifyResult) -> Manifest:
    data = connect().objects(result.manifest_uri).read(result.manifest_uri)[0]
    return read_manifest(data, result.manifest_uri)


def sql(statement: str, **values: object) -> list[Any]:
    return run_sql(connect().settings.results_url, statement, **values)


def test_published_runs_are_verified_but_not_yet_safe(store: Path) -> None:
    """Charted keys alone: all is right, and the manifest says what would be lost with MLflow."""
    backfill()
    result = verify_now()
    assert (result.looked_at, result.verified, result.failed, result.safe) == (3, 3, {}, False)
    manifest = read(result)
    assert manifest.counts["verified"] == 3
    assert manifest.verdict.not_safe == result.not_safe
    assert "3 verified runs are published but not kept in full" in result.not_safe[0]
    assert "backfill --full" in result.not_safe[0]
    assert manifest.database_id == connect().runs.read_database_id()
    assert manifest.compared_with.endswith("by SQL (schema acf3f17fdcc7)")
    assert manifest.versions.keys() == {"switchyard", "python"}


def test_runs_that_are_kept_in_full_make_mlflow_safe_to_delete(store: Path) -> None:
    """With every run's training_metrics.json; what goes with it even so is named."""
    backfill(full=True)
    result = verify_now(require_safe=True)
    assert result.safe
    verdict = read(result).verdict
    assert verdict.not_safe == []
    assert "if what `lost` names is not needed" in verdict.says
    assert any("the time of each point" in lost for lost in verdict.lost)


def test_a_registry_that_nobody_keeps_makes_mlflow_unsafe_to_delete(store: Path, tmp_path: Path) -> None:
    """Counted by table; an export that is named, or giving it up by name, makes it safe again."""
    backfill(full=True)
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("INSERT INTO registered_models (name) VALUES ('ranker')")
        for number, stage in ((1, "Production"), (2, "Deleted_Internal")):
            connection.execute(
                "INSERT INTO model_versions (name, version, current_stage) VALUES ('ranker', ?, ?)", (number, stage)
            )
        connection.execute(
            "INSERT INTO datasets VALUES "
            "('d', (SELECT min(experiment_id) FROM experiments), 'n', 'x', 't', 's', '', '')"
        )
    result = verify_now()
    assert result.not_safe == [
        "registry: 1 registered_models, 1 model_versions are kept nowhere else; import it: switchyard import-models; "
        "or keep an export and name it: switchyard export, then switchyard verify --kept-export-uri <where>; or say "
        "that it may be lost: --give-up registry",
        "datasets: 1 datasets are kept nowhere else; keep an export and name it: switchyard export, then switchyard "
        "verify --kept-export-uri <where>; or say that it may be lost: --give-up datasets",
    ]
    given_up = read(verify_now(give_up=["registry", "datasets"], require_safe=True)).verdict
    assert given_up.safe
    assert "registry, given up by name: 1 registered_models, 1 model_versions" in given_up.lost
    export_uri = export_to_folder(f"sqlite:///{store}", tmp_path / "export")
    kept = read(verify_now(kept_export_uri=export_uri, require_safe=True))
    assert [(kind.kind, kind.missing, kind.kept_in) for kind in kept.kinds] == [
        ("registry", {}, ["an export"]),
        ("datasets", {}, ["an export"]),
    ]
    assert verify_now(export_uri=export_uri, require_safe=True).safe
    with closing(sqlite3.connect(store)) as connection, connection:
        add_runs(connection, [make_run(run_id="9" * 32)])
    with pytest.raises(BadRequest, match=f"lacks 1 runs of this MLflow .such as {'9' * 32}.*Export again"):
        verify_now(kept_export_uri=export_uri)


def test_an_export_that_has_other_rows_than_mlflow_keeps_nothing_of_them(store: Path, tmp_path: Path) -> None:
    """The same number of rows is not enough: a model that was described again is in no export made before."""
    backfill(full=True)
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("INSERT INTO registered_models (name, description) VALUES ('ranker', 'old')")
    export_uri = export_to_folder(f"sqlite:///{store}", tmp_path / "export")
    assert read(verify_now(kept_export_uri=export_uri)).verdict.safe
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE registered_models SET description = 'new'")
    verdict = read(verify_now(kept_export_uri=export_uri)).verdict
    assert (verdict.safe, verdict.not_safe[0].partition(";")[0]) == (
        False, "registry: 1 registered_models are kept nowhere else",
    )  # fmt: skip
    assert f"switchyard export --to-uri {export_uri}" in verdict.lost[1]
    export_to_folder(f"sqlite:///{store}", tmp_path / "export")
    assert read(verify_now(kept_export_uri=export_uri)).verdict.safe


def test_the_manifest_counts_each_run_and_says_what_is_left_out(store: Path) -> None:
    """Epochs, keys and points as MLflow has them; each loss with where it is kept and why."""
    backfill(full=True)
    manifest = read(verify_now())
    one, other, awkward = manifest.runs
    assert [run.quick_test_id for run in manifest.runs] == [1, 2, 3]
    assert (one.epochs, one.keys, one.points) == (12, len(RUNS[0].metrics), count_points(RUNS[0]))
    assert (one.keys_read, one.kept_in_full, one.compared) == (
        "all", True, ["row", "history", "digests", "file", "histograms", "series", "values"],
    )  # fmt: skip
    assert (other.deleted, other.name, awkward.experiment) == (True, "the other", "second")
    assert all(run.source_digest.startswith("sha256:") for run in manifest.runs)
    assert all(run.published_digest == run.charted_digest for run in manifest.runs)
    assert len({run.full_digest for run in manifest.runs}) == 3
    left = {found.what: found for found in one.left_out}
    assert left["keys"].kept_in == "the full series"
    assert "query_weights_mean" in left["keys"].names
    assert "val_recall_at_10" not in left["keys"].names
    assert (left["values of charted series"].count, left["times of points"].count) == (8 * 10, count_points(RUNS[0]))
    assert left["tags"] == LeftOut(
        what="tags",
        count=1,
        kept_in="an export",
        why="other tags, and descriptions; kept in an export",
        names=["mlflow.user"],
    )
    left = {found.what: found for found in awkward.left_out}
    assert left["values logged before another of their step"].names == ["loss"]
    assert (left["infinities"].count, left["infinities"].names) == (1, ["loss"])
    sums = {found.what: found.count for found in manifest.left_out}
    assert sums["times of points"] == sum(map(count_points, RUNS)) == manifest.counts["points"]


def count_points(run: RawRun) -> int:
    return sum(len(points.steps) for points in run.metrics.values())


def test_histograms_that_nobody_read_are_not_counted_unless_asked(store: Path) -> None:
    """No number is made up. With `whole` they are read and named."""
    backfill()
    (keys,) = [left for left in read(verify_now()).left_out if left.what == "histogram keys"]
    assert (keys.count, keys.kept_in) == (None, "an export")
    run = read(verify_now(whole=True)).runs[0]
    assert run.keys_read == "all"
    assert any("query_weights_mean" in left.names for left in run.left_out)


def test_what_differs_fails_the_flow_after_all_were_compared(store: Path) -> None:
    """The error and the result name run, key and epoch; gone and unpublished runs are listed beside it."""
    backfill(histograms=True)
    sql("UPDATE quick_tests SET training_history_json = replace(training_history_json, '\"optimizer\":\"adagrad\"', "
        "'\"optimizer\":\"sgd\"') WHERE id = 1")  # fmt: skip
    run_sql(f"sqlite:///{store}", f"DELETE FROM runs WHERE run_uuid = '{OTHER}'")
    sql("UPDATE quick_tests SET training_history_json = NULL WHERE id = 3")
    with pytest.raises(VerifyFailed, match="2 of 3 runs are not verified") as raised:
        verify_now()
    result = raised.value.result
    assert 'params.optimizer (MLflow\'s optimizer) in the history: expected "adagrad", found "sgd"' in result.differs[1]
    assert "has no run" in result.missing[2]
    assert (result.unpublished, result.safe) == ([3], False)
    assert str(result.manifest_uri) in str(raised.value)
    states = {run.quick_test_id: run.state for run in read(result).runs}
    assert states == {1: State.DIFFERS, 2: State.MISSING, 3: State.UNPUBLISHED}


def test_runs_that_no_row_knows_are_listed(store: Path) -> None:
    """They would go with MLflow; those of experiments that were not asked about too.

    Not those that are given up by name.
    """
    backfill(full=True)
    sql("DELETE FROM quick_tests WHERE id = 3")
    result = verify_now()
    assert (result.unknown_runs, result.safe) == (1, False)
    (unknown,) = read(result).unknown_runs
    assert (unknown.mlflow_run_id, unknown.experiment) == (AWKWARD, "second")
    apart = verify_now(experiments=["two-tower"])
    assert (apart.unknown_runs, apart.safe) == (1, False)
    (said,) = apart.not_safe
    assert said.startswith("other-experiments: 1 runs that no row names (1 of 'second') are kept nowhere else")
    given = verify_now(experiments=["two-tower"], give_up=["other-experiments"])
    assert given.safe
    assert "other-experiments, given up by name: 1 runs that no row names (1 of 'second')" in given.lost
    (within,) = verify_now(experiments=["second"]).not_safe
    assert within.startswith("1 runs of MLflow are known to no row")
    with pytest.raises(VerifyFailed, match="do not delete MLflow yet: 1 runs of MLflow are known to no row"):
        verify_now(require_safe=True)
    with pytest.raises(NotFound, match="no experiment named 'two-towers'"):
        verify_now(experiments=["two-towers"])


def test_part_of_the_runs_proves_nothing_of_the_others(store: Path) -> None:
    """One run, or the first few: never safe."""
    backfill(full=True)
    one = verify_now(quick_test_id=2)
    assert (one.looked_at, one.verified, one.safe) == (1, 1, False)
    assert read(one).runs[0].mlflow_run_id == OTHER
    assert verify_now(limit=2).looked_at == 2
    with pytest.raises(NotFound, match="quick test 99 has no MLflow run to verify"):
        verify_now(quick_test_id=99)


def test_an_export_proves_it_after_mlflow_is_gone(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is deleted: what is published is compared with the export, and that is what keeps the rest."""
    backfill()
    by_sql = read(verify_now())
    export_uri = export_to_folder(f"sqlite:///{store}", tmp_path / "export")
    store.unlink()
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    result = verify_now(export_uri=export_uri)
    manifest = read(result)
    assert result.safe
    assert "as long as the export is kept" in manifest.verdict.says
    assert manifest.runs == by_sql.runs
    assert manifest.compared_with.startswith(f"the export at {export_uri}, taken at 20")
    sql("UPDATE quick_tests SET mlflow_run_id = :other WHERE id = 1", other=OTHER)
    with pytest.raises(VerifyFailed, match="expected " + ONE):
        verify_now(export_uri=export_uri)


def test_a_server_proves_it_too(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over REST, as over SQL."""
    with serve_store(tmp_path / "served.db", RUNS) as (_, url):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        for run in RUNS:
            add_row(outside, run.info.run_id, name=run.info.run_id)
        backfill(full=True)
        result = verify_now()
        assert result.safe
        assert read(result).compared_with == f"the MLflow server {url} over REST"


def test_nothing_to_verify_is_no_failure(outside: Outside) -> None:
    """The weekly deployment of a team without MLflow; with a row that names a run, the setting is asked for."""
    assert verify_now().looked_at == 0
    add_row(outside, ONE)
    with pytest.raises(BadSetup, match="no MLflow is named"):
        verify_now()


def test_a_second_verify_leaves_another_manifest_and_the_same_ledger(store: Path) -> None:
    """Each has its own time; a line a run, the last one's."""
    backfill()
    first, second = verify_now(), verify_now()
    assert first.manifest_uri != second.manifest_uri
    assert read(first).runs == read(second).runs
    lines = connect().ledger.read_ledger("verify")
    assert [(line.quick_test_id, line.state, line.error) for line in lines] == [(i, "verified", "") for i in (1, 2, 3)]
    assert all(line.source_digest for line in lines)


def test_a_batch_that_is_broken_off_is_taken_up_where_it_was(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is compared twice, the manifest has all of them, and what the tries shared is cleared with it."""
    backfill()
    monkeypatch.setattr(verifying, "CHARTED_RUNS", 1)
    stores: list[WatchedStore] = []

    def open_tracking(self: Outside, export_uri: str = "") -> Tracking:
        stores.append(WatchedStore(self.tracking, breaks_after=2 if len(stores) == COMPARING else None))
        return stores[-1]

    monkeypatch.setattr(Outside, "open_tracking", open_tracking)
    result = verify_now()
    assert (result.looked_at, result.verified) == (3, 3)
    asked = [opened.asked for opened in stores if opened.asked]
    assert asked == [[ONE, OTHER, AWKWARD], [AWKWARD]]
    assert sql("SELECT count(*) FROM switchyard_ledger WHERE kind LIKE 'verify%'") == [(3,)]


def test_people_see_counts_and_verdict_in_prefect(store: Path) -> None:
    """A table and a progress artifact, one key each."""
    backfill()
    result = verify_now()
    with get_client(sync_client=True) as client:
        table = read_artifact(client, "verify")
        assert {"what": "verified", "value": "3"} in msgspec.json.decode(table)
        assert result.manifest_uri in table
        assert float(read_artifact(client, "verify-progress")) == 100


def read_artifact(client: Any, key: str) -> str:
    response = client._client.get(f"/artifacts/{key}/latest")
    return str(response.json()["data"])


def test_the_command_line_exits_1_and_answers_in_json(store: Path, outside: Outside) -> None:
    """One line of JSON, the reason in words on stderr, no traceback."""
    backfill()
    state, api_url = outside.settings.state_dir, str(PREFECT_API_URL.value())
    sql("UPDATE quick_tests SET mlflow_run_id = :other WHERE id = 1", other=OTHER)
    bad = run_flows("verify", "--json", state=state, api_url=api_url)
    assert bad.returncode == 1
    assert msgspec.json.decode(bad.stdout)["differs"].keys() == {"1"}
    assert "verify failed: 1 of 3 runs are not verified: quick test 1" in bad.stderr
    assert "Traceback" not in bad.stderr
    assert "It is NOT safe to delete this MLflow store" in bad.stderr


def test_an_export_that_was_changed_is_no_proof(store: Path, tmp_path: Path) -> None:
    """Also where no history is made of the part: what is called safe to delete could not be restored."""
    backfill(full=True)
    export_uri = export_to_folder(f"sqlite:///{store}", tmp_path / "export")
    tables = tmp_path / "export" / "tables"
    (tags,), (params,) = tables.glob("tags/*"), tables.glob("params/*")
    tags.write_bytes(params.read_bytes())
    with pytest.raises(BadRecord, match=rf"{tags.name}: it must hold \d+ rows"):
        verify_now(export_uri=export_uri)
