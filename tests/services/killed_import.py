"""Imports models in processes that are killed (SIGKILL) before and after every effect; prints what was left as JSON.

Each is followed by another one that is not killed. This is its own program, because it forks.
"""

import json
import shutil
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from switchyard.clients.objects.files import FileObjects
from switchyard.core.registry.importing import SourceModel
from switchyard.services.importing import Importing
from tests.services.import_world import import_model, make_store, open_ours, read_source, to_importing
from tests.services.killing import Step, run_killed

NAMES = ("shop", "two")
EFFECTS = ("begin", "add_version", "finish", "upload_folder", "promote")


def main(folder: Path) -> None:
    """One line a kill."""
    store = make_store(folder)
    start = folder / "start"
    start.mkdir()
    open_ours(start).close()
    models = [model for name, model in read_source(store).items() if name in NAMES]
    for point in count(1):
        place = folder / str(point)
        shutil.copytree(start, place)
        killed_at = _import_killed(place, models, point)
        if killed_at is None:
            return
        print(json.dumps({"point": point, "effect": killed_at, **_import(place, models)}), flush=True)
        shutil.rmtree(place)


class _Counted:
    def __init__(self, port: object, step: Step) -> None:
        self._port, self._step = port, step

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in EFFECTS:
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self._step(f"before {name}")
            answer = found(*arguments, **more)
            self._step(f"after {name}")
            return answer

        return call


def _import_killed(place: Path, models: list[Any], point: int) -> str | None:
    """The effect beside which the process was killed; None: it came to its end."""

    def work(step: Step) -> None:
        ports = to_importing(open_ours(place), place, root=place.parent)
        objects: Any = _Counted(FileObjects(), step)
        counted: Any = replace(
            ports,
            models=_Counted(ports.models, step),
            imports=_Counted(ports.imports, step),
            open_objects=lambda uri: objects,
        )
        _import_all(counted, models)

    return run_killed(place, point, work)


def _import_all(ports: Importing, models: list[SourceModel]) -> list[Any]:
    return [import_model(ports, model, production=1 if model.name == "two" else None) for model in models]


def _import(place: Path, models: list[Any]) -> dict[str, Any]:
    """What the next one does, and what there is after it."""
    ours = open_ours(place)
    ports = to_importing(ours, place, root=place.parent)
    first = _import_all(ports, models)
    second = _import_all(ports, models)
    verified = [found for _, _, found in second]
    answer = {
        "made": sum(version.is_new for versions, _, _ in first for version in versions),
        "again": sum(version.is_new for versions, _, _ in second for version in versions),
        "copied again": sum(version.files for versions, _, _ in second for version in versions),
        "verified": sum(found.versions for found in verified),
        "files": sum(found.files for found in verified),
        "differs": [found.differs for found in verified if found.differs],
        "history": {name: [line.seq for line in ours.models.list_transitions(name)] for name in NAMES},
        "production": {name: ours.models.read_model(name).production for name in NAMES},
        "last": {name: ours.models.read_model(name).last_number for name in NAMES},
        "aliases": ours.models.list_aliases("shop"),
    }
    ours.close()
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
