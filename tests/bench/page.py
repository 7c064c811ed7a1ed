"""A run's page in Chromium: what is transferred, and how long it takes until the first chart is there.

Nothing is kept from before. Also what a watcher costs the server.

The browser is open already; each visit is a context of its own, so neither cache nor connection is kept. Bytes are
those of the DevTools protocol: headers and bodies as they came over the wire, of all requests until the page is idle.

Before the pages comes one of a single line and nothing else: what Chromium takes by itself on this machine now, to
start a process for the page and to paint. It is part of every figure below it.
"""

import asyncio
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import psutil
from playwright.sync_api import Browser, Page

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.metrics.record import MetricsRecord
from tests.bench.serving import running_server
from tests.chromium import CHROMIUM, open_browser
from tests.serving.factories import make_record, publish_run

VISITS: Final = 15
MOST_MS: Final = 300
MOST_KB: Final = 150
WATCHERS: Final = 200
WATCH_S: Final = 10.0
INTERVAL_S: Final = 5.0
# The frame in which a chart has its box is painted before the next task runs.
_WATCH_FIRST_CHART: Final = """
const look = () => {
  const chart = document.querySelector(".chart svg .line, .chart canvas");
  if (!chart || !chart.getBoundingClientRect().width) return requestAnimationFrame(look);
  const channel = new MessageChannel();
  channel.port1.onmessage = () => { window.firstChartMs = performance.now(); };
  requestAnimationFrame(() => channel.port2.postMessage(null));
};
requestAnimationFrame(look);
"""
_BARE_PAGE: Final = b"""<!doctype html><title>a line</title><link rel="icon" href="data:,">
<body data-drawn="yes"><div class="chart"><svg width="600" height="330">
<path class="line" d="M0 0L600 330" stroke="red"/></svg></div><script>performance.mark("drawn")</script>"""


def main() -> dict[str, float | str]:
    """Prints the table, and returns its figures."""
    if CHROMIUM is None:
        print("no Chromium on this machine: nothing measured")
        return {}
    figures: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {"RESULTS_URL": f"sqlite:///{Path(folder) / 'results.db'}", "STATE_DIR": folder}
        settings = read_settings(environment)
        migrate(settings)
        outside = Outside(settings)
        runs = {name: publish_run(outside, record, name=name) for name, record in _records().items()}
        outside.close()
        with running_server({**os.environ, **environment}) as (port, process):
            with open_browser() as browser:
                print(f"{VISITS} visits; wanted: first chart within {MOST_MS} ms, {MOST_KB} kB")
                print("page              first chart ms (median, worst)   all drawn ms   kB")
                with _bare_page() as url:
                    figures.update(_measure(browser, "a single line", url))
                for name, run in runs.items():
                    figures.update(_measure(browser, name, f"http://127.0.0.1:{port}/quick-tests/{run}"))
            figures.update(_watch(port, runs["50 epochs"], process))
    return figures


def _records() -> dict[str, MetricsRecord]:
    names = [f"metric_{number}" for number in range(20)]
    return {
        "50 epochs": make_record(metrics={name: [0.01 * epoch for epoch in range(50)] for name in names}),
        "1,000 epochs": make_record(epochs=1000),
        "2,000 series": make_record(metrics={f"layer_{number}": [0.5] * 50 for number in range(2000)}),
    }


class _Bare(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The page, whatever is asked for."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(_BARE_PAGE)))
        self.end_headers()
        self.wfile.write(_BARE_PAGE)

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def _bare_page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Bare) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _measure(browser: Browser, name: str, url: str) -> dict[str, float | str]:
    _visit(browser, url)  # the server's own caches: packed files, the page
    visits = [_visit(browser, url) for _ in range(VISITS)]
    first = [visit["first"] for visit in visits]
    drawn = statistics.median(visit["drawn"] for visit in visits)
    kilobytes = max(visit["bytes"] for visit in visits) / 1000
    print(
        f"{name:16}  {statistics.median(first):6.0f}  {max(first):6.0f}                  {drawn:6.0f}        "
        f"{kilobytes:6.1f}",
        flush=True,
    )
    return {
        f"{name} first chart ms": round(statistics.median(first), 1),
        f"{name} all drawn ms": round(drawn, 1),
        f"{name} kB": round(kilobytes, 1),
    }


def _visit(browser: Browser, url: str) -> dict[str, float]:
    """Milliseconds since the navigation began, and bytes over the wire."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.add_init_script(_WATCH_FIRST_CHART)
        received = _count_bytes(page)
        page.goto(url, wait_until="networkidle")
        page.wait_for_selector("body[data-drawn=yes]")
        times = page.evaluate("[window.firstChartMs, performance.getEntriesByName('drawn')[0].startTime]")
        return {"first": times[0], "drawn": times[1], "bytes": sum(received)}
    finally:
        context.close()


def _count_bytes(page: Page) -> list[int]:
    received: list[int] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: received.append(int(event["encodedDataLength"])))
    return received


def _watch(port: int, run: int, process: psutil.Process) -> dict[str, float | str]:
    """The answers to two hundred who ask for news every five seconds, and the server's share of a core.

    They ask as a page of a live run does.
    """
    before = process.cpu_times()
    started = time.perf_counter()
    waits = asyncio.run(_ask_as_watchers(port, f"/quick-tests/{run}"))
    seconds = time.perf_counter() - started
    after = process.cpu_times()
    core = (after.user + after.system - before.user - before.system) / seconds
    print(
        f"{WATCHERS} watchers: {len(waits) / seconds:.0f} requests/s, {statistics.median(waits):.1f} ms each, "
        f"{core:.1%} of a core"
    )
    return {"watchers ms": round(statistics.median(waits), 2), "watchers core share": round(core, 4)}


async def _ask_as_watchers(port: int, path: str) -> list[float]:
    answers = await asyncio.gather(*(_ask(port, path, INTERVAL_S * number / WATCHERS) for number in range(WATCHERS)))
    return [wait for waits in answers for wait in waits]


async def _ask(port: int, path: str, after_s: float) -> list[float]:
    """One watcher: the page, then whether it changed, every five seconds; milliseconds of each conditional request."""
    await asyncio.sleep(after_s)
    etag, waits = "", []
    for _ in range(1 + int(WATCH_S / INTERVAL_S)):
        started = time.perf_counter()
        # A connection each: the server keeps none for as long as an interval.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        condition = f"If-None-Match: {etag}\r\n" if etag else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n{condition}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n"))}
        writer.close()
        if etag:
            assert head.startswith("HTTP/1.1 304"), head
            waits.append((time.perf_counter() - started) * 1000)
        etag = fields["etag"]
        await asyncio.sleep(max(0.0, INTERVAL_S - (time.perf_counter() - started)))
    return waits
