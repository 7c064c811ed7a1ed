"""docs/serving-models.md: what it promises is what the code does."""

import re

from serving.predictions.loader_process import GIB, Bounds, to_environment
from switchyard.clients.settings import UNUSED, Settings
from switchyard.core.predictions.mlmodel import SERVED
from switchyard.core.predictions.tokenizer import TextOptions
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


EARLIER = (
    *("MODEL_VARIANT", "MODEL_RUN_ID", "MODEL_RUN_NAME", "CONFIG_PATH", "PORT", "RUN_ID", "MLFLOW_MODEL_URI"),
    *("MODEL_ARTIFACT_PATH", "MODEL_FILENAME", "TOKENIZER_FILENAME", "MLFLOW_GCS_BUCKET", "MLFLOW_ARTIFACT_ROOT"),
    *("MLFLOW_WORKERS", "MLFLOW_RUN_NAME", "MLFLOW_TRACKING_URI", "GCP_PROJECT_ID"),
)


def test_each_setting_of_earlier_services_is_read_or_said_to_do_nothing() -> None:
    """Each once, and the reasons are the server's own words."""
    table = PAGE[PAGE.index("| setting | here |") : PAGE.index("Where one that does nothing is set")]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:] if line]
    said = {name: text.strip() for names, text in rows for name in re.findall(r"`([A-Z_]+)`", names)}
    assert sorted(said) == sorted(EARLIER)
    for name, text in said.items():
        if name in UNUSED:
            assert text == f"does nothing: {UNUSED[name]}".replace(".env.example", "`.env.example`"), name
        else:
            assert name.lower() in Settings.__struct_fields__, name
            assert "does nothing" not in text, name


def test_each_file_of_the_table_is_told_by_its_name() -> None:
    """And no pickle is."""
    assert "| one `model/*.ubj` | XGBoost, UBJSON |" in PAGE
    assert "| `model/model.json` | XGBoost, JSON |" in PAGE
    assert choose_flavor(["model/churn.ubj"]) == choose_flavor(["model/model.json"]) == "xgboost"
    assert choose_flavor(["model/mood.h5"]) == choose_flavor(["model/mood.keras"]) == "keras"
    assert choose_flavor(["model/saved_model.pb"]) == "tensorflow"
    assert choose_flavor(["model/xgb_model.pkl"]) == "pickle"
    assert "| one `model/*.skops` | scikit-learn, by skops |" in PAGE
    assert choose_flavor(["model/churn.skops"]) == "sklearn"
    for flavor in SERVED:
        assert f"| `model/MLmodel`, with MLflow's flavor `{flavor}` |" in PAGE


def test_each_option_of_a_text_is_in_the_table_with_its_default() -> None:
    """And no other."""
    table = PAGE[PAGE.index("| in `text.json` |") : PAGE.index("Not served, each with its name")]
    said = dict(re.findall(r"\| `(\w+)` \| (`\w+`|the model's) \|", table))
    defaults = {name: getattr(TextOptions(), name) for name in TextOptions.__struct_fields__}
    assert said == {name: f"`{value}`" if value else "the model's" for name, value in defaults.items()}
