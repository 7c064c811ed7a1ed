"""Sweep: trains many runs that differ in some parameters, at most N at once, and says which is best.

Each trial is a run that `train` makes, found again by a key of its own. switchyard/core/sweeps/trials.py decides, from
what is stored: killed anywhere, the same sweep goes on.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
from prefect import Flow, flow, get_run_logger, runtime
from prefect.client.schemas.objects import FlowRun, State

from flows.answers.sweep import SweepFailed, SweepResult, to_result
from flows.cancel import ask_to_cancel
from flows.progress.bars import Bar
from flows.signatures import takes, to_parameters
from flows.steps.settling import Settled, settle
from flows.steps.waiting import record_end
from flows.sweep_parameters import TRIALS, SweepParameters
from flows.train import train
from switchyard.core.errors import BadSetup, SwitchyardError, TryAgain, catch, to_message
from switchyard.core.runs.claims import may_claim_again
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.pacing import Look
from switchyard.core.runs.rows import Job, RunStatus
from switchyard.core.runs.walk import Action, Graces, next_action
from switchyard.core.sweeps.plan import SweepPlan, count_trials
from switchyard.core.sweeps.trials import (
    Trial,
    TrialEnd,
    TrialState,
    choose_best,
    choose_next,
    judge,
    to_pruned_reason,
    to_request_key,
)
from switchyard.core.sweeps.watched import Watched
from tasks.announce import announce_end
from tasks.runs import find_claim, read_run, record_error, record_job, record_job_end
from tasks.show import name_flow_run
from tasks.sweeps import (
    ask_trial,
    begin_sweep,
    check_sweep,
    hold_sweep,
    list_trials,
    note_trial_run,
    read_trial_curve,
    report_trial,
    show_trials,
    tell_trial,
    watch_trials,
)

WATCH_S: Final = 60.0
"""One watch takes so long at most: between two it is made sure that no other process does the sweep."""
PATIENCE_S: Final = 600.0
"""What refuses to start a trial now, and may not later, is outlasted for so long."""
_PAUSE_S: Final = 5.0
_ENDS_S: Final = 600
"""Seconds for a job's end to show, after its timeout."""


def cancel_trials(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect's hook: ends the jobs of a sweep's trials when its flow run is cancelled.

    It is not called after a crash: the jobs go on, and the same sweep finds them.
    """
    wanted = to_parameters(flow_run.parameters, SweepParameters)
    for job in find_going(wanted.name or to_name(str(flow_run.id)), wanted):
        ask_to_cancel(read_run.fn(job.quick_test_id), job)


@flow(name="sweep", on_cancellation=[cancel_trials])
@takes(SweepParameters)
def sweep(wanted: SweepParameters) -> SweepResult:
    """Trains the trials of a search, and says which one is best by its metric on validation data.

    Run again under the same name, it goes on where it was: a trial that has a run keeps it, and its parameters.
    """
    name = wanted.name or to_name(str(runtime.flow_run.id))
    name_flow_run(f"sweep {name}")
    check_sweep(prune=wanted.prune)
    plan = wanted.to_plan()
    total = count_trials(plan, wanted.trials, TRIALS)
    with hold_sweep(name) as check_held:
        walk = _Walk(name, wanted, plan, begin_sweep(name, plan))
        while True:
            check_held()
            trials = list_trials(name)
            walk.say(trials, total)
            step = choose_next(trials, going=walk.going, wanted=total, at_once=wanted.at_once)
            if step.is_done:
                break
            for trial in [trials[number] for number in step.start] or [ask_trial(name) for _ in range(step.ask)]:
                walk.start(trial)
            if not step.start and not step.ask:
                walk.wait()
    result = to_result(name, wanted.experiment or name, plan, trials)
    show_trials(result.trials)
    if result.best is None:
        raise SweepFailed(result)
    return result


def to_name(flow_run_id: str) -> str:
    """Returns the name of a sweep that was given none: the same whenever its flow run is retried."""
    return f"sweep-{flow_run_id[:8]}"


def find_going(name: str, wanted: SweepParameters) -> list[Job]:
    """Finds the jobs of the sweep's trials that have not ended.

    It calls the tasks' functions plainly, because it is also called outside of any flow run.
    """
    sweep_id = begin_sweep.fn(name, wanted.to_plan())
    open_ = [trial for trial in list_trials.fn(name) if trial.state is TrialState.OPEN]
    jobs = [find_claim.fn(to_request_key(sweep_id, trial.number)) for trial in open_]
    return [job for job in jobs if job is not None and not job.state.ended]


class _Walk:
    """One process's walk over a sweep. It remembers only what it has going: all else is stored."""

    def __init__(self, name: str, wanted: SweepParameters, plan: SweepPlan, sweep_id: str) -> None:
        self.going: dict[int, Watched] = {}
        self._name = name
        self._wanted = wanted
        self._plan = plan
        self._id = sweep_id
        self._pruned: dict[int, int] = {}
        self._refused_s: float | None = None  # since when nothing could be started
        self._said: tuple[int, int | None] = (-1, None)

    def start(self, trial: Trial) -> None:
        """Makes sure that the trial's run has, or had, its job; a second call finds it again."""
        key = to_request_key(self._id, trial.number)
        try:
            parameters = self._wanted.to_train(self._name, trial.number, trial.params, key)
        except msgspec.ValidationError as err:  # each value may be had, and these do not go together
            self._tell(trial.number, TrialEnd(state=TrialState.FAILED, said=str(err)))
            return
        job = find_claim(key)
        if job is None or not (job.job_name or job.state.ended) or may_claim_again(job):
            submitted = catch(partial(train, **msgspec.to_builtins(parameters)))
            if isinstance(submitted, TryAgain):
                self._outlast(submitted)
                return
            if isinstance(submitted, Exception):
                raise submitted
            job = find_claim(key)
            assert job is not None
        self._refused_s = None
        note_trial_run(self._name, trial.number, job.quick_test_id)
        self.going[trial.number] = Watched(job=job)
        if trial.pruned_at is not None:
            self._prune(trial.number, job, trial.pruned_at)
        if job.state.ended:  # while no one looked
            self._end(trial.number, job)

    def wait(self) -> None:
        """Waits until there is news of a trial at work, and does what follows from it."""
        numbers, now = list(self.going), datetime.now(UTC)
        newest = max(one.job.claimed_at for one in self.going.values())
        look = Look(
            interval_s=self._wanted.poll_interval_s, waited_s=max(0.0, (now - newest).total_seconds()), for_s=WATCH_S
        )
        metric = self._plan.metric if self._wanted.prune else ""
        for number, one in zip(numbers, watch_trials(list(self.going.values()), look, metric), strict=True):
            self._follow(number, one)

    def say(self, trials: list[Trial], total: int) -> None:
        """Says how many trials have ended, and which is best, if that is news."""
        ended = sum(trial.state is not TrialState.OPEN for trial in trials)
        best = choose_best(trials, self._plan.direction)
        if self._said == (ended, best.number if best else None):
            return
        self._said = (ended, best.number if best else None)
        detail = f"best {self._plan.metric} {best.value:.6g}: trial {best.number}" if best else ""
        bar = Bar(label="sweep", unit="trials", done=ended, total=total, detail=detail)
        get_run_logger().info("%s", bar, extra=bar.extra)

    def _follow(self, number: int, one: Watched) -> None:
        self.going[number] = one
        if one.curve is not None:
            pruned_at = report_trial(self._name, number, one.curve.values, self._wanted.prune)
            if pruned_at is not None and number not in self._pruned:
                self._prune(number, one.job, pruned_at)
        found = one.report or one.missing
        if found is None:
            return
        deadline = one.job.claimed_at + timedelta(
            seconds=self._wanted.queue_timeout_s + self._wanted.timeout_s + _ENDS_S
        )
        step = next_action(
            RunStatus.RUNNING,
            one.job,
            found,
            published=False,
            now=datetime.now(UTC),
            graces=Graces(),
            deadline=deadline,
        )
        match step.action:
            case Action.INGEST if (
                one.report is not None and number in self._pruned and step.state is JobState.CANCELLED
            ):
                # The reason stays with the job: what settles its run writes it on the row.
                reason = to_pruned_reason(self._pruned[number], self._plan.metric)
                self._end(number, record_job_end(one.job.key, JobState.CANCELLED, reason))
            case Action.INGEST:
                self._end(number, record_end(one.job, one.report, step))
            case Action.RECORD if one.report is not None:
                job = record_job(one.job.key, one.report)
                self.going[number] = msgspec.structs.replace(one, job=job)
            case Action.GIVE_UP:
                self._ask_to_cancel(one.job)
                self._tell(number, TrialEnd(state=TrialState.FAILED, said="its job did not end within its time"))
            case _:  # it is at work, or not seen for a moment
                return

    def _prune(self, number: int, job: Job, pruned_at: int) -> None:
        self._pruned[number] = pruned_at
        get_run_logger().info("trial %d, quick test %d, is pruned at epoch %d", number, job.quick_test_id, pruned_at)
        self._ask_to_cancel(job)

    def _ask_to_cancel(self, job: Job) -> None:
        asked = catch(lambda: ask_to_cancel(read_run(job.quick_test_id), job))
        if isinstance(asked, Exception):  # it ends by itself, later
            get_run_logger().warning("quick test %d is not cancelled: %s", job.quick_test_id, to_message(asked))

    def _end(self, number: int, job: Job) -> None:
        """Publishes what the trial's run left, judges it, and ends the trial. A second call finds all of it done."""
        metric, direction = self._plan.metric, self._plan.direction
        pruned_at = self._pruned.get(number)
        settled = catch(lambda: settle(read_run(job.quick_test_id), job, rules=self._wanted.rules))
        if isinstance(settled, Settled):
            curve = read_trial_curve(job.quick_test_id, metric)
            end = judge(
                settled.status,
                error=settled.error,
                curve=curve,
                metric=metric,
                direction=direction,
                pruned_at=pruned_at,
            ) or TrialEnd(state=TrialState.FAILED, said=f"its run is {settled.status}")
            if end.state is TrialState.PRUNED and end.said not in settled.error and pruned_at is not None:
                # Another one recorded the job's end first, by the launcher's words.
                record_error(job.quick_test_id, to_pruned_reason(pruned_at, metric))
            report_trial(self._name, number, curve.values, False)
        elif isinstance(settled, SwitchyardError) and not isinstance(settled, TryAgain | BadSetup):
            end = TrialEnd(state=TrialState.FAILED, said=to_message(settled))
        else:
            raise settled
        announce_end(job)
        self._tell(number, end)

    def _tell(self, number: int, end: TrialEnd) -> None:
        tell_trial(self._name, number, end)
        self.going.pop(number, None)
        if end.state is TrialState.FAILED:
            get_run_logger().warning("trial %d has failed: %s", number, end.said)

    def _outlast(self, err: TryAgain) -> None:
        """Raises: TryAgain: `err`, if nothing could be started for too long."""
        now_s = time.monotonic()
        self._refused_s = now_s if self._refused_s is None else self._refused_s
        if now_s - self._refused_s >= PATIENCE_S:
            raise err
        get_run_logger().warning("a trial could not be started, and is tried again: %s", err)
        time.sleep(_PAUSE_S)
