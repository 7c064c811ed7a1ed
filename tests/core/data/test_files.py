"""Which files a data URI names."""

import pytest

from switchyard.core.data.files import find_files
from switchyard.core.errors import NotFound

BUCKET = [
    "a.csv",
    "b.txt",
    "day=1/part-0.parquet",
    "day=1/part-1.parquet",
    "day=2/part-0.csv.gz",
    "day=2/_SUCCESS",
    "x*y",
]
LOCAL = ["my%20data/part-0.csv", "my%20data/part-1.csv", "my%20data/.part-2.csv"]


def find(data_uri: str) -> list[str]:
    there = sorted([f"gs://b/{name}" for name in BUCKET] + [f"file:///{name}" for name in LOCAL])
    return find_files(
        data_uri,
        is_file=lambda uri: uri in there,
        list_files=lambda prefix: [uri for uri in there if uri.startswith(prefix)],
    )


@pytest.mark.parametrize(
    ("data_uri", "found"),
    [
        ("gs://b/b.txt", ["b.txt"]),
        ("gs://b", ["a.csv", "day=1/part-0.parquet", "day=1/part-1.parquet", "day=2/part-0.csv.gz"]),
        ("gs://b/day=1", ["day=1/part-0.parquet", "day=1/part-1.parquet"]),
        ("gs://b/day=1/", ["day=1/part-0.parquet", "day=1/part-1.parquet"]),
        ("gs://b/*.txt", ["b.txt"]),
        ("gs://b/*/part-*", ["day=1/part-0.parquet", "day=1/part-1.parquet", "day=2/part-0.csv.gz"]),
        ("gs://b/x*y", ["x*y"]),  # a file of that very name goes before a pattern
    ],
)
def test_a_uri_names_a_file_a_folder_or_a_pattern(data_uri: str, found: list[str]) -> None:
    """A file whatever its name, a folder's Parquet and CSV files, and what a pattern fits; no notes."""
    assert find(data_uri) == [f"gs://b/{name}" for name in found]


def test_a_pattern_of_a_file_uri_leaves_notes_out() -> None:
    """A name with a space, percent-encoded as a file's URI has it; the one with a dot is none of them."""
    assert find("file:///my%20data/*part-*.csv") == ["file:///my%20data/part-0.csv", "file:///my%20data/part-1.csv"]


@pytest.mark.parametrize(
    ("data_uri", "said"),
    [
        ("gs://b/none.csv", "there is nothing at gs://b/none.csv"),
        ("gs://b/x", "there is nothing at gs://b/x"),
        ("gs://b/none-*.csv", "none-.*: nothing"),
        ("gs://b/day=*.csv", "4 files start with gs://b/day=, but none fits.*no slash"),
    ],
)
def test_nothing_is_said_by_name(data_uri: str, said: str) -> None:
    """What was looked for, and what is there instead."""
    with pytest.raises(NotFound, match=said):
        find(data_uri)
