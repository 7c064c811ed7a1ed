"""A sweep's trials: each task is one transaction of their storage, or one watch over all jobs at work."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from switchyard.clients.connect import connect
from switchyard.core.errors import BadRequest, BadSetup
from switchyard.core.runs.pacing import ON_THIS_MACHINE, ON_VERTEX, Look, Pace
from switchyard.core.sweeps.plan import SweepPlan
from switchyard.core.sweeps.trials import Curve, Trial, TrialEnd
from switchyard.core.sweeps.watched import Watched
from switchyard.services.sweeping import TrialsWatch
from tasks.policy import effect


@contextmanager
def hold_sweep(name: str) -> Iterator[Callable[[], None]]:
    """Within the block no other process does this sweep; what is yielded raises TryLater when that is no longer sure.

    It is not a task: it lasts as long as the flow run.
    """
    with connect().hold_sweep(name) as check:
        yield check


def check_sweep(*, prune: bool) -> None:
    """Raises: BadRequest, BadSetup: what these settings cannot do, before anything is stored."""
    settings = connect().settings
    if settings.results_table:
        raise BadRequest(
            f"a sweep makes the rows of its runs, and {settings.results_table} (RESULTS_TABLE) is your application's. "
            "Run it with another RESULTS_URL, and no RESULTS_TABLE"
        )
    if prune and not settings.publishes_live:
        raise BadSetup(
            "trials are pruned by their live histories, and LIVE_HISTORY is no. Set it to yes, or add --no-prune"
        )


@effect
def begin_sweep(name: str, plan: SweepPlan) -> str:
    """Returns the sweep's own id, made by the first call."""
    return connect().trials(name).begin(plan)


@effect
def list_trials(name: str) -> list[Trial]:
    """Lists all trials, by number."""
    return connect().trials(name).list_trials()


@partial(effect, retries=0)  # a trial that is there though its answer was lost is found by the next look
def ask_trial(name: str) -> Trial:
    """Returns the next trial, with its parameters."""
    return connect().trials(name).ask()


@effect
def note_trial_run(name: str, number: int, quick_test_id: int) -> None:
    """Writes which run is the trial's."""
    connect().trials(name).note_run(number, quick_test_id)


@effect
def report_trial(name: str, number: int, values: Mapping[int, float], prune: bool) -> int | None:
    """Stores what is new of `values`; returns the epoch at which to prune the trial, or None."""
    return connect().trials(name).report(number, values, prune=prune)


@effect
def tell_trial(name: str, number: int, end: TrialEnd) -> None:
    """Ends the trial."""
    connect().trials(name).tell(number, end)


@effect
def read_trial_curve(quick_test_id: int, metric: str) -> Curve:
    """Reads the metric's curve in the run's published history."""
    return TrialsWatch(connect(), metric=metric, say=get_run_logger().warning).read_curve(quick_test_id)


@partial(effect, retries=0)  # a launcher that is away is outlasted within
def watch_trials(watched: Sequence[Watched], look: Look, metric: str) -> list[Watched]:
    """Returns what is known of each job as soon as there is news of one, or after `look.for_s` seconds."""
    outside = connect()
    pace = Pace(floor_s=look.interval_s, cap_s=look.interval_s)
    if not look.interval_s:
        pace = ON_VERTEX if outside.settings.training_backend == "vertex" else ON_THIS_MACHINE
    return TrialsWatch(outside, metric=metric, say=get_run_logger().warning).watch(watched, pace, look)


def show_trials(rows: list[dict[str, object]]) -> None:
    """Shows the trials as an artifact in Prefect's UI."""
    create_table_artifact(table=rows, key="sweep", description="the sweep's trials, the best first")
