"""Writes the growing record after the first epoch, then at most once in ten seconds, and after the last epoch.

Every epoch is offered to MLflow; its thread takes those that it has time for.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras

from switchyard.core.errors import SwitchyardError
from trainer.console import say
from trainer.output.journal import Journal

PAUSE_S = 10.0  # a killed run loses at most the epochs of this time


class Snapshots(keras.callbacks.Callback):
    """Writes the journal at epoch ends, and lets it log to MLflow.

    A write that failed is a warning, and is tried again at the next epoch's end. Must come after the callbacks that
    fill the record, so that the epoch's row is complete.
    """

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._journal = journal
        self._clock = clock
        self._written_at = float("-inf")
        self._unwritten: int | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes a partial record if the last one is old enough, and offers the epoch to MLflow."""
        self._journal.track()
        self._unwritten = epoch
        if self._clock() - self._written_at >= PAUSE_S:
            self._write(epoch)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Writes what the last epochs added, because the evaluation and the export that follow may take a while."""
        if self._unwritten is not None:
            self._write(self._unwritten)

    def _write(self, epoch: int) -> None:
        try:
            self._journal.write("partial")
        except SwitchyardError as err:
            say(f"the snapshot after epoch {epoch + 1} was not written, the next one tries again: {err}", "WARNING")
        else:
            self._written_at = self._clock()
            self._unwritten = None
