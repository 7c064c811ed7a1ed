"""Sorts a run's parameters into the order in which a reader needs them.

First what differs from the defaults, then what was counted in the data, then the rest.
"""

from typing import Any, Final, TypeGuard

import msgspec

from switchyard.core.runs.spec import TrainSpec

_DEFAULTS: Final[dict[str, Any]] = {field.name: field.default for field in msgspec.structs.fields(TrainSpec)}
_LEAST_OURS: Final = 8
"""With at least this many of our trainer's names, the parameters are taken to be our trainer's.

The defaults of another tool's `epochs` and `batch_size` are unknown."""


class Parameters(msgspec.Struct, frozen=True):
    """Four groups of parameters, each with name and value, in the order of the source."""

    changed: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    given: dict[str, Any] = {}  # if another tool trained the run: its defaults are unknown

    @property
    def empty(self) -> bool:
        """True if no parameter is recorded."""
        return not (self.changed or self.defaults or self.counts or self.given)


def to_parameters(params: dict[str, Any]) -> Parameters:
    """Returns the run's parameters, sorted into the four groups."""
    if len(_DEFAULTS.keys() & params.keys()) < _LEAST_OURS:
        return Parameters(given=params)
    known = {name: value for name, value in params.items() if name in _DEFAULTS}
    rest = {name: value for name, value in params.items() if name not in _DEFAULTS}
    changed = {name: value for name, value in known.items() if not _same(value, _DEFAULTS[name])}
    return Parameters(
        changed=changed,
        defaults={name: value for name, value in known.items() if name not in changed},
        counts={name: value for name, value in rest.items() if _is_count(value)},
        given={name: value for name, value in rest.items() if not _is_count(value)},
    )


def _same(value: Any, default: Any) -> bool:
    """Returns whether two values are equal, also as the texts that MLflow keeps."""
    if isinstance(value, str) and not isinstance(default, str):
        if _is_number(default):
            try:
                return float(value) == default
            except ValueError:
                return False
        return value.lower() == str(default).lower()
    return bool(value == default)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    """Returns whether the value is a count, also as a text, because MLflow keeps every parameter as text."""
    return _is_number(value) or (isinstance(value, str) and value.isdecimal())
