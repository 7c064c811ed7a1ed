"""Which value of a series is its best, by its name or as given."""

import pytest

from switchyard.core.history.best import DIRECTIONS, Direction, find_best, find_direction


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("valLoss", "min"),
        ("train/loss_epoch", "min"),
        ("rmse", "min"),
        ("validation_0-logloss", "min"),
        ("val_recall_at_10", "max"),
        ("ndcg@10", "max"),
        ("test_f1", "max"),
        ("eval/mAP_50", "max"),
        ("metrics/mAP50-95B", "max"),
        ("recall10", "max"),
        ("loss2", "min"),
        ("l2", None),
        ("map4you", None),
        ("train_acc", "max"),
        ("AUC", "max"),
        ("accuracy_loss", "min"),
        ("loss_accuracy", "max"),
        ("learning_rate", None),
        ("lossless", None),
        ("bitmap", None),
        ("", None),
        ("\0", None),
    ],
)
def test_the_last_word_that_says_so_gives_the_direction(name: str, expected: Direction | None) -> None:
    """Whole words only; a name without one has no best value."""
    assert find_direction(name) == expected


def test_words_are_lower_case() -> None:
    """Or no name would ever match them."""
    assert [word for word in DIRECTIONS if word != word.lower() or not word.isalnum()] == []


def test_the_first_best_value_counts_and_a_given_direction_goes_first() -> None:
    """What is missing or not finite is never best."""
    values = [None, 2.0, 1.0, None, 1.0, 3.0]
    steps = [1, 2, 3, 4, 5, 6]
    assert find_best("loss", steps, values, {}) == {"value": 1.0, "step": 3, "direction": "min"}
    assert find_best("loss", steps, values, {"loss": "max"}) == {"value": 3.0, "step": 6, "direction": "max"}
    assert find_best("speed", steps, values, {}) is None
    assert find_best("speed", steps, values, {"speed": "max"}) == {"value": 3.0, "step": 6, "direction": "max"}
    assert find_best("loss", [1, 2], [None, None], {}) is None
    assert find_best("loss", [], [], {}) is None
