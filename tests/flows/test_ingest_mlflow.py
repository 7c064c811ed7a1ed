"""Ingest of one run from MLflow: real readers, real results database; what is called, with what, and what is not."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.responses import Response

from flows.answers.run import RunFailed, RunResult
from flows.backfill import backfill
from flows.ingest import ingest
from flows.reconcile import reconcile
from switchyard.clients.connect import Outside
from switchyard.core.errors import BadRecord, BadSetup, NotFound, SwitchyardError, TryAgain, TryLater
from switchyard.core.history.digest import to_digests
from switchyard.core.metrics.record import RunIdentity
from switchyard.core.metrics.writing import to_json
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.ownership import to_tags
from switchyard.core.runs.rows import Claim, Job, JobNews, RunStatus
from tasks.ingest import RETRIES
from tests.clients.results.places import NOW, run_sql
from tests.core.metrics.factories import make_record
from tests.core.mlflow.factories import make_run, make_small
from tests.emulators.faults import Fault
from tests.flows.mlflow_world import (
    add_row,
    make_postgres_store,
    make_sqlite_store,
    read_published,
    serve_store,
    to_folder,
    write_info,
    write_metrics,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.usefixtures("prefect_server")

RUN, OTHER, NOWHERE = "a" * 32, "b" * 32, "c" * 32
STORE = "MLFLOW_BACKEND_STORE_URI"
SERVER = "MLFLOW_TRACKING_URI"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test starts."""
    with ExitStack() as found:
        yield found


def ingest_now(quick_test_id: int, **parameters: object) -> RunResult:
    result = ingest(quick_test_id=quick_test_id, **parameters)
    assert isinstance(result, RunResult)
    return result


def use_store(monkeypatch: pytest.MonkeyPatch, folder: Path, *runs: RawRun) -> None:
    monkeypatch.setenv(STORE, make_sqlite_store(folder / "mlflow.db", runs))


def add_attempt(outside: Outside, quick_test_id: int, attempt: int, state: JobState) -> Job:
    """A job of ours that has ended without a file."""
    folder = to_folder(outside, quick_test_id)
    claimed = outside.jobs.claim_job(
        Claim(quick_test_id=quick_test_id, request_key=f"attempt {attempt}", artifacts_uri=folder), now=NOW
    ).job
    return outside.jobs.record_job(claimed.key, JobNews(state=state, job_name=f"job {attempt}"), now=NOW)


def to_tagged(run: RawRun, job: Job) -> RawRun:
    identity = RunIdentity(quick_test_id=job.quick_test_id, key=job.key, attempt=job.attempt, restart=0)
    return msgspec.structs.replace(run, tags={**run.tags, **to_tags(identity)})


@pytest.mark.parametrize("way", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow), "rest"])
def test_run_is_published_from_mlflow_as_from_a_file(
    outside: Outside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    request: pytest.FixtureRequest,
    way: str,
) -> None:
    """A row of another application, completed, with an MLflow run and no file: all epochs are digested.

    Histograms are there. Again, and nothing changes.
    """
    run = make_run(epochs=7, run_id=RUN)
    if way == "sqlite":
        use_store(monkeypatch, tmp_path, run)
    elif way == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        monkeypatch.setenv(STORE, make_postgres_store(server, [run]))
    else:
        monkeypatch.setenv(SERVER, stack.enter_context(serve_store(tmp_path / "mlflow.db", [run]))[1])
    row = add_row(outside, RUN)
    result = ingest_now(row)
    history = read_published(outside, row)
    digests = to_digests(from_points(run))
    assert (result.status, result.published) == (RunStatus.COMPLETED, "published")
    assert (history["source"], history["status"], history["mlflow_run_id"]) == ("mlflow", "completed", RUN)
    assert (history["epochs"], history["sampling"]["total"]) == ([0, 5, 6], 7)
    assert history["digest"] == {"charted": digests.charted, "full": digests.full}
    for kind in ("weights", "gradients"):
        for tower in ("query", "candidate"):
            assert outside.histories.read_histogram(row, kind, tower), (kind, tower)
    assert ingest_now(row).published == "unchanged"


def test_run_of_the_info_file_is_read_and_written_on_the_row(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row names none; mlflow_info.json does, from an address that is a container's own."""
    use_store(monkeypatch, tmp_path, make_run(run_id=RUN))
    row = add_row(outside)
    write_info(outside, row, {"run_id": RUN, "tracking_uri": "http://mlflow:5000"})
    assert ingest_now(row).published == "published"
    assert outside.runs.read_run(row).mlflow_run_id == RUN
    assert read_published(outside, row)["mlflow_run_id"] == RUN


def test_metrics_file_goes_first_and_the_run_id_is_written(outside: Outside) -> None:
    """No MLflow is needed, or named; the row and the history say which run it was."""
    row = add_row(outside)
    record = make_record(3, run=RunIdentity(quick_test_id=row, key="k", attempt=1, restart=0))
    write_metrics(outside, row, to_json(record))
    write_info(outside, row, {"run_id": RUN, "tracking_uri": "http://mlflow:5000"})
    assert ingest_now(row).published == "published"
    assert outside.runs.read_run(row).mlflow_run_id == RUN
    history = read_published(outside, row)
    assert (history["source"], history["mlflow_run_id"]) == ("file", RUN)


def test_damaged_info_file_is_ignored_beside_a_metrics_file(outside: Outside, caplog: pytest.LogCaptureFixture) -> None:
    """It is published, with a warning that says what is wrong with which file."""
    row = add_row(outside)
    record = make_record(3, run=RunIdentity(quick_test_id=row, key="k", attempt=1, restart=0))
    write_metrics(outside, row, to_json(record))
    write_info(outside, row, b"<html>")
    with caplog.at_level(logging.WARNING):
        assert ingest_now(row).published == "published"
    assert f"mlflow_info.json of quick test {row}" in caplog.text
    assert outside.runs.read_run(row).mlflow_run_id == ""


@pytest.mark.parametrize("info", [b'{"run_id": "../x"}', b"x" * 100_000], ids=["path", "huge"])
def test_damaged_info_file_is_refused_where_it_is_all_there_is(outside: Outside, info: bytes) -> None:
    """Nothing is published, and the row says why."""
    row = add_row(outside)
    write_info(outside, row, info)
    with pytest.raises(BadRecord, match=r"mlflow_info\.json"):
        ingest_now(row)
    assert "mlflow_info.json" in outside.runs.read_run(row).error
    assert read_published(outside, row) == {}


def test_run_that_the_row_names_goes_first(outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two MLflow runs the row's is read; where MLflow has it no more, the file's, and the row names that."""
    use_store(monkeypatch, tmp_path, make_run(run_id=RUN), make_run(run_id=OTHER))
    for named, read in ((RUN, RUN), (NOWHERE, OTHER)):
        row = add_row(outside, named, name=named)
        write_info(outside, row, {"run_id": OTHER, "tracking_uri": ""})
        ingest_now(row)
        assert (outside.runs.read_run(row).mlflow_run_id, read_published(outside, row)["mlflow_run_id"]) == (
            read,
            read,
        )


def test_later_attempt_is_never_given_the_earlier_one_s_run(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempt 1 failed, after more epochs than attempt 2 needed: the row names its run first, then attempt 2's.

    Attempt 3, which logged nowhere, has nothing.
    """
    row = add_row(outside, status="pending")
    first = add_attempt(outside, row, 1, JobState.FAILED)
    path = tmp_path / "mlflow.db"
    monkeypatch.setenv(STORE, make_sqlite_store(path, [to_tagged(make_run(run_id=RUN, epochs=9), first)]))
    write_info(outside, row, {"run_id": RUN})
    assert ingest_now(row).status is RunStatus.FAILED
    assert read_published(outside, row)["sampling"]["total"] == 9
    second = add_attempt(outside, row, 2, JobState.FAILED)
    path.unlink()
    make_sqlite_store(
        path, [to_tagged(make_run(run_id=RUN, epochs=9), first), to_tagged(make_run(run_id=OTHER), second)]
    )
    write_info(outside, row, {"run_id": OTHER})
    ingest_now(row)
    assert (outside.runs.read_run(row).mlflow_run_id, read_published(outside, row)["sampling"]["total"]) == (
        OTHER,
        3,
    )
    add_attempt(outside, row, 3, JobState.SUCCEEDED)
    with pytest.raises(RunFailed, match=rf"left no metrics file; MLflow run {OTHER} .* is an earlier attempt's"):
        ingest_now(row)


@pytest.mark.parametrize(
    ("logged", "job", "row_was", "row_becomes", "published"),
    [
        ("FINISHED", None, "pending", "completed", "completed"),
        ("RUNNING", None, "completed", "completed", "partial"),
        pytest.param("FAILED", None, "completed", "completed", "failed", marks=pytest.mark.slow),
        pytest.param("KILLED", None, "running", "failed", "failed", marks=pytest.mark.slow),
        pytest.param("FINISHED", JobState.SUCCEEDED, "pending", "completed", "completed", marks=pytest.mark.slow),
        ("RUNNING", JobState.SUCCEEDED, "pending", "failed", "partial"),
        pytest.param("FINISHED", JobState.CANCELLED, "pending", "cancelled", "completed", marks=pytest.mark.slow),
        ("RUNNING", JobState.RUNNING, "pending", "running", "partial"),
    ],
)
def test_outcome_is_that_of_a_file_with_the_run_s_status(
    outside: Outside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: str,
    job: JobState | None,
    row_was: str,
    row_becomes: str,
    published: str,
) -> None:
    """MLflow's status stands where a file's does; the table of docs/walk.md decides."""
    use_store(monkeypatch, tmp_path, make_run(run_id=RUN, status=logged))
    row = add_row(outside, RUN, status=row_was)
    if job:
        claimed = add_attempt(outside, row, 1, job)
        if not job.ended:
            # Nothing is asked of a launcher whose name for the job we do not know.
            outside.jobs.record_job(claimed.key, JobNews(state=job), now=NOW)
            monkeypatch.setattr("flows.ingest.look_at_job", lambda seen: seen)
    try:
        ingest_now(row)
    except RunFailed:
        assert row_becomes == "failed"
    assert outside.runs.read_run(row).status == row_becomes
    assert read_published(outside, row)["status"] == published


@pytest.mark.parametrize(
    ("run", "error", "said"),
    [
        (None, NotFound, f"MLflow run {NOWHERE} of quick test 1 is not there: .*says that it is at http://mlflow/"),
        (
            make_small({}, info=make_run(run_id=NOWHERE).info),
            NotFound,
            f"MLflow run {NOWHERE} .* holds no metric and no param",
        ),
        (
            msgspec.structs.replace(
                make_run(run_id=NOWHERE), tags=to_tags(RunIdentity(quick_test_id=7, key="k", attempt=1, restart=0))
            ),
            BadRecord,
            f"MLflow run {NOWHERE} .*`run.quick_test_id` must be 1; got 7.* another run's",
        ),
    ],
    ids=["not there", "empty", "another run's"],
)
def test_run_that_gives_nothing_is_said_on_the_row(
    outside: Outside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: RawRun | None,
    error: type[SwitchyardError],
    said: str,
) -> None:
    """With which run of which quick test, and where mlflow_info.json says that it is; the row stays completed."""
    use_store(monkeypatch, tmp_path, *([run] if run else []))
    row = add_row(outside, NOWHERE)
    write_info(outside, row, {"run_id": NOWHERE, "tracking_uri": "http://name:s3cret@mlflow/"})
    with pytest.raises(error, match=said) as raised:
        ingest_now(row)
    found = outside.runs.read_run(row)
    assert (found.status, found.error) == (RunStatus.COMPLETED, str(raised.value))
    assert "s3cret" not in found.error


def test_missing_setting_is_named_and_the_run_is_published_once_it_is_there(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither completed without its history nor failed: the row of a job that succeeded waits, and says for what."""
    row = add_row(outside, RUN, status="pending")
    add_attempt(outside, row, 1, JobState.SUCCEEDED)
    with pytest.raises(BadSetup, match=rf"MLflow run {RUN} of quick test {row} cannot be read, .*{STORE} or {SERVER}"):
        ingest_now(row)
    assert STORE in outside.runs.read_run(row).error
    assert not outside.runs.read_run(row).status.ended
    use_store(monkeypatch, tmp_path, make_run(run_id=RUN))
    ingest_now(row)
    found = outside.runs.read_run(row)
    assert (found.status, found.error) == (RunStatus.COMPLETED, "")


def test_error_of_an_earlier_ingest_does_not_outlive_it(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the row's status stays as it was: a partial history of a completed row."""
    row = add_row(outside, RUN)
    with pytest.raises(BadSetup):
        ingest_now(row)
    use_store(monkeypatch, tmp_path, make_run(run_id=RUN, status="RUNNING"))
    ingest_now(row)
    assert outside.runs.read_run(row).error == ""


@pytest.mark.usefixtures("impatient")
def test_server_that_is_away_is_tried_again_by_the_task(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    """Each call five times within, the whole by the task; the row is left as it was, for the next ingest."""
    emulator, url = stack.enter_context(serve_store(tmp_path / "mlflow.db", [make_run(run_id=RUN)]))
    monkeypatch.setenv(SERVER, url)
    row = add_row(outside, RUN)
    before = outside.runs.read_run(row)
    emulator.faults.order(Fault(kind="runs/get", times=1_000, status=503))
    with pytest.raises(TryAgain, match="answered 503"):
        ingest_now(row)
    assert emulator.faults.count("runs/get") == 5 * (1 + RETRIES)
    assert outside.runs.read_run(row) == before
    emulator.faults.forget()
    assert ingest_now(row).published == "published"


@pytest.mark.usefixtures("impatient")
def test_server_that_never_wakes_is_not_waited_for_twice(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    """The two minutes of a cold start (here 5 s) were the wait: the task makes no more of it."""
    emulator, url = stack.enter_context(serve_store(tmp_path / "mlflow.db", [make_run(run_id=RUN)]))
    monkeypatch.setenv(SERVER, url)
    emulator.faults.order(Fault(kind="health", times=1_000, status=503))
    with pytest.raises(TryLater, match="did not wake in 5 s"):
        ingest_now(add_row(outside, RUN))
    assert emulator.faults.count("health") <= 6


@pytest.mark.parametrize("run_id", [RUN, NOWHERE])
def test_address_of_an_info_file_is_never_called(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack, run_id: str
) -> None:
    """A writer into a bucket gets no token, and no call: the run is asked of the configured server alone.

    That is so also where that server does not have it.
    """
    ours, url = stack.enter_context(serve_store(tmp_path / "mlflow.db", [make_run(run_id=RUN)], token="a-token"))
    theirs, foreign_url = stack.enter_context(serve_store(tmp_path / "foreign.db", [make_run(run_id=NOWHERE)]))
    monkeypatch.setenv(SERVER, f"{url}/")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
    row = add_row(outside)
    write_info(outside, row, {"run_id": run_id, "tracking_uri": foreign_url})
    if run_id == RUN:
        assert ingest_now(row).published == "published"
    else:
        with pytest.raises(NotFound, match=f"{foreign_url}, but only the MLflow that"):
            ingest_now(row)
    assert ours.faults.count("runs/get", run_id) == 1
    assert theirs.faults.count() == 0


def test_redirect_takes_no_token_elsewhere(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    """A server that sends us on is not followed."""
    ours, url = stack.enter_context(serve_store(tmp_path / "mlflow.db", [make_run(run_id=RUN)], token="a-token"))
    theirs, foreign_url = stack.enter_context(serve_store(tmp_path / "foreign.db", [make_run(run_id=RUN)]))

    def send_on(kind: str, _query: Any) -> Response | None:
        return Response(status_code=307, headers={"Location": f"{foreign_url}/api/2.0/mlflow/runs/get?run_id={RUN}"})

    ours.replace = send_on
    monkeypatch.setenv(SERVER, url)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
    row = add_row(outside, RUN)
    with pytest.raises(BadSetup, match="answered 307, elsewhere"):
        ingest_now(row)
    assert theirs.faults.count() == 0


def test_without_any_mlflow_named_an_info_file_is_not_followed(
    outside: Outside, tmp_path: Path, stack: ExitStack
) -> None:
    """Its address is no setting: who trusts it names it."""
    theirs, foreign_url = stack.enter_context(serve_store(tmp_path / "foreign.db", [make_run(run_id=RUN)]))
    row = add_row(outside)
    write_info(outside, row, {"run_id": RUN, "tracking_uri": foreign_url})
    with pytest.raises(BadSetup, match=SERVER):
        ingest_now(row)
    assert theirs.faults.count() == 0
    assert outside.runs.read_run(row).mlflow_run_id == RUN


RULES = '[names]\nval_total_loss = "mine"\n'


def named(outside: Outside, quick_test_id: int) -> bool:
    """Whether the series has the name that the rules give it."""
    return "mine" in read_published(outside, quick_test_id)["metrics"]


def take_back(outside: Outside, quick_test_id: int) -> None:
    """As an application does that wants a run published again."""
    statement = "UPDATE quick_tests SET training_history_json = NULL WHERE id = :id"
    run_sql(outside.settings.results_url, statement, id=quick_test_id)


def test_a_series_keeps_the_name_that_rules_once_gave_it(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next publish without rules, by ingest or backfill, keeps it, until `none` is given, which then holds, too."""
    use_store(monkeypatch, tmp_path, make_run(epochs=7, run_id=RUN))
    row = add_row(outside, RUN)
    ingest_now(row, rules=RULES)
    assert named(outside, row)
    assert ingest_now(row).published == "unchanged"
    ingest_now(row, interval=2)
    assert named(outside, row)
    backfill(force=True, interval=3)
    assert named(outside, row)
    take_back(outside, row)
    backfill()
    assert named(outside, row)
    ingest_now(row, rules="none", force=True)
    assert not named(outside, row)
    ingest_now(row, interval=2, force=True)
    backfill(force=True, interval=4)
    assert not named(outside, row)


def test_rules_of_a_training_name_what_it_logged_to_mlflow(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the parameters of its job: the flow that publishes its end finds them.

    A later training's go before those that an earlier one was published by.
    """
    row = add_row(outside, RUN, status="running")
    for attempt, rules, name in ((1, RULES, "mine"), (2, RULES.replace("mine", "other"), "other")):
        claim = Claim(
            quick_test_id=row,
            request_key=f"attempt {attempt}",
            artifacts_uri=to_folder(outside, row),
            parameters={"rules": rules, "interval": 5},
        )
        job = outside.jobs.claim_job(claim, now=NOW).job
        state = JobState.FAILED if attempt == 1 else JobState.SUCCEEDED
        outside.jobs.record_job(job.key, JobNews(state=state, job_name=f"job {attempt}"), now=NOW)
        (tmp_path / str(attempt)).mkdir()
        use_store(monkeypatch, tmp_path / str(attempt), to_tagged(make_run(epochs=7, run_id=RUN), job))
        if attempt == 1:
            reconcile()
        else:
            ingest_now(row)
        assert name in read_published(outside, row)["metrics"], attempt
