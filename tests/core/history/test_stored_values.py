"""The values that a stored history says by itself."""

from typing import Any

import pytest

from switchyard.core.history.stored_values import to_history_values

HISTORY: dict[str, Any] = {
    "epochs": [0, 5],
    "loss": {"train": [0.5, 0.25], "val": [0.5, None], "total": []},
    "metrics": {"learning_rate": [0.1, 0.05]},
    "series": {"batch_loss": {"steps": [9, 19], "values": [1.0, 0.75]}},
    "best": {"val_loss": {"value": 0.125, "epoch": 3, "direction": "min"}},
    "final_metrics": {"test_loss": 0.5, "test_auc": None},
    "params": {"lr": "0.1", "layers": [1]},
    "tags": {"team": "search"},
}


def test_a_history_says_its_values() -> None:
    """Last values at the last epoch; the best ones that it names; what is missing has none."""
    assert [(value.kind, value.name, value.number, value.text) for value in to_history_values(HISTORY)] == [
        ("final", "test_loss", 0.5, None),
        ("last", "batch_loss", 0.75, None),
        ("last", "learning_rate", 0.05, None),
        ("last", "loss", 0.25, None),
        ("best", "val_loss", 0.125, None),
        ("param", "layers", None, "[1]"),
        ("param", "lr", 0.1, "0.1"),
        ("tag", "team", None, "search"),
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        dict.fromkeys(HISTORY, 5),
        {name: {"a": "x"} for name in HISTORY if name not in ("params", "tags")},
        {"epochs": [0], "loss": {"train": [1, 2]}, "final_metrics": {"a": 10**400, "b": True}},
        {"best": {"a": {"value": "x"}}, "series": {"a": {"values": []}}},
    ],
)
def test_odd_histories_have_none(odd: dict[str, Any]) -> None:
    """Of other types, ragged, beyond float64: nothing is raised."""
    assert to_history_values(odd) == []
