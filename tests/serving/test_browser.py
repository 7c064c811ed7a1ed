"""The page in a real, headless Chromium that reaches nothing but this machine."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Route, expect

from serving.app import create_app
from switchyard.core.history.publication import Progress
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import MetricsRecord, OtherSeries, Sampling
from switchyard.core.runs.rows import RunStatus
from tests.chromium import open_browser, skip_without_chromium
from tests.clients.results.places import NOW, Place, Places
from tests.serving.conftest import OverPlace
from tests.serving.factories import make_record, make_run, publish_run

HOSTILE = "<img src=x onerror=alert(1)><b>bold</b>"
LEGACY = '{"available": true, "epochs": [0, 5, 10], "loss": {"train": [1.5, NaN, 0.9], "val": [1.6]}, "gradient": {}}'

pytestmark = [pytest.mark.needs_browser, skip_without_chromium]


@dataclass
class Site:
    """A running server and the place it serves."""

    url: str
    place: Place
    runs: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def site(all_places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for the module, over runs of every kind."""
    place = all_places.make("sqlite", tmp_path_factory.mktemp("site"))
    server = uvicorn.Server(uvicorn.Config(create_app(OverPlace(place)), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = threading.Event()
    while not server.started and thread.is_alive():
        deadline.wait(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    made = Site(f"http://127.0.0.1:{port}", place)
    made.runs["completed"] = publish_run(place, make_record(nan_at=20), name="a completed run")
    made.runs["hostile"] = publish_run(
        place,
        make_record(epochs=7, status="partial", edges_known="first_epoch"),
        name=HOSTILE,
        row_status=RunStatus.FAILED,
        error="the process was killed: <i>-9</i>",
    )
    made.runs["no edges"] = publish_run(place, make_record(epochs=3, edges_known="none"), name="no edges")
    assumed = make_record(epochs=3)
    for statistics in assumed.gradient_stats.values():
        assert statistics.histogram is not None
        statistics.histogram.edges_assumed = True
    made.runs["assumed edges"] = publish_run(place, assumed, name="assumed edges")
    names = {"learning_rate": 1.0, "recall": 2.0, "val_recall": 3.0, HOSTILE: 4.0, "__proto__": 5.0}
    made.runs["series"] = publish_run(
        place,
        make_record(
            metrics={name: [first + epoch for epoch in range(50)] for name, first in names.items()},
            other_series={"batch_loss": OtherSeries(steps=[0, 70, 140, 2**53 + 1], values=[3.0, 2.0, 1.5, 1.0])},
        ),
        name="every series",
    )
    made.runs["many"] = publish_run(
        place, make_record(metrics={f"layer_{number}": [1.0] * 50 for number in range(100)}), name="many series"
    )
    made.runs["values"] = publish_run(
        place,
        MetricsRecord(status="completed", saved_at=NOW, final_metrics={"accuracy": 0.9}, params={"C": 1.0}),
        name="values alone",
    )
    made.runs["legacy"] = make_run(place, "legacy").id
    place.runs.end_run(made.runs["legacy"], RunStatus.COMPLETED, error="", now=NOW)
    place.set_history(made.runs["legacy"], LEGACY)
    made.runs["empty"] = make_run(place, "empty").id
    place.runs.end_run(made.runs["empty"], RunStatus.FAILED, error="no such column", now=NOW)
    yield made
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

    def open(self, run: str) -> Page:
        self.page.goto(f"{self.site.url}/quick-tests/{self.site.runs[run]}")
        self.page.wait_for_selector("body[data-drawn=yes]")
        return self.page


@pytest.fixture
def visit(browser: Browser, site: Site, tmp_path: Path) -> Iterator[Visit]:
    """A fresh context at 1280 x 900; at the end nothing was complained of, and a screenshot is in tmp_path."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    made = Visit(context.new_page(), site)

    def guard(route: Route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            made.complaints.append(f"asked for {route.request.url}")
            route.abort()

    context.route(lambda url: not url.startswith(("data:", "blob:")), guard)
    made.page.on("console", lambda message: made.complaints.append(f"{message.type}: {message.text}"))
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    made.page.on("dialog", lambda dialog: made.complaints.append(f"dialog: {dialog.message}"))
    yield made
    made.page.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()
    assert made.complaints == []


def traces(page: Page, chart: str) -> dict[str, Any]:
    """What Plotly holds of a chart: by name, how many points have a value, and where they lie."""
    found: dict[str, Any] = page.evaluate(
        """(id) => Object.fromEntries(document.getElementById(id).data.map((trace) => [trace.name, {
            x: Array.from(trace.x), y: Array.from(trace.y, (one) => one ?? null), type: trace.type }]))""",
        chart,
    )
    return found


def wait_until(page: Page, condition: str) -> None:
    """Polls a JavaScript condition from here: Playwright's own waiting evaluates strings, which the policy forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not within 20 s: {condition}"
        page.wait_for_timeout(50)


def test_the_curves_have_every_kept_epoch(visit: Visit) -> None:
    """Numbered as they are stored; a point that is not finite is a gap with a cross."""
    page = visit.open("completed")
    loss = traces(page, "loss-chart")
    assert set(loss) == {"training", "validation", "not finite"}
    assert loss["training"]["x"] == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 49]
    assert [place for place, value in enumerate(loss["validation"]["y"]) if value is None] == [4]
    assert None not in loss["training"]["y"]
    assert loss["not finite"]["x"] == [20]
    norms = traces(page, "norm-chart")
    assert list(norms) == ["both towers", "query tower", "candidate tower"]
    assert {len(curve["y"]) for curve in norms.values()} == {11}
    expect(page.get_by_text("epoch 20: validation is NaN")).to_be_visible()
    expect(page.get_by_text("11 of 50 epochs: every 5th, and the last")).to_be_visible()


def test_the_reader_chooses_what_the_loss_chart_shows(visit: Visit) -> None:
    """Totals, regularisation, and the axis, by keyboard too."""
    page = visit.open("completed")
    page.get_by_label("with regularisation").check()
    assert {"training + regularisation", "validation + regularisation"} <= set(traces(page, "loss-chart"))
    page.get_by_label("regularisation alone").check()
    assert {"regularisation", "regularisation (validation)"} <= set(traces(page, "loss-chart"))
    page.get_by_label("logarithmic axis").focus()
    page.keyboard.press("Space")
    wait_until(page, "document.getElementById('loss-chart').layout.yaxis.type === 'log'")


def test_the_histograms_show_every_epoch_and_the_slider_picks_one(visit: Visit) -> None:
    """Four of them, shares that sum to one, all epochs, not only the sampled ones."""
    page = visit.open("completed")
    for chart in ("weights-query", "weights-candidate", "gradients-query", "gradients-candidate"):
        heat = traces(page, f"{chart}-chart")["share"]
        assert (heat["type"], heat["x"], len(heat["y"])) == ("heatmap", list(range(50)), 25)
        bars = traces(page, f"{chart}-chart")["epoch 49"]
        assert sum(bars["x"]) == pytest.approx(1)
    expect(page.locator("#epoch-said")).to_have_text("49")
    page.locator("#epoch").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#epoch-said")).to_have_text("48")
    wait_until(page, "document.getElementById('weights-query-chart').data.some((trace) => trace.name === 'epoch 48')")
    ticks = page.evaluate("document.getElementById('weights-query-chart').layout.yaxis.ticktext")
    assert ticks[0].endswith("1")
    assert "0" in ticks
    assert page.get_by_text("counted on a sample of the values").count() == 2
    assert page.get_by_text("Not comparable").count() == 0


def test_a_partial_run_with_incomparable_histograms_is_marked(visit: Visit) -> None:
    """The marks are there in words; a name from a person is shown as it was written."""
    page = visit.open("hostile")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.get_by_text("Partial: the run ended failed")).to_be_visible()
    expect(page.get_by_text("the process was killed: <i>-9</i>")).to_be_visible()
    assert page.get_by_text("Not comparable across epochs").count() == 4
    assert page.get_by_text("only the first epoch's edges are known").count() == 4
    assert page.locator("main b, main img").count() == 0


def test_bins_without_edges_are_numbered(visit: Visit) -> None:
    """No value is made up for them."""
    page = visit.open("no edges")
    assert page.evaluate("document.getElementById('weights-query-chart').layout.yaxis.ticktext")[0] == "bin 1"
    assert page.get_by_text("the bins' edges are not known").count() == 4


def test_edges_that_nobody_logged_are_said_to_be_assumed(visit: Visit) -> None:
    """Those of the gradients; nothing is said of those that are known."""
    page = visit.open("assumed edges")
    wait_until(page, "document.getElementById('gradients-candidate-chart').data.length > 0")
    assert page.get_by_text("the bins' edges were not logged").count() == 2


def test_a_legacy_payload_is_drawn(visit: Visit) -> None:
    """NaN tokens, ragged series and no histogram: what can be drawn is, the rest is said."""
    page = visit.open("legacy")
    loss = traces(page, "loss-chart")
    assert loss["training"]["y"] == [1.5, None, 0.9]
    assert loss["validation"]["y"] == [1.6, None, None]
    assert loss["not finite"]["x"] == [5]
    expect(page.get_by_text("Cached by the legacy application")).to_be_visible()
    expect(page.get_by_text("loss.val has 1 values for 3 epochs")).to_be_visible()
    expect(page.locator("#histograms")).to_be_hidden()


def test_a_run_without_a_history_says_why(visit: Visit) -> None:
    """The status and the error, and no empty chart."""
    page = visit.open("empty")
    expect(page.get_by_text("Nothing is published yet")).to_be_visible()
    expect(page.get_by_text("no such column")).to_be_visible()
    expect(page.locator("#charts")).to_be_hidden()


def test_a_live_page_follows_the_run(visit: Visit) -> None:
    """Charts appear when the first epochs are published, and the end is told; the reader's choices are kept."""
    place = visit.site.place
    visit.site.runs["live"] = make_run(place, "live").id
    page = visit.page
    page.clock.install()
    visit.open("live")
    expect(page.locator("#charts")).to_be_hidden()
    publish_run(place, make_record(epochs=6, status="partial"), name="live", row_status=None)
    page.clock.run_for(6_000)
    wait_until(page, "document.getElementById('loss-chart').data?.[0].x.length === 2")
    expect(page.get_by_text("Partial: the run is still training")).to_be_visible()
    page.get_by_label("with regularisation").check()
    publish_run(place, make_record(epochs=11), name="live")
    page.clock.run_for(6_000)
    wait_until(page, "document.getElementById('loss-chart').data?.[0].x.length === 3")
    expect(page.locator(".badge").first).to_contain_text("completed")
    expect(page.locator("#news")).to_contain_text("The run has ended")
    assert "training + regularisation" in traces(page, "loss-chart")
    assert page.get_by_text("Partial").count() == 0


def test_the_page_reads_without_seeing_it(visit: Visit) -> None:
    """One h1, no level left out, a name for every chart, table and control, and a language."""
    page = visit.open("completed")
    assert page.evaluate("document.documentElement.lang") == "en"
    levels = page.eval_on_selector_all("h1, h2, h3", "(all) => all.map((one) => Number(one.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator(".chart:not([aria-label])").count() == 0
    unnamed = "(all) => all.filter((one) => !one.labels.length).length"
    assert page.eval_on_selector_all("main input", unnamed) == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


@pytest.mark.parametrize("width", [360, 820])
def test_narrow_screens_need_no_sideways_scroll(visit: Visit, width: int) -> None:
    """The page is as wide as the screen."""
    visit.page.set_viewport_size({"width": width, "height": 800})
    page = visit.open("hostile")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_follows_the_readers_colours(visit: Visit) -> None:
    """Dark where the system is; the charts' ink too, while the page is open."""
    page = visit.open("completed")
    read_ink = "document.getElementById('loss-chart').layout.font.color"
    light = page.evaluate(read_ink)
    visit.page.emulate_media(color_scheme="dark")
    wait_until(page, f"{read_ink} !== '{light}'")


def test_the_list_leads_to_the_runs(visit: Visit, site: Site) -> None:
    """A click on a run's name opens its page."""
    visit.page.goto(site.url)
    visit.page.get_by_role("link", name="a completed run").click()
    expect(visit.page).to_have_url(f"{site.url}/quick-tests/{site.runs['completed']}")
    visit.page.wait_for_selector("body[data-drawn=yes]")


def test_every_other_series_is_drawn(visit: Visit) -> None:
    """A chart each, on the epochs or on steps of their own, whatever they are called; the best is starred."""
    page = visit.open("series")
    titles = page.locator("#series-charts h3")
    expect(titles).to_have_text(["learning_rate", "recall", HOSTILE, "__proto__", "batch_loss"])
    for number in range(5):
        page.locator(f"#series-{number}-chart").scroll_into_view_if_needed()
        wait_until(page, f"document.getElementById('series-{number}-chart').data?.length > 0")
    recall = traces(page, "series-1-chart")
    assert recall["recall"]["x"] == recall["val_recall"]["x"] == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 49]
    assert recall["best"]["x"] == [49, 49]
    assert traces(page, "series-4-chart")["batch_loss"]["y"] == [3.0, 2.0, 1.5, 1.0]
    assert "9007199254740993" in page.evaluate("document.getElementById('series-4-chart').data[0].customdata")
    expect(page.get_by_role("row", name="val_recall")).to_contain_text("epoch 49, highest")


def test_many_series_are_drawn_as_the_reader_comes_to_them(visit: Visit) -> None:
    """The first of them have a card; a button brings the others."""
    page = visit.open("many")
    expect(page.locator("#series-charts .card")).to_have_count(48)
    page.get_by_role("button", name="Show the other 52 series").click()
    expect(page.locator("#series-charts .card")).to_have_count(100)
    page.locator("#series-99-chart").scroll_into_view_if_needed()
    wait_until(page, "document.getElementById('series-99-chart').data?.length === 1")


def test_a_run_without_curves_shows_its_values(visit: Visit) -> None:
    """And that it has none; no empty chart stands for them."""
    page = visit.open("values")
    expect(page.get_by_text("This run has no curves")).to_be_visible()
    expect(page.get_by_role("row", name="accuracy")).to_contain_text("0.9")
    for card in ("#loss-card", "#norm-card", "#series"):
        expect(page.locator(card)).to_be_hidden()


def test_a_run_that_trains_shows_how_far_it_is_and_grows(visit: Visit) -> None:
    """The bar, the mark, the other series; at the end none of it is left."""
    place = visit.site.place
    run = make_run(place, "growing")
    visit.site.runs["growing"] = run.id
    metrics: dict[str, list[float | None]] = {"recall": [0.1 * epoch for epoch in range(50)]}

    def publish(epochs: int) -> None:
        publication = to_publication(
            make_record(epochs=epochs, status="partial", metrics={"recall": metrics["recall"][:epochs]}),
            quick_test_id=run.id,
            source="file",
            sampling=Sampling(interval=1),
            progress=Progress(epochs_done=epochs, epochs=50, at=NOW),
        )
        place.histories.publish(publication, now=NOW)

    publish(12)
    page = visit.page
    page.clock.install()
    visit.open("growing")
    expect(page.get_by_text("Trained so far: 12 of 50 epochs")).to_be_visible()
    expect(page.get_by_text("not final", exact=True)).to_be_visible()
    assert page.locator("progress").get_attribute("value") == "12"
    page.locator("#series-0-chart").scroll_into_view_if_needed()
    wait_until(page, "document.getElementById('series-0-chart').data?.[0].x.length === 12")
    publish(30)
    page.clock.run_for(6_000)
    wait_until(page, "document.getElementById('series-0-chart').data?.[0].x.length === 30")
    expect(page.get_by_text("Trained so far: 30 of 50 epochs")).to_be_visible()
    publish_run(place, make_record(metrics=metrics), name="growing")
    page.clock.run_for(6_000)
    expect(page.locator("#news")).to_contain_text("The run has ended")
    assert page.get_by_text("not final", exact=True).count() == 0


@pytest.mark.parametrize("run", ["series", "values"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_series_fits_the_screen(visit: Visit, run: str, width: int) -> None:
    """The page is as wide as the screen, however long a name is."""
    visit.page.set_viewport_size({"width": width, "height": 800})
    page = visit.open(run)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
