"""Makes up interactions with something to learn: latent tastes, on top of a popularity as skewed as in real shops."""

import numpy as np
import pyarrow as pa

from switchyard.clients.interactions.rows import Interactions
from switchyard.core.runs.spec import TrainSpec

LATENT_DIM = 8
TASTE = 2.5  # how much a taste weighs against popularity, in units of the logit
ZIPF_EXPONENT = 0.8  # popularity of the r-th product is r^-0.8, before tastes
CHUNK_BUYERS = 1024  # bounds the [buyers, products] scores that are held at once


def make_interactions(spec: TrainSpec) -> Interactions:
    """Makes `spec.synthetic_interactions` purchases by `spec.synthetic_buyers`, in random order of time.

    The same seed makes the same purchases.

    Buyer b buys product p with probability softmax_p(taste * <u_b, v_p> + log popularity_p), u and v of unit-variance
    latent factors: drawn by the Gumbel-max trick's cheaper sibling, inversion of the cumulative probabilities.
    """
    rng = np.random.default_rng(spec.seed)
    buyers, products, rows = spec.synthetic_buyers, spec.synthetic_products, spec.synthetic_interactions
    tastes = rng.standard_normal((buyers, LATENT_DIM), dtype=np.float32)
    traits = rng.standard_normal((products, LATENT_DIM), dtype=np.float32) / np.float32(np.sqrt(LATENT_DIM))
    popularity = -ZIPF_EXPONENT * np.log(rng.permutation(products) + 1.0).astype(np.float32)

    # Active buyers buy more; every buyer buys at least now and then.
    activity = rng.lognormal(sigma=0.8, size=buyers)
    buyer_of_row = np.sort(rng.choice(buyers, size=rows, p=activity / activity.sum()))
    product_of_row = np.empty(rows, np.int64)
    for first in range(0, buyers, CHUNK_BUYERS):
        logits = TASTE * (tastes[first : first + CHUNK_BUYERS] @ traits.T) + popularity
        weights = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
        cumulative = np.cumsum(weights, axis=1)
        cumulative /= cumulative[:, -1:]
        begin, end = np.searchsorted(buyer_of_row, (first, first + CHUNK_BUYERS))
        local = buyer_of_row[begin:end] - first
        # One sorted axis for the whole chunk: row i's probabilities lie in [i, i + 1).
        flat = (cumulative + np.arange(len(cumulative))[:, None]).ravel()
        drawn = np.searchsorted(flat, local + rng.random(end - begin), side="right") - local * products
        product_of_row[begin:end] = np.clip(drawn, 0, products - 1)

    return Interactions(
        buyers=pa.array([f"b{number}" for number in range(buyers)]).take(pa.array(buyer_of_row)),
        products=pa.array([f"p{number}" for number in range(products)]).take(pa.array(product_of_row)),
        times=rng.permutation(rows).astype(np.int64),
        counts={"rows_read": rows, "rows_used": rows},
    )
