"""Stores checkpoints on the objects port: the weights, the optimizer state and the record so far.

A restart of the same job, or the next attempt at the same run, goes on from them. Below
``<checkpoints_uri>/attempt-<n>/``::

    checkpoint.json          names the current folder, and each file in it with its SHA-256; replaced whole, last
    epoch-000012-1f0c9a3b/   record.json, and one .npy per variable; best-*.npy if the best epoch's weights are kept

During the refit the variables are those of the refit's model, `epochs` stays as it was, and `refit_epochs` counts.

A kill between any two writes leaves a checkpoint.json with a complete folder: a new folder is written beside the old
one, then checkpoint.json, and only then is the old folder deleted.

The next attempt reads the newest checkpoint of the earlier attempts, if the configuration and the data are the same,
and writes below its own folder.
"""

import hashlib
import io
import secrets
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, NotFound, SwitchyardError
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MAX_FILE_BYTES, MetricsRecord
from switchyard.core.ports import ABSENT, ANY
from trainer.console import say
from trainer.options import RunSpec

POINTER_NAME: Final = "checkpoint.json"
RECORD_NAME: Final = "record.json"
KEPT_PREFIX: Final = "best-"
"""The prefix of the files that `Found.kept` is read from."""

Array = np.ndarray[Any, np.dtype[Any]]


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``checkpoint.json``."""

    format: Literal[1] = 1
    key: str  # the job's
    quick_test_id: int = 0  # the run's; 0: not known (from an older version, or the training has no row)
    fingerprint: str  # `trainer.data.preparing.to_fingerprint` of the configuration and the data
    epochs: int  # that are done
    refit_epochs: int | None = None  # that are done of the refit; None: it has not begun
    folder: str
    files: dict[str, str]  # name -> SHA-256, hex; the arrays in the order of the model's variables


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A complete checkpoint."""

    record: MetricsRecord
    arrays: list[Array]
    kept: dict[str, Array] = {}  # what a `Keeper` had, by name; empty: nothing
    refit_epochs: int | None = None  # None: `arrays` are of the model that is tested; else of the refit's


class CheckpointStore:
    """The checkpoints of one job; it can begin from those of its run's earlier attempts.

    Raises:
        BadRecord: the folder has checkpoints of another job.
    """

    def __init__(self, run: RunSpec, fingerprint: str) -> None:
        self.uri = f"{run.checkpoints_uri.rstrip('/')}/attempt-{run.attempt}"
        self._key = run.key
        self._run = run
        self._fingerprint = fingerprint
        self._objects = open_objects(self.uri, retries_itself=True)
        self._generation = ABSENT
        self._pointer = self._read_pointer()

    def read(self) -> Found | None:
        """Returns the newest checkpoint of this job, or else of an earlier attempt at the same run.

        It is None if there is none, and None with a warning if the checkpoint is of another configuration or other
        data, or if a part of it is missing or broken. The training then starts from the beginning.
        """
        if self._pointer is None:
            return self._read_earlier()
        try:
            return self._read(self._pointer, self.uri)
        except (NotFound, BadRecord) as err:
            say(
                f"the checkpoint of {self._pointer.epochs} epochs is not used, the training starts from the beginning: "
                f"{err}",
                "WARNING",
            )
            return None

    def write(self, folder: Path, epochs: int, refit_epochs: int | None = None) -> None:
        """Stores the files of the local `folder` as the newest checkpoint, then deletes older ones.

        Raises:
            StaleWrite: another process writes checkpoints of this job.
            TryAgain: the disk or the store did not answer.
        """
        files = {}
        for path in sorted(folder.iterdir()):
            with path.open("rb") as file:
                files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"epoch-{epochs:06}-{secrets.token_hex(4)}"
        self._objects.upload_folder(folder, f"{self.uri}/{name}")
        pointer = Pointer(
            key=self._key,
            quick_test_id=self._run.quick_test_id,
            fingerprint=self._fingerprint,
            epochs=epochs,
            refit_epochs=refit_epochs,
            folder=name,
            files=files,
        )
        self._generation = self._objects.write(
            f"{self.uri}/{POINTER_NAME}", msgspec.json.encode(pointer), if_generation=self._generation
        )
        self._delete_all_but(f"{self.uri}/{POINTER_NAME}", f"{self.uri}/{name}/")

    def delete(self) -> None:
        """Deletes all checkpoints of this job and of the run's earlier attempts, once the run is completed."""
        self._delete_all_but()
        for uri, _ in self._list_earlier():
            self._delete_all_but(folder=uri)

    def _delete_all_but(self, *kept: str, folder: str = "") -> None:
        try:
            for uri in self._objects.list(f"{folder or self.uri}/"):
                if not uri.startswith(kept):
                    self._objects.delete(uri, if_generation=ANY)
        except SwitchyardError as err:
            say(f"old checkpoints below {self.uri} were not all deleted: {err}", "WARNING")

    def _read_pointer(self) -> Pointer | None:
        uri = f"{self.uri}/{POINTER_NAME}"
        try:
            data, self._generation = self._objects.read(uri, max_bytes=MAX_FILE_BYTES)
        except NotFound:
            return None
        try:
            pointer = msgspec.json.decode(data, type=Pointer)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            say(f"{uri} cannot be read, so the training starts from the beginning: {err}", "WARNING")
            return None
        if pointer.key != self._key:
            raise BadRecord(
                uri,
                [
                    f"`key` must be {self._key!r}; got {pointer.key!r}: it is another job's",
                    "name this run's own folder with --checkpoints-uri (AIP_CHECKPOINT_DIR); nothing was changed",
                ],
            )
        return pointer

    def _read_earlier(self) -> Found | None:
        for uri, pointer in self._list_earlier():
            try:
                found = self._read(pointer, uri)
            except (NotFound, BadRecord) as err:
                say(f"the checkpoint of an earlier attempt is not used: {err}", "WARNING")
                continue
            say(f"this attempt goes on from {uri}, after {pointer.epochs} epochs")
            return found
        return None

    def _list_earlier(self) -> list[tuple[str, Pointer]]:
        """Returns the folders of the run's earlier attempts that have a checkpoint, the latest attempt first.

        Checkpoints of another run that shares the folder are left alone."""
        found = []
        root = self.uri.rpartition("/")[0]
        for attempt in range(self._run.attempt - 1, 0, -1) if self._run.quick_test_id else ():
            uri = f"{root}/attempt-{attempt}"
            try:
                data, _ = self._objects.read(f"{uri}/{POINTER_NAME}", max_bytes=MAX_FILE_BYTES)
                pointer = msgspec.json.decode(data, type=Pointer)
            except (SwitchyardError, msgspec.DecodeError, UnicodeDecodeError):
                continue  # there is none, or it cannot be read: its epochs are trained again
            if pointer.quick_test_id == self._run.quick_test_id:
                found.append((uri, pointer))
        return found

    def _read(self, pointer: Pointer, uri: str) -> Found:
        where = f"{uri}/{pointer.folder}"
        if pointer.fingerprint != self._fingerprint:
            raise BadRecord(where, ["it is of another configuration, or of other data"])
        data = {name: self._read_file(f"{where}/{name}", digest) for name, digest in pointer.files.items()}
        if RECORD_NAME not in data:
            raise BadRecord(where, [f"{RECORD_NAME} is not among its files"])
        record = read_record(data.pop(RECORD_NAME), where=f"{where}/{RECORD_NAME}")
        if record.epochs != list(range(pointer.epochs)):
            raise BadRecord(where, [f"a record of {pointer.epochs} epochs was expected; got {record.epochs}"])
        arrays = {name.removesuffix(".npy"): _to_array(f"{where}/{name}", data[name]) for name in sorted(data)}
        return Found(
            record=record,
            arrays=[array for name, array in arrays.items() if not name.startswith(KEPT_PREFIX)],
            kept={
                name.removeprefix(KEPT_PREFIX): array for name, array in arrays.items() if name.startswith(KEPT_PREFIX)
            },
            refit_epochs=pointer.refit_epochs,
        )

    def _read_file(self, uri: str, digest: str) -> bytes:
        data, _ = self._objects.read(uri)
        if (found := hashlib.sha256(data).hexdigest()) != digest:
            raise BadRecord(uri, [f"SHA-256 {digest} was expected; got {found}"])
        return data


def _to_array(uri: str, data: bytes) -> Array:
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, OSError) as err:
        raise BadRecord(uri, [f"an array was expected; {err}"]) from err
