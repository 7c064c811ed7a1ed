"""The evaluation report's file: what is written is read, and damage is refused."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.evaluation import MAX_REPORT_BYTES, ReportRun, read_report, to_report_json
from switchyard.core.metrics.model_card import CardFacts, to_card
from tests.core.metrics.evaluation_reports import make_report
from tests.root import ROOT


def test_what_is_written_is_read() -> None:
    """The file holds the whole report."""
    assert read_report(to_report_json(make_report()), "here") == make_report()


def test_a_later_writers_keys_are_left_out() -> None:
    """What version 1 gains later does not stop this reader."""
    plain = json.loads(to_report_json(make_report()))
    plain["more"] = plain["contenders"][0]["more"] = {"a": 1}
    assert read_report(json.dumps(plain).encode(), "here") == make_report()


def test_the_example_of_the_docs_is_read() -> None:
    """docs/evaluation.md shows a report that this reader takes, with every key that ours has."""
    page = (ROOT / "docs" / "evaluation.md").read_text()
    (example,) = re.findall(r"```json evaluation\n(.*?)```", page, flags=re.DOTALL)
    found = read_report(example.encode(), "docs/evaluation.md")
    assert json.loads(to_report_json(found)) == json.loads(example)
    assert {one.verdict for one in found.contenders[1].leads["all"].values()} == {"baseline"}


def put(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(plain: Any) -> None:
        for part in path[:-1]:
            plain = plain[part]
        plain[path[-1]] = value

    return change


FIGURE = ("contenders", 0, "figures", "all", "recall_at_10")
LEAD = ("contenders", 1, "leads", "all", "recall_at_10")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("schema_version", value=2), "schema_version"),
        (put("contenders", value=[]), "must begin with 'model'"),
        (put("contenders", 1, "name", value="model"), "different names"),
        (put(*FIGURE, "value", value=1.5), "from 0 to 1"),
        (put(*FIGURE, "low", value=0.9), "low before high"),
        (put(*FIGURE, "high", value=None), "high"),
        (put("contenders", 0, "coverage", value=-1), "`coverage`"),
        (put(*LEAD, "verdict", value="model"), "`verdict` must be 'baseline'"),
        (put(*LEAD, "value", value=2), "from -1 to 1"),
        (put("contenders", 0, "leads", value={"all": {}}), "no `leads`"),
        (put("run", "quick_test_id", value="12"), "quick_test_id"),
    ],
)
def test_a_damaged_report_is_refused(change: Callable[[Any], None], said: str) -> None:
    """The message names the place."""
    plain = json.loads(to_report_json(make_report()))
    change(plain)
    with pytest.raises(BadRecord, match=said):
        read_report(json.dumps(plain).encode(), "here")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"\xff", b'{"a": NaN}', to_report_json(make_report())[:-20], b" " * (MAX_REPORT_BYTES + 1)],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    """Cut, empty, foreign, not UTF-8, too large."""
    with pytest.raises(BadRecord, match="here"):
        read_report(data, "here")


def test_the_card_shows_a_baseline_that_wins_as_winning() -> None:
    """It names what was left out too, and data, seed, code and image."""
    facts = CardFacts(
        params={"data_uri": "gs://b/orders", "train_rows": 5}, image="r/i@sha256:1", code="sha256:2", top_k=3
    )
    card = to_card(make_report(), facts)
    assert "| Own counts | **the baseline wins** (-0.2000) |" in card
    assert "- iALS was left out: no environment" in card
    assert "gets what sells most." in card
    for said in ("gs://b/orders", "| train_rows | 5 |", "| seed | 7 |", "sha256:2", "r/i@sha256:1"):
        assert said in card


def test_the_card_says_what_an_unknown_buyer_gets() -> None:
    """With recent popularity in the score, that is not what has sold most of all."""
    facts = CardFacts(params={"recent_popularity": True}, image="", code="sha256:2", top_k=3)
    assert "A buyer that it does not know gets what sells most of late." in to_card(make_report(), facts)


def test_names_from_people_are_no_markup_in_the_card() -> None:
    """A name with a line's end, a table's bar and HTML stays one line of text."""
    run = ReportRun(quick_test_id=12, key="abc", attempt=1, name="<script>\n# a | b", seed=7)
    card = to_card(make_report(run=run), CardFacts(params={}, image="", code="sha256:2", top_k=3))
    assert card.splitlines()[0] == r"# Model card: \<script\> # a \| b"
