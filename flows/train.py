"""Trains one run: submit -> poll -> ingest -> sample -> publish, in one flow, with or without a Prefect server."""

import shlex
from datetime import datetime, timedelta
from typing import Any

import msgspec
from prefect import Flow, flow, get_run_logger, runtime
from prefect.client.schemas.objects import FlowRun, State

from flows.answers.run import RunFailed, RunResult, to_result
from flows.cancel import ask_to_cancel
from flows.parameters import TrainParameters
from flows.signatures import takes
from flows.steps.settling import settle
from flows.steps.waiting import wait_for_end
from switchyard.core.errors import BadRequest, BadSetup, SwitchyardError, TryAgain
from switchyard.core.runs.claims import may_claim_again
from switchyard.core.runs.flags import to_flags
from switchyard.core.runs.jobs import JobOrder, JobState, Reason
from switchyard.core.runs.rows import ClaimedJob, Job, NewRun, QuickTest, RunStatus
from switchyard.core.runs.spec import UNSAID
from switchyard.core.runs.walk import is_doubtful
from tasks.announce import announce_end
from tasks.look import look_at_data
from tasks.poll import cancel_job, find_job
from tasks.runs import claim_job, create_run, end_run, find_claim, read_run, record_job, record_job_end, reopen_job
from tasks.show import name_flow_run, show_history, show_job
from tasks.submit import check_tracking, submit_job
from tasks.turns import is_limited, wait_for_turn


def cancel_waited_job(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect's hook: ends the job when its flow run is cancelled.

    It is not called after a crash: the job goes on, and reconcile publishes it.
    """
    job = find_claim.fn(flow_run.parameters.get("request_key") or str(flow_run.id))
    if job is not None and not job.state.ended:
        ask_to_cancel(read_run.fn(job.quick_test_id), job)


@flow(name="train", on_cancellation=[cancel_waited_job])
@takes(TrainParameters)
def train(wanted: TrainParameters) -> RunResult:
    """Trains the two-tower model, waits for the job, and publishes its history.

    Run again with the same request key, it finds the same run and its job: it continues an interrupted walk where it
    was, and returns the result of a finished one. Killed between two attempts, it goes on with the next one.
    """
    request_key = wanted.request_key or str(runtime.flow_run.id)
    wanted = _decide_refit(wanted, request_key)
    parameters = msgspec.to_builtins(wanted) | {"request_key": request_key}
    _look_once_more(request_key)
    variables = check_tracking() if wanted.tracker != "file" else {}
    if wanted.data_uri:
        _look(wanted, request_key)
    run = _find_run(wanted, request_key, parameters)
    name_flow_run(f"train quick-test-{run.id}")
    claimed = _claim(run, request_key, parameters, wanted)
    job = claimed.job
    while True:
        if not job.job_name and not job.state.ended:
            job = _submit(run, claimed, wanted, variables)
        get_run_logger().info("quick test %d trains in %s", run.id, job.job_name)
        if not wanted.wait:
            return to_result(read_run(run.id))
        if not job.state.ended:
            job = wait_for_end(job, interval_s=wanted.poll_interval_s, deadline=_to_deadline(job, wanted))
        if not may_claim_again(job, attempts=wanted.attempts):
            break
        # Before its end is told: the ingest that the event starts would end the run, and so the next job.
        before, claimed = job, _claim(run, request_key, parameters, wanted)
        job = claimed.job
        if job.key == before.key:
            break  # someone has cancelled the run meanwhile
        get_run_logger().warning("attempt %d ended: %s; attempt %d starts", before.attempt, before.reason, job.attempt)
        announce_end(before)
    run = read_run(run.id)  # the training took a while: anyone may have ended the run meanwhile
    settled = settle(run, job, rules=wanted.rules)
    announce_end(job)
    if settled.history:
        show_history(run.id, settled.history)
    result = to_result(run, settled)
    if result.status is not RunStatus.COMPLETED:
        raise RunFailed(result)
    return result


def _decide_refit(wanted: TrainParameters, request_key: str) -> TrainParameters:
    """Decides what was left open before anything is stored, so that the row says what was trained.

    A request that has its job already keeps what that job was told: it may be from before refits existed.
    """
    if wanted.refit is None and wanted.register_as:
        before = find_claim(request_key)
        if before is not None and before.parameters:
            return msgspec.structs.replace(wanted, refit=bool(before.parameters.get("refit")))
    return msgspec.structs.replace(wanted, refit=wanted.is_refitted)


def _look(wanted: TrainParameters, request_key: str) -> None:
    """Refuses data that cannot be trained on, before a row and a job exist.

    It does not look for a request that has its job: the job says what is wrong, and a finished run's data may be gone.
    """
    if find_claim(request_key) is not None:
        return
    found, is_seen = look_at_data(wanted.to_spec())
    if is_seen:
        get_run_logger().info("the data: %s", found)
    else:
        get_run_logger().warning("the data could not be looked at; the job will: %s", found)


def _find_run(wanted: TrainParameters, request_key: str, parameters: dict[str, Any]) -> QuickTest:
    if wanted.quick_test_id:
        return read_run(wanted.quick_test_id)
    return create_run(
        NewRun(
            request_key=request_key,
            display_name=wanted.name,
            mlflow_experiment_name=wanted.experiment,
            parameters=parameters,
        )
    )


def _claim(run: QuickTest, request_key: str, parameters: dict[str, Any], wanted: TrainParameters) -> ClaimedJob:
    """Returns the request's newest job, or claims the right to create its next one."""
    if is_limited():
        # Before the claim: reconcile ends a claim if its job does not come, and the turn may take longer.
        _take_turn(run, request_key, wanted)
    return claim_job(run.id, request_key, parameters, wanted.machine.image)


def _take_turn(run: QuickTest, request_key: str, wanted: TrainParameters) -> None:
    """Returns when the run's job may be submitted.

    If that can never be, it ends the run: without a claim, nothing else would do that. The same request still submits
    it after a repair.
    """
    try:
        wait_for_turn(request_key, float(wanted.queue_timeout_s), wanted.attempts)
    except TryAgain:
        raise
    except SwitchyardError as err:
        if find_claim(request_key) is None:
            end_run(run.id, RunStatus.FAILED, str(err), 0)
        raise


def _submit(run: QuickTest, claimed: ClaimedJob, wanted: TrainParameters, variables: dict[str, str]) -> Job:
    """Submits the job and returns its row, with the launcher's name for the job.

    If the submission is refused, the run ends until the same request comes again. If it may have been taken (TryAgain,
    or this process is killed), the claim stays: by it the same request or reconcile finds the job.
    """
    job, experiment = claimed.job, wanted.experiment or run.mlflow_experiment_name
    try:
        order = to_order(job, claimed.artifacts_uri, wanted, experiment=experiment)
        report = submit_job(job, msgspec.structs.replace(order, variables=variables))
    except TryAgain:
        raise
    except SwitchyardError as err:
        refusal = to_refusal(err, job)
        record_job_end(job.key, JobState.FAILED, f"{Reason.REFUSED}: {err}")
        end_run(run.id, RunStatus.FAILED, str(refusal), job.attempt)
        raise refusal from err
    recorded = record_job(job.key, report)
    show_job(run.id, report)
    for said, uri in (("its page", report.page_uri), ("its log", report.log_uri)):
        if uri:
            get_run_logger().info("%s: %s", said, uri)
    if not recorded.state.ended or report.state.ended:
        return recorded
    # The claim ended while this submission was under way: it was given up as never created, and goes on; or cancelled.
    if reopen_job(job.key).state.ended:
        cancel_job(report.job_name)
        return recorded
    return record_job(job.key, report)


def to_refusal(err: SwitchyardError, job: Job) -> SwitchyardError:
    """Returns what to raise after the submission of `job` was refused: why, and how to go on after a repair."""
    said = (
        f"{err}. Quick test {job.quick_test_id} has no job. Mend that, then send the same request again: "
        f"switchyard train --request-key {shlex.quote(job.request_key)} with the same flags, or Retry in Prefect"
    )
    return BadRequest(said) if isinstance(err, BadRequest) else BadSetup(said)


def _look_once_more(request_key: str) -> None:
    """Looks for a job of this request that was called gone, or never created, before anything is concluded."""
    job = find_claim(request_key)
    report = find_job(job) if job is not None and is_doubtful(job) else None
    if job is None or report is None:
        return
    if report.problem:
        # Whether it is there cannot be seen: it is neither waited for nor trained a second time.
        raise TryAgain(report.problem)
    if report.reason is not Reason.VANISHED:
        reopen_job(job.key)


def to_order(job: Job, artifacts_uri: str, wanted: TrainParameters, *, experiment: str = "") -> JobOrder:
    """Returns what the launcher is asked to run for `job`."""
    return JobOrder(
        display_name=wanted.name or f"quick test {job.quick_test_id}",
        arguments=[
            f"--artifacts-uri={artifacts_uri}",
            f"--quick-test-id={job.quick_test_id}",
            f"--key={job.key}",
            f"--attempt={job.attempt}",
            f"--name={wanted.name}",
            f"--experiment={experiment}",
            *to_flags(wanted.to_spec(), UNSAID),
        ],
        labels={},  # the task adds them: they name the database
        timeout_s=wanted.timeout_s,
        image=job.image,
        machine=wanted.machine,
        base_output_uri=artifacts_uri if artifacts_uri.startswith("gs://") else "",
    )


def _to_deadline(job: Job, wanted: TrainParameters) -> datetime:
    """Returns when to stop waiting for `job`.

    That is after its time in the queue, its timeout, and ten minutes for its end to show.
    """
    return job.claimed_at + timedelta(seconds=wanted.queue_timeout_s + wanted.timeout_s + 600)
