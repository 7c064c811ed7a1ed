"""Purchases made up in the shape of real ones: a step's time hangs on how often buyers and products are named."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from trainer.data.splitting import Pairs

SHAPE_POINTS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Parts of all ids, the most frequent ones first."""
BUYER_SHARES = (75.0, 6.97, 3.46, 2.28, 1.09, 0.464, 0.201, 0.0878, 0.0125)
PRODUCT_SHARES = (19.9, 7.56, 3.76, 2.58, 1.23, 0.443, 0.125, 0.0341, 0.0114)
"""How often the id at that part is named, against the average, among the train rows of the data set "Online Retail"
(UCI, https://archive.ics.uci.edu/dataset/352/online+retail, CC BY 4.0)."""


@dataclass(frozen=True)
class Shape:
    """A training's sizes; batch and width are the trainer's defaults, unless others are named."""

    buyers: int
    products: int
    epoch_steps: int
    batch: int = 512
    dim: int = 128


ONLINE_RETAIL = Shape(buyers=3_978, products=3_607, epoch_steps=620)
"""Its epochs have 621 steps; here whole calls, so that as many calls are as many steps in all that is compared."""
MADE_UP = Shape(buyers=2_000, products=1_000, epoch_steps=93)
"""What the trainer trains on where no data are named."""
LARGE = Shape(buyers=200_000, products=20_000, epoch_steps=1_000, batch=1_024, dim=64)


def draw_pairs(shape: Shape) -> "Pairs":
    """Rows for one epoch, the same ones each time."""
    from trainer.data.splitting import Pairs

    rng = np.random.default_rng(7)
    rows = shape.epoch_steps * shape.batch
    drawn = (
        rng.choice(count, size=rows, p=_to_chances(count, shares)).astype(np.int32)
        for count, shares in ((shape.buyers, BUYER_SHARES), (shape.products, PRODUCT_SHARES))
    )
    return Pairs(*drawn)


def count_distinct(ids: npt.NDArray[Any], batch: int) -> float:
    """How many ids a batch names, on average over batches in the rows' own order."""
    whole = ids[: len(ids) // batch * batch].reshape(-1, batch)
    return float(np.mean([len(np.unique(row)) for row in whole]))


def _to_chances(count: int, shares: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Between the points the share's logarithm is a straight line over the rank's."""
    ranks = np.log1p(np.asarray(SHAPE_POINTS) * (count - 1))
    found = np.exp(np.interp(np.log1p(np.arange(count)), ranks, np.log(shares)))
    chances: npt.NDArray[np.float64] = found / found.sum()
    return chances
