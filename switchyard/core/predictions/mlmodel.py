"""What MLflow's `MLmodel` file says of a model, read as data: which flavor, in which file, with which columns.

What it names to import (`loader_module`, `model_class`, `code`) is never looked at.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from switchyard.core.predictions.signature import Column, Type

MAX_BYTES: Final = 1_000_000
SERVED: Final = {"xgboost": "data", "sklearn": "pickled_model", "keras": "data", "tensorflow": "data"}
"""Flavors of MLflow's that a loader of ours reads, and what each calls its file, or its folder."""
PREDICT_FNS: Final = ("predict", "predict_proba", "predict_log_proba", "decision_function")
"""What MLflow's own server may call of a scikit-learn model: `log_model(pyfunc_predict_fn=...)`."""
MAX_OUTPUTS: Final = 1_000
"""Characters of what is said of its answers."""
_OTHERWISE: Final = "saved_model_dir"
"""What the flavor tensorflow calls the folder of a model that is not a Keras model."""
_TYPES: Final[Mapping[str, Type]] = {
    "double": Type.NUMBER,
    "float": Type.NUMBER,
    "integer": Type.INTEGER,
    "long": Type.INTEGER,
    "boolean": Type.BOOLEAN,
    "string": Type.TEXT,
}
"""Source: https://mlflow.org/docs/latest/ml/model/signatures/#supported-data-types"""


class NotServed(ValueError):
    """An `MLmodel` that cannot be read, or describes a model that no loader of ours reads; says what is wrong."""


class MLmodel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that can be served."""

    flavor: str
    path: str  # of its file or folder, below the folder of MLmodel
    columns: tuple[Column, ...] | None = None  # None: the signature has none, or there is no signature
    predict_fn: str = "predict"  # what MLflow's own server calls
    is_pickle: bool = False
    answers: str = ""  # what the signature says of MLflow's own server's answers; empty: nothing


def read_mlmodel(said: Any) -> MLmodel:
    """Returns what the file's YAML says.

    Raises:
        NotServed: it is not such a file, or of no flavor that is served.
    """
    flavors = said.get("flavors") if isinstance(said, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise NotServed("MLmodel: it has no `flavors`")
    flavor = next((name for name in SERVED if name in flavors), None)
    if flavor is None:
        raise NotServed(
            f"MLmodel: its flavors are {_show(flavors)}; served are {', '.join(SERVED)}. What loader_module names is "
            "never imported"
        )
    details = flavors[flavor]
    path = details.get(SERVED[flavor], details.get(_OTHERWISE)) if isinstance(details, dict) else None
    if not isinstance(path, str):
        raise NotServed(f"MLmodel: `flavors.{flavor}.{SERVED[flavor]}` must be the name of a file")
    columns, says = _read_columns(said.get("signature")), _say_outputs(said.get("signature"))
    if flavor != "sklearn":
        return MLmodel(flavor=flavor, path=path, columns=columns, answers=says)
    # MLflow before 3 has no other than pickles, and may not say so.
    is_pickle = details.get("serialization_format") != "skops"
    answers = _read_predict_fn(flavors)
    return MLmodel(flavor=flavor, path=path, columns=columns, predict_fn=answers, is_pickle=is_pickle, answers=says)


def _read_predict_fn(flavors: Mapping[str, Any]) -> str:
    python = flavors.get("python_function")
    said = python.get("predict_fn", "predict") if isinstance(python, dict) else "predict"
    if said not in PREDICT_FNS:
        raise NotServed(f"MLmodel: the model answers by {str(said)[:40]!r}; served are {', '.join(PREDICT_FNS)}")
    return str(said)


def find_column_problems(columns: Sequence[Column], names: Sequence[str], *, takes_text: bool = False) -> list[str]:
    """Returns what is wrong with a signature's columns for a model that was trained with these names, in any order.

    >>> find_column_problems([Column(name="a", type=Type.NUMBER)], ["a", "b"])
    ['the signature must have the columns that the model was trained with; it lacks b']
    """
    said, trained = {column.name for column in columns}, set(names)
    problems = []
    if absent := [name for name in names if name not in said]:
        problems.append(
            f"the signature must have the columns that the model was trained with; it lacks {_show(absent)}"
        )
    if more := [column.name for column in columns if column.name not in trained]:
        problems.append(f"the signature has columns that the model was not trained with: {_show(more)}")
    texts = [column.name for column in columns if column.type is Type.TEXT and not takes_text]
    return problems + ([f"columns of text are not served by this flavor: {_show(texts)}"] if texts else [])


def _read_columns(signature: Any) -> tuple[Column, ...] | None:
    """Reads the columns of a table; a tensor names no columns.

    Source: mlflow/types/schema.py, `Schema.to_json`, 2.9.2 to 3.17.2.
    """
    if signature is None:
        return None
    try:
        found = json.loads(signature["inputs"])
        if all(each["type"] == "tensor" for each in found):
            return None
        columns = [_read_column(each, number) for number, each in enumerate(found)]
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError, RecursionError) as err:
        raise NotServed("MLmodel: `signature.inputs` must be a list of columns, each with a name and a type") from err
    if len({column.name for column in columns}) < len(columns):
        raise NotServed("MLmodel: `signature.inputs` has a column twice")
    return tuple(columns)


def _say_outputs(signature: Any) -> str:
    """Returns the outputs in words, for people alone.

    No answer is held against them, so what cannot be read is left out.
    """
    try:
        found = json.loads(signature["outputs"])
        return ", ".join(_say_output(each) for each in found[:20])[:MAX_OUTPUTS]
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError):
        return ""


def _say_output(said: Mapping[str, Any]) -> str:
    spec = said.get("tensor-spec")
    kind = f"{spec['dtype']}{spec['shape']}" if isinstance(spec, dict) else str(said["type"])
    return f"{str(said['name'])[:40]} ({kind[:80]})" if said.get("name") else kind[:80]


def _read_column(said: Mapping[str, Any], number: int) -> Column:
    name, kind = str(said.get("name", f"x{number}")), str(said["type"])  # a series has no name
    if kind not in _TYPES:
        raise NotServed(f"MLmodel: the column {name[:40]} is of the type {kind[:40]}; served are {', '.join(_TYPES)}")
    # A number that is missing is a NaN to MLflow too, whether it calls the column required or not.
    missing = _TYPES[kind] is Type.NUMBER or said.get("required", True) is False
    return Column(name=name, type=_TYPES[kind], may_be_missing=missing)


def _show(names: Any) -> str:
    listed = [str(name)[:40] for name in names]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5:,} more" if len(listed) > 5 else "")
