"""What may be said of a prediction, and under which key it is kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.feedback import (
    MAX_PRODUCT,
    FeedbackBody,
    Kind,
    choose_key,
    hash_buyer,
    read_feedback,
    to_body_digest,
)

ID = "00000000-0000-4000-8000-000000000001"


def body(**more: Any) -> bytes:
    return json.dumps({"prediction_id": ID, "kind": "click", **more}).encode()


def said(**more: Any) -> FeedbackBody:
    return read_feedback(body(**more))


def test_feedback_is_read() -> None:
    """With and without a product and a value."""
    assert said() == FeedbackBody(prediction_id=ID, kind=Kind.CLICK)
    assert said(kind="purchase", product_id="Ü \U0001f600", value=3).value == 3.0
    assert said(product_id="x" * MAX_PRODUCT, value=-1e12).product_id == "x" * MAX_PRODUCT


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "Expected `object`"),
        (b"\xff", "UTF-8"),
        (b"{}", "prediction_id"),
        (body(kind="bought"), "kind"),
        (body(kind=["click"]), "kind"),
        (body(prediction_id="1"), "prediction_id"),
        (body(prediction_id=ID + "\n"), "prediction_id"),
        (body(prediction_id=ID.replace("8", "Z")), "prediction_id"),
        (body(version=3), "version"),
        (body(model="shop"), "model"),
        (body(product_id=""), "product_id"),
        (body(product_id="x" * (MAX_PRODUCT + 1)), "product_id"),
        (body(product_id="a\0b"), "control character"),
        (body(product_id="a\u2028b"), "control character"),
        (body(product_id="\ud800"), "surrogate"),
        (body(product_id=7), "product_id"),
        (body(kind="rating"), "has no value"),
        (body(value=float("nan")), "NaN"),
        (body(value=float("-inf")), "Infinity"),
        (body(value=1).replace(b"1}", b"1e999}"), "value"),
        (body(value=1).replace(b"1}", b"1" + b"0" * 400 + b"}"), "value"),
        (body(value=1).replace(b"1}", b"1" + b"0" * 5000 + b"}"), "digits"),
        (body(value=1.1e12), "value"),
        (body(value=True), "value"),
        (body(value="1"), "value"),
        (b'{"kind": "click", "kind": "like", "prediction_id": "' + ID.encode() + b'"}', "twice"),
        (b'{"a":' * 100_000, "nested"),
    ],
)
def test_what_is_no_feedback_is_refused(sent: bytes, why: str) -> None:
    """With the key that is wrong, and in words that can be sent back."""
    with pytest.raises(BadRequest, match=why) as caught:
        read_feedback(sent)
    str(caught.value).encode()


@given(st.binary())
def test_any_bytes_are_feedback_or_refused(sent: bytes) -> None:
    """Nothing else comes out."""
    try:
        read_feedback(sent)
    except BadRequest as err:
        assert str(err)


def test_made_key_is_of_prediction_kind_and_product() -> None:
    """Not of the value: the same thing said with another value is found out."""
    assert choose_key(None, said(value=1)) == choose_key(None, said(value=2))
    keys = {choose_key(None, said(**more)) for more in ({}, {"kind": "like"}, {"product_id": "p"}, {"product_id": "q"})}
    assert len(keys) == 4
    assert choose_key(choose_key(None, said()), said()) != choose_key(None, said())


@pytest.mark.parametrize("key", ["", "a b", "a\n", "x" * 256, "ü", "a\0"])
def test_what_is_no_key_is_refused(key: str) -> None:
    """A header can hold more than a key may."""
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        choose_key(key, said())


def test_digest_is_of_what_is_said() -> None:
    """Not of the order of keys, of blanks, or of how a number is spelt; each value makes another."""
    other = read_feedback(f'{{"value": 1.0,  "kind":"click", "prediction_id": "{ID}", "product_id": null}}'.encode())
    assert to_body_digest(said(value=1)) == to_body_digest(other)
    assert len({to_body_digest(said(**more)) for more in ({}, {"value": 0}, {"product_id": "p"})}) == 3


def test_buyer_is_kept_under_a_keyed_hash() -> None:
    """By RFC 4231's second test; another key makes another hash, and no buyer has none."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hash_buyer(b"Jefe", "what do ya want for nothing?") == expected
    assert hash_buyer(b"other", "b1") != hash_buyer(b"Jefe", "b1")
    assert hash_buyer(b"Jefe", "") == ""
    assert len(hash_buyer(b"Jefe", "\ud800")) == 64
