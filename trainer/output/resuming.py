"""Saves the model's state at epoch ends, and puts it back into a new model after a restart or in the next attempt.

The state goes to local files, which are uploaded from time to time. Batches depend only on the seed and the step, so an
interrupted training goes on to exactly the numbers that it would have had: the state is restored bit by bit, and the
interrupted epoch is trained again from its beginning.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from switchyard.core.errors import BadRecord, SwitchyardError
from switchyard.core.metrics.writing import to_json
from trainer.console import say
from trainer.output.checkpoints import KEPT_PREFIX, RECORD_NAME, Array, CheckpointStore, Found
from trainer.output.journal import Journal
from trainer.stopping import FiniteWatch

LOCAL_PAUSE_S = 1.0  # epochs may take milliseconds; SIGTERM loses at most the epochs of this time


def list_state(model: keras.Model) -> list[Any]:
    """Returns all variables that training changes, in a fixed order: the weights, then the optimizer's variables.

    The optimizer's variables are its steps, the learning rate, and its slots; they are made here if no step has made
    them yet."""
    model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.optimizer.variables]


def put_state(model: keras.Model, arrays: Sequence[Array]) -> None:
    """Sets the variables of `list_state`, all or none.

    Raises:
        BadRecord: the number, the shapes or the types of the arrays differ from the variables'.
    """
    check_state(model, arrays)
    for variable, array in zip(list_state(model), arrays, strict=True):
        variable.assign(array)


def check_state(model: keras.Model, arrays: Sequence[Array]) -> None:
    """Checks that the arrays fit the model's state. Raises: as `put_state`."""
    expected = [(tuple(variable.shape), str(variable.dtype)) for variable in list_state(model)]
    found = [(array.shape, array.dtype.name) for array in arrays]
    if found != expected:
        raise BadRecord("the checkpoint", [f"arrays {expected} were expected; got {found}"])


class Keeper(Protocol):
    """Something else that has a state which a restart needs."""

    def to_arrays(self) -> dict[str, Array]:
        """Returns its state, by name."""

    def put_arrays(self, model: keras.Model, arrays: Mapping[str, Array]) -> None:
        """Goes on from `to_arrays`. Raises: BadRecord: they are not those of this model."""


class Checkpoints(keras.callbacks.Callback):
    """Saves the state to local files at epoch ends, and uploads it at most once in `pause_s` seconds.

    A failed upload is a warning, and is tried again at the next epoch's end. Must be the last callback, so that the
    epoch's row is complete.

    An epoch that `watch` says is not finite is not saved. A restart goes back to the last finite epoch, and finds the
    step again from which on the numbers are not finite.
    """

    def __init__(
        self,
        store: CheckpointStore,
        journal: Journal,
        *,
        pause_s: float,
        watch: FiniteWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._store = store
        self._journal = journal
        self._pause_s = pause_s
        self._watch = watch or FiniteWatch()
        self._clock = clock
        self._temporary = tempfile.TemporaryDirectory(prefix="switchyard-")
        self._folder = Path(self._temporary.name) / "checkpoint"
        self._saved_at = self._uploaded_at = clock()
        self._saved = self._uploaded = _Done(0)
        self._keeper: Keeper | None = None
        self._is_refit = False
        self._found: Found | None = None
        self._is_read = False

    @property
    def is_in_refit(self) -> bool:
        """Whether the newest checkpoint is one of the refit's."""
        found = self._read()
        return found is not None and found.refit_epochs is not None

    def restore(self, keeper: Keeper | None = None) -> int:
        """Puts the newest usable checkpoint into the model, the journal and the `keeper`.

        Returns how many epochs are done, 0 without a checkpoint. The `keeper` is saved too from now on. The model must
        be set (`set_model`)."""
        self._keeper = keeper
        found = self._read()
        is_usable = found is not None and found.refit_epochs is None and self._put(found)
        return self._saved.epochs if is_usable else 0

    def restore_refit(self, model: keras.Model, keeper: Keeper) -> int | None:
        """Puts the newest checkpoint into `model`, the journal and the `keeper`, if it is one of the refit's.

        All stages before the refit are then done. Returns how many epochs of the refit are done; None: there is no such
        checkpoint, or it cannot be used."""
        self._keeper = keeper
        found = self._read()
        if found is None or found.refit_epochs is None:
            return None
        self.set_model(model)
        return found.refit_epochs if self._put(found) else None

    def begin_refit(self, watch: FiniteWatch, keeper: Keeper) -> None:
        """Saves from now on the refit's state, and the state of `keeper`."""
        self._keeper, self._watch, self._is_refit = keeper, watch, True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves and uploads the state if it is time to."""
        if self._watch.epochs:
            return
        now = self._clock()
        is_due = now - self._uploaded_at >= self._pause_s
        if is_due or now - self._saved_at >= LOCAL_PAUSE_S:
            self._save(_Done(len(self._journal.record.epochs), epoch + 1) if self._is_refit else _Done(epoch + 1))
        if is_due:
            self.upload()

    def upload(self) -> None:
        """Uploads what was saved last, if that is newer than what was uploaded."""
        if self._saved == self._uploaded:
            return
        try:
            self._store.write(self._folder, self._saved.epochs, self._saved.refit_epochs)
        except SwitchyardError as err:
            say(f"the checkpoint after {self._saved} was not written: {err}", "WARNING")
        else:
            self._uploaded = self._saved
            self._uploaded_at = self._clock()

    def close(self) -> None:
        """Deletes the local files. A second call does nothing."""
        self._temporary.cleanup()

    def _read(self) -> Found | None:
        if not self._is_read:
            self._found, self._is_read = self._store.read(), True
        return self._found

    def _put(self, found: Found) -> bool:
        try:
            check_state(self.model, found.arrays)
            if self._keeper:
                self._keeper.put_arrays(self.model, found.kept)
            put_state(self.model, found.arrays)
        except BadRecord as err:
            say(f"{err}; the training starts from the beginning", "WARNING")
            return False
        self._journal.restore(found.record)
        self._saved = self._uploaded = _Done(len(found.record.epochs), found.refit_epochs)
        self._found = None  # its arrays are in the model now
        return True

    def _save(self, done: "_Done") -> None:
        # The disk of a container may be full. That must not end a training, which does not need the disk.
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
            for number, variable in enumerate(list_state(self.model)):
                np.save(self._folder / f"{number:04}.npy", np.asarray(variable.numpy()), allow_pickle=False)
            for name, array in self._keeper.to_arrays().items() if self._keeper else ():
                np.save(self._folder / f"{KEPT_PREFIX}{name}.npy", array, allow_pickle=False)
            (self._folder / RECORD_NAME).write_bytes(to_json(self._journal.to_record("partial")))
        except OSError as err:
            self._saved = self._uploaded  # the local files are not complete
            say(f"the checkpoint after {done} could not be saved in {self._folder}: {err}", "WARNING")
            return
        self._saved = done
        self._saved_at = self._clock()


@dataclass(frozen=True)
class _Done:
    """How far a training has come."""

    epochs: int
    refit_epochs: int | None = None

    def __str__(self) -> str:
        refit = "" if self.refit_epochs is None else f" and {self.refit_epochs} of the refit"
        return f"{self.epochs} epochs{refit}"
