"""Training-history requests against a bare Starlette route that runs the same query and sends the same bytes.

One server process has both routes; a second process loads them over kept connections, in turns, so that a slower
moment of the machine meets both. The figure is the median of the paired ratios, with its 95 % interval.
"""

import argparse
import asyncio
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from serving.app import create_app
from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from tests.postgres import Postgres
from tests.serving.factories import make_record, publish_run

PAIRS = 25
BLOCK_S = 1.0
CONNECTIONS = 8
OURS = "/api/quick-tests/1/training-history/"
BARE = "/bare/1"


def main() -> dict[str, float | str]:
    """Prints the table, and returns the ratio with its interval, per database."""
    figures: dict[str, float | str] = {"load tool": "wrk" if shutil.which("wrk") else "asyncio"}
    print(f"{PAIRS} pairs of {BLOCK_S:.0f} s, {CONNECTIONS} connections, load from {figures['load tool']}")
    print("database   ours/s   bare/s   ratio (95 % interval)     CPU a request, ours/bare")
    with tempfile.TemporaryDirectory() as folder:
        for name, url in _databases(Path(folder)):
            figures.update(_measure(name, url, Path(folder)))
    return figures


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "sqlite", f"sqlite:///{folder / 'results.db'}"
    server = Postgres(folder)
    try:
        yield "postgres", server.url("postgres")
    finally:
        server.remove()


def _measure(name: str, url: str, folder: Path) -> dict[str, float | str]:
    environment = {**os.environ, "RESULTS_URL": url, "STATE_DIR": str(folder)}
    settings = read_settings(environment)
    migrate(settings)
    publish_run(Outside(settings), make_record(epochs=50))
    with running_server(environment) as (port, process):
        for path in (OURS, BARE):  # warm: pools, caches, the interpreter's specialised bytecode
            _load(port, path)
        pairs = []
        for pair in range(PAIRS):
            first, second = (OURS, BARE) if pair % 2 else (BARE, OURS)
            rates = {path: _rate(process, port, path) for path in (first, second)}
            pairs.append((rates[OURS], rates[BARE]))
    ratio, low, high = _median_with_interval([ours[0] / bare[0] for ours, bare in pairs])
    cpu = statistics.median(ours[1] / bare[1] for ours, bare in pairs)
    rate = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
    print(f"{name:9} {rate[0]:7.0f}  {rate[1]:7.0f}   {ratio:.3f} ({low:.3f} to {high:.3f})    {cpu:.3f}", flush=True)
    return {
        f"{name} ratio": round(ratio, 4),
        f"{name} ratio low": round(low, 4),
        f"{name} ratio high": round(high, 4),
        f"{name} cpu ratio": round(cpu, 4),
        f"{name} requests/s": round(rate[0], 1),
    }


def _median_with_interval(values: list[float]) -> tuple[float, float, float]:
    """The median and its distribution-free 95 % interval, from the order statistics.

    Source: Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2 (the normal approximation).
    """
    ordered = sorted(values)
    count = len(ordered)
    half = 1.96 * count**0.5 / 2
    low, high = max(0, int(count / 2 - half)), min(count - 1, int(count / 2 + half))
    return statistics.median(ordered), ordered[low], ordered[high]


@contextmanager
def running_server(environment: dict[str, str]) -> Iterator[tuple[int, psutil.Process]]:
    """The server in a process of its own, with its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.bench.serving", "--serve", str(port)]
    child = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield port, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(timeout=20)


def _serve(port: int) -> None:
    """Both routes in one application: the bare one is what Starlette alone would do with the same query."""
    outside = connect()
    histories = outside.histories

    def bare(request: Request) -> Response:
        stored = histories.read_history(int(request.path_params["quick_test_id"]))
        return Response(stored.history_json, media_type="application/json")

    app = create_app(outside)
    # First in the table, as our own route would be without it: neither pays for the other's pattern.
    app.add_route("/bare/{quick_test_id}", bare, include_in_schema=False)
    app.router.routes.insert(0, app.router.routes.pop())
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


def _rate(process: psutil.Process, port: int, path: str) -> tuple[float, float]:
    """Requests a second, and the server's CPU seconds a request."""
    before = process.cpu_times()
    requests, seconds = _load(port, path)
    after = process.cpu_times()
    return requests / seconds, (after.user + after.system - before.user - before.system) / requests


def _load(port: int, path: str) -> tuple[int, float]:
    """How many requests were answered in how many seconds."""
    url = f"http://127.0.0.1:{port}{path}"
    wrk = shutil.which("wrk")
    if wrk:
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{BLOCK_S:.0f}s", url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in said, said
        found = re.search(r"(\d+) requests in ([\d.]+)s", said)
        assert found, said
        return int(found[1]), float(found[2])
    # The same load from Python where wrk is not installed; it may be what limits a fast server.
    said = subprocess.run(
        [sys.executable, "-m", "tests.bench.serving", "--load", str(port), path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    requests, seconds = said.split()
    return int(requests), float(seconds)


async def _load_from_python(port: int, path: str) -> tuple[int, float]:
    started = time.perf_counter()
    counts = await asyncio.gather(*(_one_connection(port, path, started + BLOCK_S) for _ in range(CONNECTIONS)))
    return sum(counts), time.perf_counter() - started


async def _one_connection(port: int, path: str, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    count = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        count += 1
    writer.close()
    return count


def _parse() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the server (the benchmark starts it itself)")
    parser.add_argument("--load", nargs=2, metavar=("PORT", "PATH"), help="be the load (likewise)")
    return parser.parse_args()


if __name__ == "__main__":
    asked = _parse()
    if asked.serve:
        _serve(asked.serve)
    elif asked.load:
        print(*asyncio.run(_load_from_python(int(asked.load[0]), asked.load[1])))
    else:
        main()
