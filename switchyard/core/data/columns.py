"""Which columns of a file are the buyer, the product, the time, and perhaps the quantity and the invoice number."""

from collections.abc import Sequence
from typing import Final

from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec

ROLES: Final = ("buyer", "product", "time", "quantity", "invoice")
_OPTIONAL: Final = ("quantity", "invoice")
_FAILING: Final = {"quantity": "non_positive_quantities", "invoice": "cancellations"}
_DEFAULTS: Final = TrainSpec()


def list_wanted(spec: TrainSpec) -> dict[str, str]:
    """Returns the columns that `spec` names, by their role."""
    named = {role: str(getattr(spec, f"{role}_column")) for role in ROLES}
    return {role: name for role, name in named.items() if name}


def choose_columns(there: Sequence[str], spec: TrainSpec, *, hint: str = "") -> dict[str, str]:
    """Returns the file's own columns by their role.

    The quantity and the invoice number are left out where the file has no column of the default name: they were not
    asked for.

    Args:
        there: all columns of the file, in order. hint: what else may be wrong, for the error.

    Raises:
        BadRequest: a column is not there, or is there more than once.
    """
    wanted = list_wanted(spec)
    missing = {
        role: name for role, name in wanted.items() if name not in there and not _may_be_missing(role, name, spec)
    }
    if missing:
        flags = ", ".join(f"--{role}-column" for role in missing)
        empty = " (may be empty: there is none)" if set(missing) <= set(_OPTIONAL) else ""
        raise BadRequest(
            f"columns {', '.join(map(repr, missing.values()))} were expected; the file has "
            f"{', '.join(map(repr, there))}; name the right ones with {flags}{empty}{hint}"
        )
    found = {role: name for role, name in wanted.items() if name in there}
    for role, name in found.items():
        places = [str(place) for place, other in enumerate(there, start=1) if other == name]
        if len(places) > 1:
            raise BadRequest(
                f"column {name!r} is there {len(places)} times (columns {' and '.join(places)}), so that it is not "
                f"clear which is meant: rename all but one in the file, or name another column with --{role}-column"
            )
    return found


def _may_be_missing(role: str, name: str, spec: TrainSpec) -> bool:
    return (
        role in _OPTIONAL
        and name == getattr(_DEFAULTS, f"{role}_column")
        and getattr(spec, _FAILING[role]) != "fail"  # who fails on such rows must be able to see them
    )
