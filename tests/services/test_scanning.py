"""A look at a folder and at a Git checkout: what is read, and what is left out and said."""

import os
import subprocess
from pathlib import Path

import pytest

from switchyard.core.decommission.scanning import MAX_BYTES
from switchyard.core.errors import BadSetup, NotFound
from switchyard.services.scanning import Scanned, scan


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def list_places(found: Scanned) -> list[tuple[str, int]]:
    return [(one.file, one.line) for one in found.mentions]


FILES = {
    "train.py": b"import os\nimport mlflow\n",
    "jobs/ci.yml": b"env:\n  MLFLOW_TRACKING_URI: x\n",
    "README.md": b"We use MLflow: MLFLOW_TRACKING_URI",
    "ok.py": b"print(1)\n",
}


@pytest.mark.parametrize("in_git", [False, True])
def test_files_and_lines_that_name_mlflow_are_found(tmp_path: Path, in_git: bool) -> None:
    """Text for people is named apart; nothing is changed."""
    write(tmp_path, FILES)
    if in_git:
        git(tmp_path, "init", "-q")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = scan(tmp_path)
    assert list_places(found) == [("jobs/ci.yml", 2), ("train.py", 2)]
    assert (found.prose, found.files, found.left_out) == (["README.md"], 4, [])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_git_ignores_is_not_looked_at(tmp_path: Path) -> None:
    """New files are, and what is tracked though it is ignored; of settings that are ignored a person is told."""
    write(
        tmp_path,
        FILES | {".gitignore": b"build/\n.env\nkept.py\n", "build/a.py": b"import mlflow", ".env": b"MLFLOW_X=1"},
    )
    write(tmp_path, {"kept.py": b"import mlflow", "gone.py": b"import mlflow"})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "train.py", "kept.py", "gone.py")
    (tmp_path / "gone.py").unlink()
    found = scan(tmp_path)
    assert list_places(found) == [("jobs/ci.yml", 2), ("kept.py", 1), ("train.py", 2)]
    assert [(one.file, one.reason) for one in found.left_out] == [(".env", "Git ignores it: look at it yourself")]
    assert list_places(scan(tmp_path / "jobs")) == [("ci.yml", 2)]
    assert list_places(scan(tmp_path / "build" / "a.py")) == [("a.py", 1)]


@pytest.mark.parametrize("in_git", [False, True])
def test_links_binaries_and_huge_files_are_left_out_and_said(tmp_path: Path, in_git: bool) -> None:
    """A link may lead out of the folder."""
    outside, folder = tmp_path / "outside", tmp_path / "code"
    write(outside, {"a.py": b"import mlflow"})
    write(folder, {"model.bin": b"\x00import mlflow", "huge.json": b"mlflow " * (MAX_BYTES // 7 + 1)})
    (folder / "link.py").symlink_to(outside / "a.py")
    (folder / "linked").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    if in_git:
        git(folder, "init", "-q")
    found = scan(folder)
    assert found.mentions == []
    said = {one.file: one.reason for one in found.left_out}
    assert said.pop("pipe", "no regular file") == "no regular file"  # Git lists none
    link = "a link, which is not followed"
    assert said == {"huge.json": "larger than 2,000,000 bytes", "link.py": link, "linked": link, "model.bin": "no text"}


def test_what_programs_install_is_left_out_where_there_is_no_git(tmp_path: Path) -> None:
    """No one needs to change their own imports of MLflow."""
    write(tmp_path, {"a.py": b"import mlflow", ".venv/lib/mlflow/__init__.py": b"import mlflow"})
    found = scan(tmp_path)
    assert list_places(found) == [("a.py", 1)]
    assert [one.file for one in found.left_out] == [".venv/"]


def test_a_checkouts_own_configuration_starts_no_program(tmp_path: Path) -> None:
    """It may be anybody's."""
    write(tmp_path, FILES)
    git(tmp_path, "init", "-q")
    hook = tmp_path.parent / f"{tmp_path.name}-hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path.parent}/{tmp_path.name}-started\n")
    hook.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(hook))
    assert len(scan(tmp_path).mentions) == 2
    assert not (tmp_path.parent / f"{tmp_path.name}-started").exists()


def test_gits_own_variables_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git sets them for its hooks, and the scan may run in one."""
    for name in ("one", "two"):
        write(tmp_path / name, {f"{name}.py": b"import mlflow"})
        git(tmp_path / name, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "two" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "two"))
    assert list_places(scan(tmp_path / "one")) == [("one.py", 1)]


def test_another_repository_inside_is_left_out(tmp_path: Path) -> None:
    """Git does not say what is in it."""
    write(tmp_path, FILES)
    write(tmp_path / "inner", {"a.py": b"import mlflow"})
    git(tmp_path / "inner", "init", "-q")
    git(tmp_path, "init", "-q")
    left_out = {one.file: one.reason for one in scan(tmp_path).left_out}
    assert left_out == {"inner/": "another repository: scan it by itself"}


def test_a_checkout_that_git_cannot_list_is_not_taken_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is ignored would be in the report."""
    write(tmp_path, FILES)
    (tmp_path / ".git").write_text("nonsense")
    with pytest.raises(BadSetup, match="git cannot list"):
        scan(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadSetup, match="apt-get install git"):
        scan(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """An empty report would say that nothing names MLflow."""
    with pytest.raises(NotFound, match="is not there"):
        scan(tmp_path / "none")


def test_a_name_that_would_be_two_lines_is_shown_as_one(tmp_path: Path) -> None:
    """A file's name is text like any other."""
    write(tmp_path, {"a\nb.py": b"import mlflow"})
    assert list_places(scan(tmp_path)) == [("a\\nb.py", 1)]
