"""What the environment may say, and what it may not."""

import re
from pathlib import Path

import pytest

from switchyard.clients.settings import UNUSED, Settings, list_unused, read_settings
from switchyard.core.errors import BadSetup
from tests.root import ROOT


def test_env_example_lists_exactly_the_settings() -> None:
    """`.env.example` has every variable once, each below a comment, and no other."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    listed = {number: line.partition("=")[0] for number, line in enumerate(lines) if re.match(r"\w+=", line)}
    assert sorted(listed.values()) == sorted(field.upper() for field in Settings.__struct_fields__)
    for number, variable in listed.items():
        assert lines[number - 1].startswith("#"), f"{variable} has no comment"


def test_variables_of_earlier_services_that_do_nothing_are_said() -> None:
    """By name, without their values; empty ones are not set, and none of them is a setting of ours."""
    given = {
        **dict.fromkeys(UNUSED, "gs://secret"),
        "MLFLOW_WORKERS": "",
        "MODEL_FILENAME": "xgb_model.pkl",
        "TOKENIZER_FILENAME": "tokenizer.json",
        "PORT": "1",
    }
    said = list_unused(given)
    assert [line.partition(" ")[0] for line in said] == [
        *("CONFIG_PATH", "MLFLOW_GCS_BUCKET", "MLFLOW_ARTIFACT_ROOT"),
    ]
    assert "secret" not in "".join(said)
    assert not {name.lower() for name in UNUSED} & set(Settings.__struct_fields__)


def test_env_example_holds_the_defaults() -> None:
    """Copying `.env.example` changes nothing."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    assert read_settings(environ) == read_settings({})


def test_with_nothing_set_everything_is_under_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults need no cloud, no server and no variable."""
    monkeypatch.chdir(tmp_path)
    state = tmp_path / ".switchyard"
    assert read_settings({}) == Settings(
        training_backend="local",
        artifacts_uri=f"file://{state}/artifacts",
        results_url=f"sqlite:///{state}/results.db",
        results_table="",
        serving_url="http://127.0.0.1:8000",
        state_dir=str(state),
        model_cache_dir=f"{state}/models",
        buyer_key_file=f"{state}/buyer.key",
    )


def test_relative_state_dir_is_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored with a run must be found from every other working directory."""
    monkeypatch.chdir(tmp_path)
    settings = read_settings({"STATE_DIR": "some state/"})
    assert settings.state_dir == f"{tmp_path}/some state"
    assert settings.artifacts_uri == f"file://{tmp_path}/some%20state/artifacts"
    assert settings.results_url == f"sqlite:///{tmp_path}/some state/results.db"


@pytest.mark.parametrize(("said", "days"), [("", 90), ("0", 0), ("7", 7)])
def test_days_are_a_number(said: str, days: int) -> None:
    """Of days that job folders are kept; 0 is for ever."""
    assert read_settings({"JOB_FOLDERS_DAYS": said}).job_folders_days == days


@pytest.mark.parametrize("said", ["a week", "-1", "1.5", "1e3"])
def test_days_that_are_no_number_are_refused(said: str) -> None:
    """The message says what is expected."""
    with pytest.raises(BadSetup, match="JOB_FOLDERS_DAYS must be a number of days"):
        read_settings({"JOB_FOLDERS_DAYS": said})


def test_slashes_at_the_end_of_addresses_are_dropped() -> None:
    """Addresses are joined with a slash, so they end without one."""
    settings = read_settings({"ARTIFACTS_URI": "gs://bucket/runs//", "SERVING_URL": "https://runs.example/"})
    assert settings.artifacts_uri == "gs://bucket/runs"
    assert settings.serving_url == "https://runs.example"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRAINING_BACKEND", "kubernetes"),
        ("TRAINING_BACKEND", "Local"),
        ("ARTIFACTS_URI", "/srv/artifacts"),
        ("ARTIFACTS_URI", "file:///"),
        ("ARTIFACTS_URI", "file://artifacts"),
        ("ARTIFACTS_URI", "gs://"),
        ("ARTIFACTS_URI", "gs:///runs"),
        ("ARTIFACTS_URI", "s3://bucket"),
        ("ARTIFACTS_URI", "gs://bucket/runs?x=1"),
        ("RESULTS_URL", "mysql://host/db"),
        ("RESULTS_URL", "postgresql://host/db"),
        ("RESULTS_URL", "sqlite:///"),
        ("SERVING_URL", "localhost:8000"),
        ("SERVING_URL", "http://"),
    ],
)
def test_bad_value_is_refused_with_its_name_and_what_was_given(variable: str, value: str) -> None:
    """The message names the variable, what it must be, and what it is."""
    with pytest.raises(BadSetup, match=f"^{variable} must .*{re.escape(repr(value))}.*see .env.example$"):
        read_settings({variable: value})


def test_all_bad_values_are_reported_at_once() -> None:
    """No one has to mend one variable to learn of the next."""
    bad = {"TRAINING_BACKEND": "x", "ARTIFACTS_URI": "x", "RESULTS_URL": "x", "SERVING_URL": "x"}
    with pytest.raises(BadSetup) as raised:
        read_settings(bad)
    assert all(f"{variable} must" in str(raised.value) for variable in bad)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:s3cret@host/db",
        "postgresql+psycopg://user:s3cret/@s3cret@host/db",
        "postgresql+psycopg://user@host/db?password=s3cret&sslmode=require",
        "postgresql+psycopg://:s3cret@host/db",
    ],
)
def test_password_is_never_shown(url: str) -> None:
    """A settings object may be logged, and a refused address is shown."""
    settings = read_settings({"RESULTS_URL": url})
    assert settings.results_url == url
    assert "s3cret" not in repr(settings) + str(settings)
    assert "host/db" in repr(settings)
    with pytest.raises(BadSetup) as raised:
        read_settings({"RESULTS_URL": url.replace("postgresql+psycopg", "mysql").replace("host", "[host")})
    assert "s3cret" not in str(raised.value)


def test_all_that_vertex_lacks_is_reported_at_once() -> None:
    """Each missing variable is named, and so is an artifacts folder that no container can reach."""
    with pytest.raises(BadSetup) as raised:
        read_settings({"TRAINING_BACKEND": "vertex"})
    for variable in ("GCP_PROJECT_ID", "GCP_REGION", "TRAINER_IMAGE", "ARTIFACTS_URI"):
        assert f"{variable} must be" in str(raised.value)


VERTEX = {
    "TRAINING_BACKEND": "vertex",
    "GCP_PROJECT_ID": "demo-project",
    "GCP_REGION": "us-central1",
    "TRAINER_IMAGE": "us-docker.pkg.dev/demo-project/switchyard/trainer:1",
    "ARTIFACTS_URI": "gs://bucket",
}


def test_vertex_needs_no_more_than_these() -> None:
    """gRPC to the region's own endpoint is the default."""
    settings = read_settings(VERTEX)
    assert (settings.vertex_transport, settings.vertex_api_endpoint) == ("grpc", "")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GCP_PROJECT_ID", "123456789012"),
        ("GCP_PROJECT_ID", "My Project"),
        ("GCP_REGION", "US"),
        ("VERTEX_TRANSPORT", "http"),
        ("VERTEX_API_ENDPOINT", "localhost/path"),
        ("VERTEX_SERVICE_ACCOUNT", "trainer"),
        ("TRAINER_IMAGE", "trainer:latest"),
        ("ARTIFACTS_URI", "file:///srv/artifacts"),
    ],
)
def test_what_vertex_could_not_use_is_refused(variable: str, value: str) -> None:
    """The message names the variable and what was given."""
    with pytest.raises(BadSetup, match=f"{variable} must .*{re.escape(repr(value))}"):
        read_settings(VERTEX | {variable: value})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GOOGLE_APIS_ENDPOINT", "http://example.com"),
        ("GOOGLE_APIS_ENDPOINT", "127.0.0.1:8080"),
        ("BILLING_EXPORT_TABLE", "p.d.gcp_billing_export_v1_0A1B"),
    ],
)
def test_what_a_decommission_could_not_use_is_refused(variable: str, value: str) -> None:
    """Plain http leaves no machine; only the detailed export names resources."""
    with pytest.raises(BadSetup, match=f"{variable} must .*{re.escape(repr(value))}"):
        read_settings({variable: value})


PUSH = VERTEX | {
    "PUSH_AUDIENCE": "https://serving.example",
    "PUSH_SERVICE_ACCOUNT": "push-invoker@demo-project.iam.gserviceaccount.com",
}


def test_push_needs_no_more_than_whom_to_believe() -> None:
    """Google's own certificates are the default."""
    assert read_settings(PUSH).push_certs_url == "https://www.googleapis.com/oauth2/v1/certs"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"PUSH_AUDIENCE": "https://serving.example"}, ("PUSH_SERVICE_ACCOUNT", "TRAINING_BACKEND")),
        ({"PUSH_SERVICE_ACCOUNT": PUSH["PUSH_SERVICE_ACCOUNT"]}, ("PUSH_AUDIENCE", "TRAINING_BACKEND")),
        ({"TRAINING_BACKEND": "vertex", "PUSH_AUDIENCE": "a"}, ("PUSH_SERVICE_ACCOUNT", "GCP_PROJECT_ID")),
    ],
)
def test_all_that_push_lacks_is_reported_at_once(given: dict[str, str], named: tuple[str, ...]) -> None:
    """Half a set-up would take no one's push, or everyone's."""
    with pytest.raises(BadSetup) as raised:
        read_settings(given)
    assert all(f"{variable} must be" in str(raised.value) for variable in named)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PUSH_AUDIENCE", "two words"),
        ("PUSH_SERVICE_ACCOUNT", "somebody@example.com"),
        ("PUSH_CERTS_URL", "http://certs.example/v1"),
        ("PUSH_CERTS_URL", "certs.pem"),
    ],
)
def test_what_push_could_not_use_is_refused(variable: str, value: str) -> None:
    """Certificates by plain http from elsewhere could be anybody's."""
    with pytest.raises(BadSetup, match=f"{variable} must .*{re.escape(repr(value))}"):
        read_settings(PUSH | {variable: value})


def test_mirror_needs_a_server() -> None:
    """It is one of MLflow's: the message names the setting."""
    with pytest.raises(BadSetup, match="MLFLOW_TRACKING_URI must name the server that MLFLOW_MIRROR=yes is for"):
        read_settings({"MLFLOW_MIRROR": "yes"})
    assert read_settings({"MLFLOW_MIRROR": "yes", "MLFLOW_TRACKING_URI": "http://m"}).mlflow_mirror == "yes"
