"""Reading schema version 1: what is taken as it is, what is kept with a warning, and what is refused, with its path."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MetricsRecord, OtherSeries, RunIdentity
from tests.core.metrics.factories import DROP, EDGES, make_tree, to_bytes


def read(changes: dict[str, Any]) -> MetricsRecord:
    return read_record(to_bytes(make_tree(changes)), where="the file of quick test 12")


def test_a_whole_file_is_read_as_it_is() -> None:
    """Every section arrives, in the types that the record promises, with nothing to warn about."""
    record = read({"saved_at": "2026-01-15T12:30:00.250+02:00", "epochs": [1, 5, 6], "loss/loss": [3, 2, None]})
    assert record.saved_at == datetime(2026, 1, 15, 10, 30, 0, 250_000, tzinfo=UTC)
    assert record.saved_at.tzinfo is UTC
    assert record.run == RunIdentity(quick_test_id=12, key="0c4f", attempt=1, restart=0, name="a run", seed=7)
    assert (record.status, record.available, record.epochs) == ("completed", True, [1, 5, 6])
    assert record.loss["loss"] == [3.0, 2.0, None]
    assert all(isinstance(value, float) for value in record.loss["loss"][:2])
    tower = record.weight_stats["query"]
    assert tower.series.keys() == {"mean", "std", "min", "max", "norm"}
    assert tower.histogram is not None
    assert tower.histogram.bin_edges == EDGES
    assert tower.histogram.counts == [[4] * 25] * 3
    assert record.gradient_stats["candidate"].series["touched_fraction"] == [0.5] * 3
    assert record.other_series["batch_loss"] == OtherSeries(steps=[0, 10, 10, 20], values=[3.0, None, 2.0, 1.5])
    assert record.final_metrics == {"final_loss": 0.25, "test_loss": None, "test_recall_at_5": 0.002}
    assert record.params["layers"] == [64, {"relu": True}]
    assert (record.unknown, record.warnings, record.non_finite) == ({}, [], {})


def test_only_six_keys_are_needed() -> None:
    """A file with the required keys alone is whole: every other section is empty by default."""
    needed = ("schema_version", "status", "saved_at", "run", "epochs", "loss")
    tree = {name: value for name, value in make_tree().items() if name in needed}
    record = read_record(to_bytes(tree), where="a file")
    assert record.available
    assert (record.gradient, record.weight_stats, record.metrics, record.params) == ({}, {}, {}, {})


def test_a_run_killed_in_its_first_epoch_is_read() -> None:
    """No epoch at all is a valid history: everything is there, and empty."""
    assert read_record(to_bytes(make_tree(epochs=0)), where="a file").loss["val_loss"] == []


def test_an_unavailable_record_is_kept() -> None:
    """`available: false` with valid content is a record; whether to publish it is not the reader's to say."""
    assert read({"available": False}).available is False


def test_unknown_keys_are_kept_by_path_with_a_warning_each() -> None:
    """A newer trainer's keys are neither lost nor silent, at any level."""
    record = read(
        {
            "host": "a",
            "run/zone": {"b": 1},
            "weight_stats/query/histogram/note": None,
            "other_series/batch_loss/unit": "nats",
            "other_series/a.b": {"c": 0},
        }
    )
    assert record.unknown == {
        "host": "a",
        "run.zone": {"b": 1},
        "weight_stats.query.histogram.note": None,
        "other_series.batch_loss.unit": "nats",
        'other_series["a.b"].c': 0,
    }
    assert len(record.warnings) == 5
    assert "`host` is not a known key; it is kept" in record.warnings


def test_series_of_other_names_are_series_all_the_same() -> None:
    """The maps of series are open; a name that no chart knows is kept and warned about."""
    record = read({"loss/aux_loss": [1, 2, 3], "gradient/bias": [1, 2, 3], "weight_stats/user/mean": [0, 0, 0]})
    assert record.loss["aux_loss"] == [1.0, 2.0, 3.0]
    assert record.weight_stats["user"].series == {"mean": [0.0, 0.0, 0.0]}
    assert [warning.split()[0] for warning in record.warnings] == [
        "`loss.aux_loss`",
        "`gradient.bias`",
        "`weight_stats.user`",
    ]


def test_what_is_no_series_in_a_tower_stays_beside_them() -> None:
    """A flag such as `sampled` is kept as it came."""
    assert read({"gradient_stats/query/sampled": True}).gradient_stats["query"].other == {"sampled": True}


def test_non_finite_names_what_a_null_was() -> None:
    """Every section's nulls can be told apart: per epoch, of one final metric, by position on other steps."""
    non_finite = {
        "loss": {"val_loss": {"5": "nan"}},
        "weight_stats.query": {"mean": {"0": "-inf"}},
        "final_metrics": {"test_loss": {"": "inf"}},
        "other_series": {"batch_loss": {"1": "nan"}},
    }
    changes = {"epochs": [0, 5, 9], "loss/val_loss/1": None, "weight_stats/query/mean/0": None}
    assert read(changes | {"non_finite": non_finite}).non_finite == non_finite


def test_edges_may_repeat_only_where_legacy_code_cut_their_digits() -> None:
    """Legacy edges are decimals cut to few digits, so that narrow bins may share one; our own never do."""
    edges = [EDGES[0], *EDGES[:-1]]
    place = "weight_stats/query/histogram"
    record = read({f"{place}/bin_edges": edges, f"{place}/edges_known": "first_epoch"})
    assert record.weight_stats["query"].histogram is not None
    with pytest.raises(BadRecord, match="must be larger than the edge before it"):
        read({f"{place}/bin_edges": edges})


HISTOGRAM = "weight_stats/query/histogram"
HISTOGRAM_PATH = "weight_stats.query.histogram"
ZONE = "must be a date and time with its zone, such as 2026-01-15T10:30:00Z; got "
EDGES_KNOWN = 'must be "none" without `bin_edges`, and with them "all" or "first_epoch"; got '

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no status": ({"status": DROP}, "status", "must be there; got nothing"),
    "other status": ({"status": "done"}, "status", 'must be partial, completed or failed; got the text "done"'),
    "available": ({"available": 1}, "available", "must be true or false; got 1"),
    "no zone": ({"saved_at": "2026-01-15T10:30:00"}, "saved_at", "must be a date and time with its zone"),
    "no date": ({"saved_at": "yesterday"}, "saved_at", ZONE + 'the text "yesterday"'),
    "date a number": ({"saved_at": 1_700_000_000}, "saved_at", ZONE + "1700000000"),
    "before year 1": ({"saved_at": "0001-01-01T00:00:00+23:59"}, "saved_at", "must be a date"),
    "no run": ({"run": DROP}, "run", "must be there"),
    "run null": ({"run": None}, "run", "must be an object; got null"),
    "no key": ({"run/key": DROP}, "run.key", "must be there"),
    "attempt": ({"run/attempt": "1"}, "run.attempt", 'must be an integer of at least 0; got the text "1"'),
    "restart": ({"run/restart": True}, "run.restart", "must be an integer of at least 0; got true"),
    "huge attempt": ({"run/attempt": 2**63 - 1}, "run.attempt", "must be at most 2147483647; got 9223372036854775807"),
    "huge restart": ({"run/restart": 2**31}, "run.restart", "must be at most 2147483647; got 2147483648"),
    "id": ({"run/quick_test_id": -1}, "run.quick_test_id", "must be an integer of at least 0; got -1"),
    "huge id": ({"run/quick_test_id": 2**64}, "run.quick_test_id", "must be an integer"),
    "no epochs": ({"epochs": DROP}, "epochs", "must be there"),
    "epochs": ({"epochs": {}}, "epochs", "must be an array of integers; got an object"),
    "float epoch": ({"epochs": [0, 1.0, 2]}, "epochs[1]", "must be an integer of at least 0; got 1.0"),
    "true epoch": ({"epochs": [0, True, 2]}, "epochs[1]", "must be an integer of at least 0; got true"),
    "negative": ({"epochs": [-1, 0, 1]}, "epochs[0]", "must be an integer of at least 0; got -1"),
    "unsorted": ({"epochs": [0, 2, 1]}, "epochs[2]", "must be larger than the epoch before it, 2; got 1"),
    "twice": ({"epochs": [0, 1, 1]}, "epochs[2]", "must be larger than the epoch before it, 1; got 1"),
    "huge epoch": ({"epochs": [0, 1, 2**63]}, "epochs[2]", "must be an integer of at least 0; got 9223372036854775808"),
    "loss": ({"loss": []}, "loss", "must be an object of arrays; got an array of 0"),
    "ragged": ({"loss/val_loss": [1, 2]}, "loss.val_loss", "must have 3 values, one an epoch; got 2"),
    "too long": (
        {"metrics/learning_rate": [1] * 4},
        "metrics.learning_rate",
        "must have 3 values, one an epoch; got 4",
    ),
    "text": ({"loss/loss": [1, "2", 3]}, "loss.loss[1]", 'must be a number or null; got the text "2"'),
    "true": ({"gradient/total": [1, 2, True]}, "gradient.total[2]", "must be a number or null; got true"),
    "huge number": ({"loss/loss": [1, 10**400, 3]}, "loss.loss[1]", "must be a number or null; got 1000"),
    "no array": (
        {"weight_stats/query/mean": 3},
        "weight_stats.query.mean",
        "must be an array of numbers and nulls; got 3",
    ),
    "towers": ({"gradient_stats": 3}, "gradient_stats", "must be an object with one object a tower; got 3"),
    "tower": (
        {"gradient_stats/query": []},
        "gradient_stats.query",
        "must be an object of statistics; got an array of 0",
    ),
    "histogram": ({HISTOGRAM: [1]}, HISTOGRAM_PATH, "must be an object; got an array of 1"),
    "row": ({f"{HISTOGRAM}/counts/1": [1] * 24}, HISTOGRAM_PATH + ".counts[1]", "must have 25 counts; got 24"),
    "no row": (
        {f"{HISTOGRAM}/counts/1": 7},
        HISTOGRAM_PATH + ".counts[1]",
        "must be an array of 25 counts, or null; got 7",
    ),
    "rows": ({f"{HISTOGRAM}/counts": [None]}, HISTOGRAM_PATH + ".counts", "must have 3 rows, one an epoch; got 1"),
    "count": (
        {f"{HISTOGRAM}/counts/2/24": -1},
        HISTOGRAM_PATH + ".counts[2][24]",
        "must be a count (an integer of at least 0) or null; got -1",
    ),
    "float count": ({f"{HISTOGRAM}/counts/0/0": 4.0}, HISTOGRAM_PATH + ".counts[0][0]", "must be a count"),
    "edges": ({f"{HISTOGRAM}/bin_edges": EDGES[1:]}, HISTOGRAM_PATH + ".bin_edges", "must have 26 numbers; got 25"),
    "no edges": ({f"{HISTOGRAM}/bin_edges": []}, HISTOGRAM_PATH + ".bin_edges", "must have 26 numbers; got 0"),
    "edge": ({f"{HISTOGRAM}/bin_edges/3": None}, HISTOGRAM_PATH + ".bin_edges[3]", "must be a number; got null"),
    "falling edge": (
        {f"{HISTOGRAM}/bin_edges/3": -5},
        HISTOGRAM_PATH + ".bin_edges[3]",
        "must be larger than the edge before it, -0.84; got -5.0",
    ),
    "edges unsaid": ({f"{HISTOGRAM}/edges_known": DROP}, HISTOGRAM_PATH + ".edges_known", EDGES_KNOWN + "nothing"),
    "edges gone": ({f"{HISTOGRAM}/bin_edges": None}, HISTOGRAM_PATH + ".edges_known", EDGES_KNOWN + '"all"'),
    "edges known": (
        {f"{HISTOGRAM}/edges_known": "some"},
        HISTOGRAM_PATH + ".edges_known",
        "must be all, first_epoch or none",
    ),
    "edges_assumed": (
        {f"{HISTOGRAM}/edges_assumed": 1},
        HISTOGRAM_PATH + ".edges_assumed",
        "must be true or false; got 1",
    ),
    "sampled": ({f"{HISTOGRAM}/sampled": 0}, HISTOGRAM_PATH + ".sampled", "must be true or false; got 0"),
    "other": (
        {"other_series/batch_loss": [1]},
        "other_series.batch_loss",
        "must be an object with `steps` and `values`",
    ),
    "others": ({"other_series": [1]}, "other_series", "must be an object; got an array of 1"),
    "steps": (
        {"other_series/batch_loss/steps": [0, 2, 1, 3]},
        "other_series.batch_loss.steps[2]",
        "must be no smaller than the step before it, 2; got 1",
    ),
    "step": (
        {"other_series/batch_loss/steps/0": 0.5},
        "other_series.batch_loss.steps[0]",
        "must be an integer; got 0.5",
    ),
    "values": (
        {"other_series/batch_loss/values": [1]},
        "other_series.batch_loss.values",
        "must have 4 values, one a step; got 1",
    ),
    "final": (
        {"final_metrics/test_loss": "0.3"},
        "final_metrics.test_loss",
        'must be a number or null; got the text "0.3"',
    ),
    "finals": ({"final_metrics": None}, "final_metrics", "must be an object of numbers; got null"),
    "params": ({"params": [1]}, "params", "must be an object; got an array of 1"),
    "deep": (
        {"params/deep": json.loads("[" * 65 + "]" * 65)},
        "params.deep",
        "must be nested at most 64 deep; got more",
    ),
    "many items": (
        {"weight_stats/query/histogram/note": [0] * 100_000},
        HISTOGRAM_PATH + ".note",
        "must have, with all other params and unknown keys of the file, at most 100000 items; got more",
    ),
    "odd name": ({"metrics/a.b": [1]}, 'metrics["a.b"]', "must have 3 values, one an epoch; got 1"),
    "kind": (
        {"non_finite": {"loss": {"loss": {"0": "NaN"}}}},
        "non_finite",
        "must be {section: {series: {position: nan, inf or -inf}}}",
    ),
    "not null": (
        {"non_finite": {"loss": {"loss": {"0": "nan"}}}},
        "non_finite.loss.loss.0",
        "must name a place that is null; got a place with 1.0",
    ),
    "no epoch": (
        {"non_finite": {"loss": {"loss": {"3": "nan"}}}},
        "non_finite.loss.loss.3",
        "must name a place that is in the file; got one that is not",
    ),
    "no series": ({"non_finite": {"loss": {"los": {"0": "nan"}}}}, "non_finite.loss.los.0", "must name a place"),
    "no section": ({"non_finite": {"losses": {"loss": {"0": "nan"}}}}, "non_finite.losses.loss.0", "must name a place"),
    "no tower": (
        {"non_finite": {"weight_stats.user": {"mean": {"0": "nan"}}}},
        'non_finite["weight_stats.user"].mean.0',
        "must name",
    ),
    "no metric": ({"non_finite": {"final_metrics": {"a": {"": "nan"}}}}, 'non_finite.final_metrics.a[""]', "must name"),
    "no position": (
        {"non_finite": {"other_series": {"batch_loss": {"01": "nan"}}}},
        "non_finite.other_series.batch_loss.01",
        "must name",
    ),
}


@pytest.mark.parametrize(("changes", "path", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_breaks_the_contract_is_refused_by_path(changes: dict[str, Any], path: str, expected: str) -> None:
    """The error says where the file was, the JSON path, what was expected and what was received."""
    with pytest.raises(BadRecord) as caught:
        read(changes)
    assert caught.value.where == "the file of quick test 12"
    assert any(problem.startswith(f"`{path}` {expected}") for problem in caught.value.problems), caught.value.problems


def test_what_is_kept_unread_is_counted_together() -> None:
    """A thousand keys of a thousand items are as many as one of a million; the one that is too many is named."""
    many = {f"new {number}": [0] * 999 for number in range(150)}
    with pytest.raises(BadRecord) as caught:
        read(many)
    assert [problem.split("`")[1] for problem in caught.value.problems] == ["new 100"]
    assert len(read(dict(list(many.items())[:99])).unknown) == 99


def test_all_problems_are_told_at_once() -> None:
    """One reading of the error is enough to mend the file."""
    changes = {"status": "x", "run/key": 3, "loss/loss": [None], "loss/val_loss": ["a", "b", 1], "final_metrics/a": []}
    with pytest.raises(BadRecord) as caught:
        read(changes)
    places = [problem.split("`")[1] for problem in caught.value.problems]
    assert places == ["status", "run.key", "loss.loss", "loss.val_loss[0]", "loss.val_loss[1]", "final_metrics.a"]


def test_many_problems_are_counted_not_listed() -> None:
    """An error stays readable when everything is wrong."""
    with pytest.raises(BadRecord) as caught:
        read({"metrics": {f"m{i}": ["x"] * 3 + [i] * 9 for i in range(200)}})
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "and 700 problems more"
    with pytest.raises(BadRecord, match=r"`loss\.loss` has 7 more such values"):
        read({"epochs": list(range(10)), "loss": {"loss": ["x"] * 10}})


@pytest.mark.parametrize("version", [2, 0, -1, "1", 1.0, True, None, [1], {}])
def test_other_versions_are_refused_by_name(version: Any) -> None:
    """Only the integer 1 is version 1; nothing of another version is guessed at."""
    with pytest.raises(BadRecord, match="`schema_version` must be the integer 1, or absent"):
        read({"schema_version": version})


@pytest.mark.parametrize(("value", "token"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_a_token_that_is_not_strict_json_is_refused_by_place(value: float, token: str) -> None:
    """Version 1 has null and `non_finite` for what is not finite; a bare token says that its writer is broken."""
    with pytest.raises(BadRecord) as caught:
        read({"loss/val_loss/1": value, "final_metrics/test_loss": value})
    assert [problem.split(" must")[0] for problem in caught.value.problems] == [
        "`loss.val_loss[1]`",
        "`final_metrics.test_loss`",
    ]
    assert caught.value.problems[0].endswith(f"got the token {token}")
