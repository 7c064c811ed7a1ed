"""Writes ``training_metrics.json``, schema version 1."""

from typing import Any

import msgspec

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.nonfinite import take_non_finite
from switchyard.core.metrics.paths import to_names, to_path
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import SCHEMA_VERSION, Histogram, MetricsRecord, TowerStatistics


def to_json(record: MetricsRecord) -> bytes:
    """Returns the file that `read_record` reads back as an equal record (but for `warnings`, which are its own).

    Raises:
        BadRecord: the record breaks the contract that `read_record` holds files to, so that no reader would take it;
            a NaN or infinity stands in it where null and `non_finite` must.
    """
    if record.run is None:
        raise BadRecord("a metrics record", ["`run` must say which run it is of; got none (a legacy file's record)"])
    if record.charted_only:
        raise BadRecord(
            f"the metrics record of quick test {record.run.quick_test_id}",
            ["it must hold all that the run has; got its charted series alone: read all metrics of the run"],
        )
    tree: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "status": record.status,
        "available": record.available,
        "saved_at": record.saved_at,
        "run": msgspec.structs.asdict(record.run),
        "epochs": record.epochs,
        "loss": record.loss,
        "gradient": record.gradient,
        "weight_stats": _to_towers(record.weight_stats),
        "gradient_stats": _to_towers(record.gradient_stats),
        "metrics": record.metrics,
        "other_series": record.other_series,
        "final_metrics": record.final_metrics,
        "params": record.params,
        "non_finite": record.non_finite,
    }
    where = f"the metrics record of quick test {record.run.quick_test_id}"
    tree = msgspec.to_builtins(tree, builtin_types=())
    for path, value in record.unknown.items():
        _put(tree, path, value)
    data = msgspec.json.encode(tree)
    written = read_record(data, where=where)
    if msgspec.structs.replace(written, warnings=record.warnings) != record:
        places = [to_path(*map(str, keys)) for keys, _ in take_non_finite(tree)[1]]
        found = f"NaN or an infinity at {', '.join(places)}" if places else "other types (tuples, sets, objects)"
        raise BadRecord(where, [f"it must hold lists, dicts, finite numbers and null alone; got {found}"])
    return data


def _to_towers(towers: dict[str, TowerStatistics]) -> dict[str, Any]:
    return {
        name: {
            **tower.series,
            **({} if tower.histogram is None else {"histogram": _to_histogram(tower.histogram)}),
            **tower.other,
        }
        for name, tower in towers.items()
    }


def _to_histogram(histogram: Histogram) -> dict[str, Any]:
    found = msgspec.structs.asdict(histogram)
    if not histogram.edges_assumed:
        del found["edges_assumed"]
    return found


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Puts a key that the reader did not know back where it stood."""
    *parents, name = to_names(path)
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[name] = value
