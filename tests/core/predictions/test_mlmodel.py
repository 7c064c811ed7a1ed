"""MLflow's `MLmodel`, read as data: what is served, and what is refused with its name."""

import json
from typing import Any

import pytest

from switchyard.core.predictions.mlmodel import MLmodel, NotServed, find_column_problems, read_mlmodel
from switchyard.core.predictions.signature import Column, Type

FLAVORS = {
    "python_function": {"loader_module": "mlflow.xgboost", "data": "model.ubj"},
    "xgboost": {"data": "model.ubj", "model_class": "xgboost.sklearn.XGBClassifier", "model_format": "ubj"},
}
SKLEARN = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": "1.9.1"}}


def make(inputs: Any = None, **changes: Any) -> dict[str, Any]:
    """As MLflow 2.9.2 and 3.17.2 write it."""
    signature = {"inputs": json.dumps(inputs), "outputs": None, "params": None} if inputs is not None else None
    return {"flavors": FLAVORS, "mlflow_version": "3.17.2", "signature": signature, **changes}


def test_columns_come_from_the_signature() -> None:
    """A number may be missing, as NaN is to MLflow; others where it says that they are not required."""
    found = read_mlmodel(
        make(
            [
                {"type": "double", "name": "a", "required": True},
                {"type": "long", "name": "n"},
                {"type": "boolean", "name": "v", "required": False},
                {"type": "string", "name": "t", "required": True},
            ]
        )
    )
    assert found == MLmodel(
        flavor="xgboost",
        path="model.ubj",
        columns=(
            Column(name="a", type=Type.NUMBER, may_be_missing=True),
            Column(name="n", type=Type.INTEGER),
            Column(name="v", type=Type.BOOLEAN, may_be_missing=True),
            Column(name="t", type=Type.TEXT),
        ),
    )


@pytest.mark.parametrize(
    ("flavors", "flavor", "path"),
    [
        ({"keras": {"data": "data", "keras_version": "3.15.1", "save_exported_model": False}}, "keras", "data"),
        ({"tensorflow": {"data": "data", "model_type": "keras", "save_format": "h5"}}, "tensorflow", "data"),
        ({"tensorflow": {"saved_model_dir": "tf2model", "model_type": "tf2-module"}}, "tensorflow", "tf2model"),
    ],
)
def test_models_of_tensors_lie_in_a_folder(flavors: dict[str, Any], flavor: str, path: str) -> None:
    """As MLflow 3.17.2 writes Keras models, and 2.9.2 those of both kinds under one flavor."""
    found = read_mlmodel(make(flavors={"python_function": {"loader_module": "mlflow.keras"}, **flavors}))
    assert (found.flavor, found.path) == (flavor, path)


@pytest.mark.parametrize(
    "said", [make(), make([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}])]
)
def test_without_names_the_model_says_its_columns_itself(said: dict[str, Any]) -> None:
    """A tensor names none, and a signature need not be there."""
    assert read_mlmodel(said).columns is None


def test_scikit_learn_answers_by_what_mlflow_itself_would_call() -> None:
    """`predict`, unless the model was logged with another method. A series' column has no name."""
    series = [{"type": "string", "required": True}]
    chances = {**SKLEARN, "python_function": {"predict_fn": "predict_proba"}}
    found = [read_mlmodel(make(series, flavors=flavors)) for flavors in (SKLEARN, chances)]
    text = (Column(name="x0", type=Type.TEXT),)
    assert found == [
        MLmodel(flavor="sklearn", path="model.skops", columns=text),
        MLmodel(flavor="sklearn", path="model.skops", columns=text, predict_fn="predict_proba"),
    ]


@pytest.mark.parametrize("details", [{}, {"serialization_format": "cloudpickle"}, {"serialization_format": "pickle"}])
def test_what_does_not_say_that_skops_saved_it_is_a_pickle(details: dict[str, str]) -> None:
    """MLflow before 3 knows nothing else."""
    assert read_mlmodel(make(flavors={"sklearn": {"pickled_model": "model.pkl", **details}})).is_pickle


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (None, "it has no `flavors`"),
        ([], "it has no `flavors`"),
        ({"flavors": {}}, "it has no `flavors`"),
        (
            make(flavors={"python_function": {"loader_module": "os"}}),
            "its flavors are python_function; served are xgboost",
        ),
        (make(flavors={"lightgbm": {"data": "model.lgb"}}), "its flavors are lightgbm"),
        (make(flavors={**SKLEARN, "python_function": {"predict_fn": "exec"}}), "answers by 'exec'; served are predict"),
        (make(flavors={"xgboost": None}), "`flavors.xgboost.data` must be the name of a file"),
        (make(flavors={"xgboost": {"data": ["a"]}}), "`flavors.xgboost.data` must be the name of a file"),
        (make([{"type": "datetime", "name": "d"}]), "the column d is of the type datetime"),
        (make([{"name": "a"}]), "each with a name and a type"),
        (make([1]), "each with a name and a type"),
        (make(signature="x"), "each with a name and a type"),
        (make(signature={"inputs": "{"}), "each with a name and a type"),
        (make([{"type": "double", "name": "a"}] * 2), "has a column twice"),
    ],
)
def test_what_is_not_served_is_refused_by_name(said: Any, problem: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(NotServed) as raised:
        read_mlmodel(said)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "problems"),
    [
        ({"b": Type.NUMBER, "a": Type.INTEGER}, []),
        ({"a": Type.NUMBER}, ["the signature must have the columns that the model was trained with; it lacks b"]),
        (
            {"a": Type.NUMBER, "b": Type.NUMBER, "c": Type.NUMBER},
            ["the signature has columns that the model was not trained with: c"],
        ),
        ({"a": Type.TEXT, "b": Type.NUMBER}, ["columns of text are not served by this flavor: a"]),
    ],
)
def test_a_signature_must_have_the_columns_of_the_training(columns: dict[str, Type], problems: list[str]) -> None:
    """In any order."""
    said = [Column(name=name, type=type_) for name, type_ in columns.items()]
    assert find_column_problems(said, ["a", "b"]) == problems


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ('[{"type": "double", "name": "price", "required": true}, {"type": "string"}]', "price (double), string"),
        ('[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]', "int64[-1]"),
        ("[" * 100_000, ""),
        ('{"a": 1}', ""),
        ("[1]", ""),
        (None, ""),
    ],
)
def test_what_is_answered_is_said_by_the_signature(outputs: str | None, said: str) -> None:
    """Where it can be read: no model is refused for it."""
    found = read_mlmodel(make(signature={"inputs": '[{"type": "double", "name": "a"}]', "outputs": outputs}))
    assert found.answers == said
