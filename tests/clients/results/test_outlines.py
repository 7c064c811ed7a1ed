"""What a list shows of runs beside rows and values, on every database and every table of runs."""

import msgspec

from switchyard.core.comparison.outline import MAX_CHARACTERS, MAX_NOTES, read_outline
from switchyard.core.runs.edits import RunEdit
from tests.clients.results.places import NOW, Place


def test_the_outlines_of_runs_are_read_at_once(place: Place) -> None:
    """Histories that are published and short, the beginning of the notes, and no entry for an id without a row."""
    run, nothing, long = place.add_finished_run(1), place.add_run("nothing"), place.add_run("long")
    place.set_history(nothing, '{"available": false}')
    place.set_history(long, msgspec.json.encode({"available": True, "text": "x" * MAX_CHARACTERS}).decode())
    found = place.histories.read_outlines([run, nothing, long, 999])
    assert set(found) == {run, nothing, long}
    assert found[nothing].history_json is found[long].history_json is None
    stored = place.histories.read_history(run).history_json
    assert msgspec.json.decode(found[run].history_json or "") == msgspec.json.decode(stored or b"")
    assert {one.notes for one in found.values()} == {""}
    assert place.histories.read_outlines([]) == {}


def test_only_the_beginning_of_notes_is_read(place: Place) -> None:
    """Of our own table, for an application's has none."""
    run = place.add_run()
    if not place.table:
        place.runs.edit_run(run, RunEdit(notes="ü" * (MAX_NOTES + 1)), now=NOW)
    assert place.histories.read_outlines([run])[run].notes == ("" if place.table else "ü" * MAX_NOTES)


def test_a_stored_outline_is_what_its_history_says(place: Place) -> None:
    """Through jsonb too, which writes numbers and keys in its own way."""
    run = place.add_run()
    place.set_history(
        run, '{"available": true, "loss": {"val": [2.0, 1.50, null], "train": [3, 2, 1]}, "parent": null}'
    )
    curve = read_outline(place.histories.read_outlines([run])[run].history_json).curve
    assert curve is not None
    assert (curve.name, curve.values) == ("val_loss", [2.0, 1.5, None])
