"""Reads what a Pub/Sub push says: that a training job may have ended. Google's formats stop here.

Two subscriptions push to us. A Cloud Logging sink sends one message for each log entry of a training job. A bucket
sends one for each object that was written.
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from switchyard.core.errors import BadRecord

ENDED_NAME: Final = "ended.json"
"""The last thing that a training process writes (docs/contracts.md)."""
# Ids fit the databases' 64 bits.
_ENDED_OBJECT: Final = re.compile(rf"(?:[^\x00-\x1f]+/)?quick_tests/([1-9][0-9]{{0,17}})/{re.escape(ENDED_NAME)}")
_JOB_NUMBER: Final = re.compile(r"[0-9]{1,19}")

T = TypeVar("T")


class LoggedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A log entry of the job with a resource name that ends in `job_number`."""

    message_id: str
    published_at: datetime | None
    job_number: str


class EndedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An ``ended.json`` was written in the folder of a run."""

    message_id: str
    published_at: datetime | None
    quick_test_id: int
    folder_uri: str


Hint = LoggedJob | EndedObject


class _Message(msgspec.Struct):
    data: str = ""
    attributes: dict[str, str] | None = None
    messageId: str = ""  # noqa: N815 - Pub/Sub's names
    publishTime: str = ""  # noqa: N815


class _Envelope(msgspec.Struct):
    message: _Message


class _Resource(msgspec.Struct):
    type: str = ""
    labels: dict[str, str] = {}


class _LogEntry(msgspec.Struct):
    resource: _Resource


def read_hint(body: bytes) -> Hint:
    """Returns the hint in the body of a push.

    Source: https://cloud.google.com/pubsub/docs/push#receive_push (envelope),
    https://cloud.google.com/storage/docs/pubsub-notifications#attributes,
    https://cloud.google.com/logging/docs/export/pubsub (the data is a LogEntry).

    Raises:
        BadRecord: there is no hint in it, and another try would not change that.
    """
    message = _decode(body, _Envelope, "the push").message
    where = f"message {message.messageId[:64]!r}"
    attributes = message.attributes or {}
    published_at = _read_time(message.publishTime)
    if "objectId" in attributes:
        id_, uri = _read_object(attributes, where)
        return EndedObject(message_id=message.messageId, published_at=published_at, quick_test_id=id_, folder_uri=uri)
    number = _read_job_number(message.data, where)
    return LoggedJob(message_id=message.messageId, published_at=published_at, job_number=number)


def _read_object(attributes: dict[str, str], where: str) -> tuple[int, str]:
    """Returns the quick test's id and its folder's URI, as the object's name has them."""
    event, bucket, name = (attributes.get(key, "") for key in ("eventType", "bucketId", "objectId"))
    match = _ENDED_OBJECT.fullmatch(name)
    problems = []
    if event != "OBJECT_FINALIZE":
        problems.append(f"attributes.eventType must be OBJECT_FINALIZE; got {event[:64]!r}")
    if match is None:
        problems.append(f"attributes.objectId must end in quick_tests/<id>/{ENDED_NAME}; got {name[:200]!r}")
    if not bucket:
        problems.append("attributes.bucketId must name the bucket; it is missing")
    if problems or match is None:
        raise BadRecord(where, problems)
    return int(match[1]), f"gs://{bucket}/{name.removesuffix('/' + ENDED_NAME)}"


def _read_job_number(data: str, where: str) -> str:
    try:
        entry = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as err:
        raise BadRecord(where, [f"message.data must be base64; {err}"]) from err
    resource = _decode(entry, _LogEntry, where).resource
    number = resource.labels.get("job_id", "")
    if resource.type != "ml_job":
        raise BadRecord(where, [f'resource.type must be "ml_job"; got {resource.type[:64]!r}'])
    if not _JOB_NUMBER.fullmatch(number):
        raise BadRecord(where, [f"resource.labels.job_id must be a job's number; got {number[:64]!r}"])
    return number


def _decode(data: bytes, type_: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise BadRecord(where, [f"it must be JSON as Google documents it; {err}"]) from err


def _read_time(text: str) -> datetime | None:
    """Returns when Pub/Sub took the message; None: it does not say so in the expected form."""
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None
