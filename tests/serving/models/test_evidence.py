"""What a comparison kept, as a page shows it, whatever its shape."""

from typing import Any

import pytest

from serving.models.evidence import MOST_ROWS, Evidence, Group, Table, to_evidence, to_text
from tests.serving.models.factories import EVIDENCE


def test_metrics_by_name_are_a_table_with_intervals() -> None:
    """The rest stands in groups by the object that it was in; a key that no one knows too."""
    found = to_evidence(EVIDENCE)
    columns = ["challenger", "champion", "difference", "interval"]
    assert found.tables == [
        Table("metrics", columns, [("recall at 10", ["0.081", "0.072", "0.009", "0.004 to 0.014"])])
    ]
    assert found.groups == [
        Group("", [("schema version", "1")]),
        Group("thresholds", [("recall at 10", "\N{MINUS SIGN}0.005")]),
        Group(
            "data",
            [("fingerprint", "sha256:" + "d" * 64), ("first day", "2026-01-01"), ("last day", "2026-01-14")],
        ),
        Group("an unknown key", [("of", '["some",{"later":"version"}]')]),
    ]


def test_list_of_things_is_a_table_by_their_names() -> None:
    """One that lacks a value has an empty cell; a difference has its interval beside it."""
    measured = [
        {"name": "recall", "k": 10, "to_champion": {"value": 0.25, "low": 0.0, "high": 0.5}},
        {"name": "coverage", "k": 10, "passed": True},
        {"k": 3},
    ]
    (table,) = to_evidence({"comparison": {"measured": measured}}).tables
    assert table.title == "comparison, measured"
    assert table.columns == ["k", "to champion", "passed"]
    assert table.rows == [
        ("recall", ["10", "0.25 (0 to 0.5)", ""]),
        ("coverage", ["10", "", "yes"]),
        ("3", ["3", "", ""]),
    ]


@pytest.mark.parametrize(
    "kept",
    [
        {},
        None,
        [],
        "text",
        1.5,
        {"": ""},
        {"a": {"b": []}},
        {"a": [[], {}, [{}]]},
        {"a": [{}, {}]},
        {"a": {"x": {}, "y": {}}},
        {"low": 1, "high": None},
        {"low": {"low": 1, "high": 2}, "high": {"low": 1, "high": 2}},
        {"a": {"low": [1], "high": [2], "value": {}}},
        {"a": [1, 2, float("nan")], "b": [3, 1, 2], "c": [True, False]},
        {"a": 10**400, "b": -(10**400)},
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": 1}}}}}}}}}},
        {"x" * 10_000: "y" * 100_000},
        {"\0": "\u202e", "<b>": "&"},
    ],
)
def test_no_shape_is_refused(kept: Any) -> None:
    """Every text is one, of a bounded length."""
    found = to_evidence(kept)
    texts = [cell for table in found.tables for _, cells in table.rows for cell in cells]
    texts += [text for group in found.groups for pair in group.values for text in pair]
    assert all(isinstance(text, str) and len(text) <= 2_100 for text in texts)
    assert found.empty == (kept in ({}, None))


def test_large_evidence_is_cut_and_says_by_how_much() -> None:
    """Of tables and of values."""
    rows = [{"name": str(number), "value": number} for number in range(1_000)]
    found = to_evidence({"a": rows, "b": rows, **{f"v{number}": number for number in range(500)}})
    assert [len(table.rows) for table in found.tables] == [MOST_ROWS]
    assert [len(group.values) for group in found.groups] == [MOST_ROWS]
    assert found.more == 2_000 - MOST_ROWS + 500 - MOST_ROWS


def test_nothing_kept_is_empty() -> None:
    """As an import has it."""
    assert to_evidence({}) == Evidence()
    assert to_evidence({}).empty


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0.08, 0.07, 0.09], "0.08 (0.07 to 0.09)"),
        ([0.5, 0.7, 0.9], "[0.5,0.7,0.9]"),
        ([1, 2], "1 to 2"),
        (["a", 1], '["a",1]'),
        (True, "yes"),
        (12_345_678_901, "12345678901"),
        ({"low": 1, "high": 2}, "1 to 2"),
        ({"low": 1, "high": 2, "n": 3}, '{"low":1,"high":2,"n":3}'),
    ],
)
def test_value_in_words(value: Any, said: str) -> None:
    """An interval where it is one, else as it was kept."""
    assert to_text(value) == said
