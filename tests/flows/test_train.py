"""The train flow in Prefect's test harness: real results database, real launcher, real processes."""

from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from flows.answers.run import RunFailed, RunResult
from flows.ingest import ingest
from flows.parameters import TrainParameters
from flows.train import train
from switchyard.clients.connect import Outside
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.results.histories import SqlHistories
from switchyard.clients.results.jobs import SqlJobs
from switchyard.clients.results.runs import SqlRuns
from switchyard.core.errors import BadRequest, BadSetup, JobFailed, NotFound
from switchyard.core.ports import ANY
from switchyard.core.runs.jobs import JobState, Reason
from switchyard.core.runs.machine import MachineSpec
from switchyard.core.runs.rows import Claim, JobNews, NewRun, RunStatus
from switchyard.core.runs.spec import TrainSpec
from tests.flows.polling import wait_for

pytestmark = pytest.mark.usefixtures("prefect_server")


def train_now(**parameters: object) -> RunResult:
    result = train(**{"poll_interval_s": 0.05} | parameters)
    assert isinstance(result, RunResult)
    return result


def _long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


def fail_now(**parameters: object) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        train_now(**parameters)
    return caught.value


def test_train_publishes_what_the_real_trainer_learned(outside: Outside) -> None:
    """From made-up interactions to a published history that readers get, in one flow."""
    result = train_now(
        name="toy", epochs=6, synthetic_buyers=60, synthetic_products=40, synthetic_interactions=1_000, batch_size=64,
        embedding_dim=8, top_k=10,
    )  # fmt: skip
    stored = outside.histories.read_history(result.quick_test_id).history_json
    assert stored is not None
    history = msgspec.json.decode(stored)
    assert (result.status, history["status"], history["epochs"]) == ("completed", "completed", [0, 5])
    assert history["final_metrics"] == result.final_metrics
    assert "test_recall_at_10" in result.final_metrics
    row = outside.runs.read_run(result.quick_test_id)
    assert (row.status, row.display_name, row.parameters["epochs"]) == (RunStatus.COMPLETED, "toy", 6)


def test_train_shows_prefect_artifacts(scripted: Outside) -> None:
    """Prefect's UI gets the sampled epochs, the final metrics, the curves by URL and the link to the page."""
    result = train_now(epochs=11)
    with get_client(sync_client=True) as client:
        newest_last = client.read_artifacts(sort=ArtifactSort.UPDATED_DESC)[::-1]
    artifacts = {artifact.key: artifact for artifact in newest_last}
    prefix = f"quick-test-{result.quick_test_id}"
    rows = msgspec.json.decode(str(artifacts[f"{prefix}-epochs"].data))
    assert [row["epoch"] for row in rows] == [0, 5, 10]
    assert f"{prefix}-final-metrics" in artifacts
    assert artifacts[f"{prefix}-loss-curves"].data == f"{result.url}/loss-curves.png"
    assert result.url in str(artifacts[f"{prefix}-page"].data)


def test_same_request_key_adopts_the_run_and_its_job(scripted: Outside) -> None:
    """Run again with its request key, a finished training answers its result and starts nothing."""
    first, second = (train_now(request_key="once") for _ in range(2))
    assert first.quick_test_id == second.quick_test_id
    assert second.published == "unchanged"
    assert len(list((Path(scripted.settings.state_dir) / "jobs").iterdir())) == 1


def test_sampling_is_a_parameter(scripted: Outside) -> None:
    """The interval asked for is what is published."""
    assert train_now(epochs=9, interval=4).history["epochs"] == [0, 4, 8]


def test_without_waiting_the_run_is_left_submitted(scripted: Outside) -> None:
    """wait=False ends as soon as the job is there, and says under which id."""
    result = train_now(wait=False)
    job = scripted.jobs.read_job(result.quick_test_id)
    assert job is not None
    assert job.job_name
    assert result.status in (RunStatus.SUBMITTED, RunStatus.RUNNING)


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (False, ["claim_job", "record_job", "read_run"]),
        (True, ["claim_job", "record_job", "read_run", "publish"]),
    ],
)
def test_the_row_is_read_again_only_where_another_process_may_have_moved_it(
    scripted: Outside, monkeypatch: pytest.MonkeyPatch, *, wait: bool, expected: list[str]
) -> None:
    """Once the job is submitted, or has ended; never for the folder that the claim has just written."""
    monkeypatch.setenv("LIVE_HISTORY", "no")  # each live publish reads the row too, however many there are
    done: list[str] = []

    def note(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return method(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    note(SqlRuns, "read_run")
    note(SqlJobs, "claim_job")
    note(SqlJobs, "record_job")
    note(SqlHistories, "publish")
    result = train_now(wait=wait)
    # What is recorded while the job runs depends on when it is looked at.
    assert [name for name, _ in groupby(done)] == expected
    assert result.gcs_artifacts_path == scripted.runs.read_run(result.quick_test_id).gcs_artifacts_path != ""


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("exit:3", "failed", "the disk is full"),
        ("leave:nothing", "failed", "left no metrics file"),
        ("leave:partial", "failed", "only partial"),
        ("leave:half", "failed", "training_metrics.json of quick test"),
        ("leave:text", "failed", "training_metrics.json of quick test"),
        ("leave:another", "failed", "it is another run's"),
        ("leave:huge", "failed", "524,288,000"),
    ],
)
def test_what_went_wrong_is_said_by_flow_and_row(scripted: Outside, name: str, status: str, said: str) -> None:
    """Whatever a job leaves that is no complete file of this run: the run has failed, and both say why."""
    failure = fail_now(name=name)
    row = scripted.runs.read_run(failure.result.quick_test_id)
    assert (row.status, failure.result.status) == (status, status)
    assert said in row.error
    assert row.error in str(failure)


def test_bad_data_is_said_in_words_and_publishes_nothing(outside: Outside, tmp_path: Path) -> None:
    """What only the real trainer sees: the reason stands on the row as one sentence, and no empty history is shown."""
    path = tmp_path / "orders.csv"
    path.write_text("customer_id,stock_code,invoice_date\n" + "b,p,2023-11-14\n" * 20)
    failure = fail_now(data_uri=str(path))
    row = outside.runs.read_run(failure.result.quick_test_id)
    ended = (Path(urlsplit(row.gcs_artifacts_path).path) / "ended.json").read_bytes()
    said = msgspec.json.decode(ended)["message"]
    assert "20 rows over 1 instants" in said
    assert row.error.startswith(f"{said}; the training process exited: exit status 1; ")
    assert row.error.count("20 rows over 1 instants") == 1
    assert "before it wrote any metrics" in row.error
    assert "severity" not in row.error
    assert outside.histories.read_history(row.id).history_json is None


def test_data_are_looked_at_before_there_is_a_row(scripted: Outside, tmp_path: Path) -> None:
    """A file that is not there, a wrong column, a Parquet file's too: refused, with neither a row nor a job."""
    path = tmp_path / "orders.csv"
    path.write_text("customer_id,stock_code,invoice_date\nb,p,14.11.2023 22:13\n")
    pa_parquet.write_table(pa.table({"customer_id": ["b"], "stock_code": ["p"]}), tmp_path / "orders.parquet")
    for uri, error, said in (
        (tmp_path / "nothing.parquet", NotFound, "there is nothing at .*nothing.parquet"),
        (path, BadRequest, r"orders\.csv: column 'invoice_date'.*--time-format '%d\.%m\.%Y %H:%M'"),
        (tmp_path / "orders.parquet", BadRequest, r"orders\.parquet: columns 'invoice_date' were expected"),
    ):
        with pytest.raises(error, match=said):
            train_now(data_uri=str(uri))
    assert scripted.runs.list_runs(limit=1) == []
    assert not (Path(scripted.settings.state_dir) / "jobs").exists()


def test_data_that_cannot_be_looked_at_are_the_job_s_to_read(
    scripted: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Access refused to us, which the job may have: the run goes on."""
    path = tmp_path / "orders.csv"
    path.write_text("no such columns")

    def refuse(self: FileObjects, uri: str, *, start: int, length: int) -> bytes:
        raise BadSetup(f"could not read {uri}: expected the permission storage.objects.get")

    # The tests may run as root, whom no file of its own refuses.
    monkeypatch.setattr(FileObjects, "read_range", refuse)
    assert train_now(data_uri=str(path)).status is RunStatus.COMPLETED


def test_a_finished_request_needs_its_data_no_more(scripted: Outside, tmp_path: Path) -> None:
    """The same request key answers its result, though the data are gone."""
    path = tmp_path / "orders.csv"
    path.write_text("customer_id,stock_code,invoice_date\nb,p,2023-11-14\n")
    first = train_now(request_key="once", data_uri=str(path))
    path.unlink()
    assert train_now(request_key="once", data_uri=str(path)).quick_test_id == first.quick_test_id


def test_a_diverged_training_ends_as_failed(outside: Outside) -> None:
    """From the real trainer's numbers that are none to a failed row with the reason; its epochs are published."""
    failure = fail_now(
        epochs=5, synthetic_buyers=60, synthetic_products=40, synthetic_interactions=1_000, batch_size=64,
        embedding_dim=8, top_k=10, temperature=1e-39,
    )  # fmt: skip
    row = outside.runs.read_run(failure.result.quick_test_id)
    assert row.status == RunStatus.FAILED
    assert "at step 1, in epoch 1 of 5, loss was nan" in row.error
    assert failure.result.history["non_finite"]["loss"]["train"] == {"0": "nan", "2": "nan"}
    assert not Path(row.gcs_artifacts_path.removeprefix("file://"), "model").exists()


def test_a_completed_run_whose_file_is_gone_says_so_and_stays(scripted: Outside) -> None:
    """Ingested again without its file, the run keeps its status and history, and its row says what is missing."""
    done = train_now()
    before = scripted.histories.read_history(done.quick_test_id)
    scripted.objects(done.gcs_artifacts_path).delete(
        f"{done.gcs_artifacts_path}/training_metrics.json", if_generation=ANY
    )
    with pytest.raises(NotFound):
        ingest(quick_test_id=done.quick_test_id)
    row = scripted.runs.read_run(done.quick_test_id)
    assert (row.status, scripted.histories.read_history(row.id)) == (RunStatus.COMPLETED, before)
    assert "training_metrics.json" in row.error


def test_partial_history_of_a_failed_job_is_published(scripted: Outside) -> None:
    """A job that fails after two epochs leaves two epochs to read, marked as partial."""
    failure = fail_now(name="exit:1")
    assert failure.result.history["status"] == "partial"
    assert scripted.histories.read_history(failure.result.quick_test_id).history_json is not None


def test_a_refused_file_leaves_the_earlier_history(scripted: Outside) -> None:
    """Attempt 1 published two epochs; attempt 2's unreadable file takes nothing of them away."""
    first = fail_now(name="exit:1").result
    before = scripted.histories.read_history(first.quick_test_id)
    fail_now(name="leave:text", quick_test_id=first.quick_test_id)
    assert scripted.histories.read_history(first.quick_test_id) == before


def test_an_attempt_that_wrote_nothing_is_not_given_the_earlier_ones_file(scripted: Outside) -> None:
    """The file of attempt 1 is still there; attempt 2 succeeded without one, and has failed."""
    first = fail_now(name="exit:1").result
    again = fail_now(name="leave:nothing", quick_test_id=first.quick_test_id)
    assert "left no metrics file" in again.result.error


def test_completed_run_is_not_trained_again(scripted: Outside) -> None:
    """A published run keeps its history: training it once more is refused before any job."""
    done = train_now()
    with pytest.raises(BadRequest, match="completed"):
        train_now(quick_test_id=done.quick_test_id)


def test_unknown_run_is_refused(scripted: Outside) -> None:
    """An id that is no row's is an error, not a new row."""
    with pytest.raises(NotFound, match="4711"):
        train_now(quick_test_id=4711)


@pytest.mark.parametrize("settled", [False, True])
def test_killed_between_two_attempts_the_same_request_goes_on(scripted: Outside, settled: bool) -> None:
    """The same request makes the second job, and no third.

    The first job's end was recorded, and perhaps published by reconcile, before the flow was killed.
    """
    parameters = {"request_key": "once", "attempts": 2}
    run = scripted.runs.create_run(NewRun(request_key="once", parameters=parameters), now=_long_ago())
    folder = f"{scripted.settings.artifacts_uri}/quick_tests/{run.id}"
    claim = Claim(quick_test_id=run.id, request_key="once", artifacts_uri=folder, parameters=parameters)
    first = scripted.jobs.claim_job(claim, now=_long_ago()).job
    preempted = JobNews(state=JobState.FAILED, job_name="jobs/1", reason=f"{Reason.PREEMPTED}: its words")
    scripted.jobs.record_job(first.key, preempted, now=_long_ago())
    if settled:
        scripted.runs.end_run(run.id, RunStatus.FAILED, error="preempted", now=_long_ago())
    for _ in range(2):
        result = train_now(request_key="once", attempts=2)
        assert (result.quick_test_id, result.status) == (run.id, RunStatus.COMPLETED)
    job = scripted.jobs.read_job(run.id)
    assert job is not None
    assert (job.attempt, job.request_key, job.state) == (2, "once", JobState.SUCCEEDED)


def test_attempts_without_waiting_are_refused() -> None:
    """No one would start the next one: said before anything is started or paid for."""
    with pytest.raises(BadRequest, match="attempts above 1 needs wait"):
        train.fn(attempts=2, wait=False)


def test_waiting_ends_at_its_deadline_and_the_job_goes_on(scripted: Outside, tmp_path: Path) -> None:
    """Past its deadline the flow fails and says what holds; the job is left to run."""
    gate = tmp_path / "gate"
    new = scripted.runs.create_run(NewRun(request_key="slow"), now=_long_ago())
    parameters = msgspec.to_builtins(TrainParameters()) | {"request_key": "slow"}
    scripted.jobs.claim_job(
        Claim(
            quick_test_id=new.id, request_key="slow", artifacts_uri=(tmp_path / "run").as_uri(), parameters=parameters
        ),
        now=_long_ago(),
    )
    slow: dict[str, Any] = {
        "request_key": "slow", "name": f"hold:{gate}", "timeout_s": 600, "queue_timeout_s": 0,
    }  # fmt: skip
    train_now(**slow, wait=False)
    job = scripted.jobs.read_job(new.id)
    assert job is not None
    wait_for(lambda: scripted.launcher.report([job.job_name])[job.job_name].state is JobState.RUNNING)
    with pytest.raises(JobFailed, match=r"still running.*It goes on, and reconcile publishes its end"):
        train_now(**slow)
    gate.touch()
    wait_for(lambda: scripted.launcher.report([job.job_name])[job.job_name].state is JobState.SUCCEEDED)


def test_the_form_has_every_setting_of_the_training() -> None:
    """Prefect's form shows each field of TrainSpec with its default, description and limits."""
    schema = train.parameters.model_dump_for_openapi()["properties"]
    left_open = {"refit": None}  # decided by register_as, tests/flows/test_refit.py
    for field in msgspec.structs.fields(TrainSpec):
        assert schema[field.name]["default"] == left_open.get(field.name, field.default), field.name
        assert schema[field.name]["description"], field.name
    assert (schema["epochs"]["minimum"], schema["epochs"]["maximum"]) == (1, 100_000)
    assert schema["optimizer"]["enum"] == ["adagrad", "adam"]
    assert schema["machine"]["default"] == msgspec.to_builtins(MachineSpec())
    assert schema["machine"]["properties"]["machine_type"]["description"]


def test_the_machine_is_stored_with_the_run(scripted: Outside) -> None:
    """Some fields in the form: the row tells them all; a job on this machine has no image."""
    result = train_now(machine={"machine_type": "n1-highmem-8"})
    row = scripted.runs.read_run(result.quick_test_id)
    assert row.parameters["machine"] == msgspec.to_builtins(MachineSpec(machine_type="n1-highmem-8"))
    job = scripted.jobs.read_job(result.quick_test_id)
    assert job is not None
    assert job.image == ""


def test_several_machines_are_refused() -> None:
    """The trainer cannot share its work yet: said before anything is started or paid for."""
    with pytest.raises(BadRequest, match="replica_count must be 1"):
        train.fn(machine={"replica_count": 2})
