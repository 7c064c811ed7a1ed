"""When the growing record is written: after the first epoch, then at most once in ten seconds, and at the end."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import keras

from history.errors import SwitchyardError
from history.record import FileStatus
from trainer.console import say
from trainer.epoch_record import EpochRecord
from trainer.run_folder import RunFolder

PAUSE_S = 10.0  # a killed run loses the epochs of at most so long


class Snapshots(keras.callbacks.Callback):
    """Writes the record to the run's folder at epoch ends; after a failure it warns, and tries at the next epoch's end.

    Must be the last callback, so that the epoch's row is whole.
    """

    def __init__(
        self,
        record: EpochRecord,
        folder: RunFolder,
        params: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._record = record
        self._folder = folder
        self._params = params
        self._clock = clock
        self._written_at = float("-inf")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes a partial record when the last one is old enough."""
        if self._clock() - self._written_at < PAUSE_S:
            return
        try:
            self.write("partial")
        except SwitchyardError as err:
            say(f"the snapshot after epoch {epoch + 1} was not written, the next one tries again: {err}", "WARNING")

    def write(self, status: FileStatus) -> None:
        """Writes the record as of now. Raises: what `RunFolder.write_metrics` raises."""
        now = datetime.now(UTC)
        record = self._record.to_record(status, saved_at=now, run=self._folder.identity, params=self._params)
        self._folder.write_metrics(record)
        self._written_at = self._clock()
