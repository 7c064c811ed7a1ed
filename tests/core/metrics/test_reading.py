"""Reading bytes of any kind: a record or a BadRecord, never anything else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.core.errors import BadRecord
from switchyard.core.history.digest import to_digests
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics import reading
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MetricsRecord, Sampling
from tests.core.metrics.factories import JSON, make_tree, make_version0, to_bytes

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "got 0 bytes with nothing in them"),
    "blank": (b" \n", "got 2 bytes with nothing in them"),
    "truncated": (to_bytes(make_tree())[:700], r"an end in the middle, as if it was cut off \(line 1, column"),
    "cut in a text": (b'{"status": "comp', "an end in the middle, as if it was cut off"),
    "not UTF-8": (b'{"a": "\xe9"}', "must be UTF-8; got the byte 0xe9 at 7"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "must be UTF-8; got the byte 0xff at 0"),
    "byte order mark": (b"\xef\xbb\xbf{}", "BOM"),
    "HTML": (b"<html>", r"must be JSON; got Expecting value \(line 1, column 1; 6 bytes in all\)"),
    "two objects": (b"{}{}", "must be JSON; got Extra data"),
    "a list": (b"[1]", "must be a JSON object; got an array of 1"),
    "a token": (b"NaN", "must be a JSON object; got nan"),
    "null": (b"null", "must be a JSON object; got null"),
    "deep": (b"[" * 100_000, "must be nested at most 64 deep"),
    "deep object": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "must be nested at most 64 deep"),
    "deep version 0": (b'{"a":' * 200 + b"NaN" + b"}" * 200, "must be nested at most 64 deep"),
    "many digits": (b'{"schema_version": 1, "x": ' + b"1" * 5_000 + b"}", "strict JSON; got Integer value out of"),
    "half a pair": (b'{"status": "\\ud800"}', "must be strict JSON; got"),
    "nothing of it": (b"{}", "`epochs` must be there"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_with_its_place(data: bytes, expected: str) -> None:
    """What is no metrics file at all is said so, with where in it the reader stopped."""
    with pytest.raises(BadRecord, match=expected) as caught:
        read_record(data, where="the file of quick test 12")
    assert str(caught.value).startswith("the file of quick test 12: ")


@pytest.mark.parametrize("cut", range(0, 4_000, 271))
def test_every_truncation_is_refused(cut: int) -> None:
    """A file that a full disk cut off is never taken for a shorter run."""
    data = to_bytes(make_tree())
    assert cut < len(data)
    with pytest.raises(BadRecord):
        read_record(data[:cut], where="a file")


LARGE: dict[str, tuple[str, str]] = {
    "numbers": ('"params": {"x": [' + ",".join(["1"] * 150_000) + "]}", "`params` must have at most 100000 items"),
    "texts": (
        '"host": {' + ",".join(f'"{i}": "a,[\\"{{"' for i in range(110_000)) + "}",
        "`host` must have at most 100000 items",
    ),
    "empty arrays": (
        '"loss": [' + ",".join(["[]"] * 2_000_001) + "]",
        "must have at most 2000000 arrays and objects; got",
    ),
}


@pytest.mark.parametrize("written", LARGE, ids=LARGE)
def test_what_would_take_all_memory_is_refused_before_it_is_read(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with the limit: 64 MB of small items become gigabytes, and the process that reads them is killed."""
    part, expected = LARGE[written]

    def decode(*_: object) -> None:
        raise AssertionError("its values must not be made")

    monkeypatch.setattr(reading, "_decode", decode)
    with pytest.raises(BadRecord, match=expected):
        read_record(b'{"schema_version": 1, ' + part.encode() + b"}", where="a file")


def test_a_large_file_of_few_items_is_read() -> None:
    """Commas and brackets inside texts are no items, and what has its place in the contract is not counted."""
    many = {"params": {"note": '[,{\\"' * 50_000}, "host": [["a", {}], [], " [ "] * 10_000}
    long = {"epochs": list(range(120_000)), "loss": {"loss": [0.5] * 120_000}}
    needed = {name: value for name, value in make_tree().items() if name in ("schema_version", "status", "saved_at")}
    record = read_record(to_bytes({**needed, **many, **long, "run": make_tree()["run"]}), where="a file")
    assert (record.params, record.unknown, len(record.epochs)) == (many["params"], {"host": many["host"]}, 120_000)


TREES = [make_tree(), make_version0()]
PLACES = [
    (version, place)
    for version, tree in enumerate(TREES)
    for place in [
        *((name,) for name in tree),
        *((name, inner) for name, inside in tree.items() if isinstance(inside, dict) for inner in inside),
        ("loss", "loss", 0),
        ("epochs", 1),
        ("weight_stats", "query", "mean"),
        ("weight_stats", "query", "histogram"),
        ("weight_stats", "query", "histogram", "bin_edges"),
        ("weight_stats", "query", "histogram", "bin_edges", 0),
        ("weight_stats", "query", "histogram", "counts"),
        ("weight_stats", "query", "histogram", "counts", 0),
        ("weight_stats", "query", "histogram", "counts", 0, 0),
        ("weight_stats", "query", "new"),
        ("new",),
    ]
]
ODD = (
    JSON
    | st.floats()
    | st.lists(st.floats() | st.none(), max_size=30)
    | st.lists(st.lists(st.integers() | st.floats(), max_size=26), max_size=4)
    | st.dictionaries(
        st.sampled_from(["0", "loss", "", "a.b"]), st.dictionaries(st.text(), JSON, max_size=2), max_size=2
    )
)


def read_or_refuse(data: bytes) -> MetricsRecord | None:
    """The record; None where it was refused as the contract says."""
    try:
        return read_record(data, where="a file")
    except BadRecord as err:
        assert err.problems
        return None


@given(st.sampled_from(PLACES), ODD)
@settings(deadline=None, max_examples=300)
def test_any_value_anywhere_is_read_or_refused(place: tuple[int, tuple[Any, ...]], value: Any) -> None:
    """Whatever stands at whatever place, the answer is a record that can be published, or a BadRecord."""
    version, keys = place
    tree = json.loads(json.dumps(TREES[version]))
    inside: Any = tree
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    if record := read_or_refuse(to_bytes(tree)):
        publication = to_publication(record, quick_test_id=1, source="file", sampling=Sampling())
        json.dumps(publication.history, allow_nan=False)
        assert publication.digests == to_digests(record)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_refused(data: bytes) -> None:
    """Random bytes raise BadRecord, and nothing else."""
    assert read_or_refuse(data) is None


@given(JSON | st.dictionaries(st.sampled_from(sorted(make_tree())), JSON, max_size=8))
@settings(deadline=None, max_examples=200)
def test_any_json_is_refused_unless_it_is_a_metrics_file(tree: Any) -> None:
    """JSON that happens to use our names is still held to the whole contract."""
    read_or_refuse(json.dumps(tree).encode())
