"""Who reads the place of a run's artifacts."""

import pytest

from switchyard.core.artifacts.places import (
    Place,
    Unreachable,
    find_needed_package,
    find_refusal,
    follow_move,
    to_allowed,
    to_moved,
    to_place,
    without_password,
)

SERVER = "https://mlflow.example"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("gs://bucket/0/a/artifacts/", "objects gs://bucket/0/a/artifacts"),
        ("file:///srv/mlruns/0/a/artifacts", "objects file:///srv/mlruns/0/a/artifacts"),
        ("file:/srv/mlruns/0/a", "objects file:///srv/mlruns/0/a"),
        ("file://localhost/srv/a", "objects file:///srv/a"),
        ("/srv/ml runs/a", "objects file:///srv/ml%20runs/a"),
        ("s3://bucket/a", "mlflow s3://bucket/a"),
        ("dbfs:/databricks/mlflow/0/a/artifacts", "mlflow dbfs:/databricks/mlflow/0/a/artifacts"),
        ("hdfs://host/a", "mlflow hdfs://host/a"),
        ("mlflow-artifacts:/0/a/artifacts", "mlflow mlflow-artifacts:/0/a/artifacts"),
        ("mlflow-artifacts://mlflow.example/0/a", "mlflow mlflow-artifacts://mlflow.example/0/a"),
        ("https://mlflow.example:443/0/a", "mlflow https://mlflow.example:443/0/a"),
    ],
)
def test_places_are_read_by_our_own_adapters_where_we_have_one(uri: str, expected: str) -> None:
    """All else that names a scheme is MLflow's to read, or to refuse."""
    found = to_place(uri, server=SERVER)
    assert isinstance(found, Place)
    assert f"{found.reader} {found.uri}" == expected


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("mlruns/0/a/artifacts", "--artifacts-from mlruns="),
        ("./mlruns/0/a", "relative"),
        ("C:/mlruns/0", "Windows machine; if its files are on this one now, say where: --artifacts-from"),
        ("file://otherhost/a", "another machine"),
        ("mlflow-artifacts:/0/a", "MLFLOW_TRACKING_URI"),
        ("runs:/0123/model", "it is not a place"),
        ("models:/name/1", "it is not a place"),
        ("FILE:etc", "another machine"),
    ],
)
def test_places_that_no_one_reaches_say_why(uri: str, reason: str) -> None:
    """With what to do, where something can be done."""
    found = to_place(uri)
    assert isinstance(found, Unreachable)
    assert reason in found.reason


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts://evil.example/0/a",
        "mlflow-artifacts://mlflow.example:8080/0/a",
        "MLFlow-Artifacts://evil.example/0/a",
        "mlflow-artifacts://mlflow.example@evil.example/0/a",
        "https://evil.example/a",
        "http://169.254.169.254/computeMetadata/v1",
        "https://mlflow.example:99999/a",
    ],
)
@pytest.mark.parametrize("server", ["https://mlflow.example", ""])
def test_no_server_but_the_configured_one_is_called(uri: str, server: str) -> None:
    """Who may create an experiment in MLflow would else be told our token, or choose what is read here."""
    assert isinstance(to_place(uri, server=server), Unreachable)


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/0/a", "mlflow-artifacts://host:5000/0/a"])
def test_a_servers_destination_is_read_without_the_server(uri: str) -> None:
    """What the server hands through lies below it; a path that leads out of it is refused."""
    assert to_place(uri, destination="gs://bucket/x/", server=SERVER) == Place(
        uri="gs://bucket/x/0/a", reader="objects"
    )
    assert isinstance(to_place(f"{uri}/../../b", destination="gs://bucket/x"), Unreachable)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sftp://user:secret@host/a", "sftp://host/a"),
        ("https://host/a?sig=secret", "https://host/a"),
        ("gs://bucket/a?b@c", "gs://bucket/a?b@c"),
        ("wasbs://container@account.blob.core.windows.net/a", "wasbs://container@account.blob.core.windows.net/a"),
    ],
)
def test_no_password_is_shown(uri: str, shown: str) -> None:
    """What is no password stays."""
    assert without_password(uri) == shown


def test_the_package_of_a_scheme_is_known() -> None:
    """For the message of a place whose reader is not installed."""
    assert find_needed_package("s3://bucket/a") == "boto3"
    assert find_needed_package("dbfs:/a") == ""


ALLOWED = to_allowed(
    ["/srv/mlruns", "file:/mnt/ml%20flow/", "/srv/state/mlruns", "gs://bucket/mlflow"],
    ["file:///srv/state", "gs://bucket", "file:///mnt/ml%20flow/copies"],
)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:///srv/mlruns/0/a/artifacts", ""),
        ("file:///srv/mlruns", ""),
        ("file:///mnt/ml%20flow/0/a", ""),
        ("file:///srv/mlruns-not/0", "--artifacts-roots"),
        ("file:///srv", "our own files are at file:///srv/state"),
        ("file:", "our own files are at file:///srv/state"),
        ("file:///etc", "--artifacts-roots"),
        ("file:///srv/state/runs", "our own files are at file:///srv/state"),
        ("file:///srv/state/mlruns/0", "our own files are at file:///srv/state"),
        ("file:///mnt/ml%20flow/copies/objects", "our own files are at file:///mnt/ml%20flow/copies"),
        ("file:///mnt/ml%20flow", "our own files are at file:///mnt/ml%20flow/copies"),
        ("gs://other/0/a", ""),
        ("gs://bucket/mlflow/0/a", ""),
        ("gs://bucket/quick_tests/1", "our own files are at gs://bucket"),
    ],
)
def test_places_are_read_only_where_the_operator_says(uri: str, said: str) -> None:
    """On this machine below a root alone; never where our own files are, except for a root of a bucket we share."""
    found = find_refusal(uri, ALLOWED)
    assert said in found
    assert bool(said) == bool(found)


MOVED = to_moved(
    ["mlruns=/srv/ml flow", "./mlruns/7=gs://bucket/7", "C:/ml=/srv/ml", "file:///old=/srv/old", "s3://a=s3://b/c/"]
)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("./mlruns/1/a/artifacts", "file:///srv/ml%20flow/1/a/artifacts"),
        ("mlruns/1/a b/artifacts", "file:///srv/ml%20flow/1/a%20b/artifacts"),
        ("mlruns", "file:///srv/ml%20flow"),
        ("mlruns/7/a/artifacts", "gs://bucket/7/a/artifacts"),
        ("mlruns2/1/a", "mlruns2/1/a"),
        ("C:/ml/1/a", "file:///srv/ml/1/a"),
        ("file:///old/a%20b", "file:///srv/old/a%20b"),
        ("s3://a/1", "s3://b/c/1"),
        ("/mlruns/1", "/mlruns/1"),
        ("", ""),
    ],
)
def test_a_place_is_where_its_folder_is_now(uri: str, expected: str) -> None:
    """The longest folder that is named counts, by whole parts of its path, as text of the one kind or the other."""
    assert follow_move(uri, MOVED) == expected
