"""What is published of a run while it trains: its last snapshot, marked as partial, and ranked below its end's."""

from typing import Final

import msgspec

from switchyard.core.history.publication import Progress, Publication
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import MetricsRecord, Sampling, to_refit_epochs
from switchyard.core.runs.rows import Job, QuickTest

LIVE_STATUS: Final = -1
"""The `Rank.status` of a live publish. The last publish of the same epochs is above it, even if its file is partial
too: the trainer may have added to it (final metrics, say) before it was stopped."""


def to_live_publication(record: MetricsRecord, *, run: QuickTest, job: Job, sampling: Sampling) -> Publication:
    """Returns the publication of a snapshot.

    A file that says it is complete is partial too as long as its job is at work: its end is the end's to publish, with
    the row's status.

    Raises:
        BadRequest: `sampling` cannot be.
    """
    publication = to_publication(
        msgspec.structs.replace(record, status="partial"),
        quick_test_id=run.id,
        source="file",
        sampling=sampling,
        mlflow_run_id=run.mlflow_run_id,
        progress=to_progress(record, job),
    )
    rank = msgspec.structs.replace(publication.rank, status=LIVE_STATUS)
    return msgspec.structs.replace(publication, rank=rank)


def to_progress(record: MetricsRecord, job: Job) -> Progress:
    """Returns how far the training was when it wrote `record`, and how many epochs it was asked for, if that is known.

    The epochs of a refit are added once it has begun.
    """
    refits = record.params.get("refit_epochs")
    if isinstance(refits, int) and not isinstance(refits, bool) and refits >= (done := to_refit_epochs(record)):
        before = len(record.epochs)
        return Progress(epochs_done=before + done, epochs=before + refits, at=record.saved_at)
    asked = next(
        (
            epochs
            for epochs in (record.params.get("epochs"), job.parameters.get("epochs"))
            if isinstance(epochs, int) and not isinstance(epochs, bool) and epochs >= len(record.epochs)
        ),
        None,
    )
    return Progress(epochs_done=len(record.epochs), epochs=asked, at=record.saved_at)
