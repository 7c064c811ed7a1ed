"""The run's own folder: ``training_metrics.json``, rewritten whole at every snapshot, ``ended.json``, and what a
finished training leaves (``model/``, ``embeddings/``).

``ended.json`` is the last thing a training process writes, whatever its end; docs/contracts.md describes both. A
process that was killed leaves none, or an earlier process' one; its ``run`` tells them apart.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from clients.objects import open_objects
from history.errors import BadRecord, NotFound, StaleWrite
from history.ports import ABSENT, ANY
from history.record import MAX_FILE_BYTES, FileStatus, MetricsRecord, RunIdentity
from history.writing import to_json
from trainer.options import RunSpec

EndStatus = Literal["completed", "failed", "stopped"]

METRICS_NAME = "training_metrics.json"
ENDED_NAME = "ended.json"


class RunFolder:
    """One training process' hold on its run's folder.

    A generation guards each write, so that of two processes that were started by mistake the second one's next write
    fails, rather than both overwriting each other.

    Attributes:
        finished_params: the params with which this very job has completed already; None: it has not.

    Raises:
        BadRecord: what is there is another run's file, or no metrics file that tells whose it is.
        StaleWrite: a later attempt at this run has written there already.
    """

    def __init__(self, run: RunSpec, *, seed: int) -> None:
        self.uri = run.artifacts_uri.rstrip("/")
        self.model_uri = (run.model_uri or f"{self.uri}/model").rstrip("/")
        self.finished_params: dict[str, Any] | None = None
        self._objects = open_objects(self.uri, retries_itself=True)
        self._generation = ABSENT
        restart = 0
        before = self._read_before(run)
        if before is not None and before.run.attempt == run.attempt:
            if before.status == "completed":
                self.finished_params = before.params
            restart = before.run.restart + (before.status != "completed")
        self.identity = RunIdentity(
            quick_test_id=run.quick_test_id, key=run.key, attempt=run.attempt, restart=restart, name=run.name, seed=seed
        )

    def write_metrics(self, record: MetricsRecord) -> None:
        """Replaces the file; readers see the old or the new one, whole.

        Raises:
            StaleWrite: somebody else wrote the file since our last write.
            TryAgain: the disk or the store did not answer.
        """
        data = to_json(record)
        self._generation = self._objects.write(f"{self.uri}/{METRICS_NAME}", data, if_generation=self._generation)

    def upload(self, folder: Path) -> None:
        """Copies the local `folder`'s ``model/`` to where models go, its ``embeddings/`` to below the run's folder."""
        self._objects.upload_folder(folder / "embeddings", f"{self.uri}/embeddings")
        open_objects(self.model_uri, retries_itself=True).upload_folder(folder / "model", self.model_uri)

    def write_ended(self, status: EndStatus, exit_status: int, message: str = "") -> None:
        """Says how this process ended; nothing is written after it."""
        run = {name: getattr(self.identity, name) for name in ("quick_test_id", "key", "attempt", "restart")}
        ended_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        ended = {"status": status, "exit": exit_status, "ended_at": ended_at, "message": message, "run": run}
        self._objects.write(f"{self.uri}/{ENDED_NAME}", json.dumps(ended).encode(), if_generation=ANY)

    def _read_before(self, run: RunSpec) -> "_Stored | None":
        uri = f"{self.uri}/{METRICS_NAME}"
        try:
            data, self._generation = self._objects.read(uri, max_bytes=MAX_FILE_BYTES)
        except NotFound:
            return None
        advice = "name this run's own folder with --artifacts-uri; nothing was changed"
        try:
            stored = msgspec.json.decode(data, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise BadRecord(uri, [f"a metrics file with `run` was expected; {err}", advice]) from err
        before = stored.run
        if before.quick_test_id != run.quick_test_id or (before.attempt == run.attempt and before.key != run.key):
            expected = f"quick test {run.quick_test_id}, attempt {run.attempt}, key {run.key!r}"
            found = f"quick test {before.quick_test_id}, attempt {before.attempt}, key {before.key!r}"
            raise BadRecord(uri, [f"`run` must be {expected}; got {found}: it is another run's", advice])
        if before.attempt > run.attempt:
            raise StaleWrite(
                f"{uri}: attempt {before.attempt} of this run has written already; got attempt {run.attempt}; {advice}"
            )
        return stored


class _Stored(msgspec.Struct):
    """Of a file that is there, whose it is and whether it is the last."""

    run: RunIdentity
    status: FileStatus = "partial"
    params: dict[str, Any] = {}
