"""Tries of a verify batch that are broken off: by MLflow, or by a kill in a process of their own.

As a program (``python -m tests.services.verify_tries <when> <count>``; the batch as JSON on its input) one try, which
kills itself ``before`` or ``after`` it has written the ledger that many times.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from switchyard.clients.connect import Outside, connect
from switchyard.clients.results.ledger import SqlLedger
from switchyard.core.errors import TryAgain
from switchyard.core.history.publication import Draft
from switchyard.core.mlflow.facts import Look
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.mlflow.raw_run import Keys, LostRun, RawRun, TrackedRun
from switchyard.core.mlflow.store_identity import StoreIdentity
from switchyard.core.ports import Tracking
from switchyard.core.verify.batches import VerifyBatch
from switchyard.services import verify as verifying
from tests.root import ROOT

RUNS_AT_ONCE = 2
"""For `verifying.WHOLE_RUNS`: so that a try can end between some."""


class WatchedStore:
    """The store, which notes the runs that it is asked for, and is away once it has answered for a number of them."""

    def __init__(self, store: Tracking, breaks_after: int | None = None) -> None:
        self._store = store
        self._breaks_after = breaks_after
        self.asked: list[str] = []

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        return self._store.list_runs(experiments=experiments)

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        asked = list(run_ids)
        self.asked += asked
        yield from itertools.islice(self._store.read_runs(asked, keys=keys), self._breaks_after)
        if self._breaks_after is not None:
            raise TryAgain("MLflow is away")

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        return self._store.look_at_runs(run_ids)

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        return self._store.read_marks(experiments=experiments)

    def identify(self) -> StoreIdentity:
        return self._store.identify()

    def describe(self) -> str:
        return self._store.describe()

    def close(self) -> None:
        self._store.close()


class WatchedOutside(Outside):
    """The outside, whose MLflow is a `WatchedStore`."""

    def __init__(self, outside: Outside, breaks_after: int | None = None) -> None:
        super().__init__(outside.settings)
        self.store = WatchedStore(outside.tracking, breaks_after)

    def open_tracking(self, export_uri: str = "") -> Tracking:
        return self.store


def run_killed_try(outside: Outside, batch: VerifyBatch, when: str, count: int) -> None:
    """A try in a process of its own, which is dead afterwards."""
    settings = {
        name.upper(): str(value)
        for name, value in msgspec.structs.asdict(outside.settings).items()
        if name in ("state_dir", "results_url", "mlflow_backend_store_uri")
    }
    killed = subprocess.run(
        [sys.executable, "-m", "tests.services.verify_tries", when, str(count)],
        input=msgspec.json.encode(batch),
        env=os.environ | settings,
        cwd=ROOT,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL


def _die_at(when: str, count: int) -> None:
    """Has this process kill itself at that write of the ledger."""
    writes = itertools.count(1)
    write = SqlLedger.publish_many

    def publish_many(self: SqlLedger, kind: str, drafts: Sequence[Draft], *, now: datetime) -> Any:
        is_last = next(writes) == count
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = write(self, kind, drafts, now=now)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    SqlLedger.publish_many = publish_many  # type: ignore[assignment,method-assign]  # this process is for it alone
    verifying.WHOLE_RUNS = RUNS_AT_ONCE  # type: ignore[misc]  # the same


if __name__ == "__main__":
    _die_at(sys.argv[1], int(sys.argv[2]))
    batch = msgspec.json.decode(sys.stdin.buffer.read(), type=VerifyBatch)
    verifying.verify_rows(connect(), batch.rows, whole=batch.whole, found_kind=batch.found_kind)
