"""One backfill in a process of its own, measured from within: what `tests.bench.backfill` starts.

    RESULTS_URL=... MLFLOW_BACKEND_STORE_URI=... python -m tests.bench.backfill_process '{"histograms": true}'

Prints one JSON line: seconds of the flow's body by the clock, and of processor time, of the body and of all; when the
first query of the results database (the flow's first of all) and the last commit there were, on the clock that all
processes share; and megabytes of memory at the highest.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine

from flows.backfill import backfill
from switchyard.clients.connect import connect

LOADED_AT_USE: Final = (
    "psycopg",
    "switchyard.clients.mlflow.postgres",
    "switchyard.clients.mlflow.sqlite",
)
"""What the flow's body would load once in a process, as it opens the results database once: a start costs that, as
Prefect's does, and not the runs."""


class Clock:
    """When the flow's body, and the work on databases within it, began and ended [s]."""

    def __init__(self) -> None:
        self.body = [0.0, 0.0]
        self.body_cpu_s = 0.0
        self.first_query_at = 0.0
        self.last_commit_at = 0.0

    def wrap(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """`body`, timed: what Prefect does before and after it is not ours."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.body[0] = time.perf_counter()
            before_s = time.process_time()
            try:
                return body(*args, **kwargs)
            finally:
                self.body[1] = time.perf_counter()
                self.body_cpu_s = time.process_time() - before_s

        return timed

    def on_query(self, *_details: object) -> None:
        self.first_query_at = self.first_query_at or time.perf_counter()

    def on_commit(self, *_details: object) -> None:
        self.last_commit_at = time.perf_counter()


def main() -> None:
    """Runs the flow with the parameters of the first argument."""
    for name in LOADED_AT_USE:
        importlib.import_module(name)
    _ = connect().ledger
    clock = Clock()
    backfill.fn = clock.wrap(backfill.fn)
    event.listen(Engine, "before_cursor_execute", clock.on_query)
    event.listen(Engine, "commit", clock.on_commit)
    before_s = time.process_time()
    backfill(**json.loads(sys.argv[1]))
    print(
        json.dumps(
            {
                "body_s": clock.body[1] - clock.body[0],
                "body_cpu_s": clock.body_cpu_s,
                "first_query_at": clock.first_query_at,
                "last_commit_at": clock.last_commit_at,
                "cpu_s": time.process_time() - before_s,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
