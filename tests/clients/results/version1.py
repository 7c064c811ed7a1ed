"""Databases in which version 0.1.0 has published, from its golden rows; and the sources that it published of."""

import base64
import json
from pathlib import Path
from typing import Any, Final

import msgspec

from switchyard.clients.results.migrate import migrate
from switchyard.core.backfill.mapped import to_first_digests_of, to_record
from switchyard.core.history.publication import Publication, Versions
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import Sampling
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.raw_run import Points, RawRun, TrackedRun
from tests.clients.results.older import make_schema
from tests.clients.results.places import KINDS, Place, run_sql, to_settings
from tests.postgres import Postgres
from tests.root import ROOT

_GOLDEN: Final = Path(__file__).parent / "golden"
FILE: Final = ROOT / "tests/core/metrics/golden/v1_completed/training_metrics.json"
ROWS: Final[list[dict[str, Any]]] = json.loads((_GOLDEN / "version1_rows.json").read_text())
IDS: Final = {row["name"]: row["published"]["quick_test_id"] for row in ROWS}


def read_mlflow_run() -> RawRun:
    """The MLflow run that two of the rows were made of."""
    raw = json.loads((_GOLDEN / "version1_mlflow_run.json").read_text())
    metrics = {
        key: Points([at[0] for at in points], [at[1] for at in points], [float(at[2]) for at in points])
        for key, points in raw["metrics"].items()
    }
    return RawRun(
        info=msgspec.convert(raw["info"], TrackedRun), metrics=metrics, params=raw["params"], tags=raw["tags"]
    )


def make_place(kind: str, folder: Path, postgres: Postgres | None) -> tuple[Place, dict[int, str]]:
    """A place of that kind, migrated after the golden rows were in it; and each row's history as it stood before."""
    table, history_type = KINDS[kind]
    url = f"sqlite:///{folder / 'version1.db'}" if postgres is None else postgres.url(postgres.make_database())
    make_schema(url, "0002", table=table, history_type=history_type)
    for row in ROWS:
        _insert(url, table, history_type, row)
    runs = table or "quick_tests"
    if not url.startswith("sqlite"):
        run_sql(url, f"SELECT setval(pg_get_serial_sequence('{runs}', 'id'), {max(IDS.values())})")
    stored = run_sql(url, f"SELECT id, CAST(training_history_json AS text) AS history FROM {runs}")
    migrate(to_settings(url, table))
    return Place(url, table, history_type), {row.id: row.history for row in stored}


def to_current_publication(name: str) -> Publication:
    """What publishing the golden row's source writes now; of MLflow's as much is read as was then."""
    if name == "file":
        record = read_record(FILE.read_bytes(), where="training_metrics.json")
        return to_publication(record, quick_test_id=IDS[name], source="file", sampling=Sampling())
    run = read_mlflow_run()
    if name == "mlflow charted":
        metrics = {key: points for key, points in run.metrics.items() if key in SCALARS}
        run = msgspec.structs.replace(run, keys=SCALARS, metrics=metrics)
    return to_publication(
        to_record(run, Versions()),
        quick_test_id=IDS[name],
        source="mlflow",
        sampling=Sampling(),
        mlflow_run_id=run.info.run_id,
        first_digests=to_first_digests_of(run),
    )


def _insert(url: str, table: str, history_type: str, row: dict[str, Any]) -> None:
    own = {
        "display_name": "",
        "mlflow_experiment_name": "",
        "parameters": "{}",
        "request_key": row["name"],
        "error": "",
        "created_at": "2026-01-15 10:30:00",
    }
    other = {"owner_name": "somebody", "is_archived": False, "opened": "2025-01-01 00:00:00"}
    values = {"id": row["published"]["quick_test_id"], **row["row"], **(other if table else own)}
    if history_type == "jsonb":  # which has no NUL, so that U+FFFD was published
        values["training_history_json"] = values["training_history_json"].replace("nul\\u0000", "nul\ufffd")
    cast = {"training_history_json": f"CAST(:training_history_json AS {history_type})"}
    _insert_row(url, table or "quick_tests", values, cast)
    published = dict(row["published"])
    if not url.startswith("sqlite"):
        published |= {name: f"{published[name]}+00" for name in ("cached_at", "published_at")}
    _insert_row(url, "switchyard_published", published, {})
    for histogram in row["histograms"]:
        packed = base64.b64decode(histogram["gzip_json"])
        found = {"quick_test_id": row["published"]["quick_test_id"], **histogram, "gzip_json": packed}
        _insert_row(url, "switchyard_histograms", found, {})


def _insert_row(url: str, table: str, values: dict[str, Any], casts: dict[str, str]) -> None:
    marks = ", ".join(casts.get(name, f":{name}") for name in values)
    run_sql(url, f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", **values)
