"""Flags made from a Struct, and what a wrong one is told."""

import argparse
from typing import Annotated, ClassVar

import msgspec
import pytest
from msgspec import Meta

from switchyard.core.errors import BadRequest
from switchyard.core.runs.flags import FlagParser, add_flags, read_flags, to_flags, to_groups
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


def test_what_the_reader_takes_for_unsaid_is_what_is_left_unsaid() -> None:
    """A default that has changed since is written out, and so is the old one where the reader takes the new one."""
    unsaid = {"epochs": 30, "statistics": False}
    assert to_flags(TrainSpec(), unsaid) == [f"--epochs={TrainSpec().epochs}", "--statistics"]
    assert to_flags(TrainSpec(epochs=30, statistics=False), unsaid) == []


def test_help_shows_the_default_of_who_reads_the_flag() -> None:
    """Where that is not the struct's own."""
    parser = argparse.ArgumentParser()
    add_flags(parser, TrainSpec, unsaid={"epochs": 4321})
    assert "(default: 4321)" in parser.format_help()


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of which `--help` shows a value in different words."""

    learning_rate: float = 1.0
    epochs: int = 1
    register_as: Annotated[str, Meta(description="a name", extra={"placeholder": "MODEL"})] = ""
    search: Annotated[tuple[str, ...], Meta(description="values", extra={"placeholder": "PARAMETER=VALUES"})] = ()
    names: Annotated[tuple[str, ...], Meta(description="names")] = ()


def test_help_shows_what_stands_in_a_values_place() -> None:
    """A field says it, or its type, or the last word of its name."""
    parser = argparse.ArgumentParser()
    add_flags(parser, Shown)
    shown = parser.format_help()
    for flag in (
        "--learning-rate RATE", "--epochs N", "--register-as MODEL", "--search PARAMETER=VALUES", "--names NAME",
    ):  # fmt: skip
        assert f"  {flag}\n" in shown or f"  {flag} " in shown


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
    """No one has to look up what is wrong."""
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
    """A person who has a path need not know how it is written as a URI."""
    assert _parse("--data-uri", given).data_uri == kept


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--epoch", "3"], "Did you mean --epochs?"),
        (["--epoch=3"], "Did you mean --epochs?"),
        (["--batch_size=3", "--learning-rte=1"], "Did you mean --batch-size --learning-rate?"),
        (["--no-statistic"], "Did you mean --no-statistics?"),
        (["--zzz"], "unrecognized arguments: --zzz\n"),
    ],
)
def test_a_mistyped_flag_gets_the_one_that_was_meant(
    typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also behind a subcommand; the list of all flags is one command away."""
    parser = FlagParser(prog="switchyard")
    add_flags(parser.add_subparsers().add_parser("train"), TrainSpec)
    with pytest.raises(SystemExit) as refused:
        parser.parse_args(["train", *typed])
    assert refused.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("switchyard train: error: unrecognized arguments: ")
    assert meant in said
    assert said.endswith("All flags: switchyard train --help\n")
    assert said.count("\n") == 2


class Grouped(Outer, frozen=True):
    """Two of its fields are named; the others follow."""

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {"first": ("later",)}
    first: int = 1
    later: int = 2


def test_fields_that_no_group_names_come_last() -> None:
    """A new field is on the form and in --help, whether or not someone thought of its place."""
    groups = to_groups(Grouped)
    assert groups["first"] == ("later",)
    assert set(groups["more"]) == set(Grouped.__struct_fields__) - {"later"}
    assert to_groups(TrainSpec) == {"parameters": TrainSpec.__struct_fields__}


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may leave open."""

    again: Annotated[bool | None, Meta(description="do it again; left open: as suits")] = None


@pytest.mark.parametrize(("given", "again"), [([], None), (["--again"], True), (["--no-again"], False)])
def test_yes_no_and_left_open_are_three_answers(given: list[str], again: bool | None) -> None:
    """No flag is not the same as no; each leads back to itself, and the help names no default."""
    parser = argparse.ArgumentParser()
    add_flags(parser, Open)
    read = read_flags(vars(parser.parse_args(given)), Open)
    assert read.again is again
    assert to_flags(read) == given
    assert "default" not in parser.format_help()
