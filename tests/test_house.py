"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("flows", "serving", "switchyard", "tasks", "trainer")


def _tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not in a git checkout: which files belong to the tree is not known")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_every_test_folder_is_a_package() -> None:
    """A tests/trainer without __init__.py would be imported in place of the room trainer."""
    folders = {path.parent for path in _tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")}
    assert folders
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_init_files_are_empty() -> None:
    """What a package offers is in its modules."""
    inits = [path for path in _tracked() if path.name == "__init__.py"]
    assert inits
    assert [path for path in inits if path.read_text()] == []


def test_no_flow_file_shadows_a_room_or_a_dependency() -> None:
    """Prefect puts flows/ first on the path, so that flows/tasks.py, or a folder of that name, would hide the room."""
    taken = {*ROOMS, "tests", "deployments", *sys.stdlib_module_names, *metadata.packages_distributions()}
    entries = [path for path in (ROOT / "flows").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    flows = {path.stem for path in entries} - {"__init__", "__main__"}
    assert {"train", "steps"} <= flows
    assert flows & taken == set()


def test_the_core_imports_python_and_msgspec_alone() -> None:
    """pyproject.toml lists the vendors that the core must not import; one that comes later is on no list."""
    known = {*sys.stdlib_module_names, "msgspec", "switchyard"}
    files = [path for path in _tracked() if path.is_relative_to(ROOT / "switchyard" / "core") and path.suffix == ".py"]
    assert files
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found |= {(path, name) for name in names if name.partition(".")[0] not in known}
    assert found == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    """If a thing has no room, it has no name yet."""
    nothing = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
    assert [path for path in _tracked() if path.suffix == ".py" and path.stem in nothing] == []


def test_every_suppressed_warning_of_the_type_checker_names_its_code() -> None:
    """A bare ignore would hide the next error on its line too."""
    bare = re.compile(r"#\s*(type:\s*ignore|noqa)\s*($|[^\[:\s])")
    found = [path for path in _tracked() if path.suffix == ".py" and bare.search(_text_of(path))]
    assert found == []


def test_pins_name_no_index() -> None:
    """constraints.txt holds plain pins below its one comment, so that any index serves it."""
    comment, *lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert comment.startswith("#")
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


def test_a_set_up_checkout_installs_nothing_that_has_an_environment_of_its_own() -> None:
    """`make run` installs `dev`: what it needs, extra by extra, is none of what stands beside `.venv`."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    beside = {"optuna", "implicit", "google-cloud-run", "mkdocs-material", "xgboost", "skops", "pandas"}
    assert {"optuna", "implicit"} <= {_to_package(line) for lines in extras.values() for line in lines}
    needed, left = set(), ["dev"]
    while left:
        for line in extras[left.pop()]:
            ours = re.fullmatch(r"switchyard\[(.+)\]", line)
            left += ours[1].split(",") if ours else []
            needed.add(_to_package(line))
    assert "pytest" in needed
    assert needed & beside == set()


def _to_package(line: str) -> str:
    return re.split(r"[<>=!~\[; ]", line)[0]


def test_a_dead_link_fails_the_site() -> None:
    """mkdocs counts its warnings in strict mode, and leaves them out with --quiet."""
    recipe = (ROOT / "Makefile").read_text().partition("\ndocs: ")[2].partition("\n\n")[0]
    assert "mkdocs build --strict" in recipe
    assert "--quiet" not in recipe


def test_tree_holds_no_path_of_one_machine() -> None:
    """A path of someone's machine works on no other."""
    homes = [r"/home/[a-z]+/", r"/Users/[a-z]+/", r"/root/"]
    # Where this checkout lies, and the data beside it; of a checkout right below / the name alone says too little.
    here = [re.escape(str(path)) for path in (ROOT.resolve(), ROOT.resolve().parent / "shared") if len(path.parts) > 2]
    machine = re.compile("|".join(homes + here))
    found = {path: machine.search(_text_of(path)) for path in _tracked() if path != Path(__file__)}
    assert [f"{path}: {match[0]}" for path, match in found.items() if match] == []
