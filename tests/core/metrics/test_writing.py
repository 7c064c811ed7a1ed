"""What `to_json` writes, `read_record` reads."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from switchyard.core.errors import BadRecord
from switchyard.core.history.digest import to_digests
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import Histogram, MetricsRecord, TowerStatistics
from switchyard.core.metrics.writing import to_json
from tests.core.metrics.factories import make_record, make_tree, records, to_bytes


@given(records())
@settings(deadline=None, max_examples=80)
def test_a_written_record_reads_back_equal(record: MetricsRecord) -> None:
    """Every record survives the file: series, histograms, unknown keys, and what was not finite."""
    read = read_record(to_json(record), where="a file")
    assert msgspec.structs.replace(read, warnings=[]) == record


def test_a_file_read_and_written_is_the_same_json() -> None:
    """Nothing of a version 1 file is lost or added on the way through a record, unknown keys included."""
    tree = make_tree({"extra": [1], "run/host": "a", "weight_stats/query/histogram/note": {"b": None}})
    assert json.loads(to_json(read_record(to_bytes(tree), where="a file"))) == tree


def test_assumed_edges_are_written_where_they_are_assumed() -> None:
    """A reader of the first version 1 files never sees a key that they did not have; a digest never changes by it."""
    histogram = Histogram(bin_edges=[float(i) for i in range(26)], edges_known="all", counts=[[1] * 25] * 3)
    record = make_record(3, weight_stats={"query": TowerStatistics(histogram=histogram)})
    plain = json.loads(to_json(record))
    assert "edges_assumed" not in plain["weight_stats"]["query"]["histogram"]
    before = to_digests(record)
    histogram.edges_assumed = True
    found = json.loads(to_json(record))
    assert found["weight_stats"]["query"]["histogram"].pop("edges_assumed") is True
    assert found == plain
    assert to_digests(record) == before


def test_written_files_are_strict_json() -> None:
    """No NaN token is ever written: a record that holds a NaN itself, not null, is refused by name."""
    with pytest.raises(BadRecord, match=r"finite numbers and null alone; got NaN or an infinity at loss\.loss\.1"):
        to_json(make_record(2, loss={"loss": [0.5, math.nan]}))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"run": None}, "`run` must say which run"),
        ({"loss": {"loss": [1.0]}}, r"`loss.loss` must have 3 values, one an epoch; got 1"),
        ({"epochs": [3, 2, 1]}, r"`epochs\[1\]` must be larger"),
        ({"params": {"layers": (1, 2)}}, "must hold lists, dicts"),
    ],
)
def test_a_record_that_no_reader_would_take_is_not_written(fields: dict[str, Any], expected: str) -> None:
    """The trainer hears of a broken record when it writes it, not the pipeline when it reads it."""
    with pytest.raises(BadRecord, match=expected):
        to_json(make_record(3, **fields))
