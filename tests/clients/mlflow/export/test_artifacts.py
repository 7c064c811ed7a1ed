"""Where an export says that the artifacts are."""

import sqlite3
from pathlib import Path

import pytest

from switchyard.clients.mlflow.export.artifacts import Places, Roots, to_place
from switchyard.clients.mlflow.export.parts import Row, read_rows
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.objects.allowed_places import open_places
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.open import open_objects
from switchyard.core.artifacts.places import to_allowed
from switchyard.core.mlflow.export import Artifacts, ExportedTable, Unlisted
from switchyard.core.ports import ABSENT
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.core.mlflow.factories import make_info, make_small


def make_store(folder: Path, locations: dict[str, str]) -> str:
    """A store whose runs' artifacts are at `locations`; their experiment's are at ``mlflow-artifacts:/5``."""
    path = make_sqlite(folder / "mlflow.db")
    runs = [
        make_small({}, info=make_info(run_id=run_id, experiment_id="5", artifact_uri=uri))
        for run_id, uri in locations.items()
    ]
    with sqlite3.connect(path) as connection:
        add_runs(connection, runs)
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/5' WHERE experiment_id = 5")
        connection.execute("INSERT INTO registered_models (name) VALUES ('towers')")
        connection.execute(
            "INSERT INTO model_versions (name, version, run_id, source) VALUES ('towers', 3, ?, 's3://elsewhere/m')",
            ("a" * 32,),
        )
    connection.close()
    return f"sqlite:///{path}"


def read_table(table: ExportedTable | None, uri: str) -> list[Row]:
    assert table is not None
    return [row for part in table.parts for row in read_rows(open_objects(uri).read(f"{uri}/{part.name}")[0], uri)]


def to_places(root: Path, destination: str = "") -> Places:
    """Below `root` all may be looked at."""
    return Places(open_objects, open_places(to_allowed([str(root)], [])), destination)


def export_artifacts(store: str, uri: str, places: Places | None) -> Artifacts:
    return export_store(store, uri, open_objects(uri), places=places).artifacts


def test_every_location_that_the_tables_name_is_exported(tmp_path: Path) -> None:
    """Of experiments, runs and model versions, with the run that made it; without a look at the places themselves."""
    store = make_store(tmp_path, {"a" * 32: "mlflow-artifacts:/5/aa/artifacts", "b" * 32: "gs://bucket/b"})
    uri = (tmp_path / "export").as_uri()
    found = export_artifacts(store, uri, None)
    assert read_table(found.locations, uri) == [
        ("experiment", "5", "", "mlflow-artifacts:/5"),
        ("run", "a" * 32, "a" * 32, "mlflow-artifacts:/5/aa/artifacts"),
        ("run", "b" * 32, "b" * 32, "gs://bucket/b"),
        ("model_version", "towers/3", "a" * 32, "s3://elsewhere/m"),
    ]
    assert (found.objects, found.unlisted) == (None, [])


def test_objects_are_listed_on_files_and_on_gs(tmp_path: Path, gcs_root: str) -> None:
    """With their sizes, each once; the export's own files are none, and a place that cannot be listed says why."""
    places = {"a" * 32: "mlflow-artifacts:/5/aa/artifacts", "b" * 32: f"{gcs_root}/b", "c" * 32: "dbfs:/c"}
    store = make_store(tmp_path, places)
    mine = [f"{tmp_path.as_uri()}/server/5/aa/artifacts/model/data.bin", f"{gcs_root}/b/note.txt"]
    for uri in mine:
        open_objects(uri).write(uri, b"12345", if_generation=ABSENT)
    uri = f"{gcs_root}/b/export"  # within a run's own place, as no one should
    found = export_artifacts(store, uri, to_places(tmp_path, f"{tmp_path}/server"))
    rows = read_table(found.objects, uri)
    assert [(row[0], row[1]) for row in rows] == [(each, 5) for each in sorted(mine, reverse=True)]
    assert found.size_bytes == 10
    assert [(place.uri, place.reason) for place in found.unlisted] == [
        ("dbfs:/c", "only gs:// and file:/// are listed"),
        ("s3://elsewhere/m", "only gs:// and file:/// are listed"),
    ]
    assert export_artifacts(store, uri, to_places(tmp_path, f"{tmp_path}/server")) == found


@pytest.mark.usefixtures("gcs")
def test_place_with_nothing_to_be_seen_is_named(tmp_path: Path) -> None:
    """A server's own disk is another machine's: an empty answer must not look like no artifacts."""
    store = make_store(
        tmp_path, {"a" * 32: "/on/the/server/5/aa", "b" * 32: "gs://Not_a_bucket/b", "c" * 32: f"{tmp_path}/none"}
    )
    found = export_artifacts(store, (tmp_path / "export").as_uri(), to_places(tmp_path))
    reasons = {place.uri: place.reason for place in found.unlisted}
    assert "--artifacts-roots <folder>" in reasons["/on/the/server/5/aa"]
    assert reasons[f"{tmp_path}/none"] == f"no object is at file://{tmp_path}/none, as seen from here"
    assert "--artifacts-destination" in reasons["mlflow-artifacts:/5"]
    assert "gs://<bucket>/<name>" in reasons["gs://Not_a_bucket/b"]


@pytest.mark.parametrize("named", ["secrets", "allowed/link", "allowed/../secrets", "allowed-not"])
def test_what_lies_outside_the_roots_is_not_listed(tmp_path: Path, named: str) -> None:
    """A row of MLflow's may name any folder of this machine: not even its names are told, behind a link either."""
    for folder in ("secrets", "allowed", "allowed-not"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "id_rsa").write_bytes(b"12345")
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "secrets")
    store = make_store(tmp_path, {"a" * 32: f"file://{tmp_path}/{named}", "b" * 32: f"{tmp_path}/allowed"})
    uri = (tmp_path / "export").as_uri()
    found = export_artifacts(store, uri, to_places(tmp_path / "allowed"))
    assert [row[0] for row in read_table(found.objects, uri)] == [f"file://{tmp_path}/allowed/id_rsa"]
    assert f"file://{tmp_path}/{named}" in [place.uri for place in found.unlisted]


def test_objects_that_came_later_make_a_new_export(tmp_path: Path) -> None:
    """The list is as new as the tables."""
    store = make_store(tmp_path, {"a" * 32: (tmp_path / "aa").as_uri()})
    uri = (tmp_path / "export").as_uri()
    export_artifacts(store, uri, to_places(tmp_path))
    FileObjects().write((tmp_path / "aa/new").as_uri(), b"x", if_generation=ABSENT)
    found = export_artifacts(store, uri, to_places(tmp_path))
    assert [row[:2] for row in read_table(found.objects, uri)] == [((tmp_path / "aa/new").as_uri(), 1)]


@pytest.mark.parametrize(
    ("uri", "destination", "expected"),
    [
        ("gs://bucket/0/", "", "gs://bucket/0"),
        ("file:///a/0", "", "file:///a/0"),
        ("/a b/0", "", "file:///a%20b/0"),
        ("mlflow-artifacts:/0/r", "gs://bucket/", "gs://bucket/0/r"),
        ("mlflow-artifacts://host:5000/0/r", "/mnt/mlflow", "file:///mnt/mlflow/0/r"),
        ("./mlruns/0", "", None),
        ("runs:/r/model", "", None),
    ],
)
def test_location_becomes_a_place(uri: str, destination: str, expected: str | None) -> None:
    """What is not ours to list is not guessed."""
    found = to_place(uri, destination)
    assert found == expected if expected else isinstance(found, Unlisted)


def test_roots_hold_every_place_once() -> None:
    """An experiment's place holds its runs', whichever comes first; one that only starts alike is another."""
    roots = Roots()
    for uri in ("gs://b/1/r/artifacts", "gs://b/1", "gs://b/1/s/artifacts", "gs://b/10", "gs://b/10/"):
        roots.add(uri)
    assert list(roots) == ["gs://b/1", "gs://b/10"]
