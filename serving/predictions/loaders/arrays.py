"""Turns rows into the arrays that a model takes, and its arrays into answers, for Keras models and SavedModels."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
import numpy as np

from serving.predictions.loaders.loading import NotLoaded
from switchyard.core.predictions.mlmodel import NotServed
from switchyard.core.predictions.signature import Column, Row, Signature, make_example
from switchyard.core.predictions.tensors import Layout, Tensor, lay_out, lay_out_text, limit_columns
from switchyard.core.predictions.tokenizer import MAX_BYTES, TextOptions, Tokenizer, pad, read_tokenizer, to_numbers
from switchyard.core.registry.flavors import PICKLED

TOKENIZER: Final = "tokenizer.json"
OPTIONS: Final = "text.json"

Run = Callable[[list[Any]], dict[str, Any]]
"""Takes the inputs in order, and returns the outputs by name."""


class TensorModel:
    """Implements `LoadedRows` for a model that takes and answers arrays, through `run`."""

    def __init__(self, run: Run, inputs: Sequence[Tensor], takes: "Takes", signature: Signature, library: str) -> None:
        self._run, self._inputs, self._takes = run, inputs, takes
        self.signature, self.library = signature, library

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        """See the port. Rows with lists of different lengths are answered one by one."""
        try:
            arrays = self._takes.to_arrays(rows, self._inputs)
        except ValueError:
            if len(rows) == 1:
                raise
            return [self.answer([row])[0] for row in rows]
        outputs = {name: _to_plain(array) for name, array in self._run(arrays).items()}
        if len(outputs) == 1:
            answers: list[Any] = next(iter(outputs.values()))
            return answers
        return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]


class Takes:
    """How the model takes a row: as columns, or as a text."""

    def __init__(self, layout: Layout, tokenizer: Tokenizer | None, options: TextOptions, length: int) -> None:
        self.columns, self._is_spread = layout.columns, layout.is_spread
        self.tokenizer, self._options, self._length = tokenizer, options, length

    def to_arrays(self, rows: Sequence[Row], inputs: Sequence[Tensor]) -> list[Any]:
        """Returns an array [rows, ...] for each input. Raises: ValueError: the rows' lists have different lengths."""
        if self.tokenizer is not None:
            values = [[pad(to_numbers(row[0], self.tokenizer), self._length, self._options) for row in rows]]
        elif self._is_spread:
            values = [list(rows)]
        else:
            values = [[row[number] for row in rows] for number in range(len(inputs))]
        return [_to_array(each, tensor) for each, tensor in zip(values, inputs, strict=True)]


def choose_takes(
    folder: Path,
    paths: Sequence[str],
    beside: str,
    inputs: Sequence[Tensor],
    said: Sequence[Column] | None,
    filename: str = "",
) -> Takes:
    """Returns what a model with these inputs takes: a text, if a tokenizer is beside its file or in ``model/``.

    If a tokenizer file is named, it must be there; otherwise tokenizer.json is used, if it is there.

    Raises: NotLoaded: the tokenizer, its options, or the signature does not fit the model.
    """
    try:
        found = _find(paths, beside, filename or TOKENIZER)
        if found is None and filename:
            raise NotLoaded(
                f"TOKENIZER_FILENAME={filename[:80]} is not one of the model's files, neither beside the model nor in "
                "model/. Name one that is, or leave the setting out"
            )
        if found is not None and found.endswith(PICKLED):
            raise NotLoaded(
                f"{found} is a pickle, and was not read. Make JSON of it: switchyard convert {found} --to "
                f"model/{TOKENIZER}"
            )
        if found is None:
            laid_out = lay_out(inputs, said)
            limited = msgspec.structs.replace(laid_out, columns=limit_columns(laid_out, inputs))
            return Takes(limited, None, TextOptions(), 0)
        where = found
        tokenizer = read_tokenizer(_read(folder, found))
        options = TextOptions()
        if (written := _find(paths, beside, OPTIONS)) is not None:
            where = written
            options = msgspec.json.decode(_read(folder, written), type=TextOptions)
        where = found
        column = said[0].name if said is not None and len(said) == 1 else options.column
        layout, length = lay_out_text(inputs, column, options.length)
    except NotServed as err:
        raise NotLoaded(str(err)) from err
    except (ValueError, RecursionError) as err:
        raise NotLoaded(f"{where}: {err}") from err
    return Takes(layout, tokenizer, options, length)


def warm(model: TensorModel) -> TensorModel:
    """Returns the same model after its first answer, because that takes seconds and belongs to the time of loading."""
    model.answer([make_example(model.signature)])
    return model


def describe_outputs(outputs: Sequence[Tensor]) -> str:
    """Returns in words what the model answers."""
    return ", ".join(str(each) for each in outputs[:20])[:1_000]


def _find(paths: Sequence[str], beside: str, name: str) -> str | None:
    places = (PurePosixPath(beside).parent, PurePosixPath("model"))
    return next((str(place / name) for place in places if str(place / name) in paths), None)


def _read(folder: Path, path: str) -> bytes:
    size = (folder / path).stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it must have at most {MAX_BYTES:,} bytes; it has {size:,}")
    return (folder / path).read_bytes()


def _to_array(values: list[Any], tensor: Tensor) -> Any:
    dtype = object if tensor.dtype == "string" else tensor.dtype
    array = np.array(values, dtype)
    if tensor.shape == (1,):
        array = array.reshape(len(values), 1)
    if array.ndim != len(tensor.shape) + 1:  # objects in lists of different lengths
        raise ValueError("lists of different lengths")
    return array


def _to_plain(array: Any) -> list[Any]:
    """Returns an array as lists; TensorFlow has texts as bytes."""
    found: list[Any] = np.asarray(array).tolist()
    return [_decode(each) for each in found] if np.asarray(array).dtype == object else found


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(each) for each in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value
