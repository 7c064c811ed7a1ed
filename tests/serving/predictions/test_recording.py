"""Predictions are written behind the answers, whatever the database does."""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

import serving.predictions.recording
from serving.predictions.answering import Answered, answer
from serving.predictions.recording import Recorder
from switchyard.core.errors import BadRecord, BadSetup, NotFound, SwitchyardError, TryAgain
from switchyard.core.predictions.feedback import hash_buyer
from switchyard.core.predictions.rows import Counts, Given, NewFeedback, Prediction, Pruned, Window
from tests.clients.results.places import Place
from tests.flows.polling import wait_for
from tests.serving.predictions.two_models import asking, saying, to_state

KEY = b"k" * 32
STATE = to_state(saying("p1", "p2"), None)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two tries."""
    monkeypatch.setattr(serving.predictions.recording, "PAUSES_S", (0.0,))


class Breaking:
    """`core.ports.Predictions` over a list; before each write it raises what the test says."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.kept: list[Prediction] = []

    def record(self, predictions: Sequence[Prediction]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.kept += predictions

    def read_prediction(self, prediction_id: str) -> Prediction:
        raise NotFound(prediction_id)

    def give(self, feedback: NewFeedback, *, now: datetime) -> Given:
        raise NotImplementedError  # a recorder only writes predictions

    def count(self, window: Window, *, waiting_since: datetime) -> Counts:
        raise NotImplementedError  # a recorder only writes predictions

    def prune(self, **bounds: Any) -> Pruned:
        raise NotImplementedError  # a recorder only writes predictions


def note(recorder: Recorder, *buyer_ids: str) -> Answered:
    request = asking(*buyer_ids)
    answered = answer(request, STATE)
    recorder.note(request, STATE, answered, 0.006)
    return answered


def test_each_prediction_is_written_as_it_was_answered(any_place: Place) -> None:
    """With a hash of the buyer, and never the buyer; of a request with several buyers each has its part of the time."""
    recorder = Recorder(lambda: any_place.predictions, KEY)
    answered = note(recorder, "ann", "", "ann")
    recorder.start()
    recorder.stop()
    rows = [any_place.predictions.read_prediction(said.prediction_id) for said in answered.predictions]
    assert [row.buyer_hash for row in rows] == [hash_buyer(KEY, "ann"), "", hash_buyer(KEY, "ann")]
    for row, said in zip(rows, answered.predictions, strict=True):
        assert (row.model, row.version, row.digest) == (said.model, said.version, said.digest)
        assert (row.arm, row.fallback, row.product_ids) == ("champion", False, ("p1", "p2"))
        assert row.latency_ms == pytest.approx(2.0)
    assert (recorder.written, recorder.dropped) == (3, 0)
    stored = any_place.sql("SELECT * FROM switchyard_predictions")
    assert "ann" not in str(stored)


def test_rows_are_written_while_the_server_runs(any_place: Place) -> None:
    """Not only at its end."""
    recorder = Recorder(lambda: any_place.predictions, KEY)
    recorder.start()
    note(recorder, "b1", "b2")
    wait_for(lambda: recorder.written == 2)
    note(recorder, "b1")
    wait_for(lambda: recorder.written == 3)
    recorder.stop()
    recorder.stop()


def test_full_queue_drops_and_counts() -> None:
    """The one who answers is not kept waiting; what waits is written."""
    kept = Breaking()
    recorder = Recorder(lambda: kept, KEY, waiting=3)
    for _ in range(4):
        note(recorder, "b1", "b2")
    assert recorder.dropped == 5
    recorder.start()
    recorder.stop()
    assert (recorder.written, len(kept.kept), recorder.dropped) == (3, 3, 5)


@pytest.mark.parametrize("error", [TryAgain("away"), BadSetup("no schema")])
def test_database_that_is_away_is_tried_again(error: SwitchyardError) -> None:
    """Also one that is migrated meanwhile; nothing is lost as long as the queue has room."""
    kept = Breaking(error, error, error)
    recorder = Recorder(lambda: kept, KEY)
    recorder.start()
    answered = note(recorder, "b1")
    wait_for(lambda: recorder.written == 1)
    recorder.stop()
    assert [row.id for row in kept.kept] == [answered.predictions[0].prediction_id]
    assert recorder.dropped == 0


def test_database_that_cannot_even_be_opened_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A server that starts before its database; the log says it once, and no buyer is named."""
    kept, opened = Breaking(), iter([BadSetup("no"), BadSetup("no"), None])

    def connect() -> Breaking:
        if (err := next(opened)) is not None:
            raise err
        return kept

    recorder = Recorder(connect, KEY)
    recorder.start()
    note(recorder, "somebody")
    wait_for(lambda: recorder.written == 1)
    recorder.stop()
    assert [record.message for record in caplog.records] == ["predictions are answered, and not written: no"]


@pytest.mark.parametrize("error", [BadRecord("row", ["bad"]), RuntimeError("a bug")])
def test_batch_that_cannot_be_written_does_not_stop_the_next(error: Exception) -> None:
    """It is counted as dropped."""
    kept = Breaking(error)
    recorder = Recorder(lambda: kept, KEY, batch=1)
    recorder.start()
    note(recorder, "b1")
    note(recorder, "b2")
    wait_for(lambda: recorder.written == 1)
    recorder.stop()
    assert (recorder.dropped, len(kept.kept)) == (1, 1)


def test_stop_does_not_wait_for_a_database_that_is_away() -> None:
    """What is left then is counted as dropped."""
    tried = threading.Event()

    class Away(Breaking):
        def record(self, predictions: Sequence[Prediction]) -> None:
            tried.set()
            raise TryAgain("away")

    recorder = Recorder(Away, KEY)
    recorder.start()
    note(recorder, "b1", "b2")
    assert tried.wait(60)
    recorder.stop()
    assert (recorder.written, recorder.dropped) == (0, 2)


def test_numbers_are_told() -> None:
    """Written, dropped and waiting."""
    recorder = Recorder(Breaking, KEY, waiting=1)
    note(recorder, "b1", "b2")
    found = {metric.name: metric.samples[0].value for metric in recorder.collect()}
    assert found == {
        "switchyard_predictions_written": 0,
        "switchyard_predictions_dropped": 1,
        "switchyard_predictions_queued": 1,
    }
