"""Starts an MLflow server that is set up right, or brings its database to the server's schema: `serve`, `upgrade`.

The image, the compose file, the Cloud Run job and `make mlflow` all run this one program. It needs Python and what
`constraints-*.txt` beside it pins, and nothing of Switchyard. It leaves everything that MLflow does to MLflow.

`serve` never changes the database: MLflow 3 would silently migrate a database of MLflow 2. `upgrade` does, once.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FRONTS = {
    "iam": "Cloud Run lets only invokers through",
    "proxy": "a proxy in front asks who calls",
    "localhost": "the port is published on this machine's loopback address alone",
}
DATABASE_WAIT_S = 60.0
"""A database that is started beside this server may need a while."""
STOP_S = 10.0
"""Google Cloud kills 10 s after SIGTERM. Source: https://cloud.google.com/run/docs/container-contract#instance-shutdown"""

# Per engine. The server has two (runs, registry), and MLflow's command that starts it keeps a connection of each.
# Not 0 for the second: MLflow takes that for "not set", which is SQLAlchemy's 10 (mlflow/store/db/utils.py, 3.17.2).
POOL = {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "2", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "1"}

# Always, whatever the environment says. Without job execution MLflow 3 starts two processes instead of ten.
FIXED = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONUNBUFFERED": "1",
}
REFUSED = {
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "it turns off the check of hosts",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT": "clients would need the bucket's keys; set MLFLOW_ARTIFACTS_DESTINATION",
    "MLFLOW_ARTIFACTS_ONLY": "this server keeps runs, too",
    "MLFLOW_REGISTRY_STORE_URI": "runs and models are in one database",
}
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
_ORIGIN = re.compile(rf"https?://{_HOST.pattern}")


class Refused(Exception):
    """Says what is wrong, to a person, and has the exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def to_database_uri(uri: str) -> str:
    """Returns the database's URI in a form that MLflow of both versions takes.

    It names psycopg2, which SQLAlchemy 2.1 no longer means by ``postgresql://``.

    Raises: Refused: this image cannot open it.
    """
    if uri.startswith(("postgresql://", "postgres://")):
        return "postgresql+psycopg2://" + uri.partition("://")[2]
    if uri.startswith(("postgresql+psycopg2://", "sqlite:////")):
        return uri
    raise Refused(
        "MLFLOW_BACKEND_STORE_URI must be postgresql://<user>:<password>@<host>/<database>, with the socket of Cloud "
        "SQL postgresql://<user>:<password>@/<database>?host=/cloudsql/<instance>, or sqlite:////<path>; "
        + (f"it starts with {uri.partition(':')[0]!r}" if ":" in uri else "it is no URL" if uri else "it is not set")
    )


def to_hosts(text: str, port: int) -> str:
    """Returns the names that callers may use, each also with the ports that a client may add.

    MLflow compares whole texts.

    Raises: Refused: none is named, or one is a pattern.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise Refused(
            "MLFLOW_SERVER_ALLOWED_HOSTS must name the hosts that callers use, such as mlflow-abc.a.run.app; it is not "
            "set. MLflow's own default lets names such as 10.evil.example in"
        )
    if wrong := [name for name in names if not _HOST.fullmatch(name)]:
        raise Refused(
            f"MLFLOW_SERVER_ALLOWED_HOSTS must be host names, with commas between; got {', '.join(wrong)}. Patterns "
            "are refused: MLflow would match more than you mean"
        )
    found = []
    for name in names:
        has_port = re.search(r":[0-9]+$", name) and not name.endswith("]")
        found += [name] if has_port else [name, f"{name}:443", f"{name}:{port}"]
    return ",".join(dict.fromkeys(found))


def to_environment(variables: Mapping[str, str]) -> tuple[dict[str, str], str, int]:
    """Returns the server's environment, and where it listens. Raises: Refused: all that is wrong, at once."""
    problems, found = [], dict(variables) | FIXED
    host = variables.get("HOST", "127.0.0.1")
    port = variables.get("PORT", "5000")
    if not port.isdigit() or not 0 < int(port) < 65536:
        problems.append(f"PORT must be a port's number; got {port!r}")
        port = "5000"
    for name, make in (
        ("MLFLOW_BACKEND_STORE_URI", to_database_uri),
        ("MLFLOW_SERVER_ALLOWED_HOSTS", lambda text: to_hosts(text, int(port))),
        ("MLFLOW_ARTIFACTS_DESTINATION", _to_destination),
    ):
        try:
            found[name] = make(variables.get(name, ""))
        except Refused as err:
            problems.append(str(err))
    if host not in LOOPBACK and variables.get("MLFLOW_BEHIND", "") not in FRONTS:
        said = "; ".join(f"{name}: {meaning}" for name, meaning in FRONTS.items())
        problems.append(
            "MLFLOW_BEHIND must say what checks callers, because everyone who reaches this server can read and replace "
            f"everything. {said}"
        )
    problems += [f"{name} must not be set: {why}" for name, why in REFUSED.items() if variables.get(name)]
    origins = [origin.strip() for origin in variables.get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "").split(",")]
    if wrong := [origin for origin in origins if origin and not _ORIGIN.fullmatch(origin)]:
        problems.append(
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS must be origins such as https://notebooks.example.com, with commas "
            f"between; got {', '.join(wrong)}. Patterns are refused: any website could use a caller's browser"
        )
    endpoint = variables.get("MLFLOW_S3_ENDPOINT_URL", "")
    if endpoint and not re.match(r"https?://[^/\s]+", endpoint):
        problems.append(f"MLFLOW_S3_ENDPOINT_URL must be http(s)://<host>; got {endpoint!r}")
    if problems:
        raise Refused("\n".join(problems))
    for name, value in POOL.items():
        found.setdefault(name, value)
    # MLflow 2.9.2 starts gunicorn by its name.
    found["PATH"] = f"{Path(sys.executable).parent}:{variables.get('PATH', '/usr/bin:/bin')}"
    return found, host, int(port)


def _to_destination(text: str) -> str:
    if re.match(r"(gs|s3)://[^/\s]+", text) or text.startswith(("file:///", "/")):
        return text
    raise Refused(
        "MLFLOW_ARTIFACTS_DESTINATION must be gs://<bucket>/<folder>, s3://<bucket>/<folder> or a folder's whole path; "
        + (f"got {text!r}" if text else "it is not set")
    )


def to_command(destination: str, host: str, port: int) -> list[str]:
    """Returns MLflow's own command.

    The database is in the environment, not here: everyone on the machine may read a command line.
    """
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"),
        *("--serve-artifacts", "--artifacts-destination", destination),
    ]


def list_revisions() -> tuple[str, set[str]]:
    """Returns the newest schema of the installed MLflow, and all that it knows.

    Its files are read, not imported.
    """
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]
    known = {found for text in texts for found in re.findall(r'^revision = "(\w+)"', text, re.MULTILINE)}
    older = {found for text in texts for found in re.findall(r'^down_revision = "(\w+)"', text, re.MULTILINE)}
    (newest,) = known - older
    return newest, known


def read_schema(uri: str) -> str | None:
    """Reads the schema that the database has; empty: it has no table; None: it has tables, and none tells.

    Raises: Refused: it does not answer within DATABASE_WAIT_S.
    """
    import sqlalchemy

    engine, deadline = sqlalchemy.create_engine(uri), time.monotonic() + DATABASE_WAIT_S
    while True:
        try:
            tables = sqlalchemy.inspect(engine).get_table_names()
            if "alembic_version" not in tables:
                return None if tables else ""
            with engine.connect() as connection:
                found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
                return str(found) if found else ("" if tables == ["alembic_version"] else None)
        except sqlalchemy.exc.OperationalError as err:
            if time.monotonic() > deadline:
                raise Refused(f"the database does not answer: {_to_first_line(err)}", 1) from err
            time.sleep(1.0)
        finally:
            engine.dispose()


def _to_first_line(err: Exception) -> str:
    """Returns the first line of an error, without what may hold a password: the driver's words, not the address."""
    return str(getattr(err, "orig", None) or type(err).__name__).strip().partition("\n")[0][:300]


def check_schema(found: str | None) -> None:
    """Refuses a database without the schema of the installed MLflow.

    Raises: Refused: it has another schema.
    """
    newest, known = list_revisions()
    installed = f"MLflow {version('mlflow')} needs schema {newest}"
    if found == newest:
        return
    if found == "":
        raise Refused(f"the database is empty; {installed}. Make it first: run this program with `upgrade`", 1)
    if found is None:
        raise Refused("the database has tables, and they are not MLflow's. Name another database", 1)
    if found not in known:
        raise Refused(
            f"the database has schema {found}, which is newer; {installed}. Run the newer image that upgraded it, or "
            "restore a backup of before",
            1,
        )
    raise Refused(
        f"the database has schema {found}; {installed}. Take a backup, then run this program with `upgrade`", 1
    )


def serve(variables: Mapping[str, str]) -> int:
    """Runs the server until SIGTERM or Ctrl-C, then returns 0; its own status if it ends by itself."""
    environ, host, port = to_environment(variables)
    check_schema(read_schema(environ["MLFLOW_BACKEND_STORE_URI"]))
    if version("mlflow").startswith("2."):
        say(f"MLflow {version('mlflow')} does not check hosts. What is in front of it must; 3.17.2 does both")
    command = to_command(environ["MLFLOW_ARTIFACTS_DESTINATION"], host, port)
    say(f"MLflow {version('mlflow')} listens on {host}:{port} for {environ['MLFLOW_SERVER_ALLOWED_HOSTS']}")
    # A group of its own: MLflow's command does not hand SIGTERM on to the server that it starts.
    process = subprocess.Popen(command, env=environ, start_new_session=True)
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        _signal(process, signal.SIGKILL if asked else signal.SIGTERM)
        asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    status = process.wait()
    deadline = time.monotonic() + STOP_S
    while _signal(process, 0) and time.monotonic() < deadline:  # its worker may still be answering
        time.sleep(0.1)
    _signal(process, signal.SIGKILL)
    return 0 if asked else status or 1


def _signal(process: "subprocess.Popen[Any]", number: int) -> bool:
    """Returns True if some process of the group was there."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def upgrade(variables: Mapping[str, str]) -> int:
    """Makes MLflow's tables, or brings them to the installed MLflow's schema (`mlflow db upgrade`).

    A second call finds nothing to do.
    """
    uri = to_database_uri(variables.get("MLFLOW_BACKEND_STORE_URI", ""))
    found = read_schema(uri)
    newest, known = list_revisions()
    if found == newest:
        say(f"the database has schema {newest} already; nothing was done")
        return 0
    if found is None or (found and found not in known):
        check_schema(found)
    os.environ.update(FIXED)
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    # In this process: `mlflow db upgrade <address>` would show the password to everyone on the machine. And MLflow
    # 2.9.2's own command cannot begin with an empty database.
    (utils._upgrade_db if found else utils._initialize_tables)(engine)
    engine.dispose()
    say(f"the database has schema {newest} now" + (f"; it had {found}" if found else "; it was empty"))
    return 0


def say(text: str) -> None:
    """Prints the text, with our name before each line."""
    sys.stdout.write("".join(f"mlflow: {line}\n" for line in text.splitlines()))
    sys.stdout.flush()


def main(arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Returns the exit status: 0; 1 the database is not as it must be, or the server ended; 2 a variable is wrong."""
    commands = {"serve": serve, "upgrade": upgrade}
    if len(arguments) != 1 or arguments[0] not in commands:
        say(f"one command is needed: serve or upgrade; got {' '.join(arguments) or 'none'}")
        return 2
    try:
        return commands[arguments[0]](variables)
    except Refused as err:
        say(str(err))
        return err.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
