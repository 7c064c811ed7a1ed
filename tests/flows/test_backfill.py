"""The backfill flow over the legacy database and over small stores: what it publishes, lists, and leaves alone."""

import importlib
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.settings import PREFECT_API_URL

from flows.__main__ import read_command
from flows.answers.backfill import BackfillFailed, BackfillResult
from flows.answers.run import RunResult
from flows.backfill import backfill
from flows.ingest import ingest
from flows.recover import recover
from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.migrate import migrate
from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.history.digest import to_digests
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import RunIdentity
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.ownership import to_tags
from switchyard.core.runs.rows import Claim, JobNews, RunStatus
from tests.clients.mlflow.stores import find_fixture, make_sqlite, restore, to_libpq
from tests.clients.results.places import make_application_table, run_sql
from tests.core.mlflow.factories import make_run, make_series
from tests.flows.mlflow_world import add_row, make_sqlite_store, read_published, to_folder, write_metrics
from tests.postgres import Postgres
from tests.root import ROOT

pytestmark = pytest.mark.usefixtures("prefect_server")

TABLES = ("quick_tests", *(f"switchyard_{name}" for name in ("published", "histograms", "ledger", "replaced", "jobs")))
LEGACY = json.dumps({"available": True, "epochs": [0], "loss": {"train": [0.5]}, "params": {"note": "x" * 400}})


def backfill_now(**parameters: object) -> BackfillResult:
    result = backfill(**parameters)
    assert isinstance(result, BackfillResult)
    return result


def make_runs(count: int) -> list[RawRun]:
    """Runs a, b, c, ..., of which no two say the same."""
    names = "abcdefghijkl"[:count]
    loss = {name: make_series([1 / (2 + n + i) for i in range(6)]) for n, name in enumerate(names)}
    return [make_run({"loss": loss[name]}, epochs=6, run_id=name * 32, name=f"run {name}") for name in names]


@pytest.fixture
def runs(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RawRun]:
    """Three runs in the MLflow store that the settings name."""
    made = make_runs(3)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", make_sqlite_store(tmp_path / "mlflow.db", made))
    return made


@pytest.fixture(params=["sqlite", "postgres"])
def legacy(
    request: pytest.FixtureRequest, outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Outside]:
    """The legacy database with its 24 runs, and results of the same kind."""
    if request.param == "sqlite":
        uri = f"sqlite:///{make_sqlite(tmp_path / 'mlflow.db', find_fixture())}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        database = server.make_database()
        restore(server, database, find_fixture())
        uri = to_libpq(server.url(database))
        monkeypatch.setenv("RESULTS_URL", server.url(server.make_database()))
        migrate(connect().settings)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", uri)
    yield connect()
    connect().close()


@pytest.fixture
def deployed() -> Iterator[UUID]:
    """The deployment, without a worker for it."""
    with get_client(sync_client=True) as client:
        made = client.create_deployment(flow_id=client.create_flow(backfill), name="manual")
        yield made
        client.delete_deployment(made)


def read_all(outside: Outside) -> dict[str, Any]:
    """Every row of the results database, and every file of the artifact store."""
    url = outside.settings.results_url
    found: dict[str, Any] = {table: sorted(map(repr, run_sql(url, f"SELECT * FROM {table}"))) for table in TABLES}
    root = Path(outside.settings.artifacts_uri.removeprefix("file://"))
    return found | {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ledger_states(outside: Outside) -> dict[int, str]:
    return {line.quick_test_id: line.state for line in outside.ledger.read_ledger("backfill")}


def to_tagged(run: RawRun, *, quick_test_id: int, key: str, attempt: int) -> RawRun:
    """`run` as our own trainer logs it."""
    identity = RunIdentity(quick_test_id=quick_test_id, key=key, attempt=attempt, restart=1)
    return msgspec.structs.replace(run, tags={**run.tags, **to_tags(identity)})


def test_every_run_of_the_legacy_database_is_published_or_listed(legacy: Outside) -> None:
    """24 runs, 16 of them awkward: a row, a history and a ledger line each, or a reason."""
    result = backfill_now(adopt=True, status="all")
    assert (result.rows, result.adopted, result.published, result.failed) == (23, 23, 22, {})
    (skipped,) = result.skipped.values()
    assert skipped.endswith("has no metric and no param: there is nothing to publish")
    (deleted,) = result.left_out
    assert "deleted in MLflow" in deleted.why_not
    lines = {line.quick_test_id: line for line in legacy.ledger.read_ledger("backfill")}
    assert len(lines) == 23
    for row in legacy.ledger.list_backfill():
        line = lines[row.id]
        if row.id in result.skipped:
            assert (line.state, row.published) == ("skipped", "nothing")
            continue
        # Years ago someone's process died, and MLflow never ended its run.
        history = read_published(legacy, row.id)
        # A loss that was logged once is drawn too: a chart of one point.
        curves = [history[part] for part in ("loss", "gradient", "metrics", "series")]
        has_curve = any(values for part in curves for values in part.values())
        if history["status"] == "partial":
            assert (line.state, line.attempts) == ("stale", 1)
            assert "--stale-after-hours" in line.error
        else:
            assert (line.state, line.attempts) == ("done", 1)
            assert line.error.startswith("" if has_curve else "it has values alone")
            assert not (has_curve and line.error)
        assert line.published_digest == row.charted_digest == read_published(legacy, row.id)["digest"]["charted"]
        assert line.source_digest.startswith("sha256:")
        assert read_published(legacy, row.id)["mlflow_run_id"] == row.mlflow_run_id
    with get_client(sync_client=True) as client:
        shown = {artifact.key: artifact for artifact in client.read_latest_artifacts()}
    assert shown["backfill-progress"].data == 100
    assert {"what": "published", "runs": 22, "why": ""} in json.loads(str(shown["backfill"].data))
    again = backfill_now(adopt=True, status="all")
    # The one with nothing to publish has not changed, and is not read again.
    assert (again.adopted, again.already_published, again.to_do, again.published) == (0, 22, 0, 0)


def test_whole_runs_of_the_legacy_database_become_like_new_ones(
    legacy: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--full after the charted series: histograms, and a file that says the same; ingest finds so with MLflow gone."""
    charted = backfill_now(adopt=True, status="all")
    result = backfill_now(status="all", full=True)
    assert (result.published, result.failed) == (charted.published, {})
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:////nowhere/mlflow.db")
    rows = [row for row in legacy.ledger.list_backfill() if row.id not in result.skipped]
    for row in rows:
        assert row.gcs_artifacts_path == to_folder(legacy, row.id)
        uri = f"{row.gcs_artifacts_path}/training_metrics.json"
        record = read_record(legacy.objects(uri).read(uri)[0], where=uri)
        digests = to_digests(record)
        assert (digests.charted, digests.full) == (row.charted_digest, row.full_digest)
    before = read_all(legacy)
    for row in rows[::8]:
        assert ingest(quick_test_id=row.id).published == "unchanged"
    assert read_all(legacy) == before
    assert set(ledger_states(legacy).values()) == {"filed", "skipped", "stale"}


def test_what_ingest_published_from_mlflow_becomes_like_a_new_run_too(outside: Outside, runs: list[RawRun]) -> None:
    """Reconcile may have published every row before someone starts a backfill."""
    row = add_row(outside, runs[0].info.run_id)
    ingest(quick_test_id=row)
    before = read_published(outside, row)
    assert backfill_now(full=True, dry_run=True).runs[0].todo == "write the file"
    assert backfill_now(full=True).unchanged == 1
    assert read_published(outside, row) == before
    uri = f"{to_folder(outside, row)}/training_metrics.json"
    assert to_digests(read_record(outside.objects(uri).read(uri)[0], where=uri)).full == before["digest"]["full"]
    assert ledger_states(outside) == {row: "filed"}
    assert backfill_now(full=True).to_do == 0


def test_a_dry_run_touches_nothing(outside: Outside, runs: list[RawRun], tmp_path: Path) -> None:
    """No row, line or file; it says what would be done, to which run, and what only an export would keep."""
    add_row(outside, runs[0].info.run_id, name="one")
    add_row(outside, name="two")
    before, source = read_all(outside), (tmp_path / "mlflow.db").read_bytes()
    result = backfill_now(dry_run=True, adopt=True, force=True)
    assert (read_all(outside), (tmp_path / "mlflow.db").read_bytes()) == (before, source)
    assert (result.rows, result.completed, result.with_mlflow_run, result.adopted, result.to_do) == (2, 2, 1, 2, 3)
    assert [(run.mlflow_run_id, run.todo) for run in result.runs] == [
        (runs[0].info.run_id, "publish"),
        (runs[1].info.run_id, "adopt and publish"),
        (runs[2].info.run_id, "adopt and publish"),
    ]
    assert [run.quick_test_id for run in result.left_out] == [2]
    assert "histograms" in result.export_only
    assert "histograms" not in backfill_now(dry_run=True, full=True).export_only


def test_bad_runs_do_not_hide_the_others(outside: Outside, runs: list[RawRun]) -> None:
    """Each has its line, the flow fails naming them, and the same command tries them again, until they are mended."""
    good = add_row(outside, runs[0].info.run_id, name="good")
    lost = add_row(outside, "f" * 32, name="lost")
    with pytest.raises(
        BackfillFailed, match=f"1 of 2 runs could not be published: quick test {lost}: .*no run ffff"
    ) as caught:
        backfill_now()
    assert caught.value.result.published == 1
    assert caught.value.result.failed.keys() == {lost}
    assert ledger_states(outside) == {good: "done", lost: "failed"}
    with pytest.raises(BackfillFailed):
        backfill_now()
    (line,) = [line for line in outside.ledger.read_ledger("backfill") if line.quick_test_id == lost]
    assert line.attempts == 2
    run_sql(
        outside.settings.results_url,
        "UPDATE quick_tests SET mlflow_run_id = :run WHERE id = :id",
        run=runs[1].info.run_id,
        id=lost,
    )
    assert backfill_now().published == 1
    assert ledger_states(outside) == {good: "done", lost: "done"}


def test_an_mlflow_that_cannot_be_read_is_said_on_every_line(
    outside: Outside, runs: list[RawRun], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A store of an unknown schema: nothing is published, nothing lost, and the same command continues when it can."""
    rows = [add_row(outside, run.info.run_id, name=run.info.name) for run in runs]
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("UPDATE alembic_version SET version_num = 'unknown'")
    store.close()
    with pytest.raises(BackfillFailed) as caught:
        backfill_now(batch_size=2)
    assert caught.value.result.failed.keys() == set(rows)
    assert all("unknown" in error for error in caught.value.result.failed.values())
    assert set(ledger_states(outside).values()) == {"failed"}
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("UPDATE alembic_version SET version_num = 'acf3f17fdcc7'")
    store.close()
    assert backfill_now().published == 3


def test_two_rows_of_one_mlflow_run_are_both_published(outside: Outside, runs: list[RawRun]) -> None:
    """It is read once."""
    rows = [add_row(outside, runs[0].info.run_id, name=name) for name in ("one", "two")]
    assert backfill_now().published == 2
    one, two = (read_published(outside, row) for row in rows)
    assert one["digest"] == two["digest"]


def test_what_is_published_stays_but_by_force_and_force_is_undone_by_recover(
    outside: Outside, runs: list[RawRun]
) -> None:
    """A legacy history is kept, then replaced, then put back, then put forward again."""
    row = add_row(outside, runs[0].info.run_id)
    run_sql(outside.settings.results_url, "UPDATE quick_tests SET training_history_json = :text", text=LEGACY)
    kept = backfill_now()
    assert (kept.legacy, kept.to_do, len(kept.left_out)) == (1, 0, 1)
    assert backfill_now(force=True).published == 1
    new = outside.histories.read_history(row)
    assert backfill_now(force=True).unchanged == 1
    assert recover(quick_test_id=row).replaced_id == 1
    assert outside.histories.read_history(row).history_json == LEGACY.encode()
    recover(quick_test_id=row)
    assert outside.histories.read_history(row) == new


def test_recover_says_where_there_is_nothing(outside: Outside, runs: list[RawRun]) -> None:
    """A run that was never replaced by force."""
    row = add_row(outside, runs[0].info.run_id)
    with pytest.raises(NotFound, match=f"quick test {row} has no history to put back"):
        recover(quick_test_id=row)


def test_histograms_complete_what_was_published_without(outside: Outside, runs: list[RawRun]) -> None:
    """The same charted digest and time of publishing; without them again, nothing changes."""
    row = add_row(outside, runs[0].info.run_id)
    backfill_now()
    before = read_published(outside, row)
    assert (before["histogram_available"], before["digest"]["full"]) == (False, None)
    assert backfill_now(histograms=True).published == 1
    after = read_published(outside, row)
    assert after["histogram_available"]
    assert after["digest"]["charted"] == before["digest"]["charted"]
    assert after["cached_at"] == before["cached_at"]
    assert outside.histories.read_histogram(row, "weights", "query") is not None
    assert backfill_now(force=True).unchanged == 1
    assert read_published(outside, row) == after


def test_the_file_of_a_run_that_our_own_job_logged_is_that_job_s(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `--tracker mlflow`, in a second attempt: with MLflow gone, ingest takes the file as that attempt's."""
    row = add_row(outside, "a" * 32, status="pending")
    for attempt in ("attempt 1", "attempt 2"):
        job = outside.jobs.claim_job(
            Claim(quick_test_id=row, request_key=attempt, artifacts_uri=to_folder(outside, row)), now=datetime.now(UTC)
        ).job
        outside.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED, job_name=attempt), now=datetime.now(UTC))
    run_sql(outside.settings.results_url, "UPDATE quick_tests SET status = 'completed'")
    run = to_tagged(make_run(run_id="a" * 32), quick_test_id=row, key=job.key, attempt=2)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", make_sqlite_store(tmp_path / "mlflow.db", [run]))
    assert backfill_now(full=True).published == 1
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    before = read_published(outside, row)
    result = ingest(quick_test_id=row)
    assert isinstance(result, RunResult)
    assert (result.status, result.published) == (RunStatus.COMPLETED, "unchanged")
    assert read_published(outside, row) == before


def test_the_file_of_a_run_logged_for_another_results_database_is_its_row_s(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopted by a new database, its row has another id than its tags say: ingest takes the file as this row's."""
    run = to_tagged(make_run(run_id="a" * 32), quick_test_id=77, key="attempt 2", attempt=2)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", make_sqlite_store(tmp_path / "mlflow.db", [run]))
    assert backfill_now(adopt=True, full=True).published == 1
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    result = ingest(quick_test_id=1)
    assert isinstance(result, RunResult)
    assert (result.status, result.published) == (RunStatus.COMPLETED, "unchanged")


def test_a_file_that_is_there_is_never_overwritten(outside: Outside, runs: list[RawRun]) -> None:
    """One that says something else fails its run, which says what to do; one that says the same is taken."""
    rows = [add_row(outside, run.info.run_id, name=run.info.name) for run in runs]
    assert backfill_now(full=True, limit=1).published == 1
    uri = f"{to_folder(outside, rows[0])}/training_metrics.json"
    (mine, _) = outside.objects(uri).read(uri)
    other = msgspec.json.decode(mine)
    other["run"]["quick_test_id"] = rows[1]
    write_metrics(outside, rows[1], msgspec.json.encode(other))
    write_metrics(outside, rows[2], b"{")
    with pytest.raises(BackfillFailed) as caught:
        backfill_now(full=True)
    failed = caught.value.result.failed
    assert failed.keys() == {rows[1], rows[2]}
    assert f"switchyard ingest {rows[1]}" in failed[rows[1]]
    assert "cannot be read" in failed[rows[2]]
    assert read_published(outside, rows[1]) == {}
    assert backfill_now(full=True, force=True, limit=1).unchanged == 1
    assert outside.objects(uri).read(uri)[0] == mine


def test_batches_at_once_and_one_after_the_other_end_the_same(outside: Outside, runs: list[RawRun]) -> None:
    """Shards too, each told apart by the ids."""
    rows = [add_row(outside, run.info.run_id, name=run.info.name) for run in runs]
    assert backfill_now(batch_size=1, concurrency=3).published == 3
    expected = [read_published(outside, row)["digest"] for row in rows]
    for shard in (1, 2):
        backfill_now(force=True, histograms=True, shards=2, shard=shard, batch_size=1)
    assert [read_published(outside, row)["digest"]["charted"] for row in rows] == [d["charted"] for d in expected]
    assert all(read_published(outside, row)["digest"]["full"] for row in rows)


def test_only_runs_of_the_named_experiments_are_adopted(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name; a name that MLflow does not have is an error."""
    made = [make_run(run_id="a" * 32), make_run(run_id="b" * 32, experiment="other", experiment_id="5")]
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", make_sqlite_store(tmp_path / "mlflow.db", made))
    assert backfill_now(adopt=True, experiments=["other"]).published == 1
    run = outside.runs.read_run(1)
    assert (run.mlflow_run_id, run.mlflow_experiment_name, run.status) == ("b" * 32, "other", RunStatus.COMPLETED)
    assert (run.display_name, run.started_at is not None, run.completed_at is not None) == ("a run", True, True)
    with pytest.raises(NotFound, match="no experiment named 'misspelt'"):
        backfill(adopt=True, experiments=["misspelt"])


def test_an_applications_table_gets_no_rows(
    outside: Outside, runs: list[RawRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopting is refused, with what to do; its rows are published like ours."""
    url = f"sqlite:///{tmp_path / 'application.db'}"
    make_application_table(url, "quicktest", "text")
    monkeypatch.setenv("RESULTS_URL", url)
    monkeypatch.setenv("RESULTS_TABLE", "quicktest")
    migrate(connect().settings)
    for dry_run in (True, False):
        with pytest.raises(BadRequest, match="the application's: have it make the rows"):
            backfill(adopt=True, dry_run=dry_run)
    run_sql(
        url,
        "INSERT INTO quicktest (owner_name, is_archived, opened, status, mlflow_run_id) "
        "VALUES ('somebody', false, '2025-01-01', 'completed', :run)",
        run=runs[0].info.run_id,
    )
    assert backfill_now().published == 1
    assert read_published(connect(), 1)["mlflow_run_id"] == runs[0].info.run_id


def test_what_contradicts_itself_is_refused() -> None:
    """Before anything is read."""
    for given, said in (
        ({"experiments": ["a"]}, "experiments is given without adopt"),
        ({"shards": 2, "shard": 3}, "from 1 to 2"),
        ({"shards": 2, "limit": 5}, "limit and shards are both given"),
    ):
        with pytest.raises(BadRequest, match=said):
            backfill(**given)


def test_shards_without_a_deployment_say_what_to_make(outside: Outside, runs: list[RawRun]) -> None:
    """On each run's line too: none was published."""
    row = add_row(outside, runs[0].info.run_id)
    with pytest.raises(BackfillFailed, match=r"no shard has settled it.*has no deployment backfill/manual"):
        backfill_now(shards=2)
    assert ledger_states(outside) == {row: "failed"}


def test_shards_that_no_worker_takes_are_given_up(outside: Outside, runs: list[RawRun], deployed: UUID) -> None:
    """After the patience asked for, each run's line says so, and no shard begins later.

    The same without shards does the work.
    """
    row = add_row(outside, runs[0].info.run_id)
    with pytest.raises(BackfillFailed, match=r"shard 2 was cancelled: no worker .*nothing had happened for 1 s"):
        backfill_now(shards=2, shard_patience_s=1)
    assert ledger_states(outside) == {row: "failed"}
    with get_client(sync_client=True) as client:
        ours = DeploymentFilter(id=DeploymentFilterId(any_=[deployed]))
        started = client.read_flow_runs(deployment_filter=ours)
        assert {(found.name, found.state_name) for found in started} == {
            ("backfill shard 1 of 2", "Cancelled"),
            ("backfill shard 2 of 2", "Cancelled"),
        }
    assert backfill_now().published == 1


def test_the_command_prints_counts_reasons_and_the_exit_status(
    outside: Outside, runs: list[RawRun], prefect_server: None
) -> None:
    """`python -m flows backfill`: tables for people, one JSON line for scripts, 1 where a run failed."""
    add_row(outside, runs[0].info.run_id, name="good")
    add_row(outside, "f" * 32, name="lost")
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "COLUMNS": "160"}
    command = [sys.executable, "-m", "flows", "backfill", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["to_do"], answer["published"], list(answer["failed"])) == (2, 1, ["2"])
    for said in (
        "already published",
        "quick test 2",
        "2 of 2 runs",
        "kept by an export",
        "backfill failed: 1 of 2 runs",
    ):
        assert said in done.stderr, said
    assert "Traceback" not in done.stderr


def test_the_commands_of_the_page_do_what_it_says(outside: Outside, runs: list[RawRun]) -> None:
    """docs/mlflow-reference.md, in its order, on one row and three runs."""
    row = add_row(outside, runs[0].info.run_id)
    section = (ROOT / "docs" / "mlflow-reference.md").read_text().partition("\n## Backfill\n")[2].partition("\n## ")[0]
    lines = section.partition("```\n")[2].partition("```")[0].splitlines()
    results = []
    for line in lines:
        rules = shlex.quote('[names]\n"train/total" = "total_loss"')
        typed = line.partition("#")[0].replace('"$(cat rules.toml)"', rules)
        command = read_command(shlex.split(typed)[1:])
        flow = getattr(importlib.import_module(f"flows.{command.flow}"), command.flow)
        results.append(flow(**msgspec.to_builtins(command.parameters)))
    assert [(found.to_do, found.published) for found in results[:-2]] == [
        (1, 0),
        (1, 1),
        (2, 2),
        (3, 3),
        (3, 0),
        (1, 1),
        (0, 0),
    ]
    assert results[-2].to_do == 0
    assert results[-1].quick_test_id == row
