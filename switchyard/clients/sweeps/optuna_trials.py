"""Keeps trials in Optuna's storage: what TPE draws next, and what the median pruner ends. Optuna's types stop here.

Every write is one transaction of Optuna's, and each reads what is there before: a process may be killed between any
two.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import msgspec
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState
from sqlalchemy import exc

from switchyard.clients.sweeps.places import Place
from switchyard.core.errors import BadSetup, NotFound, TryAgain
from switchyard.core.sweeps.plan import SweepPlan, check_same, choose_params, to_trial_seed
from switchyard.core.sweeps.space import Choices, Dimension, Params
from switchyard.core.sweeps.trials import Trial, TrialEnd, TrialState

FIRST_TRIALS: Final = 10
"""Trials that TPE draws by chance before it looks at how trials ended; Optuna's own default."""
COMPLETED_BEFORE: Final = 5
"""Trials that must have completed before one is pruned; Optuna's own default."""
_ID, _PLAN = "switchyard_id", "switchyard_plan"
_RUN, _PRUNED_AT, _SAID = "quick_test_id", "pruned_at", "said"
_STATES: Final[Mapping[OptunaState, TrialState]] = {
    OptunaState.RUNNING: TrialState.OPEN,
    OptunaState.WAITING: TrialState.OPEN,
    OptunaState.COMPLETE: TrialState.COMPLETED,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
_TOLD: Final = {ours: theirs for theirs, ours in _STATES.items() if theirs.is_finished()}


class OptunaTrials:
    """The trials of the sweep `name`; implements `Trials`."""

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self._name = name
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        place.prepare()
        # Two who make the tables at once would be in each other's way.
        with self._translated(), place.hold("tables", wait=True):
            self._storage = _open(place)

    def begin(self, plan: SweepPlan) -> str:
        """See the port."""
        with self._translated():
            study = optuna.create_study(
                storage=self._storage,
                study_name=self._name,
                direction="maximize" if plan.direction == "max" else "minimize",
                load_if_exists=True,
            )
            if _PLAN not in study.user_attrs:
                study.set_user_attr(_ID, uuid4().hex[:16])
                # Last: a study without it has no trial yet.
                study.set_user_attr(_PLAN, msgspec.to_builtins(plan))
            found = study.user_attrs
        check_same(msgspec.convert(found[_PLAN], SweepPlan), plan, self._name)
        return str(found[_ID])

    def list_trials(self) -> list[Trial]:
        """See the port."""
        with self._translated():
            return [_to_trial(one) for one in self._study().get_trials(deepcopy=False)]

    def ask(self) -> Trial:
        """See the port."""
        with self._translated():
            study = self._study()
            plan = msgspec.convert(study.user_attrs[_PLAN], SweepPlan)
            number = len(study.get_trials(deepcopy=False))
            distributions = {name: _to_distribution(plan.space[name]) for name in sorted(plan.space)}
            params = choose_params(plan, number) or _ask_tpe(study, plan, number, distributions)
            # All of it in one transaction: a trial without its parameters never is.
            study.add_trial(create_trial(state=OptunaState.RUNNING, params=params, distributions=distributions))
            return _to_trial(study.get_trials(deepcopy=False)[number])

    def note_run(self, number: int, quick_test_id: int) -> None:
        """See the port."""
        with self._translated():
            self._note(self._find(number), _RUN, quick_test_id)

    def report(self, number: int, values: Mapping[int, float], *, prune: bool) -> int | None:
        """See the port."""
        with self._translated():
            study, trial = self._study(), self._find(number)
            if trial.state.is_finished() or _PRUNED_AT in trial.user_attrs:
                pruned_at: int | None = trial.user_attrs.get(_PRUNED_AT)
                return pruned_at
            last = trial.last_step if trial.last_step is not None else -1
            pruner = optuna.pruners.MedianPruner(n_startup_trials=COMPLETED_BEFORE)
            # The newest again: killed before it was judged, it would never be.
            for epoch in sorted(epoch for epoch in values if epoch >= last):
                self._storage.set_trial_intermediate_value(trial._trial_id, epoch, values[epoch])
                if prune and pruner.prune(study, self._find(number)):
                    self._note(trial, _PRUNED_AT, epoch)
                    return epoch
        return None

    def tell(self, number: int, end: TrialEnd) -> None:
        """See the port."""
        with self._translated():
            trial = self._find(number)
            if trial.state.is_finished():
                return
            if end.said:
                self._note(trial, _SAID, end.said)
            values = [end.value] if end.value is not None else None
            # Not Study.tell: of a trial that was pruned it makes the last value its own.
            self._storage.set_trial_state_values(trial._trial_id, _TOLD[end.state], values)

    def close(self) -> None:
        """See the port."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _study(self) -> Study:
        return optuna.load_study(study_name=self._name, storage=self._storage)

    def _find(self, number: int) -> FrozenTrial:
        trials = self._study().get_trials(deepcopy=False)
        if not 0 <= number < len(trials):
            raise NotFound(f"sweep {self._name!r} has no trial {number}: it has {len(trials)}")
        return trials[number]

    def _note(self, trial: FrozenTrial, key: str, value: Any) -> None:
        if not trial.state.is_finished() and trial.user_attrs.get(key) != value:
            self._storage.set_trial_user_attr(trial._trial_id, key, value)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exc.DBAPIError, optuna.exceptions.StorageInternalError) as err:
            cause = err.__cause__ if isinstance(err, optuna.exceptions.StorageInternalError) else err
            said = str(getattr(cause, "orig", None) or cause or err)
            raise TryAgain(f"{self._place.where} did not do what it was asked: {said}") from err


def _open(place: Place) -> RDBStorage:
    """Opens the storage. Raises: BadSetup: it is of another release of Optuna."""
    url = place.url.render_as_string(hide_password=False)
    try:
        return RDBStorage(url, engine_kwargs=place.engine_arguments())
    except RuntimeError as err:  # as optuna/storages/_rdb/storage.py has it, 5.0.0: of its schema's version alone
        raise BadSetup(
            f"{place.where} was made by another release of Optuna than {optuna.__version__}: install that one, or name "
            "another storage (SWEEP_STORAGE_URL)"
        ) from err


def _ask_tpe(study: Study, plan: SweepPlan, number: int, distributions: dict[str, BaseDistribution]) -> Params:
    """Returns what TPE draws after the trials of `study`, in memory: nothing of it is stored.

    Open trials count as bad ones (constant liar), so that those at work at once differ.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=to_trial_seed(plan, number), n_startup_trials=FIRST_TRIALS)
    thought = optuna.create_study(direction=study.direction, sampler=sampler)
    thought.add_trials(study.get_trials(deepcopy=False))
    return dict(thought.ask(fixed_distributions=distributions).params)


def _to_distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    low, high, log = dimension.low, dimension.high, dimension.log
    if isinstance(low, int) and isinstance(high, int) and isinstance(dimension.step, int):
        return IntDistribution(low, high, log=log, step=dimension.step or 1)
    return FloatDistribution(float(low), float(high), log=log, step=float(dimension.step) or None)


def _to_trial(found: FrozenTrial) -> Trial:
    state = _STATES[found.state]
    return Trial(
        number=found.number,
        params=dict(found.params),
        state=state,
        quick_test_id=found.user_attrs.get(_RUN, 0),
        value=found.value if state is TrialState.COMPLETED else None,
        pruned_at=found.user_attrs.get(_PRUNED_AT),
        said=found.user_attrs.get(_SAID, ""),
    )
