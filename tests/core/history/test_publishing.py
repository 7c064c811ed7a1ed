"""What one publish writes: the published history to the letter, its rank and its histograms."""

import gzip
import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings

from switchyard.core.errors import BadRequest
from switchyard.core.history.digest import to_digests
from switchyard.core.history.histograms import to_histogram_rows
from switchyard.core.history.publication import Parent, Progress, Publication, Rank
from switchyard.core.history.publishing import to_publication, to_rank
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import Histogram, MetricsRecord, OtherSeries, RunIdentity, Sampling, TowerStatistics
from switchyard.core.runs.rows import RunStatus
from tests.core.metrics.factories import EDGES, EVERY_EPOCH, make_record, make_version0, records, to_bytes


def publish(record: MetricsRecord, sampling: Sampling | None = None, **options: Any) -> Publication:
    return to_publication(record, quick_test_id=12, source="file", sampling=sampling or Sampling(), **options)


def test_the_history_is_the_published_contract() -> None:
    """Every key that readers rely on, none besides, and no `cached_at`: the results database sets that one."""
    record = make_record(
        8,
        loss={"loss": [float(i) for i in range(8)], "total_loss": [i + 0.5 for i in range(8)], "aux": [0.0] * 8},
        gradient={"query": [1.0] * 8},
        metrics={"learning_rate": [0.1] * 8},
        other_series={"batch_loss": OtherSeries(steps=[0, 3, 5, 7], values=[None, 1.0, 2.0, 3.0])},
        non_finite={"other_series": {"batch_loss": {"0": "nan"}}},
        final_metrics={"test_loss": 0.3},
        params={"optimizer": "adam"},
    )
    at = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    publication = publish(
        record,
        mlflow_run_id="ab12",
        tags={"stage": "draft"},
        parent=Parent(quick_test_id=7, mlflow_run_id="cd34"),
        progress=Progress(epochs_done=8, epochs=50, at=at),
    )
    digests = to_digests(record)
    assert publication.history == {
        "available": True,
        "epochs": [0, 5, 7],
        "loss": {
            "train": [0.0, 5.0, 7.0],
            "val": [],
            "regularization": [],
            "val_regularization": [],
            "total": [0.5, 5.5, 7.5],
            "val_total": [],
        },
        "gradient": {"total": [], "query": [1.0, 1.0, 1.0], "candidate": []},
        "metrics": {"aux": [0.0, 0.0, 0.0], "learning_rate": [0.1, 0.1, 0.1]},
        "series": {"batch_loss": {"steps": [0, 5, 7], "values": [None, 2.0, 3.0], "kept": 3, "total": 4}},
        "best": {
            "loss": {"value": 0.0, "epoch": 0, "direction": "min"},
            "total_loss": {"value": 0.5, "epoch": 0, "direction": "min"},
            "batch_loss": {"value": 1.0, "step": 3, "direction": "min"},
        },
        "final_metrics": {"test_loss": 0.3},
        "params": {"optimizer": "adam"},
        "tags": {"stage": "draft"},
        "parent": {"quick_test_id": 7, "mlflow_run_id": "cd34"},
        "progress": {"epochs_done": 8, "epochs": 50, "at": "2026-01-15T10:30:00Z"},
        "mlflow_run_id": "ab12",
        "histogram_available": False,
        "schema_version": 2,
        "status": "completed",
        "source": "file",
        "sampling": {
            "interval": 5,
            "by": "epoch",
            "max_points": 500,
            "keep_extremes": False,
            "kept": 3,
            "total": 8,
            "non_finite_dropped": 0,
        },
        "non_finite": {"series": {"batch_loss": {"0": "nan"}}},
        "digest": {"charted": digests.charted, "full": digests.full},
    }
    assert publication.digests == digests
    assert (publication.quick_test_id, publication.histograms, publication.row_status) == (12, [], None)


def test_what_was_not_finite_is_named_or_counted() -> None:
    """Of the kept epochs each kind is named; of those not kept it is said how many there were."""
    loss = {"loss": [1.0, None, None, 1.0, 1.0, None, 1.0], "val_loss": [None] * 7, "aux": [None] * 7}
    non_finite: Any = {
        "loss": {"loss": {"1": "nan", "2": "inf", "5": "-inf"}, "val_loss": {"0": "nan"}, "aux": {"3": "nan"}},
        "gradient": {"total": {"3": "nan"}},
        "final_metrics": {"test_loss": {"": "inf"}},
        "metrics": {"m": {"3": "nan"}},
    }
    record = make_record(
        7, loss=loss, gradient={"total": [None] * 7}, final_metrics={"test_loss": None}, metrics={"m": [None] * 7}
    )
    record.non_finite = non_finite
    history = publish(record).history
    assert history["non_finite"] == {
        "loss": {"train": {"5": "-inf"}, "val": {"0": "nan"}},
        "final_metrics": {"test_loss": {"": "inf"}},
    }
    assert history["sampling"]["non_finite_dropped"] == 5
    everything = publish(record, EVERY_EPOCH).history
    assert everything["non_finite"]["loss"]["train"] == {"1": "nan", "2": "inf", "5": "-inf"}
    assert everything["sampling"]["non_finite_dropped"] == 0


def test_parameters_that_were_not_finite_are_named_too() -> None:
    """A legacy file's NaN parameter is published as null, and not as nothing."""
    record = read_record(to_bytes(make_version0({"params": {"clip": math.nan}})), where="a legacy file")
    history = publish(record).history
    assert (history["params"], history["non_finite"]) == ({"clip": None}, {"params": {"clip": {"": "nan"}}})


@given(records())
@settings(deadline=None, max_examples=40)
def test_a_history_is_strict_json_with_a_value_a_kept_epoch(record: MetricsRecord) -> None:
    """Any record is published as JSON that any reader takes; each series has all kept epochs, or is empty."""
    history = publish(record).history
    assert json.loads(json.dumps(history, allow_nan=False)) == history
    assert history["sampling"]["kept"] == len(history["epochs"])
    for series in (*history["loss"].values(), *history["gradient"].values()):
        assert len(series) in (0, len(history["epochs"]))
    assert publish(record) == publish(record)


def test_the_rows_status_and_error_go_along() -> None:
    """A partial history is published in the same transaction that marks its run failed."""
    publication = publish(make_record(status="partial"), row_status=RunStatus.FAILED, error="it was killed")
    assert (publication.row_status, publication.error) == (RunStatus.FAILED, "it was killed")
    assert publication.history["status"] == "partial"


def test_a_sampling_that_cannot_be_is_refused() -> None:
    """Nothing is published for an interval of 0."""
    with pytest.raises(BadRequest):
        publish(make_record(), Sampling(interval=0))


def test_ranks_grow_with_attempt_restart_epochs_and_status() -> None:
    """An older file never replaces a newer: the attempt counts most, then the restart, the epochs, the status."""

    def rank(attempt: int, restart: int, epochs: int, status: Any) -> Rank:
        run = RunIdentity(quick_test_id=1, key="k", attempt=attempt, restart=restart)
        return to_rank(make_record(epochs, run=run, status=status))

    ascending = [
        rank(1, 0, 50, "completed"),
        rank(1, 1, 3, "partial"),
        rank(1, 1, 4, "partial"),
        rank(1, 1, 4, "failed"),
        rank(1, 1, 4, "completed"),
        rank(2, 0, 0, "partial"),
    ]
    assert ascending == sorted(set(ascending))
    assert to_rank(make_record(2, run=None)) == Rank(attempt=0, restart=0, epochs=2, status=2)


def test_histograms_are_published_whole() -> None:
    """All epochs whatever the sampling, as the endpoint answers them; towers without one have no row."""
    counts: Any = [[i] * 25 for i in range(8)]
    with_one = TowerStatistics(histogram=Histogram(bin_edges=EDGES, edges_known="all", sampled=True, counts=counts))
    record = make_record(
        8,
        weight_stats={"candidate": with_one, "query": TowerStatistics(), "user": with_one},
        gradient_stats={"query": TowerStatistics(histogram=Histogram(counts=[None] * 8))},
    )
    publication = publish(record)
    assert publication.history["histogram_available"] is True
    rows = {(row.kind, row.tower): json.loads(gzip.decompress(row.gzip_json)) for row in publication.histograms}
    assert rows == {
        ("weights", "candidate"): {
            "available": True,
            "epochs": list(range(8)),
            "bin_edges": EDGES,
            "edges_known": "all",
            "sampled": True,
            "counts": counts,
        },
        ("gradients", "query"): {
            "available": True,
            "epochs": list(range(8)),
            "bin_edges": None,
            "edges_known": "none",
            "sampled": False,
            "counts": [None] * 8,
        },
    }


def test_assumed_edges_are_served_as_assumed() -> None:
    """Where they are known nothing is said of it, so that what was stored before stays the same."""
    known = Histogram(bin_edges=EDGES, edges_known="all", counts=[[1] * 25] * 3)
    assumed = Histogram(bin_edges=EDGES, edges_known="all", edges_assumed=True, counts=[[1] * 25] * 3)
    statistics = {"query": TowerStatistics(histogram=known), "candidate": TowerStatistics(histogram=assumed)}
    record = make_record(gradient_stats=statistics, weight_stats={})
    rows = {row.tower: json.loads(gzip.decompress(row.gzip_json)) for row in to_histogram_rows(record)}
    assert rows["candidate"].pop("edges_assumed") is True
    assert rows["candidate"] == rows["query"]


def test_equal_histograms_are_equal_bytes() -> None:
    """No time of day goes into the compressed bytes: publishing again writes the same."""
    record = make_record(weight_stats={"query": TowerStatistics(histogram=Histogram(counts=[[1] * 25] * 3))})
    first, second = to_histogram_rows(record), to_histogram_rows(record)
    assert first == second
    assert first[0].gzip_json[4:8] == bytes(4)  # where gzip keeps a time (RFC 1952, section 2.3.1)


def test_a_run_with_very_many_series_is_cut_and_says_what() -> None:
    """10,000 series of 50 points stay below 1 MB, in the order of their names.

    What has no room is counted and named; the full series have all.
    """
    own = {f"m{i:05}": OtherSeries(steps=list(range(50)), values=[float(i)] * 50) for i in range(10_000)}
    publication = publish(make_record(other_series=own))
    assert len(json.dumps(publication.history)) < 1_000_000
    cut = publication.history["sampling"]["cut"]
    assert cut["left_out"] + len(publication.history["series"]) == 10_000
    assert cut["by_max_points"] == len(publication.history["series"])
    assert len(cut["names"]) == 100
    assert cut["names"][0] == f"m{len(publication.history['series']):05}"
    assert publication.series is not None
    assert len(json.loads(gzip.decompress(publication.series.gzip_json))["series"]) >= 10_000


def test_a_long_axis_is_thinned_and_keeps_its_extremes() -> None:
    """1,000,000 epochs with one spike: 500 of them are published, the spike and the last among them."""
    loss = [1.0] * 100_000
    loss[77_777] = 9.0
    history = publish(make_record(100_000, loss={"loss": loss}, metrics={}), Sampling(interval=1)).history
    assert history["sampling"]["kept"] == len(history["epochs"]) <= 500
    assert history["sampling"]["cut"] == {"by_max_points": 1}
    assert {77_777, 99_999} <= set(history["epochs"])
    assert max(history["loss"]["train"]) == 9.0


def test_steps_that_json_cannot_hold_are_texts() -> None:
    """Beyond 2^53 all steps of the series are texts, also the best one's; negative steps are numbers."""
    steps = [-5, 2**53, 2**53 + 1]
    history = publish(make_record(other_series={"loss_x": OtherSeries(steps=steps, values=[3.0, 1.0, 2.0])})).history
    assert history["series"]["loss_x"]["steps"] == [str(step) for step in [-5, *steps[-1:]]]
    best = publish(make_record(other_series={"x_loss": OtherSeries(steps=steps, values=[3.0, 1.0, 2.0])})).history
    assert best["best"]["x_loss"] == {"value": 1.0, "step": str(2**53), "direction": "min"}


def test_names_that_two_sections_share_are_told_apart() -> None:
    """A loss a step beside a loss an epoch: both are published."""
    record = make_record(2, loss={"loss": [1.0, 0.5]}, metrics={}, other_series={
        "loss": OtherSeries(steps=[0, 1, 2, 3], values=[4.0, 3.0, 2.0, 1.0])})  # fmt: skip
    publication = publish(record)
    assert publication.history["loss"]["train"] == [1.0, 0.5]
    assert publication.history["series"].keys() == {"other_series.loss"}
    assert publication.series is not None
    assert {"loss", "other_series.loss"} <= json.loads(gzip.decompress(publication.series.gzip_json))["series"].keys()


def test_what_is_odd_about_the_source_is_said_to_readers() -> None:
    """In the history, beside what is published; nothing where nothing is odd, and no more than a reader reads."""
    assert "warnings" not in publish(make_record(3)).history
    said = publish(make_record(3, warnings=["`host` is not a known key; it is kept"])).history["warnings"]
    assert said == ["`host` is not a known key; it is kept"]
    many = publish(make_record(3, warnings=["x" * 900] * 1_000)).history["warnings"]
    assert (len(many), len(many[0]), many[-1]) == (21, 500, "and 980 more")


def test_series_are_left_out_only_where_the_history_is_full() -> None:
    """Ten thousand short series stay below 1 MB, so that all of them are there."""
    few = publish(make_record(3, metrics={f"s{number:05}": [0.123456, 0.2, 0.3] for number in range(10_000)})).history
    assert (len(few["metrics"]), "cut" in few["sampling"]) == (10_000, False)
    assert len(json.dumps(few)) < 1_000_000


@pytest.mark.parametrize("name", ["loss_{}", "\x01\x02{}_loss", "ndcg\U0001f600{}"])
@pytest.mark.parametrize("value", [0.1 + 0.2, None])
def test_a_history_of_too_many_series_stays_below_one_megabyte(name: str, value: float | None) -> None:
    """Best values, kinds of what is not finite, and names in other alphabets included; what is cut is counted."""
    metrics = {name.format(number): [value] * 20 for number in range(10_000)}
    kinds = {} if value else {"metrics": {found: {str(at): "nan" for at in range(20)} for found in metrics}}
    history = publish(make_record(20, metrics=metrics, non_finite=kinds), Sampling(interval=1)).history
    assert 400_000 < len(json.dumps(history, ensure_ascii=False, separators=(",", ":")).encode()) < 1_000_000
    assert len(history["metrics"]) + history["sampling"]["cut"]["left_out"] == 10_000


def test_long_params_and_tags_are_left_out_by_name_and_the_short_ones_stay() -> None:
    """The history stays below 1 MB with as many series as fit beside them; the values know every param."""
    params = {f"p{number:04}": "v" * 6_000 for number in range(400)} | {"z": "short"}
    tags = {f"t{number:03}": "t" * 5_000 for number in range(100)}
    record = make_record(
        100,
        metrics={f"loss_{number}": [0.1 + 0.2] * 100 for number in range(10_000)},
        final_metrics={f"test_{number}": 0.1 + 0.2 for number in range(10_000)},
        params=params,
    )
    publication = publish(record, Sampling(interval=1), tags=tags)
    history = publication.history
    assert len(json.dumps(history, separators=(",", ":"))) < 1_000_000
    cut = history["sampling"]["cut"]
    for section, all_of_them in (("params", params), ("tags", tags), ("final_metrics", record.final_metrics)):
        assert len(history[section]) + cut.get(section, {"left_out": 0})["left_out"] == len(all_of_them)
    assert (history["params"]["z"], cut["params"]["names"][-1][0]) == ("short", "p")
    assert sum(value.kind == "param" for value in publication.values) == 401
    assert sum(value.kind == "tag" for value in publication.values) == len(history["tags"])


def test_ordinary_params_and_tags_are_whole() -> None:
    """Nothing is said of a cut."""
    history = publish(make_record(3, params={"a": "x" * 6_000, "b": [1, {}]}), tags={"t": "y" * 5_000}).history
    assert (history["params"], history["tags"]) == ({"a": "x" * 6_000, "b": [1, {}]}, {"t": "y" * 5_000})
    assert "cut" not in history["sampling"]
