"""The true process of a loader, with planted models in the place of a library's: a model.json says what goes wrong."""

import ctypes
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.predictions.loaders import __main__ as program
from serving.predictions.loaders.loading import NotLoaded
from switchyard.core.predictions.signature import Column, Row, Signature, Type

MEMORY = 1 << 34
PRINTED = 1_000_000


class Planted:
    """Answers `factor` times the sum of a row, unless `answer` names something else."""

    library = "planted 1.0"

    def __init__(self, said: dict[str, Any], folder: Path) -> None:
        self._said, self._folder = said, folder
        columns = (Column(name="a", type=Type.NUMBER, may_be_missing=True), Column(name="n", type=Type.INTEGER))
        self.signature = Signature(columns=columns, answers="a sum")

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        sums = [self._said.get("factor", 1) * sum(value or 0 for value in row) for row in rows]
        if "on" in self._said and self._said["on"] not in sums:  # what is planted waits for this sum
            return sums
        return do(self._said.get("answer", ""), self._folder, sums)


def do(what: str, folder: Path, sums: list[Any]) -> list[Any]:
    """What a damaged or hostile file may make of the process that reads it."""
    if what == "crash":
        ctypes.string_at(0)
    if what == "exit":
        print("the library gave up", file=sys.stderr, flush=True)
        os._exit(7)
    if what == "hang":
        time.sleep(3600)
    if what == "memory":
        return [len(bytearray(MEMORY))]
    if what == "write":
        (folder.parent / "written").write_text("x")
    if what == "raise":
        raise ValueError("bad leaf")
    if what == "refuse":
        raise NotLoaded("its trees have no leaves", "nor a root")
    if what == "no library":
        raise ModuleNotFoundError("No module named 'planted'", name="planted")
    if what == "print":
        print("x" * PRINTED, flush=True)
    if what == "babble":
        for descriptor in range(3, 12):
            try:
                os.write(descriptor, b"\x00\x00\x00\x05hello")
            except OSError:
                continue
    return {"nan": [float("nan")] * len(sums), "few": sums[1:], "environment": [sorted(os.environ)] * len(sums)}.get(
        what, sums
    )


def load(folder: Path, flavor: str, paths: Sequence[str]) -> Planted:
    """In the place of `loaders.loading.load`."""
    said = json.loads((folder / "model" / "model.json").read_text())
    do(said.get("load", ""), folder, [])
    return Planted(said, folder)


program.load = load  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(program.main())
