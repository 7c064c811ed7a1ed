"""Logging v2: the request log of Cloud Run services.

Source: the descriptions in the discovery document logging.v2; of the entries, https://cloud.google.com/run/docs/logging
(log run.googleapis.com/requests, resource cloud_run_revision, httpRequest).
"""

from datetime import datetime

from tests.emulators.google.filters import check, read_clauses
from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, from_stamp, route, to_stamp

_NAMES = (
    "logName", "resource.type", "resource.labels.service_name", "resource.labels.location", "timestamp",
)  # fmt: skip


class Logging(Service):
    """Entries. They are no resources, so that no snapshot has them."""

    api = "logging"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.entries: list[Json] = []

    def plant_request(
        self, service: str, user_agent: str, at: datetime, status: int = 200, account: str = "", took_s: float = 0.0
    ) -> None:
        """One request to the service of that full name, which began at `at`."""
        entry: Json = {
            "logName": f"projects/{self.world.project}/logs/run.googleapis.com%2Frequests",
            "insertId": self.world.new_id(),
            "timestamp": to_stamp(at),
            "severity": "INFO" if status < 400 else "WARNING",
            "resource": {
                "type": "cloud_run_revision",
                "labels": {
                    "project_id": self.world.project,
                    "service_name": service.split("/")[-1],
                    "location": service.split("/")[3],
                },
            },
            "httpRequest": {
                "requestMethod": "POST",
                "status": status,
                "userAgent": user_agent,
                "remoteIp": "203.0.113.9",
                "latency": f"{took_s}s",
            },
        }
        if account:
            entry["protoPayload"] = {
                "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
                "authenticationInfo": {"principalEmail": account},
            }
        self.entries.append(entry)

    @route("logging.entries.list", "logging.logEntries.list")
    def list_all(self, call: Call) -> Json:
        if call.body.get("resourceNames") != [f"projects/{self.world.project}"]:
            raise Refused(400, "resourceNames must name the project")
        clauses = read_clauses(call.body.get("filter", ""), _NAMES)
        found = [entry for entry in self.entries if all(check(clause, _flatten(entry)) for clause in clauses)]
        newest_first = call.body.get("orderBy") == "timestamp desc"
        found.sort(key=lambda entry: from_stamp(entry["timestamp"]), reverse=newest_first)
        query: dict[str, list[str]] = {
            key: [str(call.body[key])] for key in ("pageSize", "pageToken") if key in call.body
        }
        asked = Call(call.method, call.path, call.params, query, {}, call.fault)
        return self.world.page(found, asked, "entries")


def _flatten(entry: Json) -> Json:
    labels = {f"resource.labels.{name}": value for name, value in entry["resource"]["labels"].items()}
    return {
        "logName": entry["logName"],
        "resource.type": entry["resource"]["type"],
        "timestamp": from_stamp(entry["timestamp"]),
        **labels,
    }
