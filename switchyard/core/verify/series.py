"""A run's full series and values as verify compares them: with their own digest, with the source, with the history."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.core.history.publication import FullSeries, Value
from switchyard.core.metrics.paths import to_path
from switchyard.core.verify.cells import Cells, add_entry, compare_cells, to_text
from switchyard.core.verify.findings import Difference

_IN_HISTORY: Final = ("final", "param", "tag")


def compare_series(expected: FullSeries | None, kept: FullSeries) -> list[Difference]:
    """Returns what is stored with its own digest, and with what the source makes; None: the source does not say."""
    try:
        content = gzip.decompress(kept.gzip_json)
        found = to_series_cells(msgspec.json.decode(content, type=dict[str, Any]))
    except (OSError, EOFError, zlib.error, msgspec.DecodeError) as err:
        return [Difference(place="series", path="", expected="gzip JSON", found=f"none: {err}")]
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    differences = []
    if digest != kept.digest:
        differences.append(Difference(place="series", path="digest", expected=digest, found=kept.digest))
    if expected is not None and digest != expected.digest:
        wanted = to_series_cells(json.loads(gzip.decompress(expected.gzip_json)))
        differences += compare_cells(wanted, found, "series")  # none if -0.0 and 0.0 are the whole difference
    return differences


def to_series_cells(content: Mapping[str, Any]) -> Cells:
    """Returns the cells of what ``/series/`` answers: each value by its name and step."""
    cells: Cells = {}
    for name, found in content.items():
        if name != "series" or not isinstance(found, dict):
            cells[to_path(name), None] = to_text(found)
            continue
        for series, entry in found.items():
            add_entry(cells, to_path("series", series), entry, content.get("epochs"))
    return cells


def compare_values(expected: Sequence[Value], kept: Sequence[Value], *, whole: bool) -> list[Difference]:
    """Returns what is stored with all that there should be.

    Without `whole` the stored ones were made of the history alone, which does not say the last and best value of every
    series.
    """
    wanted, found = _to_value_cells(expected), _to_value_cells(kept)
    if not whole:
        wanted = {cell: text for cell, text in wanted.items() if cell in found or cell[0].startswith(_IN_HISTORY)}
    return compare_cells(wanted, found, "values")


def _to_value_cells(values: Sequence[Value]) -> Cells:
    """Returns the cells by kind and name.

    Two names that differ only by what no database takes are one there.
    """
    texts: dict[str, list[str]] = {}
    for value in values:
        name, text = value.name.replace("\0", "\ufffd"), value.text
        said = to_text([value.number, text.replace("\0", "\ufffd") if text is not None else None])
        texts.setdefault(to_path(value.kind, name), []).append(said)
    return {(path, None): ", ".join(sorted(found)) for path, found in texts.items()}
