"""Sends a share of the buyers to the challenger; if it fails, the champion answers.

A challenger that fails too often is stopped: here at once, and on all servers by setting its share to 0.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from math import isfinite
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from serving.predictions.answering import Answered, ModelBlock, Prediction, answer, ask, to_block
from serving.predictions.state import Loaded, State
from switchyard.core.errors import NotFound, StaleWrite, SwitchyardError, catch, to_message
from switchyard.core.ports import Models
from switchyard.core.predictions.arms import WINDOW_CALLS, Arm, Split, choose_arm, find_reason_to_stop, to_salt
from switchyard.core.predictions.requests import PredictRequest
from switchyard.core.registry.rows import ShareChange

BY: Final = "switchyard predict"
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)

_log = logging.getLogger("switchyard.predictions")


class Router:
    """Chooses the model for each buyer, and remembers the challenger's latest failures. Thread-safe."""

    def __init__(
        self, models: Callable[[], Models], read_state: Callable[[], State], registry: CollectorRegistry
    ) -> None:
        self._models, self._read_state = models, read_state
        self._lock = threading.Lock()
        self._of: object = None  # the challenger and share that `_failed` is about
        self._failed: deque[bool] = deque(maxlen=WINDOW_CALLS)
        self._stopped: object = None  # the same, with the revision at which it was stopped
        self._ending = threading.Event()
        labels = ["model", "version"]
        self._errors = Counter(
            "switchyard_challenger_errors",
            "Answers that the challenger failed to give, and the champion gave instead",
            labels,
            registry=registry,
        )
        self._stops = Counter(
            "switchyard_challenger_stops", "Challengers whose share was set to 0 for failing", labels, registry=registry
        )

    def answer(self, request: PredictRequest, state: State) -> Answered:
        """Returns the predictions for all buyers of `request`, each from the model that answers that buyer.

        Raises: as `answering.answer` for the champion. A challenger's failure is never the caller's problem."""
        champion, challenger = state.champion, self.choose_challenger(state)
        if champion is None or challenger is None:
            return answer(request, state)
        salt = to_salt(challenger.version, challenger.digest)
        split = Split(model=champion.name, salt=salt, share=state.share)
        predictions = [
            self._ask_challenger(state, champion, challenger, request, buyer_id)
            if choose_arm(split, buyer_id) is Arm.CHALLENGER
            else ask(champion, Arm.CHAMPION, request, buyer_id)
            for buyer_id in request.buyer_ids
        ]
        return Answered(predictions=predictions, model=_choose_block(state, champion, challenger, predictions))

    def choose_challenger(self, state: State) -> Loaded | None:
        """Returns the challenger that answers buyers; None: there is none, it has no share, or it was stopped."""
        if state.challenger is None or state.challenger.recommender is None or state.share <= 0:
            return None
        with self._lock:
            return None if self._stopped == (_to_subject(state), state.revision) else state.challenger

    def stop(self) -> None:
        """Ends all waiting for the registry. A second call does nothing."""
        self._ending.set()

    def _ask_challenger(
        self, state: State, champion: Loaded, challenger: Loaded, request: PredictRequest, buyer_id: str
    ) -> Prediction:
        try:
            prediction = ask(challenger, Arm.CHALLENGER, request, buyer_id)
            _check(prediction)
        except Exception as err:  # noqa: BLE001 - whatever a challenger raises, the buyer is answered
            # If the champion refuses too, the request is wrong, and the error is raised here.
            fallen_back = ask(champion, Arm.CHALLENGER, request, buyer_id, fallback=True)
            self._add(state, err)
            return fallen_back
        self._add(state, None)
        return prediction

    def _add(self, state: State, err: Exception | None) -> None:
        """Counts an answer, and stops the challenger if this is one error too many."""
        challenger = state.challenger
        assert challenger is not None
        with self._lock:
            if self._of != _to_subject(state):
                self._of = _to_subject(state)
                self._failed.clear()
            self._failed.append(err is not None)
            reason = find_reason_to_stop(len(self._failed), sum(self._failed))
            if reason:
                self._stopped = (_to_subject(state), state.revision)
                self._failed.clear()  # a new share begins a new record
        if err is not None:
            self._errors.labels(challenger.name, str(challenger.version)).inc()
        if reason:
            said = f"{reason}. The last: {to_message(err)}" if err else reason
            _log.error("version %d of model %s is stopped: %s", challenger.version, challenger.name, said)
            arguments = (state, challenger, said)
            threading.Thread(target=self._take_share, args=arguments, name="stopping", daemon=True).start()

    def _take_share(self, state: State, challenger: Loaded, reason: str) -> None:
        """Sets the share to 0 for all servers; several servers doing so at once leave one line in the history.

        It tries until it is done, the share was changed, or another version is the challenger."""
        wanted = ShareChange(
            name=challenger.name,
            version=challenger.version,
            share=0.0,
            by=BY,
            reason=reason,
            request_key=f"stopped:{challenger.version}:{state.revision}",
        )
        tries = 0
        while _to_subject(self._read_state()) == _to_subject(state):
            err = catch(lambda: self._models().share(wanted))
            if not isinstance(err, Exception):
                self._stops.labels(challenger.name, str(challenger.version)).inc()
                return
            if isinstance(err, StaleWrite | NotFound):  # it is not the challenger any more
                return
            if tries == 0 or not isinstance(err, SwitchyardError):
                _log.error("its share cannot be set to 0; it gets no requests here: %s", to_message(err))
            if self._ending.wait(PAUSES_S[min(tries, len(PAUSES_S) - 1)]):
                return
            tries += 1


def _to_subject(state: State) -> tuple[object, float]:
    """Returns what a challenger's record is about; another version or another share begins a new record."""
    return state.challenger and state.challenger.identity, state.share


def _check(prediction: Prediction) -> None:
    """Raises: ValueError: a score is not finite, so the prediction cannot be sent."""
    if not all(map(isfinite, prediction.scores)):
        raise ValueError("the challenger's scores must be finite numbers")


def _choose_block(state: State, champion: Loaded, challenger: Loaded, predictions: list[Prediction]) -> ModelBlock:
    """Returns the block of the model that answered all predictions; of the champion if both answered."""
    said = {(one.version, one.arm, one.fallback) for one in predictions}
    if len(said) > 1:
        return to_block(champion, Arm.CHAMPION, state.tried)
    ((version, arm, fallback),) = said
    return to_block(challenger if version == challenger.version else champion, arm, state.tried, fallback=fallback)
