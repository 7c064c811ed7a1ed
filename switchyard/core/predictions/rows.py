"""What is kept of predictions and of the feedback on them: plain values, as serving and pages pass them around."""

from datetime import datetime

import msgspec

from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import Kind


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer for one buyer."""

    id: str  # a UUID, which the answer has
    at: datetime
    model: str
    version: int | None  # that answered; None: a model that the registry does not have
    digest: str  # of its files
    arm: Arm  # that the buyer is in; the challenger's with `fallback` was answered by the champion
    buyer_hash: str = ""  # under the key of this deployment; empty: the request named no buyer
    product_ids: tuple[str, ...]
    latency_ms: float
    fallback: bool = False  # the challenger failed


class NewFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """What someone says of a prediction; of which model it was is never theirs to say."""

    idempotency_key: str
    body_digest: str  # of what was sent, so that another thing under the same key is found out
    prediction_id: str
    kind: Kind
    product_id: str | None = None
    value: float | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one feedback. The last four are the prediction's; None as long as its row is not there."""

    prediction_id: str
    kind: Kind
    product_id: str | None
    value: float | None
    at: datetime
    model: str | None
    version: int | None
    arm: Arm | None
    predicted_at: datetime | None


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The feedback of a key, and whether this call kept it."""

    feedback: Feedback
    is_new: bool


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The predictions of a model from `since` on and before `until`; None: no such bound."""

    model: str
    since: datetime | None = None
    until: datetime | None = None


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """How many predictions of a version are there, in an arm."""

    version: int | None
    arm: Arm
    predictions: int
    fallbacks: int


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, in one kind, of the predictions of a version in an arm."""

    version: int | None
    arm: Arm
    kind: Kind
    predictions: int  # of which it was said at least once; 0: retention has removed them all
    feedback: int  # how often it was said
    values: int = 0  # with a value
    total: float = 0.0  # of these values


class Unmatched(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback of a kind without a prediction, of any model."""

    kind: Kind
    waiting: int  # young enough that the row may still come
    never: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of which statistics are made."""

    traffic: tuple[Traffic, ...]
    said: tuple[Said, ...]
    said_of_removed: tuple[Said, ...]  # of predictions that retention has removed: no rate can be made of these
    unmatched: tuple[Unmatched, ...]


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were removed."""

    predictions: int
    feedback: int
