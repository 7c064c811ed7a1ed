"""Which source is asked first, what a registry's URI says, and what goes on to the next source."""

import pytest

from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain
from switchyard.core.predictions.sources import (
    FATES,
    Fate,
    Kind,
    ModelUri,
    Source,
    choose_fate,
    find_unsafe,
    list_sources,
    read_model_uri,
)


def test_sources_have_one_order() -> None:
    """Whatever the order in which they are set; an empty variable is none."""
    given = {
        "MODEL_FILE": "/models/1",
        "RUN_ID": "12",
        "MODEL_RUN_NAME": "nightly",
        "MODEL_VARIANT": "",
        "AIP_STORAGE_URI": "gs://bucket/model",
        "MLFLOW_MODEL_URI": "models:/shop/Production",
        "MODEL_RUN_ID": "13",
    }
    assert list_sources(given) == [
        Source("MLFLOW_MODEL_URI", Kind.REGISTRY, "models:/shop/Production"),
        Source("MODEL_RUN_ID", Kind.RUN_ID, "13"),
        Source("RUN_ID", Kind.RUN_ID, "12"),
        Source("MODEL_RUN_NAME", Kind.RUN_NAME, "nightly"),
        Source("MODEL_FILE", Kind.FOLDER, "/models/1"),
        Source("AIP_STORAGE_URI", Kind.FOLDER, "gs://bucket/model"),
    ]
    assert list_sources({"MODEL_VARIANT": "shop", **given | {"MODEL_VARIANT": "shop"}})[0].setting == "MODEL_VARIANT"


@pytest.mark.parametrize(
    ("text", "name", "reference"),
    [
        ("models:/shop/Production", "shop", "Production"),
        ("models:/shop/staging", "shop", "staging"),
        ("models:/shop/3", "shop", "3"),
        ("models:/shop@champion", "shop", "@champion"),
        ("models:/two words/1", "two words", "1"),
        ("shop", "shop", "Production"),
        ("shop@canary", "shop", "@canary"),
    ],
)
def test_registry_uri_is_read(text: str, name: str, reference: str) -> None:
    """As MLflow writes it; the prefix may be left out."""
    assert read_model_uri(text) == ModelUri(name, reference)


@pytest.mark.parametrize(
    "text", ["models:/", "models:/shop/latest", "models:/shop/0", "models:/a/b/c", "models:/../1", "", "runs:/1/model"]
)
def test_other_uris_are_refused(text: str) -> None:
    """Rather than guessed at."""
    with pytest.raises(BadRequest):
        read_model_uri(text)


@pytest.mark.parametrize(
    ("err", "fate"),
    [
        (NotFound("no such model, stage or run"), Fate.NEXT),
        (TryAgain("it cannot be reached"), Fate.NEXT),
        (BadSetup("access refused"), Fate.STOP),
        (BadRecord("version 1", ["another digest"]), Fate.STOP),
        (StaleWrite("the files have changed"), Fate.STOP),
        (BadRequest("the version is retired"), Fate.STOP),
        (SwitchyardError("anything else"), Fate.STOP),
        (ZeroDivisionError(), Fate.STOP),
    ],
)
def test_only_what_is_away_falls_through(err: Exception, fate: Fate) -> None:
    """A right that was taken away, and files that were changed, never let an older model answer in silence."""
    assert choose_fate(err) is fate


def test_the_table_has_each_class_once() -> None:
    """And none before its own subclass, which would hide it."""
    kinds = [kind for kind, _ in FATES]
    assert len(set(kinds)) == len(kinds)
    assert not any(issubclass(later, kind) for place, kind in enumerate(kinds) for later in kinds[place + 1 :])


def test_what_may_be_a_program_is_found() -> None:
    """In a source that no one has judged, data alone is taken; a SavedModel is listed, and never opened."""
    safe = ["embeddings/query.parquet", "score/weights.json", "model/saved_model.pb", "model/fingerprint.pb"]
    safe += ["model/variables/variables.index", "model/variables/variables.data-00000-of-00001", "model/assets/ids.txt"]
    safe += ["model/churn.ubj", "model/model.xgb", "model/MLmodel", "model/conda.yaml", "model/requirements.txt"]
    unsafe = ["model/model.pkl", "embeddings/ids.npy", "model/code.py", "model/variables/evil.so", "score/x.pb"]
    unsafe += ["MLmodel", "model/code/MLmodel", "model/python_model.pkl"]
    assert find_unsafe([*safe, *unsafe]) == unsafe
