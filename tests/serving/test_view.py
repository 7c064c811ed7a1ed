"""What a run's page shows, whatever wrote its history."""

import json
from typing import Any

import pytest

from serving.view.charts import to_charts
from serving.view.run import RunView, to_view
from switchyard.core.history.publication import Progress
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import MetricsRecord, OtherSeries, Sampling
from switchyard.core.runs.rows import QuickTest, RunStatus
from tests.serving.factories import NOW, make_record


def make_view(
    record: MetricsRecord | None = None, *, status: RunStatus = RunStatus.COMPLETED, keep_extremes: bool = False
) -> RunView:
    publication = to_publication(
        record or make_record(),
        quick_test_id=1,
        source="file",
        sampling=Sampling(keep_extremes=keep_extremes),
    )
    return to_view(QuickTest(id=1, status=status), json.dumps(publication.history, default=str).encode())


def make_legacy(**changes: Any) -> RunView:
    history = {"available": True, "epochs": [0, 5], "loss": {"train": [2, 1]}, "gradient": {}, **changes}
    return to_view(QuickTest(id=1, status=RunStatus.COMPLETED), json.dumps(history).encode())


def titles(view: RunView) -> list[str]:
    return [note.title for note in view.notes]


def test_a_completed_run_has_only_its_sampling_note() -> None:
    """Nothing warns where nothing could mislead."""
    view = make_view()
    assert titles(view) == ["Sampled curves"]
    assert view.notes[0].text == "11 of 50 epochs: every 5th, and the last. Histograms have all of them."
    bare = make_view(make_record(histograms=False))
    assert bare.notes[0].text == "11 of 50 epochs: every 5th, and the last."
    assert view.charts is not None
    assert view.charts.epochs == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 49]
    assert list(view.charts.loss.curves) == [
        "train",
        "val",
        "total",
        "val_total",
        "regularization",
        "val_regularization",
    ]
    assert {len(curve) for curve in view.charts.loss.curves.values()} == {11}


def test_the_best_value_of_each_loss_is_marked() -> None:
    """At its epoch of all epochs, also of one that sampling left out; a metric's is with its own chart."""
    record = make_record(metrics={"val_recall_at_10": [0.1] * 50})
    charts = make_view(record).charts
    assert charts is not None
    losses = record.loss["val_loss"]
    lowest = min(value for value in losses if value is not None)
    assert charts.best["val_loss"] == (losses.index(lowest), lowest)
    assert "val_recall_at_10" not in charts.best


@pytest.mark.parametrize(
    ("row_status", "file_status", "expected"),
    [
        (RunStatus.COMPLETED, "completed", None),
        (RunStatus.RUNNING, "partial", "Partial: the run is still training"),
        (RunStatus.SUBMITTED, "partial", "Partial: the run is still training"),
        (RunStatus.FAILED, "partial", "Partial: the run ended failed"),
        (RunStatus.FAILED, "completed", "Partial: the run ended failed"),
        (RunStatus.CANCELLED, "partial", "Partial: the run ended cancelled"),
        (RunStatus.COMPLETED, "partial", "Partial: the training reported \N{LEFT DOUBLE QUOTATION MARK}partial"),
    ],
)
def test_what_is_not_a_completed_run_is_marked_partial(
    row_status: RunStatus, file_status: Any, expected: str | None
) -> None:
    """Whatever says so, the row or the file; with the epoch that it ends with."""
    view = make_view(make_record(epochs=5, status=file_status), status=row_status)
    marks = [note for note in view.notes if note.title.startswith("Partial")]
    assert [mark.title[: len(expected or "")] for mark in marks] == ([expected] if expected else [])
    assert all(mark.kind == "warning" and "epoch 4" in mark.text for mark in marks)


def test_points_that_are_not_finite_are_marked() -> None:
    """At their epoch, by series and kind; counted from 1 where a person reads it."""
    view = make_view(make_record(nan_at=20))
    assert view.charts is not None
    assert [(mark.epoch, mark.label) for mark in view.charts.loss.marks] == [(20, "validation is NaN")]
    (note,) = [note for note in view.notes if note.title == "Values that are not finite"]
    assert note.text == "epoch 20: validation is NaN. Crosses mark them on the charts."


def test_points_in_epochs_left_out_are_counted() -> None:
    """What sampling dropped cannot be drawn, but it is said."""
    (note,) = [note for note in make_view(make_record(nan_at=21)).notes if note.title == "Values that are not finite"]
    assert note.text.startswith("In epochs that sampling left out: 1 ")
    kept = make_view(make_record(nan_at=21), keep_extremes=True)
    assert kept.charts is not None
    assert [mark.epoch for mark in kept.charts.loss.marks] == [21]


def test_what_was_noticed_of_the_source_is_said() -> None:
    """Such as two keys of one name, or steps that no chart counts exactly."""
    view = make_view(make_record(warnings=["`train_loss` is charted under its own name", "`host` is kept"]))
    (note,) = [note for note in view.notes if note.title == "Noticed when this run was read"]
    assert note.text == "`train_loss` is charted under its own name; `host` is kept."
    assert not [note for note in make_view(make_record()).notes if note.title.startswith("Noticed")]


def test_params_that_are_left_out_are_named() -> None:
    """A history has room for so much text alone."""
    view = make_view(make_record(params={f"p{number}": "v" * 100_000 for number in range(4)}))
    (note,) = [note for note in view.notes if note.title == "Parameters left out"]
    assert note.text.startswith("2 of this run's parameters are too long, and not shown: p")


def test_a_final_metric_that_is_not_finite_is_named() -> None:
    """Null among the values; the page says which it was."""
    record = make_record(
        final_metrics={"test_loss": None}, non_finite={"final_metrics": {"test_loss": {"": "inf"}}}, histograms=False
    )
    assert make_view(record).metrics == {"test_loss": "+\N{INFINITY}"}


def test_recall_stands_beside_popularity() -> None:
    """Ascending k, and apart from the other metrics."""
    view = make_view()
    assert [(line.k, line.model, line.popularity) for line in view.recalls] == [
        (5, 0.0388, 0.0136),
        (10, 0.0672, 0.0228),
    ]
    assert view.recalls[0].times == pytest.approx(2.853, abs=1e-3)
    assert set(view.metrics) == {"final_loss", "final_val_loss"}


def test_a_popularity_of_zero_gives_no_ratio() -> None:
    """Nothing is divided by it."""
    view = make_legacy(final_metrics={"test_recall_at_5": 0.1, "popularity_recall_at_5": 0.0})
    assert [line.times for line in view.recalls] == [None]


def test_ragged_series_are_drawn_and_named() -> None:
    """Short ones end early, long ones are cut, and the page says so."""
    view = make_legacy(loss={"train": [2, 1, 0], "val": [3]})
    assert view.charts is not None
    assert view.charts.loss.curves == {"train": [2.0, 1.0], "val": [3.0, None]}
    (note,) = [note for note in view.notes if note.title == "Series of unequal length"]
    assert note.text.startswith("loss.train has 3 values for 2 epochs; loss.val has 1 values for 2 epochs.")


def test_bare_nan_tokens_are_marked() -> None:
    """JSON has none, legacy payloads do."""
    view = make_legacy(loss={"train": [float("nan"), float("inf")], "val": [float("-inf"), 1.0]})
    assert view.charts is not None
    assert view.charts.loss.curves == {"train": [None, None], "val": [None, 1.0]}
    assert [(mark.epoch, mark.label) for mark in view.charts.loss.marks] == [
        (0, "training is NaN"),
        (0, "validation is -\N{INFINITY}"),
        (5, "training is +\N{INFINITY}"),
    ]
    assert "Cached by the legacy application" in titles(view)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"[1]",
        b'"x"',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_history_that_cannot_be_read_is_said_so(stored: bytes) -> None:
    """The page stands, without charts."""
    view = to_view(QuickTest(id=1, status=RunStatus.COMPLETED), stored)
    assert view.charts is None
    assert titles(view) == ["The stored history cannot be read"]
    assert to_charts(stored) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": None},
        {"epochs": "x", "loss": [1, 2]},
        {"epochs": []},
        {"epochs": [], "loss": {}},
        {"loss": {"train": None, "val": "x", "other": [True, "1"]}},
        {"loss": {"train": [10**400, 1]}},
        {"gradient": None, "final_metrics": [1], "params": "x", "sampling": [], "digest": None, "non_finite": [1]},
        {"non_finite": {"loss": {"val": {"x": "nan", "1": "what"}, "train": 3}}},
        {"sampling": {"interval": None, "kept": 1, "total": 2}},
        {"final_metrics": {"test_recall_at_5": "x", "popularity_recall_at_5": None}},
    ],
)
def test_no_payload_breaks_the_page(changes: dict[str, Any]) -> None:
    """Wrong types anywhere are left out, never an error."""
    view = make_legacy(**changes)
    assert view.charts is not None


def test_nothing_published_shows_the_rows_parameters() -> None:
    """They are all that is known of the run."""
    run = QuickTest(id=3, status=RunStatus.PENDING, parameters={"epochs": 3})
    for stored in (None, b'{"available": false}'):
        view = to_view(run, stored)
        assert (view.charts, view.notes, view.params, view.live) == (None, [], {"epochs": 3}, True)
        assert view.title == "Run 3"


EPOCHS = range(50)
CURVES: dict[str, list[float | None]] = {
    "learning_rate": [0.1] * 50,
    "recall": [2.0 * epoch for epoch in EPOCHS],
    "val_recall": [None if epoch == 10 else 1.0 * epoch for epoch in EPOCHS],
    "val_speed": [1.0] * 50,
}


def test_every_other_series_has_a_chart() -> None:
    """In the history's order; a validation's series with its own; a value an epoch, or on steps of its own."""
    record = make_record(
        metrics=CURVES,
        other_series={
            "batch_loss": OtherSeries(steps=[0, 50, 100], values=[3.0, None, 1.0]),
            "far": OtherSeries(steps=[2**53 + 1, 2**53 + 3], values=[1.0, 2.0]),
        },
        non_finite={"metrics": {"val_recall": {"10": "nan"}}, "other_series": {"batch_loss": {"1": "inf"}}},
    )
    publication = to_publication(record, quick_test_id=1, source="file", sampling=Sampling(interval=1))
    stored = json.dumps(publication.history, default=str).encode()
    view = to_view(QuickTest(id=1, status=RunStatus.COMPLETED), stored)
    assert view.charts is not None
    found = {chart.title: chart for chart in view.charts.others}
    assert {title: chart.axis for title, chart in found.items()} == {
        "learning_rate": "epoch",
        "recall": "epoch",
        "speed": "epoch",
        "batch_loss": "step",
        "far": "step",
    }
    assert [line.label for line in found["recall"].lines] == ["recall", "val_recall"]
    assert [line.best for line in found["recall"].lines] == [(49, 98.0), (49, 49.0)]
    assert [(mark.epoch, mark.label) for mark in found["recall"].marks] == [(10, "val_recall is NaN")]
    assert (found["batch_loss"].lines[0].steps, found["batch_loss"].lines[0].values) == ([0, 50, 100], [3.0, None, 1.0])
    assert [(mark.epoch, mark.label) for mark in found["batch_loss"].marks] == [(50, "batch_loss is +\N{INFINITY}")]
    assert found["far"].lines[0].steps == ["9007199254740993", "9007199254740995"]
    best = {line.name: (line.value, line.at, line.direction) for line in view.best}
    assert best["batch_loss"] == (1.0, "step 100", "lowest")
    assert best["val_recall"] == (49.0, "epoch 49", "highest")
    assert "learning_rate" not in best


def test_a_run_that_trains_says_how_far_it_is() -> None:
    """And that nothing is final; once it has ended it says nothing of that."""
    publication = to_publication(
        make_record(epochs=12, status="partial"),
        quick_test_id=1,
        source="file",
        sampling=Sampling(),
        progress=Progress(epochs_done=12, epochs=50, at=NOW),
    )
    stored = json.dumps(publication.history, default=str).encode()
    view = to_view(QuickTest(id=1, status=RunStatus.RUNNING), stored)
    assert view.progress is not None
    assert view.progress.said == "12 of 50 epochs"
    assert "12 of 50 epochs are trained" in view.notes[0].text
    assert "Nothing here is final" in view.notes[0].text
    assert to_view(QuickTest(id=1, status=RunStatus.FAILED), stored).progress is None


def test_a_run_without_curves_says_so() -> None:
    """It shows its values and parameters; nothing pretends that a chart is missing."""
    record = MetricsRecord(status="completed", saved_at=NOW, final_metrics={"accuracy": 0.9}, params={"C": 1.0})
    view = make_view(record)
    assert titles(view) == ["This run has no curves"]
    assert view.charts is not None
    assert view.charts.empty
    assert (view.metrics, view.params) == ({"accuracy": 0.9}, {"C": 1.0})


@pytest.mark.parametrize(
    "part",
    [
        {"metrics": "no map"},
        {"metrics": {"a": "no list", "b": [1]}},
        {"series": {"a": None, "b": {"steps": [1, None], "values": [1.0]}}},
        {"best": {"a": None, "b": {"value": "x"}, "c": {"value": 1.0, "epoch": [1]}}},
        {"progress": {"epochs_done": "12"}},
        {"sampling": {"cut": {"left_out": 3, "names": "none"}}},
        {"non_finite": {"series": {"b": {"7": "nan", "x": "nan"}}}, "series": {"b": {"steps": [1], "values": [1.0]}}},
    ],
)
def test_odd_parts_of_a_history_break_no_page(part: dict[str, Any]) -> None:
    """What can be drawn is drawn, whatever wrote it."""
    view = make_legacy(**part)
    assert view.charts is not None
    assert view.charts.loss.curves == {"train": [2.0, 1.0]}


def test_series_that_were_cut_are_named() -> None:
    """A history has room for a number of series."""
    names = [f"layer_{number}" for number in range(30)]
    view = make_legacy(sampling={"cut": {"left_out": 30, "names": names, "by_max_points": 2}})
    said = {note.title: note.text for note in view.notes}
    named = "30 of this run's series are not drawn, because there are too many: layer_0,"
    assert said["Series left out"].startswith(named)
    assert said["Series left out"].endswith("layer_19, ...")
    assert said["Thinned curves"].startswith("2 of the curves")
