"""The bench of the towers' knobs, by which the defaults were chosen: each knob trains, and does what its row says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.bench.knobs import Knobs, train
from tests.trainer.test_blending import make_dataset
from trainer.data.splitting import Pairs

SMALL: dict[str, Any] = {"width": 8, "batch": 64, "epochs": 3}


def end(**changes: Any) -> tuple[Any, Any]:
    """Both towers' vectors after the last epoch."""
    *_, (_, vectors) = train(Knobs(**{**SMALL, **changes}), make_dataset())
    return vectors


@pytest.mark.parametrize(
    "knob",
    [
        {"softmax": "full"}, {"uniform": 16}, {"history": "shared"}, {"history": "apart"}, {"warm_up": 0.5},
        {"decay": "linear"}, {"decay": "cosine"}, {"history": "shared", "own_vector": False},
        {"history": "shared", "spread": 1.0},
    ],
)  # fmt: skip
def test_each_knob_trains_another_model(knob: dict[str, Any]) -> None:
    """Unit vectors, other ones than without the knob, that tell a buyer's own products from the others."""
    dataset = make_dataset()
    (query, candidate), (usual, _) = end(**knob), end()
    np.testing.assert_allclose(np.linalg.norm(query, axis=1), 1, rtol=1e-5)
    assert np.abs(query - usual).max() > 1e-4
    scores = query @ candidate.T
    assert scores[dataset.train.buyers, dataset.train.products].mean() > scores.mean() + 0.05


def test_a_history_leaves_out_what_is_asked_for() -> None:
    """With one product a buyer nothing is left of it, and the candidates are trained as without a history."""
    dataset = make_dataset()
    products = (dataset.train.buyers % len(dataset.product_ids)).astype(np.int32)
    counts = np.bincount(products, minlength=len(dataset.product_ids)) + 1
    alone = replace(dataset, train=Pairs(dataset.train.buyers, products), product_counts=counts)
    with_history, without = (
        [vectors for _, vectors in train(Knobs(**SMALL, history=kind), alone)][-1] for kind in ("apart", "none")
    )
    np.testing.assert_allclose(with_history[1], without[1], atol=1e-4)
    assert np.abs(with_history[0] - without[0]).max() > 1e-2
