"""Manifests: the same files have the same digest, and odd paths have none."""

import json

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.registry.manifest import (
    MAX_FILES,
    Manifest,
    ModelFile,
    find_differences,
    find_path_problems,
    to_manifest,
)

HASH = "ab" * 32


def file(path: str, size_bytes: int = 1, sha256: str = HASH) -> ModelFile:
    return ModelFile(path=path, size_bytes=size_bytes, sha256=sha256)


def test_digest_is_the_same_in_whatever_order_files_come() -> None:
    """It names the content, and not the listing."""
    files = [file("model/b"), file("embeddings/a", 2), file("é")]
    one, other = to_manifest(files, "here"), to_manifest(reversed(files), "there")
    assert one == other
    assert one.digest == other.digest
    assert (one.size_bytes, [each.path for each in one.files]) == (4, ["embeddings/a", "model/b", "é"])


def test_digest_is_that_of_the_canonical_json() -> None:
    """A golden value: another program can make it from the contract's words."""
    manifest = to_manifest([file("é", 3), file("a", 2)], "here")
    assert manifest.to_json() == (
        b'{"files":[{"path":"a","sha256":"' + HASH.encode() + b'","size":2},'
        b'{"path":"\xc3\xa9","sha256":"' + HASH.encode() + b'","size":3}],"format":1}'
    )
    assert json.loads(manifest.to_json())["format"] == 1
    assert manifest.digest == "sha256:408fb6c6b5fe1e54adf081f71d8cdd477492f0be2408956d9d3930802e4b9ba7"


@pytest.mark.parametrize("other", [file("b"), file("a", 2), file("a", 1, "cd" * 32)], ids=["path", "size", "content"])
def test_digest_differs_where_a_file_does(other: ModelFile) -> None:
    """In its path, its size or its content."""
    assert to_manifest([file("a")], "").digest != to_manifest([other], "").digest


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        ([], "there are no files"),
        (["../x"], "'..' cannot be part of a path"),
        (["a/../../x"], "'..' cannot be part of a path"),
        (["/etc/passwd"], "the path is absolute"),
        (["a//b"], "'' cannot be part of a path"),
        (["a/./b"], "'.' cannot be part of a path"),
        (["a/"], "'' cannot be part of a path"),
        ([""], "'' cannot be part of a path"),
        (["a\\..\\b"], "the character '\\\\' is not allowed"),
        (["C:x"], "the character ':' is not allowed"),
        (["a\0b"], "the character '\\x00' is not allowed"),
        (["a\nb"], "the character '\\n' is not allowed"),
        (["a\udcff"], "the name is not UTF-8"),
        (["x" * 1_025], "at most 1,024"),
        (["a", "a"], "'a' is listed twice"),
        (["A/x", "a/X"], "are one file"),
        (["straße", "STRASSE"], "are one file"),
        (["\u00e9", "e\u0301"], "are one file"),
        (["\ufb01le", "file"], "are one file"),
        (["a", "a/b"], "is a file, and the folder of 'a/b'"),
        (["A", "a/b/c"], "is a file, and the folder of 'a/b/c'"),
        ([f"{number}" for number in range(MAX_FILES + 1)], "at most 10,000 files"),
    ],
)
def test_odd_paths_are_refused(paths: list[str], problem: str) -> None:
    """Each by its name; a manifest is not made of them."""
    assert any(problem in found for found in find_path_problems(paths)), find_path_problems(paths)
    with pytest.raises(BadRecord, match="quick test 7"):
        to_manifest([file(path) for path in paths], "quick test 7")


@pytest.mark.parametrize(
    "paths", [["model/saved_model.pb", "model/variables/v.data-00000-of-00001"], ["a b/c.d"], ["..a"], ["é/日本"]]
)
def test_plain_paths_have_no_problem(paths: list[str]) -> None:
    """What a trainer writes, and what only looks odd."""
    assert find_path_problems(paths) == []


@pytest.mark.parametrize(("size", "sha256"), [(-1, HASH), (1, HASH.upper()), (1, "ab"), (1, f"sha256:{HASH}")])
def test_odd_size_or_hash_is_refused(size: int, sha256: str) -> None:
    """One content has one way to be written."""
    with pytest.raises(BadRecord, match="'a'"):
        to_manifest([file("a", size, sha256)], "here")


@pytest.mark.parametrize(
    ("found", "differences"),
    [
        ([file("a"), file("b")], []),
        ([file("a")], ["'b' is missing"]),
        ([file("a"), file("b", 2)], ["'b' must have 1 bytes; it has 2"]),
        ([file("a"), file("b", 1, "cd" * 32)], [f"'b' must have sha256 {HASH}; it has {'cd' * 32}"]),
        ([file("a"), file("b"), file("c")], ["'c' is not one of the version's files"]),
    ],
    ids=["same", "missing", "size", "content", "extra"],
)
def test_files_that_differ_from_the_manifest_are_named(found: list[ModelFile], differences: list[str]) -> None:
    """Missing, changed by one byte, or one too many."""
    expected = Manifest((file("a"), file("b")))
    assert find_differences(expected, {each.path: each for each in found}) == differences
