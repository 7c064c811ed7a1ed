"""Reads the small YAML files of an MLflow folder (`meta.yaml`), by PyYAML's safe loader.

It builds only plain values.
"""

from typing import Any, Final

import yaml

from switchyard.core.errors import BadRecord

MAX_BYTES: Final = 1 << 20
"""The largest file. MLflow's own have about 500 bytes."""
_MAX_DEPTH: Final = 20
"""The deepest level: the loader calls itself for each. MLflow's own files have two."""
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one needs libyaml, which wheels bring


def read_mapping(data: bytes, where: str) -> dict[str, Any]:
    """Returns the keys and values of one file.

    Raises:
        BadRecord: it is empty, not YAML, not a mapping, or written to take more memory than its size (aliases, depth).
    """
    try:
        _check(data, where)
        found = yaml.load(data, Loader=_LOADER)  # noqa: S506 - a safe loader, in C
    except yaml.MarkedYAMLError as err:
        line = f"line {err.problem_mark.line + 1}: " if err.problem_mark else ""
        raise BadRecord(where, [f"{line}it must be YAML as MLflow writes it; {err.problem or 'it is not'}"]) from err
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as err:  # ValueError: an odd date or number
        said = next(iter(str(err).splitlines()), type(err).__name__)
        raise BadRecord(where, [f"it must be YAML as MLflow writes it; {said[:200]}"]) from err
    if found is None:
        raise BadRecord(where, ["it is empty: a writer was killed, is at work, or had no room. Write it again"])
    if not isinstance(found, dict):
        raise BadRecord(where, [f"it must have keys and values; it is a {type(found).__name__}"])
    return {str(key): value for key, value in found.items()}


def _check(data: bytes, where: str) -> None:
    """Checks the file without building anything of it."""
    depth = 0
    for event in yaml.parse(data, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise BadRecord(where, [f"it has an alias (*{event.anchor}), which MLflow never writes; not read"])
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise BadRecord(where, [f"it is nested more than {_MAX_DEPTH} deep; not read"])
