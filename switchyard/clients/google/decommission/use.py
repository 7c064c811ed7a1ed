"""Reads who uses a deployment, by Google's own records: Monitoring's request counts, the request log, operations.

A query of the log always gives its own time: Google's logging client would add one of a day if there is none.
Source: https://cloud.google.com/logging/docs/view/logging-query-language, https://cloud.google.com/run/docs/logging
"""

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from switchyard.clients.google.decommission.access import Access, Api
from switchyard.clients.google.decommission.cloud_sql import CloudSql
from switchyard.core.decommission.requests import LONGEST, POINT, Control, is_at_edge
from switchyard.core.decommission.resources import Caller, Kind, Resource
from switchyard.core.errors import BadRequest


class Use:
    """Implements `CloudUse` over Monitoring, Logging v2, Cloud SQL Admin v1 and Cloud Run v2. Threads may share it."""

    def __init__(self, access: Access, project: str, *, sql: Callable[[], CloudSql] | None = None) -> None:
        self._monitoring = Api(access, "monitoring", "v3")
        self._logging = Api(access, "logging", "v2")
        self._run = Api(access, "run", "v2")
        self._sql = sql() if sql else CloudSql(access, project)
        self._project = project

    def list_callers(self, service: Resource, since: datetime, until: datetime) -> tuple[Caller, ...]:
        """See the port. The request log has user agents; accounts only if an audit entry names one."""
        entries = self._list_entries(service, since, until)
        found: dict[tuple[str, str], tuple[int, datetime]] = {}
        for entry in entries:
            who, at = _to_who(entry), datetime.fromisoformat(entry["timestamp"])
            requests, last_at = found.get(who, (0, at))
            found[who] = (requests + 1, max(last_at, at))
        callers = [
            Caller(who=who, account=account, requests=requests, last_at=last_at)
            for (who, account), (requests, last_at) in found.items()
        ]
        return tuple(sorted(callers, key=lambda caller: (-caller.requests, caller.who)))

    def count_requests(self, service: Resource, since: datetime, until: datetime) -> int:
        """See the port. A point of the metric is one minute, and counts where it ends."""
        region, short = _split(service)
        clauses = (
            'metric.type = "run.googleapis.com/request_count"',
            'resource.type = "cloud_run_revision"',
            f'resource.labels.service_name = "{short}"',
            f'resource.labels.location = "{region}"',
        )
        series = self._monitoring.list_all(
            lambda client, token: (
                client.projects()
                .timeSeries()
                .list(
                    name=f"projects/{self._project}",
                    filter=" AND ".join(clauses),
                    interval_startTime=_to_stamp(since),
                    interval_endTime=_to_stamp(until),
                    view="FULL",
                    pageToken=token,
                )
            ),
            "timeSeries",
            where=f"the request counts of {service.name}",
            permission="monitoring.timeSeries.list",
        )
        return sum(int(point["value"]["int64Value"]) for one in series for point in one.get("points", ()))

    def count_edge(self, service: Resource, since: datetime) -> int:
        """See the port. An entry says how long its request took; where it does not, that counts as no time."""
        entries = self._list_entries(service, since - POINT - LONGEST, since)
        return sum(
            is_at_edge(datetime.fromisoformat(entry["timestamp"]), _to_latency(entry), since) for entry in entries
        )

    def find_control(self, service: Resource, since: datetime, until: datetime) -> Control:
        """See the port. Reads only the newest entry of the log."""
        return Control(
            service=service.name,
            since=since,
            logged_at=self._find_newest(service, since, until),
            counted=self.count_requests(service, since, until),
        )

    def _list_entries(self, service: Resource, since: datetime, until: datetime) -> list[dict[str, Any]]:
        body = {**self._to_query(service, since, until), "orderBy": "timestamp asc", "pageSize": 1000}
        return self._logging.list_all(
            lambda client, token: client.entries().list(body={**body, **({"pageToken": token} if token else {})}),
            "entries",
            where=f"the request log of {service.name}",
            permission="logging.logEntries.list",
        )

    def _find_newest(self, service: Resource, since: datetime, until: datetime) -> datetime | None:
        """Returns the time of the newest entry. An empty page is not always the last: nothing was found so far.

        Source: `nextPageToken` of ListLogEntriesResponse."""
        body = {**self._to_query(service, since, until), "orderBy": "timestamp desc", "pageSize": 1}
        while True:
            page = self._logging.call(
                functools.partial(_ask_entries, dict(body)),
                action="read",
                where=f"the request log of {service.name}",
                permission="logging.logEntries.list",
            )
            if page.get("entries"):
                return datetime.fromisoformat(page["entries"][0]["timestamp"])
            if not page.get("nextPageToken"):
                return None
            body["pageToken"] = page["nextPageToken"]

    def _to_query(self, service: Resource, since: datetime, until: datetime) -> dict[str, Any]:
        region, short = _split(service)
        clauses = (
            f'logName = "projects/{self._project}/logs/run.googleapis.com%2Frequests"',
            'resource.type = "cloud_run_revision"',
            f'resource.labels.service_name = "{short}"',
            f'resource.labels.location = "{region}"',
            f'timestamp >= "{_to_stamp(since)}"',
            f'timestamp < "{_to_stamp(until)}"',
        )
        return {"resourceNames": [f"projects/{self._project}"], "filter": " AND ".join(clauses)}

    def list_starts(self, resource: Resource, since: datetime) -> tuple[str, ...]:
        """See the port, for an instance or a service. Each sentence names the operation or revision."""
        if resource.kind is Kind.SQL_INSTANCE:
            return tuple(
                f"{operation['operationType']} of {resource.name} by {operation.get('user', 'someone unnamed')} at "
                f"{operation['insertTime']}: operation {operation['name']}"
                for operation in reversed(self._sql.list_operations(resource.name))
                if datetime.fromisoformat(operation["insertTime"]) >= since
            )
        if resource.kind is not Kind.RUN_SERVICE:
            raise BadRequest(
                f"a {resource.kind} has no starts: ask about an instance or a service; got {resource.name}"
            )
        revisions = self._run.list_all(
            lambda client, token: (
                client.projects()
                .locations()
                .services()
                .revisions()
                .list(parent=resource.name, pageToken=token, showDeleted=True)
            ),
            "revisions",
            where=f"the revisions of {resource.name}",
            permission="run.revisions.list",
        )
        return tuple(
            f"revision {revision['name'].split('/')[-1]} of {resource.name} deployed at {revision['createTime']}"
            for revision in sorted(revisions, key=lambda revision: str(revision["createTime"]))
            if datetime.fromisoformat(revision["createTime"]) >= since
        )


def _to_who(entry: dict[str, Any]) -> tuple[str, str]:
    """Returns the caller as people read it, and its account alone."""
    agent = entry.get("httpRequest", {}).get("userAgent") or "no user agent"
    account = entry.get("protoPayload", {}).get("authenticationInfo", {}).get("principalEmail")
    return (f"{agent} as {account}", str(account)) if account else (str(agent), "")


def _ask_entries(body: dict[str, Any], client: Any) -> Any:
    return client.entries().list(body=body)


def _to_latency(entry: dict[str, Any]) -> timedelta:
    """Reads a time such as ``1.5s``. Source: HttpRequest.latency of logging.v2 (a google-duration)."""
    return timedelta(seconds=float(str(entry.get("httpRequest", {}).get("latency", "0s")).removesuffix("s")))


def _split(service: Resource) -> tuple[str, str]:
    """Returns the region and the short name."""
    _, _, _, region, _, short = service.name.split("/")
    return region, short


def _to_stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
