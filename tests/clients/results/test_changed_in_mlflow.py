"""A run that says something else in MLflow than when it was published: replaced at any rank, and kept for `recover`."""

import msgspec
import pytest

from switchyard.core.errors import StaleWrite
from switchyard.core.history.publication import Publication, PublishResult, Rank
from tests.clients.results.places import NOW, Place, later, publication


def of_mlflow(
    run: int, charted: str, *, epochs: int = 11, mlflow_run_id: str = "m", status: str = "completed"
) -> Publication:
    rank = Rank(attempt=0, epochs=epochs, status=2 if status == "completed" else 0)
    return publication(run, charted, rank=rank, source="mlflow", mlflow_run_id=mlflow_run_id, status=status)


def list_replaced(place: Place, run: int) -> list[tuple[str, str]]:
    """What is kept of the run: the charted digest and the reason, the oldest first."""
    rows = place.sql(
        "SELECT history_text, reason FROM switchyard_replaced WHERE quick_test_id = :run ORDER BY id", run=run
    )
    return [(msgspec.json.decode(row.history_text)["digest"]["charted"], row.reason) for row in rows]


def read_charted(place: Place, run: int) -> str:
    stored = place.histories.read_history(run).history_json
    assert stored is not None
    return str(msgspec.json.decode(stored)["digest"]["charted"])


def test_what_the_run_says_now_replaces_what_it_said_and_the_last_three_are_kept(place: Place) -> None:
    """With more points or fewer; a second publish of the same keeps nothing; `recover` puts the newest back."""
    run = place.add_run(status="completed")
    epochs = {"a": 11, "b": 11, "c": 3, "d": 12, "e": 1}
    for minutes, (charted, count) in enumerate(epochs.items()):
        new = of_mlflow(run, charted, epochs=count)
        assert place.histories.publish(new, now=later(minutes)) is PublishResult.PUBLISHED
        assert place.histories.publish(new, now=later(minutes)) is PublishResult.UNCHANGED
    assert read_charted(place, run) == "sha256:e"
    reason = "replaced by what its MLflow run says now"
    assert list_replaced(place, run) == [(f"sha256:{charted}", reason) for charted in "bcd"]
    newest = place.histories.find_replaced(run)
    assert newest is not None
    assert place.histories.recover(run, newest, now=NOW)
    assert read_charted(place, run) == "sha256:d"


def test_what_was_replaced_by_force_is_kept_besides(place: Place) -> None:
    """A person's choice is not pushed out by a run that changes often; nor are other runs'."""
    run, other = place.add_run("one", status="completed"), place.add_run("two", status="completed")
    for id_ in (run, other):
        place.histories.publish(of_mlflow(id_, "a"), now=NOW)
        place.histories.publish(of_mlflow(id_, "b"), force=True, now=NOW)
    for charted in "cdefg":
        place.histories.publish(of_mlflow(run, charted), now=NOW)
    assert [charted for charted, _ in list_replaced(place, run)] == [f"sha256:{charted}" for charted in "adef"]
    assert list_replaced(place, other) == [("sha256:a", "replaced by force")]


def test_a_run_that_only_grew_leaves_nothing_behind(place: Place) -> None:
    """What was partial is in what came after."""
    run = place.add_run(status="running")
    for charted, count in (("a", 3), ("b", 7)):
        place.histories.publish(of_mlflow(run, charted, epochs=count, status="partial"), now=NOW)
    place.histories.publish(of_mlflow(run, "c"), now=NOW)
    assert (read_charted(place, run), list_replaced(place, run)) == ("sha256:c", [])


def test_another_mlflow_run_is_not_the_same_run_s_newer_word(place: Place) -> None:
    """It may be an earlier attempt's: of a lower rank it is kept out, of an equal one refused."""
    run = place.add_run(status="completed")
    place.histories.publish(of_mlflow(run, "a"), now=NOW)
    lower = of_mlflow(run, "b", epochs=3, mlflow_run_id="n")
    assert place.histories.publish(lower, now=NOW) is PublishResult.KEPT_NEWER
    with pytest.raises(StaleWrite):
        place.histories.publish(of_mlflow(run, "b", mlflow_run_id="n"), now=NOW)
    assert (read_charted(place, run), list_replaced(place, run)) == ("sha256:a", [])
