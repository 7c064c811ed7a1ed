"""What it costs to follow MLflow: a backfill when no run has changed, and when ten have, beside the first one.

All are of the same store, into the same results database. Ratios are within one run, of time within the flow's body: by
the clock, and of processor time, ours and the server's together, which says more on a machine that others use too.

On Postgres, runs of 134 keys and 6,357 points, as users have them; on SQLite the same runs, copied row by row. Other
sizes: `python -m tests.bench.follow 200`.
"""

import json
import os
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from tests.bench.backfill import read, start
from tests.bench.mlflow_store import Store, open_store
from tests.clients.mlflow.stores import make_sqlite
from tests.flows.backfill_world import fill, list_run_ids

RUNS = 1_000
CHANGED = 10
TURNS = 3
_TABLES = ("experiments", "runs", "metrics", "latest_metrics", "params", "tags")


def main(runs: int = RUNS) -> dict[str, float | str]:
    """Prints a line a kind of store; returns the figures."""
    figures: dict[str, float | str] = {"load": os.getloadavg()[0], "runs": runs}
    with (
        open_store() as store,
        prefect_test_harness(server_startup_timeout=120),
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        with copy_database(store, runs) as source:
            url = store.make_results("bench_followed")
            figures |= measure("postgres", source, url, Path(folder) / "postgres", store)
            path = copy_to_sqlite(source, Path(folder) / "mlflow.db")
        results = f"sqlite:///{Path(folder) / 'sqlite' / 'results.db'}"
        figures |= measure("sqlite", f"sqlite:///{path}", results, Path(folder) / "sqlite", store)
    return figures


def measure(kind: str, source: str, url: str, state: Path, store: Store) -> dict[str, float | str]:
    """The first backfill, and then in turns one that finds nothing changed and one that finds ten."""
    environ = {"STATE_DIR": str(state), "RESULTS_URL": url, "MLFLOW_BACKEND_STORE_URI": source}
    state.mkdir()
    migrate(read_settings(environ))
    run_ids = list_run_ids(source)
    fill(url, run_ids)
    environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
    first = take(environ, url, store, expected=len(run_ids))
    taken: dict[str, list[dict[str, float]]] = {"none": [], "ten": []}
    for turn in range(TURNS):
        taken["none"].append(take(environ, url, store, expected=0))
        change(source, run_ids[:: max(1, len(run_ids) // CHANGED)][:CHANGED], turn)
        taken["ten"].append(take(environ, url, store, expected=min(CHANGED, len(run_ids))))
    figures: dict[str, float | str] = {f"{kind}_first_{unit}": first[unit] for unit in ("body_s", "all_cpu_s")}
    print(
        f"{kind:8}: {len(run_ids):,} runs for the first time {first['body_s']:.2f} s, "
        f"{first['all_cpu_s']:.2f} s of processor time",
        flush=True,
    )
    for name, turns in taken.items():
        shown = []
        for unit in ("body_s", "all_cpu_s"):
            found = [turn[unit] for turn in turns]
            ratio = statistics.median(found) / first[unit]
            figures |= {f"{kind}_{name}_{unit}": statistics.median(found), f"{kind}_{name}_{unit}_ratio": ratio}
            spread = f"[{min(found):.3f}-{max(found):.3f}]"
            shown.append(f"{statistics.median(found):.3f} s {spread}, {100 * ratio:.1f} %")
        print(f"{kind:8}: {name} changed {shown[0]}; processor {shown[1]}", flush=True)
    return figures


def take(environ: dict[str, str], url: str, store: Store, *, expected: int) -> dict[str, float]:
    """One backfill; as many runs must have been read as are `expected`."""
    before, server_s = count_read(url), store.server_s()
    found = read(start(environ, {}))
    found["all_cpu_s"] = found["body_cpu_s"] + store.server_s() - server_s
    if count_read(url) - before != expected:
        raise SystemExit(f"a backfill must read {expected} runs; it has read {count_read(url) - before}")
    return found


def count_read(url: str) -> int:
    """How often runs were read by backfills: each adds one to the attempts of its line."""
    engine = sqlalchemy.create_engine(url)
    query = "SELECT coalesce(sum(attempts), 0) FROM switchyard_ledger WHERE kind = 'backfill'"
    with engine.connect() as connection:
        found: int = connection.execute(sqlalchemy.text(query)).scalar_one()
    engine.dispose()
    return int(found)


def change(source: str, run_ids: list[str], turn: int) -> None:
    """A new tag on each, as people write who look at runs."""
    way = source.partition(":")[0]  # the file is a copy of the other, tags and all
    rows = [(run_id, f"seen by {way} {turn}", "yes") for run_id in run_ids]
    with connect(source) as connection:
        mark = "?" if source.startswith("sqlite") else "%s"
        insert = f"INSERT INTO tags (run_uuid, key, value) VALUES ({mark}, {mark}, {mark})"
        connection.cursor().executemany(insert, rows)
        connection.commit()


@contextmanager
def connect(source: str) -> Iterator[Any]:
    opened: Any = (
        sqlite3.connect(source.removeprefix("sqlite:///")) if source.startswith("sqlite") else psycopg.connect(source)
    )
    with closing(opened) as connection:
        yield connection


@contextmanager
def copy_database(store: Store, runs: int) -> Iterator[str]:
    """The store with that number of runs, in a database that may be changed."""
    original = store.runs_uri(runs)
    name = "mlflow_followed"
    store.postgres.execute(f"DROP DATABASE IF EXISTS {name}")
    store.postgres.execute(f"CREATE DATABASE {name} TEMPLATE mlflow_{runs}")
    store.postgres.execute("VACUUM ANALYZE", database=name)
    yield original.replace(f"mlflow_{runs}", name)
    store.postgres.execute(f"DROP DATABASE {name}")


def copy_to_sqlite(source: str, path: Path) -> Path:
    """The same runs in a file of MLflow's own schema."""
    make_sqlite(path)
    with psycopg.connect(source) as found, closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA synchronous = OFF")
        for table in _TABLES:
            with found.cursor(name=table) as cursor:
                cursor.itersize = 20_000
                cursor.execute(f"SELECT * FROM {table}".encode())
                rows = iter(cursor)
                one = next(rows, None)
                names = [column.name for column in cursor.description or ()]
                insert = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
                if one is not None:
                    made.execute(insert, one)
                    made.executemany(insert, rows)
        made.commit()
    return path


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:2]))))
