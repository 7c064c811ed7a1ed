"""Which of several files is the model."""

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.filenames import leave_out_others, say_several
from switchyard.core.registry.flavors import choose_flavor, list_candidates

MANY = [f"model/{name}" for name in ("new.ubj", "old.ubj", "a.skops", "b.keras", "c.h5", "d.pkl", "model.json")]
BESIDE = ["model/deep/old.ubj", "model/tokenizer.json", "model/conda.yaml"]


@pytest.mark.parametrize(
    ("filename", "flavor"),
    [
        ("old.ubj", "xgboost"),
        ("model.json", "xgboost"),
        ("a.skops", "sklearn"),
        ("b.keras", "keras"),
        ("c.h5", "keras"),
        ("d.pkl", "pickle"),
    ],
)
def test_a_name_chooses_among_all_model_files(filename: str, flavor: str) -> None:
    """What is no model stays, and no other model is served in its place."""
    left = leave_out_others([*MANY, *BESIDE], filename)
    assert left == [f"model/{filename}", *BESIDE]
    assert choose_flavor(left) == flavor


@pytest.mark.parametrize("filename", ["xgb_model.pkl", "../model/old.ubj", "deep", "OLD.ubj"])
def test_a_name_that_is_not_there_is_an_error(filename: str) -> None:
    """It says what is there."""
    with pytest.raises(
        BadRequest, match=r"MODEL_FILENAME=.* is not one of the model's files\. It has model/new\.ubj, "
    ):
        leave_out_others([*MANY, *BESIDE], filename)


def test_without_a_name_and_of_two_towers_nothing_is_left_out() -> None:
    """Whose model is no single file."""
    towers = ["embeddings/query.parquet", "model/saved_model.pb"]
    assert leave_out_others(MANY, "") == MANY
    assert leave_out_others(towers, "churn.ubj") == towers


@pytest.mark.parametrize(
    "names",
    [
        ["a.ubj", "b.ubj"],
        ["a.ubj", "b.skops"],
        ["a.ubj", "b.ubj", "c.skops"],
        ["a.ubj", "model.json"],
        ["a.keras", "a.h5", "tokenizer.json"],
        ["model.h5", "model.json"],  # Keras' own layers, or XGBoost
        ["a.keras", "saved_model.pb", "variables/variables.index"],
        ["a.skops", "b.keras", "old.pkl"],
        ["a.pkl", "b.joblib"],
    ],
    ids=", ".join,
)
def test_of_several_models_none_is_chosen(names: list[str]) -> None:
    """They are named, with the setting that names one."""
    paths = [f"model/{name}" for name in names]
    assert choose_flavor(paths) == ""
    said = say_several(paths)
    for path in list_candidates(paths):
        assert path in said
    assert said.endswith(f". Name the one to serve: MODEL_FILENAME={names[0]}")


@pytest.mark.parametrize(
    ("paths", "flavor"),
    [
        (["model/a.ubj"], "xgboost"),
        (["model/a.skops", "model/a.pkl"], "sklearn"),  # what it was converted from
        (["model/mood.h5", "model/tokenizer.json", "model/tokenizer.pkl"], "keras"),
        (["model/MLmodel", "model/a.ubj", "model/b.ubj"], "mlflow"),  # MLmodel says which
        (["embeddings/query.parquet", "model/saved_model.pb", "model/a.ubj"], "two-tower"),
        (["model/a.ubj", "model/deep/b.ubj", "b.ubj"], "xgboost"),
        (["model/notes.txt"], ""),
    ],
)
def test_where_it_is_told_which_one_is_the_model_nothing_is_said(paths: list[str], flavor: str) -> None:
    """By MLmodel, by the towers, by its place, or because a pickle is not read."""
    assert choose_flavor(paths) == flavor
    assert say_several(paths) == ""
