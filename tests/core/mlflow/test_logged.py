"""A metrics record logged to MLflow and read back: the same values, by the digests of what both can hold."""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from switchyard.core.history.digest import to_digests
from switchyard.core.metrics.legacy_names import to_place
from switchyard.core.metrics.record import Histogram, MetricsRecord, OtherSeries, RunIdentity, TowerStatistics
from switchyard.core.mlflow.logged import (
    MAX_PARAM_LENGTH,
    LoggedPoint,
    choose_shared,
    list_last_points,
    list_points,
    to_logged_params,
    to_logged_tags,
)
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun, to_points
from switchyard.core.mlflow.tags import MAX_TAG_LENGTH
from tests.core.mlflow.factories import make_info

EDGES = [-1.0 + i * 0.08 + 1e-9 * i for i in range(25)] + [1.0]
IDENTITY = RunIdentity(quick_test_id=12, key="abc", attempt=2, restart=1)


def make_statistics(epochs: int, **other: Any) -> TowerStatistics:
    counts: list[list[int | None] | None] = [[i * 25 + number for number in range(25)] for i in range(epochs)]
    histogram = Histogram(bin_edges=EDGES, edges_known="all", sampled=bool(other), counts=counts)
    names = ("mean", "std", "min", "max", "norm")
    series = {name: [1 / (3 + i + len(name)) for i in range(epochs)] for name in names}
    return TowerStatistics(
        series={name: list(values) for name, values in series.items()}, histogram=histogram, other=other
    )


def make_record(length: int = 3, **changes: Any) -> MetricsRecord:
    record = MetricsRecord(
        status="completed",
        saved_at=datetime(2026, 1, 15, tzinfo=UTC),
        run=IDENTITY,
        epochs=list(range(length)),
        loss={"loss": [1 / (i + 3) for i in range(length)], "val_loss": [0.1 * i for i in range(length)]},
        gradient={"total": [math.pi * i for i in range(length)], "query": [5e-324] * length},
        weight_stats={"query": make_statistics(length), "candidate": make_statistics(length)},
        gradient_stats={"query": make_statistics(length, sampled=True, every_steps=4)},
        metrics={"learning_rate": [1.0] * length, "val_recall_at_10": [0.5] * length},
        final_metrics={"final_loss": 1 / 3, "test_recall_at_10": 0.2, "popularity_recall_at_10": 0.1},
        params={"epochs": length, "l2": 1e-06, "statistics": True, "data_uri": ""},
    )
    return msgspec.structs.replace(record, **changes)


def log(record: MetricsRecord, *, at_once: int = 2) -> RawRun:
    """The run that MLflow has after all of `record` was logged, some epochs at a time."""
    points: list[LoggedPoint] = []
    for first in range(0, len(record.epochs), at_once):
        points += list_points(record, first, first + at_once)
    columns: dict[str, tuple[list[int], list[int], list[float]]] = {}
    for number, point in enumerate([*points, *list_last_points(record)]):
        steps, timestamps, values = columns.setdefault(point.key, ([], [], []))
        steps.append(point.step)
        timestamps.append(number)
        values.append(point.value)
    return RawRun(
        info=make_info(),
        metrics={key: to_points(*found) for key, found in columns.items()},
        params=to_logged_params(record),
        tags=to_logged_tags(record),
    )


HOLES: dict[str, dict[str, Any]] = {
    "whole": {},
    "nan and the infinities": {
        "loss": {"loss": [None, None, None], "val_loss": [0.1, None, 0.3]},
        "non_finite": {
            "loss": {"loss": {"0": "nan", "1": "inf", "2": "-inf"}},
            "final_metrics": {"test_loss": {"": "nan"}},
        },
        "final_metrics": {"test_loss": None, "final_loss": 0.5},
    },
    "a missing row of counts": {
        "weight_stats": {
            "query": TowerStatistics(
                histogram=Histogram(bin_edges=EDGES, edges_known="all", counts=[[0] * 25, None, [1] * 25])
            )
        }
    },
    "per-batch losses": {
        "other_series": {"batch_loss": OtherSeries(steps=[0, 5, 5, 9], values=[0.1, None, 0.3, None])},
        "non_finite": {"other_series": {"batch_loss": {"1": "inf", "3": "nan"}}},
    },
    "no statistics": {"weight_stats": {}, "gradient_stats": {}},
    "no epochs": {
        "epochs": [], "loss": {}, "gradient": {}, "weight_stats": {}, "gradient_stats": {}, "metrics": {},
        "final_metrics": {},
    },
}  # fmt: skip


@pytest.mark.parametrize("holes", HOLES.values(), ids=HOLES.keys())
def test_what_is_logged_and_read_back_has_the_same_digests(holes: dict[str, Any]) -> None:
    """Every value but the params, to the last bit: series, counts, edges before rounding, estimates, final metrics."""
    record = make_record(**holes)
    found = from_points(log(record))
    assert choose_shared(to_digests(found).series) == choose_shared(to_digests(record).series)
    assert found.run == IDENTITY


def test_params_are_the_same_as_texts() -> None:
    """MLflow keeps texts: each param is what ``str`` makes of it, and the histograms' edges are beside them."""
    record = make_record()
    found = from_points(log(record)).params
    edges = ["candidate_hist_bin_edges", "query_grad_hist_bin_edges", "query_hist_bin_edges"]
    assert found == {name: str(value) for name, value in record.params.items()} | {name: found[name] for name in edges}
    assert found["statistics"] == "True"
    parts = found["query_hist_bin_edges"].split(",")
    assert len(parts) == 26
    assert all(len(part.partition(".")[2]) == 6 for part in parts)


def test_every_key_of_the_trainer_has_one_place() -> None:
    """Each logged key leads back to a section that is known; none of them would land among unknown metrics."""
    keys = {point.key for point in list_points(make_record(), 0, 1)}
    assert len([key for key in keys if "_hist_bin_" in key]) == 75
    unknown = {key for key in keys if to_place(key).section == "metrics"}
    assert unknown == {"learning_rate", "val_recall_at_10"}


def test_series_that_are_not_whole_yet_are_logged_as_far_as_they_are() -> None:
    """At an epoch's end a series may lack the newest epochs; they come with a later call."""
    record = make_record(loss={"loss": [1.0, 2.0], "val_loss": [0.5]})
    steps = [point.step for point in list_points(record, 0, 3) if point.key == "loss"]
    assert steps == [0, 1]
    assert [point.step for point in list_points(record, 1, 9) if point.key == "val_loss"] == []


def test_texts_that_mlflow_would_refuse_are_cut_or_left_out() -> None:
    """A param of any length can be logged; a tag that would be too long is not."""
    record = make_record(params={"data_uri": "x" * 7000})
    assert len(to_logged_params(record)["data_uri"]) == MAX_PARAM_LENGTH
    record.weight_stats["query"].other["note"] = "x" * MAX_TAG_LENGTH
    assert "switchyard.weight_stats.query" not in to_logged_tags(record)
    assert "switchyard.weight_stats.candidate" in to_logged_tags(record)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"bin_edges": [1]}', '{"other": {"mean": 1, "x": [1]}}'])
def test_a_tag_that_somebody_changed_does_no_harm(text: str) -> None:
    """The run is read as if it had no such tag: edges of six decimals, and no estimate."""
    run = log(make_record())
    found = from_points(msgspec.structs.replace(run, tags={**run.tags, "switchyard.gradient_stats.query": text}))
    statistics = found.gradient_stats["query"]
    assert statistics.histogram is not None
    assert (statistics.histogram.sampled, statistics.other) == (False, {})
    assert statistics.histogram.bin_edges == [round(edge, 6) for edge in EDGES]


def test_edges_that_are_not_those_of_the_param_are_not_taken() -> None:
    """The tag may only say the same edges more exactly."""
    run = log(make_record())
    params = {**run.params, "query_hist_bin_edges": ",".join(f"{i:.6f}" for i in range(26))}
    histogram = from_points(msgspec.structs.replace(run, params=params)).weight_stats["query"].histogram
    assert histogram is not None
    assert histogram.bin_edges == [float(i) for i in range(26)]
