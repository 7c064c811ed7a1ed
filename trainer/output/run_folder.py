"""Reads and writes the run's own folder.

It has ``training_metrics.json``, rewritten whole at every snapshot; ``ended.json``; what a finished training leaves
(``model/``, ``embeddings/``, ``score/``, its report and its card); and ``mlflow_info.json`` if it logs to MLflow.

``ended.json`` is the last thing that a training process writes, however it ends; docs/contracts.md describes both JSON
files. A process that was killed leaves none, or leaves an earlier process' one, which its ``run`` shows.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, NotFound, StaleWrite
from switchyard.core.metrics.evaluation import CARD_NAME, REPORT_NAME
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MAX_FILE_BYTES, FileStatus, MetricsRecord, RunIdentity
from switchyard.core.metrics.writing import to_json
from switchyard.core.ports import ABSENT, ANY
from trainer.options import RunSpec

EndStatus = Literal["completed", "failed", "stopped"]

METRICS_NAME = "training_metrics.json"
ENDED_NAME = "ended.json"
MLFLOW_INFO_NAME = "mlflow_info.json"


class RunFolder:
    """The folder of one run, as one training process reads and writes it.

    A generation guards each write. If two processes were started by mistake, the next write of one of them fails, and
    they do not overwrite each other.

    Attributes:
        finished_params: the params with which this same job has completed already; None: it has not.

    Raises:
        BadRecord: the folder has another run's file, or a metrics file that does not say which run it belongs to.
        StaleWrite: a later attempt at this run has already written there.
    """

    def __init__(self, run: RunSpec, *, seed: int) -> None:
        self.uri = run.artifacts_uri.rstrip("/")
        self.model_uri = (run.model_uri or f"{self.uri}/model").rstrip("/")
        self.finished_params: dict[str, Any] | None = None
        self._objects = open_objects(self.uri, retries_itself=True)
        self._generation = ABSENT
        self._ended_over = ANY
        restart = 0
        before = self._read_before(run) or self._read_ended(run)
        if before is not None and before.run.attempt == run.attempt:
            if before.status == "completed":
                self.finished_params = before.params
            restart = before.run.restart + (before.status != "completed")
        self.identity = RunIdentity(
            quick_test_id=run.quick_test_id, key=run.key, attempt=run.attempt, restart=restart, name=run.name, seed=seed
        )

    @property
    def has_metrics(self) -> bool:
        """True if the metrics file is there."""
        return self._generation != ABSENT

    def write_metrics(self, record: MetricsRecord) -> None:
        """Replaces the metrics file; readers see either the old or the new one, complete.

        Raises:
            StaleWrite: another process has written the file since our last write.
            TryAgain: the disk or the store did not answer.
        """
        data = to_json(record)
        try:
            self._generation = self._objects.write(f"{self.uri}/{METRICS_NAME}", data, if_generation=self._generation)
        except StaleWrite:
            self._ended_over = ABSENT  # another process has the folder now, and the end written there is its own
            raise

    def read_metrics(self) -> MetricsRecord:
        """Returns the metrics file as it is. Raises: NotFound; BadRecord: it is damaged."""
        uri = f"{self.uri}/{METRICS_NAME}"
        return read_record(self._objects.read(uri, max_bytes=MAX_FILE_BYTES)[0], where=uri)

    def write_mlflow_info(self, run_id: str, tracking_uri: str) -> None:
        """Writes which MLflow run this run is logged to; a later attempt replaces it. Any thread may call it."""
        data = json.dumps({"run_id": run_id, "tracking_uri": tracking_uri}).encode()
        open_objects(self.uri, retries_itself=True).write(f"{self.uri}/{MLFLOW_INFO_NAME}", data, if_generation=ANY)

    def upload(self, folder: Path) -> None:
        """Copies ``model/`` of the local `folder` to the model's address, and its other files to the run's folder.

        A second call replaces them. If `folder` has no report, an earlier attempt's report is deleted, because it
        describes another model."""
        for name in ("embeddings", "score"):
            if (folder / name).is_dir():
                self._objects.upload_folder(folder / name, f"{self.uri}/{name}")
        for name in (REPORT_NAME, CARD_NAME):
            uri = f"{self.uri}/{name}"
            if (folder / name).is_file():
                self._objects.write(uri, (folder / name).read_bytes(), if_generation=ANY)
            else:
                self._objects.delete(uri, if_generation=ANY)
        open_objects(self.model_uri, retries_itself=True).upload_folder(folder / "model", self.model_uri)

    def write_ended(
        self, status: EndStatus, exit_status: int, message: str = "", *, params: Mapping[str, Any] | None = None
    ) -> None:
        """Writes how this process ended; nothing is written after it.

        `params` are given for a training without a metrics file: they tell a restart what has completed.

        Raises:
            StaleWrite: another process has written the metrics file since, and its end is already there.
        """
        run = {name: getattr(self.identity, name) for name in ("quick_test_id", "key", "attempt", "restart")}
        ended_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        ended = {"status": status, "exit": exit_status, "ended_at": ended_at, "message": message, "run": run}
        ended |= {} if params is None else {"params": dict(params)}
        self._objects.write(f"{self.uri}/{ENDED_NAME}", json.dumps(ended).encode(), if_generation=self._ended_over)

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

    def _read_ended(self, run: RunSpec) -> "_Stored | None":
        """Returns how the job's last process ended if its metrics are only in MLflow; None: not known."""
        try:
            data, _ = self._objects.read(f"{self.uri}/{ENDED_NAME}", max_bytes=MAX_FILE_BYTES)
            ended = msgspec.json.decode(data, type=_Ended)
        except (NotFound, BadRecord, msgspec.DecodeError, UnicodeDecodeError):
            return None
        is_ours = (ended.run.quick_test_id, ended.run.key, ended.run.attempt) == (
            run.quick_test_id,
            run.key,
            run.attempt,
        )
        if ended.params is None or not is_ours:
            return None
        status: FileStatus = "completed" if ended.status == "completed" else "partial"
        return _Stored(run=ended.run, status=status, params=ended.params)


class _Ended(msgspec.Struct):
    """The part of ``ended.json`` that is read here."""

    run: RunIdentity
    status: EndStatus
    params: dict[str, Any] | None = None


class _Stored(msgspec.Struct):
    """What a file in the folder says: which run wrote it, its status and its params."""

    run: RunIdentity
    status: FileStatus = "partial"
    params: dict[str, Any] = {}
