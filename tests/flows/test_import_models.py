"""Importing an MLflow registry as people start it."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.__main__ import main
from flows.answers.imported import ImportFailed
from flows.answers.verify import VerifyFailed
from flows.import_models import import_models
from flows.verify import verify
from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadRequest, BadSetup
from switchyard.core.verify.manifest import read_manifest
from tests.services.import_world import make_store


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None) -> Iterator[Outside]:
    store = make_store(tmp_path)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{store}")
    monkeypatch.setenv("MLFLOW_ARTIFACTS_ROOTS", str(tmp_path / "artifacts"))
    found = Outside(read_settings())
    yield found
    found.close()


def test_models_are_imported_and_the_others_named(outside: Outside) -> None:
    """A name that is none here fails at the end, and says what to do; a second call with it brings nothing but that."""
    with pytest.raises(ImportFailed, match=r"model a/b: .*cannot be a model's name") as failed:
        import_models(by="bob")
    result = failed.value.result
    assert set(result.failed) == {"a/b", "モデル"}
    assert (result.models, result.versions, result.there, result.differs) == (5, 8, 0, {})
    assert (result.verified, result.verified_files, result.files) == (8, 14, 14)
    assert result.without_files.keys() == {"aliases only"}
    assert "--production 'two=2'" in result.listed["two"][0]
    again = import_models(name=["a/b=a-b", "モデル=moderu"], production=["two=2"])
    assert (again.versions, again.there, again.files, again.failed) == (0, 8, 0, {})
    assert {model.name: model.production for model in outside.models.list_models()} == {
        "a-b": None,
        "aliases only": 1,
        "moderu": None,
        "shop": 3,
        "two": 2,
    }


def test_one_model_may_be_chosen(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command, whose answer is one line."""
    assert main(["import-models", "--only", "shop", "--name", "shop=my shop", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["models"], answer["versions"], answer["verified"]) == (1, 4, 4)
    assert [model.name for model in outside.models.list_models()] == ["my shop"]
    compared = import_models(only=["shop"], name=["shop=my shop"], verify_only=True)
    assert (compared.versions, compared.there, compared.verified, compared.verified_files) == (0, 0, 4, 8)
    with pytest.raises(ImportFailed, match="it is not here"):
        import_models(only=["two"], verify_only=True)


def test_what_is_asked_wrongly_is_said_before_anything_is_read(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A model that is not there, a pair that is none, a workspace of a store that has none, no MLflow at all."""
    for wrong in ({"only": ["nope"]}, {"name": ["nope=x"]}, {"production": ["shop=x"]}, {"production": ["shop"]}):
        with pytest.raises(BadRequest, match=r"no model nope|must be|is a number"):
            import_models(**wrong)
    with pytest.raises(BadSetup, match="no workspace 'x'"):
        import_models(workspace="x")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "")
    with pytest.raises(BadSetup, match="no MLflow is named"):
        import_models()
    assert outside.models.list_models() == []


def test_files_of_this_machine_are_read_only_below_a_folder_that_is_named(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the settings, or by the command; the reason names the option, and the next call takes the files."""
    monkeypatch.delenv("MLFLOW_ARTIFACTS_ROOTS")
    refused = import_models(only=["two"], production=["two=2"])
    assert (refused.versions, refused.files) == (2, 0)
    assert all("--artifacts-roots <folder>" in why for why in refused.without_files["two"].values())
    elsewhere = import_models(only=["two"], artifacts_roots=[str(tmp_path / "artifacts" / "shop")])
    assert elsewhere.files == 0
    taken = import_models(only=["two"], artifacts_roots=[str(tmp_path / "artifacts")])
    assert (taken.files, taken.without_files) == (4, {})


def _split_into_workspaces(path: Path) -> None:
    with sqlite3.connect(path) as store:
        for table in ("registered_models", "registered_model_tags", "registered_model_aliases", "model_versions",
                      "model_version_tags"):  # fmt: skip
            store.execute(f"ALTER TABLE {table} ADD COLUMN workspace VARCHAR(63) NOT NULL DEFAULT 'default'")
            store.execute(f"UPDATE {table} SET workspace = 'team b' WHERE name = 'two'")


def test_several_workspaces_are_refused_until_one_is_chosen(outside: Outside, tmp_path: Path) -> None:
    """Of MLflow 3.17: their models may have the same names."""
    _split_into_workspaces(tmp_path / "mlflow.db")
    with pytest.raises(BadSetup, match=r"2 workspaces \(default, team b\).*--workspace default"):
        import_models()
    result = import_models(workspace="team b", production=["two=1"])
    assert (result.models, result.versions) == (1, 2)
    assert outside.models.find_version("two", "1").source_key == "mlflow:team b:two/1"


def test_verify_counts_what_was_imported(outside: Outside, tmp_path: Path) -> None:
    """Equal, missing and without files; the registry is read, and nothing of it is written."""
    with pytest.raises(ImportFailed):
        import_models(name=["shop=my shop"])
    result = verify()
    assert result.models == {
        "models": 5,
        "models_imported": 3,
        "versions": 8,
        "equal": 7,
        "differ": 0,
        "models_differ": 0,
        "without_files": 1,
        "missing": 0,
        "unread": 0,
    }
    assert (result.models_unread, result.failed_models) == ("", [])
    manifest = read_manifest(outside.objects(result.manifest_uri).read(result.manifest_uri)[0], "it")
    assert manifest.models is not None
    assert manifest.models.counts == result.models
    assert {one.name: one.here for one in manifest.models.models}["shop"] == "my shop"
    assert verify(models=False).models == {}
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("UPDATE model_versions SET description = 'new' WHERE name = 'two' AND version = 1")
        store.execute("UPDATE model_versions SET version = 9 WHERE name = 'shop' AND version = 5")
    with pytest.raises(VerifyFailed, match=r"1 imported models .*: model two: version 1: .*'new'") as failed:
        verify()
    counts = failed.value.result.models
    assert (counts["equal"], counts["differ"], counts["missing"]) == (5, 1, 1)


def test_registry_that_cannot_be_read_is_said_and_hides_no_run(outside: Outside, tmp_path: Path) -> None:
    """The runs are verified all the same."""
    _split_into_workspaces(tmp_path / "mlflow.db")
    result = verify()
    assert result.models == {}
    assert "2 workspaces (default, team b)" in result.models_unread
