"""Which store is which: a table of what is known of two."""

import pytest

from switchyard.core.mlflow.store_identity import KnownExperiment, StoreIdentity, to_experiment, to_identity

MADE_AT = 1_690_000_000_000


def make(**experiments: int | str) -> StoreIdentity:
    """By id, when an experiment was made; a text is the name of one of which no time is known."""
    return to_identity(
        (
            id_.removeprefix("e"),
            to_experiment("x", "", at) if isinstance(at, int) else to_experiment(at, "gs://b", None),
        )
        for id_, at in experiments.items()
    )


CASES: list[tuple[str, StoreIdentity, StoreIdentity, bool]] = [
    ("the same", make(e0=1, e1=2), make(e0=1, e1=2), True),
    ("one was added", make(e0=1, e1=2, e2=3), make(e0=1, e1=2), True),
    ("one is gone for good", make(e1=2), make(e0=1, e1=2), True),
    ("restored, and gone on otherwise", make(e0=1, e1=9), make(e0=1, e1=2), True),
    ("made again", make(e0=7, e1=8), make(e0=1, e1=2), False),
    ("made again, with another number of experiments", make(e0=7), make(e0=1, e1=2), False),
    ("emptied", make(), make(e0=1), False),
    ("all its experiments are others", make(e5=1), make(e0=1), False),
    ("nothing was known", make(e0=1), make(), True),
    ("without times, the same", make(e0="a", e1="b"), make(e0="a", e1="c"), True),
    ("without times, others", make(e0="b"), make(e0="a"), False),
    ("a time that was not known before", make(e0=1, e1="a"), make(e0="x", e1="a"), True),
    ("a name that is alike, and another time", make(e0=1, e1="a"), make(e0=2, e1="a"), False),
]


@pytest.mark.parametrize(("now", "before", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_store_is_known_by_when_its_experiments_were_made(
    now: StoreIdentity, before: StoreIdentity, expected: bool
) -> None:
    """By their names and places only where no time is known."""
    assert now.is_of(before) is expected


def test_the_oldest_experiments_are_enough() -> None:
    """A store with thousands is known by a hundred, which are the same after thousands more were made."""
    few = to_identity((number, to_experiment("", "", MADE_AT + number)) for number in range(150))
    many = to_identity((number, to_experiment("", "", MADE_AT + number)) for number in reversed(range(5_000)))
    assert many == few
    assert sorted(map(int, many.experiments)) == list(range(100))


def test_odd_values_are_no_error() -> None:
    """SQLite's columns take anything."""
    assert to_experiment(None, "\udc80", "yesterday") == to_experiment("", "\udc80", None)
    assert isinstance(to_experiment(1, 2.0, True), KnownExperiment)
