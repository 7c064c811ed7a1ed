"""What a run's metrics file and its MLflow run both say (a trainer logged to both, or a legacy collector), compared.

MLflow is the poorer copy: params are texts, edges have 6 decimals, and logging never holds a training up, so that the
last points may be missing there. Only what MLflow has, and the file lacks, would go with it.
"""

import json
from typing import Any, Final

import msgspec

from switchyard.core.metrics.legacy_names import to_edges_param, to_key
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import Histogram, MetricsRecord
from switchyard.core.verify.cells import NOTHING, Cells, compare_cells, record_cells, to_text
from switchyard.core.verify.findings import Difference

_CUT_LENGTHS: Final = (250, 500, 6000)
"""What versions of MLflow keep of a param's text. Source: mlflow/utils/validation.py, 1.x, 2.9.2 and 2.12."""
_NOT_SHARED: Final = ("status", "available", "non_finite", "epochs")
"""`epochs` too: an epoch that only one of them has shows by its values."""
_MISSING: Final = ("null", "no row", "no values")


class SharedValues(msgspec.Struct, frozen=True, kw_only=True):
    """The differences in what both hold, and what only one of them has.

    The second are the MLflow keys and params that the file has not, and how many of the file's values MLflow has not.
    """

    differences: list[Difference]
    only_in_mlflow: list[str]
    only_in_file: int


def compare_sources(file: MetricsRecord, mlflow: MetricsRecord) -> SharedValues:
    """Compares `file` with `mlflow`.

    A null of our own trainer's file is a value that MLflow cannot have; one of a legacy collector's (version 0) may be
    a gap.
    """
    found, expected = _to_shared_cells(file), _to_shared_cells(mlflow)
    for path in _list_edges(file):  # of a histogram that has its edges in the file, compared there
        expected.pop((path, None), None)
    kept_alone = 0
    only_in_mlflow: dict[str, None] = {}
    shared: tuple[Cells, Cells] = ({}, {})
    for cell in [*expected, *(cell for cell in found if cell not in expected)]:
        theirs, ours = expected.get(cell, NOTHING), found.get(cell, NOTHING)
        if theirs == NOTHING or (theirs in _MISSING and ours not in _MISSING):
            kept_alone += theirs != ours
        elif ours == NOTHING or (ours in _MISSING and theirs not in _MISSING and file.run is None):
            only_in_mlflow[to_key(cell[0]) or cell[0]] = None
        elif not (cell[0].startswith("params") and _is_same_param(cell[0], file, mlflow)):
            shared[0][cell], shared[1][cell] = theirs, ours
    return SharedValues(
        differences=compare_cells(*shared, "file"),
        only_in_mlflow=list(only_in_mlflow),
        only_in_file=kept_alone,
    )


def _to_shared_cells(record: MetricsRecord) -> Cells:
    """Returns the cells in the form that MLflow has them; params are compared one by one."""
    cells = {
        cell: text
        for cell, text in record_cells(_with_short_edges(record)).items()
        if cell[0].partition(".")[0] not in _NOT_SHARED and not cell[0].endswith((".edges_known", ".sampled"))
    }
    return {cell: text for cell, text in cells.items() if text != "a tower"}


def _list_edges(file: MetricsRecord) -> list[str]:
    """Returns the params in which MLflow has the edges of the file's histograms."""
    return [
        to_path("params", to_edges_param(section, tower))
        for section in ("weight_stats", "gradient_stats")
        for tower, statistics in getattr(file, section).items()
        if statistics.histogram is not None and statistics.histogram.bin_edges is not None
    ]


def _with_short_edges(record: MetricsRecord) -> MetricsRecord:
    def shorten(histogram: Histogram | None) -> Histogram | None:
        if histogram is None or histogram.bin_edges is None:
            return histogram
        edges = [round(edge, 6) for edge in histogram.bin_edges]
        return msgspec.structs.replace(histogram, bin_edges=edges)

    return msgspec.structs.replace(
        record,
        **{
            section: {
                tower: msgspec.structs.replace(statistics, histogram=shorten(statistics.histogram))
                for tower, statistics in getattr(record, section).items()
            }
            for section in ("weight_stats", "gradient_stats")
        },
    )


def _is_same_param(path: str, file: MetricsRecord, mlflow: MetricsRecord) -> bool:
    """Returns True if the param is the same in both: in MLflow it is a text, perhaps a cut one, whatever it was."""
    name = to_key(path)
    if name not in file.params or name not in mlflow.params:
        return False
    ours, text = file.params[name], mlflow.params[name]
    texts = (ours if isinstance(ours, str) else json.dumps(ours), str(ours))
    return text in texts or to_text(_parse(text)) == to_text(ours) or _is_cut(text, texts)


def _parse(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return text


def _is_cut(text: Any, texts: tuple[str, ...]) -> bool:
    return isinstance(text, str) and len(text) in _CUT_LENGTHS and any(whole.startswith(text) for whole in texts)
