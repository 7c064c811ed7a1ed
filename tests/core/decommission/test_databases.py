"""What is on an instance that goes, and by which addresses ours is reached."""

import msgspec
import pytest

from switchyard.core.decommission.databases import (
    Address,
    Databases,
    find_database_problem,
    find_databases,
    is_hidden,
    list_database_refusals,
    to_address,
)
from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.resources import Found, Kind, Resource
from tests.core.decommission.world import INSTANCE, PROJECT, SOUGHT

CONNECTION = "shop-1:europe-west1:mlflow-db"
OTHER = f"{PROJECT}/instances/other-db"


def make_inventory(*more: Resource) -> Inventory:
    instance = Resource(
        kind=Kind.SQL_INSTANCE,
        name=INSTANCE,
        description={
            "connectionName": CONNECTION,
            "ipAddresses": [
                {"type": "PRIMARY", "ipAddress": "34.1.2.3"},
                {"type": "PRIVATE", "ipAddress": "10.1.2.3"},
                {"type": "OUTGOING", "ipAddress": "34.9.9.9"},
            ],
            "dnsName": "abc.def.europe-west1.sql.goog.",
            "dnsNames": [{"name": "mlflow.acme.example."}],
            "ipv6Address": "2600:1900:0:0::1",
        },
        parts={"databases": ["mlflow", "postgres", "switchyard"]},
    )
    found = Found(kind=Kind.SQL_INSTANCE, resources=(instance, *more), listed=3, places=("global",))
    return Inventory(sought=SOUGHT, found=(found,))


@pytest.mark.parametrize(
    ("url", "hosts", "database"),
    [
        ("postgresql+psycopg://ann:secret@10.1.2.3:5432/results", ("10.1.2.3",), "results"),
        ("postgresql+psycopg://ann:p%40ss@/results?host=/cloudsql/p:r:i", ("/cloudsql/p:r:i",), "results"),
        ("postgresql://ann@%2Fcloudsql%2Fp%3Ar%3Ai/results", ("/cloudsql/p:r:i",), "results"),
        ("postgresql://ann@%2Fcloudsql%2Fp%3Ar%3Ai:5432/results", ("/cloudsql/p:r:i",), "results"),
        ("postgresql://a:5432,b:5433/results", ("a", "b"), "results"),
        ("postgresql:///results?host=a:1&host=b:2", ("a", "b"), "results"),
        ("postgresql://db.example/results?hostaddr=10.1.2.3", ("db.example", "10.1.2.3"), "results"),
        ("postgresql://[2600:1900::1]:5432/results", ("2600:1900::1",), "results"),
        ("postgresql:///?dbname=results", (), "results"),
        ("mysql+pymysql://ann@/mlflow?unix_socket=/cloudsql/p:r:i", ("/cloudsql/p:r:i",), "mlflow"),
    ],
)
def test_an_address_is_read_from_a_url(url: str, hosts: tuple[str, ...], database: str) -> None:
    """In each form that the libraries take, without who asks."""
    assert to_address(url) == Address(hosts=hosts, database=database)


def test_a_file_has_no_address() -> None:
    """It is on no instance."""
    assert to_address("sqlite:////state/results.db") is None
    assert to_address("") is None


@pytest.mark.parametrize(
    ("url", "resolved", "said"),
    [
        ("postgresql://10.1.2.3/x", (), "is on sql instance"),
        ("postgresql://34.1.2.3/x", (), "is on sql instance"),
        ("postgresql://[::ffff:10.1.2.3]/x", (), "is on sql instance"),
        ("postgresql://[2600:1900::1]/x", (), "is on sql instance"),
        ("postgresql://ABC.def.europe-west1.sql.goog/x", (), "is on sql instance"),
        ("postgresql://mlflow.acme.example/x", (), "is on sql instance"),
        ("postgresql://results.acme.example/x", ("10.1.2.3",), "is on sql instance"),
        ("postgresql://elsewhere.example,10.1.2.3/x", (), "is on sql instance"),
        (f"postgresql:///x?host=/cloudsql/{CONNECTION}", (), "is on sql instance"),
        (f"postgresql:///x?host=/var/run/sql/{CONNECTION}/.s.PGSQL.5432", (), "is on sql instance"),
        (f"postgresql://%2Fcloudsql%2F{CONNECTION.replace(':', '%3A')}/x", (), "is on sql instance"),
        ("postgresql://127.0.0.1/switchyard", ("127.0.0.1",), "may be a proxy"),
        ("postgresql://localhost:5433/switchyard", (), "may be a proxy"),
        ("postgresql://[::1]/switchyard", (), "may be a proxy"),
        ("postgresql:///switchyard?host=/tmp/proxy", (), "may be a proxy"),
        ("postgresql:///switchyard", (), "may be a proxy"),
        ("postgresql://127.0.0.1/elsewhere", (), ""),
        ("postgresql://10.1.2.33/switchyard", ("10.1.2.33",), ""),
        ("postgresql://34.9.9.9/x", (), ""),  # from which it calls others
        ("postgresql:///switchyard?host=/cloudsql/shop-1:europe-west1:shop-db", (), ""),
        (f"postgresql:///switchyard?host=/cloudsql/{CONNECTION}-2", (), ""),
        ("sqlite:////state/results.db", (), ""),
    ],
)
def test_our_own_database_never_goes_with_the_instance(url: str, resolved: tuple[str, ...], said: str) -> None:
    """By whatever address it is reached; a proxy hides it, so that there the name alone decides."""
    address = to_address(url)
    if address is not None:
        address = msgspec.structs.replace(address, addresses=resolved)
    found = find_database_problem(make_inventory(), address, "database RESULTS_URL")
    assert (said in found) if said else (found == "")


def find(inventory: Inventory, names: dict[str, list[str] | None], mlflow: str) -> list[tuple[str, str]]:
    found = find_databases(inventory, lambda one: names[one.name], to_address(mlflow))
    return [(one.instance, one.own) for one in found]


@pytest.mark.parametrize(
    ("mlflow", "own", "other"),
    [
        ("postgresql://10.1.2.3/mlflow", "mlflow", ""),
        ("postgresql://127.0.0.1/mlflow", "", ""),  # both have one of that name
        ("postgresql://127.0.0.1/tracking", "", "tracking"),
        ("postgresql://10.9.9.9/tracking", "", ""),
        ("", "", ""),
    ],
)
def test_the_own_database_is_by_its_address_or_by_a_name_that_one_instance_has(
    mlflow: str, own: str, other: str
) -> None:
    """Behind a proxy two of one name cannot be told apart, so that neither is taken for it."""
    more = Resource(kind=Kind.SQL_INSTANCE, name=OTHER, description={"connectionName": "shop-1:r:other-db"})
    names: dict[str, list[str] | None] = {INSTANCE: ["mlflow"], OTHER: ["mlflow", "tracking"]}
    assert find(make_inventory(more), names, mlflow) == [(INSTANCE, own), (OTHER, other)]


def test_a_replica_has_its_primarys_databases() -> None:
    """It is not asked."""
    replica = Resource(kind=Kind.SQL_INSTANCE, name=OTHER, description={"masterInstanceName": "shop-1:mlflow-db"})
    assert [one for one, _ in find(make_inventory(replica), {INSTANCE: []}, "")] == [INSTANCE]


@pytest.mark.parametrize(
    ("names", "own", "give_up", "said"),
    [
        (("mlflow", "postgres"), "mlflow", (), []),
        (("mlflow", "postgres", "shop"), "mlflow", (), ["Database shop"]),
        (("mlflow", "shop"), "mlflow", ("mlflow-db/shop",), []),
        (("mlflow", "shop"), "mlflow", ("other-db/shop", "shop"), ["Database shop"]),
        (("mlflow",), "", (), ["Database mlflow"]),
        (("mlflow",), "", ("mlflow-db/mlflow",), []),
        (None, "", (), ["Which databases"]),
        ((), "", (), []),
    ],
)
def test_every_other_database_is_given_up_by_name(
    names: tuple[str, ...] | None, own: str, give_up: tuple[str, ...], said: list[str]
) -> None:
    """With its instance; those that each instance has from the start are no one's."""
    found = list_database_refusals([Databases(instance=INSTANCE, names=names, own=own)], give_up)
    assert [" ".join(refusal.split()[:2]) for refusal in found] == said


def test_a_socket_with_a_connection_name_hides_nothing() -> None:
    """It says whose it is."""
    assert not is_hidden(Address(hosts=("/cloudsql/p:r:i",), database="x"))
    assert is_hidden(Address(hosts=("/var/run/postgresql",), database="x"))
