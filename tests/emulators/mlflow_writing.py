"""The calls of an MLflow server that log a run, over the same SQLite file as `mlflow_rest`.

Each rule names where it comes from. Where 2.9.2 and 3.17.2 differ, `repeats_batches` says which of them this is.

Sources, below as [handlers], [store] and [limits]: mlflow/server/handlers.py, mlflow/store/tracking/sqlalchemy_store.py
and mlflow/utils/validation.py, of 2.9.2. Each was tried on real servers of 2.9.2 and 3.17.2, too.
"""

import math
import posixpath
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.emulators.mlflow_refused import Refused

_DBL_MAX: Final = 1.7976931348623157e308
_NAME: Final = re.compile(r"^[/\w.\- ]*$")  # [limits] _VALID_PARAM_AND_METRIC_NAMES; 3.x takes colons, too
_STATUSES: Final = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
# [limits] MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH, MAX_ENTITIES_PER_BATCH, MAX_ENTITY_KEY_LENGTH,
# MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH
_MAX_METRICS, _MAX_PAIRS, _MAX_ENTITIES, _MAX_KEY, _MAX_PARAM, _MAX_TAG = 1000, 100, 1000, 250, 6000, 5000
_KEYS_LOOKED_AT: Final = 100  # [store] _log_metrics: metric_key_batches

Body = Mapping[str, Any]
_Row = tuple[str, int, int, float, bool]  # key, timestamp, step, value as stored, is_nan


class Writing:
    """The writing calls.

    `execute` runs one statement; `repeats_batches`: a batch that is stored may be logged again, as in 3.17.2, whatever
    it holds.
    """

    def __init__(self, execute: Callable[..., list[sqlite3.Row]], *, repeats_batches: bool) -> None:
        self._sql = execute
        self._repeats_batches = repeats_batches

    def calls(self) -> dict[str, Callable[[Body], dict[str, Any]]]:
        """By the path's end."""
        return {
            "experiments/get-by-name": self._get_experiment,
            "experiments/create": self._create_experiment,
            "experiments/delete": self._delete_experiment,
            "runs/create": self._create_run,
            "runs/update": self._update_run,
            "runs/delete": self._delete_run,
            "runs/set-tag": self._set_tag,
            "runs/log-batch": self._log_batch,
        }

    def _get_experiment(self, body: Body) -> dict[str, Any]:
        # [handlers] _get_experiment_by_name: a deleted one is found, too.
        rows = self._sql("SELECT * FROM experiments WHERE name = ?", body["experiment_name"])
        if not rows:
            words = f"Could not find experiment with name '{body['experiment_name']}'"
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", words)
        names = ("name", "artifact_location", "lifecycle_stage")
        found = {name: rows[0][name] for name in names if rows[0][name] is not None}
        return {"experiment": found | {"experiment_id": str(rows[0]["experiment_id"])}}

    def _create_experiment(self, body: Body) -> dict[str, Any]:
        # [store] create_experiment: a deleted one keeps its name.
        if not body.get("name"):
            raise _invalid("Invalid value for parameter 'name' supplied")
        now = _now_ms()
        try:
            self._sql(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time) "
                "VALUES (?, 'mlflow-artifacts:/', 'active', ?, ?)",
                body["name"],
                now,
                now,
            )
        except sqlite3.IntegrityError:
            words = f"Experiment(name={body['name']}) already exists."
            raise Refused(400, "RESOURCE_ALREADY_EXISTS", words) from None
        (row,) = self._sql("SELECT experiment_id FROM experiments WHERE name = ?", body["name"])
        return {"experiment_id": str(row["experiment_id"])}

    def _delete_experiment(self, body: Body) -> dict[str, Any]:
        # [store] delete_experiment: its active runs with it.
        for table in ("experiments", "runs"):
            self._sql(f"UPDATE {table} SET lifecycle_stage = 'deleted' WHERE experiment_id = ?", body["experiment_id"])
        return {}

    def _delete_run(self, body: Body) -> dict[str, Any]:
        self._check_active(body["run_id"])
        self._sql("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", body["run_id"])
        return {}

    def _create_run(self, body: Body) -> dict[str, Any]:
        # [store] create_run: an id of 32 hex digits; the name is a tag, too; two calls make two runs.
        rows = self._sql("SELECT * FROM experiments WHERE experiment_id = ?", body["experiment_id"])
        if not rows:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={body['experiment_id']} exists")
        if rows[0]["lifecycle_stage"] != "active":
            raise _invalid(f"The experiment {body['experiment_id']} must be in the 'active' state. Current is deleted.")
        run_id = uuid.uuid4().hex
        self._sql(
            "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, start_time, experiment_id, artifact_uri, "
            "user_id) VALUES (?, ?, 'RUNNING', 'active', ?, ?, ?, '')",
            run_id,
            body.get("run_name") or "a-random-name",
            body.get("start_time"),
            body["experiment_id"],
            # [store] create_run: below the experiment's location, which is the server's own here.
            f"mlflow-artifacts:/{body['experiment_id']}/{run_id}/artifacts",
        )
        self._set_tags(run_id, [*body.get("tags", ()), {"key": "mlflow.runName", "value": body.get("run_name", "")}])
        return {"run_id": run_id}  # the caller of this method shows the run

    def _update_run(self, body: Body) -> dict[str, Any]:
        # [handlers] _update_run: a status that is none is passed over (the message is parsed as far as it can be).
        self._check_active(body["run_id"])
        if body.get("status") in _STATUSES:
            self._sql("UPDATE runs SET status = ? WHERE run_uuid = ?", body["status"], body["run_id"])
        if "end_time" in body:
            self._sql("UPDATE runs SET end_time = ? WHERE run_uuid = ?", body["end_time"], body["run_id"])
        return {"run_info": {"run_id": body["run_id"]}}

    def _set_tag(self, body: Body) -> dict[str, Any]:
        self._check_active(body["run_id"])
        _check_pair("Tag", body, _MAX_TAG)
        self._set_tags(body["run_id"], [body])
        return {}

    def _log_batch(self, body: Body) -> dict[str, Any]:
        # [store] log_batch: all is checked first; then params, metrics, tags, each in a transaction of its own.
        metrics, params, tags = (list(body.get(name, ())) for name in ("metrics", "params", "tags"))
        rows = [_to_row(metric) for metric in metrics]
        for param in params:
            _check_pair("Param", param, _MAX_PARAM)
        for tag in tags:
            _check_pair("Tag", tag, _MAX_TAG)
        total = len(metrics) + len(params) + len(tags)
        for name, limit, length in (
            ("metrics", _MAX_METRICS, len(metrics)),
            ("params", _MAX_PAIRS, len(params)),
            ("tags", _MAX_PAIRS, len(tags)),
            ("metrics, params, and tags", _MAX_ENTITIES, total),
        ):
            if length > limit:
                raise _invalid(f"A batch logging request can contain at most {limit} {name}. Got {length} {name}.")
        run_id = str(body["run_id"])
        self._check_active(run_id)
        self._log_params(run_id, params)
        self._log_metrics(run_id, rows)
        self._set_tags(run_id, tags)
        return {}

    def _log_params(self, run_id: str, params: Sequence[Body]) -> None:
        # [store] _log_params: a value that differs is refused, and then none is logged.
        if len({param["key"] for param in params}) < len(params):
            raise _invalid("Duplicate parameter keys have been submitted")
        there = {row["key"]: row["value"] for row in self._sql("SELECT * FROM params WHERE run_uuid = ?", run_id)}
        if wrong := [one for one in params if there.get(one["key"], one.get("value", "")) != one.get("value", "")]:
            raise _invalid(f"Changing param values is not allowed. Params were already logged='{wrong}'")
        for param in params:
            if param["key"] not in there:
                self._sql(
                    "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)",
                    run_id,
                    param["key"],
                    param.get("value", ""),
                )

    def _log_metrics(self, run_id: str, rows: list[_Row]) -> None:
        there = {
            (row["key"], row["timestamp"], row["step"], row["value"], bool(row["is_nan"]))
            for row in self._sql("SELECT * FROM metrics WHERE run_uuid = ?", run_id)
        }
        rows = list(dict.fromkeys(rows))
        known = [row for row in rows if row in there]
        if known and not self._repeats_batches:
            # [store] _log_metrics: of a batch with something known, the first 100 values' keys are looked up, and all
            # that was not found is stored; what was not looked for, and NaN, which equals nothing, is there twice then.
            looked_at = {row[0] for row in rows[:_KEYS_LOOKED_AT]}
            if any(row[0] not in looked_at or row[4] for row in known):
                raise Refused(400, "BAD_REQUEST", "(sqlite3.IntegrityError) UNIQUE constraint failed: metrics.key")
        for key, timestamp, step, value, is_nan in rows:
            if (key, timestamp, step, value, is_nan) in there:
                continue
            columns = "(run_uuid, key, timestamp, step, value, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
            values = (run_id, key, timestamp, step, value, is_nan)
            self._sql(f"INSERT INTO metrics {columns}", *values)
            # [store] _update_latest_metrics_if_necessary: by step, then timestamp, then value.
            self._sql(
                f"INSERT INTO latest_metrics {columns} ON CONFLICT (key, run_uuid) DO UPDATE SET step = excluded.step, "
                "timestamp = excluded.timestamp, value = excluded.value, is_nan = excluded.is_nan "
                "WHERE (excluded.step, excluded.timestamp, excluded.value) > "
                "(latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
                *values,
            )

    def _set_tags(self, run_id: str, tags: Sequence[Body]) -> None:
        for tag in tags:
            self._sql(
                "INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?) ON CONFLICT (key, run_uuid) "
                "DO UPDATE SET value = excluded.value",
                run_id,
                tag["key"],
                tag.get("value", ""),
            )

    def _check_active(self, run_id: str) -> None:
        # [store] _check_run_is_active
        rows = self._sql("SELECT lifecycle_stage FROM runs WHERE run_uuid = ?", run_id)
        if not rows:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")
        if rows[0]["lifecycle_stage"] != "active":
            raise _invalid(f"The run {run_id} must be in the 'active' state. Current state is deleted.")


def choose_by_tag(query: Body) -> tuple[str, list[str]]:
    """SQL for the search's filter: nothing, ``tags.`<key>` = '<value>'``, or that there is a status.

    This emulator does not know others.
    """
    text = query.get("filter", "")
    if not text:
        return "", []
    if text == "attributes.status != ''":
        return "AND status != ''", []
    found = re.fullmatch(r"tags\.`([^`]+)` = '([^']*)'", text)
    if found is None:
        raise _invalid(f"Invalid clause(s) in filter string: '{text}'")
    return "AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)", [found[1], found[2]]


def _to_row(metric: Body) -> _Row:
    # [handlers] _log_batch: what is missing; [store] _get_metric_value_details: how what is not finite is stored.
    for name in ("key", "value", "timestamp"):
        if metric.get(name) in (None, ""):
            raise _invalid(f"Invalid value {metric} for parameter 'metrics' supplied.")
    _check_key("metric", metric["key"])
    value = float(metric["value"])
    stored = 0.0 if math.isnan(value) else math.copysign(_DBL_MAX, value) if math.isinf(value) else value
    return metric["key"], int(metric["timestamp"]), int(metric.get("step", 0)), stored, math.isnan(value)


def _check_key(what: str, key: str) -> None:
    # [limits] _validate_metric_name and its like: a key may become a path.
    norm = posixpath.normpath(key)
    if not _NAME.match(key) or norm != key or norm == "." or norm.startswith(("..", "/")):
        raise _invalid(f"Invalid {what} name: '{key}'.")
    if len(key) > _MAX_KEY:
        raise _invalid(f"{what} name '{key[:250]}' had length {len(key)}, which exceeded length limit of {_MAX_KEY}")


def _check_pair(what: str, pair: Body, limit: int) -> None:
    _check_key(what, pair["key"])
    length = len(pair.get("value", ""))
    if length > limit:
        raise _invalid(f"{what} value had length {length}, which exceeded length limit of {limit}")


def _invalid(words: str) -> Refused:
    return Refused(400, "INVALID_PARAMETER_VALUE", words)


def _now_ms() -> int:
    return int(time.time() * 1000)
