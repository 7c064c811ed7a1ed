"""The registry in a folder of MLflow's, imported from without MLflow's client; and what a folder is no use for."""

from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.file_store.registry import FolderSource
from switchyard.clients.mlflow.job_variables import to_job_variables
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadSetup
from switchyard.core.registry.importing import LostModel, ModelOrigin, SourceModel, VersionOrigin
from tests.clients.mlflow.folders import to_yaml, write_folder
from tests.core.mlflow.factories import make_info, make_small

RUN = "a" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of one run, and two models: one of three versions, of which one was deleted."""
    root = tmp_path / "mlruns"
    write_folder(root.as_uri(), [make_small({}, info=make_info(run_id=RUN, artifact_uri="gs://b/4/a/artifacts"))])
    times: dict[str, Any] = {"creation_timestamp": 1, "last_updated_timestamp": 2}
    written_by_3: dict[str, Any] = {
        "name": "two tower",
        "description": None,
        "workspace": "default",
        "aliases": {"champion": "2"},
    }
    write(root / "models/two tower/meta.yaml", written_by_3 | times)
    write(root / "models/two tower/tags/team/a", "search")
    write(root / "models/two tower/aliases/champion", "2")
    for number, stage, source in (
        (1, "Archived", "gs://b/1"),
        (2, "Production", f"runs:/{RUN}/model"),
        (3, "Deleted_Internal", "gs://b/3"),
    ):
        values = {"name": "two tower", "version": number, "current_stage": stage, "source": source, **times}
        write(root / f"models/two tower/version-{number}/meta.yaml", values | {"run_id": RUN, "status": "READY"})
    write(root / "models/two tower/version-2/tags/best", "yes")
    write(root / "models/empty/meta.yaml", {"name": "empty", **times})
    write(root / "models/a prompt/meta.yaml", {"name": "a prompt", **times})
    write(root / "models/a prompt/tags/mlflow.prompt.is_prompt", "true")
    return root


def write(path: Path, found: str | dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.encode() if isinstance(found, str) else to_yaml(found))


def read(root: Path) -> dict[str, SourceModel | LostModel]:
    source = Outside(read_settings({"MLFLOW_TRACKING_URI": str(root)})).open_registry()
    assert isinstance(source, FolderSource)
    found = source.read_models()
    source.close()
    return {model.name: model for model in found}


def test_models_are_read_with_all_that_mlflow_says(root: Path) -> None:
    """Versions, stages, aliases, tags, numbers of deleted versions, and where the files lie."""
    found = read(root)
    assert list(found) == ["empty", "two tower"]
    model = found["two tower"]
    assert isinstance(model, SourceModel)
    assert model.origin == ModelOrigin(
        name="two tower",
        created_at_ms=1,
        updated_at_ms=2,
        tags={"team/a": "search"},
        aliases={"champion": 2},
        deleted=[3],
    )
    assert list(model.versions) == [
        VersionOrigin(
            number=1,
            stage="Archived",
            source="gs://b/1",
            run_id=RUN,
            status="READY",
            created_at_ms=1,
            updated_at_ms=2,
        ),
        VersionOrigin(
            number=2,
            stage="Production",
            source=f"runs:/{RUN}/model",
            run_id=RUN,
            status="READY",
            created_at_ms=1,
            updated_at_ms=2,
            tags={"best": "yes"},
        ),
    ]
    assert model.places == {1: "gs://b/1", 2: "gs://b/4/a/artifacts/model"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("meta.yaml", "", "models/two%20tower/meta.yaml: it is empty"),
        ("meta.yaml", "name: another", "`name` must be 'two tower', as its folder's; got 'another'"),
        ("version-1/meta.yaml", "name: two tower\nversion: 7", "`version` must be 1, as its folder's; got 7"),
        ("version-4/meta.yam", "", "version-4/meta.yaml: it is missing"),
        ("aliases/challenger", "the newest", "a row of it has an odd value"),
    ],
)
def test_damaged_model_is_lost_alone(root: Path, name: str, text: str, said: str) -> None:
    """The error names its file, and the others are read."""
    write(root / "models/two tower" / name, text)
    found = read(root)
    lost = found["two tower"]
    assert isinstance(lost, LostModel)
    assert said in str(lost.error)
    assert isinstance(found["empty"], SourceModel)


def test_folder_without_a_registry_has_no_models(tmp_path: Path) -> None:
    """And one that is not MLflow's is refused."""
    write_folder((tmp_path / "mlruns").as_uri(), [make_small({}, info=make_info())])
    assert read(tmp_path / "mlruns") == {}
    with pytest.raises(BadSetup, match="no folder of MLflow's"):
        read(tmp_path)


def test_folder_is_not_logged_to(root: Path) -> None:
    """Neither by a training, nor by the mirror; nor is it asked for artifacts."""
    settings = read_settings({"MLFLOW_TRACKING_URI": str(root)})
    assert settings.mlflow_server_uri == ""
    with pytest.raises(BadSetup, match=r"the folder file://.*/mlruns is only read, to log to it start `mlflow server`"):
        to_job_variables(settings)
    with pytest.raises(BadSetup, match="MLFLOW_MIRROR=yes is for; a folder is only read"):
        read_settings({"MLFLOW_TRACKING_URI": str(root), "MLFLOW_MIRROR": "yes"})
