"""Services, jobs and triggers outside the plan that need what it takes away.

They run as its account, mount its secrets, or name its instance or bucket.

An adapter lists what everything in the project needs (`Need`); which of that the plan would break is decided here.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.order import Act, find_owner
from switchyard.core.decommission.resources import Kind, Resource

Sort = Literal["service", "job", "worker pool", "trigger"]
How = Literal["runs as", "mounts", "reads in", "connects to", "names in"]

HURT_BY: Final = (
    Kind.SERVICE_ACCOUNT,
    Kind.SECRET,
    Kind.SQL_INSTANCE,
    Kind.BUCKET,
    Kind.RUN_SERVICE,
    Kind.BINDING,
)
"""Whose stop or deletion breaks what needs it."""
_DEFAULT_ACCOUNT: Final = "-compute@developer.gserviceaccount.com"
"""Runs what names no account. Source: https://cloud.google.com/run/docs/securing/service-identity and
https://cloud.google.com/build/docs/cloud-build-service-account-updates"""

_SECRET: Final = re.compile(r"projects/[^/\s\"']+/secrets/[\w-]+")
_NAME: Final = re.compile(r"(?=.*[-_.\d]).{6,}")
_ID: Final = 15
"""Digits of an account's unique id at least: Google's have 21."""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a service, job, worker pool or trigger needs."""

    by: str  # in full
    sort: Sort
    how: How
    name: str  # as it names it: e-mail, secret, connection name, bucket; of a variable its value
    kind: Kind | None = None  # of what is needed; None: a value or arguments, which may name anything
    variable: str = ""
    revision: str = ""  # an older one that gets traffic; empty: as it is deployed next

    def __repr__(self) -> str:
        """Leaves out the value of a variable, which may be a secret."""
        return f"Need(by={self.by!r}, how={self.how!r}, variable={self.variable!r})"


class UsedBy(msgspec.Struct, frozen=True, kw_only=True):
    """Something of the plan, and what else needs it."""

    kind: Kind
    name: str
    by: str
    sort: Sort
    how: How
    variable: str = ""
    revision: str = ""


def find_users(inventory: Inventory, needs: Iterable[Need]) -> tuple[UsedBy, ...]:
    """Returns what outside of the plan needs something of it; without variables that the plan takes out."""
    planned = inventory.by_name
    found: dict[UsedBy, None] = {}
    for need in needs:
        is_taken_out = bool(need.variable) and not need.revision and f"{need.by}#{need.variable}" in planned
        if need.by in planned or is_taken_out:
            continue
        for resource in inventory.resources:
            if _is_meant(resource, need):
                used = UsedBy(
                    kind=resource.kind,
                    name=resource.name,
                    by=need.by,
                    sort=need.sort,
                    how=need.how,
                    variable=need.variable,
                    revision=need.revision,
                )
                found[used] = None
    return tuple(sorted(found, key=lambda used: (used.name, used.by, used.how, used.variable, used.revision)))


def list_refusals(users: Sequence[UsedBy], give_up: Sequence[str]) -> tuple[str, ...]:
    """Returns a sentence for each user that was not given up by its full name: who, what, and what to do."""
    return tuple(dict.fromkeys(say_user(used) for used in users if used.by not in give_up))


def list_hurt(act: Act, inventory: Inventory, users: Sequence[UsedBy]) -> tuple[UsedBy, ...]:
    """Returns those that `act` would break. A binding is its account's."""
    if act.verb not in ("stop", "delete") or act.kind not in HURT_BY:
        return ()
    if act.kind is Kind.BINDING:
        member = act.resource.removeprefix(f"{find_owner(act.resource)}#")
        accounts = {one.name for one in inventory.resources if one.kind is Kind.SERVICE_ACCOUNT}
        named = {name for name in accounts if name.rpartition("/")[2] in member}
        return tuple(used for used in users if used.name in named)
    return tuple(used for used in users if used.name == act.resource)


def say_user(used: UsedBy) -> str:
    """Returns the fact, then what to do."""
    what = f"{used.kind} {used.name}"
    does = {
        "runs as": f"runs as {what}",
        "mounts": f"mounts {what} as files",
        "reads in": f"reads {what} in {f'variable {used.variable}' if used.variable else 'its configuration'}",
        "connects to": f"connects to {what}",
        "names in": f"names {what} in {f'variable {used.variable}' if used.variable else 'its configuration'}",
    }[used.how]
    who = f"{used.sort.capitalize()} {used.by}"
    if used.revision:
        who = f"Revision {used.revision}, which gets traffic of {used.sort} {used.by},"
    return (
        f"{who} {does}, which the plan stops and deletes. {_to_remedy(used)} "
        f"If it may break, plan again with: --give-up {used.by}"
    )


def _to_remedy(used: UsedBy) -> str:
    parts = used.by.split("/")
    place, short = (parts[3], parts[-1]) if len(parts) > 5 else ("<region>", parts[-1])
    if used.revision:
        return f"Send its traffic on: gcloud run services update-traffic {short} --region {place} --to-latest."
    if used.sort == "trigger":
        return (
            f"Change it: gcloud builds triggers export {short} --region {place} --destination t.yaml, edit it, then "
            "gcloud builds triggers import --source t.yaml."
        )
    update = f"gcloud run {used.sort.replace(' ', '-')}s update {short} --region {place}"
    if used.how == "runs as":
        return f"Give it another account: {update} --service-account <another>."
    if used.variable and used.sort == "worker pool":  # of which the plan takes no variable
        return f"Take it out: {update} --remove-env-vars {used.variable}."
    if used.variable:
        return (
            f"Let the plan take it out (--variables {used.variable}), or: {update} --remove-env-vars {used.variable}."
        )
    if used.how == "names in":
        return f"Take it out of its arguments: {update} --args <those that stay>."
    if used.kind is Kind.SECRET:
        return f"Give it another secret: {update} --update-secrets <its path>=<another>:latest."
    if used.kind is Kind.SQL_INSTANCE:
        return f"Disconnect it: {update} --clear-cloudsql-instances."
    return f"Unmount it: {update} --remove-volume <its name>."


def _is_meant(resource: Resource, need: Need) -> bool:
    """Returns whether that is what is needed."""
    short = resource.name.rpartition("/")[2]
    if need.kind is None:
        return _is_named(resource, short, need.name) or (bool(need.variable) and _is_bare(resource, short, need.name))
    if need.kind is not resource.kind:
        return False
    if resource.kind is Kind.SERVICE_ACCOUNT:
        named = need.name.rpartition("/")[2]
        return named in (short, resource.unique_id) or (not named and short.endswith(_DEFAULT_ACCOUNT))
    if resource.kind is Kind.SECRET:
        return _is_secret(resource.name, need.name)
    if resource.kind is Kind.SQL_INSTANCE:
        return need.name in (_to_connection(resource), short)
    return need.name.removeprefix("gs://").removeprefix("https://storage.googleapis.com/").partition("/")[0] == short


def _is_secret(full: str, named: str) -> bool:
    """Returns True if the secret is named, by its short name or in full.

    The project may be named by its number, which is not known here.
    """
    parts, wanted = named.split("/"), full.split("/")
    if len(parts) < 4:
        return parts[-1] == wanted[3]
    return parts[3] == wanted[3] and _may_be_project(parts[1], wanted[1])


def _may_be_project(named: str, project: str) -> bool:
    """Returns True if `named` may be the project.

    A number or a substitution (``$PROJECT_ID``, ``${_PROJECT}``) may be any.
    """
    return named == project or named.isdigit() or named.startswith("$")


def _is_named(resource: Resource, short: str, value: str) -> bool:
    """Returns whether a value has its address or its full name in it, as whole words."""
    match resource.kind:
        case Kind.SQL_INSTANCE:
            return bool(_to_connection(resource)) and _has_word(value, _to_connection(resource))
        case Kind.BUCKET:
            paths = (f"gs://{short}", f"storage.googleapis.com/{short}", f"storage.cloud.google.com/{short}")
            return any(_has_word(value, path) for path in (*paths, f"{short}.storage.googleapis.com"))
        case Kind.SERVICE_ACCOUNT:
            return _has_word(value, short) or (len(resource.unique_id) >= _ID and _has_word(value, resource.unique_id))
        case Kind.SECRET:
            return any(_is_secret(resource.name, named) for named in _SECRET.findall(value))
        case Kind.RUN_SERVICE:
            found = resource.description
            hosts = [str(address).removeprefix("https://") for address in (found.get("uri"), *found.get("urls", ()))]
            return any(host and host in value for host in hosts)
        case _:
            return False


def _is_bare(resource: Resource, short: str, value: str) -> bool:
    """Returns whether the value of a variable is the short name of a secret or a bucket, with a version or a path.

    A usual word is not a name.
    """
    if resource.kind not in (Kind.SECRET, Kind.BUCKET) or not _NAME.fullmatch(short):
        return False
    return re.split("[:/]", value.strip(), maxsplit=1)[0] == short


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-]|\.\w)", text) is not None


def _to_connection(resource: Resource) -> str:
    return str(resource.description.get("connectionName", ""))
