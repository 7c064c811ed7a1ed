"""Digests: whether two records say the same, without keeping both.

docs/contracts.md gives the exact bytes, so that another language can compute the same; this file must never change what
it computes for a record.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from switchyard.core.history.publication import Digests
from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.paths import to_child, to_path, to_pointer
from switchyard.core.metrics.record import (
    HISTOGRAM_BINS,
    Histogram,
    MetricsRecord,
    NonFiniteKind,
    Series,
    TowerStatistics,
)

_FRAMES = {1: b"switchyard digest 1\n", 2: b"switchyard digest 2\n"}
_MISSING = b"\xff" * 8  # a NaN's bits too, but never those of _NON_FINITE
_NON_FINITE = {kind: struct.pack("<d", float(kind)) for kind in ("inf", "-inf")} | {
    "nan": b"\x00\x00\x00\x00\x00\x00\xf8\x7f"
}
_MINUS_ZERO = struct.pack("<d", -0.0)
_MISSING_COUNT = -1
_MISSING_ROW = [-2] * HISTOGRAM_BINS

_NO_KINDS: Mapping[int, NonFiniteKind] = {}

# What a series is made of stands before its bytes, so that equal bytes of different kinds differ.
_NUMBERS, _INTEGERS, _COUNTS, _JSON, _OBJECT = b"d", b"q", b"h", b"j", b"o"

_Leaf = tuple[str, bytes]


def to_digests(record: MetricsRecord) -> Digests:
    """Returns the digests, version 2, of all that the record says of its run's epochs.

    They never cover `run`, `saved_at`, `status`, `available` or `warnings`. Records that are equal but for those have
    equal digests, and only they. `charted` covers every curve, the final metrics and params; `full` the towers'
    statistics and histograms too. A `charted_only` record has no `full`: what else the run has is not known.
    """
    return _Leaves(record).to_second()


def to_first_digests(record: MetricsRecord) -> Digests:
    """Returns the same, version 1: `charted` covers losses, norms, final metrics and params alone."""
    return _Leaves(record).to_first()


def to_both_digests(record: MetricsRecord) -> tuple[Digests, Digests]:
    """Returns versions 2 and 1; each series is hashed once for both."""
    leaves = _Leaves(record)
    return leaves.to_second(), leaves.to_first()


class _Leaves:
    """The digest of each part of a record, by its path."""

    def __init__(self, record: MetricsRecord) -> None:
        places = Places(record)
        self._is_charted_only = record.charted_only
        self._first = dict(_charted_leaves(record, places))
        self._charted = self._first | dict(_curve_leaves(record, places))
        self._whole = self._charted if record.charted_only else self._charted | dict(_other_leaves(record, places))
        self._packed = [(path, _pack_text(path) + self._whole[path]) for path in sorted(self._whole)]
        self._full = None if record.charted_only else b"".join([text for _, text in self._packed])
        self._series = _to_texts(self._whole)

    def to_second(self) -> Digests:
        return _to_set(2, self._packed, self._charted, self._full, self._series)

    def to_first(self) -> Digests:
        series = _to_texts(self._first) if self._is_charted_only else self._series
        return _to_set(1, self._packed, self._first, self._full, series)


def _to_set(
    version: int, packed: Sequence[_Leaf], charted: Mapping[str, bytes], full: bytes | None, series: dict[str, str]
) -> Digests:
    return Digests(
        charted=_digest_set(version, b"".join([text for path, text in packed if path in charted])),
        full=None if full is None else _digest_set(version, full),
        series=series,
    )


def _to_texts(leaves: Mapping[str, bytes]) -> dict[str, str]:
    return {path: "sha256:" + hashed.hex() for path, hashed in leaves.items()}


def _digest_set(version: int, packed: bytes) -> str:
    """Returns the digest of all leaves, in the order of their paths' code points.

    Each leaf adds the length of its path, the path, and its own digest.
    """
    return f"sha256:{hashlib.sha256(_FRAMES[version] + packed).hexdigest()}"


def _charted_leaves(record: MetricsRecord, places: Places) -> Iterator[_Leaf]:
    yield "epochs", _hash(_INTEGERS, _pack_integers(record.epochs))
    for section in ("loss", "gradient"):
        yield from _series_leaves(record, (section,), getattr(record, section), places)
    kinds = record.non_finite.get("final_metrics", {})
    for name, value in record.final_metrics.items():
        found = dict(enumerate(kinds.get(name, {}).values()))  # of one value
        yield to_path("final_metrics", name), _hash(_NUMBERS, _pack_numbers([value], found))
    yield from _json_leaves(record, ("params",), record.params)


def _curve_leaves(record: MetricsRecord, places: Places) -> Iterator[_Leaf]:
    yield from _series_leaves(record, ("metrics",), record.metrics, places)
    for name, other in record.other_series.items():
        found = places.kinds("other_series", name)
        yield to_path("other_series", name, "steps"), _hash(_INTEGERS, _pack_integers(other.steps))
        yield to_path("other_series", name, "values"), _hash(_NUMBERS, _pack_numbers(other.values, found))


def _other_leaves(record: MetricsRecord, places: Places) -> Iterator[_Leaf]:
    for section in ("weight_stats", "gradient_stats"):
        for tower, statistics in getattr(record, section).items():
            yield from _tower_leaves(record, (section, tower), statistics, places)
    kinds = record.non_finite.get("unknown", {})
    for path, value in record.unknown.items():
        yield path, _hash(_JSON, _pack_json(value, kinds.get(path, {})))


def _tower_leaves(
    record: MetricsRecord, names: tuple[str, str], statistics: TowerStatistics, places: Places
) -> Iterator[_Leaf]:
    yield to_path(*names), _hash(_OBJECT, b"")  # a tower without statistics is not the same as no such tower
    yield from _series_leaves(record, names, statistics.series, places)
    yield from _json_leaves(record, names, statistics.other)
    if statistics.histogram is not None:
        path = to_path(*names, "histogram")
        kinds = record.non_finite.get(to_path(*names), {}).get("histogram", {})
        yield from _histogram_leaves(path, statistics.histogram, kinds)


def _histogram_leaves(path: str, histogram: Histogram, kinds: Mapping[str, NonFiniteKind]) -> Iterator[_Leaf]:
    if histogram.bin_edges is None:
        yield f"{path}.bin_edges", _hash(_JSON, _pack_json(None))
    else:
        yield f"{path}.bin_edges", _hash(_NUMBERS, _pack_numbers(histogram.bin_edges, {}))
    yield f"{path}.edges_known", _hash(_JSON, _pack_json(histogram.edges_known))
    yield f"{path}.sampled", _hash(_JSON, _pack_json(histogram.sampled))
    yield f"{path}.counts", _hash(_COUNTS, _pack_counts(histogram.counts))
    if kinds:  # a legacy file's: version 1 has no NaN in a histogram
        yield f"{path}.non_finite", _hash(_JSON, _pack_json(dict(kinds)))


def _series_leaves(
    record: MetricsRecord, names: tuple[str, ...], found: Mapping[str, Series], places: Places
) -> Iterator[_Leaf]:
    section = to_path(*names)
    has_kinds = record.non_finite.get(section, {})
    for name, series in found.items():
        kinds = places.kinds(section, name) if name in has_kinds else _NO_KINDS
        yield to_child(section, name), _hash(_NUMBERS, _pack_numbers(series, kinds))


def _json_leaves(record: MetricsRecord, names: tuple[str, ...], found: Mapping[str, Any]) -> Iterator[_Leaf]:
    kinds = record.non_finite.get(to_path(*names), {})
    for name, value in found.items():
        yield to_path(*names, name), _hash(_JSON, _pack_json(value, kinds.get(name, {})))


def _hash(made_of: bytes, packed: bytes) -> bytes:
    return hashlib.sha256(made_of + packed).digest()


def _pack_numbers(series: Sequence[float | None], kinds: Mapping[int, NonFiniteKind]) -> bytes:
    """Packs values into eight bytes each, float64, little-endian.

    There is one pattern for missing and one for NaN; zero has no sign.
    """
    try:
        packed = struct.pack(f"<{len(series)}d", *series)  # a None raises, and is dealt with below
    except struct.error:
        filled = bytearray(struct.pack(f"<{len(series)}d", *[0.0 if value is None else value for value in series]))
        for position in [position for position, value in enumerate(series) if value is None]:
            kind = kinds.get(position)
            filled[position * 8 : position * 8 + 8] = _MISSING if kind is None else _NON_FINITE[kind]
        packed = bytes(filled)
    if _MINUS_ZERO in packed:  # perhaps across two values: the loop below looks at each
        values = (packed[start : start + 8] for start in range(0, len(packed), 8))
        packed = b"".join(bytes(8) if value == _MINUS_ZERO else value for value in values)
    return packed


def _pack_integers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def _pack_counts(rows: Sequence[Sequence[int | None] | None]) -> bytes:
    """Packs counts into eight bytes each, 25 a row; a missing count is -1, a missing row 25 times -2."""
    try:
        return _pack_integers(list(chain.from_iterable(rows)))  # type: ignore[arg-type]  # as above
    except (TypeError, struct.error):
        filled = (_MISSING_ROW if row is None else row for row in rows)
        return _pack_integers([_MISSING_COUNT if count is None else count for row in filled for count in row])


def _pack_json(value: Any, kinds: Mapping[str, NonFiniteKind] | None = None, pointer: str = "") -> bytes:
    """Returns one letter for the type, then its content; whatever has a length says it first.

    A number is its float64 where that is exact, so that 1 and 1.0, which JSON does not tell apart, are the same.
    """
    if value is None:
        return b"d" + _NON_FINITE[kinds[pointer]] if kinds and pointer in kinds else b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, str):
        return b"s" + _pack_text(value)
    if isinstance(value, int | float):
        return _pack_number(value)
    if isinstance(value, dict):
        packed = [b"o", struct.pack("<q", len(value))]
        for key in sorted(value):
            packed += (_pack_text(key), _pack_json(value[key], kinds, pointer + to_pointer(key) if kinds else ""))
        return b"".join(packed)
    packed = [b"a", struct.pack("<q", len(value))]
    packed += (_pack_json(item, kinds, f"{pointer}/{i}" if kinds else "") for i, item in enumerate(value))
    return b"".join(packed)


def _pack_number(value: float) -> bytes:
    try:
        number = float(value)
    except OverflowError:
        number = None
    if number is None or number != value:
        return b"i" + _pack_text(str(value))
    return b"d" + struct.pack("<d", number + 0.0)  # -0.0 + 0.0 is 0.0


def _pack_text(text: str) -> bytes:
    packed = text.encode()
    return struct.pack("<q", len(packed)) + packed
