"""A published history as rows."""

import doctest

import pytest

from switchyard.core.history import tables
from switchyard.core.history.tables import to_epoch_rows


def test_the_example_holds() -> None:
    """The docstring's example is true."""
    assert doctest.testmod(tables).failed == 0


@pytest.mark.parametrize("history", [{}, {"epochs": None}, {"epochs": [], "loss": {"train": []}}])
def test_nothing_published_has_no_rows(history: dict[str, object]) -> None:
    """An empty history is an empty table."""
    assert to_epoch_rows(history) == []
