"""A long list is taken some at a time."""

import itertools

import pytest

from switchyard.core.batches import batched


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(0, 2, []), (1, 2, [[0]]), (2, 2, [[0, 1]]), (5, 2, [[0, 1], [2, 3], [4]]), (3, 1, [[0], [1], [2]])],
)
def test_each_item_is_in_one_batch_in_order(count: int, size: int, expected: list[list[int]]) -> None:
    """Only the last batch is shorter; no items, no batch."""
    assert list(batched(range(count), size)) == expected


def test_no_more_is_taken_than_the_batch_that_is_asked_for() -> None:
    """What comes from a database page by page stays there until its turn; it may be endless."""
    numbers = itertools.count()
    batches = batched(numbers, 3)
    assert next(batches) == [0, 1, 2]
    assert next(numbers) == 3
