"""A run's page on a phone: what is too wide says so, and names are broken between their words."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from switchyard.core.metrics.evaluation import REPORT_NAME, Figure, to_report_json
from tests.chromium import open_browser, skip_without_chromium
from tests.clients.results.places import Place
from tests.serving.evaluation.factories import evaluate_run, make_report_of
from tests.serving.factories import make_record, publish_run

expect.set_options(timeout=20_000)  # a loaded machine is slow, not wrong
pytestmark = [pytest.mark.needs_browser, skip_without_chromium]
WIDTH = 390
FIGURES = {
    slice_: {"recall_at_10": Figure(value=0.2, low=0.1, high=0.3)} for slice_ in ("all", "new", "light", "heavy")
}
LINES_OF_WORDS = """(cells) => {
    const lines = (word) => {
        const range = document.createRange();
        range.selectNode(word);
        return range.getClientRects().length;
    };
    const words = cells.flatMap((cell) => [...cell.childNodes].filter((one) => one.nodeType === Node.TEXT_NODE));
    return words.map((word) => [word.data, lines(word)]);
}"""
"""Each piece of text of the elements, and on how many lines it stands."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """As wide as a phone, in each colour scheme."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=request.param)
    yield page
    page.close()


def picture_edge(region: Locator, edge: str) -> bytes:
    """A picture of a few pixels at the region's left or right edge, above its text."""
    region.scroll_into_view_if_needed()
    box = region.bounding_box()
    assert box is not None
    left = box["x"] if edge == "left" else box["x"] + box["width"] - 8
    return region.page.screenshot(clip={"x": left, "y": box["y"] + 3, "width": 8, "height": 2})


def test_the_evaluation_shows_at_which_edge_it_goes_on(url: str, page: Page, place: Place, tmp_path: Path) -> None:
    """By a shadow there. It scrolls by the keyboard, has a name, and the page itself stays as wide as the screen."""
    run = evaluate_run(place, tmp_path / "run", None)
    report = make_report_of(run)
    report = msgspec.structs.replace(
        report, contenders=[msgspec.structs.replace(one, figures=FIGURES) for one in report.contenders]
    )
    (tmp_path / "run" / REPORT_NAME).write_bytes(to_report_json(report))
    page.goto(f"{url}/quick-tests/{run}")
    region = page.get_by_role("region", name="The model and what could answer in its place")
    expect(region).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    assert region.evaluate("(region) => region.scrollWidth > region.clientWidth")

    plain = picture_edge(region, "left")
    assert picture_edge(region, "right") != plain
    region.focus()
    expect(region).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(region).not_to_have_js_property("scrollLeft", 0)
    region.evaluate("(region) => region.scrollTo({ left: region.scrollWidth, behavior: 'instant' })")
    assert picture_edge(region, "right") == plain
    assert picture_edge(region, "left") != plain


def test_names_are_broken_between_their_words(url: str, page: Page, place: Place) -> None:
    """In the tables and in the tile of the best metric, which shows the whole name."""
    names = ("val_recall_at_10", "val_tower_recall_at_10", "validation.regularization_of_embeddings")
    record = make_record(epochs=3, metrics={name: [0.1, 0.2, 0.3] for name in names})
    run = publish_run(place, record)
    page.goto(f"{url}/quick-tests/{run}")
    page.wait_for_selector("body[data-drawn=yes]")
    tile = page.locator(".tiles dt").first
    expect(tile).to_have_text("best val_recall_at_10")
    assert tile.evaluate("(tile) => tile.scrollWidth <= tile.clientWidth && tile.scrollHeight <= tile.clientHeight")
    cells = page.locator(".tiles dt, #facts tbody th, #parameters tbody th")
    lines = cells.evaluate_all(LINES_OF_WORDS)
    assert {"regularization_", "recall_"} <= {word for word, _ in lines}
    assert [word for word, count in lines if count > 1] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
