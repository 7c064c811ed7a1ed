"""The values that lists, filters and comparisons ask for."""

from typing import Any

import pytest

from switchyard.core.history.publication import Value
from switchyard.core.history.values import MAX_NAME, MAX_TEXT, to_number, to_values


def values(**found: Any) -> list[Value]:
    nothing: dict[str, Any] = {"final": {}, "last": {}, "best": {}, "params": {}, "tags": {}}
    return to_values(**nothing | found)


def test_each_kind_has_its_values() -> None:
    """By kind, then name; a text that is a number has both."""
    found = values(
        final={"test_loss": 0.5, "test_auc": None},
        last={"loss": 0.25},
        best={"loss": {"value": 0.2, "epoch": 3, "direction": "min"}},
        params={"lr": "1e-3", "epochs": 50, "optimizer": "adam", "amp": True, "layers": [1, 2], "clip": None},
        tags={"stage": "draft"},
    )
    assert found == [
        Value(kind="final", name="test_loss", number=0.5),
        Value(kind="last", name="loss", number=0.25),
        Value(kind="best", name="loss", number=0.2),
        Value(kind="param", name="amp", text="true"),
        Value(kind="param", name="epochs", number=50.0, text="50"),
        Value(kind="param", name="layers", text="[1, 2]"),
        Value(kind="param", name="lr", number=0.001, text="1e-3"),
        Value(kind="param", name="optimizer", text="adam"),
        Value(kind="tag", name="stage", text="draft"),
    ]


def test_what_no_index_takes_has_no_value_or_a_shorter_text() -> None:
    """Long names are left out, long texts cut."""
    found = values(final={"n" * (MAX_NAME + 1): 1.0, "n" * MAX_NAME: 2.0}, tags={"": "x", "note": "y" * 5000})
    assert [(value.name[:4], value.number, value.text) for value in found] == [
        ("nnnn", 2.0, None),
        ("note", None, "y" * MAX_TEXT),
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        (" 2 ", 2.0),
        ("-1e-3", -0.001),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("1_0", None),
        ("", None),
    ],
)
def test_numbers_are_those_that_a_person_would_write(text: str, number: float | None) -> None:
    """Nothing that is not finite, none of Python's own spellings."""
    assert to_number(text) == number
