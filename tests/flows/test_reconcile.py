"""The reconcile flow against everything that can be left behind; real results database, real launcher."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import switchyard.clients.connect
from flows.cancel import cancel
from flows.ingest import ingest
from flows.parameters import TrainParameters
from flows.reconcile import ReconcileResult, RepairsFailed, reconcile
from flows.steps.finding import Found, find_metrics
from flows.train import to_order
from switchyard.clients.connect import Outside
from switchyard.clients.launchers.local.job_folder import Exit, JobFolder
from switchyard.core.errors import NotFound, to_message
from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import Kind
from switchyard.core.predictions.rows import NewFeedback, Prediction
from switchyard.core.runs.jobs import JobReport, JobState, to_labels
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.missing import LOOKS
from switchyard.core.runs.rows import Claim, Job, JobNews, NewRun, QuickTest, RunStatus
from tests.clients.launchers.local.strange_files import STRANGE
from tests.clients.results.places import run_sql
from tests.flows.polling import wait_for

pytestmark = pytest.mark.usefixtures("prefect_server")

NOW = datetime.now(UTC)


def reconcile_now(**parameters: object) -> ReconcileResult:
    result = reconcile(**parameters)
    assert isinstance(result, ReconcileResult)
    return result


def reconcile_until_gone(**parameters: object) -> ReconcileResult:
    """As many turns in a row as call a missing job gone, without the minute that lies between them; the last one's."""
    turns = [reconcile_now(missing_grace_s=0, **parameters) for _ in range(LOOKS)]
    return next(turn for turn in turns if not turn.missed)


def claim(outside: Outside, name: str, *, age: timedelta = timedelta(0)) -> Job:
    """A run whose job is claimed, `age` ago, and not submitted."""
    run = outside.runs.create_run(NewRun(request_key=name, display_name=name), now=NOW)
    return outside.jobs.claim_job(
        Claim(
            quick_test_id=run.id,
            request_key=name,
            artifacts_uri=f"{outside.settings.artifacts_uri}/quick_tests/{run.id}",
            parameters={"interval": 2},
        ),
        now=datetime.now(UTC) - age,
    ).job


def submit(outside: Outside, job: Job, name: str, *, key: str = "") -> JobReport:
    """The job at the launcher; our row knows nothing of it yet."""
    folder = outside.runs.read_run(job.quick_test_id).gcs_artifacts_path
    order = to_order(job, folder, TrainParameters(name=name, epochs=3))
    labels = to_labels(outside.runs.read_database_id(), job.quick_test_id, job.attempt)
    return outside.launcher.submit(key or job.key, msgspec.structs.replace(order, labels=labels))


def state_of(outside: Outside, report: JobReport) -> JobState:
    return outside.launcher.report([report.job_name])[report.job_name].state


def ended(outside: Outside, name: str) -> tuple[Job, JobReport]:
    """A run whose job has ended while no one looked."""
    job = claim(outside, name)
    report = submit(outside, job, name)
    wait_for(lambda: state_of(outside, report).ended)
    return job, report


def read_status(outside: Outside, job: Job) -> RunStatus:
    return outside.runs.read_run(job.quick_test_id).status


def test_a_job_that_ended_unseen_is_published(scripted: Outside) -> None:
    """Submitted, killed before a name was written, succeeded: adopted, published as asked, announced once."""
    job, _ = ended(scripted, "works")
    assert reconcile_now().settled == [job.quick_test_id]
    assert read_status(scripted, job) is RunStatus.COMPLETED
    stored = scripted.histories.read_history(job.quick_test_id).history_json
    assert stored is not None
    assert msgspec.json.decode(stored)["epochs"] == [0, 2]
    recorded = scripted.jobs.read_job(job.quick_test_id)
    assert recorded is not None
    assert recorded.ended_event_at is not None
    assert reconcile_now().looked_at == 0


def test_the_event_s_ingest_comes_first(scripted: Outside) -> None:
    """With a grace the end is announced and left alone; once the grace is over it is published here."""
    job, _ = ended(scripted, "works")
    assert reconcile_now(grace_s=3600).announced == [job.quick_test_id]
    waited = reconcile_now(grace_s=3600)
    assert (waited.announced, waited.settled) == ([], [])
    assert reconcile_now(grace_s=0).settled == [job.quick_test_id]


def test_a_running_orphan_is_adopted(scripted: Outside, tmp_path: Path) -> None:
    """A job at work whose name we never wrote down: recorded, the run is running, the job goes on."""
    job = claim(scripted, "orphan")
    report = submit(scripted, job, f"hold:{tmp_path / 'gate'}")
    wait_for(lambda: state_of(scripted, report) is JobState.RUNNING)
    assert reconcile_now().recorded == [job.quick_test_id]
    assert read_status(scripted, job) is RunStatus.RUNNING
    (tmp_path / "gate").touch()


def test_a_claim_without_a_job_ends_after_its_grace(scripted: Outside) -> None:
    """Killed between claim and create: left alone while a submit may be under way, then failed as never created."""
    job = claim(scripted, "lost", age=timedelta(minutes=5))
    assert reconcile_now().settled == []
    assert reconcile_until_gone(claim_grace_s=60).settled == [job.quick_test_id]
    run = scripted.runs.read_run(job.quick_test_id)
    assert run.status is RunStatus.FAILED
    assert "interrupted before a job was created" in run.error


def test_a_job_that_vanished_fails_its_run(scripted: Outside) -> None:
    """The launcher's folder of a recorded job was deleted: several turns must miss it, for a minute."""
    job, report = ended(scripted, "works")
    scripted.jobs.record_job(job.key, JobNews(state=JobState.RUNNING, job_name=report.job_name), now=NOW)
    shutil.rmtree(report.job_name)
    shutil.rmtree(Path(scripted.settings.state_dir) / "artifacts")
    assert reconcile_now().missed == [job.quick_test_id]
    assert read_status(scripted, job) is RunStatus.RUNNING
    assert scripted.ledger.read_ledger("repair") == []  # a look in vain is no attempt at a repair
    reconcile_until_gone()
    run = scripted.runs.read_run(job.quick_test_id)
    assert run.status is RunStatus.FAILED
    assert "gone from the place it ran in" in run.error


def test_a_late_job_of_a_cancelled_run_is_cancelled(scripted: Outside, tmp_path: Path) -> None:
    """Cancelled before it was created, and then a slow submission made the job after all: it must not run on."""
    job = claim(scripted, "late")
    cancel(quick_test_id=job.quick_test_id)
    reconcile_now()  # tells the claim's end
    report = submit(scripted, job, f"hold:{tmp_path / 'never'}")
    assert reconcile_now().cancelled == [report.job_name]
    wait_for(lambda: state_of(scripted, report) is JobState.CANCELLED)


def test_a_claim_given_up_too_early_goes_on_with_its_job(scripted: Outside, tmp_path: Path) -> None:
    """Given up as never created, and then a slow submission made the job after all: it is paid for, and kept."""
    job = claim(scripted, "late", age=timedelta(hours=1))
    reconcile_until_gone()
    assert read_status(scripted, job) is RunStatus.FAILED
    report = submit(scripted, job, f"hold:{tmp_path / 'gate'}")
    wait_for(lambda: state_of(scripted, report) is JobState.RUNNING)
    turn = reconcile_now()
    assert (turn.reopened, turn.cancelled) == ([job.quick_test_id], [])
    run = scripted.runs.read_run(job.quick_test_id)
    assert (run.status, run.error) == (RunStatus.RUNNING, "")
    (tmp_path / "gate").touch()
    wait_for(lambda: state_of(scripted, report) is JobState.SUCCEEDED)
    assert reconcile_now().settled == [job.quick_test_id]
    assert read_status(scripted, job) is RunStatus.COMPLETED


def test_a_claim_given_up_is_ended_where_a_newer_attempt_is_at_work(scripted: Outside, tmp_path: Path) -> None:
    """Of two jobs of one run the older is then the stray."""
    job = claim(scripted, "late", age=timedelta(hours=1))
    reconcile_until_gone()
    again = Claim(quick_test_id=job.quick_test_id, request_key="again", artifacts_uri="")
    newer = scripted.jobs.claim_job(again, now=datetime.now(UTC)).job
    stray = submit(scripted, job, f"hold:{tmp_path / 'never'}")
    submit(scripted, newer, f"hold:{tmp_path / 'never'}")
    turn = reconcile_now()
    assert (turn.reopened, turn.cancelled) == ([], [stray.job_name])
    cancel(quick_test_id=job.quick_test_id, wait_s=30)


def hide(outside: Outside, report: JobReport) -> Path:
    """The job's folder as if it were gone; returns where it is meanwhile."""
    kept = Path(outside.settings.state_dir) / "hidden"
    Path(report.job_name).rename(kept)
    return kept


def test_one_look_in_vain_ends_nothing(scripted: Outside, tmp_path: Path) -> None:
    """No list and no GET shows a healthy job for one turn: it is neither ended nor cancelled.

    Its look is forgotten once it is seen.
    """
    job = claim(scripted, "healthy")
    report = submit(scripted, job, f"hold:{tmp_path / 'gate'}")
    wait_for(lambda: state_of(scripted, report) is JobState.RUNNING)
    reconcile_now()
    for _ in range(3):  # never several in a row
        kept = hide(scripted, report)
        assert reconcile_now(missing_grace_s=0).missed == [job.quick_test_id]
        kept.rename(report.job_name)
        turn = reconcile_now(missing_grace_s=0)
        assert (turn.missed, turn.cancelled, turn.settled) == ([], [], [])
    assert read_status(scripted, job) is RunStatus.RUNNING
    (tmp_path / "gate").touch()
    wait_for(lambda: state_of(scripted, report) is JobState.SUCCEEDED)


def test_ingest_s_one_look_in_vain_ends_nothing(scripted: Outside, tmp_path: Path) -> None:
    """What is written so far is published, and the job stays at work."""
    job = claim(scripted, "healthy")
    report = submit(scripted, job, f"hold:{tmp_path / 'gate'}")
    wait_for(lambda: state_of(scripted, report) is JobState.RUNNING)
    wait_for(lambda: scripted.launcher.report([report.job_name])[report.job_name].progress)
    reconcile_now()
    kept = hide(scripted, report)
    ingest(quick_test_id=job.quick_test_id)
    assert read_status(scripted, job) is RunStatus.RUNNING
    kept.rename(report.job_name)
    (tmp_path / "gate").touch()
    wait_for(lambda: state_of(scripted, report) is JobState.SUCCEEDED)
    assert reconcile_now().settled == [job.quick_test_id]
    assert read_status(scripted, job) is RunStatus.COMPLETED


def test_a_job_called_gone_that_has_succeeded_is_published(
    scripted: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was away for many turns, and ended meanwhile: the second thought, a minute later, finds and publishes it."""
    job, report = ended(scripted, "works")
    scripted.jobs.record_job(job.key, JobNews(state=JobState.RUNNING, job_name=report.job_name), now=NOW)
    kept = hide(scripted, report)
    artifacts = Path(scripted.settings.state_dir) / "artifacts"
    artifacts.rename(tmp_path / "artifacts")
    reconcile_until_gone()
    assert read_status(scripted, job) is RunStatus.FAILED
    kept.rename(report.job_name)
    (tmp_path / "artifacts").rename(artifacts)
    assert reconcile_now().reopened == []  # the second thought is not due yet
    monkeypatch.setattr("flows.reconcile.is_second_thought_due", lambda line, *, now: line.state == "gone")
    assert reconcile_now().reopened == [job.quick_test_id]
    assert reconcile_now().settled == [job.quick_test_id]
    run = scripted.runs.read_run(job.quick_test_id)
    assert (run.status, run.error) == (RunStatus.COMPLETED, "")
    assert reconcile_now().looked_at == 0


def test_a_run_that_its_owner_ended_has_its_job_cancelled(scripted: Outside, tmp_path: Path) -> None:
    """A row that is ended while its job runs has the job ended too."""
    job = claim(scripted, "ended by hand")
    report = submit(scripted, job, f"hold:{tmp_path / 'never'}")
    wait_for(lambda: state_of(scripted, report) is JobState.RUNNING)
    reconcile_now()
    scripted.runs.end_run(job.quick_test_id, RunStatus.CANCELLED, error="not needed", now=NOW)
    assert report.job_name in reconcile_now().cancelled
    wait_for(lambda: state_of(scripted, report).ended)
    reconcile_now()
    assert read_status(scripted, job) is RunStatus.CANCELLED


def test_a_run_that_is_trained_again_meanwhile_is_left_to_its_new_job(
    scripted: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what attempt 1 left and its end, someone claims attempt 2: its job is not cancelled."""
    job = claim(scripted, "lost", age=timedelta(minutes=20))
    told = scripted.jobs.record_job(job.key, JobNews(state=JobState.FAILED, reason="exit status 9"), now=NOW)
    again: list[Job] = []

    def find_and_train_again(run: QuickTest, job: Job | None, **how: Any) -> Found:
        again.append(
            scripted.jobs.claim_job(Claim(quick_test_id=run.id, request_key="again", artifacts_uri="x"), now=NOW).job
        )
        return find_metrics(run, job, **how)

    # Only between these two lines can the claim come too late for one and too early for the other.
    with monkeypatch.context() as patched:
        patched.setattr("flows.steps.settling.find_metrics", find_and_train_again)
        assert reconcile_now().settled == [job.quick_test_id]
    assert (told.attempt, again[0].attempt) == (1, 2)
    assert read_status(scripted, job) is RunStatus.SUBMITTED
    report = submit(scripted, again[0], "works")
    wait_for(lambda: state_of(scripted, report).ended)
    turn = reconcile_now()
    assert (turn.settled, turn.cancelled) == ([job.quick_test_id], [])
    assert read_status(scripted, job) is RunStatus.COMPLETED


def test_one_bad_run_does_not_stop_the_others(scripted: Outside) -> None:
    """A completed row whose file cannot be read backs off, is in the ledger, and fails the flow; the other is done."""
    bad, _ = ended(scripted, "first")
    scripted.runs.end_run(bad.quick_test_id, RunStatus.COMPLETED, error="", now=NOW)
    (Path(scripted.settings.state_dir) / "artifacts" / "quick_tests" / "1" / "training_metrics.json").write_text("{}")
    good, _ = ended(scripted, "second")
    with pytest.raises(RepairsFailed, match="1 of 2 runs"):
        reconcile_now()
    assert read_status(scripted, good) is RunStatus.COMPLETED
    assert scripted.histories.read_history(good.quick_test_id).history_json is not None
    [line, repaired] = scripted.ledger.read_ledger("repair")
    assert (repaired.quick_test_id, repaired.state, repaired.attempts) == (good.quick_test_id, "done", 0)
    assert repaired.next_try_at is None
    assert (line.quick_test_id, line.state, line.attempts) == (bad.quick_test_id, "failed", 1)
    assert line.next_try_at is not None
    assert line.next_try_at > datetime.now(UTC)
    assert reconcile_now().looked_at == 0


def test_a_completed_run_without_a_history_is_published(scripted: Outside) -> None:
    """Its history was deleted, or it was completed by another application: what its job left is published."""
    job, _ = ended(scripted, "works")
    scripted.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    scripted.runs.end_run(job.quick_test_id, RunStatus.COMPLETED, error="", now=NOW)
    assert scripted.histories.read_history(job.quick_test_id).history_json is None
    assert reconcile_now().settled == [job.quick_test_id]
    assert scripted.histories.read_history(job.quick_test_id).history_json is not None


def test_a_job_that_cannot_be_looked_at_backs_off_and_is_repaired_later(
    scripted: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is concluded about its run; all others are repaired meanwhile."""
    unseen, _ = ended(scripted, "works")
    seen, _ = ended(scripted, "works too")
    real = JobFolder.read_exit

    def fail(job: JobFolder) -> Exit | None:
        if job.key == unseen.key:
            raise PermissionError(13, "Permission denied")
        return real(job)

    report = submit(scripted, unseen, "works")
    scripted.jobs.record_job(
        unseen.key, JobNews(state=JobState.RUNNING, job_name=report.job_name), now=datetime.now(UTC)
    )
    with monkeypatch.context() as broken:  # root, as which tests may run, may read everything
        broken.setattr(JobFolder, "read_exit", fail)
        scripted.launcher._ended.clear()  # type: ignore[attr-defined]
        with pytest.raises(RepairsFailed, match="Permission denied") as failed:
            reconcile_now()
    assert failed.value.result.settled == [seen.quick_test_id]
    assert list(failed.value.result.failed) == [unseen.quick_test_id]
    (line,) = [line for line in scripted.ledger.read_ledger("repair") if line.quick_test_id == unseen.quick_test_id]
    assert "Permission denied" in line.error
    assert read_status(scripted, unseen) is RunStatus.RUNNING
    scripted.ledger.write_ledger(msgspec.structs.replace(line, next_try_at=NOW))
    assert reconcile_now().settled == [unseen.quick_test_id]


@pytest.mark.parametrize("strange", ["a folder", "a looping link", "a fifo", "deep json"])
def test_a_damaged_job_folder_fails_its_own_run_only(scripted: Outside, strange: str) -> None:
    """In place of the record of its end: the other run is published, and this one's row says what to do."""
    damaged, report = ended(scripted, "works")
    other, _ = ended(scripted, "works too")
    scripted.jobs.record_job(
        damaged.key, JobNews(state=JobState.RUNNING, job_name=report.job_name), now=datetime.now(UTC)
    )
    record = Path(report.job_name) / "exit.json"
    record.unlink()
    STRANGE[strange](record)
    scripted.launcher._ended.clear()  # type: ignore[attr-defined]
    reconcile_now()
    assert read_status(scripted, other) is RunStatus.COMPLETED
    assert scripted.jobs.read_job(damaged.quick_test_id).state is JobState.FAILED  # type: ignore[union-attr]


def write_beside(outside: Outside, job: Job, name: str, data: str) -> None:
    (Path(outside.settings.state_dir) / "artifacts" / "quick_tests" / str(job.quick_test_id) / name).write_text(data)


def damage(outside: Outside, kind: str, job: Job) -> None:
    """Leaves something of the run of `job` that no one can read."""
    deep = '{"run_id": ' + "[" * 1_000 + "]" * 1_000 + "}"
    match kind:
        case "deep mlflow_info.json":
            write_beside(outside, job, "mlflow_info.json", deep)
            write_beside(outside, job, "training_metrics.json", "{}")
            outside.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
            outside.runs.end_run(job.quick_test_id, RunStatus.COMPLETED, error="", now=NOW)
        case "time":
            run_sql(outside.settings.results_url, "UPDATE quick_tests SET created_at = 'noon' WHERE id = 1")
        case "row" | "job":
            table, id_ = {"row": ("quick_tests", "id"), "job": ("switchyard_jobs", "quick_test_id")}[kind]
            run_sql(outside.settings.results_url, f"UPDATE {table} SET parameters = '{{\"a\": NaN}}' WHERE {id_} = 1")
        case parameters:
            run_sql(outside.settings.results_url, "UPDATE switchyard_jobs SET parameters = :bad", bad=parameters)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("deep mlflow_info.json", "must be"),
        ("row", "parameters must be a JSON object"),
        ("job", "parameters must be a JSON object"),
        ("time", "cannot be read; ValueError"),
        ('{"interval": "5"}', 'an `interval` that is an integer of at least 1.*got interval the text "5"'),
        ('{"interval": 0}', "an `interval` that is an integer of at least 1"),
        ('{"interval": 1e300}', "an `interval` that is an integer of at least 1"),
    ],
)
def test_what_is_wrong_with_one_run_is_that_run_s_alone(scripted: Outside, kind: str, said: str) -> None:
    """Whatever its row, its job's row or its files hold: it has a ledger line and backs off, and the next is done."""
    bad, _ = ended(scripted, "first")
    damage(scripted, kind, bad)
    good, _ = ended(scripted, "second")
    with pytest.raises(RepairsFailed, match=f"1 of 2 runs.*{said}"):
        reconcile_now()
    assert scripted.histories.read_history(good.quick_test_id).history_json is not None
    [line, _] = scripted.ledger.read_ledger("repair")
    assert (line.quick_test_id, line.state, line.attempts) == (bad.quick_test_id, "failed", 1)
    assert line.next_try_at is not None
    assert reconcile_now().looked_at == 0


class Broken:
    """A port of which some methods raise what no one has thought of, for one run."""

    def __init__(self, port: Any, *methods: str, of: str, raises: Exception) -> None:
        self._port, self._methods, self._of, self._raises = port, methods, of, raises

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if name in self._methods and args and str(args[0]) == self._of:
                raise self._raises
            return method(*args, **kwargs)

        return call


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), KeyError("x"), OSError(5, "Input/output")])
def test_an_error_of_any_class_is_one_run_s(
    scripted: Outside, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its class and words are in the ledger, and where it was raised is in the log."""
    bad, _ = ended(scripted, "first")
    good, _ = ended(scripted, "second")
    runs: Any = Broken(scripted.runs, "read_run", of=str(bad.quick_test_id), raises=error)
    ports = replace(switchyard.clients.connect._open_results(scripted.settings), runs=runs)
    monkeypatch.setattr(switchyard.clients.connect, "_open_results", lambda settings: ports)
    with pytest.raises(RepairsFailed) as raised:
        reconcile_now()
    assert raised.value.result.settled == [good.quick_test_id]
    assert raised.value.result.failed == {bad.quick_test_id: to_message(error)}
    [line, _] = scripted.ledger.read_ledger("repair")
    assert line.error.startswith(type(error).__name__)
    said = f"quick test {bad.quick_test_id} could not be repaired: {to_message(error)}"
    logged = [record.exc_info for record in caplog.records if record.getMessage() == said]
    assert {found[1] for found in logged if found} == {error}


def test_one_stray_that_cannot_be_ended_hides_no_other(
    scripted: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two late jobs of cancelled runs the launcher refuses to cancel one; the other is cancelled.

    The turn says which one is left.
    """
    jobs = [claim(scripted, f"late {number}") for number in range(2)]
    for job in jobs:
        cancel(quick_test_id=job.quick_test_id)
    reconcile_now()  # tells the claims' ends
    first, second = (submit(scripted, job, f"hold:{tmp_path / 'never'}") for job in jobs)
    launcher = Broken(scripted.launcher, "cancel", of=first.job_name, raises=PermissionError(13, "not yours"))
    with monkeypatch.context() as patch:
        patch.setattr(switchyard.clients.connect, "_launcher", lambda settings: launcher)
        with pytest.raises(RepairsFailed, match=r"1 jobs of other runs could not be .*not yours") as raised:
            reconcile_now()
    assert raised.value.result.cancelled == [second.job_name]
    assert list(raised.value.result.failed_jobs) == [first.job_name]
    assert reconcile_now().cancelled == [first.job_name]
    wait_for(lambda: state_of(scripted, first).ended and state_of(scripted, second).ended)


def test_a_second_thought_that_fails_hides_no_other(scripted: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs that were given up have ended well since: of one the row cannot be read, the other is reopened.

    The one that failed is thought of again later, as if it had been looked for in vain.
    """
    jobs = [claim(scripted, f"late {number}", age=timedelta(hours=1)) for number in range(2)]
    reconcile_until_gone()
    reports = [submit(scripted, job, "works") for job in jobs]
    wait_for(lambda: all(state_of(scripted, report) is JobState.SUCCEEDED for report in reports))
    first, second = (job.quick_test_id for job in jobs)
    [before] = [line for line in scripted.ledger.read_ledger("missing") if line.quick_test_id == first]
    port: Any = Broken(scripted.jobs, "read_job", of=str(first), raises=RecursionError("deep"))
    ports = replace(switchyard.clients.connect._open_results(scripted.settings), jobs=port)
    with monkeypatch.context() as patch:
        patch.setattr("flows.reconcile.is_second_thought_due", lambda line, *, now: line.state == "gone")
        patch.setattr(switchyard.clients.connect, "_open_results", lambda settings: ports)
        with pytest.raises(RepairsFailed, match=rf"the job of quick test {first}: RecursionError: deep") as raised:
            reconcile_now()
    assert raised.value.result.reopened == [second]
    assert raised.value.result.failed_jobs == {f"the job of quick test {first}": "RecursionError: deep"}
    [after] = [line for line in scripted.ledger.read_ledger("missing") if line.quick_test_id == first]
    assert (after.state, after.attempts, after.updated_at) == ("gone", before.attempts + 1, before.updated_at)


def test_a_look_that_failed_is_neither_seen_nor_missed(
    scripted: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What earlier looks wrote of the job stays as it was."""
    job = claim(scripted, "unseen")
    report = submit(scripted, job, f"hold:{tmp_path / 'gate'}")
    wait_for(lambda: state_of(scripted, report) is JobState.RUNNING)
    reconcile_now()
    kept = hide(scripted, report)
    assert reconcile_now(missing_grace_s=0).missed == [job.quick_test_id]
    kept.rename(report.job_name)
    missed = scripted.ledger.read_ledger("missing")

    def fail(folder: JobFolder) -> Exit | None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as broken:  # root, as which tests may run, may read everything
        broken.setattr(JobFolder, "read_exit", fail)
        with pytest.raises(RepairsFailed, match="Permission denied") as failed:
            reconcile_now(missing_grace_s=0)
    assert (failed.value.result.missed, failed.value.result.cancelled) == ([], [])
    assert scripted.ledger.read_ledger("missing") == missed
    (tmp_path / "gate").touch()
    wait_for(lambda: state_of(scripted, report) is JobState.SUCCEEDED)


def test_only_what_is_repaired_has_its_attempt_written(scripted: Outside, tmp_path: Path) -> None:
    """A job at work, of which nothing is new, costs no write, however often it is looked at."""
    job = claim(scripted, "at work")
    report = submit(scripted, job, f"hold:{tmp_path / 'gate'}")
    wait_for(lambda: state_of(scripted, report) is JobState.RUNNING)
    assert reconcile_now().recorded == [job.quick_test_id]
    [line] = scripted.ledger.read_ledger("repair")
    assert (line.state, line.attempts, line.next_try_at) == ("done", 0, None)
    assert reconcile_now().looked_at == 1
    assert scripted.ledger.read_ledger("repair") == [line]
    (tmp_path / "gate").touch()


def test_old_jobs_of_settled_runs_are_pruned(scripted: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """After JOB_FOLDERS_DAYS, and never one that is unsettled, or that no row has; the published run stays."""
    settled, settled_job = ended(scripted, "works")
    backing_off, unsettled_job = ended(scripted, "works too")
    stray = submit(scripted, settled, "works", key="of-no-row")
    wait_for(lambda: state_of(scripted, stray).ended)
    old = datetime.now(UTC) - timedelta(days=91)
    scripted.ledger.write_ledger(
        LedgerLine(
            kind="repair",
            quick_test_id=backing_off.quick_test_id,
            state="failed",
            attempts=9,
            next_try_at=datetime.now(UTC) + timedelta(days=1),
            updated_at=NOW,
        )
    )
    assert reconcile_now().settled == [settled.quick_test_id]
    for job in (settled_job, unsettled_job, stray):
        record = Path(job.job_name) / "exit.json"
        end = msgspec.json.decode(record.read_bytes(), type=Exit)
        record.write_bytes(msgspec.json.encode(msgspec.structs.replace(end, ended_at=old)))
        os.utime(job.job_name, (old.timestamp(), old.timestamp()))
    monkeypatch.setenv("JOB_FOLDERS_DAYS", "0")
    assert reconcile_now().pruned == 0
    monkeypatch.setenv("JOB_FOLDERS_DAYS", "90")
    assert reconcile_now().pruned == 1
    assert [Path(job.job_name).exists() for job in (settled_job, unsettled_job, stray)] == [False, True, True]
    assert reconcile_now().pruned == 0
    assert read_status(scripted, settled) is RunStatus.COMPLETED


def test_old_predictions_and_feedback_are_pruned(scripted: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """After PREDICTIONS_DAYS and FEEDBACK_DAYS; 0 is for ever."""
    now = datetime.now(UTC)
    for days, id_ in ((31, "old"), (29, "young")):
        predicted = Prediction(
            id=id_,
            at=now - timedelta(days=days),
            model="shop",
            version=1,
            digest="sha256:a",
            arm=Arm.CHAMPION,
            product_ids=(),
            latency_ms=1.0,
        )
        scripted.predictions.record([predicted])
        said = NewFeedback(idempotency_key=id_, body_digest="", prediction_id=id_, kind=Kind.CLICK)
        scripted.predictions.give(said, now=now - timedelta(days=days))
    monkeypatch.setenv("PREDICTIONS_DAYS", "0")
    assert reconcile_now().pruned_predictions == 0
    monkeypatch.setenv("PREDICTIONS_DAYS", "30")
    monkeypatch.setenv("FEEDBACK_DAYS", "30")
    result = reconcile_now()
    assert (result.pruned_predictions, result.pruned_feedback) == (1, 1)
    assert scripted.predictions.read_prediction("young").id == "young"
    with pytest.raises(NotFound):
        scripted.predictions.read_prediction("old")


def test_a_turn_that_came_to_its_end_says_so(scripted: Outside) -> None:
    """Also one in which a repair failed; how long ago it was is the lag of reconcile."""
    assert scripted.ledger.read_pulse().reconciled_at is None
    began = datetime.now(UTC)
    reconcile_now()
    first = scripted.ledger.read_pulse().reconciled_at
    assert first is not None
    assert began <= first
    reconcile_now()
    second = scripted.ledger.read_pulse().reconciled_at
    assert second is not None
    assert second > first
