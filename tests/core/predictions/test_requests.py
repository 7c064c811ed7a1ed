"""The bodies of every contract become one value, and what is no such body is refused in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.requests import (
    MAX_ID,
    MAX_INSTANCES,
    MAX_K,
    PredictRequest,
    read_invocations,
    read_predict,
)


def test_instances_are_objects_or_texts() -> None:
    """In order, each as it is."""
    parameters = b'{"k": 5, "only": ["p1"], "without_bought": true}'
    body = b'{"instances": [{"buyer_id": "b1"}, "b2", "b1"], "parameters": %s}' % parameters
    wanted = PredictRequest(buyer_ids=("b1", "b2", "b1"), k=5, only=frozenset({"p1"}), without_bought=True)
    assert read_predict(body) == wanted
    assert read_invocations(body) == wanted
    assert read_predict(b'{"instances": ["b1"]}') == PredictRequest(buyer_ids=("b1",), k=20)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["buyer_id"], "data": [["b1"], ["b2"]]}},
        {"dataframe_split": {"columns": ["buyer_id"], "index": [0, 1], "data": [["b1"], ["b2"]]}},
        {"dataframe_records": [{"buyer_id": "b1"}, {"buyer_id": "b2"}]},
        {"inputs": {"buyer_id": ["b1", "b2"]}},
        {"inputs": ["b1", "b2"]},
        {"instances": ["b1", {"buyer_id": "b2"}]},
    ],
)
def test_mlflow_bodies_ask_the_same(body: dict[str, object]) -> None:
    """Each of the four forms, with MLflow's name for parameters."""
    text = json.dumps({**body, "params": {"k": 3}}).encode()
    assert read_invocations(text) == PredictRequest(buyer_ids=("b1", "b2"), k=3)


def test_one_buyer_is_a_column_of_one() -> None:
    """As MLflow's clients send a scalar."""
    assert read_invocations(b'{"inputs": {"buyer_id": "b1"}}').buyer_ids == ("b1",)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "exactly one of dataframe_split, dataframe_records, instances, inputs; it has none of them"),
        (b'{"instances": ["a"], "inputs": ["b"]}', "it has instances, inputs"),
        (b'{"inputs": {"product": ["b"]}}', "`inputs` must have the one column `buyer_id`; it has 'product'"),
        (b'{"dataframe_split": {"columns": ["b"], "data": []}}', "must have the one column `buyer_id`; it has 'b'"),
        (b'{"dataframe_split": {"columns": ["buyer_id"], "data": [["b", 1]]}}', "row 0 of `dataframe_split`"),
        (b'{"dataframe_split": {"columns": ["buyer_id"], "data": [[1]]}}', "row 0 of `dataframe_split`"),
        (b'{"inputs": ["a"], "params": {}, "parameters": {}}', "the body has `params` and `parameters`"),
    ],
)
def test_other_mlflow_bodies_are_refused(body: bytes, said: str) -> None:
    """With what was there."""
    with pytest.raises(BadRequest, match=said):
        read_invocations(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is not JSON"),
        (b"[]", "Expected `object`"),
        (b'{"instances": []}', "1 to 256 instances; it has 0"),
        (json.dumps({"instances": ["b"] * (MAX_INSTANCES + 1)}).encode(), "1 to 256 instances; it has 257"),
        (b'{"instances": [1]}', r"\$\.instances\[0\]"),
        (b'{"instances": [null]}', r"\$\.instances\[0\]"),
        (b'{"instances": [{"buyer_id": "a", "k": 3}]}', "unknown field `k`"),
        (b'{"instances": ["a"], "k": 3}', "unknown field `k`"),
        (b'{"instances": ["a"], "parameters": {"K": 3}}', "unknown field `K`"),
        (b'{"instances": ["a"], "parameters": {"k": 0}}', ">= 1"),
        (json.dumps({"instances": ["a"], "parameters": {"k": MAX_K + 1}}).encode(), "<= 1000"),
        (b'{"instances": ["a"], "parameters": {"k": 5.0}}', "Expected `int`, got `float`"),
        (b'{"instances": ["a"], "parameters": {"k": true}}', "Expected `int`, got `bool`"),
        (b'{"instances": ["a"], "parameters": {"k": NaN}}', "NaN is not JSON"),
        (json.dumps({"instances": ["a" * (MAX_ID + 1)]}).encode(), "length <= 1024"),
        (b'{"instances": ["a"], "instances": ["b"]}', "the key 'instances' is twice in one object"),
        (b'{"instances": ["a"], "parameters": {"k": 1, "k": 2}}', "the key 'k' is twice in one object"),
        (b'{"instances": [{"buyer_id": "\\u003a", "buyer_id": "b"}]}', "the key 'buyer_id' is twice in one object"),
        (b'{"instances": ["\\ud800"]}', "half of a surrogate pair"),
        (b'{"instances": ["\xff"]}', "not UTF-8"),
        (b'{"instances": ["a"]} {}', "it is not JSON"),
        (b'{"instances": ["a\x00"]}', "it is not JSON"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, said: str) -> None:
    """What a decoder would let pass in silence too; an example is part of the message."""
    with pytest.raises(BadRequest, match=said) as caught:
        read_predict(body)
    assert "instances" in str(caught.value)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.integers(1, MAX_K), st.booleans())
def test_every_id_is_read_as_it_was_written(ids: list[str], k: int, ascii_only: bool) -> None:
    """By the fast way and by the other one: quotes, colons, escapes, any letters."""
    plain = [id_.encode("utf-8", "ignore").decode() for id_ in ids]
    body = json.dumps({"instances": plain, "parameters": {"k": k}}, ensure_ascii=ascii_only).encode()
    assert read_predict(body) == PredictRequest(buyer_ids=tuple(plain), k=k)
