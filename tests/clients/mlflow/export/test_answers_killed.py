"""An export of a server's answers, killed with SIGKILL at any point and run again, ends like an undisturbed one."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.writer import read_export
from switchyard.clients.objects.files import FileObjects
from switchyard.core.errors import BadSetup
from tests.clients.mlflow.export.answering import RUNS, make_store
from tests.clients.mlflow.stores import add_runs
from tests.core.mlflow.factories import make_info, make_series, make_small
from tests.emulators.mlflow_rest import MlflowEmulator
from tests.emulators.server import serve_in_thread

SEED = int(os.environ.get("KILL_SEED", "20260115"))
KILLS = 30
IN_A_ROW = 3
"""The most kills of one export, before it is run to the end and compared."""
OBJECTS = FileObjects()


class Killer:
    """The process that exports, and is killed."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.clients.mlflow.export.killed_answers", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def export(self, to_uri: str, die_before: int = 0) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"to": to_uri, "die_before": die_before}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert answer["killed"] or answer["code"] == 0, answer
        return answer

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    """Over a server of 37 runs, in batches of five."""
    path = make_store(tmp_path_factory.mktemp("mlflow") / "mlflow.db")
    with sqlite3.connect(path) as connection:
        add_runs(
            connection,
            [
                make_small({"loss": make_series([i / 8, 1.0])}, info=make_info(run_id=f"{i * 7:032x}"))
                for i in range(37 - len(RUNS))
            ],
        )
    connection.close()
    emulator = MlflowEmulator(path)
    with serve_in_thread(emulator.app) as url:
        found = Killer(url)
        try:
            yield found
        finally:
            found.close()
    emulator.close()


def read_all(uri: str) -> Any:
    """All that an export is, but for when it was made and the generations of its files."""
    export = msgspec.to_builtins(read_export(uri, OBJECTS))
    del export["taken_at"]

    def without(found: Any) -> Any:
        if isinstance(found, dict):
            return {key: without(value) for key, value in found.items() if key != "generation"}
        return list(map(without, found)) if isinstance(found, list) else found

    return without(export), {name.removeprefix(uri) for name in OBJECTS.list(f"{uri}/")}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_points_export_ends_as_if_nothing_happened(
    killer: Killer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills before any call and any write, up to three times in a row, leave the same files and the same marker.

    No reader takes it for an export before its end."""
    chance = random.Random(SEED)
    plain_uri = (tmp_path / "plain").as_uri()
    total = killer.export(plain_uri)["effects"]
    expected = read_all(plain_uri)
    kills: list[int] = []
    for number in range(KILLS):
        uri = (tmp_path / str(number)).as_uri()
        for _ in range(IN_A_ROW):
            answer = killer.export(uri, chance.randint(1, total))
            if not answer["killed"]:
                break
            kills.append(answer["effects"])
            if not OBJECTS.list(f"{uri}/export.json"):
                with pytest.raises(BadSetup, match="no finished export"):
                    open_export(uri, OBJECTS)
        killer.export(uri)
        assert read_all(uri) == expected
        if len(kills) >= KILLS:
            break
    with capsys.disabled():
        print(f"\nseed {SEED}: {len(kills)} kills, of {total} calls and writes before {sorted(kills)}")
    assert len(kills) >= KILLS


@pytest.mark.parametrize("place", ["the first call", "the last call but one", "the last write"])
def test_killed_before_a_named_effect_export_is_taken_up(killer: Killer, tmp_path: Path, place: str) -> None:
    """Before anything, while the last tables are read, and while what is of no more use is deleted."""
    plain_uri, uri = ((tmp_path / name).as_uri() for name in ("plain", "killed"))
    total = killer.export(plain_uri)["effects"]
    at = {"the first call": 1, "the last call but one": total - 40, "the last write": total}[place]
    assert killer.export(uri, at)["killed"]
    killer.export(uri)
    assert read_all(uri) == read_all(plain_uri)
