"""What an export needs of memory, whatever the size of the store."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.mlflow.stores import make_sqlite

pytestmark = pytest.mark.slow

PART_ROWS = 40_000
CODE = """if True:
    import resource, sys
    from tests.clients.mlflow.export.exports import export_to
    export_to(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
FILL = """
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
    SELECT 'a metric''s key ' || i % 100, i / 7.0, 1690000000000 + i, printf('%032x', i / 5000), i / 100 % 50, 0 FROM n
"""


def measure_peak_kib(folder: Path, rows: int) -> int:
    """The most memory that an export's process had, of a store with `points` points."""
    folder.mkdir()
    path = make_sqlite(folder / "mlflow.db")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys = off")
        connection.execute(FILL, (rows - 1,))
    connection.close()
    command = [sys.executable, "-c", CODE, f"sqlite:///{path}", (folder / "export").as_uri(), str(PART_ROWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_eight_times_the_rows_need_no_more_memory(tmp_path: Path) -> None:
    """Of 3 parts and of 24: the same within a tenth."""
    few, many = (measure_peak_kib(tmp_path / str(parts), parts * PART_ROWS) for parts in (3, 24))
    assert many < 1.1 * few, (few, many)
