"""Is what a model answers an answer?"""

import math

import pytest

from switchyard.core.predictions.answers import Recommendation
from switchyard.core.predictions.trying import find_problems

PRODUCTS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("ids", "scores", "said"),
    [
        (("a", "b"), (2.0, 1.0), []),
        (("a",), (2.0,), ["2 products must be answered; there are 1"]),
        (("a", "a"), (2.0, 1.0), ["a product is answered twice"]),
        (("a", "b"), (2.0,), ["2 products have 1 scores"]),
        (("a", "b"), (2.0, math.nan), ["a score is NaN or infinite"]),
        (("a", "b"), (math.inf, 1.0), ["a score is NaN or infinite"]),
        (("a", "b"), (1.0, 2.0), ["the scores are not in order"]),
    ],
)
def test_an_answer_is_tried(ids: tuple[str, ...], scores: tuple[float, ...], said: list[str]) -> None:
    """All that is wrong with it."""
    answer = Recommendation(product_ids=ids, scores=scores, known=True)
    assert find_problems(answer, k=2, products=PRODUCTS) == said


def test_fewer_products_than_asked_for_are_all() -> None:
    """A small model is no broken one."""
    answer = Recommendation(product_ids=("a", "b", "c"), scores=(3.0, 2.0, 1.0), known=True)
    assert find_problems(answer, k=20, products=PRODUCTS) == []
