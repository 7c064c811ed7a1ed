"""What each check takes and refuses, as tables of values, and the sentences that it leaves."""

from collections.abc import Callable
from typing import Any, Literal

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.metrics import checks as checks_module
from switchyard.core.metrics.checks import MAX_PROBLEMS, Checks, Step, Whole, describe, list_names

ROW = [4] * 25


def run(check: Callable[[Checks], Any]) -> tuple[Any, list[str]]:
    checks = Checks("a file")
    return check(checks), checks.problems


@pytest.mark.parametrize(
    ("value", "length", "found", "problems"),
    [
        ([1, 2.5, None], 3, [1.0, 2.5, None], []),
        ([1, 2], None, [1.0, 2.0], []),
        ([], 0, [], []),
        ([1, 2], 3, [1.0, 2.0], ["`p` must have 3 values, one an epoch; got 2"]),
        ({"a": 1}, 3, [], ["`p` must be an array of numbers and nulls; got an object"]),
        ("ab", None, [], ['`p` must be an array of numbers and nulls; got the text "ab"']),
        ([1, "x", True], 3, [], ['`p[1]` must be a number or null; got the text "x"',
                                 "`p[2]` must be a number or null; got true"]),
        (["x"] * 5, 3, [], [*(f'`p[{i}]` must be a number or null; got the text "x"' for i in range(3)),
                            "`p` has 2 more such values", "`p` must have 3 values, one an epoch; got 5"]),
    ],
)  # fmt: skip
def test_series(value: Any, length: int | None, found: Any, problems: list[str]) -> None:
    """Numbers and nulls, one an epoch; the first three bad values are named, the others counted."""
    assert run(lambda checks: checks.series(value, "p", length)) == (found, problems)


@pytest.mark.parametrize(
    ("value", "length", "found", "problems"),
    [
        ({"a": [1], "b": [None]}, 1, {"a": [1.0], "b": [None]}, []),
        ({"a": [1, 2]}, None, {"a": [1.0, 2.0]}, []),
        ({}, 3, {}, []),
        ([1], 1, {}, ["`s` must be an object of arrays; got an array of 1"]),
        ({"a": [1], "b.c": [1, 2]}, 1, {"a": [1.0], "b.c": [1.0, 2.0]},
         ['`s["b.c"]` must have 1 values, one an epoch; got 2']),
        ({"a": [1], "b": ["x"]}, 1, {"a": [1.0], "b": []}, ['`s.b[0]` must be a number or null; got the text "x"']),
    ],
)  # fmt: skip
def test_series_map(value: Any, length: int | None, found: Any, problems: list[str]) -> None:
    """An object of series: a bad one is named by its own path, and the others are taken."""
    assert run(lambda checks: checks.series_map(value, ["s"], length)) == (found, problems)


@pytest.mark.parametrize(
    ("value", "kind", "found", "problems"),
    [
        ([0, 2**63 - 1], Whole, [0, 2**63 - 1], []),
        ([-(2**63)], Step, [-(2**63)], []),
        ([-1], Whole, [], ["`p[0]` must be an integer; got -1"]),
        ([2**63], Step, [], [f"`p[0]` must be an integer; got {2**63}"]),
        ([1.5], Whole, [], ["`p[0]` must be an integer; got 1.5"]),
        (None, Whole, [], ["`p` must be an array of integers; got null"]),
    ],
)
def test_integers(value: Any, kind: Any, found: list[int], problems: list[str]) -> None:
    """Of the kind that is asked for, within 64 bits."""
    assert run(lambda checks: checks.integers(value, "p", kind, "an integer")) == (found, problems)


@pytest.mark.parametrize(
    ("value", "found", "problems"),
    [
        ([1, 2.5], [1.0, 2.5], []),
        ([None], [], ["`p[0]` must be a number; got null"]),
        (3, [], ["`p` must be an array of numbers; got 3"]),
    ],
)
def test_numbers(value: Any, found: list[float], problems: list[str]) -> None:
    """No null among them."""
    assert run(lambda checks: checks.numbers(value, "p")) == (found, problems)


@pytest.mark.parametrize(
    ("value", "length", "found", "problems"),
    [
        ([ROW, None, [*ROW[:24], None]], 3, [ROW, None, [*ROW[:24], None]], []),
        ([ROW], None, [ROW], []),
        ([ROW], 2, [ROW], ["`p` must have 2 rows, one an epoch; got 1"]),
        ("x", 2, [], ['`p` must be an array of rows, one an epoch; got the text "x"']),
        ([ROW, 5], 2, [], ["`p[1]` must be an array of 25 counts, or null; got 5"]),
        ([ROW[:24]], 1, [], ["`p[0]` must have 25 counts; got 24"]),
        ([[*ROW[:7], -1, *ROW[8:]]], 1, [], ["`p[0][7]` must be a count (an integer of at least 0) or null; got -1"]),
        ([[0.5, *ROW[1:]]], 1, [], ["`p[0][0]` must be a count (an integer of at least 0) or null; got 0.5"]),
    ],
)
def test_count_rows(value: Any, length: int | None, found: Any, problems: list[str]) -> None:
    """25 counts an epoch, or none; of a bad row, what is wrong first."""
    assert run(lambda checks: checks.count_rows(value, "p", length)) == (found, problems)


def test_a_list_that_only_one_of_the_two_checks_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is quick decides; the one that names positions may never let a file through."""
    monkeypatch.setattr(checks_module, "_row_problem", lambda row: None)
    found, (problem,) = run(lambda checks: checks.count_rows([5], "p", 1))
    assert found == []
    assert problem.startswith("`p`: Expected `array | null`, got `int`")


@pytest.mark.parametrize(
    ("found", "expected", "problems"),
    [
        ({"status": "failed"}, "failed", []),
        ({}, None, []),
        ({"status": "done"}, None, ['`run.status` must be failed or completed; got the text "done"']),
        ({"status": None}, None, ["`run.status` must be failed or completed; got null"]),
    ],
)
def test_literal(found: dict[str, Any], expected: str | None, problems: list[str]) -> None:
    """One of the listed texts, or nothing where it is not there."""
    kind = Literal["failed", "completed"]
    assert run(lambda checks: checks.literal(found, "status", kind, "run")) == (expected, problems)


@pytest.mark.parametrize(
    ("value", "found", "problems"), [(3, 3, []), ("3", None, ['`p` must be a whole; got the text "3"'])]
)
def test_convert(value: Any, found: int | None, problems: list[str]) -> None:
    """The value, or none and a problem; a text is no number."""
    assert run(lambda checks: checks.convert(value, Whole, "p", "be a whole")) == (found, problems)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ("short", 'the text "short"'),
        ("x" * 60, f'the text "{"x" * 60}"'),
        ("x" * 61, f'the text "{"x" * 60}..."'),
        (1, "1"),
        (-0.5, "-0.5"),
        (10**70, "1" + "0" * 59 + "..."),
        ([[[1]], 2], "an array of 2"),
        ({"a": 1}, "an object"),
    ],
)
def test_a_value_is_described_in_a_few_words(value: Any, words: str) -> None:
    """Never its whole content."""
    assert describe(value) == words


@pytest.mark.parametrize(("names", "words"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_names_are_listed(names: list[str], words: str) -> None:
    """As a sentence has them."""
    assert list_names(names) == words


@pytest.mark.parametrize("count", [0, 1, MAX_PROBLEMS, MAX_PROBLEMS + 1, MAX_PROBLEMS + 7])
def test_all_problems_are_raised_at_once(count: int) -> None:
    """The first hundred of them, and how many more; none raises nothing."""
    checks = Checks("a file")
    for number in range(count):
        checks.refuse(f"p{number}", "be right", "wrong")
    if not count:
        checks.raise_problems()
        return
    with pytest.raises(BadRecord) as raised:
        checks.raise_problems()
    shown = [f"`p{number}` must be right; got wrong" for number in range(min(count, MAX_PROBLEMS))]
    more = count - MAX_PROBLEMS
    assert list(raised.value.problems) == shown + ([f"and {more} problems more"] if more > 0 else [])
    assert str(raised.value).startswith("a file: ")


def test_a_place_is_named_as_the_file_names_it() -> None:
    """A file of another version has other names; the caller may learn of them later."""
    aliases: dict[str, str] = {}
    checks = Checks("a file", aliases)
    assert checks.path("loss", "val.loss") == 'loss["val.loss"]'
    aliases["loss.val_loss"] = "loss.val"
    assert (checks.path("loss", "val_loss"), checks.path("loss", "loss")) == ("loss.val", "loss.loss")
    checks.warn("loss.val", "is kept")
    assert (checks.warnings, checks.problems) == (["`loss.val` is kept"], [])
