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
from switchyard.core.registry.manifest import ModelFile


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


def _files(*paths: str) -> list[ModelFile]:
    return [ModelFile(path=path, size_bytes=1, sha256=f"{number:064x}") for number, path in enumerate(paths)]


def test_what_may_be_a_program_is_found() -> None:
    """In a source that no one has judged: all but data, what a loader checks before it reads it, and MLflow's own."""
    unsafe = ["model/model.pkl", "embeddings/ids.npy", "model/code.py", "model/variables/evil.so", "score/x.pb"]
    unsafe += ["MLmodel", "model/code/MLmodel", "model/python_model.pkl", "model/data/custom_objects.cloudpickle"]
    found = find_unsafe(_files(*SAFE, *unsafe), ())
    assert [said.split("'")[1] for said in found] == unsafe


SAFE = ["embeddings/query.parquet", "score/weights.json", "model/saved_model.pb", "model/fingerprint.pb"]
SAFE += ["model/variables/variables.index", "model/variables/variables.data-00000-of-00001", "model/assets/ids.txt"]
SAFE += ["model/churn.ubj", "model/model.xgb", "model/MLmodel", "model/conda.yaml", "model/requirements.txt"]
SAFE += ["model/churn.skops", "model/mood.keras", "model/mood.h5", "model/tokenizer.json", "model/text.json"]
SAFE += ["model/data/model.keras", "model/data/model.h5", "model/data/keras_module.txt", "model/data/save_format.txt"]
SAFE += ["model/data/model/saved_model.pb", "model/data/model/keras_metadata.pb", "model/tf2model/saved_model.pb"]
SAFE += ["model/data/model/variables/variables.index", "model/model.skops", "model/registered_model_meta"]


def test_a_pickle_is_taken_that_the_operator_names() -> None:
    """By its digest: another one is refused, with the words to name it."""
    first, second = _files("model/a.pkl", "model/b.joblib")
    assert find_unsafe([first], {first.sha256}) == []
    (said,) = find_unsafe([first, second], {first.sha256})
    assert said.startswith("'model/b.joblib' may hold a program")
    assert said.endswith(f"MODEL_PICKLE_DIGESTS=sha256:{second.sha256}")
    code = ModelFile(path="model/code.py", size_bytes=1, sha256=first.sha256)
    assert find_unsafe([code], {first.sha256}) != []
