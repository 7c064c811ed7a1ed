"""What an epoch's recall costs at a large catalogue: time and memory of `rank_by_model`, as ratios.

They are to ranking the same pairs with the scores of 1,024 pairs held at once, which is how it was done before. Both
give the same ranks.

The case: 1,000 pairs (a validation sample), one a buyer or ten, among 300,000 products, 64 wide.
"""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

PAIRS, PRODUCTS, DIM, ROUNDS = 1_000, 300_000, 64, 3


def main() -> dict[str, float | str]:
    """Prints the table; returns seconds, MB and both ratios for each number of buyers."""
    from trainer.data.splitting import Pairs
    from trainer.model.evaluation import rank_by_model

    figures: dict[str, float | str] = {}
    for buyers in (PAIRS, PAIRS // 10):
        rng = np.random.default_rng(7)
        query, candidate = (_to_unit(rng.normal(size=(size, DIM))) for size in (buyers, PRODUCTS))
        pairs = Pairs(np.arange(PAIRS, dtype=np.int32) % buyers, rng.integers(0, PRODUCTS, PAIRS, dtype=np.int32))
        ways = {"now": rank_by_model, "before": rank_all_at_once}
        assert (rank_by_model(query, candidate, pairs) == rank_all_at_once(query, candidate, pairs)).mean() > 0.99
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began_at = time.perf_counter()
                way(query, candidate, pairs)
                seconds[name].append(time.perf_counter() - began_at)
        took = {name: statistics.median(found) for name, found in seconds.items()}
        peak = {name: _measure_mb(way, query, candidate, pairs) for name, way in ways.items()}
        for name in ways:
            print(f"{buyers:5} buyers, {name:6}  {took[name]:6.2f} s  {peak[name]:7.1f} MB")
            figures |= {f"{name}_s_{buyers}": took[name], f"{name}_mb_{buyers}": peak[name]}
        print(f"{buyers:5} buyers, ratio   {took['now'] / took['before']:6.2f}    {peak['now'] / peak['before']:7.3f}")
        figures |= {f"time_ratio_{buyers}": took["now"] / took["before"]}
        figures |= {f"memory_ratio_{buyers}": peak["now"] / peak["before"]}
    return figures


def rank_all_at_once(query: Any, candidate: Any, pairs: Any) -> Any:
    """The ranks of at most 1,024 pairs, as version 0.1.0 computed them."""
    scores = query[pairs.buyers] @ candidate.T
    own = scores[np.arange(len(pairs)), pairs.products][:, None]
    above = (scores > own).sum(axis=1)
    earlier = np.arange(candidate.shape[0])[None, :] < pairs.products[:, None]
    return above + ((scores == own) & earlier).sum(axis=1)


def _measure_mb(way: Callable[..., Any], *arguments: Any) -> float:
    tracemalloc.start()
    try:
        way(*arguments)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def _to_unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
