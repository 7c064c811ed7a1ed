"""Which version of a library saved a model."""

import pytest

from switchyard.core.predictions.saved_by import find_newer, read_xgboost_version

_ZEROS = b"\x00" * 7
_UBJSON = b"SL" + _ZEROS + b"\x011}}}L" + _ZEROS + b"\x07version[#L" + _ZEROS + b"\x03i\x03i\x02i\x00}"


@pytest.mark.parametrize(
    ("tail", "version"),
    [
        (_UBJSON, "3.2.0"),
        (b'{"learner":{},"version":[10,0,12]}', "10.0.12"),
        (b'"version" : [1, 7, 6] }\n', "1.7.6"),
        (b'{"version":[3,2,0],"learner":{}}', ""),  # no file of XGBoost's ends so
        (_UBJSON[:-1], ""),
        (b"", ""),
    ],
)
def test_the_version_is_at_the_end_of_the_file(tail: bytes, version: str) -> None:
    """In both formats; of a damaged file nothing is said."""
    assert read_xgboost_version(tail) == version


@pytest.mark.parametrize(
    ("saved", "installed", "is_newer"),
    [
        ("3.3.0", "3.2.9", True),
        ("10.0", "9.9.9", True),
        ("3.2.9", "3.2.0", False),
        ("2.1.0", "3.2.0", False),
        ("4", "3.9", True),
        ("", "3.2.0", False),
        ("new", "3.2.0", False),
    ],
)
def test_newer_is_told_by_the_first_two_numbers(saved: str, installed: str, is_newer: bool) -> None:
    """As numbers."""
    assert bool(find_newer("XGBoost", saved, installed)) is is_newer
