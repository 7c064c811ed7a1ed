"""The wheel: the library alone, which leaves other people's packages as they are."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.root import ROOT

OTHER = {
    "trainer/__init__.py": "OWNER = 'somebody else'\n",
    "trainer/data.py": "ROWS = 7\n",
    "someones_trainer-3.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: someones-trainer\nVersion: 3.0\n",
    "someones_trainer-3.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
LOAD_PLUGIN = f"""
import sys
from importlib.metadata import distribution
sys.path.append({sysconfig.get_path("purelib")!r})  # what it needs; without the checkout, which a .pth file adds there
(found,) = distribution("switchyard").entry_points.select(group="mlflow.request_auth_provider")
provider = found.load()
print(provider().get_name(), sys.modules[provider.__module__].__file__)
"""


def pip(*arguments: str) -> None:
    """Without any network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for a build leaves files beside what it builds. All folders are there, as in a checkout."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for room in ("switchyard", "flows", "tasks", "trainer", "serving", "deployments"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", f"--wheel-dir={out}", str(copy))
    (built,) = out.iterdir()
    return built


class Environment:
    """A virtual environment with nothing in it."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
        self.python = folder / "bin" / "python"
        (self.packages,) = (folder / "lib").glob("python*/site-packages")

    def install(self, *wheels: Path) -> None:
        pip("--python", str(self.python), "install", "--no-deps", "--no-index", "--no-compile", *map(str, wheels))

    def uninstall(self, name: str) -> None:
        pip("--python", str(self.python), "uninstall", "--yes", name)

    def run(self, code: str) -> str:
        done = subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def read(self, package: str) -> dict[str, bytes]:
        """Every file of an installed package."""
        folder = self.packages / package
        files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Someone else's wheel, whose package is named as one of our programs."""
    path = tmp_path_factory.mktemp("other") / "someones_trainer-3.0-py3-none-any.whl"
    record = "someones_trainer-3.0.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in OTHER.items():
            archive.writestr(name, text)
        archive.writestr(record, "".join(f"{name},,\n" for name in [*OTHER, record]))
    return path


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    """Every module of it, the migrations among them, the mark that it is typed, and the licence; no program."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    library = {str(path.relative_to(ROOT)) for path in (ROOT / "switchyard").rglob("*.py")} | {"switchyard/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == library
    assert any("results/migrations/versions/0001" in name for name in library)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0\n" in metadata


def test_the_wheel_leaves_a_package_named_trainer_alone(wheel: Path, other: Path, tmp_path: Path) -> None:
    """Installed beside it, removed, installed again: the other package stays as it was, and so does ours."""
    environment = Environment(tmp_path / "venv")
    environment.install(other, wheel)
    theirs, ours = environment.read("trainer"), environment.read("switchyard")
    assert theirs["__init__.py"].decode() == OTHER["trainer/__init__.py"]
    assert environment.run("import trainer.data; print(trainer.OWNER, trainer.data.ROWS)") == "somebody else 7"
    # MLflow's own client finds the plugin by its entry point.
    name, file = environment.run(LOAD_PLUGIN).split()
    assert name == "google-id-token"
    assert Path(file).is_relative_to(environment.packages)

    environment.uninstall("switchyard")
    assert (environment.read("trainer"), environment.read("switchyard")) == (theirs, {})
    environment.install(wheel)
    environment.uninstall("someones-trainer")
    assert (environment.read("trainer"), environment.read("switchyard")) == ({}, ours)
    assert environment.run(LOAD_PLUGIN).split()[0] == "google-id-token"
