"""Is a model that was just loaded fit to answer? Asked before anyone's request is."""

import math
from collections.abc import Collection

from switchyard.core.predictions.answers import Recommendation


def find_problems(answer: Recommendation, *, k: int, products: Collection[str]) -> list[str]:
    """Returns what is wrong with an answer to a request for `k` of `products`; empty: nothing."""
    expected, found = min(k, len(products)), len(answer.product_ids)
    problems = []
    if found != expected:
        problems.append(f"{expected} products must be answered; there are {found}")
    if len(set(answer.product_ids)) != found:
        problems.append("a product is answered twice")
    if len(answer.scores) != found:
        problems.append(f"{found} products have {len(answer.scores)} scores")
    if not all(math.isfinite(score) for score in answer.scores):
        problems.append("a score is NaN or infinite")
    elif any(before < after for before, after in zip(answer.scores, answer.scores[1:], strict=False)):
        problems.append("the scores are not in order")
    return problems
