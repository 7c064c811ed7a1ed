"""BigQuery v2: a billing export, and the two queries that we ask of it. Any other query is refused.

Source: the table's columns, https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/detailed-usage
(resource.name, resource.global_name, cost, currency, usage_start_time, credits); a query that is not complete with its
answer, https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query
"""

import re
from datetime import datetime
from typing import Any

from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, route

_BY_RESOURCE = re.compile(
    r"SELECT IFNULL\(resource\.global_name, ''\) AS global_name, IFNULL\(resource\.name, ''\) AS name, currency, "
    r"SUM\(cost\) \+ SUM\(IFNULL\(\(SELECT SUM\(credit\.amount\) FROM UNNEST\(credits\) AS credit\), 0\)\) AS amount "
    r"FROM `(?P<table>[^`]+)` "
    r"WHERE usage_start_time >= TIMESTAMP '(?P<since>[^']+)' AND usage_start_time < TIMESTAMP '(?P<until>[^']+)' "
    r"AND \(resource\.global_name IN \((?P<globals>[^)]*)\) OR resource\.name IN \((?P<names>[^)]*)\)\) "
    r"GROUP BY global_name, name, currency ORDER BY global_name, name, currency"
)
_ROWS = re.compile(
    r"SELECT COUNT\(\*\) AS number FROM `(?P<table>[^`]+)` "
    r"WHERE usage_start_time >= TIMESTAMP '(?P<since>[^']+)' AND usage_start_time < TIMESTAMP '(?P<until>[^']+)'"
)


class BigQuery(Service):
    """Rows of billing exports, by ``project.dataset.table``."""

    api = "bigquery"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.tables: dict[str, list[Json]] = {}
        self.jobs: dict[str, list[list[Any]]] = {}

    def plant_cost(self, table: str, at: datetime, amount: float, **names: str) -> None:
        """One row: `global_name` or `name` of the resource."""
        self.tables.setdefault(table, []).append({"at": at, "amount": amount, "global_name": "", "name": "", **names})

    @route("bigquery.jobs.query", "bigquery.jobs.create")
    def query(self, call: Call) -> Json:
        if call.body.get("useLegacySql", True):
            raise Refused(400, "useLegacySql is true by default; the query is standard SQL", reason="invalidQuery")
        text = " ".join(call.body["query"].split())
        job = f"job_{self.world.new_id()}"
        if found := _BY_RESOURCE.fullmatch(text):
            self.jobs[job] = self._sum(found)
        elif found := _ROWS.fullmatch(text):
            self.jobs[job] = [[str(len(self._find(found)))]]
        else:
            raise Refused(400, f"this endpoint does not know the query {text}", reason="invalidQuery")
        if self.world.lag:
            reference = {"projectId": self.world.project, "jobId": job, "location": "EU"}
            return {"kind": "bigquery#queryResponse", "jobComplete": False, "jobReference": reference}
        return self._answer(job, call)

    @route("bigquery.jobs.getQueryResults", "bigquery.jobs.get")
    def results(self, call: Call) -> Json:
        job = call.params["queriesId"]
        if job not in self.jobs or call.one("location") != "EU":
            raise Refused(404, f"Not found: Job {self.world.project}:{call.one('location') or 'US'}.{job}")
        return {**self._answer(job, call), "kind": "bigquery#getQueryResultsResponse"}

    def _answer(self, job: str, call: Call) -> Json:
        reference = {"projectId": self.world.project, "jobId": job, "location": "EU"}
        rows = [{"f": [{"v": value} for value in row]} for row in self.jobs[job]]
        page = self.world.page(rows, call, "rows", "maxResults")
        if "nextPageToken" in page:
            page["pageToken"] = page.pop("nextPageToken")
        total = str(len(rows))
        return {
            "kind": "bigquery#queryResponse",
            "jobComplete": True,
            "jobReference": reference,
            "totalRows": total,
            **page,
        }

    def _find(self, found: re.Match[str]) -> list[Json]:
        if found["table"] not in self.tables:
            project, _, rest = found["table"].partition(".")
            raise Refused(404, f"Not found: Table {project}:{rest} was not found in location EU")
        since, until = datetime.fromisoformat(found["since"]), datetime.fromisoformat(found["until"])
        return [row for row in self.tables[found["table"]] if since <= row["at"] < until]

    def _sum(self, found: re.Match[str]) -> list[list[Any]]:
        wanted_globals, wanted_names = (set(re.findall(r"'([^']*)'", found[key])) for key in ("globals", "names"))
        sums: dict[tuple[str, str], float] = {}
        for row in self._find(found):
            if row["global_name"] in wanted_globals or row["name"] in wanted_names:
                key = (row["global_name"], row["name"])
                sums[key] = sums.get(key, 0.0) + row["amount"]
        return [[*key, "EUR", str(amount)] for key, amount in sorted(sums.items())]
