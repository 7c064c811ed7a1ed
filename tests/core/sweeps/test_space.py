"""What may be searched, how it is written, and what is drawn of it."""

import math
from collections import Counter
from typing import Any

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec
from switchyard.core.sweeps.space import MAX_GRID, Choices, Range, draw, list_grid, parse_space

BASE = TrainSpec()


@pytest.mark.parametrize(
    ("texts", "dimension"),
    [
        (["learning_rate=0.1..3"], Range(low=0.1, high=3.0, step=0.0)),
        (["learning_rate=1e-2..3:log"], Range(low=0.01, high=3.0, log=True, step=0.0)),
        (["learning_rate = 1 .. 2 : 0.25"], Range(low=1.0, high=2.0, step=0.25)),
        (["learning_rate=1,2"], Choices(values=(1.0, 2.0))),
        (["embedding_dim=16..100:16"], Range(low=16, high=96, step=16)),
        (["embedding_dim=32,64"], Choices(values=(32, 64))),
        (["embedding_dim=[32, 64]"], Choices(values=(32, 64))),
        (['{"embedding_dim": {"low": 8, "high": 64, "log": true}}'], Range(low=8, high=64, log=True)),
        (["own_history=yes,false"], Choices(values=(True, False))),
        (["optimizer=adam, adagrad"], Choices(values=("adam", "adagrad"))),
    ],
)
def test_a_dimension_is_written_shortly_or_as_json(texts: list[str], dimension: Any) -> None:
    """Numbers are of the parameter's own type, and the high end of steps is the last one reached."""
    [found] = parse_space(texts, BASE).values()
    assert found == dimension
    if isinstance(found, Range):
        assert type(found.low) is type(dimension.low)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "nothing is searched"),
        (["learning_rate"], "must be NAME=low..high"),
        (["learning_rate={"], "no JSON"),
        (["speed=1..2"], "no such parameter"),
        (["data_uri=/a,/b"], "other data"),
        (["test_fraction=0.1,0.2"], "other data"),
        (["top_k=10,20"], "does not change what is learned"),
        (["learning_rate=3..1"], "low must be below high"),
        (["learning_rate=0..1:log"], "low must be above 0"),
        (["learning_rate=0..1"], "learning_rate"),
        (["learning_rate=1..2:5"], "step"),
        (["learning_rate=nan,1"], "learning_rate"),
        (["embedding_dim=8..9000"], "4096"),
        (["embedding_dim=8.5..9.5"], "whole numbers"),
        (["embedding_dim=8,8"], "twice"),
        (["embedding_dim=[]"], "no values"),
        (["embedding_dim=true"], "embedding_dim"),
        (["embedding_dim=7"] * 2, "searched twice"),
        (["own_history=0..1"], "no range"),
        (["optimizer=sgd"], "optimizer"),
        (["refit=true,false"], "is not measured"),
        (["seed=1..9"], "other validation pairs"),
        (['learning_rate={"low": 1, "high": 2, "steps": 3}'], "steps"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_its_name(texts: list[str], said: str) -> None:
    """Each value and each end must be one that a training takes."""
    with pytest.raises(BadRequest, match=said):
        parse_space(texts, BASE)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadRequest, match=r"speed.*embedding_dim"):
        parse_space(["speed=1..2", "embedding_dim=8,8"], BASE)


def test_a_grid_has_every_combination_once_in_an_order_of_its_own() -> None:
    """Trial 3 of a grid is the same, in whatever order its parameters were named."""
    texts = ["learning_rate=0.5..1:0.25", "embedding_dim=4,8", "own_history=true,false"]
    grid = list_grid(parse_space(texts, BASE))
    assert grid == list_grid(parse_space(texts[::-1], BASE))
    assert len({tuple(sorted(params.items())) for params in grid}) == len(grid) == 12
    assert {params["learning_rate"] for params in grid} == {0.5, 0.75, 1.0}
    assert [params["epochs"] for params in list_grid(parse_space(["epochs=2..4"], BASE))] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "said"), [("learning_rate=0.1..3:log", "list of values"), (f"epochs=1..{MAX_GRID + 1}", "at most")]
)
def test_a_grid_without_an_end_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        list_grid(parse_space([text], BASE))


def test_a_draw_depends_on_seed_and_number_alone() -> None:
    """A process that takes a sweep up has drawn nothing before."""
    space = parse_space(["learning_rate=0.1..3:log", "embedding_dim=4,8,16", "epochs=3..9:2"], BASE)
    drawn = [draw(space, 7, number) for number in range(50)]
    assert drawn == [draw(dict(reversed(space.items())), 7, number) for number in range(50)]
    assert drawn != [draw(space, 8, number) for number in range(50)]
    assert len({params["learning_rate"] for params in drawn}) == 50


def test_draws_stay_in_their_ranges_and_reach_their_ends() -> None:
    """A logarithmic range has as many below its geometric mean as above, a whole one includes both ends."""
    texts = ["learning_rate=0.01..1:log", "l2=0..1", "embedding_dim=1..4", "batch_size=2..8:3", "epochs=1..3:log"]
    space = parse_space(texts, BASE)
    drawn = [draw(space, 1, number) for number in range(2_000)]
    assert all(0.01 <= float(params["learning_rate"]) <= 1 for params in drawn)
    low = sum(float(params["learning_rate"]) < math.sqrt(0.01) for params in drawn)
    assert 900 < low < 1_100
    assert {params["embedding_dim"] for params in drawn} == {1, 2, 3, 4}
    assert {params["batch_size"] for params in drawn} == {2, 5, 8}
    assert Counter(params["epochs"] for params in drawn).keys() == {1, 2, 3}
    assert all(type(params["embedding_dim"]) is int and type(params["l2"]) is float for params in drawn)
