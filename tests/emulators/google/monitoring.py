"""Monitoring v3: the request counts of Cloud Run services.

Source: the descriptions in the discovery document monitoring.v3; of the metric,
https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run (request_count: DELTA, INT64, one point a minute).
"""

from datetime import datetime, timedelta

from tests.emulators.google.filters import check, read_clauses
from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, from_stamp, route, to_stamp

_NAMES = (
    "metric.type", "resource.type", "resource.labels.service_name", "resource.labels.location",
    "metric.labels.response_code_class",
)  # fmt: skip


class Monitoring(Service):
    """Points of one metric. They are no resources, so that no snapshot has them."""

    api = "monitoring"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.points: list[tuple[Json, datetime, int]] = []

    def plant_requests(self, service: str, count: int, at: datetime, code: str = "2xx") -> None:
        """`count` requests of the service of that full name, in the minute that ended at `at`."""
        labels = {
            "metric.type": "run.googleapis.com/request_count",
            "resource.type": "cloud_run_revision",
            "resource.labels.service_name": service.split("/")[-1],
            "resource.labels.location": service.split("/")[3],
            "metric.labels.response_code_class": code,
        }
        self.points.append((labels, at, count))

    @route("monitoring.projects.timeSeries.list", "monitoring.timeSeries.list")
    def list_all(self, call: Call) -> Json:
        """Points whose end is in the interval (start, end]. Source: the description of TimeInterval."""
        clauses = read_clauses(call.one("filter"), _NAMES)
        if not any(clause.name == "metric.type" for clause in clauses):
            raise Refused(400, "The filter must name a metric.type.")
        if "interval.startTime" not in call.query:
            raise Refused(400, "Field interval.start_time had an invalid value.")
        begin, end = from_stamp(call.one("interval.startTime")), from_stamp(call.one("interval.endTime"))
        series: dict[str, Json] = {}
        for labels, at, count in self.points:
            if not (begin < at <= end and all(check(clause, labels) for clause in clauses)):
                continue
            found = series.setdefault(
                str(sorted(labels.items())),
                {
                    "metric": {
                        "type": labels["metric.type"],
                        "labels": {"response_code_class": labels["metric.labels.response_code_class"]},
                    },
                    "resource": {
                        "type": labels["resource.type"],
                        "labels": {
                            "service_name": labels["resource.labels.service_name"],
                            "location": labels["resource.labels.location"],
                        },
                    },
                    "metricKind": "DELTA",
                    "valueType": "INT64",
                    "points": [],
                },
            )
            interval = {"startTime": to_stamp(at - timedelta(seconds=60)), "endTime": to_stamp(at)}
            found["points"].append({"interval": interval, "value": {"int64Value": str(count)}})
        return self.world.page(series.values(), call, "timeSeries")
