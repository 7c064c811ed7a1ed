"""docs/glossary.md has our words, and a page that uses one links it there."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import read_page
from tests.root import ROOT

GLOSSARY: Final = read_page("glossary.md")
WORDS: Final = {
    "quick test": "quick tests?",
    "claim": "claim(?:s|ed)?",
    "settled": "(?:un)?settled",
    "grace": "grace",
    "charted series": "charted",
    "ledger": "ledgers?",
    "snapshot": "snapshots?",
    "reconcile": "reconciles?",
    "backfill": "backfills?",
    "champion": "champions?",
    "challenger": "challengers?",
    "tombstone": "tombstones?",
    "trial": "trials?",
    "sweep": "sweeps?",
    "prune": "pruned?",
    "refit": "refit(?:s|ted)?",
    "blend": "blends?",
    "evaluation report": "evaluation reports?",
    "model card": "model cards?",
    "drill": "drills?",
}
"""What a stranger cannot guess: the glossary's word, and how pages write it."""
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("word", WORDS)
def test_each_word_has_its_line(word: str) -> None:
    """In bold, at the head of a row."""
    assert re.search(rf"^\| [^|]*\*\*{re.escape(word)}\*\*[^|]* \|", GLOSSARY, re.MULTILINE)


@pytest.mark.parametrize("path", [page for page in PAGES if page.name != "glossary.md"], ids=lambda path: path.stem)
def test_a_page_links_the_glossary_where_it_first_uses_a_word(path: Path) -> None:
    """In the same paragraph or table, or above it."""
    blocks = to_prose(path.read_text(encoding="utf-8"))
    word = re.compile(rf"(?<![\w./-])(?:{'|'.join(WORDS.values())})(?![\w/-])", re.IGNORECASE)
    first = next((place for place, block in enumerate(blocks) if word.search(block)), None)
    if first is not None:
        assert any("glossary.md" in block for block in blocks[: first + 1]), blocks[first]


def test_a_word_is_seen_in_prose_alone() -> None:
    """Code, headings and the targets of links are not what a reader must understand."""
    page = "# The sweep\n\n```\nclaim\n```\n\nSee `champion` in [this](sweep.md).\n\nA trial, [said](glossary.md)."
    assert to_prose(page) == ["See  in [this].", "A trial, [said](glossary.md)."]


def to_prose(page: str) -> list[str]:
    """The page's paragraphs and tables without code, headings, and links to other pages."""
    page = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    page = re.sub(r"^(?: {4,}\S.*|#+ .*)$", "", page, flags=re.MULTILINE)
    page = re.sub(r"`[^`\n]*`", "", page)
    page = re.sub(r"\]\((?!(?:docs/)?glossary\.md)[^)]*\)", "]", page)
    return [block.strip() for block in re.split(r"\n\s*\n", page) if block.strip()]
