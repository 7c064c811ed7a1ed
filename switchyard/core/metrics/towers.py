"""Reads the towers' statistics and their histograms, as version 1 of a metrics file has them."""

from itertools import pairwise
from typing import Any

from switchyard.core.metrics.checks import Checks, describe
from switchyard.core.metrics.record import HISTOGRAM_BINS, TOWERS, EdgesKnown, Histogram, TowerStatistics
from switchyard.core.metrics.unknown_keys import keep_any, keep_unknown

_STATISTICS = ("mean", "std", "min", "max", "norm", "touched_fraction")


def read_towers(
    tree: dict[str, Any], section: str, length: int | None, unknown: dict[str, Any], checks: Checks
) -> dict[str, TowerStatistics]:
    """Returns the statistics of each tower in `section`; what is wrong is left with `checks`."""
    value = tree.get(section, {})
    if not isinstance(value, dict):
        checks.refuse(section, "be an object with one object a tower", describe(value))
        return {}
    towers = {}
    for tower, found in value.items():
        if tower not in TOWERS:
            checks.warn(checks.path(section, tower), "is not a known tower; it is kept, and not shown")
        if not isinstance(found, dict):
            checks.refuse(checks.path(section, tower), "be an object of statistics", describe(found))
            continue
        towers[tower] = _read_tower(found, (section, tower), length, unknown, checks)
    return towers


def _read_tower(
    found: dict[str, Any], names: tuple[str, str], length: int | None, unknown: dict[str, Any], checks: Checks
) -> TowerStatistics:
    """Reads one tower: arrays are series, `histogram` is one; any other value is kept as it came."""
    arrays = {}
    other = {}
    for name, value in found.items():
        if name == "histogram":
            continue
        if isinstance(value, list) or name in _STATISTICS:
            arrays[name] = value
        else:
            other[name] = keep_any(value, checks.path(*names, name), checks)
    histogram = found.get("histogram")
    return TowerStatistics(
        series=checks.series_map(arrays, names, length),
        histogram=None if histogram is None else _read_histogram(histogram, names, length, unknown, checks),
        other=other,
    )


def _read_histogram(
    found: Any, tower: tuple[str, str], length: int | None, unknown: dict[str, Any], checks: Checks
) -> Histogram | None:
    names = (*tower, "histogram")
    path = checks.path(*names)
    if not isinstance(found, dict):
        checks.refuse(path, "be an object", describe(found))
        return None
    keep_unknown(found, frozenset(Histogram.__struct_fields__), names, unknown, checks)
    known: EdgesKnown = checks.literal(found, "edges_known", EdgesKnown, *names) or "none"
    edges = None
    if found.get("bin_edges") is not None:
        edges = checks.numbers(found["bin_edges"], f"{path}.bin_edges")
        # An empty array is not the null that says "not known"; of edges that are not numbers it is said already.
        if edges or found["bin_edges"] == []:
            _check_edges(edges, known, path, checks)
    if (edges is None) != (known == "none"):
        expected = 'be "none" without `bin_edges`, and with them "all" or "first_epoch"'
        checks.refuse(f"{path}.edges_known", expected, f'"{known}"' if "edges_known" in found else "nothing")
    return Histogram(
        bin_edges=edges,
        edges_known=known,
        edges_assumed=checks.convert(
            found.get("edges_assumed", False), bool, f"{path}.edges_assumed", "be true or false"
        )
        or False,
        sampled=checks.convert(found.get("sampled", False), bool, f"{path}.sampled", "be true or false") or False,
        counts=checks.count_rows(found.get("counts", []), f"{path}.counts", length),
    )


def _check_edges(edges: list[float], known: EdgesKnown, path: str, checks: Checks) -> None:
    if len(edges) != HISTOGRAM_BINS + 1:
        checks.refuse(f"{path}.bin_edges", f"have {HISTOGRAM_BINS + 1} numbers", str(len(edges)))
    # Legacy edges were cut to few digits when they were logged, so that narrow bins repeat an edge.
    may_repeat = known == "first_epoch"
    for position, (left, right) in enumerate(pairwise(edges), start=1):
        if right < left or (right == left and not may_repeat):
            expected = f"be {'no smaller' if may_repeat else 'larger'} than the edge before it, {left}"
            checks.refuse(f"{path}.bin_edges[{position}]", expected, str(right))
            return  # one wrong edge makes its neighbours look wrong too
