"""Finds the columns that a fitted scikit-learn model takes: their names, and what they held in training.

The model itself tells: the first step that takes a column knows what it was fitted on. Nothing of scikit-learn is
imported; models are recognized by their attributes.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from serving.predictions.loaders.loading import NotLoaded
from switchyard.core.predictions.signature import Type

TEXT_COLUMN: Final = "text"
"""The name of the only column of a model that takes a list of texts instead of a table."""
MOST_KNOWN: Final = 50
_PASSING: Final = (None, "passthrough", "drop")


class Seen(NamedTuple):
    """What is known about a column."""

    type: Type = Type.NUMBER
    may_be_missing: bool = True
    example: Any = None
    missing: Any = math.nan  # what stands for a missing value
    known: tuple[Any, ...] = ()  # values that the model was trained with, some of many


def list_names(model: Any) -> list[str]:
    """Returns the names used in training, else x0, x1, ... as in scikit-learn. Raises: NotLoaded: it was not fitted."""
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return [str(name) for name in names]
    if takes_a_list(model):
        return [TEXT_COLUMN]
    count = getattr(model, "n_features_in_", None)
    if not isinstance(count, int) or count < 1:
        raise NotLoaded("it does not say how many columns it takes: n_features_in_")
    return [f"x{number}" for number in range(count)]


def takes_a_list(model: Any) -> bool:
    """Returns whether the model starts with a text vectorizer, which takes a list instead of a table."""
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    steps = _list_steps(model)
    if steps:
        return takes_a_list(steps[0])
    return _is_vectorizer(model)


def look(model: Any, names: Sequence[str]) -> dict[str, Seen]:
    """Returns what each column was fitted on; a column that no step knows about holds numbers."""
    found = dict(_look(model, list(names)))
    return {name: found.get(name, Seen()) for name in names}


def _look(model: Any, names: list[str]) -> Iterator[tuple[str, Seen]]:
    if hasattr(model, "best_estimator_"):
        yield from _look(model.best_estimator_, names)
    elif steps := _list_steps(model):
        yield from _look_at_steps(steps, names)
    elif hasattr(model, "transformers_"):  # ColumnTransformer
        for _, part, wanted in model.transformers_:
            if not isinstance(part, str):
                yield from _look(part, _choose(wanted, names))
    elif hasattr(model, "transformer_list"):  # FeatureUnion
        for _, part in model.transformer_list:
            if part not in _PASSING:
                yield from _look(part, names)
    elif hasattr(model, "categories_"):  # an encoder
        for name, categories in zip(names, model.categories_, strict=False):
            yield name, _see(list(categories))
    elif _is_vectorizer(model):
        for name in names:
            words = tuple(sorted(getattr(model, "vocabulary_", ()))[:MOST_KNOWN])
            yield name, Seen(Type.TEXT, may_be_missing=False, example=" ".join(words[:5]) or None, known=words)
    elif getattr(getattr(getattr(model, "statistics_", None), "dtype", None), "kind", "") == "O":  # imputes texts
        for name in names:
            yield name, Seen(Type.TEXT)


def _look_at_steps(steps: list[Any], names: list[str]) -> Iterator[tuple[str, Seen]]:
    """Looks past an imputer, which passes columns on: the step after it knows more, such as an encoder's texts."""
    first = dict(_look(steps[0], names))
    if hasattr(steps[0], "statistics_") and len(steps) > 1:
        for name, seen in _look(steps[1], names):
            first[name] = seen._replace(may_be_missing=True)
    yield from first.items()


def _list_steps(model: Any) -> list[Any]:
    """Returns the steps of a pipeline; empty: it is no pipeline."""
    steps = getattr(model, "steps", None)
    return [step for _, step in steps if step not in _PASSING] if isinstance(steps, list) else []


def _is_vectorizer(model: Any) -> bool:
    return hasattr(model, "build_analyzer") and getattr(model, "input", "") == "content"


def _choose(wanted: Any, names: list[str]) -> list[str]:
    """Returns the columns that a ColumnTransformer selects: by name or position, one or many, a slice or a mask."""
    if isinstance(wanted, str):
        return [wanted]
    if isinstance(wanted, slice):
        return names[wanted] if not isinstance(wanted.start, str) and not isinstance(wanted.stop, str) else []
    listed = [wanted] if isinstance(wanted, int) else list(wanted)
    if listed and all(type(each).__name__ in ("bool", "bool_") for each in listed):
        return [name for name, is_in in zip(names, listed, strict=False) if is_in]
    return [each if isinstance(each, str) else names[int(each)] for each in listed]


def _see(categories: list[Any]) -> Seen:
    gone = [each for each in categories if each is None or each != each]
    there = [each for each in categories if not (each is None or each != each)]
    kinds = {type(each).__name__.rstrip("_") for each in there}
    type_ = Type.TEXT if kinds <= {"str"} else Type.BOOLEAN if kinds <= {"bool"} else Type.NUMBER
    if type_ is Type.NUMBER and "str" in kinds:
        raise NotLoaded("a column of categories holds texts and other values; such a column is not served")
    plain = [each.item() if hasattr(each, "item") else each for each in there[:MOST_KNOWN]]
    known = tuple(float(each) if type_ is Type.NUMBER else each for each in plain)
    return Seen(
        type_,
        may_be_missing=bool(gone),
        example=known[0] if known else None,
        known=known,
        missing=None if any(each is None for each in gone) else math.nan,
    )
