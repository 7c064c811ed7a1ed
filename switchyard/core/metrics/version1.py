"""Schema version 1 of ``training_metrics.json``: the parsed file becomes a `MetricsRecord`.

Or one error, with all that is wrong in the file. docs/contracts.md describes it.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec

from switchyard.core.metrics.checks import Checks, Step, Whole, describe
from switchyard.core.metrics.nonfinite import Places
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import (
    GRADIENT_SERIES,
    LOSS_SERIES,
    MAX_ATTEMPT,
    FileStatus,
    MetricsRecord,
    NonFiniteKind,
    OtherSeries,
    RunIdentity,
    Series,
)
from switchyard.core.metrics.towers import read_towers
from switchyard.core.metrics.unknown_keys import keep_any, keep_unknown

SECTIONS = frozenset(
    (
        *("schema_version", "status", "available", "saved_at", "run", "epochs", "loss", "gradient", "weight_stats"),
        *("gradient_stats", "metrics", "other_series", "final_metrics", "params", "non_finite"),
    )
)
_REQUIRED = ("schema_version", "status", "saved_at", "run", "epochs", "loss")
_RUN_FIELDS = {
    "quick_test_id": (Whole, "be an integer of at least 0"),
    "key": (str, "be a text"),
    "attempt": (Whole, "be an integer of at least 0"),
    "restart": (Whole, "be an integer of at least 0"),
    "name": (str, "be a text"),
    "seed": (int | None, "be an integer or null"),
}
_RUN_REQUIRED = ("quick_test_id", "key", "attempt", "restart")
_NonFinite = dict[str, dict[str, dict[str, NonFiniteKind]]]


def from_version1(tree: dict[str, Any], where: str) -> MetricsRecord:
    """Returns the record that a version 1 file holds.

    Raises:
        BadRecord: it breaks the contract; all problems at once.
    """
    checks = Checks(where)
    record = read_sections(tree, checks, required=_REQUIRED)
    checks.raise_problems()
    return record


def read_sections(tree: dict[str, Any], checks: Checks, *, required: tuple[str, ...]) -> MetricsRecord:
    """Reads the record in version 1's sections.

    Problems are left with `checks`, which the caller raises.
    """
    for name in required:
        if name not in tree:
            checks.refuse(name, "be there", "nothing")
    unknown: dict[str, Any] = {}
    keep_unknown(tree, SECTIONS, (), unknown, checks)
    epochs, length = _read_epochs(tree, checks)
    record = MetricsRecord(
        status=checks.literal(tree, "status", FileStatus) or "partial",
        saved_at=_read_time(tree, checks),
        run=_read_run(tree, unknown, checks),
        available=checks.convert(tree.get("available", True), bool, "available", "be true or false") or False,
        epochs=epochs,
        loss=_read_named(tree, "loss", LOSS_SERIES, length, checks),
        gradient=_read_named(tree, "gradient", GRADIENT_SERIES, length, checks),
        weight_stats=read_towers(tree, "weight_stats", length, unknown, checks),
        gradient_stats=read_towers(tree, "gradient_stats", length, unknown, checks),
        metrics=checks.series_map(tree.get("metrics", {}), ("metrics",), length),
        other_series=_read_other_series(tree, unknown, checks),
        final_metrics=_read_final_metrics(tree, checks),
        params=_read_params(tree, checks),
        unknown=unknown,
        warnings=checks.warnings,
    )
    _read_non_finite(tree, record, checks)
    return record


def _read_time(tree: dict[str, Any], checks: Checks) -> datetime:
    expected = "be a date and time with its zone, such as 2026-01-15T10:30:00Z"
    value = tree.get("saved_at")
    if "saved_at" in tree:
        try:
            saved_at = msgspec.convert(value, datetime) if isinstance(value, str) else None
            if saved_at is not None and saved_at.tzinfo is not None:
                return saved_at.astimezone(UTC)
        except (msgspec.ValidationError, OverflowError):  # OverflowError: the first or last day there is, in its zone
            pass
        checks.refuse("saved_at", expected, describe(value))
    return datetime.min.replace(tzinfo=UTC)


def _read_run(tree: dict[str, Any], unknown: dict[str, Any], checks: Checks) -> RunIdentity | None:
    if "run" not in tree:
        return None
    run = tree["run"]
    if not isinstance(run, dict):
        checks.refuse("run", "be an object", describe(run))
        return None
    values: dict[str, Any] = {}
    for name, (kind, expected) in _RUN_FIELDS.items():
        if name in run:
            values[name] = checks.convert(run[name], kind, f"run.{name}", expected)
        elif name in _RUN_REQUIRED:
            checks.refuse(f"run.{name}", "be there", "nothing")
    for name in ("attempt", "restart"):
        if (values.get(name) or 0) > MAX_ATTEMPT:
            checks.refuse(f"run.{name}", f"be at most {MAX_ATTEMPT}", str(values[name]))
    keep_unknown(run, frozenset(_RUN_FIELDS), ("run",), unknown, checks)
    return None if checks.problems else RunIdentity(**values)


def _read_epochs(tree: dict[str, Any], checks: Checks) -> tuple[list[int], int | None]:
    """Returns the epochs, and how many values a series must have; None if the file does not say."""
    value = tree.get("epochs")
    if not isinstance(value, list):
        if "epochs" in tree:
            checks.refuse("epochs", "be an array of integers", describe(value))
        return [], None
    epochs = checks.integers(value, "epochs", Whole, "an integer of at least 0")
    for position, (before, after) in enumerate(pairwise(epochs), start=1):
        if after <= before:
            checks.refuse(f"epochs[{position}]", f"be larger than the epoch before it, {before}", str(after))
    return epochs, len(value)


def _read_named(
    tree: dict[str, Any], section: str, known: tuple[str, ...], length: int | None, checks: Checks
) -> dict[str, Series]:
    """Returns the series of `loss` or `gradient`; those of other names are kept and warned about."""
    found = checks.series_map(tree.get(section, {}), (section,), length)
    for name in found:
        if name not in known:
            checks.warn(checks.path(section, name), "is not a known series; it is kept, and not charted")
    return found


def _read_other_series(tree: dict[str, Any], unknown: dict[str, Any], checks: Checks) -> dict[str, OtherSeries]:
    value = tree.get("other_series", {})
    if not isinstance(value, dict):
        checks.refuse("other_series", "be an object", describe(value))
        return {}
    others = {}
    for name, found in value.items():
        path = checks.path("other_series", name)
        if not isinstance(found, dict):
            checks.refuse(path, "be an object with `steps` and `values`", describe(found))
            continue
        keep_unknown(found, frozenset(("steps", "values")), ("other_series", name), unknown, checks)
        problems = len(checks.problems)
        steps = checks.integers(found.get("steps", []), f"{path}.steps", Step, "an integer")
        values = checks.series(found.get("values", []), f"{path}.values", None)
        if len(checks.problems) == problems and len(steps) != len(values):
            checks.refuse(f"{path}.values", f"have {len(steps)} values, one a step", str(len(values)))
        if any(after < before for before, after in pairwise(steps)):
            position = next(i for i in range(1, len(steps)) if steps[i] < steps[i - 1])
            expected = f"be no smaller than the step before it, {steps[position - 1]}"
            checks.refuse(f"{path}.steps[{position}]", expected, str(steps[position]))
        others[name] = OtherSeries(steps=steps, values=values)
    return others


def _read_final_metrics(tree: dict[str, Any], checks: Checks) -> dict[str, float | None]:
    value = tree.get("final_metrics", {})
    if not isinstance(value, dict):
        checks.refuse("final_metrics", "be an object of numbers", describe(value))
        return {}
    return {
        name: checks.convert(item, float | None, checks.path("final_metrics", name), "be a number or null")
        for name, item in value.items()
    }


def _read_params(tree: dict[str, Any], checks: Checks) -> dict[str, Any]:
    value = tree.get("params", {})
    if not isinstance(value, dict):
        checks.refuse("params", "be an object", describe(value))
        return {}
    for name, item in value.items():
        keep_any(item, checks.path("params", name), checks)
    return value


def _read_non_finite(tree: dict[str, Any], record: MetricsRecord, checks: Checks) -> None:
    """Sets `record.non_finite`, each entry checked to stand for a null that the record has."""
    value = tree.get("non_finite", {})
    if value == {}:
        return
    found = checks.convert(value, _NonFinite, "non_finite", "be {section: {series: {position: nan, inf or -inf}}}")
    if found is None or checks.problems:  # of a broken record no place can be looked up
        return
    places = Places(record)
    for section, all_series in found.items():
        for name, kinds in all_series.items():
            for position in kinds:
                path = to_path("non_finite", section, name, position)
                try:
                    value = places.find(section, name, position)
                except LookupError:
                    checks.refuse(path, "name a place that is in the file", "one that is not")
                    continue
                if value is not None:
                    checks.refuse(path, "name a place that is null", f"a place with {describe(value)}")
    record.non_finite = found
