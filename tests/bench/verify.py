"""What it costs to verify every run of an MLflow store, against reading the same keys alone and against the backfill.

The store is made at the first time (0.13 s a run, and more on a busy machine) and kept below STATE_DIR. Another size:
`python -m tests.bench.verify 400`.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec

from flows.verify import CHARTED_BATCH, WHOLE_BATCH
from switchyard.clients.connect import connect
from switchyard.clients.results.migrate import migrate
from switchyard.core.backfill.plan import How, Item
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.runs.rows import RunStatus
from switchyard.core.verify.batches import Scope, to_batches
from switchyard.core.verify.findings import State
from switchyard.services.backfill import backfill_runs
from switchyard.services.verify import verify_rows
from tests.bench.mlflow_store import open_store

RUNS = 1_000


def main(runs: int = RUNS) -> dict[str, float | str]:
    """Seconds of wall time and of this process' CPU, and its memory at the highest; charted and whole."""
    figures: dict[str, float | str] = {}
    with open_store() as store:
        uri = store.runs_uri(runs)
        for kind in ("charted", "whole"):
            figures |= _measure_apart(uri, kind)
    print(f"{runs} runs; wall s (CPU s)")
    for kind in ("charted", "whole"):
        shown = [f"{step} {figures[f'{kind}_{step}_s']:.2f} ({figures[f'{kind}_{step}_cpu_s']:.2f})"
                 for step in ("backfill", "read", "verify")]  # fmt: skip
        print(f"{kind}: {', '.join(shown)}; {figures[f'{kind}_rss_mb']:.0f} MB at the highest")
    return figures


def _measure_apart(uri: str, kind: str) -> dict[str, float | str]:
    """In a process of its own, for its memory."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"STATE_DIR": folder, "MLFLOW_BACKEND_STORE_URI": uri}
        command = [sys.executable, "-m", "tests.bench.verify", kind]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    found: dict[str, float | str] = msgspec.json.decode(done.stdout)
    return found


def _measure(kind: str) -> dict[str, float]:
    whole = kind == "whole"
    outside, now = connect(), datetime.now(UTC)
    migrate(outside.settings)
    with closing(outside.tracking) as tracking:
        adopted = [AdoptedRun(mlflow_run_id=run.run_id, status=RunStatus.COMPLETED) for run in tracking.list_runs()]
    ids = outside.runs.adopt_runs(adopted, now=now)
    items = [Item(quick_test_id=id_, mlflow_run_id=run_id) for run_id, id_ in ids.items()]

    def read() -> None:
        with closing(outside.tracking) as tracking:
            for _ in tracking.read_runs(ids, keys=None if whole else SCALARS):
                pass

    def verify() -> None:
        rows = outside.ledger.list_backfill()
        for batch in to_batches(rows, Scope(), "", charted_size=CHARTED_BATCH, whole_size=WHOLE_BATCH):
            found = verify_rows(outside, batch.rows, whole=batch.whole)
            assert all(run.state is State.VERIFIED for run in found)

    steps: dict[str, Callable[[], Any]] = {
        "backfill": lambda: backfill_runs(outside, items, How(full=whole, histograms=whole, since=now)),
        "read": read,
        "verify": verify,
    }
    figures: dict[str, float] = {}
    for name, step in steps.items():
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        figures[f"{kind}_{name}_s"] = time.perf_counter() - wall
        figures[f"{kind}_{name}_cpu_s"] = time.process_time() - cpu
    figures[f"{kind}_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


if __name__ == "__main__":
    if sys.argv[1:] in (["charted"], ["whole"]):
        print(msgspec.json.encode(_measure(sys.argv[1])).decode())
    else:
        main(*map(int, sys.argv[1:]))
