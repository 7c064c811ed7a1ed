"""Rows to arrays and back, without a library behind them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from serving.predictions.loaders.arrays import TensorModel, choose_takes
from serving.predictions.loaders.loading import NotLoaded
from switchyard.core.predictions.signature import Column, Signature, Type
from switchyard.core.predictions.tensors import Tensor

X = Tensor(name="x", dtype="float32", shape=(2,))
N = Tensor(name="n", dtype="int64", shape=(1,))
WORD = Tensor(name="word", dtype="string", shape=(1,))
OPEN = Tensor(name="ids", dtype="int32", shape=(-1,))
IDS = Tensor(name="ids", dtype="float32", shape=(3,))
TOKENIZER = json.dumps({"class_name": "Tokenizer", "config": {"word_index": '{"good": 1, "bad": 2}'}})


def answer(
    inputs: Sequence[Tensor], rows: list[Any], folder: Path, said: Sequence[Column] | None = None, **names: str
) -> tuple[list[Any], list[Any]]:
    """The answers of a model that gives its inputs back by name, and the shapes that it was given."""
    for name, text in names.items():
        path = folder / "model" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    seen: list[Any] = []

    def run(arrays: list[Any]) -> dict[str, Any]:
        seen.append([(str(each.dtype), each.shape) for each in arrays])
        return {tensor.name: array for tensor, array in zip(inputs, arrays, strict=True)}

    takes = choose_takes(folder, [f"model/{name}.json" for name in names], "model/data/m.h5", inputs, said)
    model = TensorModel(run, inputs, takes, Signature(columns=takes.columns, answers="the same"), "none")
    return model.answer(rows), seen


def test_each_input_is_an_array_and_each_output_has_its_name(tmp_path: Path) -> None:
    """An input of one value is one in the row; a text is bytes to the library, and a text again."""
    assert answer([X, N], [[[1, 2], 3], [[4, 5], 6]], tmp_path) == (
        [{"x": [1.0, 2.0], "n": [3]}, {"x": [4.0, 5.0], "n": [6]}],
        [[("float32", (2, 2)), ("int64", (2, 1))]],
    )
    assert answer([WORD], [["a"], [b"\xc3\xa4"]], tmp_path)[0] == [["a"], ["ä"]]


def test_columns_of_a_signature_are_the_values_of_the_only_input(tmp_path: Path) -> None:
    """In the signature's order."""
    said = [Column(name="a", type=Type.NUMBER), Column(name="b", type=Type.NUMBER)]
    assert answer([X], [[1, 2], [3, 4]], tmp_path, said)[0] == [[1.0, 2.0], [3.0, 4.0]]


def test_rows_of_different_lengths_are_answered_one_by_one(tmp_path: Path) -> None:
    """Those of the same together."""
    answers, seen = answer([OPEN], [[[1]], [[2, 3]]], tmp_path)
    assert answers == [[1], [2, 3]]
    assert seen == [[("int32", (1, 1))], [("int32", (1, 2))]]
    assert answer([OPEN], [[[1, 4]], [[2, 3]]], tmp_path)[1] == [[("int32", (2, 2))]]


def test_texts_are_numbers_by_the_tokenizer_beside_the_model(tmp_path: Path) -> None:
    """As `text.json` says, and to the length of the model; the signature's only column names the text."""
    rows = [["bad good bad good"], ["good"]]
    assert answer([IDS], rows, tmp_path, tokenizer=TOKENIZER)[0] == [[1, 2, 1], [0, 0, 1]]
    options = '{"padding": "post", "truncating": "post"}'
    assert answer([IDS], rows, tmp_path, tokenizer=TOKENIZER, text=options)[0] == [[2, 1, 2], [1, 0, 0]]
    assert answer([OPEN], rows, tmp_path, tokenizer=TOKENIZER, text='{"length": 2}')[0] == [[2, 1], [0, 1]]


@pytest.mark.parametrize(
    ("inputs", "names", "problem"),
    [
        ([IDS], {"tokenizer": "["}, "model/tokenizer.json: "),
        ([IDS], {"tokenizer": TOKENIZER, "text": '{"pading": "post"}'}, "model/text.json: Object contains unknown"),
        ([IDS], {"tokenizer": TOKENIZER, "text": '{"padding": "left"}'}, "model/text.json: Invalid enum value 'left'"),
        ([OPEN], {"tokenizer": TOKENIZER}, "text.json must say the `length` of the training"),
        ([X, N], {"tokenizer": TOKENIZER}, "with a tokenizer the model must take one list of numbers"),
    ],
)
def test_a_tokenizer_or_options_that_do_not_fit_are_refused(
    tmp_path: Path, inputs: Sequence[Tensor], names: Any, problem: str
) -> None:
    """With the file that is wrong."""
    with pytest.raises(NotLoaded) as raised:
        answer(inputs, [], tmp_path, **names)
    assert problem in str(raised.value)


def test_the_tokenizer_may_have_another_name(tmp_path: Path) -> None:
    """It alone is read then; a name that is not there, and a pickle, are refused with what to do."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "words.json").write_text(TOKENIZER)
    (tmp_path / "model" / "tokenizer.json").write_text("another one's")
    paths = ["model/words.json", "model/tokenizer.json", "model/tokenizer.pkl"]
    takes = choose_takes(tmp_path, paths, "model/m.h5", [IDS], None, "words.json")
    assert [(column.name, column.type) for column in takes.columns] == [("text", Type.TEXT)]
    with pytest.raises(NotLoaded, match=r"TOKENIZER_FILENAME=other\.json is not one of the model's files"):
        choose_takes(tmp_path, paths, "model/m.h5", [IDS], None, "other.json")
    with pytest.raises(NotLoaded, match=r"switchyard convert model/tokenizer\.pkl --to model/tokenizer\.json"):
        choose_takes(tmp_path, paths, "model/m.h5", [IDS], None, "tokenizer.pkl")
