"""The evaluation on a run's page, in a real Chromium that reaches nothing but this machine."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from switchyard.core.metrics.evaluation import REPORT_NAME, LeftOut, to_report_json
from tests.chromium import open_browser, skip_without_chromium
from tests.clients.results.places import Place
from tests.serving.evaluation.factories import evaluate_run, make_report_of

expect.set_options(timeout=20_000)  # a loaded machine is slow, not wrong
pytestmark = [pytest.mark.needs_browser, skip_without_chromium]
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def page() -> Iterator[Page]:
    with open_browser() as browser:
        yield browser.new_page()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_baseline_that_wins_is_shown_as_winning(
    width: int, url: str, page: Page, place: Place, tmp_path: Path
) -> None:
    """In a sentence and in the table; nothing written in a report is markup, and the page is as wide as the screen."""
    run = evaluate_run(place, tmp_path / "run", None)
    report = msgspec.structs.replace(make_report_of(run), left_out=[LeftOut(name=HOSTILE, reason=HOSTILE)])
    (tmp_path / "run" / REPORT_NAME).write_bytes(to_report_json(report))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{url}/quick-tests/{run}")
    section = page.locator("#evaluation")
    expect(section).to_be_visible()
    expect(section.locator(".verdicts li.baseline")).to_have_text(
        "recall@10, all pairs: Own counts wins over the model."
    )
    row = section.locator("table").first.locator("tbody tr").nth(1)
    expect(row.locator("th")).to_have_text("Own counts")
    expect(row.locator(".verdict")).to_have_text("wins")
    expect(section).to_contain_text(f"{HOSTILE} was left out: {HOSTILE}")
    assert section.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    section.locator("summary").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_damaged_report_costs_the_page_nothing_else(url: str, page: Page, place: Place, tmp_path: Path) -> None:
    """Its section says what is wrong; the charts are drawn."""
    run = evaluate_run(place, tmp_path / "run", b'{"schema_version": 2}')
    page.goto(f"{url}/quick-tests/{run}")
    expect(page.locator("#evaluation .note.warning")).to_contain_text("schema version 1 was expected")
    expect(page.locator("#loss-chart canvas").first).to_be_visible()


def test_a_run_without_a_report_shows_no_section(url: str, page: Page, place: Place, tmp_path: Path) -> None:
    """As runs of older trainers are."""
    run = evaluate_run(place, tmp_path / "run", None)
    with page.expect_response("**/evaluation/") as answered:
        page.goto(f"{url}/quick-tests/{run}")
    assert answered.value.json() == {"available": False}
    page.wait_for_load_state("networkidle")
    expect(page.locator("#evaluation")).to_be_hidden()
