"""Which names an artifact may have."""

import pytest

from switchyard.core.artifacts.names import MAX_BYTES, find_name_problem, to_text


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("model.bin", ""),
        ("a/b/c", ""),
        ("..a/.b", ""),
        ("a b/Größe 100%?#.png", ""),
        ("back\\slash", ""),
        ("<script>.html", ""),
        ("x" * MAX_BYTES, ""),
        ("x" * (MAX_BYTES + 1), "4,097 bytes"),
        ("", "'' cannot be part of a path"),
        ("/etc/passwd", "absolute"),
        ("..", "'..' cannot be part of a path"),
        ("a/../b", "'..' cannot be part of a path"),
        ("a/.", "'.' cannot be part of a path"),
        ("a//b", "'' cannot be part of a path"),
        ("a/", "'' cannot be part of a path"),
        ("a\nb", "not allowed"),
        ("a\x00b", "not allowed"),
        ("a\x7f", "not allowed"),
        ("a\u2028b", "not allowed"),
        ("a\udcffb", "not UTF-8"),
    ],
)
def test_names_are_refused_that_lead_elsewhere_or_hide(path: str, problem: str) -> None:
    """Whatever else a name has is text, because no file of ours is called by it."""
    found = find_name_problem(path)
    assert problem in found
    assert bool(problem) == bool(found)


def test_a_refused_name_can_be_told() -> None:
    """Also where it is no Unicode, which no database takes."""
    assert to_text("a\udcffb") == "a\\udcffb"
    assert to_text("größe") == "größe"
