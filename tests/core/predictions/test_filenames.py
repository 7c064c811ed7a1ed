"""Which of several files is the model."""

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.filenames import leave_out_others, say_several
from switchyard.core.registry.flavors import choose_flavor

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


def test_several_files_of_one_format_are_said() -> None:
    """With the setting that names one."""
    assert say_several(["model/a.ubj", "model/b.ubj"]).endswith(
        "model/a.ubj, model/b.ubj. Name the one to serve: MODEL_FILENAME=a.ubj"
    )
    assert say_several(["model/a.ubj", "model/b.skops"]) == ""
