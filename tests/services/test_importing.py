"""Importing an MLflow registry: rows, numbers, stages, aliases and files, from its database on this machine."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.mlflow.registry_sources import DatabaseSource, ExportSource
from switchyard.clients.objects.open import open_objects
from switchyard.clients.results.open import ResultsPorts
from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite
from switchyard.core.registry.importing import LostModel, SourceModel
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import Lineage, NewVersion, Promotion
from switchyard.core.registry.stages import Act, Stage
from switchyard.core.runs.rows import NewRun
from switchyard.services.importing import Importing, verify_model
from switchyard.services.registering import check_files
from tests.clients.results.places import NOW
from tests.root import ROOT
from tests.services.import_world import (
    LONG,
    MADE_MS,
    ODD,
    TAG,
    files_of,
    import_model,
    make_store,
    open_ours,
    read_source,
    to_importing,
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path)


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[ResultsPorts]:
    ports = open_ours(tmp_path)
    yield ports
    ports.close()


@pytest.fixture
def ports(ours: ResultsPorts, tmp_path: Path) -> Importing:
    return to_importing(ours, tmp_path)


def test_model_comes_with_all_that_is_its(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """Numbers, stages, aliases, tags, descriptions, times and files; each field is verified, and each file's bytes."""
    done, listed, verified = import_model(ports, read_source(store)["shop"])
    assert [one.number for one in done if one.is_new] == [1, 3, 4, 5]
    assert (verified.versions, verified.files, verified.differs, verified.without_files) == (4, 8, {}, [])
    model = ours.models.read_model("shop")
    assert (model.production, model.challenger, model.share, model.description) == (3, 4, 0.0, LONG)
    versions = {version.version: version for version in ours.models.list_versions("shop")}
    assert {number: str(version.stage) for number, version in versions.items()} == {
        1: "Archived",
        3: "Production",
        4: "Staging",
        5: "None",
    }
    third = versions[3]
    assert third.created_at == datetime.fromtimestamp((MADE_MS + 1_000) / 1_000, UTC)
    assert (third.created_by, third.description, third.flavor) == ("ann", f"{ODD} 3", "mlflow")
    assert third.source_uri.startswith(ports.to_uri)
    assert ours.models.list_tags("shop")[3] == {"validation_status": "passed", "long": TAG, "empty": ""}
    assert ours.models.list_tags("shop")[0] == {"team": ODD}
    paths = [file.path for file in ours.models.read_files("shop", 3).files]
    assert paths == ["model/MLmodel", "model/data/wéights #1.bin"]
    assert check_files(ours.models, open_objects, "shop", 3).digest == third.digest
    assert ours.models.list_aliases("shop") == {"champion": 3, "challenger": 4, "old": 1}
    assert [said.partition(" names")[0].partition(" of ")[0] for said in listed] == ["the alias gone", "the alias v9"]


def test_version_of_a_run_of_ours_is_linked_to_it(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """By the MLflow run that both name; one whose run gets its row later is linked by the next call, and stays so."""
    ports = replace(ports, runs=ours.runs)
    import_model(ports, read_source(store)["shop"])
    third = ours.models.find_version("shop", "3")
    assert (third.lineage, ours.catalogue.list_of_run(1)) == (Lineage(), [])
    row = ours.runs.create_run(NewRun(request_key="a", parameters={"epochs": 7}), now=NOW)
    ours.runs.record_mlflow_run(row.id, "r1")
    import_model(ports, read_source(store)["shop"])
    import_model(ports, read_source(store)["two"])
    linked = Lineage(quick_test_id=row.id, parameters={"epochs": 7})
    for name, number in (("shop", "3"), ("shop", "1"), ("two", "2")):
        assert ours.models.find_version(name, number).lineage == linked
    assert len(ours.catalogue.list_of_run(row.id)) == 6
    _, _, verified = import_model(ports, read_source(store)["shop"])
    assert (verified.versions, verified.differs) == (4, {})


def test_history_says_that_it_was_imported(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """With MLflow's times; it is not known what was in Production before the import."""
    before = datetime.now(UTC)
    import_model(ports, read_source(store)["shop"])
    lines = ours.models.list_transitions("shop")
    assert [(line.seq, line.act, line.version, str(line.to_stage), line.by) for line in lines] == [
        (1, Act.IMPORTED, 1, "Archived", "bob"),
        (2, Act.IMPORTED, 3, "Production", "bob"),
        (3, Act.IMPORTED, 4, "Staging", "bob"),
        (4, Act.IMPORTED, 5, "None", "bob"),
    ]
    assert lines[1].evidence["created_at"] == "2023-11-14T22:13:21.123+00:00"
    assert lines[1].evidence["imported_from"] == "the test's store"
    assert ours.models.find_production("shop", before) is None
    assert ours.models.find_production("shop", datetime.now(UTC)) == 3


def test_deleted_numbers_are_never_given_again(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """The highest that was ever given there counts, deleted ones too."""
    import_model(ports, read_source(store)["shop"])
    new = NewVersion(
        name="shop",
        source_key="run:1",
        source_uri="",
        manifest=to_manifest([ModelFile(path="model/a", size_bytes=1, sha256="ab" * 32)], ""),
    )
    assert ours.models.register(new).version.version == 8


def test_second_call_imports_nothing_twice(store: Path, ours: ResultsPorts, ports: Importing, tmp_path: Path) -> None:
    """It reads no file, and leaves what was changed here since: a promotion, an alias."""
    model = read_source(store)["shop"]
    import_model(ports, model)
    ours.models.promote(Promotion(name="shop", version=5, expected=3, force=True, reason="test"))
    ours.models.set_alias("shop", "old", 3)
    before = (ours.models.list_transitions("shop"), ours.models.list_versions("shop"), sorted(tmp_path.rglob("*")))
    done, _, verified = import_model(ports, model)
    assert [(one.is_new, one.files) for one in done] == [(False, 0)] * 4
    after = (ours.models.list_transitions("shop"), ours.models.list_versions("shop"), sorted(tmp_path.rglob("*")))
    assert after == before
    assert ours.models.list_aliases("shop")["old"] == 3
    assert (verified.versions, verified.differs) == (4, {})


def test_two_productions_are_listed_until_a_person_says(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """Neither is champion; then the one that is said, and no other, at whatever call."""
    model = read_source(store)["two"]
    _, listed, _ = import_model(ports, model)
    assert listed == [
        "versions 1 and 2 are in Production, so none of them is champion here. Say which: --production 'two=2'"
    ]
    assert ours.models.read_model("two").production is None
    assert {str(version.stage) for version in ours.models.list_versions("two")} == {"Archived"}
    with pytest.raises(BadRequest, match="no version 3"):
        import_model(ports, model, production=3)
    for _ in range(2):
        _, listed, verified = import_model(ports, model, production=1)
        assert (listed, verified.differs) == ([], {})
        assert ours.models.read_model("two").production == 1
    _, listed, _ = import_model(ports, model, production=2)
    assert "version 1 is in Production here by now" in listed[0]
    assert ours.models.read_model("two").production == 1


def test_person_may_say_at_the_first_call(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """Then it is imported as champion."""
    import_model(ports, read_source(store)["two"], production=2)
    assert ours.models.read_model("two").production == 2
    assert [str(line.to_stage) for line in ours.models.list_transitions("two")] == ["Archived", "Production"]


def test_champion_by_alias_alone_is_champion(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """Teams that have no stages: MLflow calls them deprecated."""
    import_model(ports, read_source(store)["aliases only"])
    assert ours.models.read_model("aliases only").production == 1


def test_version_whose_files_cannot_be_read_is_kept_and_cannot_be_loaded(
    store: Path, ours: ResultsPorts, ports: Importing, tmp_path: Path
) -> None:
    """It says why, and is never promoted; once its files are there, the next call brings them."""
    model = read_source(store)["shop"]
    aside = tmp_path / "aside"
    files_of(tmp_path, "shop", 5).rename(aside)
    done, _, verified = import_model(ports, model)
    assert "there is none" in done[3].no_files
    assert (verified.without_files, verified.versions) == ([5], 4)
    version = ours.models.find_version("shop", "5")
    assert (version.digest, version.flavor, version.description) == ("", "", f"{ODD} 5")
    with pytest.raises(NotFound, match="could not be read when it was imported"):
        ours.models.read_files("shop", 5)
    with pytest.raises(BadRequest, match="has no files here"):
        ours.models.promote(Promotion(name="shop", version=5, expected=3, force=True, reason="test"))
    aside.rename(files_of(tmp_path, "shop", 5))
    done, _, verified = import_model(ports, model)
    assert (done[3].is_new, done[3].files, verified.without_files) == (False, 2, [])
    assert len(ours.models.read_files("shop", 5).files) == 2
    assert len(ours.models.list_transitions("shop")) == 4


def test_other_store_s_files_are_said(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """They are in a bucket that no one here can read."""
    done, _, verified = import_model(ports, read_source(store)["aliases only"])
    assert "s3://elsewhere/model cannot be read from here" in done[1].no_files
    assert (verified.without_files, verified.differs) == ([2], {})


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_files_that_no_loader_should_see_are_not_taken(
    store: Path, ours: ResultsPorts, ports: Importing, tmp_path: Path, what: str
) -> None:
    """A link, say: it would show other files than those that were hashed."""
    odd = files_of(tmp_path, "shop", 1) / "odd"
    if what == "link":
        odd.symlink_to("/etc/passwd")
    else:
        import os

        os.mkfifo(odd)
    done, _, verified = import_model(ports, read_source(store)["shop"])
    assert "link or no regular file" in done[0].no_files
    assert verified.without_files == [1]


def test_names_that_are_none_here_need_another(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """A slash, other scripts: refused under that name, and taken under another."""
    found = read_source(store)
    for name, here in (("a/b", "a-b"), ("モデル", "moderu")):
        with pytest.raises(BadRequest, match="cannot be a model's name"):
            import_model(ports, found[name])
        import_model(ports, found[name], here)
    with pytest.raises(StaleWrite, match="model a-b here comes from another model, a/b"):
        import_model(ports, found["モデル"], "a-b")
    assert {model.name for model in ours.models.list_models()} == {"a-b", "moderu"}
    assert "a prompt" not in found


def test_model_of_our_own_is_not_written_over(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """Its numbers are other versions'."""
    files = to_manifest([ModelFile(path="model/a", size_bytes=1, sha256="ab" * 32)], "")
    ours.models.register(NewVersion(name="shop", source_key="run:1", source_uri="", manifest=files))
    with pytest.raises(StaleWrite, match="another name: --name 'shop="):
        import_model(ports, read_source(store)["shop"])
    assert [version.version for version in ours.models.list_versions("shop")] == [1]
    import_model(ports, read_source(store)["shop"], "shop from MLflow")
    assert ours.models.read_model("shop from MLflow").production == 3


def test_what_is_new_there_comes_with_the_next_call(store: Path, ours: ResultsPorts, ports: Importing) -> None:
    """Its number is kept for it meanwhile."""
    from tests.services.import_world import add_version

    import_model(ports, read_source(store)["shop"])
    with sqlite3.connect(store) as database:
        add_version(database, "shop", 8, "Production", source="gone")
    done, listed, _ = import_model(ports, read_source(store)["shop"])
    assert [one.number for one in done if one.is_new] == [8]
    assert "versions 3 and 8 are in Production" in listed[0]
    assert ours.models.read_model("shop").production == 3
    assert ours.models.find_version("shop", "8").stage is Stage.ARCHIVED


def test_one_model_s_damage_is_its_own(store: Path) -> None:
    """SQLite's columns take anything, and a text may be no text."""
    with sqlite3.connect(store) as database:
        database.execute("PRAGMA foreign_keys = off")
        database.execute("UPDATE model_versions SET version = 'three' WHERE name = 'two' AND version = 1")
        database.execute("UPDATE model_versions SET description = CAST(x'ff41' AS TEXT) WHERE name = 'shop'")
        database.execute("UPDATE model_versions SET creation_time = 'never' WHERE name = 'shop' AND version = 1")
    found = read_source(store)
    lost, whole = found["two"], found["shop"]
    assert isinstance(lost, LostModel)
    assert "'three'" in str(lost.error)
    assert isinstance(whole, SourceModel)
    assert whole.versions[0].description == "\ufffdA"
    assert whole.versions[0].created_at_ms is None


def test_changes_after_the_import_are_found(store: Path, ours: ResultsPorts, ports: Importing, tmp_path: Path) -> None:
    """A field there, a byte and a missing file here."""
    import_model(ports, read_source(store)["shop"])
    with sqlite3.connect(store) as database:
        database.execute("UPDATE model_version_tags SET value = 'failed' WHERE version = 1 AND value = 'passed'")
    versions = ours.models.list_versions("shop")
    copied = {version.version: Path(version.source_uri.removeprefix("file://")) for version in versions}
    damaged, missing = copied[3] / "model" / "MLmodel", copied[4] / "model" / "MLmodel"
    damaged.chmod(0o600)
    damaged.write_text(damaged.read_text().replace("shop", "shoP"))
    missing.unlink()
    model = read_source(store)["shop"]
    assert isinstance(model, SourceModel)
    kept = [version for version in model.versions if version.number == 1]
    assert kept[0].tags["validation_status"] == "failed"
    found = verify_model(ports, "shop", model)
    assert found.versions == 1
    assert set(found.differs) == {"1", "3", "4"}
    assert any("tags" in said for said in found.differs["1"])
    assert any("sha256" in said for said in found.differs["3"])
    assert any("missing" in said for said in found.differs["4"])


def test_texts_and_tags_that_changed_there_come_with_the_next_call(
    store: Path, ours: ResultsPorts, ports: Importing
) -> None:
    """Not the stage, which is ours since the import; nor the tags that a mirror of ours has set there."""
    import_model(ports, read_source(store)["shop"])
    with sqlite3.connect(store) as database:
        database.execute("UPDATE model_versions SET description = 'new', current_stage = 'Archived' WHERE version = 3")
        database.execute("UPDATE model_version_tags SET value = 'failed' WHERE version = 3 AND value = 'passed'")
        database.execute("INSERT INTO model_version_tags VALUES ('switchyard.version', '3', 'shop', 3)")
        database.execute("UPDATE registered_models SET description = 'newer' WHERE name = 'shop'")
    done, _, verified = import_model(ports, read_source(store)["shop"])
    assert [(one.is_new, one.files) for one in done] == [(False, 0)] * 4
    assert (verified.versions, verified.differs) == (4, {})
    version = ours.models.find_version("shop", "3")
    assert (version.description, version.stage) == ("new", Stage.PRODUCTION)
    assert ours.models.list_tags("shop")[3] == {"validation_status": "failed", "long": TAG, "empty": ""}
    assert ours.models.read_model("shop").description == "newer"
    assert len(ours.models.list_transitions("shop")) == 4


def test_export_holds_the_registry(store: Path, tmp_path: Path) -> None:
    """What is read from an export is what its database said."""
    at = (tmp_path / "export").as_uri()
    export_store(f"sqlite:///{store}", at, open_objects(at))
    assert ExportSource(at, open_objects(at)).read_models() == DatabaseSource(f"sqlite:///{store}").read_models()
    with pytest.raises(BadSetup, match="name the folder that an export was written to"):
        ExportSource((tmp_path / "none").as_uri(), open_objects(at)).read_models()


def test_killed_at_any_point_the_next_one_ends_it(tmp_path: Path) -> None:
    """SIGKILL before and after every effect, then one more call: all is there and verified, and nothing twice."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.services.killed_import", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert {kill["effect"].partition(" ")[2] for kill in kills} == {"begin", "upload_folder", "add_version", "finish"}
    assert len(kills) == 2 * (2 + 6 + 6 + 2)  # two models, six versions
    for kill in kills:
        assert (kill["again"], kill["copied again"], kill["differs"]) == (0, 0, []), kill
        assert (kill["verified"], kill["files"]) == (6, 12), kill
        assert kill["history"] == {"shop": [1, 2, 3, 4], "two": [1, 2]}, kill
        assert (kill["production"], kill["last"]) == ({"shop": 3, "two": 1}, {"shop": 7, "two": 2}), kill
        assert kill["aliases"] == {"champion": 3, "challenger": 4, "old": 1}, kill
