"""The databases on an instance that a plan deletes.

The instance goes whole. So each database but MLflow's own must be given up by name, and ours must not be among them,
whatever the address by which we reach it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.order import is_replica
from switchyard.core.decommission.resources import Kind, Resource

_ENGINES: Final = frozenset(
    {
        "postgres", "template0", "template1", "cloudsqladmin",
        "mysql", "information_schema", "performance_schema", "sys",
        "master", "model", "msdb", "tempdb",
    }
)  # fmt: skip
"""Each instance has them. Source: the manuals of PostgreSQL 16 (22.3) and MySQL 8.4 (7.3), SQL Server."""
_LOCAL: Final = frozenset({"localhost", "localhost.localdomain"})


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database is reached, without who reaches it."""

    hosts: tuple[str, ...]  # names, addresses, folders of sockets; empty: the library's default
    database: str
    addresses: tuple[str, ...] = ()  # what the names stand for


class Databases(msgspec.Struct, frozen=True, kw_only=True):
    """What is on one instance."""

    instance: str  # in full
    names: tuple[str, ...] | None  # None: not known, because it does not run
    own: str = ""  # MLflow's


def to_address(url: str) -> Address | None:
    """Returns the address in a URL as SQLAlchemy and libpq take it; None: it names no server, but a file.

    Source: https://www.postgresql.org/docs/16/libpq-connect.html#LIBPQ-CONNSTRING (several hosts, sockets, hostaddr)
    """
    parts = urlsplit(url)
    if not parts.scheme.startswith(("postgres", "mysql", "mariadb")):
        return None
    query = parse_qs(parts.query)
    named = [parts.netloc.rpartition("@")[2]]
    named += [value for key in ("host", "hostaddr", "unix_socket") for value in query.get(key, ())]
    hosts = (_to_host(unquote(host)) for value in named for host in value.split(","))
    database = unquote(parts.path.lstrip("/")) or "".join(query.get("dbname", ())[:1])
    return Address(hosts=tuple(dict.fromkeys(filter(None, hosts))), database=database)


def is_on(address: Address, instance: Resource) -> bool:
    """Returns True if `address` is where the instance is.

    By its addresses, its DNS names, or its connection name in a socket's path.

    The name in a socket's path is its connection name.
    """
    found = instance.description
    connection = str(found.get("connectionName", ""))
    names = {_to_plain(name) for name in _list_names(found)} - {""}
    for host in (*address.hosts, *address.addresses):
        if host.startswith("/"):
            if connection and connection in host.split("/"):
                return True
        elif _to_plain(host) in names or (connection and host.lower() == connection.lower()):
            return True
    return False


def is_hidden(address: Address) -> bool:
    """Returns whether a proxy on this machine may stand between: the address says nothing of where the database is."""
    return all(_is_local(host) for host in address.hosts)


def find_databases(
    inventory: Inventory, read: Callable[[Resource], Sequence[str] | None], mlflow: Address | None
) -> tuple[Databases, ...]:
    """Returns what is on each instance of the plan, and which of it is MLflow's own.

    By name alone, behind a proxy, only if no other instance has that name too.

    Args:
        read: the names on an instance; None: not known.
        mlflow: where MLflow's database is, as far as Switchyard knows it.
    """
    primaries = [one for one in inventory.resources if one.kind is Kind.SQL_INSTANCE and not is_replica(one)]
    names = {one.name: read(one) for one in primaries}
    having = [name for name, held in names.items() if mlflow is not None and mlflow.database in (held or ())]
    found = []
    for one in primaries:
        held = names[one.name]
        is_own = mlflow is not None and (is_on(mlflow, one) or (is_hidden(mlflow) and having == [one.name]))
        found.append(
            Databases(
                instance=one.name,
                names=None if held is None else tuple(sorted(held)),
                own=mlflow.database if mlflow is not None and is_own else "",
            )
        )
    return tuple(found)


def list_database_refusals(found: Iterable[Databases], give_up: Sequence[str]) -> tuple[str, ...]:
    """Lists a sentence for each database that would go with its instance and was not given up.

    It says who has it, and what to do.
    """
    refusals = []
    for one in found:
        short = one.instance.rpartition("/")[2]
        if one.names is None:
            refusals.append(
                f"Which databases are on sql instance {one.instance} is not known, because it does not run. Start it "
                f"(gcloud sql instances patch {short} --activation-policy ALWAYS), then plan again."
            )
            continue
        others = (name for name in one.names if name not in _ENGINES and name != one.own)
        refusals += [
            f"Database {name} is on sql instance {one.instance}, and goes with it. Move it (gcloud sql export sql "
            f"{short} gs://<a bucket>/{name}.sql.gz --database {name}), and drop it there; or, if it may be lost or is "
            f"MLflow's own, plan again with: --give-up {short}/{name}"
            for name in others
            if f"{short}/{name}" not in give_up
        ]
    return tuple(refusals)


def find_database_problem(inventory: Inventory, address: Address | None, what: str) -> str:
    """Returns why the database at `address` goes with the plan, or may; empty: it stays.

    It goes if it is on one of the plan's instances. It may go if it is behind a proxy of this machine, and an instance
    has one of that name. It cannot be given up.
    """
    if address is None:
        return ""
    for resource in inventory.resources:
        if resource.kind is not Kind.SQL_INSTANCE:
            continue
        if is_on(address, resource):
            return (
                f"The {what} is on sql instance {resource.name}, which the plan deletes. Move it to another instance "
                "first."
            )
        if is_hidden(address) and address.database in resource.parts.get("databases", ()):
            where = ", ".join(address.hosts) or "this machine's default"
            return (
                f"The {what} is reached by {where}, which may be a proxy, and sql instance {resource.name}, which the "
                f"plan deletes, has a database {address.database} too. Move it to another instance first. If it is "
                "elsewhere, name that server's own address instead; or drop the instance's database, then plan again."
            )
    return ""


def _list_names(found: Mapping[str, Any]) -> list[str]:
    """Returns all names and addresses by which clients may reach it. Source: DatabaseInstance of the sqladmin API."""
    named = [str(one.get("name", "")) for one in found.get("dnsNames", ())]
    named += [str(found.get(key, "")) for key in ("dnsName", "primaryDnsName", "ipv6Address")]
    named.append(str(found.get("writeEndpoint") or ""))
    # Of type OUTGOING is the address that it calls others from.
    return named + [
        str(one.get("ipAddress", "")) for one in found.get("ipAddresses", ()) if one.get("type") != "OUTGOING"
    ]


def _to_host(text: str) -> str:
    """Returns the host without its port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.count(":") > 1 and not text.startswith("/") else re.sub(r":\d+$", "", text)


def _to_plain(host: str) -> str:
    """Returns one spelling of each name and address: as Python writes it, in lower case, without a last dot."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower().rstrip(".")
    return str(getattr(found, "ipv4_mapped", None) or found)


def _is_local(host: str) -> bool:
    if host.startswith("/"):  # a socket of Cloud SQL's has the connection name in its path: project:region:instance
        return not any(part.count(":") >= 2 for part in host.split("/"))
    try:
        found = ip_address(_to_plain(host))
    except ValueError:
        return _to_plain(host) in _LOCAL
    return found.is_loopback or found.is_unspecified
