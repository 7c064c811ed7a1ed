"""Reads ``score/``: what a score has beside the cosine, and what each buyer bought.

All of it is optional; what is there must fit the model. The contract is in docs/predict.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from switchyard.clients.scoring.embeddings import Floats, Tower, read_column, read_table, read_texts, show
from switchyard.clients.scoring.weights import BlendWeights, PlainWeights, Repeat, Weights, to_repeats
from switchyard.core.strict_json import decode_strictly

FOLDER: Final = "score"
WEIGHTS: Final = "score/weights.json"
PRIOR: Final = "score/prior.parquet"
PURCHASES: Final = "score/purchases.parquet"
MAX_WEIGHTS_BYTES: Final = 64 * 1024
_NO_WEIGHTS: Final = PlainWeights(cosine=1.0)


@dataclass(frozen=True)
class Purchases:
    """What each buyer bought: `places` of products, those of one buyer together."""

    buyers: Mapping[str, int]
    starts: npt.NDArray[np.int64]  # [buyers + 1]
    places: npt.NDArray[np.intp]
    counts: npt.NDArray[np.float64]  # [products], all that was ever bought of each
    repeats: Floats | None = None  # beside `places`: what is added to the buyer's score of the product

    def find(self, buyer_id: str) -> slice:
        """Returns where in `places` and `repeats` the buyer's products are; empty: the buyer bought nothing."""
        row = self.buyers.get(buyer_id)
        return slice(0, 0) if row is None else slice(int(self.starts[row]), int(self.starts[row + 1]))


@dataclass(frozen=True)
class Score:
    """How a score is made; without a ``score/`` it is the cosine."""

    cosine: float = 1.0
    prior_weight: float = 0.0
    prior: Floats | None = None  # [products]
    shares: Floats | None = None  # [products], of recent sales: an unknown buyer's answer goes by these
    purchases: Purchases | None = None


def read_score(folder: Path, candidate: Tower, problems: list[str]) -> Score:
    """Reads what ``score/`` of `folder` says; what does not fit the model goes to `problems`."""
    if not (folder / FOLDER).is_dir():
        return Score()
    there = {path.relative_to(folder).as_posix() for path in (folder / FOLDER).rglob("*") if not path.is_dir()}
    for path in sorted(there - {WEIGHTS, PRIOR, PURCHASES}):
        problems.append(f"{path}: this version does not know such a file, so it cannot say what the scores mean")
    weights = _read_weights(folder, problems) if WEIGHTS in there else _NO_WEIGHTS
    if PRIOR in there and WEIGHTS not in there:
        problems.append(f"{WEIGHTS} is missing: it says how much {PRIOR} counts")
    if weights.prior and PRIOR not in there:
        problems.append(f"{PRIOR} is missing: {WEIGHTS} gives it the weight {weights.prior}")
    repeat = weights.repeat if isinstance(weights, BlendWeights) else None
    if repeat and PURCHASES not in there:
        problems.append(f"{PURCHASES} is missing: {WEIGHTS} says how much a buyer's own products count")
    is_blend = isinstance(weights, BlendWeights)
    prior, shares = _read_prior(folder, candidate, problems, has_share=is_blend) if PRIOR in there else (None, None)
    purchases = _read_purchases(folder, candidate, repeat, problems) if PURCHASES in there else None
    return Score(cosine=weights.cosine, prior_weight=weights.prior, prior=prior, shares=shares, purchases=purchases)


def _read_weights(folder: Path, problems: list[str]) -> Weights:
    try:
        with (folder / WEIGHTS).open("rb") as file:
            # A union is not a type to mypy; msgspec picks its member by `version`.
            found: Weights = decode_strictly(file.read(MAX_WEIGHTS_BYTES), Weights)  # type: ignore[arg-type]
            return found
    except (OSError, ValueError) as err:
        problems.append(f"{WEIGHTS}: {err}")
        return _NO_WEIGHTS


def _read_prior(
    folder: Path, candidate: Tower, problems: list[str], *, has_share: bool
) -> tuple[Floats | None, Floats | None]:
    """Returns the priors and, where the file must have them, the shares, each product exactly once.

    They are in the order of the model's products."""
    table = read_table(folder, PRIOR, problems)
    if table is None:
        return None, None
    products = read_texts(table, "product", PRIOR, problems)
    names = ("prior", "share") if has_share else ("prior",)
    columns = [_read_numbers(table, name, problems) for name in names]
    found = [numbers for numbers in columns if numbers is not None]
    if products is None or len(found) < len(names):
        return None, None
    given = set(products)
    if len(given) < len(products):
        problems.append(f"{PRIOR}: each product must have one row; {len(products) - len(given):,} rows are too many")
        return None, None
    strange = [
        ("has products that the model has not", [product for product in products if product not in candidate.places]),
        ("has not all products of the model; missing are", [id_ for id_ in candidate.ids if id_ not in given]),
    ]
    if any(ids for _, ids in strange):
        problems += [f"{PRIOR} {said}: {show(ids)}" for said, ids in strange if ids]
        return None, None
    order = np.argsort([candidate.places[product] for product in products])
    return found[0][order], found[1][order] if has_share else None


def _read_numbers(table: Any, name: str, problems: list[str]) -> Floats | None:
    column = read_column(table, name, PRIOR, problems)
    if column is None:
        return None
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        problems.append(f"{PRIOR}: `{name}` must be a number; it is {column.type}")
        return None
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        numbers: Floats = column.to_numpy(zero_copy_only=False).astype(np.float32)
    if not np.isfinite(numbers).all():
        problems.append(f"{PRIOR}: every {name} must be finite; there is NaN or infinity")
        return None
    return numbers


def _read_purchases(folder: Path, candidate: Tower, repeat: Repeat | None, problems: list[str]) -> Purchases | None:
    """Reads one row for each buyer and product."""
    table = read_table(folder, PURCHASES, problems)
    if table is None:
        return None
    columns = {name: read_column(table, name, PURCHASES, problems) for name in ("buyer", "product", "count", "last_at")}
    if any(column is None for column in columns.values()):
        return None
    wrong = [
        f"{PURCHASES}: `{name}` must be {expected}; it is {columns[name].type}"
        for name, expected, is_right in (
            ("buyer", "text", _is_text),
            ("product", "text", _is_text),
            ("count", "a whole number", pa.types.is_integer),
            ("last_at", "a time", pa.types.is_timestamp),
        )
        if not is_right(columns[name].type)
    ]
    if wrong:
        problems += wrong
        return None
    counts = columns["count"].to_numpy()
    if counts.min() < 1:  # before its logarithm is taken
        problems.append(f"{PURCHASES}: every count must be at least 1; the smallest is {counts.min()}")
        return None
    repeats = None
    if repeat is not None:
        last_us = columns["last_at"].cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy()
        repeats = to_repeats(counts, last_us, repeat)
    return _to_purchases(columns["buyer"], columns["product"], counts, repeats, candidate, problems)


def _to_purchases(
    buyers: Any,
    products: Any,
    counts: npt.NDArray[Any],
    repeats: Floats | None,
    candidate: Tower,
    problems: list[str],
) -> Purchases | None:
    import pyarrow.compute as pa_compute  # slow to load, and most models have no purchases

    known = pa.array(candidate.ids, products.type)
    found = pa_compute.index_in(products, value_set=known)
    if found.null_count:
        others = pa_compute.unique(products.filter(pa_compute.is_null(found))).to_pylist()
        problems.append(f"{PURCHASES} has products that the model has not: {show(others)}")
        return None
    places = found.to_numpy().astype(np.intp)
    encoded = buyers.dictionary_encode()
    rows = encoded.indices.to_numpy()
    order = np.lexsort((places, rows))
    rows, places, counts = rows[order], places[order], counts[order]
    if ((rows[1:] == rows[:-1]) & (places[1:] == places[:-1])).any():
        problems.append(f"{PURCHASES}: each buyer and product must have one row; some have more")
        return None
    ids = encoded.dictionary.to_pylist()
    return Purchases(
        buyers={id_: row for row, id_ in enumerate(ids)},
        starts=np.searchsorted(rows, np.arange(len(ids) + 1)),
        places=places,
        counts=np.bincount(places, weights=counts, minlength=len(candidate.ids)).astype(np.float64),
        repeats=None if repeats is None else repeats[order],
    )


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
