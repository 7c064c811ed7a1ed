"""Metrics files and records for the tests: whole and valid by default, each test names what differs."""

import copy
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import (
    GRADIENT_SERIES,
    LOSS_SERIES,
    MAX_ATTEMPT,
    TOWERS,
    EdgesKnown,
    Histogram,
    MetricsRecord,
    NonFiniteKind,
    OtherSeries,
    RunIdentity,
    Sampling,
    TowerStatistics,
)

EVERY_EPOCH = Sampling(interval=1)
EDGES = [round(-1 + i * 0.08, 2) for i in range(26)]


def make_tree(changes: Mapping[str, Any] | None = None, *, epochs: int = 3) -> dict[str, Any]:
    """A version 1 file as a tree, with every section.

    `changes` are made by path (names and positions joined by slashes); a change to `DROP` takes the place away.
    """
    tree = {
        "schema_version": 1,
        "status": "completed",
        "available": True,
        "saved_at": "2026-01-15T10:30:00Z",
        "run": {"quick_test_id": 12, "key": "0c4f", "attempt": 1, "restart": 0, "name": "a run", "seed": 7},
        "epochs": list(range(epochs)),
        "loss": {name: _falling(epochs, 1 + i) for i, name in enumerate(LOSS_SERIES)},
        "gradient": {name: _falling(epochs, 10 + i) for i, name in enumerate(GRADIENT_SERIES)},
        "weight_stats": {tower: make_tower(epochs) for tower in TOWERS},
        "gradient_stats": {tower: make_tower(epochs) | {"touched_fraction": [0.5] * epochs} for tower in TOWERS},
        "metrics": {"learning_rate": [0.1] * epochs, "val_recall_at_10": _falling(epochs, 0.1)},
        "other_series": {"batch_loss": {"steps": [0, 10, 10, 20], "values": [3.0, None, 2.0, 1.5]}},
        "final_metrics": {"final_loss": 0.25, "test_loss": None, "test_recall_at_5": 0.002},
        "params": {"epochs": epochs, "learning_rate": 0.01, "optimizer": "adagrad", "layers": [64, {"relu": True}]},
        "non_finite": {},
    }
    return change(tree, changes or {})


def make_tower(epochs: int) -> dict[str, Any]:
    """One tower's statistics as a file has them."""
    return {
        **{name: _falling(epochs, 0.1 * (i + 1)) for i, name in enumerate(("mean", "std", "min", "max", "norm"))},
        "histogram": {"bin_edges": EDGES, "edges_known": "all", "sampled": False, "counts": [[4] * 25] * epochs},
    }


def make_version0(changes: Mapping[str, Any] | None = None, *, epochs: int = 3) -> dict[str, Any]:
    """A version 0 file as a tree, without quirks but those that every one has."""
    tree = make_tree(epochs=epochs)
    for name in ("schema_version", "run", "metrics", "non_finite", "other_series"):
        del tree[name]
    tree["saved_at"] = "2024-03-01T08:15:30"
    tree["weight_stats"]["query"]["histogram"].pop("edges_known")
    return change(tree, changes or {})


DROP = object()
"""As a change: the place is taken away."""


def change(tree: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `tree` with each change made; missing parents are made too."""
    changed = copy.deepcopy(tree)
    for path, value in changes.items():
        place: Any = changed
        last: Any
        *parents, last = (int(name) if name.isdigit() else name for name in path.split("/"))
        name: Any
        for name in parents:
            place = place[name] if isinstance(place, list) else place.setdefault(name, {})
        if value is DROP:
            del place[last]
        else:
            place[last] = value
    return changed


def to_bytes(tree: Any) -> bytes:
    """The tree as a file; NaN and the infinities as the tokens that Python's json writes."""
    return json.dumps(tree).encode()


def make_record(count: int = 3, /, **fields: Any) -> MetricsRecord:
    """A small record of `count` epochs with the given fields, and losses that fall."""
    given: dict[str, Any] = {
        "status": "completed",
        "saved_at": datetime(2026, 1, 15, 10, 30, tzinfo=UTC),
        "run": RunIdentity(quick_test_id=12, key="0c4f", attempt=1, restart=0),
        "epochs": list(range(count)),
    }
    given |= fields
    given.setdefault("loss", {"loss": _falling(len(given["epochs"]), 1.0)})
    return MetricsRecord(**given)


def _falling(epochs: int, start: float) -> list[float]:
    return [start * math.exp(-epoch / 10) for epoch in range(epochs)]


# Any valid record ----------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
KINDS: st.SearchStrategy[NonFiniteKind] = st.sampled_from(["nan", "inf", "-inf"])
INT64 = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.integers(0, 2**63 - 1)
ATTEMPTS = st.integers(0, MAX_ATTEMPT)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
_NOT_LISTS = JSON.filter(lambda value: not isinstance(value, list))
_TAKEN = make_tree().keys() | make_tree()["run"].keys()
_KNOWN = {"mean", "std", "min", "max", "norm", "touched_fraction", "histogram"}


@st.composite
def records(draw: st.DrawFn) -> MetricsRecord:
    """Any record that a version 1 file can hold."""
    epochs = sorted(draw(st.sets(COUNTS, max_size=4)))
    n = len(epochs)
    series = st.lists(NUMBERS | st.none(), min_size=n, max_size=n)
    named = st.dictionaries(NAMES | st.sampled_from(LOSS_SERIES), series, max_size=3)
    record = MetricsRecord(
        status=draw(st.sampled_from(["partial", "completed", "failed"])),
        saved_at=draw(st.datetimes(timezones=st.just(UTC))),
        run=draw(
            st.builds(RunIdentity, quick_test_id=COUNTS, key=NAMES, attempt=ATTEMPTS, restart=ATTEMPTS, name=NAMES)
        ),
        available=draw(st.booleans()),
        epochs=epochs,
        loss=draw(named),
        gradient=draw(named),
        weight_stats=draw(st.dictionaries(st.sampled_from(TOWERS) | NAMES, towers(n), max_size=2)),
        gradient_stats=draw(st.dictionaries(st.sampled_from(TOWERS) | NAMES, towers(n), max_size=2)),
        metrics=draw(named),
        other_series=draw(st.dictionaries(NAMES, other_series(), max_size=2)),
        final_metrics=draw(st.dictionaries(NAMES, NUMBERS | st.none(), max_size=3)),
        params=draw(st.dictionaries(NAMES, JSON, max_size=3)),
    )
    record.unknown = {
        to_path(*names): value
        for names, value in draw(
            st.dictionaries(st.tuples(NAMES) | st.tuples(st.just("run"), NAMES), JSON, max_size=2)
        ).items()
        if names[-1] not in _TAKEN
    }
    name_non_finite(draw, record)
    return record


@st.composite
def towers(draw: st.DrawFn, epochs: int) -> TowerStatistics:
    """Any statistics of one tower."""
    series = st.lists(NUMBERS | st.none(), min_size=epochs, max_size=epochs)
    found = draw(st.dictionaries(NAMES | st.sampled_from(["mean", "std"]), series, max_size=3))
    found.pop("histogram", None)
    other = draw(st.dictionaries(NAMES, _NOT_LISTS, max_size=2))
    other = {name: value for name, value in other.items() if name not in _KNOWN | set(found)}
    return TowerStatistics(series=found, histogram=draw(st.none() | histograms(epochs)), other=other)


@st.composite
def histograms(draw: st.DrawFn, epochs: int) -> Histogram:
    """Any histogram; its rows vary little, because they are long."""
    choices: list[EdgesKnown] = ["all", "first_epoch", "none"]
    known = draw(st.sampled_from(choices))
    edges = sorted(draw(st.sets(NUMBERS, min_size=26, max_size=26))) if known != "none" else None
    row = st.none() | st.builds(lambda fill, first: [first, *([fill] * 24)], COUNTS | st.none(), COUNTS | st.none())
    counts = draw(st.lists(row, min_size=epochs, max_size=epochs))
    return Histogram(bin_edges=edges, edges_known=known, sampled=draw(st.booleans()), counts=counts)


@st.composite
def other_series(draw: st.DrawFn) -> OtherSeries:
    """Any series on its own steps."""
    points = draw(st.lists(st.tuples(INT64, NUMBERS | st.none()), max_size=4))
    return OtherSeries(steps=sorted(step for step, _ in points), values=[value for _, value in points])


def name_non_finite(draw: st.DrawFn, record: MetricsRecord) -> None:
    """Says of some of the record's nulls that they were NaN or infinite."""
    places = [
        (section, name, str(epoch))
        for section in ("loss", "gradient", "metrics")
        for name, series in getattr(record, section).items()
        for epoch, value in zip(record.epochs, series, strict=True)
        if value is None
    ]
    places += [
        (to_path(section, tower), name, str(epoch))
        for section in ("weight_stats", "gradient_stats")
        for tower, statistics in getattr(record, section).items()
        for name, series in statistics.series.items()
        for epoch, value in zip(record.epochs, series, strict=True)
        if value is None
    ]
    places += [("final_metrics", name, "") for name, value in record.final_metrics.items() if value is None]
    places += [("params", name, "") for name, value in record.params.items() if value is None]
    places += [
        ("other_series", name, str(position))
        for name, other in record.other_series.items()
        for position, value in enumerate(other.values)
        if value is None
    ]
    for section, name, position in places:
        if kind := draw(st.none() | KINDS):
            record.non_finite.setdefault(section, {}).setdefault(name, {})[position] = kind
