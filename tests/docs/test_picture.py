"""The README's picture is taken of a page as it is drawn."""

from pathlib import Path

import pytest

from tests.chromium import open_browser, skip_without_chromium
from tests.docs.picture import WIDTH, take

pytestmark = [pytest.mark.needs_browser, skip_without_chromium]
PAGE = "data:text/html,<body data-drawn=yes style=margin:0><div style=height:300px></div>"


def test_the_picture_ends_below_the_first_curves(tmp_path: Path) -> None:
    """1,280 pixels wide, and as high as what is shown; where nothing is shown there is no picture."""
    to = tmp_path / "images" / "page.png"
    with open_browser() as browser:
        take(browser, f"{PAGE}<div id=main-charts style=height:1000px></div><div style=height:900px></div>", to)
        with pytest.raises(ValueError, match="has no curves to show"):
            take(browser, f"{PAGE}<div id=main-charts hidden></div>", tmp_path / "none.png")
    size = to.read_bytes()[16:24]
    assert (int.from_bytes(size[:4], "big"), int.from_bytes(size[4:], "big")) == (WIDTH, 1320)
    assert not (tmp_path / "none.png").exists()
