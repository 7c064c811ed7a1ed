"""What a run's page says first, and the order of its series and parameters."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from serving.view.groups import in_order, to_groups
from serving.view.parameters import Parameters, to_parameters
from serving.view.values import Best, Recall, to_headline
from switchyard.core.runs.rows import QuickTest, RunStatus
from switchyard.core.runs.spec import TrainSpec
from tests.serving.factories import NOW

RUN = QuickTest(id=1, status=RunStatus.COMPLETED)
OURS = msgspec.structs.asdict(TrainSpec())


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["loss", "val_loss", "recall_at_10", "val_recall_at_50", "val_recall_at_10"], "val_recall_at_10"),
        (["loss", "val_loss"], "val_loss"),
        (["speed", "loss"], "loss"),
        (["accuracy", "auc"], "auc"),
        ([], None),
    ],
)
def test_the_headline_is_what_says_most_of_a_recommender(names: list[str], chosen: str | None) -> None:
    """Recall first, of the validation, at 10; the losses where there is nothing else."""
    best = [Best(name, 1.0, "epoch 3", "lowest" if "loss" in name else "highest") for name in names]
    found = to_headline(RUN, best, []).best
    assert (found.name if found else None) == chosen


def test_the_ratio_in_the_headline_is_at_ten() -> None:
    """Or at the first k that has one; a best without a value is none."""
    recalls = [Recall(5, 0.2, 0.1), Recall(10, 0.3, 0.1)]
    assert to_headline(RUN, [Best("auc", None, "epoch 1", "highest")], recalls).recall == recalls[1]
    assert to_headline(RUN, [], recalls[:1]).recall == recalls[0]
    assert to_headline(RUN, [], [Recall(10, 0.3, 0.0)]).recall is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"), (3600 * 26 + 240, "26 h 04 min")]
)
def test_a_duration_is_said_in_two_units(seconds: float, said: str) -> None:
    """From the start of the training until its end."""
    run = msgspec.structs.replace(RUN, started_at=NOW, completed_at=NOW + timedelta(seconds=seconds))
    assert to_headline(run, [], []).duration == said
    assert to_headline(RUN, [], []).duration == ""


def test_series_stand_in_groups_by_their_names() -> None:
    """A prefix of the run's own is a group where three series share it; numbered layers are not two thousand groups."""
    names = ["loss", "val_auc", "lr", "epoch_seconds", "encoder/a", "encoder/b", "encoder/c", "x", "system/gpu"]
    found = to_groups([*names, *(f"layer_{number}/norm" for number in range(2000))])
    assert [found[name] for name in names] == [
        *("Losses", "Metrics", "Optimizer", "System", "encoder", "encoder", "encoder", "Others", "System")
    ]
    assert len(set(found.values())) == 6
    assert list(in_order(found.values())) == ["Losses", "Metrics", "Optimizer", "encoder", "Others", "System"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, Parameters()),
        ({"C": 1.0, "epochs": 5}, Parameters(given={"C": 1.0, "epochs": 5})),
        (
            {**OURS, "epochs": 99, "rows_read": 7, "machine": {"a": 1}},
            Parameters(
                changed={"epochs": 99},
                defaults={name: value for name, value in OURS.items() if name != "epochs"},
                counts={"rows_read": 7},
                given={"machine": {"a": 1}},
            ),
        ),
    ],
)
def test_parameters_stand_by_what_a_reader_asks(params: dict[str, Any], expected: Parameters) -> None:
    """What differs from the defaults, counts of the data, and all of another tool's as they are."""
    assert to_parameters(params) == expected


def test_parameters_that_mlflow_kept_as_texts_are_compared_as_what_they_are() -> None:
    """`"12"` is the default of `epochs`, `"True"` that of a flag."""
    found = to_parameters({**{name: str(value) for name, value in OURS.items()}, "train_rows": "48000"})
    assert found.changed == {}
    assert found.counts == {"train_rows": "48000"}
