"""What a run's job left, and the published history."""

from datetime import UTC, datetime

from clients.connect import connect
from history.record import MAX_FILE_BYTES
from history.runs import Publication, PublishResult, StoredHistory
from tasks.policy import effect


@effect
def read_metrics_file(uri: str) -> bytes:
    """The bytes of a ``training_metrics.json``; one above 64 MB is refused unread."""
    data, _ = connect().objects(uri).read(uri, max_bytes=MAX_FILE_BYTES)
    return data


@effect
def publish(publication: Publication, force: bool) -> PublishResult:
    """Makes the publication what readers get, unless something newer is."""
    return connect().results.publish(publication, force=force, now=datetime.now(UTC))


@effect
def read_history(quick_test_id: int) -> StoredHistory:
    """What readers get."""
    return connect().results.read_history(quick_test_id)
