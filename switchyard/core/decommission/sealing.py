"""The values of variables, kept apart from the inventory: they may be passwords, and many people read an inventory.

The inventory has `HIDDEN` in their place. The values lie in a file of their own, which only undo and the acts read.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.resources import Resource
from switchyard.core.errors import BadRecord
from switchyard.core.strict_json import decode_strictly

HIDDEN: Final = "(kept apart)"
FORMAT: Final = 1

_ALL_BELOW: Final = frozenset({"args", "command", "script", "substitutions", "environmentVariables"})
"""What may hold a variable's value in any of its texts. Source: the discovery documents run.v2 (Container, BuildConfig)
and cloudbuild.v1 (BuildStep, BuildTrigger)."""
_VARIABLES: Final = frozenset({"env", "entry"})
"""Pairs of name and value, or texts NAME=value; `entry` is one of them, as the adapter of variables keeps it."""

Place = tuple[str | int, ...]


class Hidden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One text that is not in the inventory."""

    resource: str
    place: tuple[str | int, ...]  # keys and positions from the resource down
    value: str


class Values(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All hidden texts of one inventory."""

    format: Literal[1] = FORMAT
    inventory: str  # the digest of the inventory without them
    hidden: tuple[Hidden, ...]

    def __repr__(self) -> str:
        return f"Values(inventory={self.inventory!r}, {len(self.hidden)} hidden)"


def seal(inventory: Inventory) -> tuple[Inventory, Values]:
    """Returns the inventory as people may read it, and what was taken out of it."""
    hidden: list[Hidden] = []
    found = []
    for one in inventory.found:
        sealed = []
        for resource in one.resources:
            places = [place for place, _ in _list_values(resource)]
            hidden += [
                Hidden(resource=resource.name, place=place, value=value) for place, value in _list_values(resource)
            ]
            sealed.append(_replace(resource, dict.fromkeys(places, HIDDEN)))
        found.append(msgspec.structs.replace(one, resources=tuple(sealed)))
    bare = msgspec.structs.replace(inventory, found=tuple(found))
    return bare, Values(inventory=bare.digest, hidden=tuple(hidden))


def is_sealed(inventory: Inventory) -> bool:
    """Returns True if values are kept apart. One of an earlier release has them in itself."""
    return inventory.format > 1 and any(
        value == HIDDEN for resource in inventory.resources for _, value in _list_values(resource)
    )


def unseal(inventory: Inventory, values: Values) -> Inventory:
    """Returns the inventory with its values, as it was before `seal`."""
    by_resource: dict[str, dict[Place, str]] = {}
    for one in values.hidden:
        by_resource.setdefault(one.resource, {})[one.place] = one.value
    found = tuple(
        msgspec.structs.replace(
            one, resources=tuple(_replace(resource, by_resource.get(resource.name, {})) for resource in one.resources)
        )
        for one in inventory.found
    )
    return msgspec.structs.replace(inventory, found=found)


def to_json(values: Values) -> bytes:
    """Returns the file: the same values have the same bytes."""
    return msgspec.json.encode(values, order="deterministic") + b"\n"


def read_values(data: bytes, where: str, inventory: Inventory, digest: str) -> Values:
    """Returns the saved values of that inventory.

    Raises: BadRecord: they are not values, another inventory's, or not all.
    """
    try:
        values = decode_strictly(data, Values)
    except (ValueError, msgspec.DecodeError) as err:
        raise BadRecord(where, [f"it does not hold the values of an inventory in format {FORMAT}"]) from err
    if values.inventory != digest:
        raise BadRecord(where, [f"it is of inventory {values.inventory}, not of {digest}"])
    wanted = {
        (resource.name, place)
        for resource in inventory.resources
        for place, value in _list_values(resource)
        if value == HIDDEN
    }
    if {(one.resource, one.place) for one in values.hidden} != wanted:
        raise BadRecord(where, ["it must have a value for each place that the inventory leaves out, and no other"])
    return values


def to_values_uri(folder: str, digest: str) -> str:
    """Returns where the values of an inventory lie below `folder`."""
    return f"{folder.rstrip('/')}/values-{digest.removeprefix('sha256:')}.json"


def _list_values(resource: Resource) -> Iterator[tuple[Place, str]]:
    yield from _walk(resource.description, ("description",), is_value=False)
    for key, part in resource.parts.items():
        if key != "objects":  # of a bucket: names, and very many
            yield from _walk(part, ("parts", key), is_value=False)


def _walk(item: Any, place: Place, *, is_value: bool) -> Iterator[tuple[Place, str]]:
    if isinstance(item, Mapping):
        for key, below in item.items():
            within = is_value or key in _ALL_BELOW
            if key in _VARIABLES and not within:
                yield from _walk_variables(below, (*place, key))
            else:
                yield from _walk(below, (*place, key), is_value=within)
    elif isinstance(item, list | tuple):
        for number, below in enumerate(item):
            yield from _walk(below, (*place, number), is_value=is_value)
    elif is_value and isinstance(item, str) and item:
        yield place, item


def _walk_variables(item: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Yields the values with their places.

    A variable's name stays, and so does the name of the secret that it is taken from.
    """
    if isinstance(item, list | tuple):
        for number, below in enumerate(item):
            yield from _walk_variables(below, (*place, number))
    elif isinstance(item, str) and item:
        yield place, item
    elif isinstance(item, Mapping) and isinstance(value := item.get("value"), str) and value:
        yield (*place, "value"), value


def _replace(resource: Resource, by_place: Mapping[Place, str]) -> Resource:
    if not by_place:
        return resource
    whole = {"description": _copy(resource.description), "parts": _copy(resource.parts)}
    for place, value in by_place.items():
        item: Any = whole
        for key in place[:-1]:
            item = item[key]
        item[place[-1]] = value
    return msgspec.structs.replace(resource, description=whole["description"], parts=whole["parts"])


def _copy(item: Any) -> Any:
    if isinstance(item, Mapping):
        return {key: _copy(value) for key, value in item.items()}
    return [_copy(value) for value in item] if isinstance(item, list | tuple) else item
