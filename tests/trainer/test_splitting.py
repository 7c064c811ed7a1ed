"""The split by time and the vocabulary."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from switchyard.clients.interactions.made_up import make_interactions as make_up
from switchyard.core.errors import BadRequest
from tests.trainer.factories import make_interactions, make_spec
from trainer.data.splitting import split_by_time


def test_split_is_by_time_and_in_the_asked_shares() -> None:
    """80/10/10 by rank of time, whatever the order of the rows."""
    interactions = make_interactions(100)
    order = np.random.default_rng(1).permutation(100)
    shuffled = make_interactions(
        100,
        buyers=interactions.buyers.take(order),
        products=interactions.products.take(order),
        times=order.astype(float),
    )
    dataset, other = (split_by_time(found, make_spec()) for found in (interactions, shuffled))
    assert len(dataset.train) == 80
    assert dataset.product_counts.sum() == 80
    assert (dataset.train.buyers == other.train.buyers).all()
    assert (dataset.test.products == other.test.products).all()


def test_split_keeps_an_instant_together() -> None:
    """An order whose lines share a time is never half in train and half in test."""
    times = np.arange(80) // 10
    dataset = split_by_time(make_interactions(80, times=times), make_spec())
    assert len(dataset.train) == 60  # the boundary at row 64 moves to where its instant begins
    assert dataset.counts["train_rows"] == 60


def test_split_knows_only_what_train_knows() -> None:
    """Later buyers and products that train has not seen are dropped, and counted once."""
    buyers = [f"b{row % 5}" for row in range(98)] + ["new", "new"]
    products = [f"p{row % 7}" for row in range(97)] + ["unseen", "p0", "unseen"]
    dataset = split_by_time(make_interactions(100, buyers=pa.array(buyers), products=pa.array(products)), make_spec())
    assert "new" not in dataset.buyer_ids.to_pylist()
    assert "unseen" not in dataset.product_ids.to_pylist()
    assert dataset.counts["test_rows_dropped_cold_buyer"] == 2
    assert dataset.counts["test_rows_dropped_cold_product"] == 1
    assert dataset.counts["test_pairs"] + dataset.counts["test_rows_dropped_repeated_pair"] == 7


def test_split_says_until_when_it_has_seen() -> None:
    """What is newer than the last validation row is new to the model.

    Dates are in words, a source's own numbers as they are.
    """
    dataset = split_by_time(make_interactions(80), make_spec())
    assert dataset.last_times == {"last_train_time": "63", "last_validation_time": "71"}
    dated = split_by_time(make_interactions(80, times=1.7e15 + np.arange(80) * 1e6), make_spec())
    assert dated.last_times["last_validation_time"] == "2023-11-14T22:14:31+00:00"


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"times": np.zeros(80)}, {}, "80 rows over 1 instants leave none for train and validation|--validation-fraction"),
    ({}, {"top_k": 9}, r"9 products \(--top-k\).*only 8"),
    ({"buyers": pa.array([f"b{row}" for row in range(80)])}, {}, "none of the 8 validation rows"),
]


@pytest.mark.parametrize(("fields", "changes", "message"), BAD)
def test_split_refuses_what_cannot_be_trained_or_measured(
    fields: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """An empty part, too small a catalogue, and nothing known to measure on are refused with what to change."""
    with pytest.raises(BadRequest, match=message):
        split_by_time(make_interactions(80, **fields), make_spec(**changes))


def test_made_up_interactions_are_seeded_and_skewed() -> None:
    """The same seed makes the same purchases, another seed others; few products make up much of the sales."""
    spec = make_spec(synthetic_buyers=200, synthetic_products=100, synthetic_interactions=5_000)
    first, second = make_up(spec), make_up(spec)
    assert first.products.equals(second.products)
    assert (first.times == second.times).all()
    assert not first.products.equals(make_up(make_spec(seed=8, synthetic_interactions=5_000)).products)
    counts = np.sort(split_by_time(first, spec).product_counts)[::-1]
    assert counts[:10].sum() > 0.25 * counts.sum()
