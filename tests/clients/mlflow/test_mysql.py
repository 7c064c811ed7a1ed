"""What only MySQL and MariaDB do: collations, read on a real MariaDB; and what becomes of its errors.

The Tracking suite reads one too. `make test-mlflow` runs both.
"""

import random
import struct
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import certifi
import pytest

from switchyard.clients.mlflow import mysql_connection
from switchyard.clients.mlflow.sql import open_store
from switchyard.core.errors import BadSetup, NotFound, TryAgain
from switchyard.core.mlflow.facts import to_look
from switchyard.core.mlflow.keys import BIN_KEYS, CHARTED, SCALARS
from switchyard.core.mlflow.raw_run import Keys, RawRun
from tests.clients.mlflow.stores import add_point, add_runs, make_mysql
from tests.core.mlflow.factories import make_info, make_points, make_run, make_small
from tests.emulators.certificate import make_certificate
from tests.emulators.server import listen
from tests.mariadb import SECRET, MariaDB

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow]

RUN = "a" * 32
ALIKE = ("loss", "Loss", "loss ", "löss")
"""The same to utf8mb4_general_ci."""
BIN = sorted(BIN_KEYS)[0]


@pytest.fixture(scope="module")
def database(mariadb: MariaDB) -> str:
    """A store with runs of which much is alike, and one with many points."""
    name = make_mysql(mariadb)
    with closing(mariadb.connect(name)) as connection, connection.cursor() as cursor:
        run = make_small({}, info=make_info(run_id=RUN, name=""), tags={"MLflow.RunName": "another"})
        add_runs(cursor, [run, *(make_run(run_id=letter * 32, epochs=4) for letter in "bc")])
        for position, key in enumerate((*ALIKE, "FINAL_LOSS", "final_loss", BIN, BIN.upper())):
            for step in range(2):
                add_point(cursor, RUN, key, step, 10 * position + step, position + step / 4)
        add_point(cursor, RUN, "one step", 0, 1, 2.0)
        add_point(cursor, RUN, "ONE STEP", 1, 2, 2.0)
        cursor.executemany(
            "INSERT INTO metrics (run_uuid, `key`, timestamp, step, value) VALUES (%s, %s, %s, %s, %s)",
            [("c" * 32, "many", number, number, number / 7) for number in range(100_000)],
        )
        connection.commit()
    return name


def read(uri: str, keys: Keys | None = None, run_id: str = RUN) -> RawRun:
    (found,) = open_store(uri).read_runs([run_id], keys=keys)
    assert isinstance(found, RawRun), found
    return found


def test_keys_that_a_collation_takes_for_one_are_read_apart(mariadb: MariaDB, database: str) -> None:
    """By case, accents and a space at the end: each has its own points."""
    found = read(mariadb.url(database)).metrics
    assert {key: list(found[key].values) for key in ALIKE} == {
        key: [position, position + 0.25] for position, key in enumerate(ALIKE)
    }
    assert found.keys() == {*ALIKE, "FINAL_LOSS", "final_loss", BIN, BIN.upper(), "one step", "ONE STEP"}


def test_keys_are_chosen_by_the_letter(mariadb: MariaDB, database: str) -> None:
    """What is only alike is neither read, nor left out."""
    assert read(mariadb.url(database), CHARTED).metrics.keys() == {"loss", "final_loss"}
    assert read(mariadb.url(database), Keys(frozenset({"LOSS", "Loss"}))).metrics.keys() == {"Loss"}
    assert read(mariadb.url(database), Keys(prefixes=("FINAL_", "o%"))).metrics.keys() == {"FINAL_LOSS"}
    assert read(mariadb.url(database), SCALARS).metrics.keys() == {
        *ALIKE, "FINAL_LOSS", "final_loss", BIN.upper(), "one step", "ONE STEP"
    }  # fmt: skip
    assert read(mariadb.url(database), Keys()).metrics == {}


def test_names_are_told_apart_by_the_letter(mariadb: MariaDB, database: str) -> None:
    """A tag that is only spelt like MLflow's is no name; an id or an experiment that is only alike is not there."""
    store = open_store(mariadb.url(database))
    assert {run.run_id: run.name for run in store.list_runs()}[RUN] == ""
    (lost,) = store.read_runs([RUN.upper()])
    assert isinstance(getattr(lost, "error", None), NotFound)
    assert list(store.look_at_runs([RUN.upper()])) == []
    experiment = next(iter(store.list_runs())).experiment
    assert experiment != experiment.upper()
    assert len(list(store.list_runs(experiments=[experiment]))) == 3
    for readers in (store.list_runs, store.read_marks):
        with pytest.raises(NotFound, match="no experiment named"):
            list(readers(experiments=[experiment.upper()]))


def test_look_at_keys_that_are_alike_says_what_reading_says(mariadb: MariaDB, database: str) -> None:
    """MLflow's table of latest metrics has one row for all of them."""
    name = make_mysql(mariadb)
    with closing(mariadb.connect(name)) as connection, connection.cursor() as cursor:
        add_runs(cursor, [make_small({"ONE STEP": make_points((1, 2.0))}, info=make_info(run_id=RUN))])
        add_point(cursor, RUN, "one step", 0, 1, 2.0)
        connection.commit()
    (look,) = open_store(mariadb.url(name)).look_at_runs([RUN])
    assert look == to_look(read(mariadb.url(name)))
    assert look.shows == "values"


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "utf8mb4 COLLATE utf8mb4_bin"])
def test_other_character_sets_are_read(mariadb: MariaDB, charset: str) -> None:
    """Debian's MariaDB makes databases of latin1; names that they cannot hold are asked for without an error."""
    name = make_mysql(mariadb, charset=charset)
    run = make_small(
        {"métrique": make_points((0, 1.0)), "loss": make_points((0, 1.0))},
        info=make_info(run_id=RUN),
        tags={"é": "ÿ"},
    )
    with closing(mariadb.connect(name)) as connection, connection.cursor() as cursor:
        add_runs(cursor, [run])
        connection.commit()
    found = read(mariadb.url(name), Keys(frozenset({"métrique", "训练"}), ("Ж",)))
    assert found.metrics.keys() == {"métrique"}
    assert found.tags == run.tags
    assert read(mariadb.url(name), Keys(without=frozenset({"métrique"}))).metrics.keys() == {"loss"}
    with pytest.raises(NotFound, match="训练"):
        list(open_store(mariadb.url(name)).list_runs(experiments=["训练"]))


def test_every_number_is_read_to_its_last_bit(mariadb: MariaDB) -> None:
    """The server prints the shortest text that reads as the same number."""
    numbers = random.Random(1)
    values = [0.1, 5e-324, 1.7976931348623155e308, -2.2250738585072014e-308, 1e23, 2.0**53 + 2]
    while len(values) < 5_000:
        (value,) = struct.unpack("d", numbers.randbytes(8))
        if value == value and abs(value) < 1.7e308:
            values.append(value)
    name = make_mysql(mariadb)
    with closing(mariadb.connect(name)) as connection, connection.cursor() as cursor:
        add_runs(cursor, [make_small({}, info=make_info(run_id=RUN))])
        cursor.executemany(
            "INSERT INTO metrics (run_uuid, `key`, timestamp, step, value) VALUES (%s, %s, %s, %s, %s)",
            [(RUN, "v", 2**62 + step, step - 2**62, value) for step, value in enumerate(values)],
        )
        connection.commit()
    found = read(mariadb.url(name)).metrics["v"]
    assert struct.pack(f"{len(values)}d", *found.values) == struct.pack(f"{len(values)}d", *values)
    assert (found.timestamps_ms[0], found.steps[0]) == (2**62, -(2**62))


def test_nothing_can_be_changed_whoever_reads(mariadb: MariaDB, database: str) -> None:
    """The user of these tests may do everything; the transaction may not."""
    store: Any = open_store(mariadb.url(database))
    with pytest.raises(BadSetup, match="READ ONLY transaction"), store.server.reading() as connection:
        mysql_connection.execute(connection, "DELETE FROM tags")


def test_role_of_the_documentation_reads_everything(mariadb: MariaDB, database: str) -> None:
    """SELECT on the database's tables is enough."""
    mariadb.execute("CREATE USER reader IDENTIFIED BY 'a word'", f"GRANT SELECT ON {database}.* TO reader")
    store = open_store(mariadb.url(database, user="reader", password="a%20word"))
    assert len(list(store.read_runs([letter * 32 for letter in "abc"]))) == 3
    assert len(list(store.look_at_runs([letter * 32 for letter in "abc"]))) == 3
    assert len(list(store.read_marks())) == 3


def with_password(uri: str, password: str) -> str:
    return uri.replace(f":{SECRET}@", f":{password}@")


def test_refusals_are_settings_to_mend_in_plain_words(mariadb: MariaDB, database: str) -> None:
    """No word has a password; none is tried again."""
    uri = mariadb.url(database)
    mariadb.execute("CREATE USER stranger IDENTIFIED BY 'x'", f"GRANT SELECT ON {database}.tags TO stranger")
    for wrong, words in (
        (
            with_password(uri, "wr0ng"),
            r"Access denied .* The server refuses this user, or lets it not read; see",
        ),
        (mariadb.url("nowhere"), "Unknown database 'nowhere' .* must name an MLflow backend store"),
        (mariadb.url(database, user="stranger", password="x"), "must have a schema of MLflow"),
        (f"{uri}?unix_socket=/none/such", "see unix_socket in MLFLOW_BACKEND_STORE_URI"),
        (f"{uri}?ssl_mode=REQUIRED", "see MLFLOW_BACKEND_STORE_URI"),
    ):
        with pytest.raises(BadSetup, match=words) as raised:
            list(open_store(wrong).list_runs())
        assert "wr0ng" not in str(raised.value)
        assert SECRET not in str(raised.value)
    listening, url = listen(0)
    listening.close()
    with pytest.raises(TryAgain, match="try again"):
        list(open_store(uri.replace(str(mariadb.port), url.rpartition(":")[2])).list_runs())


def test_password_of_any_letters_lets_us_in(mariadb: MariaDB, database: str) -> None:
    """It is sent as its bytes are."""
    mariadb.execute("CREATE USER odd IDENTIFIED BY 'пароль:@/ %'", f"GRANT SELECT ON {database}.* TO odd")
    uri = mariadb.url(database, user="odd", password="%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C:%40%2F%20%25")
    store = open_store(uri)
    assert len(list(store.list_runs())) == 3
    assert "пароль" not in repr(store) + store.describe()


def our_session(mariadb: MariaDB) -> int:
    ((number,),) = mariadb.read("SELECT id FROM information_schema.processlist WHERE user = 'mlflow'")
    return int(number)


def test_connection_that_the_server_ends_is_tried_again(mariadb: MariaDB, database: str) -> None:
    """A failover, or an administrator's KILL."""
    store: Any = open_store(mariadb.url(database))
    with pytest.raises(TryAgain, match="try again"), store.server.reading() as connection:
        rows = mysql_connection.stream(connection, "SELECT * FROM metrics WHERE run_uuid = %s", ("c" * 32,))
        next(rows)
        mariadb.execute(f"KILL {our_session(mariadb)}")
        list(rows)
        mysql_connection.execute(connection, "SELECT 1")


def test_time_that_the_server_sets_is_tried_again(mariadb: MariaDB, database: str) -> None:
    """Servers may end statements that take long."""
    store: Any = open_store(mariadb.url(database))
    with pytest.raises(TryAgain, match="max_statement_time"), store.server.reading() as connection:
        mysql_connection.execute(connection, "SET max_statement_time = 0.001")
        mysql_connection.execute(connection, "SELECT count(*), SLEEP(1) FROM metrics a JOIN metrics b")


def test_server_that_never_answers_is_given_up(
    mariadb: MariaDB, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes the connection and says nothing, as a proxy before it may."""
    monkeypatch.setattr(mysql_connection, "CONNECT_S", 1)
    listening, url = listen(0)
    with closing(listening), pytest.raises(TryAgain, match="try again"):
        list(open_store(mariadb.url(database).replace(str(mariadb.port), url.rpartition(":")[2])).list_runs())


def test_migration_under_way_is_tried_again(mariadb: MariaDB) -> None:
    """A table that changed after our moment has no rows of that moment."""
    name = make_mysql(mariadb)
    store: Any = open_store(mariadb.url(name))
    with pytest.raises(TryAgain, match="changed"), store.server.reading() as connection:
        mariadb.execute("ALTER TABLE tags ADD COLUMN more INT, ALGORITHM=COPY", database=name)
        mysql_connection.execute(connection, "SELECT * FROM tags")


@pytest.mark.parametrize("versions", [[], ["ffffffffffff"]])
def test_schema_that_we_do_not_know_is_refused(mariadb: MariaDB, versions: list[str]) -> None:
    """Nothing is guessed, and nothing migrated."""
    name = make_mysql(mariadb)
    statements = [f"INSERT INTO alembic_version VALUES ('{version}')" for version in versions]
    mariadb.execute("DELETE FROM alembic_version", *statements, database=name)
    with pytest.raises(BadSetup, match=r"MLflow 2.9.2 to 3.18 .* Nothing was changed"):
        list(open_store(mariadb.url(name)).list_runs())


def test_encrypted_connection_proves_who_the_server_is() -> None:
    """As the URI's options ask for; a certificate of another CA is refused, and none is asked for by default."""
    with tempfile.TemporaryDirectory(prefix="maria-tls-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        for path, data in zip((key, certificate), make_certificate(), strict=True):
            path.write_bytes(data)
            path.chmod(0o644)
        inner = folder / "server"
        inner.mkdir()
        server = MariaDB(inner, f"--ssl-cert={certificate}", f"--ssl-key={key}")
        try:
            uri = server.url(make_mysql(server))
            for options in ("", "?ssl=true", f"?ssl_ca={certificate}", f"?ssl_ca={certificate}&ssl_mode=verify_ca"):
                store: Any = open_store(uri + options)
                with store.server.reading() as connection:
                    ((_, cipher),) = mysql_connection.execute(connection, "SHOW STATUS LIKE 'Ssl_cipher'")
                assert cipher, options
            store = open_store(f"{uri}?ssl_disabled=true")
            with store.server.reading() as connection:
                assert mysql_connection.execute(connection, "SHOW STATUS LIKE 'Ssl_cipher'") == [("Ssl_cipher", "")]
            with pytest.raises(BadSetup, match=r"no encrypted connection.*CERTIFICATE_VERIFY_FAILED"):
                list(open_store(f"{uri}?ssl_ca={certifi.where()}").list_runs())
        finally:
            server.stop()
