"""Two versions on held-out purchases: what is compared, what is refused before anything is scored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import switchyard.services.validating as validating
from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, BadRequest, NotFound
from switchyard.core.predictions.arms import Arm
from switchyard.core.registry.held_out import Wish
from switchyard.core.registry.judging import Comparison, Measured, Thresholds, to_judgement
from switchyard.core.registry.rows import Lineage, NewVersion, Promotion, Tombstone
from switchyard.core.registry.stages import Validation
from switchyard.services.registering import read_manifest
from tests.clients.results.places import NOW, Place, Places
from tests.clients.results.test_predictions import feedback, prediction
from tests.predicting import write_score
from tests.services.validation_world import BUYERS, NAME, PRODUCTS, UNTIL, Shop, to_ids


@pytest.fixture
def place(places: Places, tmp_path: Path) -> Place:
    return places.make("sqlite", tmp_path)


@pytest.fixture
def shop(place: Place, tmp_path: Path) -> Shop:
    return Shop(place.models, tmp_path)


def promote(shop: Shop, version: int, expected: int | None = None) -> None:
    shop.models.promote(Promotion(name=NAME, version=version, expected=expected, force=True, reason="a test"))


def compare(shop: Shop, version: int, data_uri: str = "", **more: Any) -> Comparison:
    ports = validating.Ports(shop.models, open_objects)
    return validating.compare(ports, Wish(name=NAME, version=version, data_uri=data_uri, resamples=200, **more))


def find(comparison: Comparison, name: str, k: int = 10) -> Measured:
    (found,) = [one for one in comparison.measured if (one.name, one.k) == (name, k)]
    return found


@pytest.mark.parametrize(
    ("noise", "expected"),
    [(0.0, Validation.PASSED), (0.5, Validation.PASSED), (20.0, Validation.FAILED)],
    ids=["better", "the same", "worse"],
)
def test_better_and_equal_versions_pass_and_a_worse_one_fails(shop: Shop, noise: float, expected: Validation) -> None:
    """Against a champion that knows the buyers' tastes up to some noise."""
    shop.register(1, noise=0.5)
    promote(shop, 1)
    shop.register(2, noise=noise)
    comparison = compare(shop, 2, shop.write(shop.list_purchases()))
    thresholds = Thresholds(max_recall_loss=0.25, max_ndcg_loss=0.25, max_coverage_loss=0.5)
    judgement = to_judgement(comparison, thresholds)
    assert judgement.status is expected, judgement.evidence["checks"]
    assert (judgement.digest, judgement.against) == (shop.models.find_version(NAME, "2").digest, 1)


def test_evidence_says_what_was_compared_on_what(shop: Shop) -> None:
    """Both versions by digest, the purchases by fingerprint and dates; the same inputs give the same evidence."""
    first = shop.register(1, noise=0.5)
    promote(shop, 1)
    second = shop.register(2, trained_until="2026-01-30T09:00:00+00:00")
    columns = shop.list_purchases()
    columns = {name: [*values, *values[:5]] for name, values in columns.items()}  # five are bought twice
    uri = shop.write(columns)
    found = compare(shop, 2, uri)
    assert found == compare(shop, 2, uri)
    assert found.champion is not None
    assert (found.challenger.digest, found.champion.digest) == (second.digest, first.digest)
    assert (found.champion.trained_until, found.champion.said_by) == (UNTIL, "training")
    held = found.held_out
    assert (held.data_uri, held.pairs, held.buyers) == (uri, BUYERS * 3, BUYERS)
    assert (held.first[:10], held.last[:10]) == ("2026-02-02", "2026-02-02")
    assert held.rows["rows_read"] == held.rows["rows_used"] == BUYERS * 3 + 5
    assert held.rows["rows_dropped_repeated_pair"] == 5
    assert held.rows["pairs_known_to_both"] == BUYERS * 3
    changed = {name: list(values) for name, values in columns.items()}
    changed["stock_code"][0] = "p0" if changed["stock_code"][0] != "p0" else "p1"
    other = compare(shop, 2, shop.write(changed, "other.csv"))
    assert other.held_out.fingerprint != held.fingerprint


def test_first_version_is_measured_against_popularity_alone(shop: Shop) -> None:
    """There is no champion; what was bought before the held-out purchases says what is popular."""
    shop.register(1)
    columns = shop.list_purchases()
    older = {
        "customer_id": ["b1"] * 30,
        "stock_code": ["p7"] * 20 + ["p8"] * 10,
        "invoice_date": ["2026-01-02"] * 30,
    }
    found = compare(shop, 1, shop.write({name: older[name] + columns[name] for name in columns}))
    assert (found.champion, found.popularity_by) == (None, "older purchases")
    assert found.held_out.rows["rows_dropped_not_newer"] == 30
    recall = find(found, "recall", 5)
    assert (recall.champion, recall.to_champion) == (None, None)
    assert recall.popularity is not None
    assert recall.popularity < recall.challenger
    assert find(found, "coverage", 5).popularity == 5 / PRODUCTS
    judgement = to_judgement(found, Thresholds())
    assert [check["name"] for check in judgement.evidence["checks"]] == ["recall over popularity"]
    assert (judgement.status, judgement.against) == (Validation.PASSED, None)


def test_a_blended_version_is_judged_by_its_blended_score(shop: Shop) -> None:
    """Its towers know nothing, but each buyer bought before what it buys now: all is found.

    What sells of late is what it is held against, where no older purchases say what is popular.
    """
    columns = shop.list_purchases()

    def add(folder: Path) -> None:
        repeat = {"bought": 1e6, "count": 0.0, "recency": 0.0, "as_of": UNTIL, "age_unit_s": 1.0}
        products = to_ids("p", PRODUCTS)
        rows = len(columns["customer_id"])
        tables = {
            "prior": pa.table({"product": products, "prior": [0.0] * PRODUCTS, "share": [1 / PRODUCTS] * PRODUCTS}),
            "purchases": pa.table(
                {
                    "buyer": columns["customer_id"],
                    "product": columns["stock_code"],
                    "count": [1] * rows,
                    "last_at": pa.array([0] * rows, pa.timestamp("us", "UTC")),
                }
            ),
        }
        write_score(folder, tables, json.dumps({"version": 2, "cosine": 1.0, "prior": 1.0, "repeat": repeat}))

    shop.register(1, noise=20.0, add=add)
    found = compare(shop, 1, shop.write(columns))
    assert find(found, "recall", 5).challenger == 1.0
    assert found.popularity_by == "recent purchases"


def test_both_are_asked_for_what_one_of_them_knows(shop: Shop) -> None:
    """A product that the champion has never seen is a miss of the champion's; what neither knows is no one's."""
    shop.register(1, products=PRODUCTS // 2, buyers=BUYERS // 2)
    promote(shop, 1)
    shop.register(2)
    columns = shop.list_purchases()
    for name, value in (("customer_id", "new"), ("stock_code", "p1"), ("invoice_date", "2026-02-02 10:00")):
        columns[name].append(value)
    for name, value in (("customer_id", "b1"), ("stock_code", "new"), ("invoice_date", "2026-02-02 10:00")):
        columns[name].append(value)
    found = compare(shop, 2, shop.write(columns))
    rows = found.held_out.rows
    assert (rows["rows_dropped_cold_buyer"], rows["rows_dropped_cold_product"]) == (1, 1)
    assert found.held_out.pairs == BUYERS * 3
    assert 0 < rows["pairs_known_to_both"] < BUYERS * 3
    recall = find(found, "recall")
    assert recall.champion is not None
    assert recall.challenger == 1.0  # it knows every taste, and k is above what anyone bought
    assert recall.champion < rows["pairs_known_to_both"] / found.held_out.pairs + 0.5


def test_buyers_are_drawn_by_the_seed(shop: Shop) -> None:
    """Where there are more than asked for; the evidence says so."""
    shop.register(1)
    uri = shop.write(shop.list_purchases())
    drawn = compare(shop, 1, uri, buyers=50)
    assert (drawn.held_out.buyers, drawn.held_out.sampled_buyers, drawn.held_out.pairs) == (BUYERS, 50, 150)
    assert drawn == compare(shop, 1, uri, buyers=50)
    assert drawn.measured != compare(shop, 1, uri, buyers=50, seed=8).measured


def test_purchases_of_the_time_of_training_are_refused_with_the_dates(shop: Shop) -> None:
    """The newest of both trainings counts; before anything is copied."""
    shop.register(1, trained_until="2026-02-02T23:00:00+00:00")
    promote(shop, 1)
    shop.register(2)
    with pytest.raises(BadRequest) as caught:
        compare(shop, 2, shop.write(shop.list_purchases()))
    said = str(caught.value)
    for part in (
        "new.csv",
        "2026-02-02T10:00:00",
        f"version 2 was trained until {UNTIL}",
        "version 1 was trained until",
    ):
        assert part in said


def test_version_that_does_not_say_until_when_needs_the_caller(shop: Shop) -> None:
    """And the evidence keeps that it was the caller who said so."""
    shop.register(1, trained_until="")
    uri = shop.write(shop.list_purchases())
    with pytest.raises(BadRequest, match=r"version 1 of model shop.*--trained-until"):
        compare(shop, 1, uri)
    side = compare(shop, 1, uri, trained_until="2026-02-01").challenger
    assert (side.trained_until, side.said_by) == ("2026-02-01T23:59:59.999999+00:00", "caller")


def test_feedback_of_both_stands_beside_the_numbers(shop: Shop, place: Place) -> None:
    """Of these two versions alone, with intervals; nothing where no one said anything. It is judged by no threshold."""
    shop.register(1, noise=0.5)
    promote(shop, 1)
    shop.register(2)
    uri = shop.write(shop.list_purchases())
    ports = validating.Ports(shop.models, open_objects, place.predictions)
    wish = Wish(name=NAME, version=2, data_uri=uri, resamples=100)
    place.predictions.record(
        [prediction(number, model=NAME, version=number % 3 + 1, arm=Arm.CHAMPION) for number in range(1, 31)]
    )
    assert validating.compare(ports, wish).feedback is None
    for number in (3, 4, 5):  # of versions 1, 2 and 3
        place.predictions.give(feedback(number, f"given:{number}"), now=NOW)
    found = validating.compare(ports, wish)
    assert found.feedback is not None
    assert [(arm["version"], arm["predictions"]) for arm in found.feedback["arms"]] == [(2, 10), (1, 10)]
    rate = found.feedback["arms"][0]["kinds"][0]["rate"]
    assert rate["low"] < rate["rate"] == 0.1 < rate["high"]
    judgement = to_judgement(found, Thresholds())
    assert judgement.evidence["comparison"]["feedback"] == found.feedback


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES: list[tuple[str, Callable[[Path], object]]] = [
    ("must have sha256", lambda folder: _flip(folder / "candidate.parquet")),
    ("is missing", lambda folder: (folder / "candidate.parquet").unlink()),
    ("is not one of the version's files", lambda folder: (folder / "more.parquet").write_bytes(b"x")),
    ("is a link", lambda folder: (folder / "link.parquet").symlink_to(folder / "candidate.parquet")),
]


@pytest.mark.parametrize(("told", "damage"), DAMAGES, ids=[told for told, _ in DAMAGES])
@pytest.mark.parametrize("number", [1, 2], ids=["champion", "challenger"])
def test_damaged_files_are_refused_before_anything_is_scored(
    shop: Shop, number: int, told: str, damage: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of either version, by the one door to a model's files."""

    def ask(*_: object) -> object:
        raise AssertionError("a model was asked")

    monkeypatch.setattr(validating, "ask", ask)
    shop.register(1)
    promote(shop, 1)
    shop.register(2)
    damage(shop.folder / f"run {number}" / "embeddings")
    with pytest.raises(BadRecord, match=told):
        compare(shop, 2, shop.write(shop.list_purchases()))


def test_versions_whose_products_are_spelled_otherwise_are_not_compared(shop: Shop) -> None:
    """The champion would miss every pair, and any version pass against it."""
    shop.register(1, letter="p00")
    promote(shop, 1)
    shop.register(2)
    with pytest.raises(BadRequest, match=r"none of 240 pairs .* both versions know.*spelled alike"):
        compare(shop, 2, shop.write(shop.list_purchases()))


def test_versions_that_cannot_be_compared_are_refused(shop: Shop) -> None:
    """The champion with itself; one that is tombstoned, or not there."""
    shop.register(1)
    promote(shop, 1)
    shop.register(2)
    shop.models.tombstone(Tombstone(name=NAME, version=2, reason="a test"))
    uri = shop.write(shop.list_purchases())
    for version, error, told in (
        (1, BadRequest, "is the champion"),
        (2, BadRequest, "was tombstoned"),
        (3, NotFound, "has no version 3"),
    ):
        with pytest.raises(error, match=told):
            compare(shop, version, uri)


def test_a_version_that_recommends_nothing_is_not_compared(shop: Shop) -> None:
    """The message has the command that promotes it all the same; its files are not even copied."""
    shop.register(1)
    promote(shop, 1)
    rows = shop.folder / "rows"
    (rows / "model").mkdir(parents=True)
    (rows / "model" / "churn.ubj").write_bytes(b"{}")
    manifest = read_manifest(open_objects(rows.as_uri()), rows.as_uri(), "here")
    shop.models.register(
        NewVersion(
            name=NAME,
            source_key="rows",
            source_uri=rows.as_uri(),
            manifest=manifest,
            lineage=Lineage(trained_until=UNTIL, parameters={"data_uri": ""}),
        )
    )
    with pytest.raises(BadRequest, match=rf'of the flavor xgboost, .*switchyard promote "{NAME}" 2 --force'):
        compare(shop, 2, shop.write(shop.list_purchases()))


ODD: list[tuple[str, str, str]] = [
    # What the file holds, and what is said of it.
    ("no rows", "customer_id,stock_code,invoice_date\n", "none of 0 rows"),
    ("nothing", "", "new.csv.*the file is empty"),
    (
        "a missing column",
        "customer_id,product,invoice_date\nb1,p1,2026-02-02\n",
        "new.csv.*'stock_code'.*--product-col",
    ),
    (
        "unknown buyers",
        "customer_id,stock_code,invoice_date\nx1,p1,2026-02-02\nx2,p1,2026-02-02\n",
        "2 of unknown buyers",
    ),
    ("unknown products", "customer_id,stock_code,invoice_date\nb1,x1,2026-02-02\n", "1 more of unknown products"),
    ("few buyers", "customer_id,stock_code,invoice_date\nb1,p1,2026-02-02\n", "1 buyers .* at least 50.*--min-buyers"),
    (
        "a text for a quantity",
        "customer_id,stock_code,invoice_date,quantity\nb1,p1,2026-02-02,1\nb2,p1,2026-02-02,many\n",
        "new.csv.*column 'quantity'.*row 2.*'many'",
    ),
    (
        "no time",
        "customer_id,stock_code,invoice_date\nb1,p1,2026-02-02\nb1,p1,soon\n",
        "new.csv.*column 'invoice_date'.*row 2.*'soon'",
    ),
]


@pytest.mark.parametrize(("text", "told"), [odd[1:] for odd in ODD], ids=[odd[0] for odd in ODD])
def test_odd_purchases_are_refused_by_file_column_and_row(shop: Shop, text: str, told: str) -> None:
    """In one sentence, with what to do."""
    shop.register(1)
    (shop.folder / "new.csv").write_text(text)
    with pytest.raises(BadRequest, match=told):
        compare(shop, 1, (shop.folder / "new.csv").as_uri())


def test_quantities_that_are_not_there_and_rows_without_a_buyer_are_as_in_training(shop: Shop) -> None:
    """A row without a quantity counts; one without a buyer is dropped, and counted so."""
    shop.register(1)
    columns = {**shop.list_purchases(), "quantity": ["NaN"] * BUYERS * 3}
    columns["customer_id"][0] = ""
    rows = compare(shop, 1, shop.write(columns)).held_out.rows
    assert (rows["rows_dropped_missing_buyer"], rows["rows_used"]) == (1, BUYERS * 3 - 1)


def test_k_that_is_judged_is_measured_beside_the_usual_ones(shop: Shop) -> None:
    """As far as the catalogue goes."""
    shop.register(1)
    found = compare(shop, 1, shop.write(shop.list_purchases()), k=3)
    assert [one.k for one in found.measured if one.name == "recall"] == [3, 5, 10]


def test_fingerprint_tells_rows_apart_that_read_alike() -> None:
    """Where one id ends is part of it, and so is the time."""
    import pyarrow as pa

    from switchyard.clients.interactions.rows import Interactions

    def make(buyers: list[str], products: list[str], time: float = 1.0) -> str:
        return validating.to_fingerprint(
            Interactions(buyers=pa.array(buyers), products=pa.array(products), times=np.full(len(buyers), time))
        )

    prints = {
        make(["ab", "c"], ["p", "q"]),
        make(["a", "bc"], ["p", "q"]),
        make(["c", "ab"], ["p", "q"]),
        make(["ab", "c"], ["p", "q"], 2.0),
        make(["ab"], ["c"]),
    }
    assert len(prints) == 5
    assert make(to_ids("b", 9), to_ids("p", 9)) == make(to_ids("b", 9), to_ids("p", 9))
