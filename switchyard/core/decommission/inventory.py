"""The inventory: all that a deployment consists of, as it was before anything was touched.

Its digest is what people approve.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from switchyard.core.decommission.resources import Found, Kept, Kind, Resource, Sought
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.strict_json import decode_strictly

FORMAT: Final = 2
"""Format 1 has the values of variables in itself; in 2 they are kept apart (`sealing`)."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found. The values of variables are in it only in memory: its file has none (`sealing`)."""

    format: Literal[1, 2] = FORMAT
    sought: Sought
    found: tuple[Found, ...]  # one a kind, in the order of `Kind`

    @property
    def resources(self) -> tuple[Resource, ...]:
        """All resources, of every kind."""
        return tuple(resource for one in self.found for resource in one.resources)

    @property
    def digest(self) -> str:
        """``sha256:`` and the hash of the saved file, as ``sha256sum`` says it too."""
        return to_digest(to_json(self))

    @property
    def by_name(self) -> Mapping[str, Resource]:
        """The resources by their full names, which no two share."""
        return {resource.name: resource for resource in self.resources}

    def read(self, name: str) -> Resource:
        """Returns the saved resource of that name.

        Raises: NotFound: there is none.
        """
        found = self.by_name.get(name)
        if found is None:
            raise NotFound(f"{name} is not in the inventory")
        return found


def to_digest(data: bytes) -> str:
    """Returns ``sha256:`` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def to_json(inventory: Inventory) -> bytes:
    """Returns the file: the same inventory has the same bytes."""
    return msgspec.json.encode(inventory, order="deterministic") + b"\n"


def read_inventory(data: bytes, where: str, *, digest: str) -> Inventory:
    """Returns the saved inventory. Raises: BadRecord: it is not an inventory, or not the one of that digest."""
    if (found := to_digest(data)) != digest:
        raise BadRecord(where, [f"it was changed: its digest is {found}, not {digest}. Restore it, or plan again"])
    try:
        return decode_strictly(data, Inventory)
    except ValueError as err:
        raise BadRecord(where, [f"it is not an inventory of format 1 or {FORMAT}: {err}"]) from err


def to_inventory_uri(folder: str, digest: str) -> str:
    """Returns where an inventory lies below `folder`."""
    return f"{folder.rstrip('/')}/inventory-{digest.removeprefix('sha256:')}.json"


def list_newer(saved: Resource, fresh: Resource) -> tuple[str, ...]:
    """Returns the objects of a bucket that were written since it was saved.

    People approved the deletion of the others, and only those can be restored.
    """
    if saved.kind is not Kind.BUCKET:
        return ()
    known = {(one["name"], one["generation"]) for one in saved.parts.get("objects", ())}
    there = fresh.parts.get("objects", ())
    return tuple(sorted({one["name"] for one in there if (one["name"], one["generation"]) not in known}))


def list_billed(inventory: Inventory, kept: Mapping[str, Sequence[Kept]]) -> tuple[Resource, ...]:
    """Returns the resources, and by their own names what is `kept` of them, by resource: of which a bill is asked."""
    parts = {
        one.name: Resource(kind=resource.kind, name=one.name)
        for resource in inventory.resources
        for one in kept.get(resource.name, ())
        if one.name and one.name not in inventory.by_name
    }
    return (*inventory.resources, *parts.values())


def find_folder_problem(inventory: Inventory, uri: str, what: str) -> str:
    """Returns why nothing that must outlive the deletion may lie at `uri`: its bucket is one of those to delete.

    Empty: it may.
    """
    bucket = uri.removeprefix("gs://").partition("/")[0] if uri.startswith("gs://") else ""
    for resource in inventory.resources:
        if bucket and resource.kind is Kind.BUCKET and resource.name.rpartition("/")[2] == bucket:
            return (
                f"The {what} is at {uri}, in bucket {bucket}, which the plan deletes. Choose a place in another bucket."
            )
    return ""
