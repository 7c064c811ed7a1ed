"""Digests: equal for equal records and for no others, and the same bytes as docs/contracts.md describes."""

import hashlib
import math
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from switchyard.core.history.digest import to_digests, to_first_digests
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MetricsRecord, OtherSeries, RunIdentity
from switchyard.core.metrics.writing import to_json
from tests.core.metrics.factories import make_record, make_tree, records, to_bytes

NOT_DIGESTED: dict[str, Any] = {
    "run": None,
    "status": "partial",
    "saved_at": datetime(1970, 1, 1, tzinfo=UTC),
    "available": True,
    "warnings": [],
}
FIRST_CHARTED = ("epochs", "loss", "gradient", "final_metrics", "params")
CHARTED = (*FIRST_CHARTED, "metrics", "other_series")


def comparable(record: MetricsRecord) -> Any:
    """What the digests cover, such that Python's == is equality of JSON: True is not 1 here."""
    covered = msgspec.structs.replace(record, **NOT_DIGESTED)
    return _typed(msgspec.to_builtins(covered))


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return ("bool", value) if isinstance(value, bool) else value


@given(records(), records())
@settings(deadline=None, max_examples=40)
def test_only_equal_records_have_equal_digests(one: MetricsRecord, other: MetricsRecord) -> None:
    """Whatever two records hold, their digests say whether it is the same."""
    is_equal = comparable(one) == comparable(other)
    assert (to_digests(one).full == to_digests(other).full) is is_equal


@given(records(), st.data())
@settings(deadline=None, max_examples=80)
def test_a_change_anywhere_changes_the_digest(record: MetricsRecord, data: st.DataObject) -> None:
    """One bit of one number, a null more, a name: `full` always shows it, `charted` if and only if it is charted."""
    changed = msgspec.convert(msgspec.to_builtins(record), MetricsRecord)
    places = list(_find_numbers(changed))
    assume(places)
    section, holder, key = data.draw(st.sampled_from(places))
    value = holder[key]
    new = value + 1 if type(value) is int else data.draw(st.sampled_from([math.nextafter(value, math.inf), None]))
    assume(new is None or abs(new) < 2**63)
    holder[key] = new
    before, after = to_digests(record), to_digests(changed)
    assert after.full != before.full
    assert (after.charted != before.charted) is (section in CHARTED)
    first = (to_first_digests(record), to_first_digests(changed))
    assert first[0].full != first[1].full
    assert (first[0].charted != first[1].charted) is (section in FIRST_CHARTED)
    different = {path for path in before.series if before.series[path] != after.series[path]}
    assert len(different) == 1
    assert different.pop().startswith(section) or section == "unknown"


def _find_numbers(record: MetricsRecord) -> Iterator[tuple[str, Any, Any]]:
    """Every number of the record that a digest covers: its section, and where it stands."""
    for section in record.__struct_fields__:
        if section in NOT_DIGESTED or section == "non_finite" or (section == "epochs" and record.non_finite):
            continue  # with another epoch, `non_finite` would name places that are not there
        stack = [getattr(record, section)]
        while stack:
            place = stack.pop()
            if isinstance(place, msgspec.Struct):
                stack += [getattr(place, name) for name in place.__struct_fields__]
            elif isinstance(place, dict | list):
                for key, value in place.items() if isinstance(place, dict) else enumerate(place):
                    if type(value) in (int, float):
                        yield section, place, key
                    else:
                        stack.append(value)


@given(records())
@settings(deadline=None, max_examples=40)
def test_the_way_through_a_file_keeps_the_digest(record: MetricsRecord) -> None:
    """What was digested when it was made is what is digested when it is read."""
    assert to_digests(read_record(to_json(record), where="a file")) == to_digests(record)


def test_who_wrote_the_record_and_when_is_not_digested() -> None:
    """A retried run with equal numbers has an equal digest."""
    record = make_record()
    run = RunIdentity(quick_test_id=99, key="f", attempt=3, restart=2)
    later = datetime(2027, 1, 1, tzinfo=UTC)
    other = make_record(run=run, saved_at=later, status="failed", available=False, warnings=["one"])
    assert to_digests(other) == to_digests(record)


def test_missing_nan_and_infinities_all_differ() -> None:
    """A null says nothing by itself; what it stands for is part of the digest."""

    def digest(value: float | None, kind: Any = None) -> str:
        non_finite = {"loss": {"loss": {"1": kind}}} if kind else {}
        return to_digests(make_record(2, loss={"loss": [1.0, value]}, non_finite=non_finite)).series["loss.loss"]

    values = [digest(None), digest(None, "nan"), digest(None, "inf"), digest(None, "-inf"), digest(0.0), digest(5e-324)]
    assert len(set(values)) == len(values)


def test_zero_has_no_sign_and_numbers_have_no_spelling() -> None:
    """What compares equal has equal digests: -0.0 and 0.0, and in parameters 1 and 1.0 too."""
    one = make_record(loss={"loss": [0.0, 1.0, -1.0]}, params={"a": 1, "b": [0.0]}, final_metrics={"c": 0.0})
    other = make_record(loss={"loss": [-0.0, 1.0, -1.0]}, params={"b": [-0.0], "a": 1.0}, final_metrics={"c": -0.0})
    assert to_digests(one) == to_digests(other)
    # The bytes of -0.0 across two values are no -0.0.
    across = struct.unpack("<2d", struct.pack("<4xd4x", -0.0))
    assert to_digests(make_record(2, loss={"loss": list(across)})).series["loss.loss"] == _sha(
        b"d" + struct.pack("<2d", *across)
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"params": {"a": True}}, {"params": {"a": 1}}),
        ({"params": {"a": "1"}}, {"params": {"a": 1}}),
        ({"params": {"a": None}}, {"params": {}}),
        ({"params": {"a": 2**53 + 1}}, {"params": {"a": 2.0**53}}),
        ({"params": {"a": ["b", "c"]}}, {"params": {"a": ["bc"]}}),
        ({"params": {"a": {"b": {}}}}, {"params": {"a": {"b": []}}}),
        ({"loss": {"a": [], "b": []}, "epochs": []}, {"loss": {"a": []}, "epochs": []}),
        ({"loss": {"x": [1.0], "y": [2.0]}, "epochs": [1]}, {"loss": {"x": [2.0], "y": [1.0]}, "epochs": [1]}),
        ({"metrics": {"x": [1.0]}, "epochs": [1]}, {"gradient": {"x": [1.0]}, "epochs": [1]}),
        ({"metrics": {"a.b": [1.0] * 3}}, {"unknown": {"metrics.a.b": [1.0] * 3}}),
        ({"other_series": {"x": OtherSeries()}}, {}),
        ({"final_metrics": {"x": None}}, {}),
        ({"epochs": [0, 1, 2]}, {"epochs": [0, 1, 3]}),
    ],
)
def test_what_is_alike_but_not_equal_differs(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Types, names, order and boundaries all count: no data can be taken for a name or for other data."""
    assert to_digests(make_record(**one)).full != to_digests(make_record(**other)).full


def test_the_bytes_are_those_of_the_contract() -> None:
    """A second implementation, written from docs/contracts.md alone, gets the same digests."""
    changes = {"loss/val_loss/1": None, "final_metrics/test_loss": None, "weight_stats/query/histogram/counts/0": None}
    non_finite = {"loss": {"val_loss": {"1": "nan"}}, "final_metrics": {"test_loss": {"": "-inf"}}}
    tree = make_tree(changes | {"non_finite": non_finite, "gradient_stats": {}})
    del tree["weight_stats"]["candidate"]
    record = read_record(to_bytes(tree), where="a file")
    digests, first = to_digests(record), to_first_digests(record)
    leaves = dict(_leaves(tree))
    assert digests.series == {path: _sha(content) for path, content in leaves.items()}
    charted = {path: content for path, content in leaves.items() if path.split(".")[0] in CHARTED}
    assert digests.charted == _set_digest(charted)
    assert digests.full == _set_digest(leaves)
    first_charted = {path: content for path, content in leaves.items() if path.split(".")[0] in FIRST_CHARTED}
    assert first.charted == _set_digest(first_charted, version=1)
    assert first.full == _set_digest(leaves, version=1)
    assert first.series == digests.series


def _leaves(tree: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield "epochs", b"q" + struct.pack("<3q", *tree["epochs"])
    for section in ("loss", "gradient", "metrics"):
        for name, series in tree[section].items():
            kind = {("loss", "val_loss"): math.nan}.get((section, name))
            yield f"{section}.{name}", b"d" + _numbers(series, kind)
    for name, value in tree["final_metrics"].items():
        yield f"final_metrics.{name}", b"d" + _numbers([value], -math.inf)
    tower = tree["weight_stats"]["query"]
    histogram = tower.pop("histogram")
    yield "weight_stats.query", b"o"
    for name, series in tower.items():
        yield f"weight_stats.query.{name}", b"d" + _numbers(series, None)
    rows = [[-2] * 25 if row is None else row for row in histogram["counts"]]
    yield "weight_stats.query.histogram.bin_edges", b"d" + _numbers(histogram["bin_edges"], None)
    yield "weight_stats.query.histogram.edges_known", b"js" + struct.pack("<q", 3) + b"all"
    yield "weight_stats.query.histogram.sampled", b"jf"
    yield "weight_stats.query.histogram.counts", b"h" + struct.pack("<75q", *(count for row in rows for count in row))
    batch = tree["other_series"]["batch_loss"]
    yield "other_series.batch_loss.steps", b"q" + struct.pack("<4q", *batch["steps"])
    yield "other_series.batch_loss.values", b"d" + _numbers(batch["values"], None)
    yield "params.epochs", b"jd" + struct.pack("<d", 3)
    yield "params.learning_rate", b"jd" + struct.pack("<d", 0.01)
    yield "params.optimizer", b"js" + struct.pack("<q", 7) + b"adagrad"
    layer = b"o" + struct.pack("<q", 1) + struct.pack("<q", 4) + b"relu" + b"t"
    yield "params.layers", b"ja" + struct.pack("<q", 2) + b"d" + struct.pack("<d", 64) + layer


def _numbers(series: list[float | None], null: float | None) -> bytes:
    """`null` is what nulls stand for; None: missing."""
    missing = b"\xff" * 8 if null is None else struct.pack("<d", null)
    return b"".join(missing if value is None else struct.pack("<d", value) for value in series)


def _sha(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _set_digest(leaves: dict[str, bytes], version: int = 2) -> str:
    content = f"switchyard digest {version}\n".encode()
    for path, leaf in sorted(leaves.items()):
        content += struct.pack("<q", len(path)) + path.encode() + hashlib.sha256(leaf).digest()
    return _sha(content)
