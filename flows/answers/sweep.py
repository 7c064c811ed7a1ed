"""What the sweep answers: its trials, the best one, and where they are compared."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from switchyard.core.comparison.compared import MAX_RUNS
from switchyard.core.comparison.fields import Field
from switchyard.core.errors import JobFailed
from switchyard.core.sweeps.plan import SweepPlan
from switchyard.core.sweeps.trials import Trial, TrialState, rank
from tasks.pages import to_address


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep as it stands after the flow."""

    name: str
    experiment: str
    method: str
    metric: str
    direction: str
    counts: dict[str, int]  # of trials, by state
    best: dict[str, Any] | None  # as in `trials`; None: no trial has completed
    trials: list[dict[str, Any]]  # the completed ones first, the best of them in front; then by number
    compare_url: str  # the page that compares the best ones; empty: none has completed
    runs_url: str  # the list of all its runs, in the order of the metric


class SweepFailed(JobFailed):
    """Every trial has ended, and none of them has a value; `result` says why."""

    def __init__(self, result: SweepResult) -> None:
        self.result = result
        reasons = list(dict.fromkeys(trial["said"] for trial in result.trials if trial["said"]))
        super().__init__(
            f"sweep {result.name!r} has no completed trial: {result.counts}. Why they ended: {'; '.join(reasons[:3])}"
        )


def to_result(name: str, experiment: str, plan: SweepPlan, trials: Sequence[Trial]) -> SweepResult:
    """Returns the answer of a sweep after all its trials have ended."""
    ranked = rank(trials, plan.direction)
    others = [trial for trial in trials if trial not in ranked]
    rows = [_to_row(trial) for trial in (*ranked, *others)]
    ids = ",".join(str(trial.quick_test_id) for trial in ranked[:MAX_RUNS])
    way = "asc" if plan.direction == "min" else "desc"
    order = f"{Field('best', plan.metric)} {way}"
    return SweepResult(
        name=name,
        experiment=experiment,
        method=plan.method,
        metric=plan.metric,
        direction=plan.direction,
        counts={str(state): count for state in TrialState if (count := sum(trial.state is state for trial in trials))},
        best=rows[0] if ranked else None,
        trials=rows,
        compare_url=to_address(f"/compare?ids={ids}") if ranked else "",
        runs_url=to_address(f"/quick-tests/?{urlencode({'experiment': experiment, 'order_by': order})}"),
    )


def _to_row(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "quick_test_id": trial.quick_test_id,
        "state": str(trial.state),
        "value": trial.value,
        "params": trial.params,
        "said": trial.said,
    }
