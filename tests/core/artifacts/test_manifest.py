"""The manifest of a run's copied artifacts."""

import json
from typing import Any

import pytest

from switchyard.core.artifacts.manifest import (
    Copied,
    LeftOut,
    SourceObject,
    is_digest,
    read_manifest,
    to_manifest,
    to_manifest_uri,
    to_object_uri,
)
from switchyard.core.errors import BadRecord

A = Copied(path="a", size_bytes=1, sha256="a" * 64, generation=7)
B = Copied(path="model/b", size_bytes=2, sha256="b" * 64)
LEFT = LeftOut(path="../c", reason="it leads elsewhere")


def make(**changed: Any) -> bytes:
    found = json.loads(to_manifest("f" * 32, "gs://bucket/a", [B, A], [LEFT]).to_json())
    return json.dumps(found | changed).encode()


def test_a_manifest_is_read_as_it_was_written() -> None:
    """Its artifacts in order, whatever order they came in; the same ones have the same digest."""
    made = to_manifest("f" * 32, "gs://bucket/a", [B, A], [LEFT])
    assert made.objects == (A, B)
    assert made.size_bytes == 3
    assert read_manifest(made.to_json(), "here", digest=made.digest) == made
    assert made.digest == to_manifest("f" * 32, "gs://bucket/a", [A, B], [LEFT]).digest
    assert is_digest(made.digest)


def test_a_manifests_bytes_never_change() -> None:
    """A manifest that is kept today is read for years, by its digest."""
    made = to_manifest("f" * 32, "gs://bucket/a", [A])
    assert made.to_json() == (
        b'{"format":1,"left_out":[],"mlflow_run_id":"' + b"f" * 32 + b'","objects":[{"generation":7,"path":"a",'
        b'"sha256":"' + b"a" * 64 + b'","size_bytes":1}],"source":"gs://bucket/a"}'
    )


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"format": 2}, "`format` must be 1"),
        ({"mlflow_run_id": "../x"}, "mlflow_run_id"),
        ({"more": 1}, "more"),
        ({"objects": [{"path": "../a", "size_bytes": 1, "sha256": "a" * 64}]}, r"'\.\.'"),
        ({"objects": [{"path": "a", "size_bytes": 1, "sha256": "A" * 64}]}, "64 hex digits"),
        ({"objects": [{"path": "a", "size_bytes": -1, "sha256": "a" * 64}]}, "below 0"),
        ({"objects": [{"path": "a", "size_bytes": 1, "sha256": "a" * 64}] * 2}, "be there once"),
        ({"objects": [{"path": p, "size_bytes": 1, "sha256": "a" * 64} for p in "ba"]}, "must come after"),
    ],
)
def test_what_is_no_manifest_is_refused(changed: dict[str, Any], problem: str) -> None:
    """With where it is, and what is wrong."""
    with pytest.raises(BadRecord, match=problem):
        read_manifest(make(**changed), "here")


def test_a_changed_manifest_is_refused() -> None:
    """By its digest, which the row names."""
    made = read_manifest(make(), "here")
    with pytest.raises(BadRecord, match="it was changed"):
        read_manifest(make(source="gs://bucket/b"), "here", digest=made.digest)
    with pytest.raises(BadRecord, match="is twice in one object"):
        read_manifest(make().replace(b'{"format"', b'{"format": 1, "format"'), "here")


def test_two_names_of_one_spelling_are_both_kept() -> None:
    """Files are called by their content: a disk that does not tell letters' case never meets the names."""
    made = to_manifest("f" * 32, "gs://b/a", [Copied(path=path, size_bytes=1, sha256="a" * 64) for path in ("A", "a")])
    assert [one.path for one in read_manifest(made.to_json(), "here").objects] == ["A", "a"]


def test_an_object_is_the_same_as_long_as_its_store_says_so() -> None:
    """By its generation and size; by the size alone where there is no generation."""
    assert A.is_of(SourceObject(path="a", size_bytes=1, generation=7))
    assert not A.is_of(SourceObject(path="a", size_bytes=1, generation=8))
    assert B.is_of(SourceObject(path="model/b", size_bytes=2))
    assert not B.is_of(SourceObject(path="model/b", size_bytes=3))


def test_a_copys_files_lie_by_content_and_by_run() -> None:
    """Nothing of a run's own names is a path."""
    assert to_object_uri("gs://b/c", "ab" + "0" * 62) == "gs://b/c/objects/ab/ab" + "0" * 62
    assert to_manifest_uri("gs://b/c", "f" * 32, "sha256:" + "1" * 64) == f"gs://b/c/runs/{'f' * 32}/{'1' * 64}.json"
