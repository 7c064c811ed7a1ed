"""Reads what resources cost, from a billing export in BigQuery: the Cloud Billing API has only prices.

Source: https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/detailed-usage
"""

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from switchyard.clients.google.decommission.access import Access, Api, wait
from switchyard.core.decommission.resources import Cost, Kind, Progress, Resource
from switchyard.core.errors import BadRecord, BadSetup, NotFound

_SERVICES: Final = {
    Kind.RUN_SERVICE: "run", Kind.SQL_INSTANCE: "cloudsql", Kind.BUILD_TRIGGER: "cloudbuild", Kind.BUCKET: "storage",
    Kind.SERVICE_ACCOUNT: "iam", Kind.SECRET: "secretmanager",
}  # fmt: skip
_TABLE: Final = re.compile(r"[a-z0-9:.-]+\.[A-Za-z0-9_]+\.gcp_billing_export_resource_v1_[A-Za-z0-9_]+")
_NO_TABLE: Final = "PROJECT.DATASET.gcp_billing_export_resource_v1_BILLING_ACCOUNT"


class Costs:
    """Implements `CloudCosts` over BigQuery v2. Threads may share it.

    Args:
        table: the detailed export, ``project.dataset.gcp_billing_export_resource_v1_...``; empty: none is named.
        pause: waits between two looks at the query.
    """

    def __init__(
        self,
        access: Access,
        project: str,
        table: str = "",
        *,
        pause: Callable[[float], None] = time.sleep,
        patience_s: float = 300.0,
    ) -> None:
        if table and not _TABLE.fullmatch(table):
            raise BadSetup(
                f"the billing export must be the detailed one, {_NO_TABLE}, which names resources; got {table!r}"
            )
        self._api = Api(access, "bigquery", "v2")
        self._project = project
        self._table = table
        self._pause = pause
        self._patience_s = patience_s

    @property
    def is_named(self) -> bool:
        """See the port."""
        return bool(self._table)

    def to_query(self, resources: Sequence[Resource], since: datetime, until: datetime) -> str:
        """See the port. Counts costs after credits. The export may name a resource in full or by its short name."""
        in_full = ", ".join(_quote(name) for resource in resources for name in _to_global_names(resource))
        short = ", ".join(sorted({_quote(name) for resource in resources for name in _to_names(resource)}))
        return (
            "SELECT IFNULL(resource.global_name, '') AS global_name, "  # noqa: S608 - names are quoted
            "IFNULL(resource.name, '') AS name, currency,\n"
            "  SUM(cost) + SUM(IFNULL((SELECT SUM(credit.amount) FROM UNNEST(credits) AS credit), 0)) AS amount\n"
            f"FROM `{self._table or _NO_TABLE}`\n"
            f"WHERE {_to_times(since, until)}\n"
            f"  AND (resource.global_name IN ({in_full}) OR resource.name IN ({short}))\n"
            "GROUP BY global_name, name, currency ORDER BY global_name, name, currency"
        )

    def read(self, resources: Sequence[Resource], since: datetime, until: datetime) -> tuple[Cost, ...]:
        """See the port. Returns one for each resource and currency, 0 if the export has nothing of it.

        Raises also: BadRecord: the export has no row at all for that time, so that 0 would prove nothing."""
        if not self._table:
            raise BadSetup(
                "no billing export is named. Name the detailed one (project.dataset.table), or run the query by hand; "
                "https://cloud.google.com/billing/docs/how-to/export-data-bigquery-setup says how to make one"
            )
        billed = [resource for resource in resources if resource.kind in _SERVICES]
        if not billed:
            return ()
        where = _to_times(since, until)
        control = f"SELECT COUNT(*) AS number FROM `{self._table}`\nWHERE {where}"  # noqa: S608 - the table is checked
        if int(self._ask(control)[0][0]) == 0:
            raise BadRecord(
                f"the billing export {self._table}",
                [f"has no row at all between {since.isoformat()} and {until.isoformat()}: it lags, or is switched off"],
            )
        sums: dict[tuple[str, str], float] = {}
        for in_full, name, currency, amount in self._ask(self.to_query(billed, since, until)):
            for resource in billed:
                if in_full in _to_global_names(resource) or (not in_full and name in _to_names(resource)):
                    key = (resource.name, currency)
                    sums[key] = sums.get(key, 0.0) + float(amount)
        costs = [Cost(resource=name, amount=amount, currency=currency) for (name, currency), amount in sums.items()]
        known = {cost.resource for cost in costs}
        costs += [Cost(resource=one.name, amount=0.0, currency="") for one in billed if one.name not in known]
        return tuple(sorted(costs, key=lambda cost: (cost.resource, cost.currency)))

    def _ask(self, query: str) -> list[list[Any]]:
        """Returns all rows. A query that is not over with its answer is asked for by its job."""
        body = {"query": query, "useLegacySql": False}
        answer = self._api.call(
            lambda client: client.jobs().query(projectId=self._project, body=body),
            action="query",
            where=self._table,
            permission="bigquery.jobs.create",
        )
        job = answer["jobReference"]
        latest = answer

        def look() -> Progress:
            nonlocal latest
            if not latest.get("jobComplete"):
                latest = self._fetch(job, None)
            errors = "; ".join(str(error.get("message")) for error in latest.get("errors", ()))
            return Progress(done=bool(latest.get("jobComplete")), problem=errors)

        wait(look, f"the query {job['jobId']}", pause=self._pause, patience_s=self._patience_s)
        rows = list(latest.get("rows", ()))
        while latest.get("pageToken"):
            latest = self._fetch(job, latest["pageToken"])
            rows += latest.get("rows", ())
        return [[cell.get("v") for cell in row["f"]] for row in rows]

    def _fetch(self, job: dict[str, Any], token: str | None) -> dict[str, Any]:
        try:
            return self._api.call(
                lambda client: client.jobs().getQueryResults(
                    projectId=job["projectId"], jobId=job["jobId"], location=job.get("location"), pageToken=token
                ),
                action="read the results of",
                where=self._table,
                permission="bigquery.jobs.get",
            )
        except NotFound as err:
            raise NotFound(f"the query {job['jobId']} is gone: {err}") from err


def _to_times(since: datetime, until: datetime) -> str:
    return f"usage_start_time >= TIMESTAMP '{_to_stamp(since)}' AND usage_start_time < TIMESTAMP '{_to_stamp(until)}'"


def _to_stamp(time_: datetime) -> str:
    return time_.astimezone(UTC).isoformat()


def _to_global_names(resource: Resource) -> tuple[str, ...]:
    """Returns its full resource name.

    Source: https://cloud.google.com/asset-inventory/docs/resource-name-format
    """
    service = _SERVICES.get(resource.kind)
    if service is None:
        return ()
    name = resource.name.removeprefix("projects/_/buckets/") if resource.kind is Kind.BUCKET else resource.name
    return (f"//{service}.googleapis.com/{name}", f"//{service}.googleapis.com/{resource.name}")


def _to_names(resource: Resource) -> tuple[str, ...]:
    """Returns its names, full and short. A backup's or a version's number alone is many others' short name too."""
    short = resource.name.split("/")[-1]
    names = (resource.name,) if short.isdigit() else (resource.name, short)
    return names if resource.kind in _SERVICES else ()


def _quote(text: str) -> str:
    """Quotes a text.

    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
