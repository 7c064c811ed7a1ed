"""The README's picture of a run's page: `python -m tests.docs.picture <address of the page>`."""

import argparse
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from tests.chromium import open_browser
from tests.root import ROOT

PICTURE: Final = ROOT / "docs" / "images" / "run-page.png"
WIDTH: Final = 1280
MARGIN: Final = 20
"""Pixels below the last thing that is shown."""


def main() -> None:
    """Write the picture of the page at the address that is given, and say where."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.picture", description=__doc__)
    parser.add_argument("address", help="http://127.0.0.1:8000/quick-tests/1, where `switchyard serve` shows it")
    parser.add_argument("--to", type=Path, default=PICTURE, help="the file to write (default: %(default)s)")
    asked = parser.parse_args()
    with open_browser() as browser:
        take(browser, asked.address, asked.to)
    print(asked.to)


def take(browser: Browser, address: str, to: Path) -> None:
    """Write the page's head, its first curves and its metrics as a PNG; a second call replaces it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
    try:
        page.goto(address)
        page.wait_for_selector("body[data-drawn=yes]")
        shown = page.locator("#main-charts").bounding_box()
        if shown is None:
            raise ValueError(f"{address} has no curves to show: name the page of a run that is published")
        to.parent.mkdir(parents=True, exist_ok=True)
        height = shown["y"] + shown["height"] + MARGIN
        page.screenshot(path=to, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    finally:
        page.close()


if __name__ == "__main__":
    main()
