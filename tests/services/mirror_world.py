"""A registry of ours beside MLflow's own one in a folder, by MLflow's own client; and calls that are lost or cut."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.core.ports import MirrorNotes, ModelMirror
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import NewVersion, Promotion, StageMove
from switchyard.core.registry.stages import Stage
from switchyard.services.mirroring import Mirroring

NAME = "shop"
EFFECTS = ("create_model", "create_version", "set_tags", "set_alias", "remove_alias", "move", "keep_pairs", "note_look")


def open_mirror(folder: Path) -> MlflowMirror:
    """MLflow's registry in a folder: its code, without a server. MLFLOW_ALLOW_FILE_STORE must be true."""
    return MlflowMirror((folder / "mlflow").as_uri())


def make_ours(folder: Path, versions: int = 3, name: str = NAME) -> ResultsPorts:
    """A registry with these versions: the first is champion, the second challenger, and `stable` names the first."""
    ports = open_results(f"sqlite:///{folder / 'results.db'}")
    for number in range(1, versions + 1):
        add(ports, number, name)
    ports.models.promote(Promotion(name=name, version=1, expected=None))
    if versions > 1:
        ports.models.move(StageMove(name=name, version=2, stage=Stage.STAGING))
    ports.models.set_alias(name, "stable", 1)
    return ports


def add(ports: ResultsPorts, number: int, name: str = NAME) -> None:
    files = [ModelFile(path="model/a", size_bytes=number, sha256="ab" * 32)]
    ports.models.register(
        NewVersion(
            name=name,
            source_key=f"run:{number}",
            source_uri=f"gs://b/{number}",
            manifest=to_manifest(files, ""),
        )
    )


class Counted:
    """A port that calls `before` and `after` each effect, with its number from 1 on; reads pass by."""

    def __init__(self, port: object, before: Callable[[str], None], after: Callable[[str], None]) -> None:
        self._port, self._before, self._after = port, before, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in EFFECTS:
            return found

        def call(*arguments: Any) -> Any:
            self._before(name)
            answer = found(*arguments)
            self._after(name)
            return answer

        return call


def to_counted(
    ports: ResultsPorts, mirror: ModelMirror, before: Callable[[str], None], after: Callable[[str], None]
) -> Mirroring:
    notes: MirrorNotes = Counted(ports.mirrors, before, after)
    counted: ModelMirror = Counted(mirror, before, after)
    return Mirroring(models=ports.models, notes=notes, mirror=counted)


@contextmanager
def opened(folder: Path, versions: int = 3) -> Iterator[tuple[ResultsPorts, MlflowMirror, Mirroring]]:
    folder.mkdir(exist_ok=True)
    ports, mirror = make_ours(folder, versions), open_mirror(folder)
    try:
        yield ports, mirror, Mirroring(models=ports.models, notes=ports.mirrors, mirror=mirror)
    finally:
        ports.close()


def stages_of(mirror: ModelMirror, name: str = NAME) -> dict[int, str]:
    """By our version's number, as its tag says."""
    found = mirror.read(name)
    assert found is not None
    return {int(version.tags["switchyard.version"]): version.stage for version in found.versions}


def aliases_of(mirror: ModelMirror, name: str = NAME) -> dict[str, int]:
    found = mirror.read(name)
    assert found is not None
    ours = {version.number: int(version.tags.get("switchyard.version", "-1")) for version in found.versions}
    return {alias: ours[number] for alias, number in found.aliases.items()}
