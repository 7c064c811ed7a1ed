"""What a sweep keeps for good, and what decides which trial is best."""

from contextlib import nullcontext

import msgspec
import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.metrics.record import LOSS_SERIES
from switchyard.core.runs.spec import LATER_FIELDS, TrainSpec
from switchyard.core.sweeps.plan import (
    Method,
    SweepPlan,
    check_comparable,
    check_same,
    choose_direction,
    choose_params,
    count_trials,
    to_base,
    to_trial_seed,
)
from switchyard.core.sweeps.space import parse_space


def make_plan(method: Method = "random", **changes: object) -> SweepPlan:
    spec = TrainSpec()
    space = parse_space(["learning_rate=0.1..3:log" if method != "grid" else "learning_rate=1,2", "epochs=2,3"], spec)
    plan = SweepPlan(
        base=to_base(spec, space), space=space, method=method, seed=7, metric="val_recall_at_10", direction="max"
    )
    return msgspec.structs.replace(plan, **changes)


def test_a_plan_is_the_same_after_it_was_stored() -> None:
    """As JSON, with whole numbers whole and others not."""
    plan = make_plan()
    assert msgspec.json.decode(msgspec.json.encode(plan), type=SweepPlan) == plan


def test_what_all_trials_share_leaves_out_what_is_searched_and_what_came_later() -> None:
    """A sweep goes on after an update that added a parameter with a default of before."""
    base = make_plan().base
    assert "learning_rate" not in base
    assert not {name for name, before in LATER_FIELDS.items() if name in base and base[name] == before}
    assert not base.keys() & {"early_stopping_metric", "refit"}
    assert base["recent_popularity"] is TrainSpec().recent_popularity is True
    assert base["batch_size"] == TrainSpec().batch_size


def test_another_plan_under_the_same_name_is_refused_with_what_differs() -> None:
    plan = make_plan()
    check_same(plan, make_plan(), "a")
    with pytest.raises(BadRequest, match=r"'a' began with other parameters: seed, batch_size\."):
        check_same(plan, make_plan(seed=8, base=plan.base | {"batch_size": 64}), "a")


@pytest.mark.parametrize(
    ("metric", "directions", "direction"),
    [("val_recall_at_10", (), "max"), ("val_loss", (), "min"), ("speed", ("speed=max",), "max")],
)
def test_the_name_or_the_caller_says_which_way_is_better(
    metric: str, directions: tuple[str, ...], direction: str
) -> None:
    assert choose_direction(metric, directions) == direction


@pytest.mark.parametrize(("metric", "said"), [("speed", "--directions speed=max"), ("test_recall_at_10", "test rows")])
def test_a_metric_that_cannot_choose_is_refused(metric: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        choose_direction(metric, ())


@pytest.mark.parametrize(
    ("metric", "search", "said"),
    [
        ("val_loss", "batch_size=128,256", r"val_loss .* differ in batch_size \(the loss is a softmax among"),
        ("val_loss", "temperature=.05..1", "temperature"),
        ("loss", "logq_correction=true,false", "logq_correction"),
        ("val_total_loss", "l2=0..1", "l2"),
        ("regularization_loss", "l2=0..1", r"l2 \(it weights the penalty\)"),
        ("val_regularization_loss", "l2=0..1", "l2"),
        ("val_regularization_loss", "temperature=.05..1", ""),
        ("val_loss", "l2=0..1", ""),
        ("val_loss", "learning_rate=.1..3", ""),
        ("val_recall_at_10", "batch_size=128,256", ""),
    ],
)
def test_a_loss_that_measures_something_else_in_each_trial_does_not_choose(metric: str, search: str, said: str) -> None:
    space = parse_space([search, "epochs=2,3"], TrainSpec())
    with pytest.raises(BadRequest, match=said) if said else nullcontext():
        check_comparable(metric, space)


@pytest.mark.parametrize("metric", LOSS_SERIES)
def test_no_loss_compares_trials_that_differ_in_all_of_its_parameters(metric: str) -> None:
    """A loss that is added to the record is told what changes it."""
    searched = ["batch_size=128,256", "temperature=.05..1", "logq_correction=true,false", "l2=0..1"]
    with pytest.raises(BadRequest, match="cannot compare trials"):
        check_comparable(metric, parse_space(searched, TrainSpec()))


def test_a_grid_ends_by_itself_and_others_have_a_number() -> None:
    grid = make_plan("grid")
    assert [count_trials(grid, asked, 20) for asked in (0, 3, 100)] == [4, 3, 4]
    assert [count_trials(make_plan(), asked, 20) for asked in (0, 3, 100)] == [20, 3, 100]


def test_only_tpe_looks_at_how_trials_ended() -> None:
    """Grid and random trials are known beforehand, each by its number."""
    assert choose_params(make_plan("tpe"), 0) is None
    grid = make_plan("grid")
    assert [choose_params(grid, number) for number in range(4)] == [
        {"epochs": epochs, "learning_rate": rate} for epochs in (2, 3) for rate in (1.0, 2.0)
    ]
    assert choose_params(make_plan(), 5) == choose_params(make_plan(), 5) != choose_params(make_plan(), 6)


def test_each_trial_has_a_seed_of_its_own() -> None:
    plan = make_plan()
    seeds = [to_trial_seed(plan, number) for number in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**32 for seed in seeds)
