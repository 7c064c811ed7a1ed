"""The suite of the port `Predictions`, on every database and every table of runs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event

from switchyard.core.errors import NotFound, StaleWrite
from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import Kind
from switchyard.core.predictions.rows import Counts, NewFeedback, Prediction, Said, Traffic, Unmatched, Window
from tests.clients.results.places import NOW, Place

NAME = "fraud"


def to_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def prediction(number: int = 1, **more: Any) -> Prediction:
    given: dict[str, Any] = {
        "id": to_id(number),
        "at": NOW,
        "model": NAME,
        "version": 3,
        "digest": "sha256:abc",
        "arm": Arm.CHAMPION,
        "buyer_hash": "f" * 64,
        "product_ids": ("p2", "p1", "Ü \U0001f600"),
        "latency_ms": 1.25,
    }
    return Prediction(**{**given, **more})


def feedback(number: int = 1, key: str = "given:1", **more: Any) -> NewFeedback:
    given: dict[str, Any] = {"kind": Kind.CLICK, "product_id": "p1", "value": None}
    given |= {"body_digest": f"sha256:{number}", "prediction_id": to_id(number), "idempotency_key": key}
    return NewFeedback(**{**given, **more})


def count(place: Place, *, waiting_since: timedelta = timedelta(), **more: Any) -> Counts:
    return place.predictions.count(Window(model=NAME, **more), waiting_since=NOW + waiting_since)


def test_prediction_is_read_as_it_was_recorded(place: Place) -> None:
    """All of it; of a second call with the same id nothing is changed, and the others of that call are kept."""
    place.predictions.record([prediction()])
    place.predictions.record([prediction(version=9), prediction(2, version=None, arm=Arm.CHALLENGER, fallback=True)])
    assert place.predictions.read_prediction(to_id(1)) == prediction()
    other = prediction(2, version=None, arm=Arm.CHALLENGER, fallback=True)
    assert place.predictions.read_prediction(to_id(2)) == other
    place.predictions.record([])
    with pytest.raises(NotFound, match="PREDICTIONS_DAYS"):
        place.predictions.read_prediction(to_id(3))


def test_many_predictions_are_recorded_whole(place: Place) -> None:
    """Each row with its own values, however many a call has; ids that are there already keep theirs."""
    place.predictions.record([prediction(150, version=8)])
    rows = [prediction(number, version=number, latency_ms=number / 8) for number in range(1, 452)]
    place.predictions.record(rows)
    for number in (1, 89, 90, 91, 180, 181, 450, 451):
        assert place.predictions.read_prediction(to_id(number)) == rows[number - 1]
    assert place.predictions.read_prediction(to_id(150)).version == 8
    assert sum(one.predictions for one in count(place).traffic) == 451


def test_predictions_take_few_statements(place: Place) -> None:
    """One for each row would give the interpreter away as often, which costs the answers beside it."""
    place.predictions.record([prediction(1)])
    inserts: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _: Any, many: bool) -> None:
        # Postgres' driver sends many in one go; SQLite's runs each alone.
        times = len(parameters) if many and place.url.startswith("sqlite") else 1
        inserts.extend([statement] * times * statement.startswith("INSERT"))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        place.predictions.record([prediction(number) for number in range(2, 502)])
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert 1 <= len(inserts) <= 6


def test_text_that_no_database_takes_is_kept_without_it(place: Place) -> None:
    """A product's name with NUL loses no batch."""
    place.predictions.record([prediction(product_ids=("a\0b",)), prediction(2)])
    assert place.predictions.read_prediction(to_id(2)) == prediction(2)


def test_feedback_has_the_version_of_its_prediction(place: Place) -> None:
    """It has the arm and model, too."""
    place.predictions.record([prediction()])
    given = place.predictions.give(feedback(value=0.1 + 0.2), now=NOW)
    assert given.is_new
    assert (given.feedback.model, given.feedback.version, given.feedback.arm) == (NAME, 3, Arm.CHAMPION)
    assert (given.feedback.predicted_at, given.feedback.value, given.feedback.at) == (NOW, 0.1 + 0.2, NOW)


def test_feedback_is_kept_once(place: Place) -> None:
    """The second call answers what the first one kept, with its time; another body under the same key is refused."""
    place.predictions.record([prediction()])
    first = place.predictions.give(feedback(), now=NOW)
    again = place.predictions.give(feedback(), now=NOW + timedelta(hours=1))
    assert (again.feedback, again.is_new) == (first.feedback, False)
    with pytest.raises(StaleWrite, match=f"{to_id(1)} and kind click"):
        place.predictions.give(feedback(body_digest="sha256:other", kind=Kind.LIKE), now=NOW)
    (said,) = count(place).said
    assert (said.kind, said.feedback) == (Kind.CLICK, 1)


@pytest.mark.parametrize("same", [True, False])
def test_of_many_at_once_one_is_kept(place: Place, *, same: bool) -> None:
    """Threads with connections of their own; those that say another thing are refused, the others answered alike."""
    place.predictions.record([prediction()])
    start, many = Barrier(6), [feedback(body_digest=f"sha256:{0 if same else number}") for number in range(6)]

    def give(one: NewFeedback) -> Any:
        start.wait()
        try:
            return place.predictions.give(one, now=NOW)
        except StaleWrite as err:
            return err

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(give, many))
    kept = [answer for answer in answers if not isinstance(answer, StaleWrite)]
    assert [answer.is_new for answer in kept].count(True) == 1
    assert len(kept) == (6 if same else 1)
    assert place.sql("SELECT count(*) AS n FROM switchyard_feedback")[0].n == 1


def test_feedback_before_its_prediction_is_joined_when_the_row_comes(place: Place) -> None:
    """It waits without a version; then it counts for the version, and the same call answers it."""
    early = place.predictions.give(feedback(), now=NOW)
    assert (early.feedback.model, early.feedback.version, early.feedback.arm) == (None, None, None)
    assert count(place).unmatched == (Unmatched(kind=Kind.CLICK, waiting=1, never=0),)
    place.predictions.record([prediction()])
    again = place.predictions.give(feedback(), now=NOW)
    assert (again.feedback.version, again.feedback.arm, again.is_new) == (3, Arm.CHAMPION, False)
    assert count(place).unmatched == ()
    assert [(one.version, one.predictions) for one in count(place).said] == [(3, 1)]


def test_feedback_of_no_prediction_is_counted_apart(place: Place) -> None:
    """From some age on it waits no more; it is of no version."""
    place.predictions.record([prediction()])
    place.predictions.give(feedback(8, "given:8"), now=NOW - timedelta(hours=2))
    place.predictions.give(feedback(9, "given:9"), now=NOW)
    counts = count(place, waiting_since=-timedelta(hours=1))
    assert counts.unmatched == (Unmatched(kind=Kind.CLICK, waiting=1, never=1),)
    assert counts.said == ()
    assert count(place, since=NOW).unmatched == (Unmatched(kind=Kind.CLICK, waiting=1, never=0),)


def test_counts_are_per_version_arm_and_kind(place: Place) -> None:
    """Of a window and a model; a prediction counts once for a kind, however often it was said."""
    more: dict[str, Any] = {"version": 4, "arm": Arm.CHALLENGER}
    place.predictions.record(
        [
            prediction(1),
            prediction(2),
            prediction(3, **more),
            prediction(4, arm=Arm.CHALLENGER, fallback=True),
            prediction(5, at=NOW - timedelta(seconds=1)),
            prediction(6, at=NOW + timedelta(days=1)),
            prediction(7, model="other"),
        ]
    )
    for number in range(1, 8):
        place.predictions.give(feedback(number, f"given:{number}"), now=NOW)
    place.predictions.give(feedback(1, "given:b", product_id="p2"), now=NOW)
    place.predictions.give(feedback(1, "given:c", kind=Kind.RATING, value=4.0), now=NOW)
    place.predictions.give(feedback(2, "given:d", kind=Kind.RATING, value=1.0), now=NOW)
    counts = count(place, since=NOW, until=NOW + timedelta(days=1))
    assert sorted(counts.traffic, key=lambda one: (one.version or 0, one.arm)) == [
        Traffic(version=3, arm=Arm.CHALLENGER, predictions=1, fallbacks=1),
        Traffic(version=3, arm=Arm.CHAMPION, predictions=2, fallbacks=0),
        Traffic(version=4, arm=Arm.CHALLENGER, predictions=1, fallbacks=0),
    ]
    assert sorted(counts.said, key=lambda one: (one.version or 0, one.arm, one.kind)) == [
        Said(version=3, arm=Arm.CHALLENGER, kind=Kind.CLICK, predictions=1, feedback=1),
        Said(version=3, arm=Arm.CHAMPION, kind=Kind.CLICK, predictions=2, feedback=3),
        Said(version=3, arm=Arm.CHAMPION, kind=Kind.RATING, predictions=2, feedback=2, values=2, total=5.0),
        Said(version=4, arm=Arm.CHALLENGER, kind=Kind.CLICK, predictions=1, feedback=1),
    ]
    assert (counts.said_of_removed, counts.unmatched) == ((), ())


@pytest.mark.parametrize("early", [True, False])
def test_feedback_keeps_its_version_when_retention_removes_the_prediction(place: Place, *, early: bool) -> None:
    """Also feedback that came before its prediction's row: it is in no rate any more, and still of its version."""
    acts: list[Callable[[], object]] = [
        lambda: place.predictions.record([prediction(), prediction(2, at=NOW + timedelta(days=1))]),
        lambda: place.predictions.give(feedback(value=2.0), now=NOW),
    ]
    for act in reversed(acts) if early else acts:
        act()
    pruned = place.predictions.prune(predictions_before=NOW + timedelta(hours=1), feedback_before=None, limit=9)
    assert (pruned.predictions, pruned.feedback) == (1, 0)
    counts = count(place)
    assert (counts.said, counts.unmatched) == ((), ())
    (said,) = counts.said_of_removed
    assert said == Said(version=3, arm=Arm.CHAMPION, kind=Kind.CLICK, predictions=0, feedback=1, values=1, total=2.0)
    kept = place.predictions.give(feedback(value=2.0), now=NOW)
    assert (kept.feedback.version, kept.feedback.predicted_at, kept.is_new) == (3, NOW, False)
    assert count(place, since=NOW + timedelta(seconds=1)).said_of_removed == ()


def test_pruning_removes_the_oldest_a_few_at_a_time(place: Place) -> None:
    """A second call goes on; None leaves a table as it is."""
    place.predictions.record([prediction(number, at=NOW + timedelta(hours=number)) for number in range(5)])
    for number in range(3):
        place.predictions.give(feedback(number, f"given:{number}"), now=NOW + timedelta(hours=number))
    before = NOW + timedelta(hours=4)
    calls = [
        place.predictions.prune(predictions_before=before, feedback_before=None, limit=3),
        place.predictions.prune(predictions_before=before, feedback_before=NOW + timedelta(hours=2), limit=3),
        place.predictions.prune(predictions_before=before, feedback_before=NOW + timedelta(hours=2), limit=3),
    ]
    assert [msgspec.structs.astuple(call) for call in calls] == [(3, 0), (1, 2), (0, 0)]
    assert [row.id for row in place.sql("SELECT id FROM switchyard_predictions")] == [to_id(4)]
    assert [row.idempotency_key for row in place.sql("SELECT idempotency_key FROM switchyard_feedback")] == ["given:2"]


@pytest.mark.parametrize(
    ("since", "is_short"), [(None, False), (NOW, False), (NOW, True)], ids=["all", "a long window", "a short window"]
)
def test_counting_reads_one_index_and_joins_from_the_feedback(
    places: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, since: datetime | None, *, is_short: bool
) -> None:
    """SQLite neither visits the rows of predictions to count them nor sorts them.

    It looks up none without feedback. The few of a short window are found by their times."""
    monkeypatch.setattr("switchyard.clients.results.predictions._FEW", 2_000 if is_short else 0)
    place = places.make("sqlite", tmp_path)
    asked: list[tuple[str, Any]] = []
    count(place)
    event.listen(
        place.ports.database.reader, "before_cursor_execute", lambda *given: asked.append((given[2], given[3]))
    )
    count(place, since=since)
    with place.ports.database.reader.connect() as connection:
        plans = [
            [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
            for sql, values in list(asked)
        ]
    counting = "SEARCH switchyard_predictions USING COVERING INDEX switchyard_predictions_counted (model=?)"
    by_time = [plan for plan in plans if "switchyard_predictions_at (at>?)" in str(plan) and len(plan) > 1]
    assert ([counting] in plans, bool(by_time)) == (not is_short, is_short), plans
    assert any(plan[0] == "SCAN switchyard_feedback" and "predictions_1 (id=?)" in plan[1] for plan in plans), plans
