"""An MLflow registry to import from: rows as its own store writes them, and files on this machine's disk."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from switchyard.clients.mlflow.registry_sources import DatabaseSource
from switchyard.clients.objects.open import open_objects
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.core.artifacts.places import to_allowed
from switchyard.core.registry.importing import LostModel, ModelVerified, SourceModel, VersionImport, choose
from switchyard.services.importing import Importing, finish_model, import_version, verify_model
from switchyard.services.importing_files import SourceFiles
from tests.clients.mlflow.stores import make_sqlite

MADE_MS = 1_700_000_000_123
LONG = "d" * 10_000
TAG = "t" * 5_000
ODD = "ünï\u2603\U0001f680 'quoted' \"twice\"; DROP TABLE runs; --"


ALL = ("shop", "two", "aliases only", "a/b", "モデル", "a prompt")


def make_store(folder: Path, names: Sequence[str] = ALL) -> Path:
    """A store of MLflow 2.9.2 with these models, one of a kind; `files_of` says where their files are."""
    path = make_sqlite(folder / "mlflow.db")
    makers = {"shop": _make_shop, "two": _make_two, "aliases only": _make_aliases}
    with sqlite3.connect(path) as store:
        for name in names:
            if name in makers:
                makers[name](store, folder)
            else:
                add_model(store, name, tags={"mlflow.prompt.is_prompt": str(name == "a prompt").lower()})
    return path


def _make_shop(store: sqlite3.Connection, folder: Path) -> None:
    aliases = {"champion": 3, "old": 1, "gone": 2, "v9": 1}
    add_model(store, "shop", description=LONG, tags={"team": ODD}, aliases=aliases)
    for number, stage in ((1, "Archived"), (3, "Production"), (4, "Staging"), (5, "None")):
        write_files(folder, "shop", number)
        add_version(store, "shop", number, stage, source=files_of(folder, "shop", number).as_uri())
    for number in (2, 7):
        add_version(store, "shop", number, "Deleted_Internal", source="REDACTED-SOURCE-PATH")


def _make_two(store: sqlite3.Connection, folder: Path) -> None:
    add_model(store, "two", aliases={"latest-good": 2})
    for number in (1, 2):
        write_files(folder, "two", number)
        add_version(store, "two", number, "Production", source=str(files_of(folder, "two", number)))


def _make_aliases(store: sqlite3.Connection, folder: Path) -> None:
    add_model(store, "aliases only", aliases={"champion": 1})
    write_files(folder, "aliases only", 1)
    add_version(store, "aliases only", 1, "None", source=files_of(folder, "aliases only", 1).as_uri())
    add_version(store, "aliases only", 2, "None", source="s3://elsewhere/model")


def files_of(folder: Path, name: str, number: int) -> Path:
    return folder / "artifacts" / name / str(number)


def write_files(folder: Path, name: str, number: int) -> None:
    root = files_of(folder, name, number)
    (root / "data").mkdir(parents=True)
    (root / "MLmodel").write_text(f"flavors: of {name} {number}")
    (root / "data" / "wéights #1.bin").write_bytes(bytes(range(256)) * number)


def add_model(
    store: sqlite3.Connection,
    name: str,
    *,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    aliases: Mapping[str, int] | None = None,
) -> None:
    store.execute("INSERT INTO registered_models VALUES (?, ?, ?, ?)", (name, MADE_MS, MADE_MS + 5, description))
    for key, value in (tags or {}).items():
        store.execute("INSERT INTO registered_model_tags (key, value, name) VALUES (?, ?, ?)", (key, value, name))
    for alias, number in (aliases or {}).items():
        store.execute("INSERT INTO registered_model_aliases VALUES (?, ?, ?)", (alias, number, name))


def add_version(store: sqlite3.Connection, name: str, number: Any, stage: str, *, source: str) -> None:
    store.execute(
        "INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id, "
        "current_stage, source, run_id, status, status_message, run_link, storage_location) "
        "VALUES (?, ?, ?, ?, ?, 'ann', ?, ?, 'r1', 'READY', NULL, '', NULL)",
        (name, number, MADE_MS + 1_000, MADE_MS + 2_000, f"{ODD} {number}", stage, source),
    )
    for key, value in (("validation_status", "passed"), ("long", TAG), ("empty", "")):
        store.execute(
            "INSERT INTO model_version_tags (key, value, name, version) VALUES (?, ?, ?, ?)", (key, value, name, number)
        )


def to_importing(ports: ResultsPorts, folder: Path, *, root: Path | None = None) -> Importing:
    return Importing(
        models=ports.models,
        imports=ports.imports,
        open_objects=open_objects,
        copy_files=SourceFiles(open_objects, allowed=to_allowed([str(root or folder)], [])).copy,
        to_uri=(folder / "ours").as_uri(),
        where="the test's store",
        by="bob",
    )


def open_ours(folder: Path) -> ResultsPorts:
    return open_results(f"sqlite:///{folder / 'results.db'}")


def read_source(path: Path) -> dict[str, SourceModel | LostModel]:
    return {model.name: model for model in DatabaseSource(f"sqlite:///{path}").read_models()}


def import_model(
    ports: Importing, model: SourceModel | LostModel, name: str = "", production: int | None = None
) -> tuple[list[VersionImport], list[str], ModelVerified]:
    """As the flow does: what was not taken, and what was verified."""
    assert isinstance(model, SourceModel)
    name = name or model.name
    chosen = choose(model, production)
    ports.imports.begin(name, model)
    done = [import_version(ports, name, model, version.number, chosen) for version in model.versions]
    listed = [*chosen.listed, *finish_model(ports, name, model, chosen, production)]
    return done, listed, verify_model(ports, name, model)
