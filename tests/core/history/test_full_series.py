"""Every scalar series of a run, at full resolution or in buckets."""

import gzip
import hashlib
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard.core.history.full_series import MAX_POINTS, choose_buckets, to_full_series
from switchyard.core.metrics.record import MetricsRecord, OtherSeries, TowerStatistics
from tests.core.metrics.factories import make_record, records


def read(record: MetricsRecord) -> dict[str, Any]:
    made = to_full_series(record)
    content = gzip.decompress(made.gzip_json)
    assert made.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert to_full_series(record) == made
    found: dict[str, Any] = json.loads(content)
    return found


def test_all_series_are_there_by_name() -> None:
    """Losses, metrics and own series by their names; norms and statistics by their paths."""
    record = make_record(
        2,
        loss={"loss": [1.0, None]},
        gradient={"total": [5.0, 6.0]},
        metrics={"learning_rate": [0.1, 0.1]},
        weight_stats={"query": TowerStatistics(series={"mean": [0.0, 0.5]})},
        other_series={"batch_loss": OtherSeries(steps=[-1, 4, 4], values=[3.0, 2.0, None])},
        non_finite={"loss": {"loss": {"1": "nan"}}, "other_series": {"batch_loss": {"2": "inf"}}},
    )
    assert read(record) == {
        "available": True,
        "complete": True,
        "epochs": [0, 1],
        "series": {
            "loss": {"values": [1.0, None], "kept": 2, "total": 2},
            "learning_rate": {"values": [0.1, 0.1], "kept": 2, "total": 2},
            "batch_loss": {"steps": [-1, 4, 4], "values": [3.0, 2.0, None], "kept": 3, "total": 3},
            "gradient.total": {"values": [5.0, 6.0], "kept": 2, "total": 2},
            "weight_stats.query.mean": {"values": [0.0, 0.5], "kept": 2, "total": 2},
        },
        "non_finite": {"loss": {"1": "nan"}, "batch_loss": {"2": "inf"}},
    }


def test_a_run_without_series_has_none() -> None:
    """It is no error, and says so."""
    record = make_record(epochs=[], loss={}, gradient={}, metrics={})
    assert read(record) == {"available": False, "complete": True, "epochs": [], "series": {}, "non_finite": {}}


def test_a_long_series_keeps_what_sticks_out() -> None:
    """Of 100,000 points at most 2,000, with the one spike, the one dip and the last."""
    values: list[float | None] = [1.0] * 100_000
    values[55_555], values[66_666] = 9.0, -9.0
    record = make_record(epochs=[], loss={}, gradient={}, metrics={}, other_series={
        "x": OtherSeries(steps=list(range(100_000)), values=values)})  # fmt: skip
    (entry,) = read(record)["series"].values()
    assert (entry["kept"], entry["total"]) == (len(entry["steps"]), 100_000)
    assert entry["kept"] <= MAX_POINTS
    assert {55_555, 66_666, 99_999} <= set(entry["steps"])
    assert [values[step] for step in entry["steps"]] == entry["values"]


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=200))
def test_buckets_keep_order_the_last_and_the_extremes(values: list[float | None]) -> None:
    """Whatever the series, within the limit."""
    kept = choose_buckets(values, 30)
    assert kept == sorted(set(kept))
    assert len(kept) <= max(30, 0)
    if values:
        assert kept[-1] == len(values) - 1
    finite = [value for value in values if value is not None]
    if finite:
        assert {min(finite), max(finite)} <= {values[position] for position in kept}


@given(records())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_any_record_has_series_in_strict_json(record: MetricsRecord) -> None:
    """Each with as many steps as values."""
    found = read(record)
    for entry in found["series"].values():
        assert len(entry.get("steps", found["epochs"])) == len(entry["values"]) == entry["kept"]
