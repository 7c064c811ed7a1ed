"""Asks two versions for the same buyers, and compares their answers with what those buyers bought.

The numbers are what a judgement rests on (`core.registry.judging`). Nothing is written here.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from switchyard.clients.interactions.made_up import make_interactions
from switchyard.clients.interactions.reading import read_interactions
from switchyard.clients.interactions.rows import Interactions
from switchyard.clients.scoring.open import open_recommender
from switchyard.core.errors import BadRecord, BadRequest
from switchyard.core.ports import Models, Objects, Predictions, Recommender
from switchyard.core.predictions.rows import Window
from switchyard.core.predictions.statistics import to_statistics
from switchyard.core.registry.changes import refuse_tombstoned
from switchyard.core.registry.flavors import OF_ROWS, choose_flavor
from switchyard.core.registry.held_out import Limit, Wish, to_data_spec, to_first_moment, to_limit
from switchyard.core.registry.judging import Bootstrap, Comparison, HeldOut, Side
from switchyard.core.registry.rows import ModelVersion
from switchyard.core.runs.moments import say_moment
from switchyard.core.runs.spec import TrainSpec
from switchyard.services.measuring import Answers, Positives, ask, ask_all_alike, choose_ks, measure
from switchyard.services.private_copy import fetch

OpenObjects = Callable[[str], Objects]
Ints = npt.NDArray[np.int64]
_NOBODY: Final = "\x00"
"""No buyer: who is unknown gets popular products."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger("switchyard.models")


@dataclass(frozen=True)
class Ports:
    """What validating reaches."""

    models: Models
    open_objects: OpenObjects
    predictions: Predictions | None = None  # None: nothing is said of feedback


@dataclass(frozen=True)
class _Newer:
    """The purchases that no training has seen, and what came before them."""

    rows: Interactions
    older_products: Any  # pyarrow string array
    fingerprint: str
    counts: Mapping[str, int]


def compare(ports: Ports, wish: Wish) -> Comparison:
    """Copies and checks both versions' files, asks both for the buyers of the held-out purchases, and measures.

    The same inputs give the same numbers.

    Raises:
        NotFound: no such model or version, or no such file.
        BadRequest: it is champion itself, or the purchases cannot be used: none is newer than both trainings, none is
            of a buyer and a product that one of them knows, too few buyers are left.
        BadRecord: a version's files are not those that were registered; nothing was loaded.
    """
    challenger, champion = _find_versions(ports.models, wish)
    versions = [challenger] if champion is None else [challenger, champion]
    limits = tuple(to_limit(version, wish.trained_until) for version in versions)
    spec = to_data_spec(challenger, wish.data_uri, wish.columns)
    newer = _read_newer(spec, ports.open_objects, limits, whole_days=wish.whole_days)
    with tempfile.TemporaryDirectory(prefix="switchyard-validate-") as folder:
        models = [_open(ports, version, Path(folder)) for version in versions]
        positives = _choose_positives(newer, models, wish)
        ks = choose_ks(wish.k, min(len(model.products) for model in models))
        answers = [ask(model, positives, ks[-1]) for model in models]
        popular, popularity_by = _ask_popular(newer, models[0], positives, ks[-1])
        sides = [
            Side(
                version=version.version,
                digest=version.digest,
                trained_until=say_moment(limit.moment),
                said_by=limit.said_by,
                products=len(model.products),
            )
            for version, limit, model in zip(versions, limits, models, strict=True)
        ]
    bootstrap = Bootstrap(resamples=wish.resamples, confidence=wish.confidence, seed=wish.seed)
    times = newer.rows.times
    return Comparison(
        challenger=sides[0],
        champion=sides[1] if champion else None,
        held_out=HeldOut(
            data_uri=spec.data_uri,
            fingerprint=newer.fingerprint,
            first=say_moment(float(times.min())),
            last=say_moment(float(times.max())),
            rows={**newer.counts, **positives.counts},
            pairs=len(positives.products),
            buyers=positives.of_buyers,
            sampled_buyers=len(positives.buyer_ids),
        ),
        bootstrap=bootstrap,
        measured=measure(positives, ks, answers[0], answers[1] if champion else None, popular, wish.k, bootstrap),
        popularity_by=popularity_by,
        feedback=read_feedback(ports.predictions, versions) if ports.predictions else None,
    )


def _find_versions(models: Models, wish: Wish) -> tuple[ModelVersion, ModelVersion | None]:
    model = models.read_model(wish.name)
    challenger = models.find_version(wish.name, str(wish.version))
    refuse_tombstoned(challenger)
    if model.production == challenger.version:
        raise BadRequest(
            f"version {challenger.version} of model {model.name} is the champion, and there is nothing to compare it "
            "with. Name the version that would replace it"
        )
    return challenger, None if model.production is None else models.find_version(wish.name, str(model.production))


def _read_newer(spec: TrainSpec, open_objects: OpenObjects, limits: tuple[Limit, ...], *, whole_days: bool) -> _Newer:
    found = read_interactions(spec, open_objects, _log.info) if spec.data_uri else make_interactions(spec)
    first, last = float(found.times.min()), float(found.times.max())
    try:
        begin, included = to_first_moment(limits, first, last, whole_days=whole_days)
    except BadRequest as err:
        raise BadRequest(f"{spec.data_uri or 'made-up purchases'}: {err}") from err
    is_newer = found.times >= begin if included else found.times > begin
    mask = pa.array(is_newer)
    rows = Interactions(
        buyers=found.buyers.filter(mask), products=found.products.filter(mask), times=found.times[is_newer]
    )
    return _Newer(
        rows=rows,
        older_products=found.products.filter(pc.invert(mask)),
        fingerprint=to_fingerprint(rows),
        counts={**found.counts, "rows_dropped_not_newer": int((~is_newer).sum()), "rows_used": len(rows.times)},
    )


def to_fingerprint(rows: Interactions) -> str:
    """Returns ``sha256:`` and 64 hex digits, of the rows' buyers, products and times in their order."""
    hashed = hashlib.sha256(len(rows.times).to_bytes(8, "little"))
    for texts in (rows.buyers, rows.products):
        hashed.update(np.asarray(pc.binary_length(texts), "<i8").tobytes())
        for begin in range(0, len(texts), 1 << 16):
            hashed.update("".join(texts[begin : begin + (1 << 16)].to_pylist()).encode())
    hashed.update(np.ascontiguousarray(rows.times, "<f8").tobytes())
    return f"sha256:{hashed.hexdigest()}"


def read_feedback(predictions: Predictions, versions: list[ModelVersion]) -> dict[str, Any] | None:
    """Reads what became of these versions' predictions, by version and arm; None: no predictions, or no feedback."""
    window = Window(model=versions[0].name)
    # What was said of predictions that are not there is of no version, whether it waits for them or not.
    found = to_statistics(window, predictions.count(window, waiting_since=_EPOCH))
    numbers = {version.version for version in versions}
    arms = [msgspec.json.decode(msgspec.json.encode(arm)) for arm in found.arms if arm.version in numbers]
    return {"interval": found.interval, "arms": arms} if any(arm["kinds"] for arm in arms) else None


def _open(ports: Ports, version: ModelVersion, folder: Path) -> Recommender:
    manifest = ports.models.read_files(version.name, version.version)
    where = f"version {version.version} of model {version.name} ({version.source_uri})"
    if manifest.digest != version.digest:
        raise BadRecord(where, [f"its list of files has digest {manifest.digest}; registered was {version.digest}"])
    flavor = choose_flavor(file.path for file in manifest.files)
    if flavor in OF_ROWS:
        raise BadRequest(
            f"{where} is of the flavor {flavor}, which recommends no products: only recommenders are compared. To "
            f'promote it all the same: switchyard promote "{version.name}" {version.version} --force --reason <why>'
        )
    own = folder / str(version.version)
    fetch(manifest, ports.open_objects(version.source_uri), version.source_uri, own)
    return open_recommender(own)


def _choose_positives(newer: _Newer, models: list[Recommender], wish: Wish) -> Positives:
    """Chooses, of the drawn buyers, the distinct pairs of a buyer and a product that at least one model knows.

    A pair that only one model knows is asked of both: the other one misses it, as it would in service.
    """
    buyers, products = newer.rows.buyers.dictionary_encode(), newer.rows.products.dictionary_encode()
    buyer_ids: list[str] = buyers.dictionary.to_pylist()
    product_ids: list[str] = products.dictionary.to_pylist()
    of_buyer, of_product = (np.asarray(column.indices, np.int64) for column in (buyers, products))
    catalogues = [frozenset(model.products) for model in models]
    catalogue = frozenset[str]().union(*catalogues)
    who_knows = np.array([[model.knows(id_) for id_ in buyer_ids] for model in models], bool)
    who_has = np.array([[id_ in one for id_ in product_ids] for one in catalogues], bool)
    knows_buyer, knows_product = (np.logical_or.reduce(who, axis=0) for who in (who_knows, who_has))
    cold_buyer, cold_product = ~knows_buyer[of_buyer], ~knows_product[of_product]
    known = ~(cold_buyer | cold_product)
    counts = {
        "rows_dropped_cold_buyer": int(cold_buyer.sum()),
        "rows_dropped_cold_product": int((cold_product & ~cold_buyer).sum()),
    }
    if not known.any():
        raise BadRequest(
            f"{wish.data_uri or 'the held-out purchases'}: none of {len(known):,} purchases has both a buyer "
            f"and a product that one of the versions knows ({counts['rows_dropped_cold_buyer']:,} of unknown buyers, "
            f"{counts['rows_dropped_cold_product']:,} more of unknown products); look at --buyer-column and "
            "--product-column"
        )
    pairs = np.unique(np.stack([of_buyer[known], of_product[known]], axis=1), axis=0)
    counts["rows_dropped_repeated_pair"] = int(known.sum()) - len(pairs)
    both_know, both_have = (np.logical_and.reduce(who, axis=0) for who in (who_knows, who_has))
    of_all = both_know[pairs[:, 0]] & both_have[pairs[:, 1]]
    counts["pairs_known_to_both"] = int(of_all.sum())
    if not of_all.any():
        raise BadRequest(
            f"{wish.data_uri or 'the held-out purchases'}: none of {len(pairs):,} pairs is of a buyer and a product "
            "that both versions know, so that nothing can be compared. Are the ids of their data spelled alike "
            "(64, 000064)?"
        )
    there = np.unique(pairs[:, 0])
    there = there[np.argsort(np.array([buyer_ids[place] for place in there.tolist()], object), kind="stable")]
    if len(there) < wish.min_buyers:
        raise BadRequest(
            f"{wish.data_uri or 'the held-out purchases'}: {len(there):,} buyers with a purchase that counts are too "
            f"few to tell two models apart; at least {wish.min_buyers:,} are asked for (--min-buyers). Give more data"
        )
    drawn = there
    if len(there) > wish.buyers:
        drawn = there[np.sort(np.random.default_rng(wish.seed).permutation(len(there))[: wish.buyers])]
    row_of = np.full(len(buyer_ids), -1, np.int64)
    row_of[drawn] = np.arange(len(drawn))
    kept = pairs[row_of[pairs[:, 0]] >= 0]
    rows = row_of[kept[:, 0]]
    order = np.argsort(rows, kind="stable")
    places = {id_: place for place, id_ in enumerate(sorted(catalogue))}
    to_place = np.array([places.get(id_, -1) for id_ in product_ids], np.int64)
    return Positives(
        buyer_ids=[buyer_ids[place] for place in drawn.tolist()],
        buyers=rows[order],
        products=to_place[kept[:, 1]][order],
        places=places,
        of_buyers=len(there),
        counts=counts,
    )


def _ask_popular(newer: _Newer, challenger: Recommender, positives: Positives, k: int) -> tuple[Answers | None, str]:
    """Returns the most bought products for everyone, and by what they were found.

    They come from the older purchases beside the held-out ones, else from what the challenger itself knows of
    popularity; None: from neither.
    """
    places = positives.places
    counted = newer.older_products.value_counts()
    bought = {one["values"].as_py(): one["counts"].as_py() for one in counted}
    own = {product: -bought[product] for product in challenger.products if product in bought}
    if own:
        ranked = sorted(challenger.products, key=lambda product: own.get(product, 0))[:k]  # of equals the first
        return ask_all_alike([places[product] for product in ranked], positives, k), "older purchases"
    if challenger.popularity in ("recent purchases", "prior", "purchases"):
        answer = challenger.recommend(_NOBODY, k)
        return ask_all_alike([places[product] for product in answer.product_ids], positives, k), challenger.popularity
    return None, ""
