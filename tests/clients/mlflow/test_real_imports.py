"""Importing the registries of real MLflow servers, 2.9.2 and a current one: by their databases, and by the servers.

`make test-mlflow` builds both and runs this.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from switchyard.clients.mlflow import registry_files
from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.clients.mlflow.registry_sources import DatabaseSource, ServerSource
from switchyard.clients.objects.open import open_objects
from switchyard.core.artifacts.places import to_allowed
from switchyard.core.errors import NotFound, TryAgain
from switchyard.core.registry.importing import SourceModel, VersionOrigin
from switchyard.services.importing import Importing
from switchyard.services.importing_files import SourceFiles
from switchyard.services.mirroring import Mirroring, mirror_models
from tests.clients.mlflow.real_servers import serve
from tests.postgres import Postgres
from tests.services.import_world import import_model, open_ours

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.timeout(600)]

DATA = bytes(range(256)) * 40_000  # 10 MB: more than one read
TEXT = "ünï\u2603 'quoted'"


class Server:
    """One with a model in its registry."""

    def __init__(self, version: str, url: str, store_uri: str, folder: Path) -> None:
        self.version, self.url, self.store_uri, self.folder = version, url, store_uri, folder
        self.aliases = {"champion": 3, "old": 1}
        self._session = requests.Session()
        self._fill()

    def _call(self, path: str, method: str = "POST", **body: Any) -> Any:
        answer = self._session.request(method, f"{self.url}/api/2.0/mlflow/{path}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _fill(self) -> None:
        experiment = self._call("experiments/create", name="models")["experiment_id"]
        run = self._call("runs/create", experiment_id=experiment)["run"]["info"]
        root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for path, data in (("model/MLmodel", b"flavors: {}"), ("model/data/weights.bin", DATA)):
            url = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{root}/{path}"
            assert self._session.put(url, data=data, timeout=60).status_code == 200
        self._call("registered-models/create", name="shop", description=TEXT, tags=[{"key": "team", "value": TEXT}])
        for _ in range(4):
            self._call(
                "model-versions/create",
                name="shop",
                source=f"{run['artifact_uri']}/model",
                run_id=run["run_id"],
                description=TEXT,
                tags=[{"key": "long", "value": "t" * 5_000}],
            )
        for number, stage in ((1, "Archived"), (3, "Production")):
            self._call("model-versions/transition-stage", name="shop", version=str(number), stage=stage,
                       archive_existing_versions=False)  # fmt: skip
        for alias, number in (*self.aliases.items(), ("gone", 4)):
            self._call("registered-models/alias", name="shop", alias=alias, version=str(number))
        self._call("model-versions/delete", "DELETE", name="shop", version="4")


@pytest.fixture(scope="module", params=["2.9.2", "current"])
def server(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    uri = postgres.url(postgres.make_database()).replace("+psycopg", "+psycopg2")
    with serve(request.param, uri, folder, workers=1) as url:
        yield Server(request.param, url, uri, folder)


@pytest.fixture(autouse=True)
def client_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLIENT_SETTINGS:  # put back after the test
        monkeypatch.setenv(name, "")


def to_facts(version: VersionOrigin) -> tuple[Any, ...]:
    """What a server says of a version as its database does."""
    texts = (version.stage, version.description, version.user_id, version.run_id, version.source)
    return (version.number, *texts, version.tags, version.created_at_ms, version.updated_at_ms)


def to_ports(folder: Path, files: SourceFiles) -> Importing:
    ours = open_ours(folder)
    return Importing(
        models=ours.models,
        imports=ours.imports,
        open_objects=open_objects,
        copy_files=files.copy,
        to_uri=(folder / "ours").as_uri(),
    )


def test_database_is_imported_and_verified(server: Server, tmp_path: Path) -> None:
    """With the number of the version that was deleted; 2.9.2 leaves its alias, which is listed."""
    (model,) = DatabaseSource(server.store_uri).read_models()
    assert isinstance(model, SourceModel)
    assert model.origin.deleted == [4]
    files = SourceFiles(open_objects, (at := str(server.folder / "artifacts")), allowed=to_allowed([at], []))
    ports = to_ports(tmp_path, files)
    done, listed, verified = import_model(ports, model)
    assert [(one.number, one.files, one.no_files) for one in done] == [(1, 2, ""), (2, 2, ""), (3, 2, "")]
    assert (verified.versions, verified.files, verified.differs) == (3, 6, {})
    assert [said for said in listed if "alias gone" in said] == listed
    assert len(listed) == (1 if server.version == "2.9.2" else 0)
    found = ports.models.read_model("shop")
    assert (found.production, found.last_number, found.description) == (3, 4, TEXT)
    assert ports.models.list_aliases("shop") == server.aliases
    sizes = {file.path: file.size_bytes for file in ports.models.read_files("shop", 3).files}
    assert sizes == {"model/MLmodel": 11, "model/data/weights.bin": len(DATA)}


def test_server_is_imported_by_mlflow_s_client(server: Server, tmp_path: Path) -> None:
    """The same but for the deleted version, of which a server says nothing; files come through its artifact proxy."""
    (there,), (model,) = DatabaseSource(server.store_uri).read_models(), ServerSource(server.url).read_models()
    assert isinstance(model, SourceModel)
    assert isinstance(there, SourceModel)
    expected, found = ([to_facts(version) for version in one.versions] for one in (there, model))
    assert found == expected
    assert (model.origin.tags, model.origin.description) == (there.origin.tags, TEXT)
    ports = to_ports(
        tmp_path, SourceFiles(open_objects, "", partial(registry_files.download, server.url), server=server.url)
    )
    done, _, verified = import_model(ports, model)
    assert [(one.files, one.no_files) for one in done] == [(2, "")] * 3
    assert (verified.versions, verified.files, verified.differs) == (3, 6, {})
    again, _, _ = import_model(ports, model)
    assert [(one.is_new, one.files) for one in again] == [(False, 0)] * 3
    with pytest.raises((NotFound, TryAgain)):  # 2.9.2 answers 500 for a file that is not there
        registry_files.download(server.url, f"{model.versions[0].source}/nope", tmp_path)


def test_mirror_of_what_was_imported_finds_it_there(server: Server, tmp_path: Path) -> None:
    """Nothing is made twice in the registry that it comes from: its versions get our tags."""
    (model,) = DatabaseSource(server.store_uri).read_models()
    ours = open_ours(tmp_path)
    files = SourceFiles(open_objects, (at := str(server.folder / "artifacts")), allowed=to_allowed([at], []))
    import_model(to_ports(tmp_path, files), model)
    mirror = MlflowMirror(server.url)
    done = mirror_models(Mirroring(models=ours.models, notes=ours.mirrors, mirror=mirror))
    assert (done.failed, done.away, done.created) == ({}, "", {})
    assert ours.mirrors.list_pairs(mirror.target, "shop") == {1: 1, 2: 2, 3: 3}
    found = mirror.read("shop")
    assert found is not None
    assert {one.number: (one.stage, one.tags["switchyard.version"]) for one in found.versions} == {
        1: ("Archived", "1"),
        2: ("None", "2"),
        3: ("Production", "3"),
    }
