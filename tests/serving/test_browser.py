"""A run's page in a real, headless Chromium that reaches nothing but this machine."""

import json
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
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from serving.app import create_app
from switchyard.core.history.publication import Progress
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import MetricsRecord, OtherSeries, Sampling
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, RunStatus
from tests.chromium import open_browser, skip_without_chromium
from tests.clients.results.places import NOW, Place, Places
from tests.serving.conftest import OverPlace
from tests.serving.factories import make_record, make_run, publish_run

HOSTILE = "<img src=x onerror=alert(1)><b>bold</b>"
CURVE = "Charts.of(document.getElementById('loss-chart'))?.spec.lines[0]"
LEGACY = '{"available": true, "epochs": [0, 5, 10], "loss": {"train": [1.5, NaN, 0.9], "val": [1.6]}, "gradient": {}}'

expect.set_options(timeout=20_000)  # a loaded machine is slow, not wrong
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
        place,
        MetricsRecord(
            status="completed",
            saved_at=NOW,
            epochs=[0, 1, 2],
            metrics={f"layer_{number}": [1.0, 2.0, float(number)] for number in range(2000)},
            params={"text": "x" * 5000},
        ),
        name="many " + "series" * 800,
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
    job = place.jobs.claim_job(
        Claim(quick_test_id=made.runs["empty"], request_key="empty", artifacts_uri="file:///nowhere"), now=NOW
    ).job
    news = JobNews(state=JobState.FAILED, log_uri=f"file:///{'long' * 50}/log.txt")
    place.jobs.record_job(job.key, news, now=NOW)
    place.runs.end_run(made.runs["empty"], RunStatus.FAILED, error="no such column", now=NOW)
    yield made
    server.should_exit = True
    thread.join(timeout=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once for the module."""
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def shared(browser: Browser, site: Site) -> Iterator[Page]:
    """One page for all tests that only ask its scripts."""
    page = browser.new_page()
    page.goto(f"{site.url}/quick-tests/{site.runs['legacy']}")
    page.wait_for_selector("body[data-drawn=yes]")
    yield page
    page.close()


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
    made.page.screenshot(path=tmp_path / "page.png")
    context.close()
    assert made.complaints == []


def curves(page: Page, chart: str) -> dict[str, Any]:
    """What the chart library holds of a chart: by name, the points of each line, a gap as null."""
    found: dict[str, Any] = page.evaluate(
        """(id) => { const { made, spec, u } = Charts.of(document.getElementById(id));
            return Object.fromEntries(made.map(({ line, faint }, i) => [
                faint && spec.smooth ? `${line.label}, as logged` : line.label, {
                    x: u.data[0].filter((_, at) => u.data[i + 1][at] !== undefined),
                    y: u.data[i + 1].filter((value) => value !== undefined), best: line.best ?? null }])); }""",
        chart,
    )
    return found


def marks(page: Page, chart: str) -> list[int]:
    """Where a chart has crosses."""
    found: list[int] = page.evaluate(
        "(id) => Charts.of(document.getElementById(id)).spec.marks.map((mark) => mark.at)", chart
    )
    return found


def has_ink(page: Page, chart: str, name: str) -> bool:
    """True where the canvas has a pixel of one of the page's colours."""
    found: bool = page.evaluate(
        """([id, name]) => {
            const { canvas } = Charts.of(document.getElementById(id)).u.ctx;
            const { width, height } = canvas;
            const copy = Object.assign(document.createElement("canvas"), { width, height });
            const ctx = copy.getContext("2d", { willReadFrequently: true });
            ctx.drawImage(canvas, 0, 0);
            const wanted = Charts.color(name).slice(1).match(/../g).map((two) => parseInt(two, 16));
            const { data } = ctx.getImageData(0, 0, ctx.canvas.width, ctx.canvas.height);
            for (let at = 0; at < data.length; at += 4) {
                if (data[at + 3] === 255 && wanted.every((value, i) => data[at + i] === value)) return true;
            }
            return false; }""",
        [chart, name],
    )
    return found


def wait_until(page: Page, condition: str) -> None:
    """Polls a JavaScript condition from here: Playwright's own waiting evaluates strings, which the policy forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not within 20 s: {condition}"
        page.wait_for_timeout(50)


def test_the_curves_have_every_kept_epoch(visit: Visit) -> None:
    """Numbered as they are stored; a point that is not finite is a gap with a cross; each line is there to be seen."""
    page = visit.open("completed")
    loss = curves(page, "loss-chart")
    assert set(loss) == {"training", "validation"}
    assert loss["training"]["x"] == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 49]
    assert [place for place, value in enumerate(loss["validation"]["y"]) if value is None] == [4]
    assert None not in loss["training"]["y"]
    assert marks(page, "loss-chart") == [20]
    # The third is that of the stars at the losses' best epochs.
    assert all(has_ink(page, "loss-chart", name) for name in ("--first", "--second", "--mark", "--third"))
    norms = curves(page, "norm-chart")
    assert list(norms) == ["both towers", "query tower", "candidate tower"]
    assert {len(curve["y"]) for curve in norms.values()} == {11}
    expect(page.get_by_text("epoch 20: validation is NaN")).to_be_visible()
    expect(page.get_by_text("11 of 50 epochs: every 5th, and the last")).to_be_visible()
    tile = page.locator(".tiles div", has_text="test recall@10")
    expect(tile.locator("dd")).to_have_text("0.0672 2.95 times that of popularity, 0.0228")


def test_the_first_chart_needs_one_answer(visit: Visit) -> None:
    """It has its place and its colour while the script has not come.

    Nothing else is asked for before it but the icon, and the script is asked for once.
    """
    page, asked = visit.page, []
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[1]))
    page.context.route("**/run.js", lambda route: None)
    page.goto(f"{visit.site.url}/quick-tests/{visit.site.runs['completed']}", wait_until="commit")
    line = page.locator("#loss-chart svg .line").first
    line.wait_for()
    assert line.evaluate("(one) => getComputedStyle(one).stroke") == "rgb(0, 114, 178)"
    assert line.evaluate("(one) => one.getBoundingClientRect().width") > 300
    wait_until(page, "document.querySelector('script[src]') !== null")
    assert set(asked) - {"icon.svg"} == {str(visit.site.runs["completed"]), "run.js"}
    assert asked.count("run.js") == 1


def test_the_reader_chooses_what_the_charts_show(visit: Visit) -> None:
    """Totals, regularisation, smoothing, the axis and the lines, by keyboard too; each point is said."""
    page = visit.open("completed")
    page.get_by_label("with regularisation").check()
    assert {"training + regularisation", "validation + regularisation"} <= set(curves(page, "loss-chart"))
    page.get_by_label("regularisation alone").check()
    assert {"regularisation", "regularisation (validation)"} <= set(curves(page, "loss-chart"))
    page.get_by_label("logarithmic axis").focus()
    page.keyboard.press("Space")
    wait_until(page, "Charts.of(document.getElementById('loss-chart')).u.scales.y.distr === 3")
    page.get_by_label("Smoothing").fill("0.5")
    smoothed = curves(page, "loss-chart")
    first, second = smoothed["training, as logged"]["y"][:2]
    assert smoothed["training"]["y"][1] == pytest.approx((0.25 * first + 0.5 * second) / 0.75)
    button = page.locator("#loss-chart .legend button", has_text="validation").first
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("Charts.of(document.getElementById('loss-chart')).u.series.some((one) => one.show === false)")
    page.locator("#norm-chart").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#chart-said")).to_contain_text(
        "epoch 5. both towers: 22.81 (logged 26.41), query tower: 14.78"
    )


def test_every_chart_can_be_kept(visit: Visit) -> None:
    """As CSV, JSON and a picture, by keyboard; no spreadsheet runs a name from a person as a formula."""
    page = visit.open("completed")
    said = {}
    for kind in ("CSV", "JSON", "PNG"):
        page.get_by_label("Download Loss").focus()
        page.keyboard.press("Enter")
        with page.expect_download() as download:
            page.locator("#loss-card").get_by_role("button", name=kind).press("Enter")
        assert download.value.suggested_filename == f"Loss.{kind.lower()}"
        said[kind] = Path(download.value.path()).read_bytes()
    lines = said["CSV"].decode().split("\r\n")
    assert [lines[0], lines[5][:3], len(lines)] == ["epoch,training,validation", "20,", 13]
    assert lines[5].endswith(",")
    kept = json.loads(said["JSON"])["series"]["validation"]
    assert [len(kept["epochs"]), kept["values"][4]] == [11, None]
    assert said["PNG"].startswith(b"\x89PNG")
    row = "ChartData.toCsv('step', [{label: '=1+1', x: [1], y: [2]}, {label: 'a,\"b\"', x: [1, 2], y: [null, 3]}])"
    assert page.evaluate(row) == 'step,\'=1+1,"a,""b"""\r\n1,2,\r\n2,,3\r\n'


def test_the_histograms_show_every_epoch_and_the_slider_picks_one(visit: Visit) -> None:
    """Four of them: percentiles of all epochs, not only the sampled ones; a heat map where it is asked for."""
    page = visit.open("completed")
    page.locator("#histograms").scroll_into_view_if_needed()
    expect(page.locator("#histogram-charts .bars")).to_have_count(4)
    for chart in ("weights-query", "weights-candidate", "gradients-query", "gradients-candidate"):
        bands = curves(page, f"{chart}-chart")
        assert list(bands) == ["95 %", "75 %", "median", "25 %", "5 %"]
        assert bands["median"]["x"] == list(range(50))
        ranked = [bands[name]["y"] for name in reversed(bands)]
        assert all(sorted(values) == list(values) for values in zip(*ranked, strict=True))
    expect(page.locator("#epoch-said")).to_have_text("49")
    page.locator("#epoch").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#epoch-said")).to_have_text("48")
    expect(page.locator("#histogram-charts .side").first).to_contain_text("Epoch 48; the mark is epoch 0")
    shares = [float(text.split()[0]) for text in page.locator(".bars").first.locator(".number").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=1)
    page.get_by_label("heat map").first.check()
    assert page.locator(".heat canvas").first.evaluate("(one) => one.toDataURL().length") > 1000
    assert page.get_by_text("counted on a sample of the values").count() == 2
    assert page.get_by_text("Not comparable").count() == 0
    page.mouse.wheel(0, 300)
    assert page.locator(".slider-row").evaluate("(one) => getComputedStyle(one).position") == "sticky"


@pytest.mark.parametrize(
    ("counts", "edges", "share", "expected"),
    [
        ([0, 4, 0], [0, 1, 2, 3], 0.5, 1.5),
        ([1, 1, 2], [0, 1, 2, 3], 0.25, 1),
        ([1, 1, 2], [0, 1, 2, 3], 0.75, 2.5),
        ([2, None, 2], [-1, -0.1, 0.1, 1], 0.95, 0.91),
        ([0, 10], None, 0.5, 2),
        ([0, 0], [0, 1, 2], 0.5, None),
    ],
)
def test_percentiles_come_from_the_counts(
    shared: Page, counts: list[int | None], edges: list[float] | None, share: float, expected: float | None
) -> None:
    """Even within a bin; bins without edges are one wide, and centred on their number."""
    found = shared.evaluate(
        "([counts, edges, share]) => Histograms.percentile(counts, edges, share)", [counts, edges, share]
    )
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_partial_run_with_incomparable_histograms_is_marked(visit: Visit) -> None:
    """The marks are there in words; a name from a person is shown as it was written."""
    page = visit.open("hostile")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.get_by_text("Partial: the run ended failed")).to_be_visible()
    expect(page.get_by_text("the process was killed: <i>-9</i>")).to_be_visible()
    page.locator("#histograms").scroll_into_view_if_needed()
    expect(page.get_by_text("Not comparable across epochs")).to_have_count(4)
    assert page.get_by_text("only the first epoch's edges are known").count() == 4
    assert page.locator("main img").count() == 0
    assert page.get_by_text("bold").locator("xpath=self::b").count() == 0


def test_what_is_not_known_of_bins_is_not_made_up(visit: Visit) -> None:
    """Bins without edges are numbered; edges that no one logged are said to be assumed, those of the gradients."""
    page = visit.open("no edges")
    page.locator("#histograms").scroll_into_view_if_needed()
    expect(page.get_by_text("the bins' edges are not known")).to_have_count(4)
    expect(page.locator(".bars span").first).to_contain_text("bin ")
    page = visit.open("assumed edges")
    page.locator("#histograms").scroll_into_view_if_needed()
    expect(page.get_by_text("the bins' edges were not logged")).to_have_count(2)


def test_a_legacy_payload_is_drawn(visit: Visit) -> None:
    """NaN tokens, ragged series and no histogram: what can be drawn is, the rest is said."""
    page = visit.open("legacy")
    loss = curves(page, "loss-chart")
    assert loss["training"]["y"] == [1.5, None, 0.9]
    assert loss["validation"]["y"] == [1.6, None, None]
    assert marks(page, "loss-chart") == [5]
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
    """Charts appear when the first epochs are published, and the end is told; the reader's choices are kept.

    A page that watches costs one conditional request an interval.
    """
    place = visit.site.place
    visit.site.runs["live"] = make_run(place, "live").id
    page = visit.page
    page.clock.install()
    visit.open("live")
    expect(page.locator("#charts")).to_be_hidden()
    publish_run(place, make_record(epochs=6, status="partial"), name="live", row_status=None)
    page.clock.run_for(6_000)
    wait_until(page, f"{CURVE}?.x.length === 2")
    expect(page.get_by_text("Partial: the run is still training")).to_be_visible()
    page.get_by_label("with regularisation").check()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(3):
        with page.expect_response("**/quick-tests/*"):
            page.clock.run_for(5_000)
    assert [urlsplit(url).path for url in asked] == [f"/quick-tests/{visit.site.runs['live']}"] * 3
    publish_run(place, make_record(epochs=11), name="live")
    page.clock.run_for(6_000)
    wait_until(page, f"{CURVE}?.x.length === 3")
    expect(page.locator(".badge").first).to_contain_text("completed")
    expect(page.locator("#news")).to_contain_text("The run has ended")
    assert "training + regularisation" in curves(page, "loss-chart")
    assert page.get_by_text("Partial").count() == 0


@pytest.mark.parametrize(
    ("run", "width", "scheme"),
    [
        ("completed", 1280, "light"),
        ("series", 390, "dark"),
        ("hostile", 390, "light"),
        ("empty", 390, "dark"),
        ("many", 1280, "light"),
    ],
)
def test_axe_finds_nothing_and_the_page_fits(visit: Visit, run: str, width: int, scheme: Any) -> None:
    """Nor a level left out, a control without a name, or a sideways scroll."""
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.emulate_media(color_scheme=scheme)
    page = visit.open(run)
    if page.locator("#histograms").is_visible():
        page.locator("#histograms").scroll_into_view_if_needed()
        expect(page.locator("#histogram-charts .bars")).to_have_count(4)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.lang") == "en"
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "(all) => all.map((one) => Number(one.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator(".chart:not([aria-label])").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    """Every control and chart that is to be seen."""
    page = visit.open("series")
    wanted = page.eval_on_selector_all(
        "a[href], button, input, summary, .chart, [tabindex='0']",
        # The legends of small charts come and go with the view.
        """(all) => all.filter((one) => one.checkVisibility() && !one.closest('.save div, .grid .legend'))
            .map((one, i) => { one.dataset.n = i; return i; })""",
    )
    reached = set()
    for _ in range(len(wanted) + 40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("Number(document.activeElement.dataset.n ?? -1)"))
    assert set(wanted) - reached == set()


def test_keys_lead_to_the_runs_beside(visit: Visit) -> None:
    """[ and ], but not where someone types."""
    page = visit.open("hostile")
    page.keyboard.press("]")
    expect(page).to_have_url(f"{visit.site.url}/quick-tests/{visit.site.runs['no edges']}")
    page.wait_for_selector("body[data-drawn=yes]")
    page.keyboard.press("[")
    expect(page).to_have_url(f"{visit.site.url}/quick-tests/{visit.site.runs['hostile']}")
    page = visit.open("series")
    page.locator("#search").press_sequentially("[]")
    expect(page).to_have_url(f"{visit.site.url}/quick-tests/{visit.site.runs['series']}")
    expect(page.get_by_text("No series has this name")).to_be_visible()


def test_keys_can_be_switched_off(visit: Visit) -> None:
    """Who dictates presses what was not meant; the next page, and the next visit, remember it."""
    page = visit.open("hostile")
    expect(page.locator(".beside kbd").first).to_be_visible()
    page.get_by_label("The keys [ and ]").uncheck()
    for _ in range(2):
        page.keyboard.press("]")
        page.keyboard.press("[")
        expect(page.locator(".beside kbd").first).to_be_hidden()
        expect(page).to_have_url(f"{visit.site.url}/quick-tests/{visit.site.runs['hostile']}")
        visit.open("hostile")
    page.get_by_label("The keys [ and ]").check()
    page.keyboard.press("]")
    expect(page).to_have_url(f"{visit.site.url}/quick-tests/{visit.site.runs['no edges']}")


def test_a_run_is_renamed_annotated_and_archived(visit: Visit) -> None:
    """Only what was changed is sent; what is refused is said, and what was typed stays."""
    visit.site.runs["renamed"] = make_run(visit.site.place, "renamed").id
    page = visit.open("renamed")
    page.get_by_text("Edit the name and notes").click()
    page.get_by_label("Notes").fill("first line\nsecond <b>line</b>")
    page.get_by_label("archived").check()
    with page.expect_request("**/api/quick-tests/*/") as asked:
        page.get_by_role("button", name="Save").click()
    assert asked.value.method == "PATCH"
    assert asked.value.post_data_json == {"notes": "first line\nsecond <b>line</b>", "archived": True}
    expect(page.locator(".notes")).to_have_text("first line\nsecond <b>line</b>")
    expect(page.locator("#head .mark")).to_contain_text("archived")
    run = visit.site.place.runs.read_run(visit.site.runs["renamed"])
    assert (run.display_name, run.notes) == ("renamed", "first line\nsecond <b>line</b>")
    page.get_by_text("Edit the name and notes").click()
    page.get_by_label("Name").fill("a\u0007b")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#edit-said")).to_contain_text("Not saved: ")
    assert page.get_by_label("Name").input_value() == "a\u0007b"
    complaints, visit.complaints = visit.complaints, []
    assert all("422" in complaint for complaint in complaints)


def test_the_page_follows_the_readers_colours(visit: Visit) -> None:
    """Dark where the system is; the charts' ink too, while the page is open."""
    page = visit.open("completed")
    assert has_ink(page, "loss-chart", "--first")
    light = page.evaluate("Charts.color('--first')")
    visit.page.emulate_media(color_scheme="dark")
    wait_until(page, f"Charts.color('--first') !== '{light}'")
    deadline = time.monotonic() + 20  # the style is new at once; the charts are drawn again after it
    while not has_ink(page, "loss-chart", "--first"):
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def test_the_list_leads_to_the_runs(visit: Visit, site: Site) -> None:
    """A click on a run's name opens its page."""
    visit.page.goto(site.url)
    visit.page.get_by_role("link", name="a completed run").click()
    expect(visit.page).to_have_url(f"{site.url}/quick-tests/{site.runs['completed']}")
    visit.page.wait_for_selector("body[data-drawn=yes]")


def find_chart(page: Page, title: str) -> str:
    """The id of a series' chart, scrolled into view and drawn."""
    script = """(title) => {
        const heading = [...document.querySelectorAll("#series-charts h4")].find((one) => one.textContent === title);
        const chart = heading.closest(".card").querySelector(".chart");
        if (!chart.querySelector("canvas")) chart.scrollIntoView({ block: "center" });
        return [chart.id, chart.querySelector("canvas") !== null]; }"""
    deadline = time.monotonic() + 20
    while True:
        found, drawn = page.evaluate(script, title)
        if drawn:
            return str(found)
        assert time.monotonic() < deadline, f"{title} is not drawn within 20 s"
        page.wait_for_timeout(50)


def test_every_other_series_is_drawn(visit: Visit) -> None:
    """Each chart is in its group, on the epochs or on steps of its own, whatever its name; the best is starred.

    Every point and the towers' statistics come on request.
    """
    page = visit.open("series")
    expect(page.locator("#series-charts h4")).to_have_text(
        ["batch_loss", "recall", "learning_rate", HOSTILE, "__proto__"]
    )
    expect(page.locator("#series-charts h3")).to_have_text(["Losses 1", "Metrics 1", "Optimizer 1", "Others 2"])
    recall = curves(page, find_chart(page, "recall"))
    assert recall["recall"]["x"] == recall["val_recall"]["x"] == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 49]
    assert [line["best"][0] for line in recall.values()] == [49, 49]
    batches = find_chart(page, "batch_loss")
    assert curves(page, batches)["batch_loss"]["y"] == [3.0, 2.0, 1.5, 1.0]
    assert has_ink(page, batches, "--third")
    page.locator(f"#{batches}").press("End")
    expect(page.locator("#chart-said")).to_contain_text("step 9007199254740993. batch_loss: 1")
    expect(page.get_by_role("row", name="val_recall")).to_contain_text("epoch 49, highest")
    page.get_by_label("Search the series").fill("VAL_rec")
    expect(page.locator("#series-charts h4")).to_have_text(["recall"])
    page.get_by_label("Search the series").fill("")
    page.get_by_role("button", name="All points and statistics").click()
    expect(page.get_by_text("Every point is shown")).to_be_visible()
    assert len(curves(page, find_chart(page, "recall"))["recall"]["x"]) == 50
    assert len(curves(page, "loss-chart")["training"]["x"]) == 50


def test_two_thousand_series_and_a_long_name_break_nothing(visit: Visit) -> None:
    """What is in view is drawn, the others have a card at most; a search finds each; a name of 5,000 letters fits."""
    page = visit.open("many")
    expect(page.locator("#series-charts .card")).to_have_count(48)
    page.get_by_role("button", name="Show the other 1952 series").click()
    expect(page.locator("#series-charts .card")).to_have_count(2000)
    find_chart(page, "layer_1999")
    assert page.locator("#series-charts canvas").count() < 60
    page.locator("#search").fill("layer_1234")
    expect(page.locator("#series-charts h4")).to_have_text(["layer_1234"])
    assert page.locator("h1").evaluate("(one) => one.getBoundingClientRect().height") < 250
    visit.page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_run_without_curves_shows_its_values(visit: Visit) -> None:
    """And that it has none; no empty chart stands for them."""
    page = visit.open("values")
    expect(page.get_by_text("This run has no curves")).to_be_visible()
    expect(page.get_by_role("row", name="accuracy")).to_contain_text("0.9")
    for card in ("#loss-card", "#norm-card", "#series", "#tools"):
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
    chart = find_chart(page, "recall")
    assert len(curves(page, chart)["recall"]["x"]) == 12
    publish(30)
    page.clock.run_for(6_000)
    wait_until(page, f"Charts.of(document.getElementById('{chart}')).u.data[0].length === 30")
    expect(page.get_by_text("Trained so far: 30 of 50 epochs")).to_be_visible()
    publish_run(place, make_record(metrics=metrics), name="growing")
    page.clock.run_for(6_000)
    expect(page.locator("#news")).to_contain_text("The run has ended")
    assert page.get_by_text("not final", exact=True).count() == 0
