"""Decides for all adapters which items of a list are wanted, and whether a resource is still the one that was read."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from switchyard.core.decommission.resources import Found, Kind, Operation, Resource, Sought
from switchyard.core.errors import BadRecord, NotFound, StaleWrite, TryAgain


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a list."""

    name: str  # in full
    handles: tuple[str, ...]  # other names for it: short name, e-mail, address, connection name
    labels: Mapping[str, str] = {}
    found_by: tuple[str, ...] = ()  # references that its adapter found by itself


def find(
    kind: Kind, sought: Sought, listed: Sequence[Listed], places: Iterable[str], describe: Callable[[str], Resource]
) -> Found:
    """Returns the wanted items of `listed`, each described as it is now.

    Raises: BadRecord: the control is not listed."""
    control = sought.controls.get(kind, "")
    if control and not any(control in (item.name, *item.handles) for item in listed):
        raise BadRecord(
            f"the lists of {kind}s in {', '.join(places)}",
            [
                f"{control!r} exists, but is not among the {len(listed)} listed: the project, a region or a "
                "permission is wrong, and an empty list would prove nothing"
            ],
        )
    found = []
    for item in listed:
        why = find_reasons(kind, sought, item)
        if not why or (control and control in (item.name, *item.handles)):
            continue
        try:
            try:
                described = describe(item.name)
            except NotFound:  # one odd answer would leave it out of an inventory
                described = describe(item.name)
        except NotFound:  # the list lags: what it shows is gone
            continue
        found.append(msgspec.structs.replace(described, found_by=why))
    return Found(
        kind=kind,
        resources=tuple(sorted(found, key=lambda resource: resource.name)),
        listed=len(listed),
        places=tuple(places),
        control=control,
    )


def find_reasons(kind: Kind, sought: Sought, item: Listed) -> tuple[str, ...]:
    """Returns why an item is wanted; empty: it is not."""
    names = {item.name, *item.handles}
    why = ["name"] if names & set(sought.names.get(kind, ())) else []
    if sought.labels and sought.labels.items() <= dict(item.labels).items():
        why.append("label")
    why += [f"reference {reference}" for reference in sought.references if reference in names]
    return tuple(dict.fromkeys((*why, *item.found_by)))


def check_same(resource: Resource, now: Resource) -> None:
    """Raises StaleWrite if another resource of the same name is there now."""
    if resource.unique_id and resource.unique_id != now.unique_id:
        raise StaleWrite(
            f"{now.name} is not the one that was read: its unique id was {resource.unique_id}, and is {now.unique_id}. "
            "Make the inventory again"
        )


def check_unchanged(resource: Resource, now: Resource) -> None:
    """Raises StaleWrite if it is another one, or it changed since `resource` was read."""
    check_same(resource, now)
    if resource.version != now.version:
        raise StaleWrite(
            f"{now.name} changed since it was read: its version was {resource.version}, and is {now.version}. "
            "Look at what changed, then make the inventory again"
        )


def to_digest(value: Any) -> str:
    """Returns a short digest of JSON: a version for what has no version."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def over(resource: Resource, name: str = "") -> Operation:
    """Returns an act that was begun; without `name`, it was over with its answer, or there was nothing to do."""
    return Operation(kind=resource.kind, resource=resource.name, name=name)


@contextlib.contextmanager
def looked_at_again(name: str) -> Iterator[None]:
    """Lets the next call find out whether what was there a moment ago is gone, in a deletion.

    Raises: TryAgain: NotFound in the block."""
    try:
        yield
    except NotFound as err:
        raise TryAgain(f"{name} disappeared while it was being deleted; look again: {err}") from err


def find_manager(labels: Mapping[str, str]) -> str:
    """Returns who would bring it back: the label is that of Terraform's provider, since 5.16.

    Source: https://registry.terraform.io/providers/hashicorp/google/latest/docs/guides/provider_reference
    """
    return "terraform" if labels.get("goog-terraform-provisioned") == "true" else ""
