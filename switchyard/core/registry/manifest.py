"""A version's files: which, how large, with which content.

The digest of the list names the version, and the list is all that a loader may ever read.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.evaluation import CARD_NAME, REPORT_NAME

FORMAT: Final = 1
CARDS: Final = (REPORT_NAME, CARD_NAME)
"""Files beside a model's folders that say how good it is. They belong to a version where they were there when it was
registered; no loader reads them."""
MAX_FILES: Final = 10_000
MAX_PATH_BYTES: Final = 1_024
_SHA256: Final = re.compile("[0-9a-f]{64}")


class ModelFile(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One file: its path below the version's folder, with `/` between the parts."""

    path: str
    size_bytes: int
    sha256: str  # 64 hex digits, of all its bytes


class Manifest(msgspec.Struct, frozen=True):
    """The files of a version, by path; `to_manifest` makes it, and refuses what no loader should see."""

    files: tuple[ModelFile, ...]

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hex digits, of `to_json`: equal manifests, and only those, have equal digests."""
        return f"sha256:{hashlib.sha256(self.to_json()).hexdigest()}"

    def to_json(self) -> bytes:
        """Returns the one way to write it down: keys and files in order, no blanks, UTF-8."""
        files = [{"path": file.path, "sha256": file.sha256, "size": file.size_bytes} for file in self.files]
        plain = {"files": files, "format": FORMAT}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def to_manifest(files: Iterable[ModelFile], where: str) -> Manifest:
    """Returns the manifest of `files`, in whatever order they come; a message says `where` they are from.

    Raises:
        BadRecord: no file, too many, or a path, a size or a hash that no manifest may have; all that is wrong.
    """
    listed = sorted(files)
    problems = find_path_problems(file.path for file in listed)
    for file in listed:
        if file.size_bytes < 0:
            problems.append(f"{file.path!r}: the size must not be negative; got {file.size_bytes}")
        if not _SHA256.fullmatch(file.sha256):
            problems.append(f"{file.path!r}: sha256 must be 64 hex digits; got {file.sha256!r}")
    if problems:
        raise BadRecord(where, problems)
    return Manifest(tuple(listed))


def find_path_problems(paths: Iterable[str]) -> list[str]:
    """Returns what is wrong with `paths` as the files of one model; empty: nothing.

    >>> find_path_problems(["model/a", "model/A"])
    ["'model/A' and 'model/a' are one file where letters' case or Unicode's forms do not count"]
    >>> find_path_problems(["../passwd"])
    ["'../passwd': '..' cannot be part of a path below a folder"]
    """
    listed = sorted(paths)
    if not listed:
        return ["there are no files"]
    if len(listed) > MAX_FILES:
        return [f"a model has at most {MAX_FILES:,} files; got {len(listed):,}"]
    problems = [f"{path!r}: {problem}" for path in listed for problem in _find_problems(path)]
    return problems + _find_collisions(listed)


def _find_problems(path: str) -> list[str]:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return ["the name is not UTF-8"]
    if size > MAX_PATH_BYTES:
        return [f"the path has {size:,} bytes; at most {MAX_PATH_BYTES:,} are allowed"]
    if path.startswith("/"):
        return ["the path is absolute"]
    found = [f"{part!r} cannot be part of a path below a folder" for part in path.split("/") if part in ("", ".", "..")]
    # A backslash or a drive's colon is a path of its own on other systems; a control character hides in a listing.
    odd = sorted({letter for letter in path if letter in "\\:" or unicodedata.category(letter) == "Cc"})
    return found + [f"the character {letter!r} is not allowed" for letter in odd]


def _find_collisions(paths: list[str]) -> list[str]:
    """Returns two paths that some disk takes for one, and a path that is another one's folder."""
    seen: dict[str, str] = {}
    problems = []
    for path in paths:
        before = seen.setdefault(_fold(path), path)
        if before == path and paths.count(path) > 1:
            problems.append(f"{path!r} is listed twice")
        elif before != path:
            problems.append(f"{before!r} and {path!r} are one file where letters' case or Unicode's forms do not count")
    for folded, path in seen.items():
        parts = folded.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        problems += [f"{seen[folder]!r} is a file, and the folder of {path!r}" for folder in above if folder in seen]
    return sorted(set(problems))


def _fold(path: str) -> str:
    """Returns the same for paths that differ by case or normalisation alone.

    Source: https://www.unicode.org/versions/Unicode16.0.0/core-spec/chapter-3/#G53513 (D146, compatibility caseless)
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", path).casefold())
    return unicodedata.normalize("NFKD", folded.casefold())


def find_differences(expected: Manifest, found: Mapping[str, ModelFile]) -> list[str]:
    """Returns what differs between a version's manifest and the files that are there, by path; empty: nothing.

    A file that the manifest lacks is a difference too: no one has judged it. CARDS are not: an older Switchyard
    registered versions without those that lay beside them.
    """
    problems = []
    for file in expected.files:
        there = found.get(file.path)
        if there is None:
            problems.append(f"{file.path!r} is missing")
        elif there.size_bytes != file.size_bytes:
            problems.append(f"{file.path!r} must have {file.size_bytes:,} bytes; it has {there.size_bytes:,}")
        elif there.sha256 != file.sha256:
            problems.append(f"{file.path!r} must have sha256 {file.sha256}; it has {there.sha256}")
    known = {*CARDS, *(file.path for file in expected.files)}
    return problems + [f"{path!r} is not one of the version's files" for path in sorted(found) if path not in known]
