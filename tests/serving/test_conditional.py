"""What a client has and takes."""

import pytest
from starlette.requests import Request

from serving.conditional import accepts_gzip, has_already


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ('"x","y,z" , W/"abc"', True),
        ("*", True),
        (" * ", True),
        ('"ab"', False),
        ('"x, abc"', False),
        ("abc", False),
        ("", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc"'])
def test_if_none_match_names_the_tag(given: str | None, expected: bool, etag: str) -> None:
    """A list, a weak tag and `*` count; part of a tag does not."""
    headers = [] if given is None else [(b"if-none-match", given.encode())]
    assert has_already(Request({"type": "http", "headers": headers}), etag) is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", True),
        ("br, GZIP", True),
        ("gzip;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("deflate, *;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("br", False),
        ("", False),
    ],
)
def test_gzip_is_sent_to_whoever_accepts_it(accept_encoding: str, expected: bool) -> None:
    """A weight of zero refuses; the coding's own weight comes before the wildcard's."""
    assert accepts_gzip(accept_encoding) is expected
