"""A request's instances held against a model's columns, and a model's answers against what an answer is."""

from typing import Any

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.signature import (
    Column,
    Signature,
    Type,
    describe,
    find_bad_answers,
    find_problems,
    make_example,
    read_rows,
)
from switchyard.core.predictions.tensors import limit

CHURN = Signature(
    columns=(
        Column(name="age", type=Type.NUMBER, may_be_missing=True),
        Column(name="orders", type=Type.INTEGER),
        Column(name="vip", type=Type.BOOLEAN),
        Column(name="note", type=Type.TEXT),
    ),
    answers="a probability",
)
ROW = {"age": 3, "orders": 4, "vip": True, "note": "x"}


@pytest.mark.parametrize(
    ("instance", "row"),
    [
        (ROW, [3.0, 4, True, "x"]),
        ({**ROW, "age": None}, [None, 4, True, "x"]),
        ({"orders": 4, "vip": True, "note": "x"}, [None, 4, True, "x"]),
        ({"note": "x", "vip": True, "orders": 4.0, "age": 0.5}, [0.5, 4, True, "x"]),
        ([0.5, -(2**63), False, ""], [0.5, -(2**63), False, ""]),
    ],
)
def test_an_instance_is_an_object_or_a_list(instance: Any, row: list[Any]) -> None:
    """In the signature's order, whatever the object's is; a whole number may be written with a point."""
    (found,) = read_rows([instance], CHURN)
    assert found == row
    assert [type(value) for value in found] == [type(value) for value in row]


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        ({**ROW, "height": 1}, "instance 0 has `height`, which the model does not take"),
        ({"age": 1, "vip": True}, "instance 0 must have `orders`, `note`"),
        ({**ROW, "age": "3"}, "`age` of instance 0 must be a number; it is the text '3'"),
        ({**ROW, "age": True}, "`age` of instance 0 must be a number; it is true"),
        ({**ROW, "age": float("inf")}, "`age` of instance 0 must be a number; it is inf"),
        ({**ROW, "age": 10**400}, "`age` of instance 0 must be a number; it is 1000"),
        ({**ROW, "orders": 1.5}, "`orders` of instance 0 must be a whole number of 64 bits; it is 1.5"),
        (
            {**ROW, "orders": 2**63},
            "`orders` of instance 0 must be a whole number of 64 bits; it is 9223372036854775808",
        ),
        ({**ROW, "orders": float("inf")}, "`orders` of instance 0 must be a whole number"),
        ({**ROW, "orders": None}, "`orders` of instance 0 must be a whole number of 64 bits; it is null"),
        ({**ROW, "vip": 1}, "`vip` of instance 0 must be true or false; it is 1"),
        ({**ROW, "note": ["x"]}, "`note` of instance 0 must be a text; it is a list"),
        ({**ROW, "note": "x" * 100_001}, "must have at most 100,000 characters; it has 100,001"),
        ([1, 2, True], "instance 0 must have 4 values; it has 3"),
        ("x", "instance 0 must be an object or a list; it is the text 'x'"),
        (None, "instance 0 must be an object or a list; it is null"),
    ],
)
def test_what_is_wrong_is_named_with_its_column_and_with_what_the_model_takes(instance: Any, said: str) -> None:
    """So that who asks need not look it up."""
    with pytest.raises(BadRequest) as raised:
        read_rows([instance], CHURN)
    assert said in str(raised.value)
    takes = "This model takes 4 columns: age (number or null), orders (integer), vip (boolean), note (text)"
    assert takes in str(raised.value)


def test_all_problems_are_counted_and_the_first_ones_said() -> None:
    """A message stays short however long the request is."""
    with pytest.raises(BadRequest, match=r"instance 0 .*instance 4 .*; and 7 more problems") as raised:
        read_rows([[1]] * 12, CHURN)
    assert "instance 5" not in str(raised.value)


def test_of_one_column_the_bare_value_is_enough() -> None:
    """As an earlier text model's callers send it."""
    text = Signature(columns=(Column(name="text", type=Type.TEXT),), answers="a probability")
    assert read_rows(["good", {"text": "bad"}, ["so so"]], text) == [["good"], ["bad"], ["so so"]]


IMAGE = Signature(
    columns=(
        Column(name="pixels", type=Type.NUMBER, shape=(2, 2)),
        Column(name="tags", type=Type.TEXT, shape=(-1,)),
    ),
    answers="a class",
)


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        ({"pixels": 3, "tags": []}, "`pixels` of instance 0 must be a list; it is 3"),
        ({"pixels": [[1, 2]], "tags": []}, "`pixels` of instance 0 must have 2 values; it has 1"),
        ({"pixels": [[1, 2], [3, 4, 5]], "tags": []}, "`pixels` of instance 0, value 1 must have 2 values; it has 3"),
        (
            {"pixels": [[1, 2], [3, "x"]], "tags": []},
            "of instance 0, value 1, value 1 must be a number; it is the text",
        ),
        ({"pixels": [[1, 2], [3, None]], "tags": []}, "value 1 must be a number; it is null"),
        ({"pixels": [[1, 2], [3, 4]], "tags": ["a", 1]}, "`tags` of instance 0, value 1 must be a text; it is 1"),
        ({"pixels": [["a", "b"], ["c", "d"]], "tags": []}, "it is the text 'a'. This model takes 2 columns: "),
        ([[[1, 2], [3, 4]]], "instance 0 must have 2 values; it has 1"),
        ({"tags": []}, "This model takes 2 columns: pixels (number[2][2]), tags (text[])"),
    ],
)
def test_lists_have_the_lengths_and_types_of_their_column(instance: Any, said: str) -> None:
    """The first value that is wrong is named with its place, and no other."""
    with pytest.raises(BadRequest) as raised:
        read_rows([instance], IMAGE)
    assert said in str(raised.value)


LIMITED = Signature(
    columns=(
        limit(Column(name="x", type=Type.NUMBER, shape=(2,)), "float32"),
        limit(Column(name="n", type=Type.INTEGER, may_be_missing=True), "uint8"),
    ),
    answers="a class",
)


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        (
            {"x": [0, 1e39], "n": 1},
            "`x` of instance 0, value 1 must be a number from -3.4028235e+38 to 3.4028235e+38; it is 1e+39",
        ),
        ({"x": [0, -1e39], "n": 1}, "it is -1e+39"),
        ({"x": [0, 0], "n": 256}, "`n` of instance 0 must be a whole number of 64 bits from 0 to 255; it is 256"),
        ({"x": [0, 0], "n": -1.0}, "from 0 to 255; it is -1.0"),
        ({"x": [0, 0], "n": "a"}, "`n` of instance 0 must be a whole number of 64 bits; it is the text 'a'"),
    ],
)
def test_a_number_that_the_model_cannot_hold_is_named(instance: Any, said: str) -> None:
    """It would be infinite to the model, or another number."""
    with pytest.raises(BadRequest) as raised:
        read_rows([instance], LIMITED)
    assert said in str(raised.value)


def test_the_least_and_the_largest_number_are_taken() -> None:
    """A missing one has no size."""
    highest = 3.4028234663852886e38
    rows = [[[highest, -highest], 255], [[0.0, 1e-300], 0], [[0.0, 0.0], None]]
    assert read_rows(rows, LIMITED) == rows


def test_lists_are_rows_of_their_column() -> None:
    """By name or in order; where the only column is a list, a list is its value."""
    assert read_rows([{"tags": ["a", "b"], "pixels": [[1, 2], [3, 4]]}, [[[1, 2], [3, 4]], []]], IMAGE) == [
        [[[1.0, 2.0], [3.0, 4.0]], ["a", "b"]],
        [[[1.0, 2.0], [3.0, 4.0]], []],
    ]
    one = Signature(columns=IMAGE.columns[:1], answers="a class")
    assert read_rows([[[1, 2], [3, 4]], {"pixels": [[1, 2], [3, 4]]}], one) == [[[[1.0, 2.0], [3.0, 4.0]]]] * 2
    assert read_rows([make_example(IMAGE)], IMAGE) == [[[[0.0, 0.0], [0.0, 0.0]], [""]]]


def test_the_example_is_a_row_that_the_model_takes() -> None:
    """It tries a model before anyone asks it."""
    row = make_example(CHURN)
    assert read_rows([row], CHURN) == [row]


def test_many_columns_are_described_in_short() -> None:
    """A model may have thousands."""
    wide = Signature(
        columns=tuple(Column(name=f"f{number}", type=Type.NUMBER) for number in range(3000)), answers="a number"
    )
    assert describe(wide).startswith("3,000 columns: f0 (number), ")
    assert describe(wide).endswith(" and 2,980 more")
    assert len(describe(wide)) < 500


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5, 1, "a", True, [0.1, [2]]], []),
        ([0.5] * 4, ["5 rows must have 5 answers; there are 4"]),
        ([0.5, float("nan"), 1, 1, 1], ["the answer to row 1 is NaN, infinite, or no answer"]),
        ([1, 1, 1, 1, [[float("inf")]]], ["the answer to row 4 is NaN, infinite, or no answer"]),
        ([None, 1, 1, 1, 1], ["the answer to row 0 is NaN, infinite, or no answer"]),
        ([1, 1, {"a": 1, "b": [0.5, "x"]}, 1, 1], []),
        ([1, 1, {"a": float("nan")}, 1, 1], ["the answer to row 2 is NaN, infinite, or no answer"]),
        ([1, 1, {"a": None}, 1, 1], ["the answer to row 2 is NaN, infinite, or no answer"]),
    ],
)
def test_answers_are_finite_and_one_for_each_row(values: list[Any], said: list[str]) -> None:
    """What JSON would make null is no answer."""
    assert find_bad_answers(values, count=5) == said


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Column(name="x", type=Type.NUMBER, shape=(-1, 1_000_000)), ""),
        (Column(name="x", type=Type.NUMBER, shape=(1_001, 1_000)), "it takes 1,001,000 values in a row"),
        (Column(name="x", type=Type.NUMBER, shape=(0,)), "its lists must be at most 8 deep"),
        (Column(name="x", type=Type.NUMBER, shape=(1,) * 9), "its lists must be at most 8 deep"),
        (Column(name="x" * 501, type=Type.NUMBER), "a column's name must have at most 500 characters"),
        (Column(name="x", type=Type.TEXT, example="x" * 100_001), "must have at most 100,000 characters"),
    ],
)
def test_a_row_has_bounds(column: Column, said: str) -> None:
    """Whatever a model's file says."""
    problems = find_problems(Signature(columns=(column,), answers=""))
    assert [said in problem for problem in problems] == [True] * bool(said)


def test_an_answer_has_a_depth() -> None:
    """Lists are nested only to a limit."""
    deep: Any = 1.0
    for _ in range(9):
        deep = [deep]
    assert find_bad_answers([deep], count=1) == ["the answer to row 0 is NaN, infinite, or no answer"]
    assert find_bad_answers(deep, count=1) == []
