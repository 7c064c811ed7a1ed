"""Reads damaged copies of models of tensors, each in a process of its own, and prints how these ended.

`python read_damaged.py <count> <folder> <model>/model/<file> ...`. The library is imported once: that takes seconds.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

SECONDS = 120
REFUSED, LOADED = 3, 4
LARGEST = {".keras": 4_000, ".h5": 4_000}
"""Of these, the first and the last bytes are damaged: they say what the file is made of. In between it has weights."""


def main(count: int, folder: Path, files: list[str]) -> dict[str, dict[str, int]]:
    """How many models with a damaged file were refused, loaded, or ended the process that read them, or took too long.

    The counts are by file.
    """
    from serving.predictions.loaders import keras_model, mlflow_folder, saved_model  # noqa: F401 - before the first fork

    return {
        file: dict(Counter(_read(folder, file, random.Random(number)) for number in range(count))) for file in files
    }


def _read(folder: Path, file: str, draw: random.Random) -> str:
    name, _, damaged = file.partition("/")
    place = Path(tempfile.mkdtemp())
    shutil.copytree(folder / name, place, dirs_exist_ok=True)
    path = place / damaged
    whole = path.read_bytes()
    path.write_bytes(_damage(whole, draw, LARGEST.get(path.suffix, len(whole))))
    child = os.fork()
    if child == 0:
        os._exit(_load(place))
    _, status = os.waitpid(child, 0)
    shutil.rmtree(place)
    if os.WIFSIGNALED(status):
        return "took too long" if os.WTERMSIG(status) == signal.SIGALRM else f"signal {os.WTERMSIG(status)}"
    return {REFUSED: "refused", LOADED: "loaded"}.get(os.WEXITSTATUS(status), "ended")


def _damage(whole: bytes, draw: random.Random, largest: int) -> bytes:
    data = bytearray(whole)
    if draw.random() < 0.25:
        del data[draw.randrange(len(data)) :]
        return bytes(data)
    for _ in range(draw.randint(1, 8)):
        at = draw.randrange(min(largest, len(data)))
        data[at if draw.random() < 0.5 else -1 - at] = draw.randrange(256)
    return bytes(data)


def _load(place: Path) -> int:
    from serving.predictions.loaders.__main__ import bound
    from serving.predictions.loaders.loading import load
    from switchyard.core.registry.flavors import choose_flavor

    os.close(2)
    signal.alarm(SECONDS)
    bound(2 << 30)
    paths = [str(each.relative_to(place)) for each in place.rglob("*") if each.is_file()]
    try:
        load(place, choose_flavor(paths), paths)
    except Exception:  # noqa: BLE001 - as the loader's process does
        return REFUSED
    return LOADED


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
