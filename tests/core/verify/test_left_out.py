"""What a published history leaves out of a run, as a table: each run, and what is named of it."""

from typing import Any

import msgspec
import pytest

from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import Sampling
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.verify.findings import LeftOut
from switchyard.core.verify.left_out import list_left_out
from tests.core.mlflow.factories import INF, make_points, make_run, make_series, make_small

LOSS = {"loss": make_series([3.0, 2.0, 1.0])}
NO_TAGS: dict[str, str] = {}


def find(
    run: RawRun, *, interval: int = 1, has_file: bool = False, **history: Any
) -> dict[str, tuple[int | None, list[str]]]:
    """By what is left out, how many, and the names; without the times of points, which every run has."""
    return {left.what: (left.count, left.names) for left in list_all(run, interval, has_file, history)
            if left.what != "times of points"}  # fmt: skip


def list_all(run: RawRun, interval: int, has_file: bool, history: dict[str, Any]) -> list[LeftOut]:
    record = from_points(run)
    published = to_publication(record, quick_test_id=1, source="mlflow", sampling=Sampling(interval=interval)).history
    return list_left_out(run, record, published | {"schema_version": 1} | history, has_file=has_file)


def charted(run: RawRun) -> RawRun:
    """As it is read where only charted keys are."""
    metrics = {key: points for key, points in run.metrics.items() if key in SCALARS}
    return msgspec.structs.replace(run, metrics=metrics, keys=SCALARS)


def small(**metrics: Any) -> RawRun:
    return make_small(LOSS | metrics, tags=NO_TAGS)


MANY = {f"key_{number:02}": make_series([1.0, 2.0, 3.0]) for number in range(25)}
BINS = {f"query_hist_bin_{number}": make_series([1.0, 2.0, 3.0]) for number in range(25)}
BIN_NAMES = [f"query_hist_bin_{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("run", "how", "expected"),
    [
        pytest.param(small(), {}, {}, id="nothing"),
        pytest.param(small(), {"interval": 2}, {"values of charted series": (1, [])}, id="an epoch between others"),
        pytest.param(
            small(val_loss=make_points((0, 1.0), (1, 1.0)), weight_norm=make_series([1.0, 1.0, 1.0])), {"interval": 2},
            {"values of charted series": (3, [])}, id="only values that are there, of losses and norms",
        ),
        pytest.param(small(), {"epochs": None}, {"values of charted series": (3, [])}, id="no epochs at all"),
        pytest.param(
            small(recall=make_series([1.0, 2.0, 3.0]), batch_loss=make_series([1.0] * 9)), {},
            {"keys": (2, ["recall", "batch_loss"])}, id="keys that are not charted",
        ),
        pytest.param(
            small(val_loss=make_series([1.0, 2.0, 3.0], first=-1)), {}, {"keys": (1, ["val_loss"])},
            id="a charted key with a step that is no epoch",
        ),
        pytest.param(
            small(final_loss=make_series([1.0, 2.0])), {}, {"keys": (1, ["final_loss"])},
            id="a final metric with more than its last value",
        ),
        pytest.param(small(final_loss=make_points((0, 1.0))), {}, {}, id="a final metric"),
        pytest.param(small(**MANY), {}, {"keys": (25, list(MANY)[:20])}, id="the first twenty of many names"),
        pytest.param(small(**BINS), {}, {}, id="histograms that are published"),
        pytest.param(
            small(**BINS), {"histogram_available": False}, {"histogram keys": (25, BIN_NAMES)},
            id="histograms that are not",
        ),
        pytest.param(
            small(val_loss=make_points((0, 1.0), (0, 500, 2.0), (1, 1.0), (2, 1.0))), {},
            {"values logged before another of their step": (1, ["val_loss"])}, id="a step logged twice",
        ),
        pytest.param(
            small(batch_loss=make_points((0, 1.0), (0, 500, 2.0), (7, 1.0))), {}, {"keys": (1, ["batch_loss"])},
            id="a step logged twice where every point is kept",
        ),
        pytest.param(
            small(val_loss=make_series([INF, -INF, 1.0])), {}, {"infinities": (2, ["val_loss"])}, id="infinities"
        ),
        pytest.param(
            make_small(LOSS, tags={"note": "x", "mlflow.user": "y", "mlflow.runName": "a run"}), {},
            {"tags": (2, ["mlflow.user", "note"])}, id="tags but for the name",
        ),
        pytest.param(
            charted(small(final_loss=make_points((0, 1.0)))), {}, {"keys": (None, [])},
            id="of charted keys alone: others that were not counted",
        ),
        pytest.param(
            charted(small(final_loss=make_series([1.0, 2.0, 3.0]), val_loss=make_series([1.0, 2.0], first=-1))), {},
            {"keys": (None, []), "points beside the epochs": (3, ["final_loss", "val_loss"])},
            id="of charted keys alone: points beside the epochs",
        ),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named_and_counted(
    run: RawRun, how: dict[str, Any], expected: dict[str, tuple[int | None, list[str]]]
) -> None:
    """Only what that very run has; names are the first twenty."""
    assert find(run, **how) == expected


@pytest.mark.parametrize(("has_file", "kept_in"), [(True, "training_metrics.json"), (False, "an export")])
def test_it_is_said_where_it_is_kept_and_why_it_is_left_out(has_file: bool, kept_in: str) -> None:
    """The record's own values are in the file, where there is one; times, tags and repetitions are never in it."""
    run = make_run({"loss": make_points((0, 1.0), (0, 500, INF), (1, 2.0), (2, 3.0))})
    found = {left.what: left for left in list_all(run, 2, has_file, {"histogram_available": False})}
    in_file = {what for what, left in found.items() if left.kept_in == "training_metrics.json"}
    assert found.keys() == {
        "values of charted series", "keys", "histogram keys", "values logged before another of their step",
        "infinities", "times of points", "tags",
    }  # fmt: skip
    assert in_file == ({"values of charted series", "keys", "histogram keys"} if has_file else set())
    assert found["keys"].kept_in == kept_in
    assert found["times of points"].count == sum(len(points.steps) for points in run.metrics.values())
    assert all(left.why for left in found.values())


V2 = {"schema_version": 2}
STATISTICS = {"query_weights_mean": make_series([1.0, 2.0, 3.0]), "query_grad_norm": make_series([1.0, 2.0, 3.0])}


@pytest.mark.parametrize(
    ("run", "how", "expected"),
    [
        pytest.param(small(), {}, {}, id="nothing"),
        pytest.param(
            small(recall=make_series([1.0, 2.0, 3.0])), {"interval": 2}, {"values of charted series": (2, [])},
            id="an epoch between others, of every series",
        ),
        pytest.param(
            small(batch_loss=make_series([1.0] * 9)), {"interval": 4}, {"values of charted series": (7, [])},
            id="steps between others, of a series on its own",
        ),
        pytest.param(small(recall=make_series([1.0, 2.0, 3.0])), {}, {}, id="keys of any name are published"),
        pytest.param(small(**STATISTICS), {}, {"keys": (2, list(STATISTICS))}, id="statistics of the towers"),
        pytest.param(
            small(**BINS), {"histogram_available": False}, {"histogram keys": (25, BIN_NAMES)},
            id="histograms that are not published",
        ),
        pytest.param(charted(small(**BINS)), {}, {"histogram keys": (None, [])}, id="histograms that were not read"),
        pytest.param(
            make_small(LOSS, tags={"mlflow.note.content": "x", "mlflow.user": "y", "stage": "draft"}),
            {"tags": {"note": "x", "stage": "draft"}}, {"tags": (1, ["mlflow.user"])}, id="tags that are not a user's",
        ),
    ],
)  # fmt: skip
def test_what_version_2_leaves_out_is_less(
    run: RawRun, how: dict[str, Any], expected: dict[str, tuple[int | None, list[str]]]
) -> None:
    """Every series is published; between two samples the full series have the values."""
    assert find(run, **how | V2) == expected
    kept = {left.what: left.kept_in for left in list_all(run, how.get("interval", 1), False, V2)}
    assert kept.get("values of charted series", "the full series") == "the full series"
