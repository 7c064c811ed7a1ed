"""Writes predictions after they are answered, in batches: a database that fails costs rows, never an answer.

A row is written about `GATHER_S` seconds after its answer. A server that is stopped writes the waiting rows first; if
it is killed, they are lost.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.predictions import answering
from serving.predictions.buffer import Buffer
from serving.predictions.state import State
from switchyard.clients.postgres.deadlines import waiting_at_most
from switchyard.core.errors import BadRecord, SwitchyardError, catch, to_message
from switchyard.core.ports import Predictions
from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import hash_buyer
from switchyard.core.predictions.requests import PredictRequest, RowsRequest
from switchyard.core.predictions.rows import Prediction

WAITING: Final = 20_000
"""The most predictions that wait in this process: about 20 MB with 20 products each."""
BATCH: Final = 500
GATHER_S: Final = 0.25
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0)
"""The pauses between tries while the database does not answer; the last one is repeated."""
DATABASE_S: Final = 5.0
STOP_S: Final = 5.0

_log = logging.getLogger("switchyard.predictions")


class Noted(msgspec.Struct, frozen=True, gc=False):
    """A prediction that was sent and waits to be written."""

    buyer_id: str
    said: answering.Prediction | answering.RowPrediction
    at: datetime
    latency_ms: float


class Recorder(Collector):
    """Writes, in one thread, the predictions that other threads note."""

    def __init__(
        self, predictions: Callable[[], Predictions], buyer_key: bytes, *, waiting: int = WAITING, batch: int = BATCH
    ) -> None:
        self._predictions, self._key, self._batch = predictions, buyer_key, batch
        self._waiting: Buffer[Noted] = Buffer(waiting, wake_at=batch)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)
        self._problem = ""
        self.written = 0
        self.dropped = 0

    def note(
        self,
        request: PredictRequest | RowsRequest,
        state: State,
        answered: answering.Answered | answering.RowsAnswered,
        seconds: float,
    ) -> None:
        """Notes an answer; a prediction that there is no room for is counted and dropped.

        The content of rows is not kept."""
        at, latency_ms = datetime.now(UTC), 1000 * seconds / len(answered.predictions)
        predictions: Sequence[answering.Prediction | answering.RowPrediction] = answered.predictions
        pairs = zip(request.buyer_ids, predictions, strict=True)
        noted = [Noted(buyer_id, said, at, latency_ms) for buyer_id, said in pairs]
        self.dropped += self._waiting.put(noted)

    def start(self) -> None:
        """Starts writing."""
        self._thread.start()

    def stop(self) -> None:
        """Writes what is waiting, for at most a few seconds. A second call does nothing."""
        self._stopping.set()
        self._waiting.close()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics for /metrics."""
        written = CounterMetricFamily("switchyard_predictions_written", "Predictions written to the results database")
        written.add_metric([], self.written)
        yield written
        dropped = CounterMetricFamily(
            "switchyard_predictions_dropped", "Predictions that were answered but could not be written"
        )
        dropped.add_metric([], self.dropped)
        yield dropped
        queued = GaugeMetricFamily("switchyard_predictions_queued", "Predictions waiting to be written")
        queued.add_metric([], len(self._waiting))
        yield queued

    def _run(self) -> None:
        while noted := self._waiting.take(self._batch, gather_s=GATHER_S):
            self._write([_to_row(one, self._key) for one in noted])

    def _write(self, rows: list[Prediction]) -> None:
        """Writes until it is done or cannot be; a batch that was written but not confirmed may be written again."""
        tries = 0
        while True:
            err = catch(lambda: self._record(rows))
            if not isinstance(err, Exception):
                self.written += len(rows)
                self._problem = ""
                return
            self._report(err)
            if self._stopping.is_set() or isinstance(err, BadRecord) or not isinstance(err, SwitchyardError):
                self.dropped += len(rows)
                return
            self._stopping.wait(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
            tries += 1

    def _record(self, rows: list[Prediction]) -> None:
        with waiting_at_most(DATABASE_S):
            self._predictions().record(rows)

    def _report(self, err: Exception) -> None:
        """Logs each new problem once, not each try."""
        said = to_message(err)
        if said != self._problem:
            _log.error("predictions are answered, and not written: %s", said)
            self._problem = said


def _to_row(noted: Noted, key: bytes) -> Prediction:
    said = noted.said
    return Prediction(
        id=said.prediction_id,
        at=noted.at,
        model=said.model,
        version=said.version,
        digest=said.digest,
        arm=Arm(said.arm),
        buyer_hash=hash_buyer(key, noted.buyer_id),
        product_ids=said.product_ids if isinstance(said, answering.Prediction) else (),
        latency_ms=noted.latency_ms,
        fallback=said.fallback,
    )
