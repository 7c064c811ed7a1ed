"""The form in a real browser, by the keyboard alone."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.chromium import open_browser, skip_without_chromium
from tests.clients.results.places import Place
from tests.serving.door.conftest import Tokens, run_server
from tests.serving.factories import publish_run

pytestmark = [pytest.mark.needs_browser, skip_without_chromium]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_person_comes_in_and_goes_out_by_the_keyboard(
    place: Place, tokens: Tokens, tmp_path: Path, width: int, scheme: str
) -> None:
    """The page that was asked for opens; no script can read the token; out, it asks again.

    Nothing overflows, axe finds nothing, and the name of the token stands beside the links to other runs and to the
    models.
    """
    runs = [publish_run(place, name=name) for name in ("a run before", "a run to see")]
    run = runs[-1]
    with (
        run_server(place, state_dir=tmp_path, API_TOKENS_FILE=str(tokens.path)) as (url, _),
        open_browser() as browser,
    ):
        context = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme)  # type: ignore[arg-type]  # one of its words
        page = context.new_page()
        page.goto(f"{url}/quick-tests/{run}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type("swy_wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        assert Axe().run(page).violations_count == 0
        page.keyboard.type(tokens.reads)
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:has-text('a run to see')")
        assert page.url == f"{url}/quick-tests/{run}"
        for before, after in (".beside", ".rooms"), (".rooms", ".caller"):
            left, right = page.locator(before).bounding_box(), page.locator(after).bounding_box()
            assert left is not None
            assert right is not None
            assert 0 < right["x"] - (left["x"] + left["width"]) < 30
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.cookie") == ""
        [cookie] = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        page.goto(f"{url}/login")
        assert Axe().run(page).violations_count == 0
        page.focus("button")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token")
        assert context.cookies() == []
        answer = page.goto(f"{url}/quick-tests/{run}")
        assert answer is not None
        assert answer.status == 401
