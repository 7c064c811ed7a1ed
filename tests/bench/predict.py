"""Predictions: /predict against bare routes in the same server, and against the numpy call itself.

Also the time until ready, memory, and swaps under load.

Two bare routes, of Starlette in the same process, with the same body and as many bytes in the answer:

- with the call: decodes the body, makes the numpy call on the same arrays, and encodes products and scores. It is what
  one would write who wants the products and nothing else: no checks, no ids, no counting, no recording. The share of a
  bare route's throughput that is asked for is of this one.
- without: reads the body and sends bytes that are ready. What the server and the sockets cost alone.

The server is one process; a second one loads it over kept connections, in turns, so that a slower moment of the machine
meets all. Ratios are the medians of rounds; those of CPU count the server's own time, which neighbours on the machine
change less.
"""

import argparse
import asyncio
import json
import os
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

import httpx
import psutil

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from tests.predicting import promote, register_folder, write_model

SIZES = (10_000, 100_000)
BUYERS = 5_000
DIM = 64
K = 100
ROUNDS = 15
BLOCK_S = 1.0
CONNECTIONS = 4
SWAPS = 5
PREDICT, CALL, BARE = "/predict", "/bare/call", "/bare"
ROUTES = (PREDICT, CALL, BARE)


def main() -> dict[str, float | str]:
    """Prints the tables, and returns their figures."""
    figures: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for products in SIZES:
            figures |= _measure(products, Path(folder) / str(products))
    return figures


def _measure(products: int, folder: Path) -> dict[str, float | str]:
    environment = {**os.environ, "RESULTS_URL": f"sqlite:///{folder / 'results.db'}", "STATE_DIR": str(folder)}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PREDICT_RATE": "1000000/second"}
    settings = read_settings(environment)
    folder.mkdir()
    migrate(settings)
    outside = Outside(settings)
    versions = [
        register_folder(
            outside.models, write_model(folder / f"model{seed}", products=products, buyers=BUYERS, dim=DIM, seed=seed)
        )
        for seed in (1, 2)
    ]
    promote(outside.models, versions[0])
    figures = _measure_start(products, environment)
    with running_server(environment) as (port, process, _):
        for path in ROUTES:  # warm: the interpreter's specialised bytecode
            _load(port, path)
        rounds, calls = [], []
        for number in range(ROUNDS):
            first = number % len(ROUTES)
            rounds.append({path: _rate(process, port, path) for path in ROUTES[first:] + ROUTES[:first]})
            calls.append(_ask(port, "/numpy"))
        one_model = process.memory_info().rss / 2**20
        figures |= _measure_swaps(products, outside, versions, port)
        two_models = process.memory_info().rss / 2**20
    figures |= _tell_rates(products, rounds, calls)
    print(f"  memory: {one_model:.0f} MB with one model, {two_models:.0f} MB after {SWAPS} swaps", flush=True)
    return figures | {f"{products} MB": round(one_model), f"{products} MB after swaps": round(two_models)}


def _tell_rates(
    products: int, rounds: list[dict[str, tuple[float, float]]], calls: list[float]
) -> dict[str, float | str]:
    """Prints what the rounds say; a route's pair is its requests a second, and its CPU seconds a request."""
    per_s, cpu_s = (
        {path: statistics.median(found[path][place] for found in rounds) for path in ROUTES} for place in (0, 1)
    )
    figures: dict[str, float | str] = {}
    print(f"{products:,} products, {ROUNDS} rounds of {BLOCK_S:.0f} s a route, {CONNECTIONS} connections, k = {K}")
    for path, name in ((CALL, "the bare route with the numpy call"), (BARE, "the bare route without it")):
        rate = statistics.median(found[PREDICT][0] / found[path][0] for found in rounds)
        cpu = statistics.median(found[path][1] / found[PREDICT][1] for found in rounds)
        print(f"  /predict to {name}: {rate:.2f} of its requests/s, {cpu:.2f} by CPU")
        figures |= {f"{products} to {path}": round(rate, 3), f"{products} to {path}, cpu": round(cpu, 3)}
    call_s = statistics.median(calls)
    call = statistics.median(found[PREDICT][1] / seconds for found, seconds in zip(rounds, calls, strict=True))
    print("  requests/s: " + ", ".join(f"{path} {per_s[path]:,.0f}" for path in ROUTES))
    said = ", ".join(f"{path} {cpu_s[path] * 1e3:.2f} ms" for path in ROUTES)
    print(f"  CPU a request: {said}; the numpy call alone {call_s * 1e3:.2f} ms")
    print(f"  CPU of a request to CPU of the numpy call: {call:.2f}")
    return figures | {f"{products} to the numpy call, cpu": round(call, 3)}


def _measure_start(products: int, environment: dict[str, str]) -> dict[str, float | str]:
    """From the start of the process, as `switchyard predict` runs it, to the first 200 of /health: wall and CPU."""
    found = []
    for _ in range(5):
        command = [sys.executable, "-m", "serving.predictions", "--port"]
        with running_server(environment, command) as (_, process, seconds):
            used = process.cpu_times()
            found.append((seconds, used.user + used.system))
    wall, cpu = (statistics.median(values) for values in zip(*found, strict=True))
    best = min(seconds for seconds, _ in found)
    print(f"{products:,} products: ready after {wall:.2f} s (best of 5: {best:.2f}), {cpu:.2f} s of CPU", flush=True)
    return {
        f"{products} ready s": round(wall, 2),
        f"{products} ready s, best": round(best, 2),
        f"{products} ready s, cpu": round(cpu, 2),
    }


def _measure_swaps(products: int, outside: Outside, versions: list[Any], port: int) -> dict[str, float | str]:
    """Promotions to and fro under load: what was lost, and how long until the new one answered."""
    command = [sys.executable, "-m", "tests.bench.predict", "--swaps", str(port)]
    load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdout is not None
    assert load.stdout.readline() == "loading\n"
    waits = []
    for swap in range(SWAPS):
        wanted = versions[(swap + 1) % 2]
        promote(outside.models, wanted)
        began = time.monotonic()
        while _served(port) != wanted.version:
            time.sleep(0.05)
        waits.append(time.monotonic() - began)
    said, _ = load.communicate("stop\n", timeout=60)
    requests, lost, mixed = (int(word) for word in said.split())
    print(
        f"{products:,} products: {SWAPS} swaps, {requests:,} requests, {lost} lost, {mixed} of two models; served "
        f"after {max(waits):.1f} s at most",
        flush=True,
    )
    return {f"{products} lost": lost, f"{products} mixed": mixed, f"{products} swap s": round(max(waits), 2)}


def _served(port: int) -> int:
    answer = httpx.post(f"http://127.0.0.1:{port}{PREDICT}", content=to_body(0), timeout=30)
    return int(answer.json()["model"]["version"])


@contextmanager
def running_server(
    environment: dict[str, str], command: list[str] | None = None
) -> Iterator[tuple[int, psutil.Process, float]]:
    """The server in a process of its own: its port, and the seconds until it was ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.monotonic()
    child = subprocess.Popen(
        [*(command or [sys.executable, "-m", "tests.bench.predict", "--serve"]), str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _is_ready(port):
            if child.poll() is not None or time.monotonic() - began > 120:
                raise RuntimeError("the server did not start")
            time.sleep(0.01)
        yield port, psutil.Process(child.pid), time.monotonic() - began
    finally:
        child.terminate()
        child.wait(timeout=20)


def _is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _serve(port: int) -> None:
    """Our application, with three routes beside it: the bare ones, and one that times the numpy call."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from serving.predictions.app import Options, create_from_environment

    ours: Any = create_from_environment(Options())
    sent: list[bytes] = []

    async def bare(request: Request) -> Response:
        await request.body()
        if not sent:
            sent.append(make_answer(ours))
        return Response(sent[0], media_type="application/json")

    async def call(request: Request) -> Response:
        asked = await request.json()
        (instance,) = asked["instances"]
        recommender = ours.routes.holder.state.champion.recommender
        best, scores = call_numpy(recommender, instance["buyer_id"], asked["parameters"]["k"])
        products = [recommender.products[place] for place in best.tolist()]
        return JSONResponse({"predictions": [{"product_ids": products, "scores": scores.tolist()}]})

    async def numpy(request: Request) -> Response:
        recommender = ours.routes.holder.state.champion.recommender
        return Response(repr(_time_numpy(recommender)))

    beside = Starlette(
        routes=[
            Route(BARE, bare, methods=["POST"]),
            Route(CALL, call, methods=["POST"]),
            Route("/numpy", numpy),
        ]
    )

    async def both(scope: Any, receive: Any, send: Any) -> None:
        beside_it = scope["type"] == "http" and scope["path"] in (CALL, BARE, "/numpy")
        await (beside if beside_it else ours)(scope, receive, send)

    uvicorn.run(both, host="127.0.0.1", port=port, access_log=False, log_level="warning")


def make_answer(ours: Any) -> bytes:
    """The bytes of one answer."""
    import msgspec

    from serving.predictions.answering import answer
    from switchyard.core.predictions.requests import read_predict

    return msgspec.json.encode(answer(read_predict(to_body(0)), ours.routes.holder.state))


def call_numpy(recommender: Any, buyer_id: str, k: int) -> tuple[Any, Any]:
    """The product, the parting and the sorting, as one would write them: the places of the best, and their scores."""
    import numpy as np

    scores = recommender._query[recommender._buyers[buyer_id]] @ recommender._candidate
    best = np.argpartition(scores, -k)[-k:]
    best = best[np.argsort(-scores[best])]
    return best, scores[best]


def _time_numpy(recommender: Any, times: int = 100) -> float:
    """CPU seconds of the numpy call alone."""
    began = time.process_time()
    for row in range(times):
        call_numpy(recommender, f"b{row}", K)
    return (time.process_time() - began) / times


def to_body(buyer: int) -> bytes:
    """What one request asks."""
    return json.dumps({"instances": [{"buyer_id": f"b{buyer % BUYERS}"}], "parameters": {"k": K}}).encode()


def _ask(port: int, path: str) -> float:
    return float(httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60).text)


def _rate(process: psutil.Process, port: int, path: str) -> tuple[float, float]:
    """Requests a second, and the server's CPU seconds a request."""
    before = process.cpu_times()
    requests, seconds = _load(port, path)
    after = process.cpu_times()
    return requests / seconds, (after.user + after.system - before.user - before.system) / requests


def _load(port: int, path: str) -> tuple[int, float]:
    command = [sys.executable, "-m", "tests.bench.predict", "--load", str(port), path]
    requests, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(requests), float(seconds)


async def _load_from_python(port: int, path: str) -> tuple[int, float]:
    began = time.perf_counter()
    until = began + BLOCK_S
    counts = await asyncio.gather(*(_one_connection(port, path, until, first) for first in range(CONNECTIONS)))
    return sum(counts), time.perf_counter() - began


async def _one_connection(port: int, path: str, until: float, buyer: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.perf_counter() < until:
        await _post(reader, writer, path, buyer + count * CONNECTIONS)
        count += 1
    writer.close()
    return count


async def _post(reader: Any, writer: Any, path: str, buyer: int) -> bytes:
    body = to_body(buyer)
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200"), head
    answer: bytes = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    return answer


async def _load_swaps(port: int) -> tuple[int, int, int]:
    """Requests of several buyers each until told to stop: how many, how many were lost, how many of two models."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    totals = [0, 0, 0]

    async def one(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not stop.is_set():
            totals[0] += 1
            try:
                answer = json.loads(await _post(reader, writer, PREDICT, first + totals[0]))
            except (AssertionError, OSError, asyncio.IncompleteReadError):
                totals[1] += 1
                return
            versions = {said["version"] for said in answer["predictions"]} | {answer["model"]["version"]}
            totals[2] += len(versions) != 1
        writer.close()

    print("loading", flush=True)
    await asyncio.gather(*(one(first) for first in range(CONNECTIONS)))
    return totals[0], totals[1], totals[2]


def _parse() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the server (the benchmark starts it itself)")
    parser.add_argument("--load", nargs=2, metavar=("PORT", "PATH"), help="be the load (likewise)")
    parser.add_argument(
        "--swaps", type=int, metavar="PORT", help="be the load under which models are swapped (likewise)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    asked = _parse()
    if asked.serve:
        _serve(asked.serve)
    elif asked.load:
        print(*asyncio.run(_load_from_python(int(asked.load[0]), asked.load[1])))
    elif asked.swaps:
        print(*asyncio.run(_load_swaps(asked.swaps)))
    else:
        main()
