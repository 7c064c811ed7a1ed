"""Makes the pages of the documentation's site (`mkdocs.yml`) that are not in `docs/`.

They are README.md and other files of the top, the list of decisions, and the OpenAPI document of this version. A hook
of MkDocs; nothing is written to `docs/`.

Source of the events: https://www.mkdocs.org/user-guide/plugins/#events
"""

import json
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from serving.access_document import document_tokens
from serving.app import create_app
from switchyard.clients.connect import Outside
from switchyard.clients.settings import read_settings

ROOT: Final = Path(__file__).resolve().parent.parent
_LINK: Final = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)\s]*)?(?=\))")
_PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""The files outside `docs/` that are pages."""
_ABOVE: Final = re.compile(rf"(?<=\]\()\.\./({'|'.join(map(re.escape, _PAGES))})")
_NO_PAGES: Final = frozenset(("LICENSE",))
"""Files that are shown as they are."""

_ABOUT: Final = "What was chosen, what was refused, and why."


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made. A second call makes the same."""
    for name, page in _PAGES.items():
        files.append(File.generated(config, page, content=to_page((ROOT / name).read_text())))
    for name in _NO_PAGES:
        files.append(File.generated(config, f"{name}.txt", content=(ROOT / name).read_text()))
    files.append(File.generated(config, "decisions/index.md", content=list_decisions(ROOT / "docs" / "decisions")))
    files.append(File.generated(config, "openapi.json", content=make_openapi()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Return a page of `docs/` with its links to files above `docs/`, and to the decisions, as links to their pages."""
    markdown = _ABOVE.sub(lambda found: _PAGES[found[1]], markdown)
    return markdown.replace("](decisions/)", "](decisions/index.md)")


def to_page(text: str) -> str:
    """Return a file of the repository's top as a page of `docs/`: its links lead to pages, where these are."""
    return _LINK.sub(_to_link, text)


def list_decisions(folder: Path) -> str:
    """Return a page with a link to each decision, by number, and a word on numbers that are missing."""
    paths = sorted(folder.glob("0*.md"))
    numbers = [int(path.name[:4]) for path in paths]
    skipped = ", ".join(f"{number:04}" for number in range(1, numbers[-1]) if number not in numbers)
    about = f"{_ABOUT} These numbers were skipped, and have no page: {skipped}." if skipped else _ABOUT
    lines = [f"- {path.name[:4]}: [{_read_title(path)}]({path.name})" for path in paths]
    return "\n".join(["# Decisions", "", about, "", *lines, ""])


def make_openapi() -> str:
    """Return the OpenAPI document of a `switchyard serve` with tokens, as JSON. Nothing is connected."""
    app = create_app(Outside(read_settings({})))
    document_tokens(app)
    return json.dumps(app.openapi(), allow_nan=False)


def _to_link(found: re.Match[str]) -> str:
    target, anchor = found[1], found[2] or ""
    if target.rstrip("/") == "docs/decisions":
        return "decisions/index.md"
    if target in _NO_PAGES:
        return f"{target}.txt"
    return _PAGES.get(target, target.removeprefix("docs/")) + anchor


def _read_title(path: Path) -> str:
    first = path.read_text().splitlines()[0]
    if not first.startswith("# "):
        raise ValueError(f"{path} must begin with its title, as `# Title`; it begins with {first[:80]!r}")
    return first.removeprefix("# ")
