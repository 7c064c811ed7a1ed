"""What it costs to copy many small artifacts from a disk to a disk, and to find that nothing has changed.

It stands beside plain loops over the same files in the same process; with the memory of the process that does it.

`python -m tests.bench.artifacts 10000` takes another number than 100,000.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from switchyard.services.artifacts import copy_runs, plan_runs, verify_runs
from tests.services.artifact_world import ArtifactWorld

OBJECTS = 100_000
_SIZE_BYTES = 1_000
_A_FOLDER = 1_000
STEPS = ("plain", "flushed", "plan", "copy", "again", "verify")
"""`plain`: each file after the other by shutil; `flushed`: the same, on the disk before the next; then ours."""


def main(objects: int = OBJECTS) -> dict[str, float | str]:
    """The seconds, and the memory in MB, of copying them, of copying them again, and of verifying the copy.

    Seconds are by the clock and of the processor: by plain loops, to plan, to copy, to copy again, and to verify.
    """
    with tempfile.TemporaryDirectory(dir=os.environ.get("STATE_DIR")) as folder:
        command = [sys.executable, "-m", "tests.bench.artifacts", "measure", str(objects), folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        figures: dict[str, float | str] = msgspec.json.decode(done.stdout)
        print(f"{objects:,} artifacts of {_SIZE_BYTES:,} bytes in one run")
        print(f"{'':8}{'clock':>10}{'objects/s':>12}{'of plain':>10}{'processor':>11}{'of plain':>10}")
        for step in STEPS:
            clock_s, cpu_s = float(figures[f"{step}_s"]), float(figures[f"{step}_cpu_s"])
            ratios = [f"{figures[f'{step}{kind}'] / figures[f'plain{kind}']:.2f}" for kind in ("_s", "_cpu_s")]  # type: ignore[operator]
            print(f"{step:8}{clock_s:8.1f} s{objects / clock_s:12,.0f}{ratios[0]:>10}{cpu_s:9.1f} s{ratios[1]:>10}")
        print(f"{figures['rss_before_mb']:.0f} MB before, {figures['rss_mb']:.0f} MB at the highest")
    return figures


def _measure(objects: int, folder: Path) -> dict[str, float]:
    world = ArtifactWorld(folder, {"a": {}})
    figures: dict[str, float] = {}

    def measure(name: str, work: Callable[[], Any]) -> Any:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        found = work()
        figures[f"{name}_s"] = time.perf_counter() - began_s
        figures[f"{name}_cpu_s"] = time.process_time() - began_cpu_s
        return found

    place = world.place("a")
    for number in range(objects):
        target = place / f"{number // _A_FOLDER:03}"
        if number % _A_FOLDER == 0:
            target.mkdir(parents=True)
        (target / f"{number:06}").write_bytes(number.to_bytes(8, "big") * (_SIZE_BYTES // 8))
    measure("plain", lambda: _copy_plainly(place, folder / "plain", flushes=False))
    measure("flushed", lambda: _copy_plainly(place, folder / "flushed", flushes=True))
    figures["rss_before_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    how = world.how(concurrency=8)
    steps: dict[str, Callable[..., Any]] = {"plan": plan_runs, "copy": copy_runs, "again": copy_runs}
    for name, work in (steps | {"verify": verify_runs}).items():
        [done] = measure(name, partial(work, world.outside, world.runs(), how))
        assert done.objects == objects
    figures["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    world.close()
    return figures


def _copy_plainly(source: Path, target: Path, *, flushes: bool) -> None:
    """Each file after the other; with `flushes`, the file and its folder reach the disk, as those of a copy do."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True)
            continue
        shutil.copyfile(path, copy)
        if flushes:
            for opened in (copy, copy.parent):
                descriptor = os.open(opened, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(msgspec.json.encode(_measure(int(sys.argv[2]), Path(sys.argv[3]))).decode())
    else:
        main(*map(int, sys.argv[1:]))
