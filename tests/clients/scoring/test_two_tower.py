"""The two-tower model without TensorFlow: its answers, and what it refuses to be."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from switchyard.clients.scoring.open import open_recommender
from switchyard.clients.scoring.two_tower import TwoTower, _take_best
from switchyard.core.errors import BadRecord, BadRequest
from tests.predicting import write_model, write_score, write_tower

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two buyers and four products of two dimensions, by hand: b0 likes p0 best, b1 p1."""
    write_tower(tmp_path / "embeddings" / "query.parquet", ["b0", "b1"], [[1, 0], [0, 1]])
    write_tower(
        tmp_path / "embeddings" / "candidate.parquet",
        ["p0", "p1", "p2", "p3"],
        [[1, 0], [0, 1], [0.6, 0.8], [-1, 0]],
    )
    return tmp_path


def to_prior(**priors: float) -> Any:
    return pa.table({"product": list(priors), "prior": list(priors.values())})


def to_purchases(*rows: tuple[str, str, int]) -> Any:
    buyers, products, counts = zip(*rows, strict=True)
    times = pa.array([AT] * len(rows), pa.timestamp("us", tz="UTC"))
    return pa.table({"buyer": buyers, "product": products, "count": counts, "last_at": times})


def to_weights(cosine: float, prior: float) -> str:
    return json.dumps({"version": 1, "cosine": cosine, "prior": prior})


def open_model(folder: Path) -> TwoTower:
    return open_recommender(folder)


def test_the_score_is_the_product_of_the_vectors(folder: Path) -> None:
    """Best first; k cuts, and more than there are answers all."""
    model = open_model(folder)
    answer = model.recommend("b0", 2)
    assert (answer.product_ids, answer.known) == (("p0", "p2"), True)
    assert answer.scores == pytest.approx((1.0, 0.6))
    assert model.recommend("b0", 9).product_ids == ("p0", "p2", "p1", "p3")
    assert model.knows("b1")
    assert not model.knows("b2")


def test_only_some_products_may_be_asked_for(folder: Path) -> None:
    """Those that the model has not are left out; of none there is no answer."""
    model = open_model(folder)
    assert model.recommend("b0", 9, only=frozenset({"p3", "p1", "other"})).product_ids == ("p1", "p3")
    assert model.recommend("b0", 9, only=frozenset({"other"})).product_ids == ()
    assert model.recommend("stranger", 9, only=frozenset({"p3"})).product_ids == ("p3",)


def test_without_a_score_strangers_get_what_suits_the_mean_buyer(folder: Path) -> None:
    """The model says that it does so."""
    model = open_model(folder)
    answer = model.recommend("stranger", 3)
    assert (answer.product_ids, answer.known, model.popularity) == (("p2", "p0", "p1"), False, "mean buyer")


def test_prior_moves_scores_and_says_what_is_popular(folder: Path) -> None:
    """2 * cosine + 10 * prior, in the order of the model's products, whatever the file's."""
    write_score(folder, {"prior": to_prior(p3=0.25, p0=0.0, p1=0.1, p2=0.0)}, to_weights(2.0, 10.0))
    model = open_model(folder)
    answer = model.recommend("b0", 3)
    assert answer.product_ids == ("p0", "p2", "p1")
    assert answer.scores == pytest.approx((2.0, 1.2, 1.0))
    stranger = model.recommend("stranger", 2)
    assert (stranger.product_ids, stranger.known, model.popularity) == (("p3", "p1"), False, "prior")
    assert stranger.scores == pytest.approx((0.25, 0.1))


BLEND = {"version": 2, "cosine": 1.0, "prior": 0.5}
REPEAT = {"bought": 0.25, "count": 1.0, "recency": 2.0, "as_of": "2026-01-03T00:00:00Z", "age_unit_s": 86_400.0}


def write_blend(folder: Path, **changes: Any) -> None:
    """b0 bought p3 three times, the last time two days before the export, and p2 sells best of late."""
    prior = to_prior(p0=-1.0, p1=0.0, p2=1.0, p3=0.0).append_column("share", pa.array([0.1, 0.2, 0.5, 0.2]))
    tables = {"prior": prior, "purchases": to_purchases(("b0", "p3", 3), ("b1", "p1", 9))}
    write_score(folder, tables, json.dumps(BLEND | {"repeat": REPEAT} | changes))


def test_own_products_count_by_how_often_and_how_long_ago_they_were_bought(folder: Path) -> None:
    """Only for the buyer who bought them: cosine + prior / 2 + 1/4 + log(1 + 3) - 2 log(1 + 2) of p3."""
    write_blend(folder)
    model = open_model(folder)
    answer = model.recommend("b0", 4)
    assert answer.product_ids == ("p2", "p0", "p1", "p3")
    assert answer.scores == pytest.approx((0.6 + 0.5, 1 - 0.5, 0, -1 + 0.25 + np.log(4) - 2 * np.log(3)), abs=1e-6)
    other = model.recommend("b1", 1, only=frozenset({"p3"}))
    assert other.scores == pytest.approx((0.0,))
    assert model.recommend("b0", 4, without_bought=True).product_ids == ("p2", "p0", "p1")


def test_a_count_below_1_is_refused_before_it_counts(folder: Path) -> None:
    """No logarithm of a negative number is taken, which would warn or end in NaN."""
    write_blend(folder)
    tables = {"purchases": to_purchases(("b0", "p3", -5))}
    write_score(folder, tables, json.dumps(BLEND | {"prior": 0.0, "repeat": REPEAT}))
    with pytest.raises(BadRecord, match="every count must be at least 1; the smallest is -5"):
        open_model(folder)


def test_a_stranger_to_a_blended_model_gets_what_sells_of_late(folder: Path) -> None:
    """By the share in prior.parquet, not by the prior; and the model says so."""
    write_blend(folder)
    model = open_model(folder)
    answer = model.recommend("stranger", 3)
    assert (answer.product_ids, answer.known, model.popularity) == (("p2", "p1", "p3"), False, "recent purchases")
    assert answer.scores == pytest.approx((0.5, 0.2, 0.2))


def test_a_blend_without_repeats_leaves_own_products_alone(folder: Path) -> None:
    """They can still be left out of an answer."""
    write_blend(folder, repeat=None)
    model = open_model(folder)
    assert model.recommend("b0", 4).scores == pytest.approx((1.1, 0.5, 0.0, -1.0), abs=1e-6)
    assert model.recommend("b0", 4, without_bought=True).product_ids == ("p2", "p0", "p1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repeat": {**REPEAT, "as_of": "2026-01-03T00:00:00"}}, r"Expected `datetime` with a timezone"),
        ({"repeat": {**REPEAT, "age_unit_s": 0}}, r"> 0.* at `\$\.repeat\.age_unit_s`"),
        ({"repeat": {**REPEAT, "days": 1}}, "unknown field `days`"),
        ({"version": 1}, "unknown field `repeat`"),
    ],
)
def test_weights_of_a_blend_that_cannot_be_meant_are_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    """The error gives the path in weights.json."""
    write_blend(folder, **changes)
    with pytest.raises(BadRecord, match=said):
        open_model(folder)


def test_a_blend_needs_its_files(folder: Path) -> None:
    """Purchases for the repeats, and a share beside each prior."""
    write_score(folder, {"prior": to_prior(p0=0.0, p1=0.0, p2=0.0, p3=0.0)}, json.dumps(BLEND | {"repeat": REPEAT}))
    with pytest.raises(BadRecord, match=r"purchases\.parquet is missing.*it must have one column `share`"):
        open_model(folder)


def test_what_a_buyer_bought_can_be_left_out(folder: Path) -> None:
    """Also for one whom the towers do not know; and without a prior, sales say what is popular."""
    write_score(folder, {"purchases": to_purchases(("b0", "p0", 1), ("new", "p2", 5), ("b0", "p1", 2))})
    model = open_model(folder)
    assert model.recommend("b0", 9, without_bought=True).product_ids == ("p2", "p3")
    assert model.recommend("b1", 1, without_bought=True).product_ids == ("p1",)
    assert model.recommend("new", 9, without_bought=True).product_ids == ("p1", "p0", "p3")
    assert model.recommend("b0", 9, only=frozenset({"p0", "p3"}), without_bought=True).product_ids == ("p3",)
    assert model.popularity == "purchases"


def test_without_purchases_leaving_them_out_is_refused(folder: Path) -> None:
    """In words that say which file is missing."""
    model = open_model(folder)
    assert not model.has_purchases
    with pytest.raises(BadRequest, match=r"exported without purchases \(score/purchases\.parquet\)"):
        model.recommend("b0", 3, without_bought=True)


def _write_vectors(folder: Path, name: str, ids: list[str], vectors: Any) -> None:
    write_tower(folder / "embeddings" / f"{name}.parquet", ids, vectors)


def _break_list(folder: Path) -> None:
    table = pa.table({"id": ["p0", "p1"], "embedding": [[1.0, 0.0], [1.0]]})
    pa_parquet.write_table(table, folder / "embeddings" / "candidate.parquet")


def _rename_column(folder: Path) -> None:
    path = folder / "embeddings" / "candidate.parquet"
    pa_parquet.write_table(pa_parquet.read_table(path).rename_columns(["product", "embedding"]), path)


def _cut(folder: Path) -> None:
    path = folder / "embeddings" / "query.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def _write_bytes_as_text(folder: Path) -> None:
    not_utf8 = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    table = pa.table({"id": not_utf8, "embedding": [[1.0, 0.0], [0.0, 1.0]]})
    pa_parquet.write_table(table, folder / "embeddings" / "query.parquet")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda folder: pa_parquet.write_table(
                pa.table({"id": ["b0", "b1"], "embedding": [[1e300, 0.0], [0.0, 1.0]]}),
                folder / "embeddings" / "query.parquet",
            ),
            "these buyers have NaN or infinity: 'b0'",
        ),
        (_write_bytes_as_text, r"embeddings/query\.parquet: it is no Parquet file that can be read: .*UTF8"),
        (
            lambda folder: _write_vectors(folder, "candidate", ["p0", "p1"], [[np.nan, 0], [0, 1]]),
            r"candidate\.parquet: every number must be finite; these products have NaN or infinity: 'p0'",
        ),
        (
            lambda folder: _write_vectors(folder, "query", ["b0", "b1"], [[1, 0], [np.inf, 1]]),
            "these buyers have NaN or infinity: 'b1'",
        ),
        (
            lambda folder: _write_vectors(folder, "candidate", ["p0", "p0"], [[1, 0], [0, 1]]),
            "each product must have one row; these have more: 'p0'",
        ),
        (
            lambda folder: _write_vectors(folder, "query", ["b0"], [[1, 0, 0]]),
            "both towers must have one dimension; query has 3, candidate has 2",
        ),
        (_break_list, "all vectors must have one length; they have 1 to 2"),
        (_rename_column, "it must have one column `id`; its columns are product, embedding"),
        (_cut, r"query\.parquet: it is no Parquet file that can be read"),
        (lambda folder: (folder / "embeddings" / "query.parquet").unlink(), r"embeddings/query\.parquet is missing"),
        (
            lambda folder: pa_parquet.write_table(
                pa.table({"id": [1, 2], "embedding": [[1.0], [2.0]]}), folder / "embeddings" / "query.parquet"
            ),
            "`id` must be text; it is int64",
        ),
        (
            lambda folder: pa_parquet.write_table(
                pa.table({"id": ["b0", None], "embedding": [[1.0, 0.0], None]}), folder / "embeddings" / "query.parquet"
            ),
            "`id` must be set in every row; 1 rows have none",
        ),
        (lambda folder: _write_vectors(folder, "query", [], np.empty((0, 2))), r"query\.parquet: it has no rows"),
    ],
)
def test_embeddings_that_are_none_are_refused(folder: Path, damage: Callable[[Path], object], said: str) -> None:
    """With the file, and what is wrong in it."""
    damage(folder)
    with pytest.raises(BadRecord, match=said):
        open_model(folder)


@pytest.mark.parametrize("sign", [1, -1])
def test_vectors_whose_product_is_infinite_are_refused(folder: Path, sign: int) -> None:
    """Each is finite, and so are the answers to the buyers who are tried first: the last one's score is not."""
    ids = [f"b{row}" for row in range(9)]
    _write_vectors(folder, "query", ids, [*[[1, 0]] * 8, [sign * 3e38, 3e38]])
    _write_vectors(folder, "candidate", ["p0", "p1"], [[100, 100], [1, 1]])
    with pytest.raises(BadRecord, match=r"the numbers are so large that a score may be infinite: up to 6\.0e\+40"):
        open_model(folder)


def test_a_prior_that_is_infinite_with_its_weight_is_refused(folder: Path) -> None:
    """The same of what is added to every buyer's score."""
    write_score(folder, {"prior": to_prior(p0=3e37, p1=1.0, p2=1.0, p3=1.0)}, to_weights(1, 100))
    with pytest.raises(BadRecord, match="a score may be infinite"):
        open_model(folder)


@pytest.mark.parametrize(
    ("tables", "weights", "said"),
    [
        (
            {"prior": to_prior(p0=1.0, p1=1.0, p2=1.0, p9=1.0)},
            to_weights(1, 1),
            r"has products that the model has not: 'p9'.*has not all products of the model; missing are: 'p3'",
        ),
        ({"prior": to_prior(p0=1.0, p1=1.0, p2=1.0, p3=float("nan"))}, to_weights(1, 1), "every prior must be finite"),
        ({"prior": to_prior(p0=1.0, p1=1.0, p2=1.0, p3=1.0)}, "", r"score/weights\.json is missing"),
        ({}, to_weights(1, 1), r"score/prior\.parquet is missing: score/weights\.json gives it the weight 1\.0"),
        (
            {"prior": to_prior(p0=1e300, p1=1.0, p2=1.0, p3=1.0)},
            to_weights(1, 1),
            "every prior must be finite; there is NaN or infinity",
        ),
        ({}, '{"version": 3, "cosine": 1}', r"weights\.json: Invalid value 3"),
        ({}, '{"version": 1, "cosine": NaN}', r"weights\.json: NaN is not JSON"),
        ({}, '{"version": 1, "cosine": 1, "recency": 3}', "unknown field `recency`"),
        (
            {"purchases": to_purchases(("b0", "p9", 1))},
            "",
            r"purchases\.parquet has products that the model has not: 'p9'",
        ),
        ({"purchases": to_purchases(("b0", "p0", 1), ("b0", "p0", 2))}, "", "each buyer and product must have one row"),
        ({"purchases": to_purchases(("b0", "p0", 0))}, "", "every count must be at least 1; the smallest is 0"),
        ({"recency": to_prior(p0=1.0)}, "", r"score/recency\.parquet: this version does not know such a file"),
    ],
)
def test_a_score_that_does_not_fit_is_refused(folder: Path, tables: dict[str, Any], weights: str, said: str) -> None:
    """Rather than answered with scores that mean something else."""
    write_score(folder, tables, weights)
    with pytest.raises(BadRecord, match=said):
        open_model(folder)


def test_all_problems_are_told_at_once(folder: Path) -> None:
    """One error has the problems of both towers."""
    (folder / "embeddings" / "query.parquet").unlink()
    _write_vectors(folder, "candidate", ["p0", "p0"], [[1, 0], [0, 1]])
    with pytest.raises(BadRecord) as caught:
        open_model(folder)
    assert len(caught.value.problems) == 2


def test_other_flavors_are_refused(tmp_path: Path) -> None:
    """With what is there, and what can be served."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").touch()
    with pytest.raises(BadRequest, match=r"its folder has model/notes\.txt\. What can be served: two-tower"):
        open_recommender(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_a_sample_of_the_scores_changes_no_answer(seed: int) -> None:
    """Also where the best lie where no sample looks, and where many are equal: the answer is that of sorting all."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=4_000).astype(np.float32)
    if seed % 4 == 1:
        scores[5::16] += 9
    elif seed % 4 == 2:
        scores[::16] += 9
    elif seed % 4 == 3:
        scores = draw.integers(0, 3, 4_000).astype(np.float32)
    for k in (1, 20, 150, 3_999, 4_000, 5_000):
        best, found = _take_best(scores, k)
        every = np.sort(scores)[::-1][:k]
        assert (found == every).all()
        assert len(set(best.tolist())) == len(every)


def test_it_answers_what_the_exported_vectors_say(tmp_path: Path) -> None:
    """For each buyer of a larger model, as sorting all products by hand would."""
    model = open_model(write_model(tmp_path, products=500, buyers=20))
    query, candidate = (
        np.stack(pa_parquet.read_table(tmp_path / "embeddings" / f"{name}.parquet")["embedding"].to_pylist())
        for name in ("query", "candidate")
    )
    for buyer in range(20):
        scores = candidate @ query[buyer]
        assert model.recommend(f"b{buyer}", 10).product_ids == tuple(f"p{row}" for row in np.argsort(-scores)[:10])
