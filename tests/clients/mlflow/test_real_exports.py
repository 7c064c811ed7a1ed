"""Exports of what real MLflow servers tell, 2.9.2 and a current one, are the same as those of their databases.

They are read with the server switched off. `make test-mlflow` builds both and runs this.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from switchyard.clients.mlflow.export.from_tracking import Answers, export_answers
from switchyard.clients.mlflow.export.parts import read_rows
from switchyard.clients.mlflow.export.reader import open_export
from switchyard.clients.mlflow.export.writer import export_store
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.registry_sources import ExportSource
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.objects.files import FileObjects
from switchyard.core.mlflow.export import Export
from switchyard.core.mlflow.raw_run import RawRun, to_source_digest
from switchyard.core.registry.importing import SourceModel
from tests.clients.mlflow.real_servers import serve
from tests.clients.mlflow.test_real_servers import run_flow
from tests.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.timeout(600)]

OBJECTS = FileObjects()
TEXT = "ünï\u2603 'quoted'"
DELETED = 3
"""The version that is deleted: its row and its tags stay in the database."""
OURS = {"datasets", "inputs", "input_tags"}
"""Tables with ids of MLflow's own, which no server tells."""


class Client:
    """Logs and registers on a server."""

    def __init__(self, url: str) -> None:
        self._url, self._session = url, requests.Session()

    def call(self, path: str, method: str = "POST", **body: Any) -> Any:
        answer = self._session.request(method, f"{self._url}/api/2.0/mlflow/{path}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log_run(self, experiment: str, name: str, epochs: int, **metric: Any) -> str:
        tags = [{"key": "note", "value": TEXT}, {"key": "mlflow.user", "value": "ann"}]
        run = self.call("runs/create", experiment_id=experiment, run_name=name, start_time=1_700_000_000_000, tags=tags)
        run_id: str = run["run"]["info"]["run_id"]
        values: list[float | str] = [1 / (epoch + 1) for epoch in range(epochs)]
        if epochs > 3:
            values[1:3] = ["NaN", "Infinity"]
        points = [
            {"key": key, "value": value, "timestamp": 1_700_000_000_000 - 1_000 * epoch, "step": epoch, **metric}
            for key in ("loss", "val/acc é" if epochs > 3 else "rmse")
            for epoch, value in enumerate(values)
        ]
        self.call("runs/log-batch", run_id=run_id, metrics=points, params=[{"key": "depth", "value": str(epochs)}])
        dataset = {"name": "sales", "digest": "d1", "source_type": "local", "source": "{}", "profile": TEXT}
        use = {"tags": [{"key": "mlflow.data.context", "value": "training"}], "dataset": dataset}
        self.call("runs/log-inputs", run_id=run_id, datasets=[use])
        return run_id

    def end(self, run_id: str, status: str = "FINISHED") -> None:
        self.call("runs/update", run_id=run_id, status=status, end_time=1_700_000_100_000)


def fill(url: str, *, is_3: bool) -> None:
    """Logs runs of every state, deleted ones, experiments with tags, a deleted one, and a registry.

    To MLflow 3 it also logs a logged model and a prompt."""
    client = Client(url)
    first, second = (client.call("experiments/create", name=name)["experiment_id"] for name in ("towers", "Отчёты"))
    client.call("experiments/set-experiment-tag", experiment_id=first, key="team", value=TEXT)
    run_id = client.log_run(first, "done", 12)
    client.end(run_id)
    client.end(client.log_run(first, "failed", 5), "FAILED")
    client.log_run(first, "goes on", 4)
    deleted = client.log_run(first, "deleted", 6)
    client.end(deleted)
    client.call("runs/delete", run_id=deleted)
    client.end(client.log_run(second, "of a deleted experiment", 7))
    client.call("experiments/delete", experiment_id=second)
    client.call("registered-models/create", name="it's a shop", description=TEXT, tags=[{"key": "k", "value": TEXT}])
    for _ in range(3):
        client.call("model-versions/create", name="it's a shop", source=f"runs:/{run_id}/model", run_id=run_id,
                    tags=[{"key": "long", "value": "t" * 4_000}])  # fmt: skip
    client.call("model-versions/transition-stage", name="it's a shop", version="2", stage="Production",
                archive_existing_versions=False)  # fmt: skip
    client.call("registered-models/alias", name="it's a shop", alias="champion", version="2")
    client.call("model-versions/delete", "DELETE", name="it's a shop", version=str(DELETED))
    if is_3:
        prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
        client.call("registered-models/create", name="a prompt", tags=prompt)
        client.call("model-versions/create", name="a prompt", source="prompt-template",
                    tags=[*prompt, {"key": "mlflow.prompt.text", "value": TEXT}])  # fmt: skip
        made = client.call("logged-models", experiment_id=first, name="a model", source_run_id=run_id,
                           params=[{"key": "p", "value": "1"}], tags=[{"key": "t", "value": TEXT}])  # fmt: skip
        model_id = made["model"]["info"]["model_id"]
        client.call("runs/outputs", run_id=run_id, models=[{"model_id": model_id, "step": 3}])
        client.end(
            client.log_run(first, "with a model", 2, model_id=model_id, dataset_name="sales", dataset_digest="d1")
        )


def read_runs(uri: str) -> dict[str, tuple[str, list[Any]]]:
    """By run, its digest, and whose its points are."""
    tracking = open_export(uri, OBJECTS)
    found = list(tracking.read_runs([run.run_id for run in tracking.list_runs()]))
    assert all(isinstance(run, RawRun) for run in found), found
    runs = [run for run in found if isinstance(run, RawRun)]
    return {run.info.run_id: (to_source_digest(run), sorted(map(repr, run.owned))) for run in runs}


def read_table(export: Export, uri: str, name: str) -> list[dict[str, Any]]:
    table = export.table(name)
    rows = [row for part in table.parts for row in read_rows(OBJECTS.read(f"{uri}/{part.name}")[0], part.name)]
    return [dict(zip(table.columns, row, strict=True)) for row in rows]


@pytest.mark.parametrize("version", ["2.9.2", "current"])
def test_export_of_a_server_says_what_that_of_its_database_says(
    version: str, postgres: Postgres, prefect_server: None, tmp_path: Path
) -> None:
    """Both agree row by row, run by run, model by model, and on the owner of each point.

    One is published with no MLflow anywhere, and verified against the other."""
    store_uri = postgres.url(postgres.make_database()).replace("+psycopg", "+psycopg2")
    api_uri, sql_uri = ((tmp_path / name).as_uri() for name in ("api", "sql"))
    with serve(version, store_uri, tmp_path / "server", workers=1) as url:
        fill(url, is_3=version == "current")
        store = RestStore(MlflowServer(url, requests.Session))
        export = export_answers(Answers(store, store, store), api_uri, OBJECTS)
        store.close()
    sql = export_store(store_uri, sql_uri, OBJECTS)
    assert (export.missing, export.noted) == ([], [])
    found = read_runs(api_uri)
    assert len(found) == (6 if version == "current" else 5)
    assert found == read_runs(sql_uri)
    assert any(owned for _, owned in found.values()) == (version == "current")
    for table in export.tables:
        if table.name in OURS or table.name not in {found.name for found in sql.tables}:
            continue
        expected = read_table(sql, sql_uri, table.name)
        rows = read_table(export, api_uri, table.name)
        assert [to_told(table.name, row) for row in in_order(rows)] == [
            to_told(table.name, {column: row.get(column) for column in table.columns})
            for row in in_order(expected)
            if row.get("version") != DELETED
        ], table.name
    for name in OURS - {"datasets"}:
        assert export.table(name).rows == sql.table(name).rows, name
    # 2.9.2 takes a data set of the same name and digest for that of the other experiment.
    facts = ("name", "digest", "dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile")
    datasets = [
        {tuple(row[column] or None for column in facts) for row in read_table(one, uri, "datasets")}
        for one, uri in ((export, api_uri), (sql, sql_uri))
    ]
    assert datasets[0] == datasets[1]
    models = [ExportSource(uri, OBJECTS).read_models() for uri in (api_uri, sql_uri)]
    assert to_known(models[0]) == to_known(models[1])
    state = str(tmp_path / "state")
    run_flow("migrate", STATE_DIR=state)
    done = run_flow("backfill", "--adopt", "--status", "all", "--export-uri", api_uri, STATE_DIR=state)
    assert (done["published"], done["failed"]) == (len(found) - 2, {})
    lost = ("--give-up", "artifacts", "--give-up", "logged-model-artifacts")
    answer = run_flow("verify", "--whole", "--require-safe", *lost, "--export-uri", sql_uri, STATE_DIR=state)
    assert (answer["verified"], answer["safe"]) == (len(found) - 2, True)


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("run_uuid", "run_id", "experiment_id", "name", "version", "model_id", "key", "metric_name", "param_key",
             "tag_key", "alias", "step", "metric_step", "timestamp")  # fmt: skip
    return sorted(rows, key=lambda row: tuple(repr(row.get(name)) for name in names))


def to_told(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """Without what no server tells (`rest_store.NOT_KEPT`), and an empty text as good as none."""
    untold = {
        "runs": {"source_type", "source_name", "source_version", "entry_point_name", "deleted_time"},
        "model_versions": {"storage_location"},
        "logged_model_metrics": {"dataset_uuid"},
    }.get(table, set())
    return {column: value or None for column, value in row.items() if column not in untold}


def to_known(models: Any) -> list[SourceModel]:
    """Without the numbers that were deleted, and where copies lie."""
    return [
        msgspec.structs.replace(
            model,
            origin=msgspec.structs.replace(model.origin, deleted=[]),
            versions=[msgspec.structs.replace(one, storage="") for one in model.versions],
            places={},
        )
        for model in models
    ]
