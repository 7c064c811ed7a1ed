"""The names that an artifact may have: its path below the place of its run, with `/` between the parts.

A copy's files are named by their content, so that a name is text to show and never a path of ours. Two names that only
differ by letters' case are therefore both kept.
"""

import unicodedata
from typing import Final

MAX_BYTES: Final = 4_096
"""Longer than any path that a current disk takes."""
_HIDES: Final = {"Cc", "Zl", "Zp"}
"""Control characters and line separators: such a name is shown as another one, or as two."""


def find_name_problem(path: str) -> str:
    """Returns why an artifact of that name is not copied; empty: it may be.

    >>> find_name_problem("model/weights.bin"), find_name_problem("plots/Größe 1.png")
    ('', '')
    >>> find_name_problem("a/../../etc/passwd")
    "'..' cannot be part of a path below a folder"
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if size > MAX_BYTES:
        return f"the path has {size:,} bytes; at most {MAX_BYTES:,} are allowed"
    if path.startswith("/"):
        return "the path is absolute"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"{part!r} cannot be part of a path below a folder"
    for letter in path:
        if unicodedata.category(letter) in _HIDES:
            return f"the character {letter!r} is not allowed"
    return ""


def to_text(name: str) -> str:
    """Returns a name that may not be Unicode as text that can be stored and sent.

    What is not Unicode is shown as its escape.
    """
    return name.encode(errors="backslashreplace").decode()
