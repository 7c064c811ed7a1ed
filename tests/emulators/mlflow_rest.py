"""The calls of an MLflow server that readers use, over a store in an SQLite file.

`mlflow_writing` has those that log a run. It stands for MLflow's behaviour, with its traps: each rule names where it
comes from. `make test-mlflow` runs the same tests against the real servers.

Sources, below as [handlers] and [store]: mlflow/server/handlers.py and mlflow/store/tracking/sqlalchemy_store.py, of
2.9.2, and of 3.17.2 where `pages_histories`.
"""

import json
import math
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.emulators.faults import Faults
from tests.emulators.mlflow_beside import Beside, page
from tests.emulators.mlflow_refused import Refused
from tests.emulators.mlflow_writing import Writing, choose_by_tag

_MAX_BULK_POINTS: Final = 25_000  # [handlers] MAX_HISTORY_RESULTS
_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"


class MlflowEmulator:
    """One server. A fault's kind is the path's end (``runs/get``), its target the run id or metric key asked for.

    Args:
        pages_histories: as MLflow 3: ``max_results`` and ``page_token`` of get-history count, and a batch that is
            stored may be logged again. 2.9.2 ignores the first two, and refuses the last.
        max_bulk_runs: 20 in 2.9.2, 100 in 3.17.2 ([handlers] MAX_RUN_IDS_PER_REQUEST).
        has_bulk: False: a proxy that lets only the documented interface through.
        token: the bearer token that callers must have; empty: none.
    """

    def __init__(
        self,
        path: Path,
        *,
        pages_histories: bool = False,
        max_bulk_runs: int = 20,
        has_bulk: bool = True,
        token: str = "",
    ) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")
        self._lock = threading.Lock()
        self._pages_histories = pages_histories
        self._max_bulk_runs = max_bulk_runs
        self._has_bulk = has_bulk
        self._token = token
        self._writing = Writing(self._sql, repeats_batches=pages_histories)
        self.beside = Beside(self._sql, is_3=pages_histories)
        self.faults = Faults()
        self.replace: Callable[[str, Any], Response | None] = lambda _kind, _question: None
        """What a test answers instead; None: the true answer."""
        self.artifacts: dict[str, bytes] = {}
        """What was put through the server, by the path below its artifacts."""
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT"])])

    def close(self) -> None:
        self._database.close()

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if request.method == "PUT":
            return await self._put_artifact(path, request)
        if path.startswith(f"{_ARTIFACTS}/"):
            return Response(self.artifacts[path.removeprefix(f"{_ARTIFACTS}/")])
        query: Any = request.query_params if request.method == "GET" else json.loads(await request.body() or b"{}")
        kind = path.removeprefix(_API).removeprefix("/api/3.0/mlflow").removeprefix("/ajax-api/2.0/mlflow").strip("/")
        target = str(query.get("metric_key") or query.get("run_id") or query.get("name") or "")
        fault = self.faults.take(kind, target)
        if fault.hold:
            await run_in_threadpool(self.faults.wait_released, fault)
        if fault.broken:
            return Response(b'{"metrics": [', media_type="application/json")
        if fault.status and not fault.after:
            return Response(fault.message or f"<html>{fault.status}</html>", fault.status, media_type="text/html")
        if (instead := self.replace(kind, query)) is not None:
            return instead
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            return Response("<html>401</html>", 401, media_type="text/html")
        try:
            answer = await run_in_threadpool(self._dispatch, path, kind, query, request)
        except Refused as err:
            answer = _to_response(err.body, err.status)
        return Response(b"<html>lost</html>", fault.status or 502) if fault.after else answer

    async def _put_artifact(self, path: str, request: Request) -> Response:
        # [handlers] _upload_artifact: who may call may replace; 200 and an empty message.
        data, at = await request.body(), path.removeprefix(f"{_ARTIFACTS}/")
        fault = self.faults.take("artifacts", at)
        if fault.hold:
            await run_in_threadpool(self.faults.wait_released, fault)
        if at == path:
            return Response("<!doctype html><title>404 Not Found</title>", 404, media_type="text/html")
        if not fault.status or fault.after:
            self.artifacts[at] = data
        return Response(fault.message, fault.status, media_type="text/html") if fault.status else _to_response({})

    def _dispatch(self, path: str, kind: str, query: Mapping[str, Any], request: Request) -> Response:
        if path == "/health":
            return PlainTextResponse("OK")
        if path.startswith("/ajax-api"):
            if kind == "metrics/get-history-bulk" and self._has_bulk:
                return self._read_bulk(request.query_params.getlist("run_id"), query)
        elif kind in (calls := self._calls()):
            return _to_response(calls[kind](query))
        return Response("<!doctype html><title>404 Not Found</title>", 404, media_type="text/html")  # Flask's own page

    def _calls(self) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        return {
            "experiments/search": self._search_experiments,
            "experiments/get": self._get_experiment,
            "runs/search": self._search_runs,
            "runs/get": self._get_run,
            "metrics/get-history": self._read_history,
            **self._writing.calls(),
            "runs/create": self._create_run,
            **self.beside.calls(),
        }

    def _create_run(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._get_run(self._writing.calls()["runs/create"](body))

    def _search_experiments(self, query: Mapping[str, Any]) -> dict[str, Any]:
        # [store] _search_experiments: ACTIVE_ONLY unless asked; newest first, then by id; offsets for tokens.
        where = "" if query.get("view_type") == "ALL" else " WHERE lifecycle_stage = 'active'"
        rows = self._sql(f"SELECT * FROM experiments{where} ORDER BY creation_time DESC, experiment_id ASC")
        return page([self._to_experiment(row) for row in rows], "experiments", query, 1000)

    def _get_experiment(self, query: Mapping[str, Any]) -> dict[str, Any]:
        rows = self._sql("SELECT * FROM experiments WHERE experiment_id = ?", query["experiment_id"])
        if not rows:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={query['experiment_id']} exists")
        return {"experiment": self._to_experiment(rows[0])}

    def _search_runs(self, query: Mapping[str, Any]) -> dict[str, Any]:
        # [store] _search_runs: an id that names no experiment finds nothing; max_results above 50,000 is refused.
        if int(query.get("max_results", 1000)) > 50_000:
            raise Refused(400, "INVALID_PARAMETER_VALUE", "Invalid value for max_results")
        ids = [str(number) for number in query["experiment_ids"]]
        stages = {"ALL": ("active", "deleted"), "DELETED_ONLY": ("deleted",)}.get(
            query.get("run_view_type", ""), ("active",)
        )
        chosen, values = choose_by_tag(query)
        rows = self._sql(
            f"SELECT * FROM runs WHERE experiment_id IN ({_marks(ids)}) AND lifecycle_stage IN ({_marks(stages)}) "
            f"{chosen} ORDER BY start_time, run_uuid",
            *ids,
            *stages,
            *values,
        )
        found = page(list(rows), "runs", query, 1000)
        return found | {"runs": [self._to_run(row) for row in found["runs"]]} if "runs" in found else found

    def _get_run(self, query: Mapping[str, Any]) -> dict[str, Any]:
        # [store] get_run: a deleted run answers like any other.
        rows = self._sql("SELECT * FROM runs WHERE run_uuid = ?", query["run_id"])
        if not rows:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={query['run_id']} not found")
        return {"run": self._to_run(rows[0])}

    def _read_history(self, query: Mapping[str, Any]) -> dict[str, Any]:
        # 2.9.2: no order, everything, for a run that is not there too; 3.17.2: by time, in pages where asked.
        order = " ORDER BY timestamp, step, value" if self._pages_histories else ""
        rows = self._sql(
            f"SELECT * FROM metrics WHERE run_uuid = ? AND key = ?{order}", query["run_id"], query["metric_key"]
        )
        points = [_to_point(row) for row in rows]
        if self._pages_histories and "max_results" in query:
            return page(points, "metrics", query, 0)
        return {"metrics": points} if points else {}

    def _read_bulk(self, run_ids: list[str], query: Mapping[str, Any]) -> Response:
        # [handlers] get_metric_history_bulk_handler: one limit for all runs, and no word when it cuts.
        if not run_ids or len(run_ids) > self._max_bulk_runs:
            words = f"GetMetricHistoryBulk request cannot specify more than {self._max_bulk_runs} run_ids."
            raise Refused(400, "INVALID_PARAMETER_VALUE", words)
        limit = min(int(query.get("max_results", _MAX_BULK_POINTS)), _MAX_BULK_POINTS)
        rows = self._sql(
            f"SELECT * FROM metrics WHERE key = ? AND run_uuid IN ({_marks(run_ids)}) "
            "ORDER BY run_uuid, timestamp, step, value LIMIT ?",
            query["metric_key"],
            *run_ids,
            limit,
        )
        # Flask's jsonify lets NaN through, as a bare token that is no JSON.
        points = [
            {**_to_point(row), "value": math.nan if row["is_nan"] else row["value"], "run_id": row["run_uuid"]}
            for row in rows
        ]
        return Response(json.dumps({"metrics": points}), media_type="application/json")

    def _to_run(self, row: sqlite3.Row) -> dict[str, Any]:
        run_id = row["run_uuid"]
        if row["status"] is None:  # RunInfo, mlflow/entities/run_info.py; as test_real_servers.py has found
            raise Refused(500, "INTERNAL_ERROR", "status cannot be None")
        info = {
            "run_uuid": run_id,
            "run_id": run_id,
            "run_name": row["name"],
            "experiment_id": str(row["experiment_id"]),
            "user_id": row["user_id"],
            "status": row["status"],
            "start_time": row["start_time"],
            "end_time": row["end_time"],
            "artifact_uri": row["artifact_uri"],
            "lifecycle_stage": row["lifecycle_stage"],
        }
        data = {
            "metrics": [
                _to_point(found) for found in self._sql("SELECT * FROM latest_metrics WHERE run_uuid = ?", run_id)
            ],
            "params": self._pairs("params", run_id),
            "tags": self._pairs("tags", run_id),
        }
        # Protocol buffers leave out what is not set, and empty lists.
        return {
            "info": {name: value for name, value in info.items() if value is not None},
            "data": {name: value for name, value in data.items() if value},
            **self.beside.to_inputs(run_id),
        }

    def _to_experiment(self, row: sqlite3.Row) -> dict[str, Any]:
        names = ("name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time")
        found = {name: row[name] for name in names if row[name] is not None}
        tags = self._sql("SELECT key, value FROM experiment_tags WHERE experiment_id = ?", row["experiment_id"])
        return (
            found
            | {"experiment_id": str(row["experiment_id"])}
            | ({"tags": [dict(tag) for tag in tags]} if tags else {})
        )

    def _pairs(self, table: str, run_id: str) -> list[dict[str, Any]]:
        return [
            {"key": row["key"], "value": row["value"]}
            for row in self._sql(f"SELECT key, value FROM {table} WHERE run_uuid = ?", run_id)
        ]

    def _sql(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


def _to_point(row: sqlite3.Row) -> dict[str, Any]:
    # A double that is not finite is a text in protocol buffers' JSON; infinities are stored as the largest number.
    # Source: https://protobuf.dev/programming-guides/json/
    value = "NaN" if row["is_nan"] else row["value"]
    return {"key": row["key"], "value": value, "timestamp": row["timestamp"], "step": row["step"]}


def _to_response(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


def _marks(items: Any) -> str:
    return ", ".join("?" * len(items))
