"""What it costs to copy many small artifacts from a disk to a disk, and to find that nothing has changed; and the
memory of the process that does it.

`python -m tests.bench.artifacts 10000` takes another number than 100,000.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from switchyard.services.artifacts import copy_runs, plan_runs, verify_runs
from tests.services.artifact_world import ArtifactWorld

OBJECTS = 100_000
_SIZE_BYTES = 1_000
_A_FOLDER = 1_000


def main(objects: int = OBJECTS) -> dict[str, float | str]:
    """Seconds to write them plainly, to plan, to copy, to copy again, and to verify; and memory, in MB."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("STATE_DIR")) as folder:
        command = [sys.executable, "-m", "tests.bench.artifacts", "measure", str(objects), folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: dict[str, float | str] = msgspec.json.decode(done.stdout)
    print(f"{objects:,} artifacts of {_SIZE_BYTES:,} bytes in one run")
    for step in ("write", "plan", "copy", "again", "verify"):
        seconds = float(figures[f"{step}_s"])
        print(f"{step:8}{seconds:8.1f} s {objects / seconds:10,.0f} objects/s")
    print(f"{figures['rss_before_mb']:.0f} MB before, {figures['rss_mb']:.0f} MB at the highest")
    return figures


def _measure(objects: int, folder: Path) -> dict[str, float]:
    world = ArtifactWorld(folder, {"a": {}})
    figures: dict[str, float] = {}

    def measure(name: str, began: float) -> None:
        figures[f"{name}_s"] = time.perf_counter() - began

    began = time.perf_counter()
    place = world.place("a")
    for number in range(objects):
        target = place / f"{number // _A_FOLDER:03}"
        if number % _A_FOLDER == 0:
            target.mkdir(parents=True)
        (target / f"{number:06}").write_bytes(number.to_bytes(8, "big") * (_SIZE_BYTES // 8))
    measure("write", began)
    figures["rss_before_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    how = world.how(concurrency=8)
    for name, work in (("plan", plan_runs), ("copy", copy_runs), ("again", copy_runs), ("verify", verify_runs)):
        began = time.perf_counter()
        [done] = work(world.outside, world.runs(), how)
        measure(name, began)
        assert done.objects == objects
    figures["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    world.close()
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(msgspec.json.encode(_measure(int(sys.argv[2]), Path(sys.argv[3]))).decode())
    else:
        main(*map(int, sys.argv[1:]))
