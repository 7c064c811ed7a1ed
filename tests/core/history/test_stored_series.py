"""The points of a stored history as series: of version 1, of version 2, and of the legacy application."""

import gzip
import hashlib
import json
from typing import Any

import msgspec
import pytest

from switchyard.core.history.stored_series import to_stored_series

HISTORY: dict[str, Any] = {
    "available": True,
    "epochs": [0, 5],
    "loss": {"train": [0.5, None], "val": [], "odd.name": [1, 2]},
    "gradient": {"query": [1.5, 2.5]},
    "sampling": {"interval": 5, "kept": 2, "total": 7},
    "non_finite": {"loss": {"train": {"5": "inf"}}, "final_metrics": {"test_loss": {"": "nan"}}},
}
ONE: dict[str, Any] = {"values": [0.5, 0.25], "kept": 2, "total": 2}


def read(text: str) -> Any:
    found = to_stored_series(text.encode())
    assert found is not None
    content = gzip.decompress(found.gzip_json)
    assert found.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    return msgspec.json.decode(content)  # strict: no bare token passes


def convert(history: Any) -> Any:
    return read(json.dumps(history))


def test_a_history_of_version_1_has_its_points() -> None:
    """Under the names of the full series; what is not finite is named, and an empty series is none."""
    assert convert(HISTORY) == {
        "available": True,
        "complete": False,
        "epochs": [0, 5],
        "series": {
            "loss": {"values": [0.5, None], "kept": 2, "total": 7},
            'loss["odd.name"]': {"values": [1, 2], "kept": 2, "total": 7},
            "gradient.query": {"values": [1.5, 2.5], "kept": 2, "total": 7},
        },
        "non_finite": {"loss": {"1": "inf"}},
    }


def test_a_history_of_version_2_has_its_own_series_too() -> None:
    """Metrics on the axis, and series on steps of their own."""
    batch = {"steps": [9, 19], "values": [0.5, None], "kept": 2, "total": 4}
    found = convert(
        {
            "epochs": [0, 1],
            "metrics": {"learning_rate": [0.5, 0.25]},
            "series": {"batch_loss": batch},
            "non_finite": {"series": {"batch_loss": {"1": "-inf"}}},
        }
    )
    assert found["series"] == {"learning_rate": ONE, "batch_loss": batch}
    assert found["non_finite"] == {"batch_loss": {"1": "-inf"}}


@pytest.mark.parametrize(
    ("values", "expected", "kinds"),
    [
        ("[0.5]", [0.5, None], {}),
        ("[0.5, 0.25, 0.125]", [0.5, 0.25], {}),
        ("[NaN, -Infinity]", [None, None], {"0": "nan", "1": "-inf"}),
        ('[true, "0.5"]', [None, None], {}),
        (f"[{10**400}, {2**53 - 1}]", [None, 2**53 - 1], {}),
    ],
)
def test_a_legacy_series_is_made_to_fit(values: str, expected: list[Any], kinds: dict[str, str]) -> None:
    """Shorter, longer, with bare tokens, with what is no number: one value an epoch, and strict JSON."""
    found = read(f'{{"epochs": [0, 5], "loss": {{"train": {values}}}}}')
    assert found["series"]["loss"]["values"] == expected
    assert found["non_finite"] == ({"loss": kinds} if kinds else {})


@pytest.mark.parametrize("odd", [{}, {"epochs": 5, "loss": [1], "series": 1, "non_finite": 3, "sampling": []}])
def test_a_history_of_other_types_has_none(odd: dict[str, Any]) -> None:
    """Whatever stands there, nothing is raised."""
    assert convert(odd) == {"available": False, "complete": False, "epochs": [], "series": {}, "non_finite": {}}


def test_epochs_that_json_cannot_hold_are_texts() -> None:
    """Then each series has its steps; what is no integer is no epoch."""
    found = read(f'{{"epochs": [0, {2**53 + 1}, NaN, "5"], "loss": {{"train": [1]}}}}')
    assert found["epochs"] == []
    assert found["series"]["loss"] == {"steps": ["0", str(2**53 + 1)], "values": [1, None], "kept": 2, "total": 2}


@pytest.mark.parametrize("text", ["[1]", "no JSON", "", "[" * 100_000])
def test_what_is_no_history_has_no_series(text: str) -> None:
    """None, because nothing is known of it."""
    assert to_stored_series(text.encode()) is None
