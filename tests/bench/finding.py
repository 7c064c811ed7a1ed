"""The list of runs with a filter or an order, among 200,000 runs of 30 values each; and a comparison of 10 runs.

As JSON and as a page, in our own table and in an application's.

Times are of one request to the application in this process, the smallest and the median of several, and the least work
of this process: on a machine that others use the work says most. SQLite works in this process, Postgres in its own.
`--runs` makes fewer runs.
"""

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import psycopg
from sqlalchemy import make_url
from starlette.testclient import TestClient

from serving.app import create_app
from switchyard.clients.connect import Outside
from switchyard.clients.results.engine import open_file
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from tests.postgres import Postgres
from tests.serving.factories import make_record, publish_run

RUNS: Final = 200_000
REPEATS: Final = 15
SCAN_REPEATS: Final = 2
"""Of what walks all runs; it may be refused, for it takes longer than a request may."""
COMPARED: Final = 40
"""Pairs of a comparison and a single history."""
_START: Final = datetime(2024, 1, 1, tzinfo=UTC)
_HISTORY: Final = json.dumps(
    {"available": True, "epochs": list(range(50)), "filled": "x" * 1_500, "digest": "sha256:a"}
)
_OPTIMIZERS: Final = ("adam", "adagrad", "sgd", "lamb")
SHAPES: Final = {
    "newest": {},
    "one value, 0.01 % of the runs": {"filter": "metrics.test_recall_at_10 > 0.1999"},
    "one value, 0.5 %": {"filter": "metrics.test_recall_at_10 > 0.199"},
    "one value, 2 %": {"filter": "metrics.test_recall_at_10 > 0.196"},
    "one value, half of the runs": {"filter": "metrics.test_recall_at_10 > 0.1"},
    "a param that a run in a thousand has": {"filter": "params.rare = 'yes'"},
    "LIKE with a prefix": {"filter": "params.data LIKE 'part-00012%'"},
    "IN": {"filter": "params.seed IN (17, 18, 19, 4711)"},
    "and: two halves": {"filter": "metrics.test_recall_at_10 > 0.1 and params.optimizer = 'adam'"},
    "or: two small ones": {"filter": "metrics.test_recall_at_10 > 0.1999 or best.val_loss < 0.3001"},
    "not": {"filter": "not (params.optimizer = 'adam' or params.optimizer = 'sgd')"},
    "status and a value": {"filter": "status = 'failed' and metrics.test_recall_at_10 > 0.15"},
    "experiment": {"experiment": "experiment 7"},
    "ordered by a metric": {"order_by": "metrics.test_recall_at_10 desc"},
    "ordered by the best loss": {"order_by": "best.val_loss asc"},
    "ordered by a param": {"order_by": "params.optimizer asc"},
    "ordered by duration": {"order_by": "duration_s desc"},
    "ordered by name": {"order_by": "name asc"},
    "ordered by a metric, a param of a quarter": {
        "filter": "params.optimizer = 'adam'",
        "order_by": "metrics.test_recall_at_10 desc",
    },
    "ordered by a metric, a param of 1 in 1,000": {"filter": "params.rare = 'yes'", "order_by": "best.val_loss asc"},
    "ordered by a metric, an experiment of 1 in 100": {
        "experiment": "experiment 7",
        "order_by": "metrics.test_recall_at_10 desc",
    },
    "ordered and filtered by the same": {
        "filter": "metrics.test_recall_at_10 < 0.05",
        "order_by": "metrics.test_recall_at_10 desc",
    },
}
"""What is asked; each page of 50 shows four values of every run."""
SCANS: Final = {
    "a scan: two halves that exclude each other": {
        "filter": "metrics.test_recall_at_10 > 0.1 and best.val_loss > 0.5 and params.optimizer = 'none'"
        " or metrics.test_recall_at_10 > 0.1 and metrics.test_recall_at_50 < 0.1",
    },
    "a scan: NOT LIKE that no run meets": {"filter": "params.optimizer NOT LIKE '%a%' and params.optimizer != 'sgd'"},
}
"""What docs/api.md says walks all runs."""
PAGES: Final = ("newest", "one value, 0.5 %", "ordered by a metric", "ordered by a metric, an experiment of 1 in 100")
"""Of which the page is asked for too."""
APPLICATION_TABLE: Final = "app_tests"
_SHOWN: Final = "metrics.test_recall_at_10,best.val_loss,params.optimizer,params.learning_rate"


def main(runs: int = RUNS) -> dict[str, float | str]:
    """Prints the table, and returns the smallest time of each in ms."""
    figures: dict[str, float | str] = {"runs": float(runs)}
    with tempfile.TemporaryDirectory() as folder:
        figures |= _compare(Path(folder))
        for name, url, table in _databases(Path(folder)):
            if table:
                _make_application_table(url)
            settings = read_settings({"RESULTS_URL": url, "RESULTS_TABLE": table, "STATE_DIR": folder})
            migrate(settings)
            began = time.perf_counter()
            fill(url, runs, table=table)
            print(f"{name}: {runs} runs of 30 values made in {time.perf_counter() - began:.0f} s", flush=True)
            with TestClient(create_app(Outside(settings))) as client:
                figures |= {f"{name}: {shape}": ms for shape, ms in _measure_all(client, own=not table)}
    return figures


def _measure_all(client: TestClient, *, own: bool) -> Iterator[tuple[str, float]]:
    print("    CPU     min  median  ms")
    for shape, asked in {**SHAPES, **SCANS}.items():
        if not own and ("experiment" in asked or asked.get("order_by", "").startswith(("name", "duration"))):
            continue  # an application's table has no such columns
        fields = {"fields": _SHOWN} if asked else {}
        paths = {shape: "/api/quick-tests/?" + urlencode({**asked, **fields})}
        if shape in PAGES:
            paths[f"page: {shape}"] = "/quick-tests/?" + urlencode(asked)
        for title, path in paths.items():
            found = measure(client, path, repeats=REPEATS if shape in SHAPES else SCAN_REPEATS)
            print(f"{found.cpu:7.1f} {found.least:7.1f} {found.median:7.1f}  {title} ({found.items})", flush=True)
            yield title, round(found.least, 1)


def _compare(folder: Path) -> dict[str, float | str]:
    """Ten runs of 50 epochs at once, against one of them: what a page asks for in place of ten requests."""
    settings = read_settings({"RESULTS_URL": f"sqlite:///{folder / 'compared.db'}", "STATE_DIR": str(folder)})
    outside = Outside(settings)
    ids = [publish_run(outside, make_record(epochs=50), name=f"run {number}") for number in range(10)]
    with TestClient(create_app(outside)) as client:
        paths = (
            "/api/quick-tests/compare/?ids=" + ",".join(map(str, ids)),
            f"/api/quick-tests/{ids[0]}/training-history/",
        )
        pairs = [[measure(client, path, repeats=1).least for path in paths] for _ in range(COMPARED)]
    both, one = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
    print(f"a comparison of 10 runs: {both:.1f} ms, one history: {one:.1f} ms, ratio {ratio:.2f} (to be at most 3)")
    return {"compare of 10 to one history": round(ratio, 2)}


@dataclass(frozen=True)
class Measured:
    """Of several requests, in ms: this process's least work, the smallest and the median time; and what came."""

    cpu: float
    least: float
    median: float
    items: str


def measure(client: TestClient, path: str, *, repeats: int) -> Measured:
    """The first request is not counted."""
    times, work = [], []
    for _ in range(repeats + 1):
        began, worked = time.perf_counter(), time.process_time()
        answer = client.get(path, headers={"Accept-Encoding": "identity"})  # the client would spend time to unpack it
        times.append((time.perf_counter() - began) * 1000)
        work.append((time.process_time() - worked) * 1000)
        assert answer.status_code == 200 or repeats == SCAN_REPEATS, answer.text
    items = str(answer.status_code)
    if answer.status_code == 200:
        count = answer.text.count('name="ids"') if path.startswith("/quick") else len(answer.json().get("items", ()))
        items = f"{count} runs"
    return Measured(min(work[1:]), min(times[1:]), statistics.median(times[1:]), items)


def _databases(folder: Path) -> Iterator[tuple[str, str, str]]:
    """A name, the URL, and RESULTS_TABLE."""
    yield "sqlite", f"sqlite:///{folder / 'results.db'}", ""
    (folder / "results.db").unlink()
    yield "sqlite, an application's table", f"sqlite:///{folder / 'application.db'}", APPLICATION_TABLE
    (folder / "application.db").unlink()
    server = Postgres(folder)
    try:
        yield "postgres", server.url(server.make_database()), ""
        yield "postgres, an application's table", server.url(server.make_database()), APPLICATION_TABLE
    finally:
        server.remove()


def _make_application_table(url: str) -> None:
    """As Django would make it, with jsonb on Postgres."""
    columns = (
        "id integer PRIMARY KEY, status varchar(20) NOT NULL, gcs_artifacts_path varchar(500), "
        "mlflow_run_id varchar(64), training_history_json "
    )
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"CREATE TABLE {APPLICATION_TABLE} ({columns} text)")
    else:
        with psycopg.connect(_to_plain(url)) as connection:
            connection.execute(f"CREATE TABLE {APPLICATION_TABLE} ({columns} jsonb)")


def _to_plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


_RUN_COLUMNS: Final = (
    "id, status, gcs_artifacts_path, mlflow_run_id, display_name, mlflow_experiment_name, parameters, request_key, "
    "error, created_at, started_at, completed_at, training_history_json"
)
_VALUE_COLUMNS: Final = "quick_test_id, kind, name, number, text, history_etag"
_PUBLISHED_COLUMNS: Final = (
    "quick_test_id, charted_digest, series_digests, etag, status, rank_attempt, rank_restart, rank_epochs, "
    "rank_status, cached_at, published_at"
)
_APPLICATION_COLUMNS: Final = "id, status, gcs_artifacts_path, mlflow_run_id, training_history_json"


def fill(url: str, runs: int, *, table: str = "") -> None:
    """Writes the rows past the ports, which publish one run in 2 ms."""
    is_file = url.startswith("sqlite")
    zone = "" if is_file else "+00"
    cells = (_to_row(id_, zone) for id_ in _ids(runs))
    parts: list[tuple[str, Iterator[tuple[Any, ...]]]] = [(f"quick_tests ({_RUN_COLUMNS})", cells)]
    if table:
        published = (_to_published(id_, zone) for id_ in _ids(runs))
        parts = [
            (f"{table} ({_APPLICATION_COLUMNS})", ((*row[:4], row[-1]) for row in cells)),
            (f"switchyard_published ({_PUBLISHED_COLUMNS})", published),
        ]
    parts.append((f"switchyard_values ({_VALUE_COLUMNS})", _list_values(runs)))
    if is_file:
        _fill_sqlite(Path(url.removeprefix("sqlite:///")), parts)
    else:
        _fill_postgres(url, parts)


_Parts = Sequence[tuple[str, Iterator[tuple[Any, ...]]]]
"""A table with its columns, and the rows for it."""


def _fill_sqlite(path: Path, parts: _Parts) -> None:
    with closing(open_file(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        connection.execute("BEGIN")
        for target, rows in parts:
            marks = ", ".join("?" * (target.count(",") + 1))
            connection.executemany(f"INSERT INTO {target} VALUES ({marks})", rows)
        connection.execute("COMMIT")


def _fill_postgres(url: str, parts: _Parts) -> None:
    with psycopg.connect(_to_plain(url)) as connection, connection.cursor() as cursor:
        for target, rows in parts:
            with cursor.copy(f"COPY {target} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        connection.commit()
    with psycopg.connect(_to_plain(url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")  # as autovacuum does, soon after this number of rows


def _to_published(id_: int, zone: str) -> tuple[Any, ...]:
    at = _START.strftime("%Y-%m-%d %H:%M:%S.%f") + zone
    return (id_, "sha256:a", "{}", "e", "completed", 1, 0, 50, 2, at, at)


def _ids(runs: int) -> range:
    return range(1, runs + 1)


def _to_row(id_: int, zone: str) -> tuple[Any, ...]:
    created = _START + timedelta(minutes=5 * id_)
    status = "failed" if id_ % 20 == 0 else "completed"

    def at(minutes: float) -> str:
        return (created + timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S.%f") + zone

    name, experiment = f"run {id_ * 7919 % 1_000_003}", f"experiment {id_ % 100}"
    times = (at(0), at(1), at(2 + id_ * 31 % 600))
    return (id_, status, "", f"{id_:032x}", name, experiment, "{}", f"request {id_}", "", *times, _HISTORY)


def _list_values(runs: int) -> Iterator[tuple[Any, ...]]:
    source = random.Random(1)
    for id_ in _ids(runs):
        recall, loss = source.random() * 0.2, 0.3 + source.random()
        numbers = {f"test_recall_at_{at}": recall * at / 10 for at in (5, 10, 50, 100)}
        numbers |= {"test_loss": loss * 1.1, "final_loss": loss, "final_val_loss": loss * 1.05}
        yield from ((id_, "final", name, number, None, "e") for name, number in numbers.items())
        last = ("loss", "val_loss", "total_loss", "learning_rate", "epoch_seconds", "val_recall_at_10")
        yield from ((id_, "last", name, loss, None, "e") for name in last)
        yield from ((id_, "best", name, loss, None, "e") for name in ("loss", "val_loss", "val_recall_at_10"))
        params = {
            "optimizer": _OPTIMIZERS[id_ * 7 % 4],
            "learning_rate": str(round(0.001 * (1 + id_ % 97), 4)),
            "batch_size": str(512 * (1 + id_ % 4)),
            "embedding_dim": str(32 * (1 + id_ % 8)),
            "epochs": str(10 + id_ % 50),
            "seed": str(id_ % 10_000),
            "data": f"part-{id_ % 5_000:05d}.parquet",
            **({"rare": "yes"} if id_ % 1_000 == 0 else {}),
            **{f"other_{number}": str(id_ % (number + 2)) for number in range(5)},
        }
        for name, text in params.items():
            yield id_, "param", name, float(text) if text.replace(".", "", 1).isdigit() else None, text, "e"
        yield id_, "tag", "team", None, f"team {id_ % 12}", "e"
        yield id_, "tag", "commit", None, f"{id_ * 7919:012x}", "e"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    main(parser.parse_args().runs)
