"""The list of runs and the comparison in a real, headless Chromium that reaches nothing but this machine."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from serving.app import create_app
from switchyard.core.history.publication import Parent
from switchyard.core.metrics.record import OtherSeries
from switchyard.core.runs.edits import RunEdit
from switchyard.core.runs.rows import RunStatus
from tests.chromium import open_browser, skip_without_chromium
from tests.clients.results.places import NOW, Place, Places
from tests.serving.conftest import OverPlace
from tests.serving.factories import make_run
from tests.serving.lists.factories import add_run

HOSTILE = "<img src=x onerror=alert(1)><b>bold</b>\"'`"
RUNS = 22

pytestmark = [pytest.mark.needs_browser, skip_without_chromium]


@dataclass
class Site:
    """A running server, and the ids of its runs, the oldest first."""

    url: str
    ids: list[int] = field(default_factory=list)


def fill(place: Place) -> list[int]:
    """Runs that differ; the last ones are odd."""
    ids = []
    for number in range(RUNS):
        params = {
            "learning_rate": 0.01 * (number + 1),
            "batch_size": 64 * (1 + number % 3),
            f"only {number % 2}": HOSTILE,
        }
        batch_loss = OtherSeries(steps=[0, 7, 2**53 + 1], values=[3.0, 2.0, 1.0 + number])
        ids.append(
            add_run(
                place,
                f"run {number}" if number < RUNS - 2 else HOSTILE + "x" * 5_000 * (number % 2),
                recall=0.05 + number / 1_000,
                experiment="retail" if number % 2 else "",
                parent=Parent(quick_test_id=1, mlflow_run_id="a" * 32) if number == 5 else None,
                params=params,
                metrics={"val_recall_at_10": [0.01 * epoch for epoch in range(5)], HOSTILE: [1.0] * 5},
                other_series={"batch_loss": batch_loss} if number % 2 else {},
            )
        )
    place.runs.edit_run(ids[-1], RunEdit(notes="the rate was too high " * 50), now=NOW)
    ids.append(make_run(place, "failed").id)
    place.runs.end_run(ids[-1], RunStatus.FAILED, error="the process was killed: <i>-9</i> " * 20, now=NOW)
    return ids


@pytest.fixture(scope="module")
def site(all_places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for the module."""
    place = all_places.make("sqlite", tmp_path_factory.mktemp("site"))
    ids = fill(place)
    server = uvicorn.Server(uvicorn.Config(create_app(OverPlace(place)), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    pause = threading.Event()
    while not server.started and thread.is_alive():
        pause.wait(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(f"http://127.0.0.1:{port}", ids)
    server.should_exit = True
    thread.join(timeout=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once for the module."""
    with open_browser() as browser:
        yield browser


@dataclass
class Visit:
    """A page, and everything about it that must not happen."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    def open(self, address: str) -> Page:
        self.page.goto(self.site.url + address)
        self.page.wait_for_selector("body[data-ready], body[data-drawn]")
        return self.page

    def compare(self, count: int) -> Page:
        return self.open(f"/compare?ids={','.join(map(str, self.site.ids[-count:]))}")


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """A fresh context at 1280 x 900; at the end nothing was complained of, and no other host was asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    made = Visit(context.new_page(), site)

    def only_here(route: Route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            made.complaints.append(f"asked {route.request.url}")
            route.abort()

    context.route("**/*", only_here)
    made.page.on("pageerror", lambda err: made.complaints.append(f"error: {err}"))
    made.page.on("dialog", lambda dialog: made.complaints.append(f"dialog: {dialog.message}"))
    made.page.on("console", lambda said: made.complaints.append(said.text) if said.type == "error" else None)
    yield made
    context.close()
    assert [one for one in made.complaints if "422" not in one] == []


@pytest.mark.parametrize(
    ("address", "width", "scheme"),
    [
        ("/quick-tests/?group=experiment&order_by=best.val_loss+asc", 1280, "light"),
        ("/quick-tests/?selected=1,2", 390, "dark"),
        ("/quick-tests/?filter=metrics.x+>>+3", 390, "light"),
        ("/compare?ids=2,3", 390, "light"),
        (f"/compare?ids={','.join(map(str, range(4, RUNS + 2)))}", 1280, "dark"),
    ],
)
def test_axe_finds_nothing_and_the_page_fits(visit: Visit, address: str, width: int, scheme: Any) -> None:
    """Nor a level left out, a table without a caption, or a sideways scroll; the keyboard reaches every control."""
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.page
    page.goto(visit.site.url + address)
    if page.locator("script[src]").count():
        page.wait_for_selector("body[data-ready], body[data-drawn]")
    for summary in page.locator("main summary:visible").all():
        if "⤓" not in (summary.text_content() or ""):
            summary.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nor does the list's own table scroll sideways: long names of everything, and as many params as are shown.
    lists = page.locator(".scroll:has(> .list)")
    if address == "/compare?ids=2,3":
        lists = page.locator(".scroll:has(> #values, > #recalls)")
        assert lists.count()
    assert lists.evaluate_all("(all) => all.every((one) => one.scrollWidth <= one.clientWidth)")
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "(all) => all.map((one) => Number(one.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0


@pytest.mark.parametrize("address", ["/quick-tests/?limit=5", "/compare?ids=2,3"])
def test_the_keyboard_reaches_everything(visit: Visit, address: str) -> None:
    """Every control, link and chart that is to be seen, one after the other."""
    page = visit.open(address)
    wanted = page.eval_on_selector_all(
        "a[href], button, input, select, summary, .chart[tabindex], .scroll",
        """(all) => all.filter((one) => one.checkVisibility() && one.type !== "hidden" && !one.closest(".save div"))
            .map((one, i) => { one.dataset.n = i; return i; })""",
    )
    reached = set()
    for _ in range(len(wanted) + 20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("Number(document.activeElement.dataset.n ?? -1)"))
    assert set(wanted) - reached == set()


def test_a_field_is_suggested_and_taken_by_keys(visit: Visit) -> None:
    """For the word at the caret, as a combobox; Escape closes, Enter without a choice sends the form."""
    page = visit.open("/quick-tests/")
    box = page.locator("#filter")
    box.press_sequentially("params.lea")
    options = page.locator(".suggestions li")
    expect(options).to_have_count(1)
    expect(box).to_have_attribute("aria-expanded", "true")
    box.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", options.first.get_attribute("id") or "?")
    box.press("Enter")
    expect(box).to_have_value("params.learning_rate ")
    box.press_sequentially("< 0.045 and params.only")
    expect(options.first).to_contain_text("params.`only 0`")
    box.press("Escape")
    expect(options.first).to_be_hidden()
    for _ in range(len(" and params.only")):
        box.press("Backspace")
    box.press("Escape")
    box.press("Enter")
    expect(page).to_have_url(f"{visit.site.url}/quick-tests/?filter=params.learning_rate+%3C+0.045")
    expect(page.locator("tbody th[scope=row]")).to_have_count(4)


def test_the_caret_stands_at_the_mistake(visit: Visit) -> None:
    """After a character that is two of the browser's."""
    page = visit.open("/quick-tests/?filter=name+%3D+'🚀'+oder+id+%3D+1")
    assert page.evaluate("document.activeElement.id") == "filter"
    place = page.evaluate(
        "(() => { const one = document.activeElement; return one.value.slice(one.selectionStart); })()"
    )
    assert place.startswith("oder")


def test_selected_runs_are_counted_kept_over_pages_and_compared(visit: Visit) -> None:
    """2 to 20; more is said, and not sent."""
    page = visit.open("/quick-tests/?limit=15")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#picked")).to_have_text("Select at least 2 runs; 0 are selected.")
    boxes = page.locator("tbody input[type=checkbox]")
    for box in boxes.all():
        box.focus()
        page.keyboard.press("Space")
    expect(page.locator("#picked")).to_have_text("15 selected.")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#picked")).to_have_text("15 selected, 15 on other pages.")
    for box in boxes.all()[:6]:
        box.check()
    expect(page.locator("#picked")).to_have_text("21 are selected; 20 at most can be compared. Take 1 away.")
    page.get_by_role("button", name="Compare").click()
    assert urlsplit(page.url).path == "/quick-tests/"
    boxes.first.uncheck()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector("body[data-drawn]")
    expect(page.locator("#runs li")).to_have_count(20)
    page.go_back()
    expect(page.locator("#picked")).to_have_text("20 selected, 15 on other pages.")


LINES = """(name) => {
  const cards = [...document.querySelectorAll("#curves .card")];
  const chart = cards.find((one) => one.querySelector("h3").textContent === name).querySelector(".chart");
  return Charts.of(chart).spec.lines.map((line) => [line.key, line.color, line.dash.join()]);
}"""
"""Of one chart: the run, the colour and the dashes of each line."""


def test_a_run_has_one_look_in_every_chart_and_can_be_hidden(visit: Visit) -> None:
    """20 runs, 20 looks; a switch takes its lines out of all charts, and its point out of the scatter."""
    page = visit.compare(20)
    for place in range(2):
        expect(page.locator("#curves .card").nth(place).locator("canvas")).to_have_count(1)
    looks = page.evaluate(LINES, "val_loss")
    assert len({(color, dash) for _, color, dash in looks}) == len(looks) == 19
    assert page.evaluate(LINES, "loss") == looks
    switch = page.locator("#runs button").first
    run = str(visit.site.ids[-20])
    switch.focus()
    page.keyboard.press("Enter")
    expect(switch).to_have_attribute("aria-pressed", "false")
    assert [one for one in looks if one[0] != run] == page.evaluate(LINES, "val_loss") == page.evaluate(LINES, "loss")
    assert page.locator(f'.point[data-run="{run}"]').is_hidden()
    page.keyboard.press("Enter")
    assert page.evaluate(LINES, "val_loss") == looks
    page.locator("#search").fill("batch")
    expect(page.locator("#curves .card")).to_have_count(1)
    expect(page.locator("#curves canvas")).to_have_count(1)
    expect(page.locator("#values tbody tr:visible")).to_have_count(2)
    page.locator("#log-scale").check()
    page.locator("#search").fill("nothing has this name")
    expect(page.locator("#curves-none")).to_be_visible()


def test_without_scripts_a_form_finds_and_compares(browser: Browser, site: Site) -> None:
    """Everything that a script adds to is there before it."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/quick-tests/")
    page.fill("#filter", "best.val_loss < 100 and params.batch_size = 64")
    page.click("#find button")
    for box in page.locator("tbody input[type=checkbox]").all()[:3]:
        box.check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("h1")).to_have_text("3 runs side by side")
    expect(page.locator("#curves svg.drawn")).to_have_count(2)
    page.locator("#scatter select[name=x]").select_option("params.learning_rate")
    page.locator("#scatter button").click()
    expect(page.locator("#scatter .point")).to_have_count(3)
    context.close()
