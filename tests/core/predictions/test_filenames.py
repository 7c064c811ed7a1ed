"""Which of several files of one format is the model."""

import pytest

from switchyard.core.predictions.filenames import leave_out_others
from switchyard.core.registry.flavors import choose_flavor

TWO = ["model/new.ubj", "model/old.ubj", "model/deep/old.ubj"]


@pytest.mark.parametrize(
    ("filename", "left", "flavor"),
    [
        ("", TWO, ""),
        ("old.ubj", ["model/old.ubj", "model/deep/old.ubj"], "xgboost"),
        ("xgb_model.pkl", TWO, ""),  # as an earlier service called it
        ("../model/old.ubj", TWO, ""),
    ],
)
def test_a_name_chooses_among_files_of_one_format(filename: str, left: list[str], flavor: str) -> None:
    """One that is not there chooses nothing."""
    assert leave_out_others(TWO, filename) == left
    assert choose_flavor(left) == flavor
