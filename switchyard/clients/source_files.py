"""Lists and reads the files of a team's own code, as Git knows them or as they lie in a folder. Follows no link."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from switchyard.core.errors import BadSetup, NotFound, TryAgain

GIT_TIMEOUT_S: Final = 120.0
SKIPPED: Final = {".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", "venv", ".tox", ".mypy_cache"}
"""Folders that are not entered where Git does not say what is ours."""


class SourceFiles:
    """What lies at `path`: one file, or all of a folder."""

    def __init__(self, path: Path) -> None:
        self._root = path.expanduser().resolve()
        if not self._root.exists():
            raise NotFound(f"{path} is not there")

    @property
    def where(self) -> str:
        """Returns what is looked at, in full."""
        return str(self._root)

    def list(self) -> list[tuple[str, str]]:
        """Lists the files below the root by name, and why it is not read (empty: it is). A second call lists again.

        Raises:
            BadSetup: it is a Git checkout, and Git is missing or refuses; or a folder may not be read.
        """
        if self._root.is_file():
            return [(self._root.name, "")]
        names = self._list_tracked() if _is_in_checkout(self._root) else None
        if names is None:
            return sorted(_walk(self._root, self._root))
        found = [(name, _find_obstacle(self._root / name)) for name in names]
        if (self._root / ".env").is_file() and ".env" not in names:
            found.append((".env", "Git ignores it: look at it yourself"))
        return sorted(one for one in found if one[1] != _GONE)

    def read(self, file: str, max_bytes: int) -> bytes | None:
        """Returns the file's bytes; None: it exceeds `max_bytes`. Raises: NotFound, BadSetup: it cannot be read."""
        path = self._root if self._root.is_file() else self._root / file
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as opened:
                data = opened.read(max_bytes + 1)
        except FileNotFoundError as err:
            raise NotFound(f"{path} is gone") from err
        except OSError as err:
            raise BadSetup(f"{path} cannot be read: {err.strerror}") from err
        return data if len(data) <= max_bytes else None

    def _list_tracked(self) -> set[str]:
        """Lists what Git tracks, and what is new and not ignored. A checkout's own configuration starts no program."""
        program = shutil.which("git")
        if program is None:
            raise BadSetup(f"{self._root} is a Git checkout, and git is not installed: apt-get install git")
        command = [program, "-c", "core.fsmonitor=false", "-C", str(self._root), "ls-files", "-z"]
        command += ["--cached", "--others", "--exclude-standard"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=GIT_TIMEOUT_S,
                # Without GIT_DIR of a hook that we may run in, and without secrets.
                env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired as err:
            raise TryAgain(f"git did not list {self._root} within {GIT_TIMEOUT_S:.0f} s") from err
        if done.returncode != 0:
            raise BadSetup(f"git cannot list {self._root}: {done.stderr.decode(errors='replace').strip()[:400]}")
        return {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}


_GONE: Final = "gone"


def _is_in_checkout(folder: Path) -> bool:
    return any((above / ".git").exists() for above in (folder, *folder.parents))


def _walk(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as err:
        raise BadSetup(f"{folder} cannot be read: {err.strerror}") from err
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if entry.name in SKIPPED:
                yield f"{path.relative_to(root)}/", "installed or made by a program"
            else:
                yield from _walk(path, root)
        else:
            yield str(path.relative_to(root)), _find_obstacle(path)


def _find_obstacle(path: Path) -> str:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return _GONE  # tracked, and deleted here
    if stat.S_ISLNK(mode):
        return "a link, which is not followed"
    if stat.S_ISDIR(mode):
        return "another repository: scan it by itself"
    return "" if stat.S_ISREG(mode) else "no regular file"
