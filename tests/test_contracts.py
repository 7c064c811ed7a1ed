"""The import rules of pyproject.toml refuse what they say they refuse."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root import ROOT

PROGRAMS = ("flows", "tasks", "trainer", "serving", "switchyard")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all that the rules speak of, in which a test may plant an import."""
    copy = tmp_path_factory.mktemp("tree")
    for room in PROGRAMS:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint(tree: Path) -> "subprocess.CompletedProcess[str]":
    """What `make check` runs."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("path", "planted", "contract"),
    [
        (
            "trainer/training.py",
            "import switchyard.clients.results.open",
            "the trainer sees the core and five clients",
        ),
        ("trainer/data/reading.py", "import switchyard.clients.launchers.local.processes", "the trainer sees the core"),
        ("switchyard/clients/objects/gcs.py", "import prefect", "Prefect stays in flows, tasks and its own wing"),
        ("switchyard/clients/postgres/deadlines.py", "import prefect", "Prefect stays in flows, tasks and its own"),
        ("switchyard/cli.py", "import sqlalchemy", "vendors stay in clients"),
        ("trainer/console.py", "import switchyard.cli", "the trainer sees the core and five clients"),
        ("switchyard/core/runs/walk.py", "import sqlalchemy", "the core knows no vendor"),
        ("flows/train.py", "import switchyard.clients.connect", "flows reach the outside through tasks"),
        ("flows/steps/settling.py", "import switchyard.services.watching", "flows reach the outside through tasks"),
        ("serving/api.py", "import tasks.show", "programs stand on the library, and not on each other"),
        ("switchyard/core/errors.py", "import switchyard.core.runs.walk", "the core, from its ports down"),
        ("switchyard/core/drawer/anything.py", "", "the core, from its ports down"),
        ("switchyard/drawer/anything.py", "", "the library"),
        ("switchyard/clients/drawer/anything.py", "", "clients: the wiring over one wing a port"),
        ("flows/drawer/anything.py", "", "flows: one file a flow over what flows share"),
        ("trainer/drawer/anything.py", "", "the trainer: from the command line down"),
    ],
)
def test_an_import_against_the_rules_is_refused(tree: Path, path: str, planted: str, contract: str) -> None:
    """Each planted import, and each folder on no floor, breaks the contract that speaks of it."""
    file = tree / path
    before = file.read_text() if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    if before is None:
        (file.parent / "__init__.py").touch()
    file.write_text((before or "") + f"\n{planted}\n")
    try:
        done = lint(tree)
    finally:
        if before is None:
            shutil.rmtree(file.parent)
        else:
            file.write_text(before)
    assert done.returncode != 0
    # An exhaustive contract that meets a stranger ends the whole run with the names of both.
    assert any(contract in line for line in done.stdout.splitlines() if "BROKEN" in line), done.stdout


def test_the_tree_as_it_is_keeps_every_rule(tree: Path) -> None:
    """Without a planted import nothing is refused, so that what is refused above is the planted one."""
    done = lint(tree)
    assert done.returncode == 0, done.stdout
