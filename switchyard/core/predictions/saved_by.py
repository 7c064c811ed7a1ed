"""Which version of a library saved a model, and whether the installed one is older.

An older one may read the model, and answer something else.
"""

import re
from typing import Final

_JSON: Final = re.compile(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]\s*\}\s*\Z')
_UBJSON: Final = re.compile(rb"version\[#L\0{7}\x03i(.)i(.)i(.)\}\Z", re.DOTALL)
"""What XGBoost's two formats end with; in UBJSON a version is three int8. Source: what 3.2.0 writes, and
https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html"""


def read_xgboost_version(tail: bytes) -> str:
    """Returns the version in the last bytes of a model file; empty: they do not say.

    >>> read_xgboost_version(b'..."},"version":[3,2,0]}')
    '3.2.0'
    """
    if found := _JSON.search(tail):
        return ".".join(str(int(number)) for number in found.groups())
    if found := _UBJSON.search(tail):
        return ".".join(str(number[0]) for number in found.groups())
    return ""


def find_newer(library: str, saved: str, installed: str) -> str:
    """Says if `saved` is newer than `installed`, by the first two numbers; empty if it is not, or is not known.

    >>> find_newer("XGBoost", "3.3.0", "3.2.1")
    'XGBoost 3.3.0 saved it, and 3.2.1 is installed'
    >>> find_newer("XGBoost", "3.2.9", "3.2.1")
    ''
    """
    first, second = _read_numbers(saved), _read_numbers(installed)
    if not first or not second or first <= second:
        return ""
    return f"{library} {saved[:40]} saved it, and {installed} is installed"


def _read_numbers(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d{1,9})(?:\.(\d{1,9}))?", version)
    return (int(found[1]), int(found[2] or 0)) if found else None
