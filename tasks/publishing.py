"""What a run's job left, and the published history."""

from datetime import UTC, datetime

from clients.connect import connect
from history.errors import NotFound
from history.record import MAX_FILE_BYTES
from history.runs import Publication, PublishResult, StoredHistory
from history.sources import MAX_INFO_BYTES
from tasks.policy import effect


@effect
def read_metrics_file(uri: str) -> bytes:
    """The bytes of a ``training_metrics.json``; one above 64 MB is refused unread."""
    data, _ = connect().objects(uri).read(uri, max_bytes=MAX_FILE_BYTES)
    return data


@effect
def read_mlflow_info_file(uri: str) -> bytes | None:
    """The bytes of an ``mlflow_info.json``; None: there is none, as of every run that logs to its file alone. One above
    64 KB is refused unread."""
    try:
        data, _ = connect().objects(uri).read(uri, max_bytes=MAX_INFO_BYTES)
    except NotFound:
        return None
    return data


@effect
def publish(publication: Publication, force: bool) -> PublishResult:
    """Makes the publication what readers get, unless something newer is."""
    return connect().results.publish(publication, force=force, now=datetime.now(UTC))


@effect
def read_history(quick_test_id: int) -> StoredHistory:
    """What readers get."""
    return connect().results.read_history(quick_test_id)
