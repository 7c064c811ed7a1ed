"""Which epochs readers of a published history get."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.core.errors import BadRequest
from switchyard.core.history.sampling import choose_epochs
from switchyard.core.metrics.record import MetricsRecord, Sampling
from tests.core.metrics.factories import make_record, records


def kept(epochs: list[int], sampling: Sampling | None = None) -> list[int]:
    """The epochs themselves, not their positions."""
    record = make_record(epochs=epochs)
    return [epochs[position] for position in choose_epochs(record, sampling or Sampling()).positions]


@pytest.mark.parametrize(
    ("epochs", "interval", "expected"),
    [
        (list(range(50)), 5, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 49]),
        (list(range(51)), 5, [*range(0, 51, 5)]),
        (list(range(50)), 1, [*range(50)]),
        (list(range(50)), 1000, [0, 49]),
        (list(range(1, 51)), 5, [*range(5, 51, 5)]),  # epochs from 1, as other trainers count
        (list(range(7, 12)), 5, [10, 11]),  # resumed
        ([3, 10, 17], 5, [10, 17]),  # every seventh epoch was logged
        ([1, 2, 3, 4], 5, [1, 4]),  # the last alone would be no line
        ([6, 7], 5, [6, 7]),
        ([*range(99, 2000, 100)], 5, [99, 599, 1099, 1599, 1999]),
        ([2], 5, [2]),
        ([], 5, []),
    ],
)
def test_every_interval_th_epoch_and_the_last_are_kept(epochs: list[int], interval: int, expected: list[int]) -> None:
    """The interval counts epochs, not positions, so that runs with other first epochs stay comparable."""
    assert kept(epochs, Sampling(interval=interval)) == expected


@pytest.mark.parametrize("interval", [0, -5])
def test_an_interval_below_one_is_refused(interval: int) -> None:
    """There is no such sampling; the caller hears it by name."""
    with pytest.raises(BadRequest, match=f"must be at least 1 epoch; got {interval}"):
        kept([0, 1], Sampling(interval=interval))


def test_extremes_of_every_loss_series_are_kept_when_asked() -> None:
    """A spike, a dip or a NaN between two samples must not vanish unseen."""
    loss = {
        "loss": [1.0, 1.0, 9.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0],
        "val_loss": [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, None, None, 0.1, 2.0, 2.0],
        "aux_loss": [0.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],  # not charted
    }
    record = make_record(11, loss=loss, non_finite={"loss": {"val_loss": {"7": "inf"}}})
    assert choose_epochs(record, Sampling(interval=100)).positions == [0, 10]
    assert choose_epochs(record, Sampling(interval=100, keep_extremes=True)).positions == [0, 2, 5, 7, 8, 10]


def test_of_equal_extremes_the_first_is_kept() -> None:
    """A plateau is one extreme, not as many as it has epochs."""
    record = make_record(6, loss={"loss": [3.0, 1.0, 1.0, 1.0, 3.0, 2.0]})
    assert choose_epochs(record, Sampling(interval=100, keep_extremes=True)).positions == [0, 1, 5]


@given(records(), st.integers(1, 2**40), st.booleans())
@settings(deadline=None, max_examples=40)
def test_sampling_keeps_order_and_ends(record: MetricsRecord, interval: int, keep_extremes: bool) -> None:
    """Ascending positions, each once, the last always, the first with the extremes; the same again for the same."""
    sampling = Sampling(interval=interval, keep_extremes=keep_extremes)
    positions = choose_epochs(record, sampling).positions
    assert positions == sorted(set(positions)) == choose_epochs(record, sampling).positions
    assert set(positions) <= set(range(len(record.epochs)))
    if record.epochs:
        assert positions[-1] == len(record.epochs) - 1
        assert not keep_extremes or positions[0] == 0
        assert set(choose_epochs(record, Sampling(interval=interval)).positions) <= set(positions)
