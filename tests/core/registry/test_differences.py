"""What differs between two versions, as values."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from switchyard.core.registry.differences import Differing, compare_versions
from switchyard.core.registry.manifest import Manifest, ModelFile
from switchyard.core.registry.rows import Lineage, ModelVersion

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def version(number: int, **lineage: Any) -> ModelVersion:
    return ModelVersion(name="shop", version=number, digest="sha256:d", created_at=NOW, lineage=Lineage(**lineage))


def file(path: str, sha256: str = "a", size_bytes: int = 1) -> ModelFile:
    return ModelFile(path=path, size_bytes=size_bytes, sha256=sha256 * 64)


NONE = Manifest(())


def test_same_version_does_not_differ() -> None:
    """What is the same is counted."""
    one, files = version(1, parameters={"lr": 0.1, "k": [1]}), Manifest((file("a"), file("b")))
    found = compare_versions(one, one, files, files)
    assert (found.origins, found.parameters, found.files) == ([], [], [])
    assert (found.same_parameters, found.same_files) == (2, 2)


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        (1, 1.0, False),
        (1, True, True),
        ("1", 1, True),
        (None, msgspec.UNSET, True),
        ({"a": [1]}, {"a": [1]}, False),
        ({"a": [1]}, {"a": [2]}, True),
    ],
)
def test_parameter_differs(before: Any, after: Any, differs: bool) -> None:
    """By value; one that a version does not have differs from one that is null."""
    sides = [{} if value is msgspec.UNSET else {"x": value} for value in (before, after)]
    found = compare_versions(version(1, parameters=sides[0]), version(2, parameters=sides[1]), NONE, NONE)
    assert found.parameters == ([Differing(name="x", before=before, after=after)] if differs else [])


def test_files_are_added_removed_and_changed() -> None:
    """By path, in its order; by digest or size."""
    before = Manifest((file("changed"), file("gone"), file("grown"), file("same")))
    after = Manifest((file("added"), file("changed", "b"), file("grown", size_bytes=2), file("same")))
    found = compare_versions(version(1), version(2), before, after)
    assert [(one.path, one.change) for one in found.files] == [
        ("added", "added"),
        ("changed", "changed"),
        ("gone", "removed"),
        ("grown", "changed"),
    ]
    assert found.same_files == 1


def test_origins_that_are_not_known_differ_from_those_that_are() -> None:
    """Two that are not known do not differ."""
    before = version(1, quick_test_id=7, code_version="1")
    found = compare_versions(before, version(2, code_version="2", image="i@sha256:1"), NONE, NONE)
    assert [(one.name, one.before, one.after) for one in found.origins] == [
        ("run", 7, msgspec.UNSET),
        ("code version", "1", "2"),
        ("image", msgspec.UNSET, "i@sha256:1"),
    ]
