"""Turns ``file:///`` URIs into absolute paths and back, percent-encoded by RFC 8089, and refuses ambiguous ones."""

import os
import re
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from switchyard.clients.objects.folders import PART_NAME
from switchyard.core.errors import BadRequest

_SCHEME = "file://"


def to_uri(path: Path) -> str:
    """Returns ``file:///a%20b/%C3%BC`` for ``/a b/ü``; the path is absolute.

    Names that are not UTF-8 survive the way back.
    """
    return _SCHEME + quote_from_bytes(os.fsencode(path))


def to_path(uri: str) -> Path:
    """Returns the absolute path of one file.

    Raises:
        BadRequest: not a file:/// URI; a host, a query, a fragment, ``.`` or ``..``, or nothing between two slashes.
    """
    path = _decode(uri)
    problem = _find_problem(path[1:].split("/"))
    if problem:
        raise BadRequest(f"{uri!r} names no file: {problem}")
    return Path(path)


def to_prefix(uri: str) -> tuple[Path, str]:
    """Returns the folder of a prefix, and how names there must begin: ``file:///a/b`` -> ``/a``, ``b``.

    Raises:
        BadRequest: as `to_path`.
    """
    folder, _, name_prefix = _decode(uri).rpartition("/")
    problem = _find_problem(folder[1:].split("/")) if folder else ""
    if problem:
        raise BadRequest(f"{uri!r} cannot be listed: {problem}")
    return Path(folder or "/"), name_prefix


def _decode(uri: str) -> str:
    problem = ""
    if not uri.startswith(_SCHEME + "/"):
        problem = "it must start with file:/// and an absolute path (a host or a relative path is not served)"
    elif "?" in uri or "#" in uri:
        problem = "write ? as %3F and # as %23"
    elif re.search(r"%(?![0-9A-Fa-f]{2})", uri):
        problem = "write % as %25"
    elif re.search(r"%2[fF]|%00", uri):
        problem = "a name cannot contain a slash or a zero byte"
    if problem:
        raise BadRequest(f"expected a file:/// URI; got {uri!r}: {problem}")
    return os.fsdecode(unquote_to_bytes(uri[len(_SCHEME) :]))


def _find_problem(names: list[str]) -> str:
    if not names[-1]:
        return "it ends with a slash, or is empty"
    if not all(names):
        return "there is nothing between two slashes"
    if {".", ".."} & set(names):
        return "its path contains . or .."
    if PART_NAME in names:
        return f"{PART_NAME} is kept for files that are being written"
    return ""
