"""Loads scikit-learn models that skops saved; such a file has no code, and a pickle is never read here.

Only types on a fixed list are made from the file (`trusted`).
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import pandas as pd
import sklearn
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from serving.predictions.loaders.loading import SAVE_BEST, NotLoaded, OtherLibrary, shorten
from serving.predictions.loaders.sklearn_columns import Seen, list_names, look, takes_a_list
from serving.predictions.loaders.trusted import TRUSTED
from switchyard.core.predictions.mlmodel import find_column_problems
from switchyard.core.predictions.signature import Column, Row, Signature, Type, make_example
from switchyard.core.registry.flavors import find_sklearn_file

MOST_TRIED: Final = 100
"""The most columns that are each tried without a value; in a wider model either all may be missing or none."""


class SklearnModel:
    """Implements `LoadedRows` with the model's `predict`, or the method that MLflow was told to call instead."""

    def __init__(self, model: Any, said: Sequence[Column] | None = None, predict_fn: str = "predict") -> None:
        if not callable(getattr(model, predict_fn, None)):
            raise NotLoaded(f"it has no {predict_fn}: it is a {type(model).__module__}.{type(model).__qualname__}")
        self._model, self._predict_fn = model, predict_fn
        self._is_list = takes_a_list(model)
        self._has_names = getattr(model, "feature_names_in_", None) is not None
        self.library = f"scikit-learn {sklearn.__version__}"
        names = list_names(model)
        seen = look(model, names)
        self.known = {name: list(found.known) for name, found in seen.items() if found.known}
        self._missing = [seen[name].missing for name in names]
        columns = tuple(_to_column(name, seen[name]) for name in names) if said is None else _match(model, said, seen)
        self.signature = Signature(columns=columns, answers=f"what {predict_fn} of {type(model).__name__} answers")
        if said is None or any(column.may_be_missing for column in columns):
            self.signature = _with_missing(self.signature, self.answer)

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        """See the port. A null is a missing value, as in training."""
        with joblib.parallel_config(backend="sequential"):  # its own threads would cost more than they save
            answers = getattr(self._model, self._predict_fn)(self._to_input(rows))
        if not isinstance(answers, np.ndarray):
            raise TypeError(f"{self._predict_fn} answered a {type(answers).__name__} instead of one array")
        listed: list[Any] = answers.tolist()
        return listed

    def _to_input(self, rows: Sequence[Row]) -> Any:
        if self._is_list:
            return [row[0] for row in rows]
        values = list(zip(*rows, strict=True))
        columns = {
            number: _to_array(value, column.type, missing)
            for number, (value, column, missing) in enumerate(
                zip(values, self.signature.columns, self._missing, strict=True)
            )
        }
        table = pd.DataFrame(columns)
        table.columns = pd.Index([column.name for column in self.signature.columns], dtype=object)
        return table if self._has_names else table.to_numpy()


def load_sklearn(folder: Path, paths: Sequence[str]) -> SklearnModel:
    """Loads the only model file in `folder`. Raises: NotLoaded: it cannot be served."""
    path = find_sklearn_file(paths)
    if path is None:
        raise NotLoaded("there must be one file model/*.skops")
    return read_sklearn(folder, path)


def read_sklearn(
    folder: Path, path: str, columns: Sequence[Column] | None = None, predict_fn: str = "predict"
) -> SklearnModel:
    """Loads the model in that file of `folder`, with the columns of a signature if there is one.

    Raises: NotLoaded: it cannot be served. OtherLibrary: another minor version of scikit-learn saved it."""
    with warned_of_versions() as warned:
        try:
            model = _read(folder / path)
        except (NotLoaded, MemoryError):
            raise
        except Exception as err:  # a damaged file makes skops fail in any way
            if other := find_other_version(warned):
                raise OtherLibrary(f"{path}: {other}") from err
            said = f"{path}: skops {skops.__version__} does not read it: {type(err).__name__}: {shorten(err)}"
            raise NotLoaded(said) from err
    if other := find_other_version(warned):
        raise OtherLibrary(f"{path}: {other}")
    return SklearnModel(model, columns, predict_fn)


@contextmanager
def warned_of_versions() -> Iterator[list[warnings.WarningMessage]]:
    """Collects scikit-learn's warnings about a file of another version."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", InconsistentVersionWarning)
        yield warned


def find_other_version(warned: Iterable[warnings.WarningMessage]) -> str:
    """Returns that the file is of another version of scikit-learn, and what to do; else an empty text.

    Another patch of the same version is fine."""
    here = sklearn.__version__
    for each in warned:
        there = getattr(each.message, "original_sklearn_version", here)
        if there.split(".")[:2] != here.split(".")[:2]:
            return (
                f"scikit-learn {there} saved it, and here is {here}, which may answer otherwise. Save it with this "
                "version, or name an interpreter that has the other one: MODEL_LOADER_PYTHON"
            )
    return ""


def _say_search(unknown: Iterable[str]) -> str:
    """Returns what to do if the types come from a parameter search."""
    told = ("scipy.stats.", "sklearn.metrics.", "sklearn.model_selection.")
    return f". {SAVE_BEST}" if any(name.startswith(told) for name in unknown) else ""


def _read(file: Path) -> Any:
    unknown = sorted(set(skops.io.get_untrusted_types(file=file)) - set(TRUSTED))
    if unknown:
        more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
        said = ", ".join(name[:100] for name in unknown[:5])
        raise NotLoaded(
            f"{file.name}: it holds types that are not on the list of trusted ones: {said}{more}{_say_search(unknown)}"
        )
    return skops.io.load(file, trusted=list(TRUSTED))


def _to_column(name: str, seen: Seen) -> Column:
    return Column(name=name, type=seen.type, may_be_missing=seen.may_be_missing, example=seen.example)


def _match(model: Any, said: Sequence[Column], seen: dict[str, Seen]) -> tuple[Column, ...]:
    """Returns a signature's columns in the order of the training, with the model's examples.

    If the model was trained without names, the order is the signature's."""
    names = list(seen)
    if getattr(model, "feature_names_in_", None) is None and len(said) == len(names):
        by_position = zip(said, seen.values(), strict=True)
        return tuple(_with_example(column, found) for column, found in by_position)
    if problems := find_column_problems(said, names, takes_text=True):
        raise NotLoaded(*problems)
    by_name = {column.name: column for column in said}
    return tuple(_with_example(by_name[name], seen[name]) for name in names)


def _with_example(column: Column, seen: Seen) -> Column:
    example = seen.example if seen.type is column.type else None
    return Column(name=column.name, type=column.type, may_be_missing=column.may_be_missing, example=example)


def _with_missing(signature: Signature, answer: Callable[[Sequence[Row]], Any]) -> Signature:
    """Returns the signature in which a column may be missing only if the model answers without its value."""
    example = make_example(signature)
    could = [number for number, column in enumerate(signature.columns) if column.may_be_missing]
    whole = _answers(answer, [None if number in could else value for number, value in enumerate(example)])
    kept = set(could) if whole else set()
    if could and not whole and len(could) <= MOST_TRIED:
        kept = {number for number in could if _answers(answer, [*example[:number], None, *example[number + 1 :]])}
    columns = tuple(
        Column(name=column.name, type=column.type, may_be_missing=number in kept, example=column.example)
        for number, column in enumerate(signature.columns)
    )
    return Signature(columns=columns, answers=signature.answers)


def _answers(answer: Callable[[Sequence[Row]], Any], row: Row) -> bool:
    try:
        answer([row])
    except (ValueError, TypeError):
        return False
    return True


def _to_array(values: Sequence[Any], type_: Type, missing: Any) -> Any:
    """Returns a column as in training: a missing number is NaN, a missing text is what the encoder knows as missing."""
    has_none = any(value is None for value in values)
    filled = [missing if value is None else value for value in values] if has_none else values
    if type_ is Type.TEXT or (type_ is Type.BOOLEAN and has_none):
        array = np.empty(len(values), object)
        array[:] = filled
        return array
    if type_ is Type.INTEGER and not has_none:
        return np.array(filled, np.int64)
    return np.array(filled, np.bool_ if type_ is Type.BOOLEAN else np.float64)
