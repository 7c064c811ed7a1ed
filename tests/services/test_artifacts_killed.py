"""Killed with SIGKILL at any point and run again, a copy of artifacts ends as one that nothing happened to."""

import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.folders import PART_NAME
from switchyard.clients.results.artifact_copies import SqlArtifactCopies
from switchyard.clients.results.ledger import SqlLedger
from switchyard.core.artifacts.plan import ArtifactRun
from switchyard.services import artifact_copying
from switchyard.services.artifacts import copy_runs
from tests.services.artifact_world import ArtifactWorld
from tests.services.killing import Step, run_killed

SEED = int(os.environ.get("KILL_SEED", "20260115"))
FILES: dict[str, dict[str, bytes]] = {
    "a": {f"{number:02}": b"%d" % (number % 9) for number in range(25)},
    "b": {"model/weights.bin": b"w" * 20_000_000, "A": b"1", "a": b"2"},
    "c": {},
    "d": {f"deep/{number}/x": b"%d" % number for number in range(10)},
}


class Copied:
    """What a copy has left: every file, every row, and the ledger's lines."""

    def __init__(self, world: ArtifactWorld, folder: Path) -> None:
        outside = to_outside(world, folder)
        root = folder / "copies"
        self.files = {
            str(path.relative_to(root)): path.stat().st_size
            for path in root.rglob("*")
            if path.is_file() and path.name != PART_NAME
        }
        rows = outside.artifact_copies.read([letter * 32 for letter in FILES]).values()
        self.rows = {row.mlflow_run_id: (row.digest, row.objects, row.size_bytes, row.left_out) for row in rows}
        self.lines = {line.quick_test_id: line.error for line in outside.ledger.read_ledger("artifacts")}
        outside.close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Copied) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(vars(self))


class World:
    """Runs to copy, each time to a place of its own, with results of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = ArtifactWorld(folder, FILES)
        self.runs = self.world.runs()
        self.world.close()
        self._made = 0
        plain = self.make()
        passed: list[str] = []
        counting = threading.Lock()

        def count(where: str) -> None:
            with counting:
                passed.append(where)

        work(self.world, plain, self.runs, count)
        self.steps = len(passed)
        self.plain = Copied(self.world, plain)

    def make(self) -> Path:
        self._made += 1
        made = self.folder / str(self._made)
        made.mkdir()
        shutil.copytree(self.folder / "state", made / "state")
        return made

    def kill(self, folder: Path, point: int) -> str | None:
        return run_killed(folder, point, lambda step: work(self.world, folder, self.runs, step))

    def finish(self, folder: Path) -> Copied:
        work(self.world, folder, self.runs, lambda _: None)
        return Copied(self.world, folder)


def to_outside(world: ArtifactWorld, folder: Path) -> Outside:
    state = str(folder / "state")
    settings = world.outside.settings
    url = settings.results_url.replace(settings.state_dir, state)
    return Outside(msgspec.structs.replace(settings, state_dir=state, results_url=url))


def work(world: ArtifactWorld, folder: Path, runs: list[ArtifactRun], step: Step) -> None:
    """Copies, and says each step: before and after each effect, and between a file's writing and its name."""
    with pytest.MonkeyPatch.context() as patched:
        for owner, name in (
            (FileObjects, "write"),
            (FileObjects, "write_from"),
            (FileObjects, "delete"),
            (SqlArtifactCopies, "keep"),
            (SqlLedger, "publish_many"),
        ):
            patched.setattr(owner, name, _around(getattr(owner, name), name, step))
        replace: Callable[..., None] = os.replace

        def name_file(*arguments: Any, **more: Any) -> None:
            step("name")
            replace(*arguments, **more)

        patched.setattr("switchyard.clients.objects.folders.os.replace", name_file)
        patched.setattr(artifact_copying, "NOTE_OBJECTS", 4)
        patched.setattr(artifact_copying, "NOTE_BYTES", 10_000_000)
        outside = to_outside(world, folder)
        copy_runs(outside, runs, world.how(to_uri=(folder / "copies").as_uri(), concurrency=3))
        outside.close()


def _around(method: Callable[..., Any], name: str, step: Step) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        step(f"before {name}")
        answer = method(*arguments, **more)
        step(f"after {name}")
        return answer

    return call


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_a_killed_copy_ends_as_one_that_was_not(world: World) -> None:
    """At a few places, chosen by the effect: the first, the last, and some between."""
    points = [1, world.steps, *random.Random(SEED).sample(range(2, world.steps), 4)]
    for point in points:
        folder = world.make()
        where = world.kill(folder, point)
        assert world.finish(folder) == world.plain, (point, where)


@pytest.mark.slow
def test_killed_at_30_random_places(world: World) -> None:
    """Once, and up to three times in a row, each further into what is left."""
    chance = random.Random(SEED)
    killed = 0
    while killed < 30:
        folder = world.make()
        said = []
        for _ in range(chance.choice((1, 1, 2, 3))):
            where = world.kill(folder, chance.randint(1, world.steps))
            if where is not None:
                killed += 1
                said.append(where)
        assert world.finish(folder) == world.plain, said
        shutil.rmtree(folder)
    print(f"killed {killed} times at {world.steps} possible places")


def test_what_was_noted_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that was killed near its end reads less than one in whole."""
    folder = world.make()
    assert world.kill(folder, world.steps - 12) is not None
    read: list[str] = []
    read_into = FileObjects.read_into

    def count(self: FileObjects, uri: str, file: Any, **how: Any) -> Any:
        if "/mlruns/" in uri:
            read.append(uri)
        return read_into(self, uri, file, **how)

    monkeypatch.setattr(FileObjects, "read_into", count)
    assert world.finish(folder) == world.plain
    assert len(read) <= 15
