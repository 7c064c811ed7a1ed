"""/metrics for Prometheus: what the results database says of the runs, and the requests of this process.

Each application has a registry of its own. `switchyard serve` is one process; where several stand behind one address,
each is scraped by itself, as Prometheus does with instances.
"""

import logging
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from anyio.to_thread import run_sync
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import Access
from serving.conditional import NOSNIFF
from switchyard.clients.connect import Outside
from switchyard.core.errors import catch, to_message
from switchyard.core.runs.pulse import Pulse

PATH: Final = "/metrics"
FRESH_S: Final = 15.0
"""How long one look at the database answers every scrape: its counts walk through an index of all runs."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PATCH", "POST"})

_log = logging.getLogger("switchyard.metrics")

read_clock = time.monotonic


class DatabaseGauges(Collector):
    """What the results database says, looked at once in `FRESH_S`; without it, that it does not answer."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._lock = Lock()
        self._looked_at = -math.inf
        self._pulse: Pulse | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the metrics. Never raises for what the database does."""
        now = datetime.now(UTC)
        pulse = self._read()
        up = GaugeMetricFamily("switchyard_database_up", "1 where the results database answers, else 0")
        up.add_metric([], float(pulse is not None))
        yield up
        if pulse is None:
            return
        runs = GaugeMetricFamily("switchyard_runs", "Runs by status", labels=["status"])
        for status, count in sorted(pulse.runs_by_status.items()):
            runs.add_metric([status], count)
        yield runs
        age = GaugeMetricFamily(
            "switchyard_oldest_unsettled_job_age_seconds",
            "Age of the oldest job with an end that is not published yet; 0 where there is none",
        )
        oldest = pulse.oldest_unsettled_at
        age.add_metric([], max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)
        yield age
        if pulse.reconciled_at is not None:
            lag = GaugeMetricFamily(
                "switchyard_reconcile_lag_seconds", "Seconds since reconcile last came to the end of a turn"
            )
            lag.add_metric([], max(0.0, (now - pulse.reconciled_at).total_seconds()))
            yield lag

    def _read(self) -> Pulse | None:
        with self._lock:
            if read_clock() - self._looked_at >= FRESH_S:
                found = catch(self._outside_pulse)
                if isinstance(found, Exception):
                    _log.warning("the results database gives no numbers: %s", to_message(found))
                self._pulse = None if isinstance(found, Exception) else found
                self._looked_at = read_clock()
            return self._pulse

    def _outside_pulse(self) -> Pulse:
        return self._outside.ledger.read_pulse()


class TokenGauge(Collector):
    """Whether the file of tokens is as it should be."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the metrics; none where there is no such file."""
        tokens = self._access.tokens
        if tokens is not None:
            good = GaugeMetricFamily(
                "switchyard_tokens_file_ok",
                "0 where API_TOKENS_FILE cannot be read, and the tokens of before are in use",
            )
            in_use = tokens.tokens
            good.add_metric([], float(not tokens.problem))
            yield good
            count = GaugeMetricFamily("switchyard_tokens", "Tokens in use, expired ones too")
            count.add_metric([], len(in_use))
            yield count


class Requests:
    """Counts the requests of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(
            "switchyard_http_requests_total",
            "Requests by route, method and class of status",
            ["route", "method", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "switchyard_http_request_duration_seconds",
            "Time from a request to the end of its answer",
            ["route", "method"],
            buckets=BUCKETS,
            registry=registry,
        )

    def add(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts one request that was answered."""
        method = method if method in _METHODS else "other"
        self._count.labels(route, method, f"{status // 100}xx").inc()
        self._duration.labels(route, method).observe(seconds)


class Measured:
    """The application, with each of its requests counted (ASGI)."""

    def __init__(self, app: ASGIApp, *, requests: Requests) -> None:
        self._app = app
        self._requests = requests
        self._templates: dict[Any, str] = {}  # by endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on. One that ends without an answer is an error inside: 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            self._requests.add(self._to_route(scope), scope["method"], status, time.perf_counter() - began)

    def _to_route(self, scope: Scope) -> str:
        """Returns the template of the route that took the request: addresses are endless, templates are few."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return "none"
        if endpoint not in self._templates:
            for route in scope["app"].routes:
                self._templates.setdefault(getattr(route, "endpoint", None), to_template(getattr(route, "path", "")))
        return self._templates.get(endpoint, "none")


def to_template(path: str) -> str:
    """Returns a route's path in one spelling: with or without its last slash, it is one route."""
    return path.rstrip("/") or "/"


def add_metrics(app: FastAPI, outside: Outside, access: Access) -> Requests:
    """Adds the route; what it returns counts the requests of `app`."""
    registry = CollectorRegistry()
    registry.register(DatabaseGauges(outside))
    registry.register(TokenGauge(access))
    ProcessCollector(registry=registry)

    async def send_metrics(request: Request) -> Response:
        """Sends what Prometheus asks for, in the format that it asks for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        content = await run_sync(encode, registry)
        return Response(content, headers={"Content-Type": media_type, "Cache-Control": "no-store", **NOSNIFF})

    for path in (PATH, f"{PATH}/"):
        app.add_route(path, send_metrics, include_in_schema=False)
    return Requests(registry)
