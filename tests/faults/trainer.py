"""The trainer without TensorFlow: its numbers are made up, but all that touches the outside is the real trainer's.

That is what reads arguments, writes, uploads, resumes and ends. It asks Vertex AI to act on its own container right
before or after one of its writes, as the run's name says: ``python -m tests.faults.trainer <the trainer's flags>``.
"""

import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from google.cloud.storage import blob

from switchyard.clients.objects import gcs, gcs_sessions
from switchyard.clients.objects.gcs import GcsObjects
from switchyard.core.errors import SwitchyardError
from switchyard.core.metrics.writing import to_json
from switchyard.core.runs.spec import TrainSpec
from tests.faults.orders import ContainerAct
from trainer import starting
from trainer.console import say
from trainer.options import RunSpec
from trainer.output.checkpoints import RECORD_NAME, CheckpointStore
from trainer.output.journal import Journal
from trainer.stopping import Stopped, StopWish

DOOR, NOTES = "FAULTS_DOOR", "FAULTS_NOTES"
"""Where the endpoint takes orders, and a folder that outlives the container: which jobs were acted on."""

START_S = 1.5
"""A container takes longer to start than a submission takes to look for a twin of its job."""
EPOCH_S = 0.3
"""Three polls of `tests.faults.trial`: a job that ended before the second look at it would meet no fault of looks."""


def train(run: RunSpec, spec: TrainSpec, journal: Journal, wish: StopWish) -> CheckpointStore | None:
    """What stands for `trainer.starting`'s own stages: the same writes in the same order.

    Each epoch is a snapshot and a checkpoint, with no training between them but the time that an epoch takes.
    """
    store = CheckpointStore(run, "made up") if run.checkpoints_uri else None
    found = store.read() if store else None
    if found is not None:
        journal.restore(found.record)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            for epoch in range(len(journal.record.epochs), spec.epochs):
                time.sleep(EPOCH_S)
                _add_epoch(journal, epoch)
                _try_write(lambda: journal.write("partial"), "snapshot")
                if store:
                    _try_write(lambda: _write_checkpoint(store, journal, folder), "checkpoint")
                wish.check()
            journal.record.finish({**journal.record.last_losses(), "test_recall_at_10": 0.25})
            wish.check()
        except Stopped:
            if journal.has_news:
                journal.write("partial")
            raise
        for part in ("model", "embeddings"):
            (folder / part).mkdir()
            for number in range(3):
                (folder / part / f"part-{number}").write_bytes(bytes(range(256)) * (number + 1))
        (folder / "model" / "variables").write_bytes(bytes(range(256)) * 2560)
        journal.folder.upload(folder)
    journal.write("completed")
    return store


def _add_epoch(journal: Journal, epoch: int) -> None:
    loss = 1 / (epoch + 1)
    record = journal.record
    record.add(epoch, "loss", {"loss": loss, "val_loss": loss + 0.5, "total_loss": loss + 0.1})
    for tower, norm in (("query", 3.0), ("candidate", 4.0)):
        record.add(epoch, "gradient", {tower: norm - loss})
        values = {"mean": loss, "std": 1 + loss}
        counts, edges = [epoch] * 25, np.linspace(-1, 1, 26).tolist()
        record.add_statistics(epoch, "weight_stats", tower, values, counts=counts, bin_edges=edges, sampled=False)


def _try_write(write: Callable[[], object], what: str) -> None:
    try:
        write()
    except SwitchyardError as err:
        say(f"the {what} was not written, the next one tries again: {err}", "WARNING")


def _write_checkpoint(store: CheckpointStore, journal: Journal, folder: Path) -> None:
    local = folder / f"checkpoint-{len(journal.record.epochs)}"
    local.mkdir()
    np.save(local / "0000.npy", np.zeros(3, np.float32))
    (local / RECORD_NAME).write_bytes(to_json(journal.to_record("partial")))
    store.write(local, len(journal.record.epochs))


def lower_limits() -> None:
    """A file of 640 KiB goes up as one of 40 MB does: by an upload session, in three chunks."""
    chunk_bytes = 256 * 1024
    gcs.CHUNK_BYTES = chunk_bytes  # type: ignore[misc]
    gcs_sessions.RESUMABLE_BYTES = chunk_bytes  # type: ignore[misc]
    blob._MAX_MULTIPART_SIZE = chunk_bytes


def arm(region: str, wanted: ContainerAct) -> None:
    """From now on this container is acted on at the write that `wanted` names, unless it was before."""
    done: Counter[str] = Counter()

    def pass_write(upload: str, *, after: bool) -> None:
        done[upload] += not after
        if (wanted.upload, wanted.after, wanted.nth) == (upload, after, done[upload]):
            _act(region, wanted)

    def watched(function: Callable[..., Any], to_upload: Callable[..., str]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            upload = to_upload(*args)
            pass_write(upload, after=False)
            answer = function(*args, **kwargs)
            pass_write(upload, after=True)
            return answer

        return call

    for name, to_upload in (("write", _name_write), ("upload_folder", _name_folder)):
        setattr(GcsObjects, name, watched(getattr(GcsObjects, name), to_upload))


def _name_write(self: object, uri: str, data: bytes) -> str:
    name = uri.rpartition("/")[2]
    if name == "training_metrics.json":
        return "last metrics" if b'"status":"completed"' in data else "snapshot"
    return {"checkpoint.json": "checkpoint list"}.get(name, name)


def _name_folder(self: object, path: Path, uri: str) -> str:
    name = uri.rpartition("/")[2]
    return name if name in ("model", "embeddings") else "checkpoint"


def _act(region: str, wanted: ContainerAct) -> None:
    job_id = os.environ["CLOUD_ML_JOB_ID"]
    try:
        (Path(os.environ[NOTES]) / job_id).touch(exist_ok=False)
    except FileExistsError:  # by an earlier container of this job
        return
    asked = []
    handler: Any = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        handler(number, frame)

    if wanted.act != "kill":
        signal.signal(signal.SIGTERM, note)
    name = f"projects/123456789012/locations/{region}/customJobs/{job_id}"
    order = msgspec.json.encode({"name": name, "act": wanted.act})
    urllib.request.urlopen(f"{os.environ[DOOR]}/_emulator/jobs", order, timeout=30).close()
    while not asked:  # SIGKILL ends the loop and the process; SIGTERM lets it go on, to stop where it can
        time.sleep(0.005)


def main() -> int:
    """The real trainer's exit status."""
    lower_limits()
    time.sleep(START_S)
    starting._run_stages = train  # TensorFlow takes ten times as long as all the rest
    name = next((flag.partition("=")[2] for flag in sys.argv if flag.startswith("--name=")), "")
    with suppress(msgspec.DecodeError):  # a run that nothing is done to has no such name
        region, wanted = msgspec.json.decode(name, type=tuple[str, ContainerAct])
        arm(region, wanted)
    return starting.start(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
