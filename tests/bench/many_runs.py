"""What is asked of all runs at once, over 200,000 published ones, on SQLite and Postgres.

That is the list's page, what reconcile must look at, and the plan of a backfill; absolute, and against reading one run
by its id.

    python -m tests.bench.many_runs 20000    # fewer runs, to try it with
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Text, cast, insert, literal, literal_column, select

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.clients.results.tables import to_tables
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.plan import How, make_plan
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, NewRun, RunStatus
from tests.bench.ingest import make_run
from tests.postgres import Postgres

RUNS = 200_000
REPEATS = 7
READS = 200
PAGE = 51
"""Runs that one page of the list asks for."""
LIMIT = 500
"""Runs that a turn of reconcile asks for."""
_UNLIKE = {"key": "job", "request_key": "request", "job_name": "name", "mlflow_run_id": "mlflow"}
"""Texts that differ from run to run."""


def main(runs: int = RUNS) -> dict[str, float | str]:
    """Prints a line a question and database, and returns the figures, in milliseconds.

    They are of this process and, as the server of Postgres works beside it, by the clock; the median of `REPEATS`, with
    the lowest and highest.
    """
    figures: dict[str, float | str] = {}
    print(f"{runs:,} runs, each completed and published; median [lowest-highest] of {REPEATS}")
    with tempfile.TemporaryDirectory(prefix="many-") as folder:
        for database, url in _databases(Path(folder)):
            migrate(read_settings({"RESULTS_URL": url, "STATE_DIR": folder}))
            results = open_results(url)
            multiply(results, url, runs)
            figures |= measure(results, database, runs)
    return figures


def measure(results: ResultsPorts, database: str, runs: int) -> dict[str, float | str]:
    now = datetime.now(UTC)

    def plan() -> object:
        return make_plan(results.ledger.list_backfill(), How(since=now))

    questions: dict[str, Callable[[], object]] = {
        "list": lambda: results.runs.list_runs(limit=PAGE),
        "unsettled": lambda: results.ledger.list_unsettled(now=now, limit=LIMIT),
        "plan": plan,
    }
    figures: dict[str, float | str] = {}
    read_ms = statistics.median(_times_ms(lambda: results.runs.read_run(runs // 2), READS)[0])
    figures[f"{database}_read_ms"] = read_ms
    print(f"{database:9} {'one run by its id':18} {read_ms:10.3f} ms")
    for name, question in questions.items():
        times, cpu = _times_ms(question, REPEATS)
        median_ms = statistics.median(times)
        print(
            f"{database:9} {name:18} {median_ms:10.3f} ms [{min(times):.3f}-{max(times):.3f}], "
            f"{statistics.median(cpu):.3f} ms of CPU here, {median_ms / read_ms:,.1f} reads by id",
            flush=True,
        )
        figures |= {f"{database}_{name}_ms": median_ms, f"{database}_{name}_reads": median_ms / read_ms}
        figures[f"{database}_{name}_cpu_ms"] = statistics.median(cpu)
    return figures


def multiply(results: ResultsPorts, url: str, runs: int) -> None:
    """Makes `runs` published runs, one through the ports and the rest by copying its rows.

    They have neither values nor histograms, which none of the questions reads.
    """
    now = datetime.now(UTC)
    run = results.runs.create_run(NewRun(request_key="request"), now=now)
    asked = Claim(quick_test_id=run.id, request_key="request", artifacts_uri="file:///a", parameters={})
    job = results.jobs.claim_job(asked, now=now).job
    results.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED, job_name="name"), now=now)
    publication = to_publication(
        make_run(11, metrics=3),
        quick_test_id=run.id,
        source="file",
        sampling=Sampling(),
        row_status=RunStatus.COMPLETED,
    )
    results.histories.publish(publication, now=now)
    results.jobs.note_completed_event(job.key, now=now)
    results.jobs.claim_ended_event(job.key, now=now)
    engine = sqlalchemy.create_engine(url)
    tables = to_tables()
    with engine.begin() as connection:
        numbers = select(literal(2).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < runs))
        for table, id_column in (
            (tables.runs, "id"),
            (tables.jobs, "quick_test_id"),
            (tables.published, "quick_test_id"),
        ):
            columns = [_copied(column, id_column, numbers.c.n) for column in table.c]
            copied = select(*columns).select_from(table.join(numbers, literal_column("1") == 1))
            connection.execute(insert(table).from_select([column.name for column in table.c], copied))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sqlalchemy.text("VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"))
    engine.dispose()


def _copied(column: Any, id_column: str, number: Any) -> Any:
    if column.name == id_column:
        return number
    if column.name in _UNLIKE:
        return literal(_UNLIKE[column.name]) + cast(number, Text)
    return column


def _times_ms(work: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """By the clock, and of this process' processor."""
    work()
    times, cpu = [], []
    for _ in range(repeats):
        started, started_cpu = time.perf_counter(), time.process_time()
        work()
        cpu.append((time.process_time() - started_cpu) * 1e3)
        times.append((time.perf_counter() - started) * 1e3)
    return times, cpu


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "sqlite", f"sqlite:///{folder / 'results.db'}"
    server = Postgres(folder)
    try:
        yield "postgres", server.url("postgres")
    finally:
        server.remove()


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
