"""Carries a plan out in processes that are killed (SIGKILL) before and after every effect; prints what is left as JSON.

Each is followed by another one that is not killed. This is its own program, because it forks.
"""

import json
import shutil
import sys
from itertools import count
from pathlib import Path
from typing import Any

from switchyard.clients.objects.files import FileObjects
from switchyard.core.decommission.clearing import Policy, to_digest
from switchyard.services.clearing import carry_out, find_begun
from tests.services.clearing_world import NOW, ClearingWorld, with_objects
from tests.services.killing import Step, run_killed

ALL = Policy(models=True, copies=True)


def main(folder: Path) -> None:
    """One line a kill, and one for the call that came to its end."""
    start, place = folder / "start", folder / "place"
    for point in count(1):
        shutil.copytree(start, place)
        (place / "said").unlink(missing_ok=True)
        plan = ClearingWorld(place).plan(ALL)
        effect = run_killed(place, point, lambda step: _clear_counted(place, step))
        world = ClearingWorld(place)
        if effect is not None:
            carry_out(world.site, find_begun(world.site, to_digest(plan)) or world.plan(ALL), NOW)
        print(json.dumps({"point": point, "effect": effect, "left": world.list_files()}), flush=True)
        world.outside.close()
        shutil.rmtree(place)
        if effect is None:
            return


def _clear_counted(place: Path, step: Step) -> None:
    class Counted(FileObjects):
        def delete(self, uri: str, *, if_generation: int) -> None:
            step("before delete")
            super().delete(uri, if_generation=if_generation)
            step("after delete")

        def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
            step("before write")
            made = super().write(uri, data, if_generation=if_generation)
            step("after write")
            return made

    rename: Any = Path.rename

    def rename_counted(path: Path, target: Path) -> Path:
        step("before rename")
        made: Path = rename(path, target)
        step("after rename")
        return made

    Path.rename = rename_counted  # type: ignore[method-assign, assignment]
    world = ClearingWorld(place)
    carry_out(with_objects(world.site, Counted()), world.plan(ALL), NOW)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
