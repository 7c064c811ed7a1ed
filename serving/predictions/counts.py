"""The /metrics of the predictions: what is served, how often it was asked, and how long that took."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.predictions.answering import Answered, Prediction, RowsAnswered
from serving.predictions.holder import Holder

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class StateMetrics(Collector):
    """Metrics that are read from the holder's state at each scrape."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; it reads no database."""
        state = self._holder.state
        ready = GaugeMetricFamily("switchyard_model_ready", "1 if a model is loaded and answers, else 0")
        ready.add_metric([], float(state.is_ready))
        yield ready
        degraded = GaugeMetricFamily(
            "switchyard_model_degraded", "1 if it is not the model asked for, or this is not known; /health says why"
        )
        degraded.add_metric([], float(state.is_degraded))
        yield degraded
        model = GaugeMetricFamily(
            "switchyard_model_info",
            "1 for each model in memory",
            labels=["model", "version", "digest", "source", "arm", "fallback"],
        )
        for arm, loaded in (("champion", state.champion), ("challenger", state.challenger)):
            if loaded is not None:
                labels = [loaded.name, str(loaded.version), loaded.digest, loaded.source.setting, arm]
                model.add_metric([*labels, str(loaded.fallback).lower()], 1.0)
        yield model
        loads = CounterMetricFamily(
            "switchyard_model_loads", "Models that were loaded, or failed to load", labels=["result"]
        )
        loads.add_metric(["ok"], self._holder.loads)
        loads.add_metric(["failed"], self._holder.failed_loads)
        yield loads


class Counts:
    """Counts the requests and predictions of this process."""

    def __init__(self, holder: Holder) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(StateMetrics(holder))
        ProcessCollector(registry=self.registry)
        self._predictions = Counter(
            "switchyard_predictions_total",
            "Predictions by the model that answered, and whether the buyer was known",
            ["model", "version", "arm", "known", "fallback"],
            registry=self.registry,
        )
        self._requests = Counter(
            "switchyard_http_requests_total",
            "Requests by route and status",
            ["route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "switchyard_http_request_duration_seconds",
            "Time from a request's head to the end of its answer",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )

        # Finding a metric by its labels takes longer than counting.
        self._of_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._of_answer: dict[tuple[str, int, str, bool | None, bool], Counter] = {}

    def add_request(self, route: str, status: int, seconds: float) -> None:
        """Counts one request that was answered."""
        key = (route, status)
        counted = self._of_route.get(key)
        if counted is None:
            counted = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._of_route[key] = counted
        counted[0].inc()
        counted[1].observe(seconds)

    def add_answer(self, answered: Answered | RowsAnswered) -> None:
        """Counts all predictions of one answer; rows name no buyer, so none of theirs is known."""
        for said in answered.predictions:
            known = said.known if isinstance(said, Prediction) else None
            key = (said.model, said.version, said.arm, known, said.fallback)
            counted = self._of_answer.get(key)
            if counted is None:
                shown = "" if known is None else str(known).lower()
                labels = [said.model, said.version, said.arm, shown, str(said.fallback).lower()]
                counted = self._predictions.labels(*labels)
                self._of_answer[key] = counted
            counted.inc()

    def encode(self, accept: str) -> tuple[bytes, str]:
        """Returns the metrics in the format that Prometheus asks for, and the name of that format."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type
