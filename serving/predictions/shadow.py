"""Asks a challenger without a share what it would have answered, after the champion has answered; keeps only sums.

One thread does it, and skips requests that it cannot keep up with, so no caller ever waits for it. It shares the
process's cores with the answers.
"""

import logging
import threading
import time
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, Summary

from serving.predictions.answering import Answered, Prediction
from serving.predictions.buffer import Buffer
from serving.predictions.counts import BUCKETS
from serving.predictions.state import Loaded, State
from switchyard.core.errors import catch, to_message
from switchyard.core.predictions.answers import Recommendation
from switchyard.core.predictions.arms import to_drift, to_overlap
from switchyard.core.predictions.requests import PredictRequest

STOP_S: Final = 5.0
WAITING: Final = 1_000
"""Buyers."""
OVERLAPS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

_log = logging.getLogger("switchyard.predictions")


class Shadowed(msgspec.Struct, frozen=True, gc=False):
    """One buyer's answer that the challenger's is compared with."""

    buyer_id: str
    request: PredictRequest
    said: Prediction
    challenger: Loaded


class Shadow:
    """Compares, in one thread, the challenger with the answers that other threads note."""

    def __init__(self, registry: CollectorRegistry, *, waiting: int = WAITING) -> None:
        self._waiting: Buffer[Shadowed] = Buffer(waiting)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._stopping = threading.Event()
        self._problem = ""
        labels = ["model", "version"]
        self._overlap = Histogram(
            "switchyard_shadow_overlap",
            "Part of the champion's products that the challenger in the shadow recommends too",
            labels,
            buckets=OVERLAPS,
            registry=registry,
        )
        self._drift = Summary(
            "switchyard_shadow_score_drift",
            "Mean score of the challenger's list minus that of the champion's",
            labels,
            registry=registry,
        )
        self._seconds = Histogram(
            "switchyard_shadow_duration_seconds",
            "Time that the challenger takes for one buyer",
            labels,
            buckets=BUCKETS,
            registry=registry,
        )
        self._errors = Counter("switchyard_shadow_errors", "Buyers that it failed for", labels, registry=registry)
        self._dropped = Counter(
            "switchyard_shadow_dropped", "Buyers that it skipped, because too many were waiting", registry=registry
        )

    def note(self, request: PredictRequest, state: State, answered: Answered, seconds: float) -> None:
        """Notes an answer, if there is a challenger in the shadow."""
        challenger = state.challenger
        if challenger is None or challenger.recommender is None or state.share > 0:
            return
        pairs = zip(request.buyer_ids, answered.predictions, strict=True)
        dropped = self._waiting.put([Shadowed(buyer_id, request, said, challenger) for buyer_id, said in pairs])
        if dropped:
            self._dropped.inc(dropped)

    def start(self) -> None:
        """Starts asking the challenger."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and drops what is waiting. A second call does nothing."""
        self._stopping.set()
        self._waiting.close()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set() and (noted := self._waiting.take(1)):
            self._compare(noted[0])

    def _compare(self, noted: Shadowed) -> None:
        challenger, request = noted.challenger, noted.request
        recommender = challenger.recommender
        assert recommender is not None  # `note` takes no others
        labels = challenger.name, str(challenger.version)
        began = time.perf_counter()
        found = catch(
            lambda: recommender.recommend(
                noted.buyer_id, request.k, only=request.only, without_bought=request.without_bought
            )
        )
        if not isinstance(found, Recommendation):
            self._errors.labels(*labels).inc()
            self._report(found)
            return
        self._seconds.labels(*labels).observe(time.perf_counter() - began)
        self._overlap.labels(*labels).observe(to_overlap(noted.said.product_ids, found.product_ids))
        self._drift.labels(*labels).observe(to_drift(noted.said.scores, found.scores))

    def _report(self, err: Exception) -> None:
        """Logs each new problem once, not for each buyer."""
        said = to_message(err)
        if said != self._problem:
            _log.error("the challenger in the shadow fails: %s", said)
            self._problem = said
