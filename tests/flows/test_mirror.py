"""The mirror of the registry as people and reconcile start it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.mirror import MirrorFailed, mirror
from flows.reconcile import reconcile
from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadSetup
from switchyard.core.ports import ModelMirror
from tests.services.mirror_world import NAME, make_ours, open_mirror, stages_of

AS_OURS = {1: "Production", 2: "Staging", 3: "None"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None) -> Iterator[Path]:
    """A registry of ours in a folder, whose settings name a server that is not there."""
    for name in CLIENT_SETTINGS:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:4")
    monkeypatch.setenv("MLFLOW_MIRROR", "yes")
    make_ours(tmp_path).close()
    yield tmp_path
    Outside(read_settings()).close()


def use_registry_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowMirror:
    """In the place of the server: a setting takes an http address alone."""
    found = open_mirror(folder)

    def mirror(_: Outside) -> ModelMirror:
        return found

    monkeypatch.setattr(Outside, "mirror", property(mirror))
    return found


def test_command_mirrors_and_finds_nothing_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a flow run, whose answer says what was done."""
    theirs = use_registry_in(folder, monkeypatch)
    assert mirror().created == {NAME: [1, 2, 3]}
    assert stages_of(theirs) == AS_OURS
    assert mirror(name=NAME).changed == {}


def test_command_fails_where_the_server_is_away(folder: Path) -> None:
    """With the answer's own words, and the turn's result."""
    with pytest.raises(MirrorFailed, match=r"127\.0\.0\.1:4") as failed:
        mirror()
    assert failed.value.result.left == 1


def test_command_without_a_mirror_says_how_to_have_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that it needs."""
    monkeypatch.setenv("MLFLOW_MIRROR", "no")
    with pytest.raises(BadSetup, match="MLFLOW_MIRROR=yes"):
        mirror()


def test_reconcile_repairs_the_mirror(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; a turn later nothing is to be done."""
    theirs = use_registry_in(folder, monkeypatch)
    assert reconcile().mirrored == [NAME]
    assert stages_of(theirs) == AS_OURS
    assert reconcile().mirrored == []


def test_reconcile_goes_on_where_the_server_is_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The turn succeeds, and says why the mirror waits."""
    assert reconcile().mirrored == []
    assert "MLflow's registry waits for the next turn" in caplog.text
    monkeypatch.setenv("MLFLOW_MIRROR", "no")
    assert reconcile().mirrored == []
