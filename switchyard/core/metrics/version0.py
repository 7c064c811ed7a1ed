"""Version 0 of ``training_metrics.json``, the legacy collector's, with the quirks it is known for.

Each is rewritten the way version 1 says the same thing, with a warning where something was guessed; version 1's checks
do the rest.
"""

import math
from datetime import UTC, datetime
from typing import Any

from switchyard.core.metrics.checks import Checks
from switchyard.core.metrics.legacy_names import GRADIENT_NAMES, LOSS_NAMES
from switchyard.core.metrics.nonfinite import Keys, take_non_finite
from switchyard.core.metrics.paths import to_path, to_pointer
from switchyard.core.metrics.record import HISTOGRAM_BINS, MetricsRecord
from switchyard.core.metrics.unknown_keys import keep_any
from switchyard.core.metrics.version1 import read_sections

_REQUIRED = ("status", "saved_at", "epochs", "loss")
_NOT_IN_VERSION_0 = ("run", "metrics", "non_finite")
"""Version 1's sections: what a legacy file has under such a name means something else, so it is an unknown key."""


def from_version0(tree: dict[str, Any], where: str) -> MetricsRecord:
    """Returns the record that a version 0 file holds; `run` is None, and `warnings` say what was padded or guessed.

    Raises:
        BadRecord: it is broken beyond the known quirks; all problems at once.
        TooDeep: it is nested deeper than any metrics file.
    """
    tree = dict(tree)
    aliases: dict[str, str] = {}
    checks = Checks(where, aliases)
    length = len(tree["epochs"]) if isinstance(tree.get("epochs"), list) else 0
    _rename(tree, "loss", LOSS_NAMES, aliases, checks)
    _rename(tree, "gradient", GRADIENT_NAMES, aliases, checks)
    _mend_time(tree)
    _mend_histograms(tree, length, checks)
    _pad(tree, length, checks)
    tree, non_finite = take_non_finite(tree)
    unknown = {name: tree.pop(name) for name in _NOT_IN_VERSION_0 if name in tree}
    record = read_sections(tree, checks, required=_REQUIRED)
    for name, value in unknown.items():
        record.unknown[name] = keep_any(value, name, checks)
        checks.warn(name, "is not a known key; it is kept")
    checks.raise_problems()
    for keys, kind in non_finite:
        section, series, position = _to_place(record, keys)
        record.non_finite.setdefault(section, {}).setdefault(series, {})[position] = kind
    return record


def _to_place(record: MetricsRecord, keys: Keys) -> tuple[str, str, str]:
    """Returns section, series and position, as `non_finite` names the place that `keys` lead to."""
    names = [str(key) for key in keys]
    for depth in range(1, len(names) + 1):
        if (path := to_path(*names[:depth])) in record.unknown:
            return "unknown", path, to_pointer(*keys[depth:])
    section, name, *inside = names
    if section in ("loss", "gradient"):
        return section, name, str(record.epochs[int(inside[0])])
    if section == "other_series":
        return section, name, inside[1]
    if section in ("weight_stats", "gradient_stats"):
        tower, name, *inside = name, *inside
        if name in getattr(record, section)[tower].series:
            return to_path(section, tower), name, str(record.epochs[int(inside[0])])
        return to_path(section, tower), name, to_pointer(*inside)
    return section, name, to_pointer(*inside)


def _rename(tree: dict[str, Any], section: str, names: dict[str, str], aliases: dict[str, str], checks: Checks) -> None:
    """Gives the series of `section` version 1's names; `aliases` remembers what the file calls them."""
    found = tree.get(section)
    if not isinstance(found, dict):
        return
    renamed: dict[str, Any] = {}
    name: str
    for name, series in found.items():
        new_name = names.get(name, name)
        if new_name in renamed:
            checks.refuse(to_path(section, name), f"be there under one name; `{new_name}` is the same series", "both")
        if new_name != name:
            aliases[to_path(section, new_name)] = to_path(section, name)
        renamed[new_name] = series
    tree[section] = renamed


def _mend_time(tree: dict[str, Any]) -> None:
    """Takes a time without a zone as UTC."""
    if isinstance(tree.get("saved_at"), str):
        try:
            saved_at = datetime.fromisoformat(tree["saved_at"])
        except ValueError:
            return  # left for version 1's check to refuse
        if saved_at.tzinfo is None:
            tree["saved_at"] = saved_at.replace(tzinfo=UTC).isoformat()


def _mend_histograms(tree: dict[str, Any], length: int, checks: Checks) -> None:
    for section in ("weight_stats", "gradient_stats"):
        towers = tree.get(section)
        for tower, found in towers.items() if isinstance(towers, dict) else ():
            if isinstance(found, dict) and isinstance(found.get("histogram"), dict | list):
                path = to_path(section, tower, "histogram")
                found["histogram"] = _mend_histogram(found["histogram"], path, length, checks)


def _mend_histogram(found: dict[str, Any] | list[Any], path: str, length: int, checks: Checks) -> dict[str, Any]:
    """Returns whole counts as integers, one row an epoch, and how far the edges can be trusted."""
    histogram: dict[str, Any] = dict(found) if isinstance(found, dict) else {"counts": found}
    counts = histogram.get("counts")
    is_single = False
    if isinstance(counts, list):
        is_row = (
            len(counts) == HISTOGRAM_BINS
            and all(isinstance(row, int | float | None) for row in counts)
            and counts.count(None) < len(counts)
        )
        rows = [counts] if is_row else counts
        is_single = len(rows) == 1 and length > 1
        if is_single:
            # The collector kept the newest one only: the weights as they were when the file was saved.
            checks.warn(path, f"has one histogram for {length} epochs; it is taken for the last epoch's")
            rows = [*([None] * (length - 1)), *rows]
        elif len(rows) < length:
            checks.warn(path, f"has {len(rows)} rows for {length} epochs; the rest is taken for missing")
            rows = [*rows, *([None] * (length - len(rows)))]
        histogram["counts"] = [_to_whole(row) for row in rows]
    if _has_non_finite(histogram.get("bin_edges")):
        checks.warn(path, "has edges that are not finite numbers; they are taken for unknown")
        histogram["bin_edges"] = None
        histogram.pop("edges_known", None)
    if "edges_known" not in histogram:
        # Of many histograms only the first one's edges are known: the legacy code binned each epoch again.
        known = "all" if is_single or length == 1 else "first_epoch"
        histogram["edges_known"] = "none" if histogram.get("bin_edges") is None else known
    return histogram


def _has_non_finite(edges: Any) -> bool:
    return isinstance(edges, list) and any(isinstance(edge, float) and not math.isfinite(edge) for edge in edges)


def _to_whole(row: Any) -> Any:
    """Returns counts that went through a float metric (``12.0``) as the integers they are."""
    if not isinstance(row, list):
        return row
    return [int(count) if isinstance(count, float) and count.is_integer() else count for count in row]


def _pad(tree: dict[str, Any], length: int, checks: Checks) -> None:
    """Ends each series that stops before the last epoch with nulls: the collector died before the rest."""
    places: list[tuple[tuple[str, ...], Any]] = [((section,), tree.get(section)) for section in ("loss", "gradient")]
    for section in ("weight_stats", "gradient_stats"):
        towers = tree.get(section)
        for tower, found in towers.items() if isinstance(towers, dict) else ():
            places.append(((section, tower), found))
    for names, found in places:
        for name, series in found.items() if isinstance(found, dict) else ():
            if isinstance(series, list) and len(series) < length:
                path = checks.path(*names, name)
                checks.warn(path, f"has {len(series)} values for {length} epochs; the rest is taken for missing")
                series.extend([None] * (length - len(series)))
