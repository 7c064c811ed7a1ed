"""A metrics file beside an MLflow run, as tables: what differs, and what one of them has alone."""

import json
from typing import Any

import msgspec
import pytest

from switchyard.core.metrics.record import Histogram, MetricsRecord, OtherSeries, TowerStatistics
from switchyard.core.verify.two_sources import compare_sources
from tests.core.metrics.factories import EDGES, make_record

Found = tuple[str, int | None]
"""Where a difference must be found: path, epoch."""
COUNTS: list[list[int | None] | None] = [[4] * 25] * 3
LONG = "x" * 600


def tower(edges: list[float] | None = None, **series: Any) -> dict[str, TowerStatistics]:
    histogram = Histogram(bin_edges=edges, edges_known="all" if edges else "none", counts=COUNTS)
    return {"query": TowerStatistics(series=series, histogram=histogram)}


def compare(
    file: dict[str, Any], mlflow: dict[str, Any], *, legacy: bool = False
) -> tuple[list[Found], list[str], int]:
    """Where they differ; what MLflow has alone; how many values the file has alone. A `legacy` file knows no run."""
    ours, theirs = (make_record(**({"loss": {}} | fields)) for fields in (file, mlflow))
    ours, theirs = replace(ours, run=None if legacy else ours.run), replace(theirs, run=None)
    found = compare_sources(ours, theirs)
    assert all(difference.place == "file" for difference in found.differences)
    return [(one.path, one.epoch) for one in found.differences], found.only_in_mlflow, found.only_in_file


def replace(record: MetricsRecord, **changes: Any) -> MetricsRecord:
    return msgspec.structs.replace(record, **changes)


@pytest.mark.parametrize(
    ("file", "mlflow", "expected"),
    [
        pytest.param({}, {}, ([], [], 0), id="nothing"),
        pytest.param({"loss": {"loss": [3.0, 2.0, 1.0]}}, {"loss": {"loss": [3.0, 2.0, 1.0]}}, ([], [], 0), id="equal"),
        pytest.param(
            {"loss": {"loss": [3.0, 2.5, 1.5]}}, {"loss": {"loss": [3.0, 2.0, 1.0]}}, ([("loss.loss", 1)], [], 0),
            id="other values",
        ),
        pytest.param(
            {"loss": {"loss": [3.0, 2.0, 1.0]}}, {"loss": {"loss": [3.0, 2.0, None]}}, ([], [], 1),
            id="a point that MLflow never got",
        ),
        pytest.param({"loss": {"loss": [3.0, 2.0, 1.0]}}, {}, ([], [], 3), id="a series that MLflow never got"),
        pytest.param(
            {"loss": {"loss": [None, 2.0, 1.0]}}, {"loss": {"loss": [None, 2.0, 1.0]}}, ([], [], 0), id="null in both"
        ),
        pytest.param({}, {"metrics": {"noted": [1.0, 2.0, 3.0]}}, ([], ["noted"], 0), id="a key of MLflow alone"),
        pytest.param(
            {}, {"other_series": {"noted": OtherSeries(steps=[0, 9], values=[1.0, 2.0])}}, ([], ["noted"], 0),
            id="a series of MLflow alone, on its own steps",
        ),
        pytest.param({}, {"unknown": {"host": "a"}}, ([], ["host"], 0), id="something without a key, by its path"),
        pytest.param(
            {"status": "failed", "available": False}, {"status": "completed"}, ([], [], 0),
            id="the status, which each has of its own",
        ),
        pytest.param(
            {"epochs": [0, 1, 2, 3], "loss": {"loss": [3.0, 2.0, 1.0, 0.5]}}, {"loss": {"loss": [3.0, 2.0, 1.0]}},
            ([], [], 1), id="an epoch of the file alone shows by its values",
        ),
        pytest.param(
            {"weight_stats": tower([edge + 4e-7 for edge in EDGES])},
            {"weight_stats": tower(EDGES), "params": {"query_hist_bin_edges": "-1,..."}}, ([], [], 0),
            id="edges that MLflow has shortened, and their param",
        ),
        pytest.param(
            {"weight_stats": tower([edge * 2 for edge in EDGES])}, {"weight_stats": tower(EDGES)},
            ([("weight_stats.query.histogram.bin_edges", None)], [], 0), id="other edges",
        ),
        pytest.param(
            {"weight_stats": tower()}, {"weight_stats": tower(), "params": {"query_hist_bin_edges": "-1,..."}},
            ([], ["query_hist_bin_edges"], 0), id="edges of MLflow alone",
        ),
        pytest.param(
            {"gradient_stats": tower(EDGES)},
            {"gradient_stats": {"query": TowerStatistics()}, "params": {"query_grad_hist_bin_edges": "-1,..."}},
            ([], [], 3 * 25 + 1), id="a histogram of the file alone",
        ),
        pytest.param(
            {"weight_stats": {"query": TowerStatistics(series={"mean": [1.0, 2.0, 3.0]})}},
            {"weight_stats": {"query": TowerStatistics(series={"mean": [1.0, 2.0, 3.5]})}},
            ([("weight_stats.query.mean", 2)], [], 0), id="a tower without a histogram",
        ),
    ],
)  # fmt: skip
def test_both_are_compared_in_what_both_hold(
    file: dict[str, Any], mlflow: dict[str, Any], expected: tuple[list[Found], list[str], int]
) -> None:
    """What MLflow alone has is named by its key; what it lacks is none of its business."""
    assert compare(file, mlflow) == expected


@pytest.mark.parametrize(("legacy", "expected"), [(False, ([("loss.loss", 1)], [], 0)), (True, ([], ["loss"], 0))])
def test_a_null_is_a_value_of_our_trainer_and_a_gap_of_a_collector(
    legacy: bool, expected: tuple[list[Found], list[str], int]
) -> None:
    """Our trainer writes null for what was not finite; a legacy collector may have missed the point."""
    file, mlflow = {"loss": {"loss": [3.0, None, 1.0]}}, {"loss": {"loss": [3.0, 2.0, 1.0]}}
    assert compare(file, mlflow, legacy=legacy) == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("adagrad", "adagrad", True),
        ("adagrad", "adam", False),
        (0.01, "0.01", True),
        (0.01, "1e-2", True),
        (1, "1.0", True),
        (1, "2", False),
        (True, "True", True),
        (True, "true", True),
        (None, "None", True),
        ([64, {"relu": True}], "[64, {'relu': True}]", True),
        ([64, {"relu": True}], json.dumps([64, {"relu": True}]), True),
        ([64, {"relu": True}], '[64,{"relu":true}]', True),
        ([64, {"relu": True}], "[64]", False),
        ("12", "12", True),
        (LONG, LONG[:250], True),
        (LONG, LONG[:500], True),
        (LONG, LONG[:499], False),
        ([LONG], str([LONG])[:500], True),
        (LONG, "y" * 500, False),
        ("x", "[" * 100_000, False),  # deeper than JSON is read
        (1, 1, True),
        (1, 2, False),  # what no MLflow has, a text it is not
    ],
)
def test_a_param_is_the_same_however_mlflow_wrote_it(ours: Any, theirs: Any, same: bool) -> None:
    """It is a text there, made by Python or as JSON, and cut at the length that its version keeps."""
    expected: list[Found] = [] if same else [("params.p", None)]
    assert compare({"params": {"p": ours}}, {"params": {"p": theirs}}) == (expected, [], 0)


@pytest.mark.parametrize(
    ("file", "mlflow", "expected"),
    [
        ({"params": {"p": "1"}}, {}, ([], [], 1)),
        ({}, {"params": {"p": "1"}}, ([], ["p"], 0)),
        ({"unknown": {"params_of": 1}}, {"unknown": {"params_of": 2}}, ([("params_of", None)], [], 0)),
    ],
)
def test_a_param_that_one_has_alone_is_no_difference(
    file: dict[str, Any], mlflow: dict[str, Any], expected: tuple[list[Found], list[str], int]
) -> None:
    """A key that only starts like a param is none."""
    assert compare(file, mlflow) == expected
