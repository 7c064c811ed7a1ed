"""Patterns of LIKE, as each database has them: the same texts fit."""

import sqlite3
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard.core.comparison.like import find_end, find_prefix, to_glob, to_sql_like
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]

CASES = {
    ("adam", "adam"): True,
    ("adam", "Adam"): False,
    ("ad%", "adam"): True,
    ("%da%", "adam"): True,
    ("_dam", "adam"): True,
    ("_dam", "\N{GRINNING FACE}dam"): True,
    ("_dam", "dam"): False,
    (r"100\%", "100%"): True,
    (r"100\%", "1000"): False,
    (r"a\_b", "a_b"): True,
    (r"a\_b", "axb"): False,
    (r"a\\b", "a\\b"): True,
    (r"a\b", "a\\b"): True,
    ("a\\", "a\\"): True,
    ("a*", "ab"): False,
    ("a[b]?*", "a[b]?*"): True,
    ("[a-z]", "b"): False,
    ("%", ""): True,
    ("", ""): True,
}


@pytest.fixture(scope="module")
def connections(postgres: Postgres) -> Iterator[tuple[sqlite3.Connection, "psycopg.Connection[tuple[bool]]"]]:
    lite = sqlite3.connect(":memory:")
    with psycopg.connect(postgres.url("postgres").replace("+psycopg", ""), autocommit=True) as real:
        yield lite, real
    lite.close()


def fits(connections: tuple[sqlite3.Connection, "psycopg.Connection[tuple[bool]]"], pattern: str, text: str) -> bool:
    lite, real = connections
    (one,) = lite.execute("SELECT ? GLOB ?", (text, to_glob(pattern))).fetchone()
    other = real.execute("SELECT %s::text COLLATE \"C\" LIKE %s ESCAPE '\\'", (text, to_sql_like(pattern))).fetchone()
    assert other is not None
    assert bool(one) is other[0]
    return bool(one)


@pytest.mark.parametrize(("pattern", "text"), CASES)
def test_pattern_fits_the_same_texts_everywhere(
    connections: tuple[sqlite3.Connection, "psycopg.Connection[tuple[bool]]"], pattern: str, text: str
) -> None:
    """In SQLite as in Postgres; upper and lower case differ."""
    assert fits(connections, pattern, text) is CASES[pattern, text]


LETTERS = st.text("ab%_\\*?[]^-\u00e4\U0001f600", max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LETTERS, LETTERS)
def test_databases_agree_on_any_pattern(
    connections: tuple[sqlite3.Connection, "psycopg.Connection[tuple[bool]]"], pattern: str, text: str
) -> None:
    """And what fits begins with the pattern's prefix, and is in the range that an index is asked for."""
    if fits(connections, pattern, text):
        prefix = find_prefix(pattern)
        assert text.startswith(prefix)
        end = find_end(prefix) if prefix else None
        assert end is None or prefix.encode() <= text.encode() < end.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5), st.text(max_size=3))
def test_end_comes_after_all_that_begin_so(prefix: str, more: str) -> None:
    """And it is no lone surrogate, which no database takes."""
    end = find_end(prefix)
    longer = (prefix + more).encode("utf-8", "replace")
    assert end is None or prefix.encode() <= longer < end.encode()


def test_end_jumps_over_surrogates() -> None:
    """U+D7FF is followed by U+E000 in UTF-8."""
    assert find_end("a\ud7ff") == "a\ue000"
