"""Checkpoints as the training makes and takes them: the model's state in local files at epoch ends, uploaded now and
then, and put back into a fresh model by a restart of the same job, or by the next attempt.

With the batches a function of the seed and the step, a training that was interrupted goes on to the very numbers that
it would have had: what is restored is exact, to the bit, and the epoch that was under way is trained again whole.
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

LOCAL_PAUSE_S = 1.0  # epochs may take milliseconds; SIGTERM loses the epochs of at most so long


def list_state(model: keras.Model) -> list[Any]:
    """All variables that training changes, in a fixed order: the weights, then the optimizer's own (its steps, the
    learning rate, and its slots), which are made here where no step has made them yet."""
    model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.optimizer.variables]


def put_state(model: keras.Model, arrays: Sequence[Array]) -> None:
    """Sets the variables of `list_state`, all or none.

    Raises:
        BadRecord: the arrays are not of that number, those shapes and types.
    """
    check_state(model, arrays)
    for variable, array in zip(list_state(model), arrays, strict=True):
        variable.assign(array)


def check_state(model: keras.Model, arrays: Sequence[Array]) -> None:
    """Raises: as `put_state`."""
    expected = [(tuple(variable.shape), str(variable.dtype)) for variable in list_state(model)]
    found = [(array.shape, array.dtype.name) for array in arrays]
    if found != expected:
        raise BadRecord("the checkpoint", [f"arrays {expected} were expected; got {found}"])


class Keeper(Protocol):
    """What else a restart needs."""

    def to_arrays(self) -> dict[str, Array]:
        """Its state, by name."""

    def put_arrays(self, model: keras.Model, arrays: Mapping[str, Array]) -> None:
        """Goes on from `to_arrays`. Raises: BadRecord: they are not those of this model."""


class Checkpoints(keras.callbacks.Callback):
    """Saves the state to local files at epoch ends, and uploads it at most once in `pause_s`, after a failure with a
    warning and again at the next epoch's end. Must be the last callback, so that the epoch's row is whole.

    An epoch that `watch` says is not finite is not saved: a restart goes back to the last that was, and finds again
    where the numbers were lost.
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
        """Whether the newest checkpoint is one of the refit."""
        found = self._read()
        return found is not None and found.refit_epochs is not None

    def restore(self, keeper: Keeper | None = None) -> int:
        """Puts the newest usable checkpoint into the model, the journal and the `keeper`, which from now on is saved
        too; how many epochs are done, 0 without one. The model must be set (`set_model`)."""
        self._keeper = keeper
        found = self._read()
        is_usable = found is not None and found.refit_epochs is None and self._put(found)
        return self._saved.epochs if is_usable else 0

    def restore_refit(self, model: keras.Model, keeper: Keeper) -> int | None:
        """Puts the newest checkpoint into `model`, the journal and the `keeper`, where it is one of the refit: all
        before that is done. How many epochs of the refit are; None: there is none, or none that can be used."""
        self._keeper = keeper
        found = self._read()
        if found is None or found.refit_epochs is None:
            return None
        self.set_model(model)
        return found.refit_epochs if self._put(found) else None

    def begin_refit(self, watch: FiniteWatch, keeper: Keeper) -> None:
        """From now on what is saved is the refit's, and what `keeper` has."""
        self._keeper, self._watch, self._is_refit = keeper, watch, True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves and uploads where it is time to."""
        if self._watch.epochs:
            return
        now = self._clock()
        is_due = now - self._uploaded_at >= self._pause_s
        if is_due or now - self._saved_at >= LOCAL_PAUSE_S:
            self._save(_Done(len(self._journal.record.epochs), epoch + 1) if self._is_refit else _Done(epoch + 1))
        if is_due:
            self.upload()

    def upload(self) -> None:
        """Uploads what was last saved, where that is newer than what was uploaded."""
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
            say(f"{err}; the training begins anew", "WARNING")
            return False
        self._journal.restore(found.record)
        self._saved = self._uploaded = _Done(len(found.record.epochs), found.refit_epochs)
        self._found = None  # its arrays are in the model now
        return True

    def _save(self, done: "_Done") -> None:
        # The disk of a container may be full, which must not end a training that needs none of it.
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
            for number, variable in enumerate(list_state(self.model)):
                np.save(self._folder / f"{number:04}.npy", np.asarray(variable.numpy()), allow_pickle=False)
            for name, array in self._keeper.to_arrays().items() if self._keeper else ():
                np.save(self._folder / f"{KEPT_PREFIX}{name}.npy", array, allow_pickle=False)
            (self._folder / RECORD_NAME).write_bytes(to_json(self._journal.to_record("partial")))
        except OSError as err:
            self._saved = self._uploaded  # what lies there is not whole
            say(f"the checkpoint after {done} could not be saved in {self._folder}: {err}", "WARNING")
            return
        self._saved = done
        self._saved_at = self._clock()


@dataclass(frozen=True)
class _Done:
    """How far a training was."""

    epochs: int
    refit_epochs: int | None = None

    def __str__(self) -> str:
        refit = "" if self.refit_epochs is None else f" and {self.refit_epochs} of the refit"
        return f"{self.epochs} epochs{refit}"
