"""CHANGELOG.md: what breaks comes first, and a released version has its date."""

import re
from typing import Final

from tests.root import ROOT

TEXT: Final = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
HEADINGS: Final = ["Breaks, or asks something of you", "Results change", "New", "Changed", "Fixed"]


def test_a_version_has_a_date_or_is_unreleased() -> None:
    """The newest first; only the first may be unreleased."""
    versions = re.findall(r"^## (\S+) \((.+)\)$", TEXT, re.MULTILINE)
    assert len(versions) == len(re.findall(r"^## ", TEXT, re.MULTILINE)) > 1
    dates = [date for _, date in versions]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates if date != "unreleased")
    assert "unreleased" not in dates[1:]


def test_what_breaks_comes_first() -> None:
    """Each entry of the unreleased version stands under one of the headings, in their order."""
    newest = TEXT.split("\n## ")[1]
    assert re.findall(r"^### (.*)$", newest, re.MULTILINE) == HEADINGS
    assert "\n- " not in newest.split("\n### ")[0]
    breaks = newest.split("\n### ")[1]
    assert newest.count("**Breaking:**") == breaks.count("**Breaking:**") > 0


def test_no_entry_stands_there_twice() -> None:
    """A line that a merge brought in again."""
    entries = re.findall(r"^- (?:.*\n)(?:  .*\n)*", TEXT, re.MULTILINE)
    assert len(entries) == len(set(entries)) > 100
