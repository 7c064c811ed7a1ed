"""What fill decides, as values: which record a history was made of, and what is left where none is there."""

import msgspec

from switchyard.core.history.digest import to_digests, to_first_digests
from switchyard.core.history.filling import FillBatch, FillState, Unfilled, is_source, to_fill, to_values_alone
from switchyard.core.history.publication import FIRST_VERSIONS, Versions
from tests.core.metrics.factories import make_record

RECORD = make_record()
FIRST = Unfilled(quick_test_id=7, etag="e", digests=to_first_digests(RECORD), versions=FIRST_VERSIONS)


def test_a_source_is_known_by_the_digests_of_the_stored_versions() -> None:
    """Another record is none; a record of charted keys alone is, where its charted digest is the same."""
    other = msgspec.structs.replace(RECORD, params={"other": 1})
    newer = msgspec.structs.replace(FIRST, digests=to_digests(RECORD), versions=Versions())
    assert (is_source(FIRST, RECORD), is_source(newer, RECORD)) == (True, True)
    assert (is_source(FIRST, other), is_source(newer, other)) == (False, False)
    mixed = msgspec.structs.replace(FIRST, digests=to_digests(RECORD))
    assert not is_source(mixed, RECORD)
    assert is_source(FIRST, msgspec.structs.replace(RECORD, charted_only=True))
    assert not is_source(msgspec.structs.replace(FIRST, digests=None), RECORD)


def test_tags_of_the_history_are_values_too() -> None:
    """No record has them."""
    fill = to_fill(FIRST, {"source": "file", "tags": {"team": "search", "odd": 5}}, RECORD)
    assert (fill.state, fill.etag) == (FillState.DONE, "e")
    assert [(value.name, value.text) for value in fill.values or [] if value.kind == "tag"] == [("team", "search")]


def test_values_that_are_there_are_not_written_again() -> None:
    """A legacy history is listed each time; one that is no JSON fails."""
    found = msgspec.structs.replace(FIRST, history_text='{"params": {"lr": 0.1}}')
    assert [value.name for value in to_values_alone(found, "why").values or []] == ["lr"]
    again = to_values_alone(msgspec.structs.replace(found, has_values=True), "why")
    assert (again.values, again.state, again.error) == (None, FillState.VALUES, "why")
    assert to_values_alone(FIRST, "why").state is FillState.FAILED


def test_batches_add_up() -> None:
    """Each run is in one count."""
    batch, other = FillBatch(), FillBatch()
    batch.count(1, FillState.DONE, "")
    batch.count(2, FillState.VALUES, "none left")
    other.count(3, FillState.FAILED, "poison")
    other.count(4, FillState.REPLACED, "again")
    batch.add(other)
    assert (batch.settled, batch.done, batch.values, batch.replaced, batch.failed) == (
        4, 1, {2: "none left"}, {4: "again"}, {3: "poison"},
    )  # fmt: skip
