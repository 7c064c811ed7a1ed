"""Holds what a model is trained and judged on: who bought what, when; read from files or made up."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Interactions:
    """Purchases in no particular order, [rows] each; ids are text, however they were stored.

    `times` only orders the rows: microseconds since 1970 where the source has times, else its own numbers.
    `counts` says what was read and what was dropped, by reason; it goes to the log and into the record's params.
    """

    buyers: Any  # pyarrow string array, [rows]
    products: Any  # pyarrow string array, [rows]
    times: np.ndarray[Any, np.dtype[Any]]
    counts: dict[str, int] = field(default_factory=dict)
