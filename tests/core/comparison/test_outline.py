"""What is drawn of a stored history in a list, whatever wrote it."""

import pytest

from switchyard.core.comparison.outline import Drawn, SmallCurve, read_outline


@pytest.mark.parametrize(
    ("history", "curve"),
    [
        ('{"loss": {"train": [3, 2], "val": [2.5, null, 1]}}', SmallCurve("val_loss", [2.5, None, 1.0])),
        ('{"loss": {"train": [3, 2], "val": [2.5]}}', SmallCurve("loss", [3.0, 2.0])),
        ('{"metrics": {"lr": [1, 2], "accuracy": [0.5, 0.6]}}', SmallCurve("accuracy", [0.5, 0.6])),
        ('{"metrics": {"lr": [1, 2]}}', None),
        ('{"loss": {"val": [NaN, 2.5, Infinity, 1]}}', SmallCurve("val_loss", [None, 2.5, None, 1.0])),
        ('{"loss": {"val": [true, "1", {}, 1e999, 1, 2]}}', SmallCurve("val_loss", [None] * 4 + [1.0, 2.0])),
        ('{"loss": {"val": 7}, "metrics": [], "parent": "x"}', None),
        ('{"loss": "none"}', None),
        ("[1, 2]", None),
        ("not JSON", None),
        ("[" * 100_000, None),
        (None, None),
    ],
)
def test_the_most_telling_curve_is_drawn(history: str | None, curve: SmallCurve | None) -> None:
    """The validation loss, the training loss, or a metric with a better way; nothing that is stored raises."""
    assert read_outline(history).curve == curve


@pytest.mark.parametrize(
    ("parent", "found"),
    [
        ('{"quick_test_id": 7, "mlflow_run_id": "abc"}', (7, "abc")),
        ('{"quick_test_id": null, "mlflow_run_id": "abc"}', (None, "abc")),
        ("null", (None, "")),
        ('["x"]', (None, "")),
    ],
)
def test_the_run_that_it_is_nested_in_is_named(parent: str, found: tuple[int | None, str]) -> None:
    """By its row, where one is known."""
    drawn = read_outline(f'{{"parent": {parent}}}')
    assert drawn == Drawn(parent_id=found[0], parent=found[1])
