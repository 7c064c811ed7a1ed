"""Every scalar series of a run as ``/series/`` answers it: one gzipped JSON, served as it is stored."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.core.history.packing import to_gzip
from switchyard.core.history.publication import FullSeries
from switchyard.core.history.scalars import Scalar, find_kinds, list_charted, list_norms, to_json_steps
from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.record import MetricsRecord, NonFiniteKind, Series

MAX_POINTS: Final = 2000
"""The most points of a series that is kept whole. Of a longer one each bucket's minimum, maximum and last point are
kept."""


def to_full_series(record: MetricsRecord, charted: Sequence[Scalar] | None = None) -> FullSeries:
    """Returns all series of `record`; `charted` is `list_charted(record)`, where the caller has it already.

    Equal content gives equal bytes.
    """
    places = Places(record)
    entries: dict[str, dict[str, Any]] = {}
    non_finite: dict[str, dict[str, NonFiniteKind]] = {}
    for scalars in (list_charted(record) if charted is None else charted, list_norms(record)):
        for scalar in scalars:
            steps = record.epochs if scalar.steps is None else scalar.steps
            total = len(scalar.values)
            kinds = find_kinds(record, places, scalar)
            if scalar.steps is None and total <= MAX_POINTS:
                entries[scalar.name] = {"values": scalar.values, "kept": total, "total": total}
                if kinds:
                    non_finite[scalar.name] = {str(position): kind for position, kind in kinds.items()}
                continue
            kept = choose_buckets(scalar.values, MAX_POINTS)
            entries[scalar.name] = {
                "steps": to_json_steps([steps[position] for position in kept]),
                "values": [scalar.values[position] for position in kept],
                "kept": len(kept),
                "total": total,
            }
            found = {str(at): kinds[position] for at, position in enumerate(kept) if position in kinds} if kinds else {}
            if found:
                non_finite[scalar.name] = found
    epochs = record.epochs if len(record.epochs) <= MAX_POINTS else []
    return to_stored(entries, epochs=epochs, non_finite=non_finite)


def to_stored(
    entries: dict[str, dict[str, Any]],
    *,
    epochs: Sequence[int],
    non_finite: Mapping[str, Mapping[str, NonFiniteKind]] | None = None,
    complete: bool = True,
) -> FullSeries:
    """Returns the answer that has these series; one without `steps` is on `epochs`.

    `non_finite` has what is null, by series and position.
    """
    content = msgspec.json.encode(
        {
            "available": bool(entries),
            "complete": complete,
            "epochs": epochs,
            "series": entries,
            "non_finite": non_finite or {},
        }
    )
    return FullSeries(
        gzip_json=to_gzip(content),
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
    )


def choose_buckets(values: Series, most: int) -> list[int]:
    """Returns the positions to keep, ascending, at most `most`: all, or the extremes and the last point of each bucket.

    Buckets are equally long. What is missing or not finite is kept only as a bucket's last.
    """
    total = len(values)
    if total <= most:
        return list(range(total))
    buckets = most // 3
    kept: set[int] = set()
    for number in range(buckets):
        start, end = number * total // buckets, (number + 1) * total // buckets
        kept.add(end - 1)
        part = values[start:end]
        finite = part if None not in part else [value for value in part if value is not None]
        if finite:
            kept |= {start + part.index(min(finite)), start + part.index(max(finite))}  # type: ignore[type-var]  # no None is left
    return sorted(kept)
