"""Of the port `Ledger` what fill asks for, on every database and every table of runs."""

from typing import Any

import msgspec
import pytest

from switchyard.core.history.filling import KIND, Fill, FillState
from switchyard.core.history.publication import FIRST_VERSIONS, FullSeries, Value
from tests.clients.results.places import NOW, Place, later, look, publication

LEGACY = '{"available": true, "epochs": [0], "loss": {"train": [0.5]}, "note": "' + "x" * 400 + '"}'
SERIES = FullSeries(gzip_json=b"gzip", digest="sha256:series")
VALUES = [Value(kind="last", name="loss", number=0.5)]


def publish_first(place: Place, request: str = "request", **changes: Any) -> int:
    """A run as it was published before there were series."""
    run = place.add_run(request)
    bare = msgspec.structs.replace(publication(run, **changes), series=None, values=[], versions=FIRST_VERSIONS)
    place.histories.publish(bare, now=NOW)
    return run


def to_fill(place: Place, run: int, **changes: Any) -> Fill:
    (found,) = place.ledger.read_unfilled([run])
    given = {"series": SERIES, "values": VALUES, **changes}
    return Fill(quick_test_id=run, etag=found.etag, **given)


def test_what_has_no_series_is_listed(place: Place) -> None:
    """Published before, or by the legacy application; not what has series, and not what has no history."""
    first = publish_first(place)
    legacy = place.add_run("legacy", history=LEGACY)
    new = place.add_run("new")
    place.histories.publish(publication(new), now=NOW)
    place.add_run("empty")
    place.add_run("nothing", history='{"available": false}')
    assert place.ledger.list_unfilled() == [first, legacy]
    one, other = place.ledger.read_unfilled([legacy, first, 4711])
    history = place.histories.read_history(first)
    assert (one.quick_test_id, one.etag, one.versions, one.has_values) == (first, history.etag, FIRST_VERSIONS, False)
    assert one.history_text.encode() == history.history_json
    assert one.digests is not None
    assert one.digests.charted == "sha256:a"
    assert (other.quick_test_id, other.digests) == (legacy, None)
    assert other.etag == place.histories.read_history(legacy).etag
    assert place.ledger.read_unfilled([]) == []


def test_a_history_that_was_written_over_ours_is_listed(application_place: Place) -> None:
    """Its series and values are those of the history before."""
    place = application_place
    run = place.add_run()
    place.histories.publish(publication(run), now=NOW)
    assert place.ledger.list_unfilled() == []
    place.set_history(run, LEGACY)
    assert place.ledger.list_unfilled() == [run]
    (found,) = place.ledger.read_unfilled([run])
    assert (found.digests, found.has_values) == (None, False)


def test_a_fill_writes_series_values_and_its_line(place: Place) -> None:
    """The history stays byte for byte; a second call writes the same."""
    run = publish_first(place)
    before, history = look(place, run), place.histories.read_history(run)
    fill = to_fill(place, run)
    for attempt in (1, 2):
        assert place.ledger.fill_many([fill], now=later(1)) == {run: FillState.DONE}
        assert place.histories.read_series(run) == SERIES
        assert place.histories.read_history(run) == history
        after = look(place, run)
        assert {**after, "series": [], "values": []} == before
        assert [(row["name"], row["number"], row["history_etag"]) for row in after["values"]] == [
            ("loss", 0.5, history.etag)
        ]
        (line,) = place.ledger.read_ledger(KIND)
        assert (line.state, line.attempts, line.error, line.published_digest) == ("done", attempt, "", SERIES.digest)
    assert place.ledger.list_unfilled() == []
    assert place.ledger.fill_many([], now=NOW) == {}


def test_a_history_that_was_replaced_meanwhile_is_not_filled(place: Place) -> None:
    """Series of the old one would be wrong: the new one's stay, and the line says so. So of one that is gone."""
    run, gone = publish_first(place), publish_first(place, "gone")
    fills = [to_fill(place, run), to_fill(place, gone)]
    place.histories.publish(publication(run, "b"), force=True, now=later(1))
    place.set_history(gone, None)
    before = look(place, run)
    assert set(place.ledger.fill_many(fills, now=later(2)).values()) == {FillState.REPLACED}
    assert look(place, run) == before
    assert (look(place, gone)["series"], look(place, gone)["values"]) == ([], [])
    assert all("again" in line.error for line in place.ledger.read_ledger(KIND))


def test_values_alone_leave_the_series(place: Place) -> None:
    """Of a legacy history there can be no others: its values are found again, and are those of this history."""
    legacy = place.add_run("legacy", history=LEGACY)
    fill = to_fill(place, legacy, series=None, state=FillState.VALUES, error="no source")
    assert place.ledger.fill_many([fill], now=NOW) == {legacy: FillState.VALUES}
    (found,) = place.ledger.read_unfilled([legacy])
    assert found.has_values
    (line,) = place.ledger.read_ledger(KIND)
    assert (line.state, line.error) == ("values", "no source")
    run = place.add_run("new")
    published = publication(run)
    place.histories.publish(published, now=NOW)
    place.ledger.fill_many([to_fill(place, run, series=None)], now=NOW)
    assert place.histories.read_series(run) == published.series
    assert [row["name"] for row in look(place, run)["values"]] == ["loss"]


@pytest.mark.parametrize("fresh", ["postgres", "sqlite"])
def test_a_fill_that_the_database_refuses_fails_alone(fresh: str, places: Any, tmp_path: Any) -> None:
    """A constraint that one of them breaks: the others are filled, and its line says why."""
    place = places.make(fresh, tmp_path, fresh=True)
    good, bad = publish_first(place), publish_first(place, "bad")
    fills = [to_fill(place, good), to_fill(place, bad, values=[Value(kind=None, name="loss", number=1.0)])]  # type: ignore[arg-type]
    assert place.ledger.fill_many(fills, now=NOW) == {good: FillState.DONE, bad: FillState.FAILED}
    assert place.histories.read_series(good) == SERIES
    assert place.histories.read_series(bad) is None
    assert [line.state for line in place.ledger.read_ledger(KIND)] == ["done", "failed"]
