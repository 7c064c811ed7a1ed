"""Which files of purchases a ``--data-uri`` names: one, a folder's, or those that a pattern fits.

Decided here for the look before a run and for the trainer alike.
"""

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from switchyard.core.errors import NotFound

SUFFIXES: Final = (".parquet", ".csv", ".csv.gz")
"""What a folder's files must end in to be read; a file that is named itself, or by a pattern, may end in anything."""


def to_absolute(data_uri: str, folder: str) -> str:
    """Returns a plain path as an absolute one, seen from `folder`; anything with a scheme, or nothing, as it is.

    >>> to_absolute("../orders.csv", "/data/me/runs"), to_absolute("gs://b/orders.csv", "/data")
    ('/data/me/orders.csv', 'gs://b/orders.csv')
    """
    return posixpath.normpath(posixpath.join(folder, data_uri)) if data_uri and "://" not in data_uri else data_uri


def find_files(
    data_uri: str, *, is_file: Callable[[str], bool], list_files: Callable[[str], Sequence[str]]
) -> list[str]:
    """Returns the URIs of the files to read, at least one.

    Args:
        is_file: whether a file is at a URI. list_files: the URIs that start with a prefix.

    Raises:
        NotFound: there is none.
    """
    folder = data_uri if data_uri.endswith("/") else data_uri + "/"
    if folder != data_uri and urlsplit(data_uri).path and is_file(data_uri):
        return [data_uri]
    before, star, _ = data_uri.partition("*")
    there = list(list_files(before if star else folder))
    files = _choose_matching(data_uri, there) if star else _choose_in_folder(folder, there)
    if files:
        return files
    if star:
        where = "nothing" if not there else f"{len(there)} files start with {before}, but none fits"
        raise NotFound(f"--data-uri {data_uri}: {where}. A * stands for any part of a name, but for no slash")
    found = f"{len(there)} files, none of these kinds" if there else "nothing"
    raise NotFound(
        f"--data-uri must name a Parquet or CSV file, or a folder with such ({', '.join(SUFFIXES)}); "
        f"there is {found} at {data_uri}"
    )


def _choose_in_folder(folder: str, there: Sequence[str]) -> list[str]:
    return [
        uri for uri in there if uri.lower().endswith(SUFFIXES) and not _has_note(uri.removeprefix(folder).split("/"))
    ]


def _choose_matching(data_uri: str, there: Sequence[str]) -> list[str]:
    """Returns the names that match, compared as they are on disk: in a file's URI ``%20`` is a space."""
    plain = unquote if data_uri.startswith("file:") else str
    pattern = re.compile("[^/]*".join(re.escape(plain(part)) for part in data_uri.split("*")))
    return [uri for uri in there if pattern.fullmatch(plain(uri)) and not _has_note(uri.split("/")[-1:])]


def _has_note(names: Sequence[str]) -> bool:
    """Returns True if one of the names starts with a dot or an underscore.

    Such a name is a note to someone (_SUCCESS, .crc), as in Spark and Arrow.
    """
    return any(name.startswith((".", "_")) for name in names)
