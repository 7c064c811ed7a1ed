"""The record of one training process and where it is written.

It begins before TensorFlow is loaded, so that it can report any error.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from switchyard.core.metrics.record import FileStatus, MetricsRecord
from switchyard.core.runs.spec import TrainSpec
from trainer.console import say
from trainer.output.epoch_record import EpochRecord
from trainer.output.run_folder import METRICS_NAME, EndStatus, RunFolder
from trainer.output.tracking import Tracker

if TYPE_CHECKING:
    from switchyard.clients.mlflow.log import RunEnd


_RUN_ENDS: Final[Mapping[EndStatus, "RunEnd"]] = {"completed": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_FILE_STATUSES: Final[Mapping[EndStatus, FileStatus]] = {
    "completed": "completed",
    "failed": "failed",
    "stopped": "partial",
}


class Journal:
    """Holds `record` and `params`, which grow with the training; `write` puts them into `folder`.

    Args:
        tracker: logs them to MLflow too, or instead of writing the file if `spec.tracker` is ``mlflow``.
    """

    def __init__(self, folder: RunFolder, spec: TrainSpec, tracker: Tracker | None = None) -> None:
        self.folder = folder
        self._tracker = tracker
        self._model_uri = folder.model_uri if spec.mlflow_model else ""
        # Ingest prefers a file that is there to MLflow, so the file must not fall behind.
        self._has_file = spec.tracker != "mlflow" or folder.has_metrics
        self.record = EpochRecord()
        self.params: dict[str, Any] = msgspec.structs.asdict(spec)
        self._restored = self._restored_points = 0

    @property
    def has_news(self) -> bool:
        """True once this process has trained an epoch, or an epoch of the refit.

        Before that, the file of an earlier process may hold more than ours."""
        return len(self.record.epochs) + self.record.refit_epochs > self._restored_points

    @property
    def params_of_no_file(self) -> dict[str, Any] | None:
        """The params if no metrics file holds them; else None."""
        return None if self._has_file else self.params

    def restore(self, record: MetricsRecord) -> None:
        """Takes over the epochs of `record`, which an earlier process of the same job left."""
        self.record = EpochRecord(record)
        if self.record.refit_epochs:
            # The stages before the refit do not run again: what they added is taken over.
            self.params |= {name: item for name, item in record.params.items() if name not in self.params}
        self._restored = len(record.epochs)
        self._restored_points = self._restored + self.record.refit_epochs

    def describe_data(self, counts: Mapping[str, int], last_times: Mapping[str, str]) -> None:
        """Adds the data's counts and last times to the params."""
        self.params.update(counts)
        self.params.update(last_times)

    def to_record(self, status: FileStatus) -> MetricsRecord:
        """Returns a copy of the record as it is now."""
        now = datetime.now(UTC)
        return self.record.to_record(status, saved_at=now, run=self.folder.identity, params=self.params)

    def write(self, status: FileStatus) -> None:
        """Writes the record as it is now, unless only MLflow has it. Raises: what `RunFolder.write_metrics` raises."""
        if self._has_file:
            self.folder.write_metrics(self.to_record(status))

    def track(self) -> None:
        """Offers the epochs so far to MLflow, and returns at once."""
        if self._tracker is not None:
            self._tracker.offer(self.record.view(run=self.folder.identity, params=self.params), self._restored)

    def end(self, status: EndStatus) -> None:
        """Closes the run in MLflow. A second call changes nothing. Raises: as `write`.

        If only MLflow was to have the record but has not all of it, the file is written, so that nothing is lost."""
        if self._tracker is None:
            return
        record = self.to_record(_FILE_STATUSES[status])
        model_uri = self._model_uri if status == "completed" else ""
        is_whole = self._tracker.finish(record, _RUN_ENDS[status], self._restored, model_uri=model_uri)
        if not is_whole and not self._has_file and (self.has_news or status != "stopped"):
            say(f"the metrics are written to {self.folder.uri}/{METRICS_NAME} instead", "WARNING")
            self._has_file = True
            self.folder.write_metrics(record)
