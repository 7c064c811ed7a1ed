"""What was decided for runs that are not as they should be, case by case of docs/mapping.md."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.history.digest import to_digests
from switchyard.core.metrics.record import TOWERS, MetricsRecord, OtherSeries
from switchyard.core.mlflow import mapping1
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.mapping_table import CASES
from switchyard.core.mlflow.raw_run import OwnedPoint, choose_name
from switchyard.core.mlflow.rules import parse_rules
from tests.core.mlflow.factories import (
    INF,
    NAN,
    NOTHING,
    START_MS,
    make_info,
    make_points,
    make_run,
    make_series,
    make_small,
)

LOSS = make_series([3.0, 2.0, 1.0])


def weights(record: MetricsRecord) -> tuple[str, list[float] | None]:
    histogram = record.weight_stats["query"].histogram
    assert histogram is not None
    return histogram.edges_known, histogram.bin_edges


def gradients(record: MetricsRecord) -> tuple[str, list[float] | None]:
    histogram = record.gradient_stats["query"].histogram
    assert histogram is not None
    return histogram.edges_known, histogram.bin_edges


def a_step_logged_twice() -> None:
    run = make_run({"loss": make_points((0, 0, 3.0), (1, 10, 2.0), (2, 20, 1.0), (1, 15, 7.0), (2, 20, 5.0))})
    record = from_points(run)
    assert record.loss["loss"] == [3.0, 7.0, 5.0]
    assert any("loss" in warning and "again" in warning for warning in record.warnings)
    tie = make_run({"loss": make_points((0, 0, NAN), (0, 0, -INF), (1, 1.0), (2, 1.0))})
    assert from_points(tie).non_finite["loss"]["loss"] == {"0": "-inf"}


def a_resumed_run() -> None:
    first = [(step, 100 * step, float(step)) for step in range(4)]
    again = [(step, 10_000 + 100 * step, 50.0 + step) for step in range(2, 6)]
    record = from_points(make_small({"loss": make_points(*first, *again)}))
    assert (record.epochs, record.loss["loss"]) == ([0, 1, 2, 3, 4, 5], [0.0, 1.0, 52.0, 53.0, 54.0, 55.0])
    assert record.other_series == {}


def many_points_a_step() -> None:
    points = make_points((0, 1, 3.0), (0, 2, 2.0), (0, 3, NAN), (0, 4, 0.5), (1, 5, 1.0))
    record = from_points(make_small({"loss": LOSS, "custom": points, "val_loss": points}))
    whole = OtherSeries(steps=[0, 0, 0, 0, 1], values=[3.0, 2.0, None, 0.5, 1.0])
    assert record.other_series == {"custom": whole, "val_loss": whole}
    assert record.non_finite["other_series"] == {"custom": {"2": "nan"}, "val_loss": {"2": "nan"}}
    assert (record.epochs, record.loss, record.metrics) == ([0, 1, 2], {"loss": [3.0, 2.0, 1.0]}, {})


def all_at_step_0() -> None:
    loss = make_points((0, 5, 3.0), (0, 10, 2.0), (0, 15, 1.0))
    val_loss = make_points((0, 6, 6.0), (0, 11, 5.0), (0, 16, 4.0))
    record = from_points(make_small({"loss": loss, "val_loss": val_loss, "lr": loss, "final_loss": loss}))
    assert (record.epochs, record.loss) == ([0, 1, 2], {"loss": [3.0, 2.0, 1.0], "val_loss": [6.0, 5.0, 4.0]})
    assert record.metrics["lr"] == [3.0, 2.0, 1.0]
    assert record.final_metrics == {"final_loss": 1.0}
    assert any("in the order of time: final_loss, loss, lr and 1 more" in warning for warning in record.warnings)
    for other in (make_points((0, 5, 6.0), (0, 11, 5.0)), make_points(*((0, 5 * i, float(i)) for i in range(6)))):
        record = from_points(make_small({"loss": loss, "val_loss": other}))
        drawn = [*record.loss.items(), *((name, found.values) for name, found in record.other_series.items())]
        assert sorted(drawn) == [("loss", list(loss.values)), ("val_loss", list(other.values))]
        assert len(record.epochs) == max(3, len(other.steps))
        assert all(found.steps == list(range(len(found.values))) for found in record.other_series.values())
    same_time = make_points((0, 5, 3.0), (0, 5, 2.0), (0, 16, 4.0))
    assert from_points(make_small({"loss": same_time})).loss["loss"] == [2.0, 3.0, 4.0]
    beside = from_points(make_small({"loss": LOSS, "lr": loss, "auc": make_points((0, 1, 0.5), (0, 2, 0.75))}))
    assert beside.other_series == {
        "auc": OtherSeries(steps=[0, 0], values=[0.5, 0.75]),
        "lr": OtherSeries(steps=[0, 1, 2], values=[3.0, 2.0, 1.0]),
    }


def other_steps() -> None:
    record = from_points(make_small({"loss": make_series([3.0, 2.0], first=1), "lr": make_series([0.1, 0.2], first=1)}))
    assert (record.epochs, record.metrics["lr"]) == ([1, 2], [0.1, 0.2])
    record = from_points(make_small({"loss": make_series([3.0, 2.0], first=10, stride=10)}))
    assert (record.epochs, record.loss["loss"]) == ([10, 20], [3.0, 2.0])


def shifted_validation() -> None:
    record = from_points(make_small({"loss": LOSS, "val_loss": make_series([6.0, 5.0, 4.0], first=1)}))
    assert record.epochs == [0, 1, 2, 3]
    assert record.loss == {"loss": [3.0, 2.0, 1.0, None], "val_loss": [None, 6.0, 5.0, 4.0]}


def missing_steps() -> None:
    record = from_points(make_run({"loss": make_points((0, 3.0), (2, 1.0)), "query_hist_bin_3": make_points((1, 7.0))}))
    assert record.loss["loss"] == [3.0, None, 1.0]
    histogram = record.weight_stats["query"].histogram
    assert histogram is not None
    assert [row and row[3] for row in histogram.counts] == [None, 7, None]
    alone = from_points(make_small({"loss": make_points((0, 3.0), (2, 1.0))}))
    assert alone.epochs == [0, 2]


def clearly_other_steps() -> None:
    each, some = make_series([0.5] * 1_000), make_series([0.25] * 4, first=249, stride=250)
    record = from_points(make_small({"loss": each, "val_loss": some}))
    assert (len(record.epochs), len(record.loss["loss"])) == (1_000, 1_000)
    assert record.other_series == {"val_loss": OtherSeries(steps=[249, 499, 749, 999], values=[0.25] * 4)}
    record = from_points(make_small({"train_loss": each, "eval_loss": some, "eval_auc": some}))
    assert (record.epochs, record.loss, record.metrics) == (
        [249, 499, 749, 999],
        {"val_loss": [0.25] * 4},
        {"eval_auc": [0.25] * 4},
    )
    assert len(record.other_series["loss"].steps) == 1_000
    far = make_small({"loss": LOSS, "val_loss": make_series([6.0, 5.0, 4.0], first=10)})
    assert (from_points(far).epochs, from_points(far).other_series["val_loss"].steps) == ([0, 1, 2], [10, 11, 12])


def no_loss() -> None:
    found = {"a": make_series([1.0] * 9), "b": make_series([1.0] * 4, first=5), "c": make_series([1.0] * 4, first=5)}
    record = from_points(make_small(found | {"once": make_points((3, 0.5))}))
    assert (record.epochs, set(record.metrics), set(record.other_series)) == ([5, 6, 7, 8], {"b", "c"}, {"a", "once"})
    longer = from_points(make_small({"a": make_series([1.0] * 4, first=5), "b": make_series([1.0] * 9)}))
    assert longer.epochs == list(range(9))
    first = from_points(make_small({"b": make_series([1.0] * 3), "a": make_series([1.0] * 3, first=1)}))
    assert first.epochs == [1, 2, 3]
    norm = from_points(make_small({"weight_norm": make_points((7, 1.0)), "auc": make_points((7, 0.5))}))
    assert (norm.epochs, norm.gradient, norm.metrics) == ([7], {"total": [1.0]}, {"auc": [0.5]})


def sparse_series() -> None:
    each, some = make_series([1.0] * 50), make_series([2.0] * 10, first=4, stride=5)
    found = {"loss": each, "total_loss": each, "lr": each, "val_loss": some, "query_weights_mean": some}
    record = from_points(make_small({**found, "once": make_points((7, 1.0))}))
    assert record.epochs == list(range(50))
    assert set(record.other_series) == {"val_loss", "once"}
    assert record.weight_stats["query"].series["mean"][:5] == [None, None, None, None, 2.0]
    begun, half = make_series([2.0] * 20), make_series([1.0] * 25, stride=2)
    record = from_points(make_small({"loss": each, "auc": begun, "odd": half}))
    assert (record.other_series, record.metrics["auc"]) == ({}, [2.0] * 20 + [None] * 30)


def no_curve() -> None:
    again = make_points((0, 0, 1.0), (0, 9, 2.0))
    found = {"accuracy": make_points((0, 0.9)), "rmse": make_points((3, NAN)), "again": again}
    record = from_points(make_small(found))
    assert (record.epochs, record.metrics, record.other_series) == ([], {}, {})
    assert record.final_metrics == {"accuracy": 0.9, "again": 2.0, "rmse": None}
    assert record.non_finite == {"final_metrics": {"rmse": {"": "nan"}}}


def negative_steps() -> None:
    points = {
        "loss": make_points((-1, 9.0), (0, 3.0)),
        "weight_norm": make_points((-2, 1.0)),
        "val_loss": LOSS,
        "lr": make_points((0, 1.0), (2**53, 2.0)),
        "auc": make_points((0, 1.0), (2**53 - 1, 2.0)),
    }
    record = from_points(make_small(points))
    assert (record.epochs, record.loss) == ([0, 1, 2], {"val_loss": [3.0, 2.0, 1.0]})
    assert record.other_series["loss"] == OtherSeries(steps=[-1, 0], values=[9.0, 3.0])
    assert record.other_series["weight_norm"].steps == [-2]
    assert record.other_series["lr"].steps == [0, 2**53]
    (warning,) = record.warnings
    assert warning == "steps below 0 or above 2^53 - 1 are no epochs; on steps of their own: loss, lr, weight_norm"
    alone = from_points(make_small({"loss": points["loss"]}))
    assert (alone.epochs, alone.other_series["loss"].steps) == ([], [-1, 0])


def not_finite() -> None:
    record = from_points(
        make_run(
            {
                "loss": make_series([NAN, INF, -INF]),
                "query_grad_mean": make_series([NAN] * 3),
                "query_hist_bin_2": make_series([1.0, NAN, 2.0]),
                "final_loss": make_points((0, INF)),
            }
        )
    )
    assert record.loss["loss"] == [None, None, None]
    assert record.non_finite["loss"]["loss"] == {"0": "nan", "1": "inf", "2": "-inf"}
    assert record.non_finite["gradient_stats.query"]["mean"] == {"0": "nan", "1": "nan", "2": "nan"}
    assert record.non_finite["weight_stats.query"]["histogram"] == {"/counts/1/2": "nan"}
    assert record.non_finite["final_metrics"] == {"final_loss": {"": "inf"}}


def largest_numbers() -> None:
    """The readers make infinities of them, so that here they are what they are."""
    record = from_points(make_run({"loss": make_series([1.7976931348623157e308, 1.0, 1.0])}))
    assert record.loss["loss"][0] == 1.7976931348623157e308


def missing_bins() -> None:
    record = from_points(make_run({"query_hist_bin_0": NOTHING, "query_hist_bin_24": NOTHING}))
    histogram = record.weight_stats["query"].histogram
    assert histogram is not None
    shown = [(row[0], row[1], row[24]) for row in histogram.counts if row]
    assert shown == [
        (None, 1, None),
        (None, 2, None),
        (None, 3, None),
    ]
    assert any("lacks 2 of its 25 bins" in warning for warning in record.warnings)


def odd_bins() -> None:
    record = from_points(make_run({"query_hist_bin_1": make_series([0.5, -1.0, 1e300])}))
    histogram = record.weight_stats["query"].histogram
    assert histogram is not None
    assert [row and row[1] for row in histogram.counts] == [None, None, None]
    assert record.other_series == {}
    assert any("no whole numbers, and null: query_hist_bin_1" in warning for warning in record.warnings)


def bins_beside_the_epochs() -> None:
    bins = {"query_hist_bin_0": make_series([1.0, 2.0, 3.0], first=1), "candidate_hist_bin_0": make_points((-1, 1.0))}
    record = from_points(make_small({"loss": LOSS, **bins}))
    histogram = record.weight_stats["query"].histogram
    assert histogram is not None
    assert [row and row[0] for row in histogram.counts] == [None, 1, 2]
    assert "candidate" not in record.weight_stats
    assert record.other_series == {}
    assert any("left out: candidate_hist_bin_0, query_hist_bin_0" in warning for warning in record.warnings)
    assert from_points(make_small(bins)).weight_stats == {}


def no_histogram() -> None:
    record = from_points(make_run({key: NOTHING for key in make_run().metrics if "hist_bin" in key}))
    assert all(found.histogram is None for found in record.weight_stats.values())
    assert "query_hist_bin_edges" in record.params


def damaged_edges() -> None:
    good = make_run().params["query_hist_bin_edges"]
    long = ",".join(f"{-0.5 + i * 0.04:.17f}" for i in range(26))
    falling = ",".join(str(-i) for i in range(26))
    for text in (None, "", good.rpartition(",")[0], long[:500], falling, good[:-1] + "x", good.replace("-1.0", "nan")):
        params = {} if text is None else {"query_hist_bin_edges": text}
        record = from_points(make_run(params=params))
        assert weights(record) == ("none", None), text
        assert record.params == params
        assert any("weight_stats.query.histogram.bin_edges" in warning for warning in record.warnings)
    cut_in_the_last_number = "0." + "1" * (500 - 2 - 25 * 2) + "".join(f",{i}" for i in range(1, 26))
    assert weights(from_points(make_run(params={"query_hist_bin_edges": cut_in_the_last_number[:500]})))[0] == "none"


def repeated_edges() -> None:
    text = ",".join(["0.000000"] * 13 + ["0.000001"] * 13)
    record = from_points(make_run(params={"query_hist_bin_edges": text, "query_grad_hist_bin_edges": text}))
    assert weights(record) == ("first_epoch", [0.0] * 13 + [1e-6] * 13)
    assert gradients(record) == ("none", None)


def no_gradient_edges() -> None:
    logged = from_points(make_run())
    record = from_points(make_run(params={}))
    assert gradients(record) == gradients(logged)
    assert gradients(record)[0] == "all"
    for found, is_assumed in ((record, True), (logged, False)):
        for tower in TOWERS:
            histogram = found.gradient_stats[tower].histogram
            assert histogram is not None
            assert histogram.edges_assumed is is_assumed
            weights_of = found.weight_stats[tower].histogram
            assert weights_of is not None
            assert not weights_of.edges_assumed
    assert any("fixed range" in warning for warning in record.warnings)


def single_epoch() -> None:
    assert weights(from_points(make_run(epochs=1)))[0] == "all"
    assert weights(from_points(make_run(epochs=2)))[0] == "first_epoch"


def died() -> None:
    for status in ("RUNNING", "SCHEDULED"):
        record = from_points(make_run(status=status, ended_at_ms=None))
        assert (record.status, record.available, len(record.epochs)) == ("partial", True, 3)
        assert record.saved_at == datetime.fromtimestamp((START_MS + 99_000) / 1000, UTC)


def failed() -> None:
    assert {from_points(make_run(status=status)).status for status in ("FAILED", "KILLED")} == {"failed"}


def without_points() -> None:
    record = from_points(make_small({}, info=make_info(status="KILLED")))
    assert (record.available, record.epochs, record.status) == (False, [], "failed")
    assert from_points(make_small({"test_loss": make_points((0, 1.0))})).available
    assert from_points(msgspec.structs.replace(make_small({}), params={"depth": "4"})).available


def deleted() -> None:
    run = make_run()
    gone = make_run(lifecycle="deleted", experiment_lifecycle="deleted")
    assert from_points(gone) == from_points(run)


def nameless() -> None:
    assert choose_name(None, {"mlflow.runName": "in the tag"}) == "in the tag"
    assert choose_name("its own", {"mlflow.runName": "in the tag"}) == "its own"
    assert choose_name("", {}) == ""


def extra_metrics() -> None:
    record = from_points(
        make_small({"loss": LOSS, "auc": make_series([0.5] * 2, 1), "batch_loss": make_points((0, 1.0), (100, 0.5))})
    )
    assert record.metrics == {"auc": [None, 0.5, 0.5]}
    assert record.other_series == {"batch_loss": OtherSeries(steps=[0, 100], values=[1.0, 0.5])}


def long_series() -> None:
    record = from_points(make_small({"loss": LOSS, "batch_loss": make_series([0.5] * 30_000)}))
    assert record.epochs == [0, 1, 2]
    assert len(record.other_series["batch_loss"].values) == 30_000


def many_keys() -> None:
    names = [f"m{i}" for i in range(10_000)]
    record = from_points(make_small(dict.fromkeys(names, LOSS)))
    assert (set(record.metrics), record.epochs) == (set(names), [0, 1, 2])
    rules = parse_rules("".join(f'[[patterns]]\nmatch = "m{i}*7"\nname = "x{{1}}-{i}"\n' for i in range(100)))
    renamed = from_points(make_small(dict.fromkeys(names, LOSS)), rules=rules)
    assert len(renamed.metrics) == 10_000


def owned_points() -> None:
    points = make_points(
        *((step, 10 * step, 3.0 - step) for step in range(3)), (2, 99, 0.5), (2, 100, 0.25), (2, 100, NAN)
    )
    owned = (
        OwnedPoint("loss", 2, START_MS + 99, 0.5, "m-1", "holdout"),
        OwnedPoint("loss", 2, START_MS + 100, 0.25, "m-1", "train"),
        OwnedPoint("loss", 2, START_MS + 100, NAN, "m-1"),
        OwnedPoint("no such key", 2, 0, 0.5, "m-1"),
    )
    record = from_points(make_small({"loss": points}, owned=owned))
    assert record.loss == {"loss": [3.0, 2.0, 1.0]}
    assert {name: other.values for name, other in record.other_series.items()} == {
        "loss (holdout)": [0.5],
        "loss (train)": [0.25],
        "loss (m-1)": [None],
    }
    assert any("`loss` was also logged for a model or a data set" in warning for warning in record.warnings)
    # Checkpoints, each a model of its own, make one curve; what is one's alone too.
    each = tuple(OwnedPoint("loss", step, START_MS + 1_000 * step, 3.0 - step, f"m-{step}") for step in range(3))
    assert from_points(make_small({"loss": LOSS}, owned=each)).loss == {"loss": [3.0, 2.0, 1.0]}
    # Two models on one data set are told apart by their ids; without an own point there is no series of the bare name.
    two = make_points((0, 1, 0.5), (0, 2, 0.25))
    both = (OwnedPoint("rmse", 0, START_MS + 1, 0.5, "m-1", "d"), OwnedPoint("rmse", 0, START_MS + 2, 0.25, "m-2", "d"))
    record = from_points(make_small({"rmse": two, "rmse (d, m-2)": LOSS}, owned=both))
    assert record.metrics == {"rmse (d, m-2)": [3.0, 2.0, 1.0]}
    assert {name: other.values for name, other in record.other_series.items()} == {
        "rmse (d, m-1)": [0.5],
        "rmse (d, m-2)*": [0.25],
    }
    assert mapping1.from_points(make_small({"loss": points}, owned=owned)).loss["loss"][2] == 0.25


def one_series_twice() -> None:
    other = make_series([6.0, 5.0, 4.0])
    record = from_points(make_small({"train_loss": other, "loss": LOSS}))
    assert (record.loss, record.metrics) == ({"loss": [3.0, 2.0, 1.0]}, {"train_loss": [6.0, 5.0, 4.0]})
    assert record.warnings == ["`train_loss` and `loss` are both 'loss': `train_loss` is charted under its own name"]


def final_series() -> None:
    record = from_points(
        make_small({"loss": LOSS, "test_loss": make_series([3.0, 2.0]), "final_x": make_series([1.0, 5.0], first=7)})
    )
    assert record.final_metrics == {"final_x": 5.0, "test_loss": 2.0}
    assert record.metrics == {"test_loss": [3.0, 2.0, None]}
    assert record.other_series == {"final_x": OtherSeries(steps=[7, 8], values=[1.0, 5.0])}


def strange_names() -> None:
    names = ("métrique", "val/recall at 10", "a.b", 'qu"ote', "nul\x00byte", "")
    record = from_points(make_small({"loss": LOSS, **dict.fromkeys(names, LOSS)}))
    assert set(record.metrics) == set(names)
    assert len(to_digests(record).series) == len(names) + 2


def timestamps() -> None:
    assert from_points(make_run()).saved_at == datetime.fromtimestamp((START_MS + 60_000) / 1000, UTC)
    late = make_points((0, 5_000, 1.0), (1, 1_000, 2.0))
    assert from_points(make_small({"loss": late}, info=make_info(ended_at_ms=None))).saved_at.second == 45
    nothing = make_small({}, info=make_info(ended_at_ms=10**18, started_at_ms=None))
    assert from_points(nothing).saved_at == datetime(1970, 1, 1, tzinfo=UTC)


def unknown_status() -> None:
    with pytest.raises(BadRecord, match=r"`status` must be one of FINISHED, .* got PAUSED"):
        from_points(make_run(status="PAUSED"))


TRIED: dict[str, Callable[[], None]] = {
    "a step logged twice": a_step_logged_twice,
    "a resumed run that overlaps": a_resumed_run,
    "more than two points a step, on average": many_points_a_step,
    "all points of a series at step 0": all_at_step_0,
    "steps from 1, or with strides": other_steps,
    "validation shifted by a step": shifted_validation,
    "missing steps": missing_steps,
    "losses on clearly other steps": clearly_other_steps,
    "no loss": no_loss,
    "a sparse series": sparse_series,
    "no curve at all": no_curve,
    "negative steps, or above 2^53 - 1": negative_steps,
    "NaN and infinities": not_finite,
    "+-1.797e308": largest_numbers,
    "missing bins": missing_bins,
    "a bin that is no count": odd_bins,
    "bins at steps that are no epochs": bins_beside_the_epochs,
    "no histogram": no_histogram,
    "no weight edges, or damaged ones": damaged_edges,
    "weight edges that repeat": repeated_edges,
    "no gradient edges": no_gradient_edges,
    "a single epoch": single_epoch,
    "a run that died": died,
    "a failed or killed run": failed,
    "a run without a point": without_points,
    "a deleted run or experiment": deleted,
    "a run without a name": nameless,
    "extra metrics": extra_metrics,
    "a metric of 30,000 points": long_series,
    "10,000 keys": many_keys,
    "points of a logged model, or of a data set (MLflow 3)": owned_points,
    "two keys that would be one series": one_series_twice,
    "final metrics with several steps": final_series,
    "unicode and NUL in names": strange_names,
    "timestamps": timestamps,
    "an unknown status": unknown_status,
}


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_what_was_decided_on_purpose_holds(name: str) -> None:
    """Every line of the table of cases is tried."""
    TRIED[name]()


def test_no_decision_is_tried_that_the_table_does_not_show() -> None:
    """A new case needs its line in the table."""
    assert TRIED.keys() == {case.name for case in CASES}


def test_constant_edges_are_said_by_a_tag() -> None:
    """Our own trainer's weight histograms can be compared over epochs."""
    run = make_run()
    record = from_points(msgspec.structs.replace(run, tags={"switchyard.bin_edges": "constant"}))
    assert weights(record)[0] == "all"
