"""A team's rules: what is refused, and where in the text."""

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.mlflow.rules import parse_rules

REFUSED = {
    "no TOML": ('[names\na = "b"', r"rules are not TOML: .* line 1"),
    "no TOML further down": ('[names]\na = "b"\nc = d', r"line 3"),
    "a key twice": ('[names]\na = "b"\na = "c"', r"rules are not TOML: .* overwrite a value"),
    "another table": ("[name]\na = 'b'", r"only \[names\] and \[\[patterns\]\] are known; got 'name'"),
    "names that are no table": ("names = 1", r"\[names\] must be a table"),
    "a key with dots, without quotes": ('[names]\na.b = "c"', r"names.'a' must be a text in quotes; a key with dots"),
    "an empty name": ('[names]\na = ""', r"names.'a' must be a name"),
    "a bin's key": ('[names]\nquery_hist_bin_3 = "x"', r"names.'query_hist_bin_3': .* cannot be renamed"),
    "a bin's name": ('[names]\nx = "query_hist_bin_3"', r"names.'x': .* is the name of a histogram's bin"),
    "patterns that are no list": ("[patterns]\nmatch = 'a*'", r"written in double brackets"),
    "a pattern without a name": ("[[patterns]]\nmatch = 'a*'", r"patterns\[1\] must have `match` and `name`"),
    "more than that": ("[[patterns]]\nmatch = 'a*'\nname = 'b'\nflags = 1", r"and nothing else"),
    "a number": ("[[patterns]]\nmatch = 1\nname = 'b'", r"patterns\[1\]: `match` and `name` must be texts"),
    "no star": ("[[patterns]]\nmatch = 'a'\nname = 'b'", r"patterns\[1\].match must have 1 to 9 `\*`"),
    "too many stars": ("[[patterns]]\nmatch = 'a**********'\nname = 'b'", r"must have 1 to 9"),
    "a regular expression": ("[[patterns]]\nmatch = '(a+)+$*'\nname = 'b'", r"looks like a regular expression"),
    "another one": ("[[patterns]]\nmatch = 'valid/(.*)'\nname = 'val_{1}'", r"write `\*` for `\(\.\*\)`"),
    "a place that is not": ("[[patterns]]\nmatch = 'a*'\nname = '{2}{x}'", r"\{2\}, \{x\} must be one of \{1\} to "),
    "all keys": ("[[patterns]]\nmatch = '*'\nname = 'x{1}'", r"also catches the histogram's bin 'candidate_grad_hist_"),
    "a pattern of bins": ("[[patterns]]\nmatch = 'query_*'\nname = 'q{1}'", r"the histogram's bin 'query_grad_hist"),
    "too long": ("#" * 70_000, r"the rules have 70,000 characters; at most 65,536 are read"),
    "too many names": ("[names]\n" + "\n".join(f"a{i} = 'b'" for i in range(1_001)), r"at most 1,000 entries"),
    "too many patterns": ("[[patterns]]\nmatch='a*'\nname='b'\n" * 101, r"at most 100 \[\[patterns\]\]; got 101"),
    "nested without end": ("a = " + "[" * 5_000, r"rules are not TOML"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_rule_is_refused_with_its_place(name: str) -> None:
    """Before any run is read."""
    text, said = REFUSED[name]
    with pytest.raises(BadRequest, match=said):
        parse_rules(text)


def test_all_problems_are_told_at_once() -> None:
    """No one mends a text one error at a time."""
    with pytest.raises(BadRequest, match=r"names.'a'.*; patterns\[2\].match"):
        parse_rules("[names]\na = ''\n[[patterns]]\nmatch='a*'\nname='b'\n[[patterns]]\nmatch='a'\nname='b'")


def test_a_pattern_takes_one_pass_over_the_key() -> None:
    """A regular expression of this kind would try every way to share the key out among its stars."""
    rules = parse_rules("[[patterns]]\nmatch = 'a*a*a*a*a*a*a*a*a*b'\nname = 'x'")
    tries = 0

    class Counted(str):
        __slots__ = ()

        def find(self, *args: object) -> int:
            nonlocal tries
            tries += 1
            return str.find(self, *args)  # type: ignore[arg-type]

    assert rules.patterns[0].find(Counted("a" * 1_000 + "c" + "b")) == "x"
    assert rules.patterns[0].find(Counted("a" * 8 + "b")) is None
    assert tries <= 16
