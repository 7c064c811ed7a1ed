"""What may be said of a prediction, under which key, and by what hash a buyer is known."""

import hashlib
import hmac
import re
import unicodedata
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from switchyard.core.errors import BadRequest
from switchyard.core.strict_json import decode_strictly

MAX_BODY_BYTES: Final = 8 * 1024
MAX_KEY: Final = 255
MAX_PRODUCT: Final = 512
MAX_VALUE: Final = 1e12
KEY_HEADER: Final = "Idempotency-Key"
MIN_BUYER_KEY_BYTES: Final = 32
WAITING_S: Final = 3_600
"""How long feedback may wait for its prediction's row, which a database that was away may have delayed. After that it
is counted as of no prediction. It is joined whenever the row comes."""


class Kind(StrEnum):
    """What became of a product that was recommended."""

    VIEW = "view"
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"  # `value`: what was paid, in whatever the caller counts
    LIKE = "like"
    DISLIKE = "dislike"
    RATING = "rating"  # `value`: the rating


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request says."""

    prediction_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
    kind: Kind
    product_id: Annotated[str, Meta(min_length=1, max_length=MAX_PRODUCT)] | None = None
    value: Annotated[float, Meta(ge=-MAX_VALUE, le=MAX_VALUE)] | None = None


def read_feedback(body: bytes) -> FeedbackBody:
    """Returns what a request says. Raises: BadRequest: it is not feedback, and why."""
    try:
        said = decode_strictly(body, FeedbackBody)
    except (ValueError, OverflowError) as err:
        raise BadRequest(
            "the body must be a JSON object with prediction_id (of the answer), kind and, if there is one, "
            f"product_id and value: {err}"
        ) from err
    if said.kind is Kind.RATING and said.value is None:
        raise BadRequest("feedback of kind rating has no value. Send the rating as `value`")
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in said.product_id or ""):
        raise BadRequest("product_id holds a control character; leave it out")
    return said


def choose_key(given: str | None, body: FeedbackBody) -> str:
    """Returns the key under which feedback is kept once.

    It is the one `given` in a header, else one of prediction, kind and product. A given key is never the same as one
    that is made here. Raises: BadRequest: it is not a key.
    """
    if given is None:
        return "made:" + _hash(body.prediction_id, body.kind, body.product_id or "")
    if not re.fullmatch(rf"[\x21-\x7e]{{1,{MAX_KEY}}}", given):
        raise BadRequest(
            f"{KEY_HEADER} must be 1 to {MAX_KEY} visible ASCII characters without blanks, a UUID say; got "
            f"{len(given)} characters, {given[:40]!r}"
        )
    return "given:" + given


def to_body_digest(body: FeedbackBody) -> str:
    """Returns the same for two bodies that say the same, however they spell it."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(body)).hexdigest()


def hash_buyer(key: bytes, buyer_id: str) -> str:
    """Returns what is kept of a buyer: without the key no one can try ids until one fits. Empty for no buyer.

    Source: RFC 2104 (HMAC), with SHA-256.
    """
    if not buyer_id:
        return ""
    return hmac.new(key, buyer_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
