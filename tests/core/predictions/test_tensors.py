"""What a model of tensors takes as columns, by its inputs and by a signature's columns."""

from collections.abc import Sequence

import pytest

from switchyard.core.predictions.mlmodel import NotServed
from switchyard.core.predictions.signature import Column, Type
from switchyard.core.predictions.tensors import Layout, Tensor, lay_out, lay_out_text, limit_columns, to_tensor

X = Tensor(name="x", dtype="float32", shape=(2,))
N = Tensor(name="n", dtype="int64", shape=(1,))
TEXTS = Tensor(name="ids", dtype="float32", shape=(7,))
OPEN = Tensor(name="ids", dtype="int32", shape=(-1,))


def columns(*said: tuple[str, Type], shape: tuple[int, ...] = ()) -> tuple[Column, ...]:
    return tuple(Column(name=name, type=type_, shape=shape) for name, type_ in said)


PAIR = columns(("a", Type.NUMBER), ("b", Type.INTEGER))


@pytest.mark.parametrize(
    ("inputs", "said", "layout"),
    [
        ([X], None, Layout(columns=columns(("x", Type.NUMBER), shape=(2,)))),
        ([N], None, Layout(columns=columns(("n", Type.INTEGER)))),
        ([X], PAIR, Layout(columns=PAIR, is_spread=True)),
        ([X, N], None, Layout(columns=(*columns(("x", Type.NUMBER), shape=(2,)), *columns(("n", Type.INTEGER))))),
        (
            [X, N],
            columns(("n", Type.INTEGER), ("x", Type.NUMBER)),
            Layout(columns=(*columns(("x", Type.NUMBER), shape=(2,)), *columns(("n", Type.INTEGER)))),
        ),
    ],
)
def test_columns_are_the_inputs_or_the_values_of_the_only_one(
    inputs: Sequence[Tensor], said: Sequence[Column] | None, layout: Layout
) -> None:
    """By the signature, if there is one; an input of one value is no list."""
    assert lay_out(inputs, said) == layout


@pytest.mark.parametrize(
    ("inputs", "said", "problem"),
    [
        ([], None, "it has none"),
        ([X, X], None, "inputs of different names; it has x (float32[2]), x (float32[2])"),
        ([X], PAIR[:1], "the signature's 1 columns (a) must be the model's inputs by name, or the values of its only"),
        ([X], columns(("a", Type.TEXT), ("b", Type.TEXT)), "it takes x (float32[2])"),
        ([X, N], PAIR, "it takes x (float32[2]), n (int64[1])"),
        ([Tensor(name="n", dtype="int64", shape=(2,))], PAIR, "it takes n (int64[2])"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused(
    inputs: Sequence[Tensor], said: Sequence[Column] | None, problem: str
) -> None:
    """With what the model takes."""
    with pytest.raises(NotServed) as raised:
        lay_out(inputs, said)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("dtype", "shape", "problem"),
    [
        ("complex64", (None, 2), "is of the type complex64; served are float16, "),
        ("float32", None, "its first length must be open"),
        ("float32", (), "its first length must be open"),
        ("float32", (1, 2), "its first length must be open"),
        ("float32", (None, 0), "must take 1 to 1,000,000 values"),
        ("float32", (None, 10_000, 10_000), "must take 1 to 1,000,000 values"),
    ],
)
def test_an_input_must_take_rows(dtype: str, shape: Sequence[int | None] | None, problem: str) -> None:
    """Of types and lengths that a request can have."""
    with pytest.raises(NotServed) as raised:
        to_tensor("x", dtype, shape)
    assert problem in str(raised.value)


@pytest.mark.parametrize(("tensor", "length", "found"), [(TEXTS, None, 7), (TEXTS, 7, 7), (OPEN, 5, 5)])
def test_a_text_is_as_long_as_the_model_or_the_training_says(tensor: Tensor, length: int | None, found: int) -> None:
    """The column is the text."""
    layout = Layout(columns=columns(("review", Type.TEXT)))
    assert lay_out_text([tensor], "review", length) == (layout, found)


@pytest.mark.parametrize(
    ("inputs", "length", "problem"),
    [
        ([OPEN], None, "text.json must say the `length`"),
        ([TEXTS], 8, "the model takes 7 numbers; text.json says the `length` 8"),
        ([X, N], None, "with a tokenizer the model must take one list of numbers"),
        ([Tensor(name="t", dtype="string", shape=(1,))], None, "must take one list of numbers; it takes t (string[1])"),
    ],
)
def test_a_tokenizer_must_fit_the_model(inputs: Sequence[Tensor], length: int | None, problem: str) -> None:
    """Its numbers are one input."""
    with pytest.raises(NotServed) as raised:
        lay_out_text(inputs, "text", length)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("float16", (-65_504.0, 65_504.0)),
        ("float32", (-3.4028234663852886e38, 3.4028234663852886e38)),
        ("float64", (None, None)),
        ("int8", (-128, 127)),
        ("uint16", (0, 65_535)),
        ("int32", (-2_147_483_648, 2_147_483_647)),
        ("int64", (None, None)),
        ("uint64", (0, 9_223_372_036_854_775_807)),
        ("bool", (None, None)),
        ("string", (None, None)),
    ],
)
def test_a_column_is_limited_to_what_its_input_holds(dtype: str, said: tuple[float | None, float | None]) -> None:
    """Each input limits its own."""
    inputs = [Tensor(name="x", dtype=dtype, shape=(2,)), N]
    limited, free = limit_columns(lay_out(inputs, None), inputs)
    assert (limited.lowest, limited.highest) == said
    assert (free.lowest, free.highest) == (None, None)


def test_columns_of_one_input_are_all_limited_by_it() -> None:
    """As those of a signature are."""
    limited = limit_columns(lay_out([X], PAIR), [X])
    assert [column.highest for column in limited] == [3.4028234663852886e38] * 2
