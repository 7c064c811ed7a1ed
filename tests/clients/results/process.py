"""What the results tests run in processes of their own: ``python -m tests.clients.results.process <act> <JSON>``."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from switchyard.clients.results.embedded import read_file_version
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.core.errors import SwitchyardError
from switchyard.core.history.publication import Rank
from switchyard.core.runs.rows import Claim, NewRun, RunStatus
from tests.clients.results.places import NOW, publication, to_settings


def publish(url: str, table: str, run: int, charted: str, attempt: int, die_after: int = 0) -> str:
    """Publishes; after `die_after` statements of its transaction this process is killed, as if from outside."""
    results = open_results(url, table)
    if die_after:
        _die_after(die_after)
    return results.histories.publish(
        publication(run, charted, rank=Rank(attempt=attempt), row_status=RunStatus.COMPLETED), now=NOW
    )


def claim(url: str, table: str, run: int, request_key: str) -> str:
    """Claims a job; its key."""
    results = open_results(url, table)
    return results.jobs.claim_job(
        Claim(quick_test_id=run, request_key=request_key, artifacts_uri="file:///a"), now=NOW
    ).job.key


def make_schema(url: str, table: str) -> str:
    """Migrates."""
    return migrate(to_settings(url, table))


def open_first(url: str) -> str:
    """Opens it, perhaps before anyone else has, and writes; the schema it then has."""
    results = open_results(url)
    results.runs.create_run(NewRun(request_key=str(os.getpid())), now=NOW)
    return read_file_version(Path(url.removeprefix("sqlite:///"))) or ""


def _die_after(statements: int) -> None:
    left = statements

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", count)


ACTS: dict[str, Any] = {"publish": publish, "claim": claim, "make_schema": make_schema, "open_first": open_first}

if __name__ == "__main__":
    sys.stdin.readline()  # all who take part begin when the test closes their input
    try:
        print(ACTS[sys.argv[1]](**json.loads(sys.argv[2])))
    except SwitchyardError as err:
        print(type(err).__name__)
