"""The record of one training process and where it is written: begun before TensorFlow is loaded, so that whatever goes
wrong is told there."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from history.record import FileStatus, MetricsRecord
from history.spec import TrainSpec
from trainer.epoch_record import EpochRecord
from trainer.run_folder import RunFolder


class Journal:
    """`record` and `params` grow while the training does; `folder` is where `write` puts them."""

    def __init__(self, folder: RunFolder, spec: TrainSpec) -> None:
        self.folder = folder
        self.record = EpochRecord()
        self.params: dict[str, Any] = msgspec.structs.asdict(spec)
        self._restored = 0

    @property
    def has_news(self) -> bool:
        """True when this process trained an epoch: before that, an earlier process' file may hold more than ours."""
        return len(self.record.epochs) > self._restored

    def restore(self, record: MetricsRecord) -> None:
        """Begins with the epochs of `record`, which an earlier process of the same job left."""
        self.record = EpochRecord(record)
        self._restored = len(record.epochs)

    def count(self, counts: Mapping[str, int]) -> None:
        """Adds what was counted in the data to the params."""
        self.params.update(counts)

    def to_record(self, status: FileStatus) -> MetricsRecord:
        """The record as of now."""
        now = datetime.now(UTC)
        return self.record.to_record(status, saved_at=now, run=self.folder.identity, params=self.params)

    def write(self, status: FileStatus) -> None:
        """Writes the record as of now. Raises: what `RunFolder.write_metrics` raises."""
        self.folder.write_metrics(self.to_record(status))
