"""The suite of the port `ArtifactSource`, for our own adapters and for MLflow's repositories over a folder.

It also has what is particular to each.
"""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.artifacts.own import ObjectsSource
from switchyard.clients.artifacts.repositories import RepositorySource
from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.objects.open import open_objects
from switchyard.core.artifacts.manifest import LeftOut, SourceObject
from switchyard.core.artifacts.places import Allowed, to_allowed
from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError
from switchyard.core.ports import ANY, ArtifactSource

FILES = {
    "a.txt": b"a",
    "empty": b"",
    "model/data/weights.bin": bytes(range(256)) * 20_000,
    "model/MLmodel": b"m",
    "plots/Größe 1.png": b"png",
}
EVERYTHING = to_allowed(["/"], [])
KINDS = ("own on file", "own on gcs", "mlflow on file")


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*CLIENT_SETTINGS, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"]:  # put back after the test
        monkeypatch.setenv(name, os.environ.get(name, ""))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    makers: dict[str, Callable[[], str]] = {
        "own on gcs": lambda: request.getfixturevalue("gcs_root"),
    }
    place = makers.get(kind, (tmp_path / "0" / "run" / "artifacts").as_uri)()
    write(place, FILES)
    return place


@pytest.fixture
def source(kind: str) -> ArtifactSource:
    return RepositorySource() if kind.startswith("mlflow") else ObjectsSource(open_objects, EVERYTHING)


def write(place: str, files: dict[str, bytes]) -> None:
    from urllib.parse import quote

    objects = open_objects(place)
    for path, data in files.items():
        name = quote(path) if place.startswith("file:") else path
        objects.write(f"{place}/{name}", data, if_generation=ANY)


def list_all(source: ArtifactSource, place: str) -> dict[str, SourceObject]:
    found = list(source.list(place))
    assert all(isinstance(one, SourceObject) for one in found), found
    by_path = {one.path: one for one in found if isinstance(one, SourceObject)}
    assert len(by_path) == len(found)
    return by_path


def test_every_artifact_is_listed_once(source: ArtifactSource, place: str) -> None:
    """Folder by folder, with its size."""
    found = list_all(source, place)
    assert {path: one.size_bytes for path, one in found.items()} == {path: len(data) for path, data in FILES.items()}
    assert list_all(source, f"{place}/model").keys() == {"data/weights.bin", "MLmodel"}


def test_artifacts_are_fetched_as_they_are(source: ArtifactSource, place: str) -> None:
    """Every byte; what is answered is what was listed."""
    for path, one in list_all(source, place).items():
        file = io.BytesIO()
        assert source.fetch(place, one, file) == one
        assert file.getvalue() == FILES[path]


def test_an_artifact_that_is_gone_is_told(source: ArtifactSource, place: str) -> None:
    """It is told, whatever the store says of it."""
    with pytest.raises(SwitchyardError):
        source.fetch(place, SourceObject(path="model/none", size_bytes=1), io.BytesIO())


def test_an_artifact_that_was_replaced_is_told_or_answered(source: ArtifactSource, place: str) -> None:
    """By its generation where there is one, else by its size."""
    one = list_all(source, place)["a.txt"]
    write(place, {"a.txt": b"longer"})
    file = io.BytesIO()
    try:
        was = source.fetch(place, one, file)
    except StaleWrite:
        return
    assert (was.size_bytes, file.getvalue()) == (6, b"longer")
    assert was != one


def test_a_place_with_nothing_is_empty(source: ArtifactSource, place: str) -> None:
    """A run that logged none; the folder above it is there."""
    other = place.replace("/run/", "/other/") if "/run/" in place else f"{place}/none"
    assert list(source.list(other)) == []


def test_a_folder_on_another_machine_is_told(tmp_path: Path) -> None:
    """Neither the run's folder is there, nor its experiment's, nor the root of all: nothing is known of it."""
    source = ObjectsSource(open_objects, EVERYTHING)
    with pytest.raises(NotFound, match="another one"):
        list(source.list("file:///no/such/mlruns/0/run/artifacts"))
    (tmp_path / "mlruns").mkdir()
    assert list(source.list((tmp_path / "mlruns" / "0" / "run" / "artifacts").as_uri())) == []
    with pytest.raises(NotFound, match="another one"):
        list(source.list((tmp_path / "art" / "run" / "artifacts").as_uri()))


def test_links_and_odd_names_say_why_they_are_left_out(tmp_path: Path) -> None:
    """A link to a folder is not entered: it may lead to the whole disk."""
    place = tmp_path / "a b#?%"
    (place / "sub").mkdir(parents=True)
    (place / "sub" / "100%#?").write_bytes(b"1")
    (place / "root").symlink_to("/")
    (place / "file").symlink_to("/etc/passwd")
    (place / "new\nline").write_bytes(b"1")
    os.mkfifo(place / "pipe")
    found = list(ObjectsSource(open_objects, EVERYTHING).list(place.as_uri()))
    assert [one.path for one in found if isinstance(one, SourceObject)] == ["sub/100%#?"]
    assert {one.path for one in found if isinstance(one, LeftOut)} == {"root", "file", "pipe", "new\nline"}
    file = io.BytesIO()
    ObjectsSource(open_objects, EVERYTHING).fetch(place.as_uri(), SourceObject(path="sub/100%#?", size_bytes=1), file)
    assert file.getvalue() == b"1"


def read_all(place: str, allowed: Allowed) -> dict[str, bytes]:
    source, found = ObjectsSource(open_objects, allowed), {}
    for one in source.list(place):
        file = io.BytesIO()
        if isinstance(one, SourceObject):
            source.fetch(place, one, file)
            found[one.path] = file.getvalue()
    return found


def test_only_places_below_a_root_are_read(tmp_path: Path) -> None:
    """Nothing is told of a place outside: everyone who may log writes a run's place.

    It may be the worker's keys, or lead there by a link. A root that is a link is where it leads."""
    mlruns, secret = tmp_path / "mlruns", tmp_path / "secret"
    for folder in (mlruns / "0" / "run" / "artifacts", secret):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(folder.name.encode())
    (mlruns / "0" / "link").symlink_to(secret)
    (tmp_path / "alias").symlink_to(mlruns)
    allowed = to_allowed([str(tmp_path / "alias")], [])
    place = mlruns / "0" / "run" / "artifacts"
    assert read_all(place.as_uri(), allowed) == {"file": b"artifacts"}
    assert read_all((tmp_path / "alias" / "0" / "run" / "artifacts").as_uri(), allowed) == {"file": b"artifacts"}
    for refused in (secret, mlruns / "0" / "link", tmp_path, Path("/etc")):
        source = ObjectsSource(open_objects, allowed)
        with pytest.raises(BadSetup, match="--artifacts-roots"):
            list(source.list(refused.as_uri()))
        with pytest.raises(BadSetup, match="--artifacts-roots"):
            source.fetch(refused.as_uri(), SourceObject(path="file", size_bytes=6), io.BytesIO())


def test_our_own_files_are_never_read(tmp_path: Path) -> None:
    """Neither from within a root, nor by a place that holds them, nor by a link: STATE_DIR has the worker's keys."""
    state = tmp_path / "srv" / "state"
    (state / "run").mkdir(parents=True)
    (state / "run" / "buyer.key").write_bytes(b"key")
    (tmp_path / "srv" / "link").symlink_to(state / "run")
    (tmp_path / "other").symlink_to(state)
    allowed = to_allowed([str(tmp_path / "srv"), str(state / "run")], [(tmp_path / "other").as_uri()])
    for place in (state, state / "run", tmp_path / "srv", tmp_path / "srv" / "link"):
        with pytest.raises(BadSetup, match="our own files"):
            read_all(place.as_uri(), allowed)


def test_a_link_that_is_made_after_the_look_leads_nowhere(tmp_path: Path) -> None:
    """An artifact, or a folder above it, that has become a link when it is fetched is not there; not one byte comes."""
    place, secret = tmp_path / "mlruns" / "a", tmp_path / "secret"
    (place / "sub").mkdir(parents=True)
    secret.mkdir()
    for folder in (place, place / "sub", secret):
        (folder / "file").write_bytes(b"secret")
    source = ObjectsSource(open_objects, to_allowed([str(place.parent)], []))
    found = [one for one in source.list(place.as_uri()) if isinstance(one, SourceObject)]
    assert len(found) == 2
    (place / "file").unlink()
    (place / "file").symlink_to(secret / "file")
    (place / "sub").rename(place / "was")
    (place / "sub").symlink_to(secret)
    for one in found:
        file = io.BytesIO()
        with pytest.raises(NotFound):
            source.fetch(place.as_uri(), one, file)
        assert file.getvalue() == b""
    place.rename(tmp_path / "mlruns" / "was")
    place.symlink_to(secret)
    with pytest.raises(NotFound):
        source.fetch(place.as_uri(), SourceObject(path="file", size_bytes=6), io.BytesIO())


class Repository:
    """Stands for any of MLflow's, and fails as it is told."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def list_artifacts(self, path: str | None = None) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ModuleNotFoundError("No module named 'boto3'", name="boto3"), BadSetup, "pip install boto3"),
        (ValueError("https://host/a?X-Amz-Signature=secret refused"), BadSetup, "cannot be read"),
        (RuntimeError("An error occurred (NoSuchBucket): The bucket does not exist"), NotFound, "NoSuchBucket"),
    ],
)
def test_what_a_store_says_is_told_without_its_secrets(
    error: BaseException, kind: type[SwitchyardError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each store has a library of its own behind it, with errors of its own."""
    source = RepositorySource()
    monkeypatch.setattr(source, "_open", lambda place: Repository(error))
    with pytest.raises(kind, match=said) as caught:
        list(source.list("s3://user:hidden@bucket/a"))
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_scheme_that_mlflow_does_not_know_is_told() -> None:
    """It is no place."""
    with pytest.raises(BadRequest, match="MLflow knows no way to read nowhere://a/b"):
        list(RepositorySource().list("nowhere://a/b"))


def test_a_store_whose_library_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """s3:// is read by boto3, which MLflow does not bring."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(BadSetup, match="pip install boto3"):
        list(RepositorySource().list("s3://bucket/0/a/artifacts"))
