"""What the MLflow server's entrypoint takes and refuses, without MLflow; test_entrypoint_runs.py runs it."""

from typing import Any

import pytest

from deployments.mlflow import entrypoint
from deployments.mlflow.entrypoint import FIXED, POOL, Refused, check_schema, to_command, to_environment, to_hosts

SET = {
    "HOST": "0.0.0.0",  # noqa: S104  (what is tested)
    "PORT": "8080",
    "MLFLOW_BEHIND": "iam",
    "MLFLOW_BACKEND_STORE_URI": "postgresql://mlflow:s3cret@/mlflow?host=/cloudsql/p:r:i",
    "MLFLOW_ARTIFACTS_DESTINATION": "gs://bucket/mlflow-artifacts",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow-1.europe-west4.run.app",
}


def without(*names: str, **changes: str) -> dict[str, str]:
    return {name: value for name, value in (SET | changes).items() if name not in names}


def test_a_server_is_started_with_what_it_needs() -> None:
    """One worker, artifacts through the server, hosts named, no jobs; the database by the driver of both versions."""
    environ, host, port = to_environment(SET | {"OTHER": "kept", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true"})
    assert (host, port, environ["OTHER"]) == ("0.0.0.0", 8080, "kept")  # noqa: S104
    assert environ["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mlflow:s3cret@/mlflow?host=/cloudsql/p:r:i"
    assert environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environ.items() >= (FIXED | POOL).items()
    command = to_command(environ["MLFLOW_ARTIFACTS_DESTINATION"], host, port)
    assert command[command.index("--workers") + 1] == "1"
    assert "--serve-artifacts" in command
    assert command[command.index("--artifacts-destination") + 1] == "gs://bucket/mlflow-artifacts"
    assert "s3cret" not in " ".join(command)


def test_a_pool_may_be_another() -> None:
    """The pool alone is left to who runs it: it depends on the database's size."""
    environ, _, _ = to_environment(SET | {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "5"})
    assert environ["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] == "5"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (without("MLFLOW_BACKEND_STORE_URI"), "MLFLOW_BACKEND_STORE_URI must be postgresql://"),
        (without(MLFLOW_BACKEND_STORE_URI="mysql+pymysql://root:s3cret@host/x"), "it starts with 'mysql+pymysql'"),
        (without(MLFLOW_BACKEND_STORE_URI="sqlite:///mlflow.db"), "it starts with 'sqlite'"),
        (without(MLFLOW_BACKEND_STORE_URI="s3cret"), "it is no URL"),
        (without("MLFLOW_ARTIFACTS_DESTINATION"), "MLFLOW_ARTIFACTS_DESTINATION must be gs://"),
        (without(MLFLOW_ARTIFACTS_DESTINATION="mlruns"), "got 'mlruns'"),
        (without("MLFLOW_SERVER_ALLOWED_HOSTS"), "MLFLOW_SERVER_ALLOWED_HOSTS must name the hosts"),
        (without(MLFLOW_SERVER_ALLOWED_HOSTS=" , "), "MLFLOW_SERVER_ALLOWED_HOSTS must name the hosts"),
        (without(MLFLOW_SERVER_ALLOWED_HOSTS="*"), "Patterns are refused"),
        (without(MLFLOW_SERVER_ALLOWED_HOSTS="a.example,10.*"), "got 10.*"),
        (without(MLFLOW_SERVER_ALLOWED_HOSTS="https://a.example"), "got https://a.example"),
        (without(MLFLOW_SERVER_ALLOWED_HOSTS="[a-z].example"), "got [a-z].example"),
        (without("MLFLOW_BEHIND"), "MLFLOW_BEHIND must say what checks callers"),
        (without(MLFLOW_BEHIND="nothing"), "MLFLOW_BEHIND must say what checks callers"),
        (without(PORT="http"), "PORT must be a port's number"),
        (without(PORT="70000"), "PORT must be a port's number"),
        (without(MLFLOW_S3_ENDPOINT_URL="minio:9000"), "MLFLOW_S3_ENDPOINT_URL must be http(s)://<host>"),
        (without(MLFLOW_SERVER_CORS_ALLOWED_ORIGINS="*"), "got *. Patterns are refused"),
        (
            without(MLFLOW_SERVER_CORS_ALLOWED_ORIGINS="https://a.example, https://*.b.example"),
            "got https://*.b.example",
        ),
        (without(MLFLOW_SERVER_CORS_ALLOWED_ORIGINS="a.example"), "must be origins such as"),
        (without(MLFLOW_DEFAULT_ARTIFACT_ROOT="s3://b"), "MLFLOW_DEFAULT_ARTIFACT_ROOT must not be set"),
        (without(MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE="true"), "it turns off the check of hosts"),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], said: str) -> None:
    """With what it must be; a password is in no message."""
    with pytest.raises(Refused) as refused:
        to_environment(variables)
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert refused.value.status == 2


def test_all_that_is_wrong_is_said_at_once() -> None:
    """A person mends one file once."""
    with pytest.raises(Refused) as refused:
        to_environment({})
    assert len(str(refused.value).splitlines()) == 3


def test_other_origins_may_be_named() -> None:
    """Whole ones, with a port too; they reach MLflow as they are."""
    named = "https://a.example, http://localhost:3000"
    environ, _, _ = to_environment(SET | {"MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": named})
    assert environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == named


def test_on_this_machine_no_one_need_stand_in_front() -> None:
    """The loopback address lets no other machine in."""
    assert to_environment(without("MLFLOW_BEHIND", "HOST"))[1] == "127.0.0.1"


def test_hosts_are_named_with_the_ports_that_clients_add() -> None:
    """MLflow compares whole texts: a client may say a.example, a.example:443, or the port that it calls."""
    assert to_hosts("a.example, a.example", 8080) == "a.example,a.example:443,a.example:8080"
    assert to_hosts("b.example:9000", 8080) == "b.example:9000"
    assert to_hosts("[::1]", 5000) == "[::1],[::1]:443,[::1]:5000"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("", "the database is empty; MLflow 3.17.2 needs schema c. Make it first"),
        (None, "they are not MLflow's"),
        ("a", "has schema a; MLflow 3.17.2 needs schema c. Take a backup"),
        ("z", "has schema z, which is newer"),
    ],
)
def test_a_database_of_another_schema_is_not_touched(
    found: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow 3 would migrate it while it starts; a person decides that."""
    _install(monkeypatch)
    with pytest.raises(Refused, match=said) as refused:
        check_schema(found)
    assert refused.value.status == 1


def test_a_database_of_this_schema_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said of it."""
    _install(monkeypatch)
    check_schema("c")


def _install(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLflow with three schemas: this environment's own has no server."""
    revisions: Any = lambda: ("c", {"a", "b", "c"})  # noqa: E731
    monkeypatch.setattr(entrypoint, "list_revisions", revisions)
    monkeypatch.setattr(entrypoint, "version", lambda _name: "3.17.2")


@pytest.mark.parametrize("arguments", [[], ["start"], ["serve", "now"]])
def test_one_command_is_needed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and what there is."""
    assert entrypoint.main(arguments, SET) == 2
    assert "serve or upgrade" in capsys.readouterr().out
