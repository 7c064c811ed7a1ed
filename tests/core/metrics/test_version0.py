"""Reading version 0: every quirk that legacy files are known for, one at a time."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import Histogram, MetricsRecord
from tests.core.metrics.factories import DROP, EDGES, make_version0, to_bytes


def read(changes: dict[str, Any]) -> MetricsRecord:
    return read_record(to_bytes(make_version0(changes)), where="a legacy file")


def read_histogram(histogram: Any) -> tuple[Histogram, list[str]]:
    record = read({"weight_stats/query/histogram": histogram})
    found = record.weight_stats["query"].histogram
    assert found is not None
    return found, record.warnings


def test_a_file_without_quirks_is_read_without_warnings() -> None:
    """A legacy file has no run; its time without a zone is UTC's."""
    record = read({})
    assert record.run is None
    assert record.saved_at == datetime(2024, 3, 1, 8, 15, 30, tzinfo=UTC)
    assert (record.warnings, record.unknown, record.non_finite) == ([], {}, {})


@pytest.mark.parametrize("section", ["run", "metrics", "non_finite"])
def test_what_version_1_calls_otherwise_is_counted_too(section: str) -> None:
    """A section that only version 1 has is an unknown key here, and as bounded as any other."""
    with pytest.raises(BadRecord, match=f"`{section}` must have, .* at most 100000 items"):
        read({section: {"x": [0] * 100_000}})


def test_a_time_with_a_zone_keeps_it() -> None:
    """Only a time without a zone is taken for UTC's."""
    assert read({"saved_at": "2024-03-01T08:15:30+01:00"}).saved_at == datetime(2024, 3, 1, 7, 15, 30, tzinfo=UTC)


def test_tokens_become_nulls_that_say_what_they_were() -> None:
    """NaN and the infinities are read wherever a legacy file has them, and each is remembered by its place."""
    record = read(
        {
            "epochs": [1, 2, 5],
            "loss": {"train": [1.0, math.nan, math.inf]},
            "gradient": {"weight_norm": [-math.inf, 1.0, 1.0]},
            "weight_stats/query/std": [1.0, 1.0, math.nan],
            "weight_stats/query/clip": math.nan,
            "other_series": {"batch_loss": {"steps": [7, 8], "values": [1.0, math.nan]}},
            "final_metrics": {"test_loss": math.nan},
            "params": {"clip": math.inf, "layers": [{"rate": math.nan}]},
            "note": {"a/b": [math.nan]},
            "metrics": {"m": [math.nan]},
        }
    )
    assert record.loss == {"loss": [1.0, None, None]}
    assert record.final_metrics == {"test_loss": None}
    assert record.params == {"clip": None, "layers": [{"rate": None}]}
    assert record.unknown == {"note": {"a/b": [None]}, "metrics": {"m": [None]}}
    assert record.non_finite == {
        "loss": {"loss": {"2": "nan", "5": "inf"}},
        "gradient": {"total": {"1": "-inf"}},
        "weight_stats.query": {"std": {"5": "nan"}, "clip": {"": "nan"}},
        "other_series": {"batch_loss": {"1": "nan"}},
        "final_metrics": {"test_loss": {"": "nan"}},
        "params": {"clip": {"": "inf"}, "layers": {"/0/rate": "nan"}},
        "unknown": {"note": {"/a~1b/0": "nan"}, "metrics": {"/m/0": "nan"}},
    }


def test_a_number_too_large_for_a_float_is_an_infinity() -> None:
    """1e999 is what some writers make of infinity."""
    data = to_bytes(make_version0({"loss": {"loss": [1, 2, 4321]}})).replace(b"4321", b"1e999")
    assert read_record(data, where="a legacy file").non_finite == {"loss": {"loss": {"2": "inf"}}}


def test_published_names_are_taken_for_the_records_own() -> None:
    """Some collectors wrote the published history's names already."""
    published = {"train": [3, 2, 1], "val": [6, 5, 4], "total": [9, 8, 7], "val_total": [1, 1, 1]}
    assert read({"loss": published}).loss == {
        "loss": [3, 2, 1],
        "val_loss": [6, 5, 4],
        "total_loss": [9, 8, 7],
        "val_total_loss": [1, 1, 1],
    }


def test_the_total_norm_may_be_called_weight_norm() -> None:
    """The norms' names in MLflow are known too."""
    record = read({"gradient": {"weight_norm": [1, 2, 3], "query_weight_norm": [4, 5, 6], "candidate": [7, 8, 9]}})
    assert record.gradient == {"total": [1, 2, 3], "query": [4, 5, 6], "candidate": [7, 8, 9]}
    assert record.warnings == []


def test_one_series_under_two_names_is_refused() -> None:
    """Which of the two is true cannot be known."""
    with pytest.raises(BadRecord, match=r"`loss\.train` must be there under one name; `loss` is the same series"):
        read({"loss": {"loss": [1, 2, 3], "train": [3, 2, 1]}})


def test_a_short_series_ends_in_nulls() -> None:
    """A collector that died early left series of several lengths; what is there keeps its epochs."""
    record = read({"loss": {"val": [1.0]}, "weight_stats/query/mean": []})
    assert record.loss == {"val_loss": [1.0, None, None]}
    assert record.weight_stats["query"].series["mean"] == [None, None, None]
    assert record.non_finite == {}
    assert record.warnings == [
        "`loss.val` has 1 values for 3 epochs; the rest is taken for missing",
        "`weight_stats.query.mean` has 0 values for 3 epochs; the rest is taken for missing",
    ]


@pytest.mark.parametrize("counts", [[2] * 25, [2.0] * 25, [[2] * 25]])
def test_one_histogram_is_taken_for_the_last_epochs(counts: list[Any]) -> None:
    """A collector that kept only its newest histogram loses no more than it lost already."""
    histogram, warnings = read_histogram({"bin_edges": EDGES, "counts": counts})
    assert histogram == Histogram(bin_edges=EDGES, edges_known="all", counts=[None, None, [2] * 25])
    assert warnings == [
        "`weight_stats.query.histogram` has one histogram for 3 epochs; it is taken for the last epoch's"
    ]


def test_edges_of_many_histograms_are_the_first_ones_only() -> None:
    """The legacy code binned each epoch again and kept one list of edges: the rows are not comparable."""
    rows = [[1] * 25, [2] * 25, [3] * 25]
    assert read_histogram({"bin_edges": EDGES, "counts": rows})[0].edges_known == "first_epoch"
    assert read_histogram({"counts": rows})[0].edges_known == "none"
    assert read_histogram(rows)[0].edges_known == "none"
    assert read_histogram({"bin_edges": EDGES, "edges_known": "all", "counts": rows})[0].edges_known == "all"


def test_edges_that_are_not_finite_are_taken_for_unknown() -> None:
    """A NaN weight made NaN edges; the counts are still there to be kept."""
    histogram, warnings = read_histogram({"bin_edges": [math.nan] * 26, "edges_known": "all", "counts": [[1] * 25] * 3})
    assert histogram == Histogram(counts=[[1] * 25] * 3)
    assert warnings == [
        "`weight_stats.query.histogram` has edges that are not finite numbers; they are taken for unknown"
    ]


def test_missing_rows_are_nulls() -> None:
    """Histograms stop where the collector died, as series do."""
    histogram, warnings = read_histogram({"counts": [[1] * 25, [2] * 25]})
    assert histogram.counts == [[1] * 25, [2] * 25, None]
    assert warnings == ["`weight_stats.query.histogram` has 2 rows for 3 epochs; the rest is taken for missing"]


def test_a_count_that_was_not_finite_is_remembered() -> None:
    """Counts that went through a float metric may be NaN like any other."""
    record = read({"weight_stats/query/histogram": {"counts": [math.nan, *([1.0] * 24)]}})
    assert record.non_finite == {"weight_stats.query": {"histogram": {"/counts/2/0": "nan"}}}


def test_unknown_keys_are_kept_and_warned_about() -> None:
    """Names that only version 1 gives a meaning are unknown keys here, whatever they hold."""
    record = read({"tool": "collector 3", "run": "R1", "metrics": [1], "non_finite": None, "loss/aux": [1, 2, 3]})
    assert record.unknown == {"tool": "collector 3", "run": "R1", "metrics": [1], "non_finite": None}
    assert record.loss["aux"] == [1, 2, 3]
    assert len(record.warnings) == 5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": DROP}, "`epochs` must be there"),
        ({"status": DROP, "saved_at": "once"}, "`status` must be there; got nothing; `saved_at` must be a date"),
        ({"loss": {"train": [1, 2, 3, 4]}}, r"`loss\.train` must have 3 values, one an epoch; got 4"),
        ({"gradient": {"weight_norm": [1, "2", 3]}}, r"`gradient\.weight_norm\[1\]` must be a number or null"),
        ({"weight_stats/query/histogram": [[1] * 25] * 4}, r"histogram\.counts` must have 3 rows, one an epoch; got 4"),
        ({"weight_stats/query/histogram": [[1.5] * 25] * 3}, r"counts\[0\]\[0\]` must be a count"),
        ({"weight_stats": [], "loss": None}, r"`weight_stats` must be an object"),
        ({"epochs": [0, math.nan, 2]}, r"`epochs\[1\]` must be an integer of at least 0; got null"),
    ],
)  # fmt: skip
def test_what_is_no_known_quirk_is_refused_under_the_files_own_names(changes: dict[str, Any], expected: str) -> None:
    """The reader finds the place in the file as it was written."""
    with pytest.raises(BadRecord, match=expected):
        read(changes)
