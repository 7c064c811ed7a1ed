"""Mirrors a model in processes that are killed (SIGKILL) before and after every effect; prints what was left as JSON.

Each is followed by another one that is not killed. This is its own program, because it forks.
"""

import json
import shutil
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path

from switchyard.clients.results.open import open_results
from switchyard.services.mirroring import HELD, Mirroring, mirror_models, read_now
from tests.services.killing import Step, run_killed
from tests.services.mirror_world import aliases_of, make_ours, open_mirror, stages_of, to_counted


def main(folder: Path) -> None:
    """One line a kill."""
    make_ours(folder / "start").close()
    open_mirror(folder / "unused").read("x")  # MLflow's client is imported once, for all
    for point in count(1):
        place = folder / str(point)
        shutil.copytree(folder / "start", place)
        killed_at = _mirror_killed(place, point)
        if killed_at is None:
            return
        print(json.dumps({"point": point, "effect": killed_at, **_mirror(place)}), flush=True)


def _mirror_killed(place: Path, point: int) -> str | None:
    """The effect beside which the process was killed; None: it came to its end."""

    def work(step: Step) -> None:
        ports = open_results(f"sqlite:///{place / 'results.db'}")
        mirror_models(
            to_counted(
                ports, open_mirror(place), lambda name: step(f"before {name}"), lambda name: step(f"after {name}")
            )
        )

    return run_killed(place, point, work)


def _mirror(place: Path) -> dict[str, object]:
    """What the next one finds, once the killed one's hold is over, and what it leaves."""
    ports, mirror = open_results(f"sqlite:///{place / 'results.db'}"), open_mirror(place)
    later = lambda: read_now() + HELD + timedelta(seconds=1)  # noqa: E731  (a clock)
    ports_later = Mirroring(models=ports.models, notes=ports.mirrors, mirror=mirror, now=later)
    first, second = mirror_models(ports_later), mirror_models(ports_later)
    found = mirror.read("shop")
    ports.close()
    return {
        "failed": first.failed | second.failed,
        "again": second.changed,
        "doubles": second.doubles,
        "versions": len(found.versions) if found else 0,
        "stages": stages_of(mirror),
        "aliases": aliases_of(mirror),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
