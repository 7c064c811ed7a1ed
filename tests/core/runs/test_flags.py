"""Flags made from a Struct, and what a wrong one is told."""

import argparse

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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "0"], ["--epochs", ">= 1", "got 0"]),
        (["--epochs", "many"], ["--epochs", "int", "got 'many'"]),
        (["--data-uri", "/data/rows.csv"], ["data_uri", "file:///", "got '/data/rows.csv'"]),
        (["--data-uri", "http://host/rows.csv"], ["data_uri", "gs://", "got 'http://host/rows.csv'"]),
        (["--test-fraction", ".6", "--validation-fraction", ".5"], ["sum below 1", "got 0.5 + 0.6"]),
    ],
)
def test_a_refused_flag_says_what_was_expected_and_received(arguments: list[str], said: list[str]) -> None:
    """Nobody has to look up what is wrong."""
    with pytest.raises(BadRequest) as caught:
        _parse(*arguments)
    assert [word for word in said if word not in str(caught.value)] == []
