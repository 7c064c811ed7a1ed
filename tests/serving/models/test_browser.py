"""The pages of models in Chromium: axe, the keyboard, narrow and dark, and what a script adds."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from serving.app import create_app
from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import Kind
from switchyard.core.registry.rows import Tombstone
from switchyard.core.registry.stages import Stage, Validation
from tests.chromium import open_browser, skip_without_chromium
from tests.clients.results.places import Places
from tests.serving.conftest import OverPlace
from tests.serving.models.factories import EVIDENCE, SHOP, files, judge, predict, promote, register, say, stage

HOSTILE = "\u202eevil\u202c <img src=x onerror=alert(1)>\"'` "

pytestmark = [pytest.mark.needs_browser, skip_without_chromium]


@pytest.fixture(scope="module")
def site(all_places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one model as it should be, and one as it should not; its address."""
    place = all_places.make("sqlite", tmp_path_factory.mktemp("site"))
    for number in range(4):
        register(place, run=number + 1, parameters={"lr": number, HOSTILE: HOSTILE * 50}, by=HOSTILE * 5)
    promote(place, 1, None)
    judge(place, 2, 1)
    promote(place, 2, 1)
    judge(place, 3, 2, status=Validation.FAILED, evidence={**EVIDENCE, HOSTILE: "x" * 9_000, "list": list(range(900))})
    promote(place, 3, 2, force=True, reason=HOSTILE * 200)
    stage(place, 4)
    now = datetime.now(UTC)
    for number in range(20):
        arm, version = (Arm.CHAMPION, 3) if number < 15 else (Arm.CHALLENGER, 4)
        predict(place, number, at=now - timedelta(minutes=1), version=version, arm=arm)
    for number in (1, 15, 16):
        say(place, number, Kind.PURCHASE, value=10.0 * number, now=now)
    say(place, 2, Kind.CLICK, now=now)
    register(place, "odd", description=HOSTILE * 30, listed=files(**{"é" * 300: "e"}))
    register(place, "odd")
    promote(place, 1, None, name="odd", reason="x" * 5_000)
    stage(place, 1, Stage.ARCHIVED, name="odd", reason="bad")
    place.models.tombstone(Tombstone(name="odd", version=2, reason="leaks"))
    server = uvicorn.Server(uvicorn.Config(create_app(OverPlace(place)), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    pause = threading.Event()
    while not server.started and thread.is_alive():
        pause.wait(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
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
    site: str
    complaints: list[str] = field(default_factory=list)

    def open(self, address: str) -> Page:
        self.page.goto(self.site + address)
        self.page.wait_for_selector("body[data-ready]")
        return self.page


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Visit]:
    """A fresh context that may use the clipboard; at the end nothing was complained of."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(20_000)
    made = Visit(context.new_page(), site)
    made.page.on("pageerror", lambda err: made.complaints.append(f"error: {err}"))
    made.page.on("dialog", lambda dialog: made.complaints.append(f"dialog: {dialog.message}"))
    made.page.on("console", lambda said: made.complaints.append(said.text) if said.type == "error" else None)
    yield made
    context.close()
    assert made.complaints == []


@pytest.mark.parametrize(
    ("address", "width", "scheme"),
    [
        ("/models/", 1280, "dark"),
        ("/models/", 390, "light"),
        (f"/models/{SHOP}/", 1280, "light"),
        (f"/models/{SHOP}/", 390, "dark"),
        ("/models/odd/", 390, "light"),
        (f"/models/{SHOP}/versions/3/", 390, "light"),
        ("/models/odd/versions/1/", 1280, "dark"),
        (f"/models/{SHOP}/differences/?from=2&to=3", 390, "dark"),
    ],
)
def test_axe_finds_nothing_and_the_page_fits(visit: Visit, address: str, width: int, scheme: Any) -> None:
    """Nor a level left out, a table without a caption, or a sideways scroll; with everything unfolded."""
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open(address)
    for details in page.locator("main details:not([open]) > summary").all():
        details.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "(all) => all.map((one) => Number(one.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0


@pytest.mark.parametrize(
    ("address", "table", "shown"),
    [
        (f"/models/{SHOP}/", "#traffic table", "6.67 %"),  # 1 of 15
        (f"/models/{SHOP}/versions/3/", "table.files", "copy"),
        ("/models/odd/versions/1/", "table.files", "copy"),
    ],
)
def test_on_a_phone_no_column_is_cut(visit: Visit, address: str, table: str, shown: str) -> None:
    """A row is a card there: each value stands under its name, inside the window."""
    visit.page.set_viewport_size({"width": 390, "height": 900})
    page = visit.open(address)
    found = page.locator(table)
    assert shown in found.inner_text()
    outside = found.evaluate(
        """(table) => [...table.querySelectorAll("tbody *")].filter((one) => one.checkVisibility() &&
            !one.closest(".hidden") && one.getBoundingClientRect().right > 390).map((one) => one.outerHTML)"""
    )
    assert outside == []
    assert found.evaluate("(table) => table.parentElement.scrollWidth <= table.parentElement.clientWidth")
    named = found.evaluate(
        """(table) => [...table.querySelectorAll("tbody td")].filter((one) => one.checkVisibility())
            .map((one) => getComputedStyle(one, "::before").content)"""
    )
    assert len(named) >= 2
    assert all(name not in ("none", "normal", '""') for name in named)


def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    """Every control, link, and text that scrolls."""
    page = visit.open(f"/models/{SHOP}/")
    wanted = page.eval_on_selector_all(
        "a[href], button, input, summary, .scroll, .long",
        """(all) => all.filter((one) => one.checkVisibility() && one.type !== "hidden" &&
            (!one.matches(".long") || one.scrollHeight > one.clientHeight))
            .map((one, i) => { one.dataset.n = i; return i; })""",
    )
    assert len(wanted) > 40
    reached = set()
    for _ in range(len(wanted) + 40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("Number(document.activeElement.dataset.n ?? -1)"))
    assert set(wanted) - reached == set()


def test_two_versions_are_chosen_by_keys_and_a_digest_is_copied(visit: Visit) -> None:
    """The digest in full, and a word that it was; how long ago a version was made is beside its time."""
    page = visit.open(f"/models/{SHOP}/")
    expect(page.locator("#versions time.ago small").first).to_have_text(re.compile("just now|minutes? ago"))
    button = page.locator("#versions button.copy").first
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#news")).to_contain_text("Copied sha256:")
    assert page.evaluate("navigator.clipboard.readText()") == button.get_attribute("data-copy")
    page.locator("input[name=from]").fill("1")
    page.locator("input[name=to]").fill("2")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(f"{SHOP}: from version 1 to 2")
    expect(page.get_by_role("cell", name="1", exact=True).first).to_be_visible()


def test_page_stands_without_scripts(browser: Browser, site: str) -> None:
    """Everything but the hints and the buttons that copy."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/models/")
    page.get_by_role("link", name=SHOP, exact=True).click()
    expect(page.locator("h1")).to_have_text(SHOP)
    expect(page.locator("button.copy").first).to_be_hidden()
    page.locator("#versions form button").click()
    expect(page.locator("h1")).to_have_text(f"{SHOP}: from version 3 to 4")
    context.close()
