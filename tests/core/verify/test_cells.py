"""Single values and their places: nothing that is stored makes the comparison fail, and equal says equal."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.legacy_names import to_key
from switchyard.core.metrics.record import Sampling
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.verify.cells import compare_cells, histogram_cells, history_cells, record_cells, to_text
from tests.core.mlflow.factories import INF, NAN, make_points, make_run, make_series

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
RECORD = from_points(make_run({"loss": make_points((0, 1.0), (1, INF), (2, NAN)), "x": make_series([1.0] * 9)}))
HISTORY = to_publication(RECORD, quick_test_id=1, source="mlflow", sampling=Sampling(interval=1)).history


@pytest.mark.parametrize("part", [*HISTORY, "other"])
@settings(deadline=None)
@given(value=JSON)
def test_any_value_in_any_place_is_compared(part: str, value: Any) -> None:
    """A damaged history is a difference, never an error; an undamaged one is none."""
    damaged = HISTORY | {part: value}
    found = compare_cells(history_cells(HISTORY), history_cells(damaged), "history")
    assert bool(found) is (part not in HISTORY or to_text(HISTORY[part]) != to_text(value))


@settings(deadline=None)
@given(row=st.dictionaries(st.sampled_from(["epochs", "counts", "bin_edges", "available"]), JSON))
def test_any_histogram_row_is_compared(row: dict[str, Any]) -> None:
    """Whatever was in the gzip."""
    assert (
        compare_cells(histogram_cells("weights", "query", row), histogram_cells("weights", "query", row), "file") == []
    )


def test_a_record_equals_itself_and_no_other() -> None:
    """Every series, count, edge, param and kind has a cell."""
    cells = record_cells(RECORD)
    assert compare_cells(cells, record_cells(RECORD), "file") == []
    assert cells["loss.loss", 1] == "inf"
    assert cells["other_series.x.values", 8] == "1"
    assert cells["weight_stats.query.histogram.counts[7]", 2] == "9"
    assert len({to_key(path) for path, _ in cells}) > 130


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (0.0, -0.0, True),
        (1, True, False),
        (1, "1", False),
        (None, "null", False),
        (2**53 + 1, float(2**53), False),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        ([1, 2], [2, 1], False),
    ],
)
def test_texts_are_equal_where_values_are(left: Any, right: Any, same: bool) -> None:
    """However JSON wrote them: jsonb rewrites numbers and the order of keys."""
    assert (to_text(left) == to_text(right)) is same


def test_the_first_epoch_is_named_and_the_others_counted() -> None:
    """A dropped value shifts all that follow; the length is said beside it."""
    loss = {**HISTORY["loss"], "val": HISTORY["loss"]["val"][1:]}
    (found,) = compare_cells(history_cells(HISTORY), history_cells(HISTORY | {"loss": loss}), "history")
    assert (found.path, found.key, found.epoch, found.more) == ("loss.val", "val_loss", 0, 3)
    assert found.found.endswith("; 2 values for 3 epochs")
