"""What the URI of a store in MySQL says, and what becomes of the driver's errors, as tables of values."""

import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from pymysql import err
from sqlalchemy import make_url

from switchyard.clients.mlflow.errors import translated_mysql
from switchyard.clients.mlflow.mysql_connection import MysqlServer
from switchyard.clients.mlflow.sql import open_store
from switchyard.core.errors import BadRecord, BadSetup, SwitchyardError, TryAgain

URI = "mysql+pymysql://ann:s3cret@host:3307/mlflow"


def arguments(query: str, uri: str = URI) -> dict[str, Any]:
    found: dict[str, Any] = MysqlServer(make_url(uri + query), "MLFLOW_BACKEND_STORE_URI")._arguments
    return found


def test_address_is_that_of_the_uri() -> None:
    """By any driver's name; the password as its bytes."""
    for scheme in ("mysql+pymysql", "mysql", "mysql+mysqldb", "mariadb+pymysql"):
        found = arguments("", URI.replace("mysql+pymysql", scheme))
        assert (found["host"], found["port"], found["user"]) == ("host", 3307, "ann")
        assert (found["password"], found["database"]) == (b"s3cret", "mlflow")
    assert arguments("", "mysql://ann@/mlflow?unix_socket=/s")["unix_socket"] == "/s"
    assert arguments("?charset=latin1&local_infile=1&read_timeout=7")["read_timeout"] == 7
    assert arguments("?charset=latin1&local_infile=1") == arguments("")


def test_password_is_in_no_word_of_it() -> None:
    """A manifest is kept for years, and shown to many."""
    server = MysqlServer(make_url(URI), "MLFLOW_BACKEND_STORE_URI")
    assert server.where == "MLflow store mysql://ann:***@host:3307/mlflow"
    assert "s3cret" not in repr(server) + repr(open_store(URI))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("?ssl_mode=preferred", None),
        ("?ssl_disabled=true", "disabled"),
        ("?ssl_mode=DISABLED&ssl_ca={ca}", "disabled"),
        ("?ssl=true", {"verify_mode": False, "check_hostname": False}),
        ("?ssl_mode=REQUIRED", {"verify_mode": False, "check_hostname": False}),
        ("?ssl_ca={ca}", {"ca": "{ca}", "verify_mode": True, "check_hostname": True}),
        ("?ssl_ca={ca}&ssl_check_hostname=false", {"ca": "{ca}", "verify_mode": True, "check_hostname": False}),
        ("?ssl_ca={ca}&ssl_verify_identity=true", {"ca": "{ca}", "verify_mode": True, "check_hostname": True}),
        ("?ssl_ca={ca}&ssl_mode=VERIFY_CA", {"ca": "{ca}", "verify_mode": True, "check_hostname": False}),
        ("?ssl_cert={ca}&ssl_key={ca}", {"cert": "{ca}", "key": "{ca}", "verify_mode": False, "check_hostname": False}),
    ],
)  # fmt: skip
def test_options_say_how_the_server_proves_itself(query: str, expected: Any, tmp_path: Path) -> None:
    """With a CA's file it must, as with SQLAlchemy; PyMySQL alone would not check."""
    ca = tmp_path / "ca.pem"
    ca.touch()
    found = arguments(query.replace("{ca}", str(ca)))
    if expected == "disabled":
        assert (found.get("ssl_disabled"), found.get("ssl")) == (True, None)
    elif expected is None:
        assert "ssl" not in found
    else:
        wanted = {name: str(ca) if value == "{ca}" else value for name, value in expected.items()}
        assert found["ssl"] == wanted


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?sslmode=require", "has the option sslmode, which we do not know. Known are connect_timeout, "),
        ("?ssl_mode=maybe", "ssl_mode must be one of DISABLED, .*; got 'maybe'"),
        ("?ssl_mode=VERIFY_CA", "ssl_ca must name the file of the CA"),
        ("?ssl_ca=/no/such", "there is no file at /no/such, which ssl_ca names"),
        ("?connect_timeout=soon", "connect_timeout must be a number of seconds; got 'soon'"),
    ],
)
def test_option_that_cannot_be_kept_is_refused(query: str, words: str) -> None:
    """Nothing is left out in silence, least of all what was meant to protect."""
    with pytest.raises(BadSetup, match=f"MLFLOW_BACKEND_STORE_URI.*{words}"):
        arguments(query)


def of_tls() -> err.OperationalError:
    lost = err.OperationalError(2003, "Can't connect")
    lost.original_exception = ssl.SSLError("CERTIFICATE_VERIFY_FAILED")  # as PyMySQL does
    return lost


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (err.OperationalError(1045, "Access denied for user 'ann'@'host'"), BadSetup),
        (err.OperationalError(1142, "SELECT command denied"), BadSetup),
        (err.OperationalError(1049, "Unknown database"), BadSetup),
        (err.ProgrammingError(1146, "Table 'x' doesn't exist"), BadSetup),
        (err.OperationalError(1792, "Cannot execute statement in a READ ONLY transaction"), BadSetup),
        (err.OperationalError(2026, "SSL connection error"), BadSetup),
        (of_tls(), BadSetup),
        (err.OperationalError(2003, "Can't connect to MySQL server"), TryAgain),
        (err.OperationalError(2013, "Lost connection during query"), TryAgain),
        (err.OperationalError(1213, "Deadlock found"), TryAgain),
        (err.OperationalError(1205, "Lock wait timeout exceeded"), TryAgain),
        (err.OperationalError(1040, "Too many connections"), TryAgain),
        (err.OperationalError(1412, "Table definition has changed"), TryAgain),
        (err.InterfaceError(0, ""), TryAgain),
        (err.DataError(1264, "Out of range value"), BadRecord),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), BadRecord),
        (err.ProgrammingError(1064, "You have an error in your SQL syntax"), SwitchyardError),
    ],
    ids=lambda value: str(value.args[0]) if isinstance(value, Exception) else value.__name__,
)
def test_error_is_classed_by_what_to_do_next(raised: Exception, expected: type[SwitchyardError]) -> None:
    """Only what may pass is tried again."""
    with pytest.raises(SwitchyardError, match="the store") as found, translated_mysql("the store"):
        raise raised
    assert type(found.value) is expected


def test_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(BadSetup, match=r"pip install -e '\.\[mysql\]' in the checkout"):
        open_store(URI).describe()
