"""docs/serving-models.md: what it promises is what the code does."""

from serving.predictions.loader_process import GIB, Bounds, to_environment
from switchyard.core.predictions.mlmodel import SERVED
from switchyard.core.registry.flavors import choose_flavor
from tests.docs.pages import read_page

PAGE = read_page("serving-models.md")


def test_bounds_are_those_of_the_code() -> None:
    """Time and memory, and which variables pass."""
    bounds = Bounds()
    assert f"takes longer than {bounds.load_s:.0f} s to load" in PAGE
    assert f"takes longer than {bounds.answer_s:.0f} s |" in PAGE
    assert (bounds.memory_bytes, bounds.memory_per_byte) == (2 * GIB, 4)
    assert "limited to 2 GiB and four times the size of the files" in PAGE
    passed = to_environment(dict.fromkeys(("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "HOME"), "x"))
    for name in [name for name, value in passed.items() if value == "x"]:
        assert f"`{name}`" in PAGE
    assert "`HOME`" not in PAGE


def test_each_file_of_the_table_is_told_by_its_name() -> None:
    """And no pickle is."""
    assert "| one `model/*.ubj` | XGBoost, UBJSON |" in PAGE
    assert "| `model/model.json` | XGBoost, JSON |" in PAGE
    assert choose_flavor(["model/churn.ubj"]) == choose_flavor(["model/model.json"]) == "xgboost"
    assert choose_flavor(["model/xgb_model.pkl"]) == ""
    assert SERVED == ("xgboost",)
    assert "| `model/MLmodel`, with MLflow's flavor `xgboost` |" in PAGE
