"""What it costs to publish the history of every run of an MLflow store.

The ratios are against `psql \\copy` of its metrics and against one `get-history` call a key, on the same Postgres.

The stores are made at the first time (about 8 minutes) and kept below STATE_DIR. The part over REST needs the server
that `make test-mlflow` sets up. Sizes to try it with: `python -m tests.bench.backfill 50 200`.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import sqlalchemy
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from switchyard.clients.mlflow.sql import open_store as open_mlflow
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from tests.bench.mlflow_store import Store, find_psql, open_store
from tests.clients.mlflow.real_servers import serve
from tests.flows.backfill_world import fill
from tests.root import ROOT

SIZES = (1_000, 4_000)
WHOLE: dict[str, Any] = {"histograms": True, "full": True}
KINDS: dict[str, tuple[dict[str, Any], int, int]] = {
    "charted": ({}, 5, 3),
    "charted_postgres": ({"results": "postgres"}, 5, 1),
    "whole": (WHOLE, 3, 1),
    "whole_threads": ({**WHOLE, "concurrency": 2}, 3, 0),
    "whole_processes": ({**WHOLE, "processes": 2}, 3, 0),
}
"""How to publish, how often over the smaller store, and how often over the larger one."""
UNITS = {"ms": "ms a run at best", "cpu_ms": "ms of processor time a run", "mb": "MB at the highest"}
OVER_REST = 200
"""Runs of the smaller store that are published over REST."""
USUAL = 12
"""Runs that are read in the usual way, which takes two seconds each."""
ENVIRONMENT = ROOT / ".switchyard" / "mlflow-2.9.2"


class Bench:
    """One store's backfills, each into an empty results database."""

    def __init__(self, store: Store, count: int, folder: Path) -> None:
        self.uri = store.runs_uri(count)
        self.count = count
        self._store = store
        self._folder = folder
        self._turn = 0
        tracking = open_mlflow(self.uri)
        self.run_ids = [run.run_id for run in tracking.list_runs()]
        tracking.close()

    def copy_s(self) -> tuple[float, float]:
        """Wall time of `psql \\copy metrics to` a null device, and processor time of it and of the server."""
        command = [find_psql(), self.uri, "-qc", r"\copy metrics to /dev/null"]
        server_s, ours = self._store.server_s(), resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        wall_s = time.perf_counter() - started
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        client_s = ended.ru_utime + ended.ru_stime - ours.ru_utime - ours.ru_stime
        return wall_s, client_s + self._store.server_s() - server_s

    def backfill(
        self, *, results: str = "sqlite", server: str = "", processes: int = 1, **parameters: Any
    ) -> dict[str, float]:
        """One backfill of all runs into an empty database; several processes take a shard each.

        What `tests.bench.backfill_process` says of it, and seconds from the first query to the last commit.
        """
        self._turn += 1
        state = self._folder / f"{self.count}-{self._turn}"
        url = f"sqlite:///{state / 'results.db'}" if results == "sqlite" else self._store.make_results("bench_results")
        source = {"MLFLOW_TRACKING_URI": server} if server else {"MLFLOW_BACKEND_STORE_URI": self.uri}
        environ = {"STATE_DIR": str(state), "RESULTS_URL": url, **source}
        migrate(read_settings(environ))
        fill(url, self.run_ids)
        shards = [{"shards": processes, "shard": number} for number in range(1, processes + 1)]
        server_s = self._store.server_s()
        started = [start(environ, parameters | (shard if processes > 1 else {})) for shard in shards]
        found = [read(process) for process in started]
        server_s = self._store.server_s() - server_s
        asked = parameters.get("limit", self.count)
        published = count_published(url)
        if published != asked:
            raise SystemExit(f"a backfill must publish {asked} runs; {published} are")
        return {
            "seconds": max(each["last_commit_at"] for each in found) - min(each["first_query_at"] for each in found),
            "body_s": max(each["body_s"] for each in found),
            "cpu_s": sum(each["cpu_s"] for each in found),
            "all_cpu_s": sum(each["cpu_s"] for each in found) + server_s,
            "peak_mb": max(each["peak_mb"] for each in found),
        }


def start(environ: dict[str, str], parameters: dict[str, Any]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.backfill_process", json.dumps(parameters)],
        env=os.environ | environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read(process: "subprocess.Popen[str]") -> dict[str, float]:
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"a backfill failed:\n{output}{errors}")
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def count_published(url: str) -> int:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found: int = connection.execute(
            sqlalchemy.text("SELECT count(*) FROM quick_tests WHERE training_history_json IS NOT NULL")
        ).scalar_one()
    engine.dispose()
    return found


def main(sizes: tuple[int, ...] = SIZES) -> dict[str, float | str]:
    """Prints a line a measurement, each beside a `\\copy` of the same moment; returns the figures."""
    figures: dict[str, float | str] = {"load": os.getloadavg()[0]}
    with (
        open_store() as store,
        prefect_test_harness(server_startup_timeout=120),
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        benches = [Bench(store, count, Path(folder)) for count in sizes]
        print(rf"load {figures['load']:.1f}; seconds, and ratio to the \copy beside it: median [range]")
        for bench in benches:
            figures |= measure_sql(bench, is_smaller=bench is benches[0])
        for kind in ("charted", "whole"):
            shown = {unit: [float(figures[f"{kind}_{count}_{unit}"]) for count in sizes] for unit in UNITS}
            print(f"{kind}: " + ", ".join(f"{name} {to_row(shown[unit])}" for unit, name in UNITS.items()))
        figures |= measure_rest(benches[0], figures)
    return figures


def to_row(values: list[float]) -> str:
    return " -> ".join(f"{value:.2f}" for value in values)


def measure_sql(bench: Bench, *, is_smaller: bool) -> dict[str, float | str]:
    """Backfills by SQL, by each of `KINDS`."""
    figures: dict[str, float | str] = {}
    for kind, (parameters, of_smaller, of_larger) in KINDS.items():
        repeats = of_smaller if is_smaller else of_larger
        if not repeats:
            continue
        turns = [(bench.copy_s(), bench.backfill(**parameters)) for _ in range(repeats)]
        name = f"{kind}_{bench.count}"
        seconds = [found["seconds"] for _, found in turns]
        ratios = [found["seconds"] / wall_s for (wall_s, _), found in turns]
        # Other processes on the machine do not count.
        cpu_ratios = [found["all_cpu_s"] / cpu_s for (_, cpu_s), found in turns]
        peak = max(found["peak_mb"] for _, found in turns)
        figures |= {
            f"{name}_ratio": statistics.median(ratios),
            f"{name}_cpu_ratio": statistics.median(cpu_ratios),
            f"{name}_ms": min(seconds) / bench.count * 1e3,  # other processes only ever add to it
            f"{name}_cpu_ms": statistics.median(found["cpu_s"] for _, found in turns) / bench.count * 1e3,
            f"{name}_mb": statistics.median(found["peak_mb"] for _, found in turns),
        }
        print(
            f"{bench.count:6,} runs, {kind:16} \\copy {statistics.median(copy_s for (copy_s, _), _ in turns):6.2f} s, "
            f"backfill {statistics.median(seconds):6.2f} s "
            f"(body {statistics.median(found['body_s'] for _, found in turns):.2f} s, "
            f"CPU {statistics.median(found['cpu_s'] for _, found in turns):.2f} s), "
            f"ratio {statistics.median(ratios):5.2f} [{min(ratios):.2f}-{max(ratios):.2f}], "
            f"of processor time {statistics.median(cpu_ratios):5.2f} [{min(cpu_ratios):.2f}-{max(cpu_ratios):.2f}], "
            f"peak {peak:.0f} MB",
            flush=True,
        )
    return figures


def measure_rest(bench: Bench, figures: dict[str, float | str]) -> dict[str, float | str]:
    """The usual way, and backfill over REST, against a server of 2.9.2 over the same store."""
    if not (ENVIRONMENT / "bin" / "mlflow").exists():
        print(f"no MLflow 2.9.2 at {ENVIRONMENT}, so nothing over REST: make test-mlflow builds it")
        return {}
    limit = min(OVER_REST, bench.count)
    with serve_store(bench) as url:
        step = max(1, len(bench.run_ids) // USUAL)
        usual_ms = statistics.median(read_usually_s(url, run_id) for run_id in bench.run_ids[::step][:USUAL]) * 1e3
        rest = bench.backfill(server=url, limit=limit)
        whole = bench.backfill(server=url, limit=limit, **WHOLE)
    rest_ms, whole_ms = (found["seconds"] / limit * 1e3 for found in (rest, whole))
    sql_ms = float(figures[f"charted_{bench.count}_ms"])
    print(f"the usual way, one get-history a key: {usual_ms:.0f} ms a run, median of {USUAL}")
    print(f"  by SQL {sql_ms:.2f} ms a run: {usual_ms / sql_ms:.0f} times faster")
    print(f"  by REST {rest_ms:.1f} ms a run of {limit}: {usual_ms / rest_ms:.1f} times faster")
    print(f"  by REST, everything, {whole_ms:.0f} ms a run of {limit}: {usual_ms / whole_ms:.1f} times faster")
    return {"usual_ms": usual_ms, "rest_ms": rest_ms, "rest_whole_ms": whole_ms}


@contextmanager
def serve_store(bench: Bench) -> Iterator[str]:
    uri = bench.uri.replace("postgresql://", "postgresql+psycopg2://")  # the driver that MLflow has
    with tempfile.TemporaryDirectory(prefix="bench-mlflow-") as folder, serve("2.9.2", uri, Path(folder)) as url:
        yield url


def read_usually_s(url: str, run_id: str) -> float:
    """How long a client takes that asks for the run, and then for one key after the other."""
    api = f"{url}/api/2.0/mlflow"
    started = time.perf_counter()
    with requests.Session() as session:
        run = session.get(f"{api}/runs/get", params={"run_id": run_id}, timeout=60).json()["run"]
        points = 0
        for metric in run["data"]["metrics"]:
            query = {"run_id": run_id, "metric_key": metric["key"]}
            points += len(session.get(f"{api}/metrics/get-history", params=query, timeout=60).json()["metrics"])
    assert points > len(run["data"]["metrics"]), points
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(main(tuple(map(int, sys.argv[1:])) or SIZES)))
