"""Which places a registry may name, and what is read there."""

from pathlib import Path

import pytest

from switchyard.clients.objects.open import open_objects
from switchyard.core.artifacts.places import to_allowed
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, SwitchyardError
from switchyard.services.importing_files import SourceFiles


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of MLflow's, another one beside it, our own files, and links between them."""
    for name in ("mlflow/model", "secrets", "mlflow-not", "mlflow/ours"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "weights.bin").write_bytes(b"12345")
    (tmp_path / "mlflow" / "link").symlink_to(tmp_path / "secrets")
    (tmp_path / "mlflow" / "model.bin").write_bytes(b"123")
    (tmp_path / "mlflow" / "file-link").symlink_to(tmp_path / "secrets" / "weights.bin")
    (tmp_path / "mlflow" / "mixed").mkdir()
    (tmp_path / "mlflow" / "mixed" / "inner").symlink_to(tmp_path / "secrets")
    (tmp_path / "way").symlink_to(tmp_path / "mlflow")
    return tmp_path


def make_files(machine: Path, asked: list[str]) -> SourceFiles:
    def download(uri: str, folder: Path) -> int:
        asked.append(uri)
        return 1

    return SourceFiles(
        open_objects,
        str(machine / "mlflow"),
        download,
        allowed=to_allowed([str(machine / "mlflow")], [(machine / "mlflow" / "ours").as_uri()]),
        server="https://mlflow.example",
    )


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("file:///etc/passwd", BadSetup, "--artifacts-roots <folder>"),
        ("/etc", BadSetup, "--artifacts-roots <folder>"),
        ("file:/etc", BadSetup, "--artifacts-roots <folder>"),
        ("FILE:///etc/passwd", BadSetup, "--artifacts-roots <folder>"),
        ("file://localhost/etc/passwd", BadSetup, "--artifacts-roots <folder>"),
        ("file://elsewhere/etc/passwd", NotFound, "another machine"),
        ("file://{here}/secrets", BadSetup, "--artifacts-roots <folder>"),
        ("file://{here}/mlflow-not", BadSetup, "--artifacts-roots <folder>"),
        ("file://{here}/mlflow/link", BadSetup, "--artifacts-roots <folder>"),
        ("file://{here}/mlflow/file-link", BadSetup, "--artifacts-roots <folder>"),
        ("file://{here}/mlflow/../secrets", BadRequest, r"\.\."),
        ("file://{here}/mlflow/%2e%2e/secrets", BadRequest, r"\.\."),
        ("{here}/mlflow/../secrets", BadRequest, r"\.\."),
        ("mlflow-artifacts:/../secrets", NotFound, r"`\.\.`"),
        ("mlflow-artifacts:/%2e%2e/secrets", NotFound, "there is none"),
        ("file://{here}/mlflow/ours", BadSetup, "our own files"),
        ("file://{here}/mlflow", BadSetup, "our own files"),
        ("file://{here}/mlflow/mixed", BadRecord, "'inner' is a link"),
        ("file://{here}/mlflow/nothing", NotFound, "there is none"),
        ("runs:/abc/model", NotFound, "names the place of another"),
        ("models:/shop/1", NotFound, "names the place of another"),
        ("http://evil.example/model", NotFound, "Only that one is called"),
        ("mlruns/0/abc", NotFound, "relative"),
        ("", NotFound, "where its files are is not known"),
    ],
)
def test_no_place_outside_the_roots_is_read(
    machine: Path, tmp_path_factory: pytest.TempPathFactory, source: str, error: type[SwitchyardError], said: str
) -> None:
    """This holds for every spelling and every reader."""
    folder, asked = tmp_path_factory.mktemp("taken"), list[str]()
    with pytest.raises(error, match=said):
        make_files(machine, asked).copy(source.replace("{here}", str(machine)), folder)
    assert (list(folder.iterdir()), asked) == ([], [])


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("file://{here}/mlflow/model", "weights.bin"),
        ("{here}/mlflow/model/", "weights.bin"),
        ("file:{here}/mlflow/model", "weights.bin"),
        ("file://{here}/way/model", "weights.bin"),
        ("file://{here}/mlflow/model.bin", "model.bin"),
        ("mlflow-artifacts:/model", "weights.bin"),
    ],
)
def test_what_lies_below_a_root_is_read(
    machine: Path, tmp_path_factory: pytest.TempPathFactory, source: str, taken: str
) -> None:
    """A folder or one file; by a link that leads there too."""
    folder = tmp_path_factory.mktemp("taken")
    assert make_files(machine, []).copy(source.replace("{here}", str(machine)), folder) == 1
    assert [path.name for path in folder.iterdir()] == [taken]


def test_other_stores_are_left_to_mlflows_client(machine: Path, tmp_path: Path) -> None:
    """Where a server is named; the reason says so where none is, without a password."""
    asked: list[str] = []
    assert make_files(machine, asked).copy("s3://bucket/model", tmp_path) == 1
    assert asked == ["s3://bucket/model"]
    with pytest.raises(NotFound, match=r"MLFLOW_TRACKING_URI") as err:
        SourceFiles(open_objects).copy("sftp://ann:s3cret@host/model", tmp_path)
    assert "s3cret" not in str(err.value)
