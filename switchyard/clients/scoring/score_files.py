"""``score/``: what a score has beside the cosine, and what each buyer bought. All of it is optional; what is there must
fit the model. The contract is in docs/predict.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from switchyard.clients.scoring.embeddings import Floats, Tower, read_column, read_table, read_texts, show
from switchyard.core.strict_json import decode_strictly

FOLDER: Final = "score"
WEIGHTS: Final = "score/weights.json"
PRIOR: Final = "score/prior.parquet"
PURCHASES: Final = "score/purchases.parquet"
MAX_WEIGHTS_BYTES: Final = 64 * 1024

_Weight = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of weights.json."""

    version: Literal[1]
    cosine: _Weight
    prior: _Weight = 0.0


@dataclass(frozen=True)
class Purchases:
    """What each buyer bought: `places` of products, those of one buyer together."""

    buyers: Mapping[str, int]
    starts: npt.NDArray[np.int64]  # [buyers + 1]
    places: npt.NDArray[np.intp]
    counts: npt.NDArray[np.float64]  # [products], all that was ever bought of each

    def read(self, buyer_id: str) -> npt.NDArray[np.intp]:
        """Places of the products that the buyer bought; empty for one who bought nothing."""
        row = self.buyers.get(buyer_id)
        return self.places[:0] if row is None else self.places[self.starts[row] : self.starts[row + 1]]


@dataclass(frozen=True)
class Score:
    """How a score is made; without a ``score/`` it is the cosine."""

    cosine: float = 1.0
    prior_weight: float = 0.0
    prior: Floats | None = None  # [products]
    purchases: Purchases | None = None


def read_score(folder: Path, candidate: Tower, problems: list[str]) -> Score:
    """What ``score/`` of `folder` says; what does not fit the model goes to `problems`."""
    if not (folder / FOLDER).is_dir():
        return Score()
    there = {path.relative_to(folder).as_posix() for path in (folder / FOLDER).rglob("*") if not path.is_dir()}
    for path in sorted(there - {WEIGHTS, PRIOR, PURCHASES}):
        problems.append(f"{path}: this version does not know such a file, so it cannot say what the scores mean")
    weights = _read_weights(folder, problems) if WEIGHTS in there else Weights(version=1, cosine=1.0)
    if PRIOR in there and WEIGHTS not in there:
        problems.append(f"{WEIGHTS} is missing: it says how much {PRIOR} counts")
    if weights.prior and PRIOR not in there:
        problems.append(f"{PRIOR} is missing: {WEIGHTS} gives it the weight {weights.prior}")
    prior = _read_prior(folder, candidate, problems) if PRIOR in there else None
    purchases = _read_purchases(folder, candidate, problems) if PURCHASES in there else None
    return Score(cosine=weights.cosine, prior_weight=weights.prior, prior=prior, purchases=purchases)


def _read_weights(folder: Path, problems: list[str]) -> Weights:
    try:
        with (folder / WEIGHTS).open("rb") as file:
            return decode_strictly(file.read(MAX_WEIGHTS_BYTES), Weights)
    except (OSError, ValueError) as err:
        problems.append(f"{WEIGHTS}: {err}")
        return Weights(version=1, cosine=1.0)


def _read_prior(folder: Path, candidate: Tower, problems: list[str]) -> Floats | None:
    """In the order of the model's products, each exactly once."""
    table = read_table(folder, PRIOR, problems)
    if table is None:
        return None
    products, priors = read_texts(table, "product", PRIOR, problems), read_column(table, "prior", PRIOR, problems)
    if products is None or priors is None:
        return None
    if not (pa.types.is_floating(priors.type) or pa.types.is_integer(priors.type)):
        problems.append(f"{PRIOR}: `prior` must be a number; it is {priors.type}")
        return None
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        numbers = priors.to_numpy(zero_copy_only=False).astype(np.float32)
    if not np.isfinite(numbers).all():
        problems.append(f"{PRIOR}: every prior must be finite; there is NaN or infinity")
        return None
    given = set(products)
    found = [
        ("has products that the model has not", [product for product in products if product not in candidate.places]),
        ("has not all products of the model; missing are", [id_ for id_ in candidate.ids if id_ not in given]),
    ]
    if len(given) < len(products):
        problems.append(f"{PRIOR}: each product must have one row; {len(products) - len(given):,} rows are too many")
        return None
    if any(ids for _, ids in found):
        problems += [f"{PRIOR} {said}: {show(ids)}" for said, ids in found if ids]
        return None
    ordered = np.empty(len(numbers), np.float32)
    ordered[[candidate.places[product] for product in products]] = numbers
    return ordered


def _read_purchases(folder: Path, candidate: Tower, problems: list[str]) -> Purchases | None:
    """One row for each buyer and product."""
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
    return _to_purchases(columns["buyer"], columns["product"], columns["count"].to_numpy(), candidate, problems)


def _to_purchases(
    buyers: Any, products: Any, counts: npt.NDArray[Any], candidate: Tower, problems: list[str]
) -> Purchases | None:
    import pyarrow.compute as pa_compute  # slow to load, and most models have no purchases

    if counts.min() < 1:
        problems.append(f"{PURCHASES}: every count must be at least 1; the smallest is {counts.min()}")
        return None
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
    )


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
