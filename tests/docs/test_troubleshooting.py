"""docs/troubleshooting.md quotes what the code says, and commands that there are."""

import ast
import re
from functools import lru_cache

import pytest

from switchyard.core.runs.flags import to_flag
from switchyard.core.runs.spec import TrainSpec
from tests.docs.pages import read_page
from tests.root import ROOT
from tests.test_readme import COMMANDS_THERE_ARE

PAGE = read_page("troubleshooting.md")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
ROOMS = ("deployments", "flows", "serving", "switchyard", "tasks", "trainer")


@lru_cache
def read_texts() -> str:
    """Every text in the sources; what is filled in is a line's end, for a quoted part holds nothing of it."""
    found = []
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found += ["".join(str(p.value) if isinstance(p, ast.Constant) else "\n" for p in node.values)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("message", [quoted for row in ROWS for quoted in re.findall(r"`([^`]+)`", row[0])])
def test_every_message_is_said_by_the_code(message: str) -> None:
    """A person searches the page for the words on the screen."""
    prose = {"must be local or vertex": "be local or vertex"}  # the settings' sentences are put together
    assert prose.get(message, message) in read_texts()


def test_every_row_says_why_and_what_to_do() -> None:
    """Three cells, none empty; and no message twice."""
    assert len(ROWS) > 35
    assert all(len(row) == 3 and all(row) for row in ROWS)
    messages = [quoted for row in ROWS for quoted in re.findall(r"`([^`]+)`", row[0])]
    assert len(set(messages)) == len(messages)


def test_commands_and_flags_exist() -> None:
    """`switchyard <name>` is a command; a flag of training is one."""
    assert set(re.findall(r"`switchyard ([a-z]+)", PAGE)) <= COMMANDS_THERE_ARE
    training = {to_flag(name) for name in TrainSpec.__struct_fields__}
    data = PAGE.split("## Your data")[1]
    assert set(re.findall(r"--[a-z][a-z-]+", data)) <= training
