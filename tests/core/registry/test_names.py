"""Names of models and aliases, references to versions, and what a registered source must still be."""

import doctest
from datetime import UTC, datetime

import pytest

import switchyard.core.registry.manifest as manifest_module
import switchyard.core.registry.names as names_module
import switchyard.core.registry.registration as registration_module
import switchyard.core.registry.stages as stages_module
from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.manifest import Manifest, ModelFile
from switchyard.core.registry.names import Reference, check_free_alias, check_model_name, read_reference
from switchyard.core.registry.registration import check_new, check_same, to_run_source
from switchyard.core.registry.rows import ModelVersion, NewVersion
from switchyard.core.registry.stages import Stage


@pytest.mark.parametrize("name", ["fraud", "two towers", "a", "shop.v2_nightly-1", "x" * 120])
def test_model_name(name: str) -> None:
    """What every MLflow registry takes too."""
    check_model_name(name)


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "a:b", "a@b", "../a", ".a", "a\n", "x" * 121, "é"])
def test_odd_model_name_is_refused(name: str) -> None:
    """It could not stand in a URL, in a folder, or in `models:/name/3`."""
    with pytest.raises(BadRequest, match="model's name"):
        check_model_name(name)


@pytest.mark.parametrize("alias", ["nightly", "shop-de", "A_1"])
def test_free_alias(alias: str) -> None:
    """Any word."""
    check_free_alias(alias)


@pytest.mark.parametrize(
    "alias", ["champion", "Challenger", "latest", "v3", "V12", "production", "none", "3", "", "a b", "a/b", "x" * 64]
)
def test_alias_that_is_kept_or_odd_is_refused(alias: str) -> None:
    """The registry moves its own; others would read like a stage or a number."""
    with pytest.raises(BadRequest):
        check_free_alias(alias)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("3", Reference(version=3)),
        ("Production", Reference(stage=Stage.PRODUCTION)),
        ("staging", Reference(stage=Stage.STAGING)),
        ("@champion", Reference(alias="champion")),
        ("@nightly", Reference(alias="nightly")),
    ],
)
def test_reference(text: str, reference: Reference) -> None:
    """By number, stage or alias."""
    assert read_reference(text) == reference


@pytest.mark.parametrize("text", ["", "0", "-1", "v3", "@", "Archived", "None", "champion", "99999999999", "²"])
def test_odd_reference_is_refused(text: str) -> None:
    """It is never guessed."""
    with pytest.raises(BadRequest, match="a version is"):
        read_reference(text)


def test_source_whose_files_have_changed_is_refused() -> None:
    """The same files are the same version; others are none of it."""
    manifest = Manifest((ModelFile(path="a", size_bytes=1, sha256="ab" * 32),))
    new = NewVersion(name="fraud", source_key=to_run_source(1, "k"), source_uri="file:///runs/1", manifest=manifest)
    check_new(new)
    now = datetime(2026, 1, 15, tzinfo=UTC)
    check_same(ModelVersion(name="fraud", version=3, digest=manifest.digest, created_at=now), new)
    with pytest.raises(StaleWrite, match=r"file:///runs/1 is version 3.*changed since"):
        check_same(ModelVersion(name="fraud", version=3, digest="sha256:0", created_at=now), new)


def test_examples_are_true() -> None:
    """Those of the docstrings."""
    for module in (manifest_module, names_module, registration_module, stages_module):
        found = doctest.testmod(module)
        assert found.attempted
        assert found.failed == 0, module.__name__
