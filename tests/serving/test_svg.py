"""Charts as SVG, from any values."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.svg import SvgLine, draw_lines, draw_sparkline, to_short

VALUES = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=600)


def points(svg: str) -> list[tuple[float, float]]:
    """Where all lines of the picture go."""
    root = ElementTree.fromstring(svg)  # noqa: S314  (ours)
    paths = [path.get("d", "") for path in root.iter() if "line" in path.get("class", "").split()]
    return [(float(x), float(y)) for path in paths for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_a_line_goes_through_its_values_and_stops_at_gaps() -> None:
    """Left to right, the greatest at the top; what stands alone between gaps is a dot."""
    svg = draw_lines([SvgLine("a", [0, 1, 2, 3, 4], [1, 2, None, 1, None])], title="t", axis="epoch")
    found = points(svg)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    assert found[1][1] < found[0][1] == found[2][1]
    assert svg.count("h0") == 1
    assert 'aria-label="t"' in svg


def test_a_title_from_a_person_is_a_title() -> None:
    """No markup of it gets in."""
    svg = draw_lines([SvgLine("a", [0], [1], 'x" onload="y')], title='"><script>', axis="<b>")
    assert "<script" not in svg
    assert "<b>" not in svg
    assert 'onload="' not in svg
    ElementTree.fromstring(svg)  # noqa: S314  (ours)


@given(values=VALUES, log=st.booleans())
def test_any_values_are_drawn_within_the_picture(values: list[float | None], log: bool) -> None:
    """Also those as large and as small as there are; a logarithmic axis leaves out what is not above zero."""
    svg = draw_lines([SvgLine("a", list(range(len(values))), values)], title="t", axis="epoch", log=log)
    for x, y in points(svg):
        assert -1 <= x <= 601
        assert -1 <= y <= 331
    for x, y in points(draw_sparkline(values, label="s") or "<svg/>"):
        assert -1 <= x <= 97
        assert -1 <= y <= 25


@given(value=st.floats(-1e300, 1e300))
def test_four_digits_say_the_value(value: float) -> None:
    """Within half of the fourth digit, and in eleven characters at most."""
    text = to_short(value).replace("\N{MINUS SIGN}", "-")
    assert len(text) <= 11
    assert math.isclose(float(text), value, rel_tol=0.0005001, abs_tol=0) or value == 0


@pytest.mark.parametrize("values", [[], [1.0], [None, 2.0]])
def test_fewer_than_two_values_make_no_sparkline(values: list[float | None]) -> None:
    """There is nothing to see."""
    assert draw_sparkline(values, label="s") == ""
