"""Splits the data by time and turns ids into numbers: train is the oldest part, then validation, then test."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from switchyard.clients.interactions.rows import Interactions
from switchyard.core.errors import BadRequest
from switchyard.core.runs.moments import say_moment
from switchyard.core.runs.spec import TrainSpec

Ints = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class Pairs:
    """Row i says that buyer `buyers[i]` bought product `products[i]`; both [rows], positions in the vocabulary."""

    buyers: Ints
    products: Ints

    def __len__(self) -> int:
        return len(self.buyers)


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test rows in one vocabulary: the sorted ids of the train rows."""

    buyer_ids: Any  # pyarrow string array, [buyers]
    product_ids: Any  # pyarrow string array, [products]
    train: Pairs  # one row per purchase: what is bought often is seen often
    validation: Pairs  # distinct pairs
    test: Pairs  # distinct pairs
    train_times: np.ndarray[Any, np.dtype[Any]]  # of each row of train, rising, as in `Interactions.times`
    product_counts: np.ndarray[Any, np.dtype[np.int64]]  # purchases in train, [products]
    counts: dict[str, int]
    last_times: dict[str, str]  # in the format of `core.runs.moments`; the training has seen nothing newer
    refit: "Dataset | None" = (
        None  # all rows except the test ones to train on, in their own vocabulary; nothing held out
    )


def split_by_time(interactions: Interactions, spec: TrainSpec) -> Dataset:
    """Returns the dataset of `interactions`, cut by rank of time; rows of one instant are all on one side.

    Buyers and products are those of the train rows. A later row of an unknown ("cold") buyer or product is dropped and
    counted, because both towers are look-up tables and have no vector for it. A pair that is held out several times
    counts once.

    Raises:
        BadRequest: a part would be empty, or fewer products are left than `top_k`.
    """
    order = np.argsort(interactions.times, kind="stable")
    times = interactions.times[order]
    rows = len(times)
    test_from = _first_of_instant(times, round(rows * (1 - spec.test_fraction)))
    validation_from = _first_of_instant(times, round(rows * (1 - spec.test_fraction - spec.validation_fraction)))
    sizes = {"train": validation_from, "validation": test_from - validation_from, "test": rows - test_from}
    if empty := [name for name, size in sizes.items() if size <= 0]:
        raise BadRequest(
            f"a split by time needs rows for train, validation and test; {rows} rows over "
            f"{len(np.unique(times))} instants leave none for {' and '.join(empty)}: give data over a longer time, or "
            f"change --validation-fraction ({spec.validation_fraction}) and --test-fraction ({spec.test_fraction})"
        )
    buyer_ids, buyers = _encode(interactions.buyers.take(pa.array(order)), validation_from)
    product_ids, products = _encode(interactions.products.take(pa.array(order)), validation_from)
    if len(product_ids) < spec.top_k:
        raise BadRequest(
            f"the exported model must answer {spec.top_k} products (--top-k), but the catalogue has only "
            f"{len(product_ids)}: the products in the {validation_from} train rows. Lower --top-k or give more data"
        )
    counts = dict(interactions.counts)
    parts = {}
    for name, begin, end in (("validation", validation_from, test_from), ("test", test_from, rows)):
        parts[name] = _held_out(buyers[begin:end], products[begin:end], name, counts)
        if not len(parts[name]):
            raise BadRequest(
                f"none of the {end - begin} {name} rows has both its buyer and its product among the {validation_from} "
                f"train rows, so there is nothing to measure on; give data over a longer time, or a larger "
                f"--{name}-fraction"
            )
    train = Pairs(buyers[:validation_from], products[:validation_from])
    counts |= {
        "train_rows": len(train),
        "validation_pairs": len(parts["validation"]),
        "test_pairs": len(parts["test"]),
        "buyers": len(buyer_ids),
        "products": len(product_ids),
    }
    return Dataset(
        buyer_ids=buyer_ids,
        product_ids=product_ids,
        train=train,
        train_times=times[:validation_from],
        product_counts=np.bincount(train.products, minlength=len(product_ids)),
        counts=counts,
        # The weights do not learn from validation rows, but these decide when to stop and which settings are good.
        last_times={
            "last_train_time": say_moment(float(times[validation_from - 1])),
            "last_validation_time": say_moment(float(times[test_from - 1])),
        },
        **parts,
        refit=_to_refit(interactions, order[:test_from]) if spec.refit else None,
    )


def _to_refit(interactions: Interactions, order: np.ndarray[Any, Any]) -> Dataset:
    """Returns the rows at `order`, rising in time, as rows to train on; nothing is held out."""
    buyer_ids, buyers = _encode(interactions.buyers.take(pa.array(order)), len(order))
    product_ids, products = _encode(interactions.products.take(pa.array(order)), len(order))
    times, none = interactions.times[order], np.empty(0, np.int32)
    return Dataset(
        buyer_ids=buyer_ids,
        product_ids=product_ids,
        train=Pairs(buyers, products),
        validation=Pairs(none, none),
        test=Pairs(none, none),
        train_times=times,
        product_counts=np.bincount(products, minlength=len(product_ids)),
        counts={"refit_rows": len(order), "refit_buyers": len(buyer_ids), "refit_products": len(product_ids)},
        last_times={"model_trained_until": say_moment(float(times[-1]))},
    )


def _first_of_instant(times: np.ndarray[Any, Any], position: int) -> int:
    """Returns the first row that has the same instant as row `position`.

    The lines of one order share an instant, and half an order in train would give the held-out half away."""
    return int(np.searchsorted(times, times[min(position, len(times) - 1)], side="left"))


def _encode(ids: Any, train_rows: int) -> tuple[Any, Ints]:
    """Returns the sorted distinct ids of the first `train_rows`, and every row's position among them (-1: absent)."""
    vocabulary = pc.unique(ids.slice(0, train_rows))
    vocabulary = vocabulary.take(pc.sort_indices(vocabulary))
    positions = pc.fill_null(pc.index_in(ids, value_set=vocabulary), -1)
    return vocabulary, np.asarray(positions, np.int32)


def _held_out(buyers: Ints, products: Ints, name: str, counts: dict[str, int]) -> Pairs:
    """Returns the distinct pairs of known buyers and products; what is dropped is counted in `counts`."""
    cold_buyer, cold_product = buyers < 0, products < 0
    counts[f"{name}_rows_dropped_cold_buyer"] = int(cold_buyer.sum())
    counts[f"{name}_rows_dropped_cold_product"] = int((cold_product & ~cold_buyer).sum())
    known = ~(cold_buyer | cold_product)
    distinct = np.unique(np.stack([buyers[known], products[known]], axis=1), axis=0)
    counts[f"{name}_rows_dropped_repeated_pair"] = int(known.sum()) - len(distinct)
    return Pairs(distinct[:, 0], distinct[:, 1])
