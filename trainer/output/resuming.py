"""Checkpoints as the training makes and takes them: the model's state in local files at epoch ends, uploaded now and
then, and put back into a fresh model by a restart of the same job, or by the next attempt.

With the batches a function of the seed and the step, a training that was interrupted goes on to the very numbers that
it would have had: what is restored is exact, to the bit, and the epoch that was under way is trained again whole.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from switchyard.core.errors import BadRecord, SwitchyardError
from switchyard.core.metrics.writing import to_json
from trainer.console import say
from trainer.output.checkpoints import RECORD_NAME, Array, CheckpointStore
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
    variables = list_state(model)
    expected = [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
    found = [(array.shape, array.dtype.name) for array in arrays]
    if found != expected:
        raise BadRecord("the checkpoint", [f"arrays {expected} were expected; got {found}"])
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


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
        self._epochs_saved = self._epochs_uploaded = 0

    def restore(self) -> int:
        """Puts the newest usable checkpoint into the model and the journal; how many epochs are done, 0 without one.
        The model must be set (`set_model`)."""
        found = self._store.read()
        if found is None:
            return 0
        try:
            put_state(self.model, found.arrays)
        except BadRecord as err:
            say(f"{err}; the training begins anew", "WARNING")
            return 0
        self._journal.restore(found.record)
        self._epochs_saved = self._epochs_uploaded = len(found.record.epochs)
        return self._epochs_saved

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves and uploads where it is time to."""
        if self._watch.epochs:
            return
        now = self._clock()
        is_due = now - self._uploaded_at >= self._pause_s
        if is_due or now - self._saved_at >= LOCAL_PAUSE_S:
            self._save(epoch + 1)
        if is_due:
            self.upload()

    def upload(self) -> None:
        """Uploads what was last saved, where that is newer than what was uploaded."""
        if self._epochs_saved == self._epochs_uploaded:
            return
        try:
            self._store.write(self._folder, self._epochs_saved)
        except SwitchyardError as err:
            say(f"the checkpoint after {self._epochs_saved} epochs was not written: {err}", "WARNING")
        else:
            self._epochs_uploaded = self._epochs_saved
            self._uploaded_at = self._clock()

    def close(self) -> None:
        """Deletes the local files. A second call does nothing."""
        self._temporary.cleanup()

    def _save(self, epochs: int) -> None:
        # The disk of a container may be full, which must not end a training that needs none of it.
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
            for number, variable in enumerate(list_state(self.model)):
                np.save(self._folder / f"{number:04}.npy", np.asarray(variable.numpy()), allow_pickle=False)
            (self._folder / RECORD_NAME).write_bytes(to_json(self._journal.to_record("partial")))
        except OSError as err:
            self._epochs_saved = self._epochs_uploaded  # what lies there is not whole
            say(f"the checkpoint after {epochs} epochs could not be saved in {self._folder}: {err}", "WARNING")
            return
        self._epochs_saved = epochs
        self._saved_at = self._clock()
