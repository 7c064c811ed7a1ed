"""CONTRIBUTING.md, SECURITY.md and GitHub's files name what is there."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.root import ROOT

PAGES: Final = ("CONTRIBUTING.md", "SECURITY.md")
GITHUB: Final = ROOT / ".github"


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_targets_are_there(page: str) -> None:
    """A reader who follows one arrives."""
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)#:]+)", text)
    paths = [path for path in re.findall(r"`([\w./-]*/[\w./-]*)`", text) if not path.startswith((".switchyard", ".."))]
    assert links
    for path in [*links, *paths]:
        assert (ROOT / path).exists(), path
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets


def test_rooms_are_those_of_the_tree() -> None:
    """Each package that the type checker reads has its line."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert len(rooms) > 5
    assert all(f"| `{room}/" in text for room in rooms)


def test_numbers_without_a_decision_are_said() -> None:
    """A reader who misses one learns that nothing was lost."""
    numbers = {int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    (said,) = re.findall(r"have no page: ([\d, ]+)\.", (ROOT / "CONTRIBUTING.md").read_text())
    assert [int(number) for number in said.split(", ")] == sorted(set(range(1, max(numbers))) - numbers)


def test_workflow_calls_the_one_script_and_nothing_of_its_own() -> None:
    """What passes by hand passes there."""
    workflow: dict[Any, Any] = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    (command,) = [step["run"] for step in job["steps"] if "run" in step]
    assert command.split()[-2:] == ["bash", ".ci/run"]
    assert job["timeout-minutes"] == 90
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name)
def test_issue_form_has_what_github_asks(path: Path) -> None:
    """GitHub shows a damaged form to no one.

    Source: https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests
    """
    form = yaml.safe_load(path.read_text())
    if path.name == "config.yml":
        assert form.keys() <= {"blank_issues_enabled", "contact_links"}
        return
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids) > 0
    assert all(part["attributes"]["label"] for part in form["body"])
