"""Flags made from a Struct, and what a wrong one is told."""

import argparse

import msgspec
import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.runs.flags import add_flags, read_flags, to_flags
from switchyard.core.runs.spec import TrainSpec


def _parse(*arguments: str) -> TrainSpec:
    parser = argparse.ArgumentParser()
    add_flags(parser, TrainSpec)
    return read_flags(vars(parser.parse_args(arguments)), TrainSpec)


def test_flags_lead_back_to_the_value() -> None:
    """What one process writes as flags the next one reads as the same value."""
    spec = TrainSpec(epochs=11, statistics=False, l2=1e-5, data_uri="file:///data")
    assert _parse(*to_flags(spec)) == spec


def test_only_what_differs_from_the_defaults_becomes_a_flag() -> None:
    """A program of an older release does not know the fields that came after it."""
    assert to_flags(TrainSpec()) == []
    assert to_flags(TrainSpec(epochs=11, statistics=False)) == ["--epochs=11", "--no-statistics"]


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    """A Struct within another."""

    size: int = 1
    kinds: tuple[str, ...] = ()


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    """Its inner one's defaults are not what it has by default."""

    name: str
    inner: Inner = Inner(size=2)
    made: Inner = msgspec.field(default_factory=lambda: Inner(size=3))


@pytest.mark.parametrize("outer", [
    Outer(name=""), Outer(name="x", inner=Inner()), Outer(name="x", inner=Inner(size=2, kinds=("a", "b"))),
    Outer(name="x", inner=Inner(size=5), made=Inner()), Outer(name="x", made=Inner(size=3)),
])  # fmt: skip
def test_flags_lead_back_whatever_the_defaults_of_nested_fields_are(outer: Outer) -> None:
    """A field that must be given is given; a nested one that differs is written out far enough to be found again."""
    parser = argparse.ArgumentParser()
    add_flags(parser, Outer)
    flags = to_flags(outer)
    assert read_flags(vars(parser.parse_args(flags)), Outer) == outer
    assert f"--name={outer.name}" in flags


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "0"], ["--epochs", ">= 1", "got 0"]),
        (["--epochs", "many"], ["--epochs", "int", "got 'many'"]),
        (["--data-uri", "rows.csv"], ["data_uri", "a path", "file:///", "got 'rows.csv'"]),
        (["--data-uri", "http://host/rows.csv"], ["data_uri", "gs://", "got 'http://host/rows.csv'"]),
        (["--test-fraction", ".6", "--validation-fraction", ".5"], ["sum below 1", "got 0.5 + 0.6"]),
    ],
)
def test_a_refused_flag_says_what_was_expected_and_received(arguments: list[str], said: list[str]) -> None:
    """Nobody has to look up what is wrong."""
    with pytest.raises(BadRequest) as caught:
        _parse(*arguments)
    assert [word for word in said if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/data/rows.csv", "file:///data/rows.csv"),
        ("/data/a b/100%/part-*.csv", "file:///data/a%20b/100%25/part-*.csv"),
        ("file:///data/rows.csv", "file:///data/rows.csv"),
        ("gs://bucket/a b.csv", "gs://bucket/a b.csv"),
    ],
)
def test_a_plain_path_becomes_a_uri(given: str, kept: str) -> None:
    """Whoever has a path need not know how it is written as a URI."""
    assert _parse("--data-uri", given).data_uri == kept
