"""What the results tests run in processes of their own.

``python -m tests.clients.results.process`` reads one JSON line for all who begin at the same time, and answers with
one. They are forked after the imports, which take longer than what they do.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import Engine

from switchyard.clients.results.embedded import read_file_version
from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import open_results
from switchyard.core.errors import SwitchyardError
from switchyard.core.history.publication import Rank
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import NewVersion, Promotion, Rollback, StageMove
from switchyard.core.registry.stages import Stage
from switchyard.core.runs.rows import Claim, NewRun, RunStatus
from tests.clients.results.places import NOW, publication, to_settings
from tests.root import ROOT


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


def register(url: str, table: str, source: str, die_after: int = 0) -> str:
    """Registers a version; after `die_after` statements of its transaction this process is killed."""
    results = open_results(url, table)
    file = ModelFile(path="a", size_bytes=1, sha256="ab" * 32)
    new = NewVersion(name="killed", source_key=source, source_uri="", manifest=to_manifest([file], ""))
    if die_after:
        _ = results.database.tables
        _die_after(die_after)
    return str(results.models.register(new).version.version)


def promote(url: str, table: str, version: int, expected: int | None, die_after: int = 0) -> str:
    """Promotes, once; after `die_after` statements of its transaction this process is killed."""
    results = open_results(url, table)
    wanted = Promotion(
        name="killed", version=version, expected=expected, force=True, reason="test", request_key=f"to {version}"
    )
    if die_after:
        _ = results.database.tables
        _die_after(die_after)
    return str(results.models.promote(wanted).seq)


def roll_back(url: str, table: str, expected: int, die_after: int = 0) -> str:
    """Rolls back, once; after `die_after` statements of its transaction this process is killed."""
    results = open_results(url, table)
    if die_after:
        _ = results.database.tables
        _die_after(die_after)
    return str(results.models.roll_back(Rollback(name="killed", expected=expected, request_key="back")).seq)


def move(url: str, table: str, version: int, die_after: int = 0) -> str:
    """Moves a version to Staging; after `die_after` statements of its transaction this process is killed."""
    results = open_results(url, table)
    if die_after:
        _ = results.database.tables
        _die_after(die_after)
    wanted = StageMove(name="killed", version=version, stage=Stage.STAGING, request_key=f"stage {version}")
    return str(results.models.move(wanted).seq)


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


ACTS: dict[str, Any] = {
    "publish": publish,
    "claim": claim,
    "register": register,
    "promote": promote,
    "roll_back": roll_back,
    "move": move,
    "make_schema": make_schema,
    "open_first": open_first,
}


class Ended(NamedTuple):
    """How a process ended, and what it printed."""

    returncode: int
    said: str


class Processes:
    """Starts processes for a test."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def run(self, act: str, *parties: dict[str, Any]) -> list[Ended]:
        """One process for each of `parties`; all begin when the last has started. Returns when all have ended."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([[act, arguments] for arguments in parties]) + "\n")
        self._server.stdin.flush()
        return [Ended(*answer) for answer in json.loads(self._server.stdout.readline())]


@contextmanager
def open_processes() -> Iterator[Processes]:
    """The server that forks them, ended at the end."""
    command = [sys.executable, "-m", "tests.clients.results.process"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield Processes(server)
        assert server.stdin is not None
        server.stdin.close()  # its loop ends


def _fork(act: str, arguments: dict[str, Any], gate: tuple[int, int]) -> tuple[int, int]:
    """A process that waits at `gate`: its number, and where to read what it prints."""
    read_end, write_end = os.pipe()
    number = os.fork()
    if number:
        os.close(write_end)
        return number, read_end
    status = 1
    try:
        os.close(gate[1])
        os.read(gate[0], 1)  # returns when no one has the other end any more
        try:
            said = ACTS[act](**arguments)
        except SwitchyardError as err:
            said = type(err).__name__
        os.write(write_end, str(said).encode())
        status = 0
    finally:  # never on into what its parent does
        if status:
            traceback.print_exc()
        os._exit(status)


def _serve() -> None:
    for line in sys.stdin:
        gate = os.pipe()
        parties = [_fork(act, arguments, gate) for act, arguments in json.loads(line)]
        for end in gate:
            os.close(end)
        answers = []
        for number, read_end in parties:
            with os.fdopen(read_end) as printed:
                said = printed.read()
            answers.append((os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), said))
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    _serve()
