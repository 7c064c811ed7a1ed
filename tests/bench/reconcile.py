"""What reconcile costs as finished and published runs pile up: queries, calls of the launcher, and processor time."""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from prefect.logging import disable_run_logger
from prefect.testing.utilities import prefect_test_harness
from sqlalchemy import event
from sqlalchemy.engine import Engine

from flows.reconcile import reconcile
from flows.train import train
from switchyard.clients import connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import Settings
from switchyard.core.ports import Launcher

SIZES = (0, 1_000, 4_000)
REPEATS = 5
_ID_COLUMNS = {"quick_tests": "id", "switchyard_jobs": "quick_test_id", "switchyard_published": "quick_test_id"}


class Counted:
    """A launcher whose calls are counted."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher, self.calls = launcher, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self.launcher, name)


def main() -> dict[str, float | str]:
    """Prints a line a size; returns the figures of the largest against none."""
    figures: dict[str, float | str] = {}
    print("finished runs | SQL statements | launcher calls | CPU of a turn [ms], median of 5")
    with prefect_test_harness(server_startup_timeout=120):
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                statements, calls, cpu_ms = measure(Path(folder), size)
            print(f"{size:13,} | {statements:14} | {calls:14} | {cpu_ms:10.1f}")
            figures |= {f"statements_{size}": statements, f"launcher_calls_{size}": calls, f"cpu_ms_{size}": cpu_ms}
    return figures


def measure(folder: Path, size: int) -> tuple[int, int, float]:
    """SQL statements and launcher calls of one turn over `size` finished runs, and its median processor time [ms]."""
    os.environ["STATE_DIR"] = str(folder)
    settings = connect.connect().settings
    migrate(settings)
    launcher = Counted(LocalLauncher(str(folder), command=(sys.executable, "-m", "tests.flows.scripted_trainer")))
    with wired(launcher):
        train(poll_interval_s=0.05)
        multiply(settings, folder, size)
        with disable_run_logger():
            reconcile()  # the launcher reads each ended job's record once in a process's life
            with counted_statements() as statements:
                launcher.calls.clear()
                reconcile()
                calls = launcher.calls.total()
            times = []
            for _ in range(REPEATS):
                started = time.process_time()
                reconcile()
                times.append((time.process_time() - started) * 1_000)
    return len(statements), calls, statistics.median(times)


def multiply(settings: Settings, folder: Path, size: int) -> None:
    """Makes `size` finished runs of the one that is there, each with its job's folder; with 0 that one goes too."""
    engine = sqlalchemy.create_engine(settings.results_url)
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        rows = {
            name: connection.execute(sqlalchemy.select(tables.tables[name])).mappings().one() for name in _ID_COLUMNS
        }
        job = Path(str(rows["switchyard_jobs"]["job_name"]))
        for name in reversed(_ID_COLUMNS):
            connection.execute(sqlalchemy.delete(tables.tables[name]))
        for name, id_column in _ID_COLUMNS.items():
            copies = [_copy(dict(rows[name]), id_column, number) for number in range(1, size + 1)]
            if copies:
                connection.execute(sqlalchemy.insert(tables.tables[name]), copies)
    engine.dispose()
    for number in range(1, size + 1):
        shutil.copytree(job, job.parent / f"{number:032x}")
    shutil.rmtree(job)


def _copy(row: dict[str, Any], id_column: str, number: int) -> dict[str, Any]:
    changed = {id_column: number, "key": f"{number:032x}", "request_key": f"request-{number}"}
    return row | {name: value for name, value in changed.items() if name in row}


@contextmanager
def wired(launcher: Any) -> Iterator[None]:
    before = connect._launcher

    def wire(settings: Settings) -> Any:
        return launcher

    connect._launcher = wire  # type: ignore[assignment]
    try:
        yield
    finally:
        connect._launcher = before


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The statements of our own database: Prefect's server is another process."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


if __name__ == "__main__":
    print(datetime.now(UTC).date(), main())
