"""The pages as a client without a browser gets them, and the pictures and scripts beside them."""

import base64
import gzip
import hashlib
import io
import re
import subprocess
import sys
from html import unescape

import matplotlib.image
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

import serving.assets
from serving.pages import Pages
from serving.rendering import CALLER
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.runs.rows import NewRun, RunStatus
from tests.clients.results.places import NOW, Place
from tests.serving.conftest import OverPlace
from tests.serving.factories import make_record, make_run, publish_run

HOSTILE = (
    "<script>alert('1')</script>\"&amp; {{ 7*7 }} </script><!-- $\\frac$ "
    "\N{GRINNING FACE} \N{CJK UNIFIED IDEOGRAPH-65E5}"
)
UPLOT_JS = "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2"
UPLOT_CSS = "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"
LEGACY = '{"available": true, "epochs": [0, 5], "loss": {"train": [1.5, NaN]}, "params": {"x": "</script><img>"}}'


def test_names_from_people_are_escaped(client: TestClient, place: Place) -> None:
    """In the heading, the list, the error and the data that the scripts read."""
    run = make_run(place, HOSTILE).id
    place.runs.end_run(run, RunStatus.FAILED, error=HOSTILE, now=NOW)
    place.set_history(run, LEGACY)
    for path in (f"/quick-tests/{run}", "/quick-tests/"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "<img>" not in page
        assert HOSTILE in unescape(page)
        assert page.count("</script>") == page.count("<script")


@pytest.mark.parametrize("params", ['{"test_measured_on": "the model before the refit"}', "{}"])
def test_a_refitted_run_says_which_model_was_measured(client: TestClient, place: Place, params: str) -> None:
    """The evaluation is not of the model that is exported."""
    run = make_run(place, "refitted").id
    place.set_history(run, f'{{"available": true, "epochs": [0], "loss": {{"train": [1.5]}}, "params": {params}}}')
    said = "Measured on the model before the refit." in client.get(f"/quick-tests/{run}").text
    assert said == (params != "{}")


def test_no_script_runs_that_is_not_a_file_of_ours(client: TestClient, place: Place) -> None:
    """The policy allows scripts and styles from this server alone, and inline just the two files that stand there."""
    answer = client.get(f"/quick-tests/{publish_run(place)}")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for kind, element in (("script-src", r"<script data-src=[^>]*>"), ("style-src", "<style>")):
        [inline] = re.findall(element + r"(.*?)</(?:script|style)>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert policy[kind] == f"'self' 'sha256-{digest}'"
        name = {"script-src": "begin.js", "style-src": "site.css"}[kind]
        assert inline == serving.assets.inline_asset(name)
    assert answer.headers["x-content-type-options"] == "nosniff"
    for attributes in re.findall(r"<script([^>]*)>", answer.text):
        assert 'data-src="/static/' in attributes or 'type="application/json"' in attributes
    assert not re.search(r"\son[a-z]+=|style=|https?://", answer.text)


def test_a_page_changes_its_tag_with_the_run(client: TestClient, place: Place) -> None:
    """304 while nothing changed; a new status or history is a new tag. That is what a live page asks."""
    run = make_run(place).id
    url = f"/quick-tests/{run}"
    tags = [client.get(url).headers["etag"]]
    assert client.get(url, headers={"If-None-Match": tags[0]}).status_code == 304
    publish_run(place, make_record(epochs=3, status="partial"), row_status=None)
    tags.append(client.get(url).headers["etag"])
    place.runs.end_run(run, RunStatus.CANCELLED, error="asked to", now=NOW)
    tags.append(client.get(url).headers["etag"])
    assert len(set(tags)) == 3


def test_pages_are_packed_for_the_way(client: TestClient, place: Place) -> None:
    """One weak tag stands for both encodings; who does not take gzip gets the same page plain."""
    url = f"/quick-tests/{publish_run(place)}"
    plain = client.get(url)
    assert plain.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"].startswith('W/"')
    with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as packed:
        body = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == plain.content
    assert packed.headers["etag"] == plain.headers["etag"]
    again = client.get(url, headers={"Accept-Encoding": "gzip", "If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-encoding" not in again.headers


def test_a_page_that_is_kept_names_its_own_caller(place: Place) -> None:
    """What was made for one reader is not sent to another, and for the same one it is not made again."""
    pages = Pages(OverPlace(place))
    scope = {"type": "http", "method": "GET", "headers": [], "path_params": {"quick_test_id": str(publish_run(place))}}
    sent = []
    for name in ("ann", "bob", "ann"):
        shown = CALLER.set(name)
        sent.append(bytes(pages.show_run(Request(dict(scope))).body))
        CALLER.reset(shown)
    assert [b">ann</a>" in body for body in sent] == [True, False, True]
    assert b">bob</a>" in sent[1]


def test_a_page_has_its_first_charts_before_any_script(client: TestClient, place: Place) -> None:
    """The losses and norms, else the first of the other series; names from people are escaped."""
    page = client.get(f"/quick-tests/{publish_run(place)}").text
    assert page.count('<svg class="drawn"') == 2
    record = MetricsRecord(status="completed", saved_at=NOW, epochs=[0, 1], metrics={HOSTILE: [1.0, 2.0]})
    page = client.get(f"/quick-tests/{publish_run(place, record, name='other')}").text
    assert page.count('<svg class="drawn"') == 1
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("pending", "waits for its training job"),
        ("submitted", "waits for a machine"),
        ("running", "The run is training"),
        ("completed", "<code>switchyard ingest {run}</code>"),
        ("failed", "ended failed before anything"),
        ("cancelled", "ended cancelled before anything"),
    ],
)
def test_nothing_published_is_explained(client: TestClient, place: Place, status: str, said: str) -> None:
    """By the row's status, with its error."""
    run = place.add_run(status=status)
    place.runs.record_error(run, "what went wrong")
    answer = client.get(f"/quick-tests/{run}")
    assert answer.status_code == 200
    assert said.format(run=run) in answer.text
    assert "what went wrong" in answer.text


def test_a_page_says_run_and_explains_quick_test_once(client: TestClient, place: Place) -> None:
    """The API's name for a run stands in one sentence, also where nothing is published; lists and pictures say run."""
    published = publish_run(place)
    nameless = place.runs.create_run(NewRun(request_key="no name"), now=NOW).id
    for run in (published, nameless):
        page = client.get(f"/quick-tests/{run}").text
        assert re.findall(r"quick test[^<]*", page, re.IGNORECASE) == [f"quick test {run}"]
        assert f"<span>Run {run}</span>" in page
    assert f">Run {nameless}</a>" in client.get("/quick-tests/").text
    for address in ("/quick-tests/", f"/compare?ids={published},{nameless}"):
        assert "quick test" not in client.get(address).text.lower()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/quick-tests/99", 404),
        ("/quick-tests/x", 422),
        ("/quick-tests/" + "9" * 5000, 422),
        ("/quick-tests/99/loss-curves.png", 404),
        ("/quick-tests/?before=x", 422),
        ("/nothing/<b>", 404),
        ("/static/0/page.js", 404),
        ("/static/0/../app.py", 404),
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(client: TestClient, path: str, status: int) -> None:
    """The status is right, and a person can go on from there."""
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert '<a href="/quick-tests/">All runs</a>' in answer.text
    assert "<b>" not in answer.text


def test_the_list_of_runs_is_paged(client: TestClient, place: Place) -> None:
    """Fifty a page; the root leads there."""
    for number in range(51):
        make_run(place, f"run {number}")
    assert client.get("/?archived=any", follow_redirects=False).headers["location"] == "quick-tests/?archived=any"
    page = client.get("/")
    assert [str(page.url.path), page.text.count("<tr>")] == ["/quick-tests/", 51]
    older = client.get("/quick-tests/?before=2").text
    assert "run 0" in older
    assert "There is no older run" in client.get("/quick-tests/?before=1").text


def test_an_empty_database_says_how_to_start(client: TestClient) -> None:
    """The first thing that a new user sees."""
    assert "make run" in client.get("/quick-tests/").text


def test_pages_answer_both_spellings_and_head(client: TestClient, place: Place) -> None:
    """No redirect, the same page."""
    run = publish_run(place)
    for path in ("/quick-tests", f"/quick-tests/{run}", f"/quick-tests/{run}/loss-curves.png"):
        answer = client.get(path, follow_redirects=False)
        assert answer.status_code == 200
        assert client.get(path + "/", follow_redirects=False).content == answer.content
        assert client.head(path).headers["etag"] == answer.headers["etag"]


def test_scripts_may_be_kept_for_good(client: TestClient, place: Place) -> None:
    """Their URLs change with their content, and they are packed for the way."""
    page = client.get(f"/quick-tests/{publish_run(place)}").text
    urls = re.findall(r'"(/static/[^"]+)"', page)
    assert {url.rsplit("/", 1)[1] for url in urls} == {"icon.svg", "run.js"}
    for url in urls:
        plain = client.get(url)
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert plain.headers["vary"] == "Accept-Encoding"
        assert plain.headers["x-content-type-options"] == "nosniff"
        with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as packed:
            body = b"".join(packed.iter_raw())
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(body) == plain.content
        assert len(body) < len(plain.content)


def test_the_chart_library_is_the_one_that_was_published() -> None:
    """What `youplot` ships is uPlot 1.6.31 as the npm registry has it; a new pin renews this too."""
    names = ("uplot.iife.min.js", "uplot.min.css")
    digests = [hashlib.sha256(serving.assets.read_asset(name)).hexdigest() for name in names]
    assert digests == [UPLOT_JS, UPLOT_CSS]


def test_the_loss_curves_are_a_picture(client: TestClient, place: Place) -> None:
    """PNG, 800 by 450, another one a scale; 304 when the client has it."""
    run = publish_run(place, make_record(nan_at=20), name=HOSTILE)
    url = f"/quick-tests/{run}/loss-curves.png"
    answer = client.get(url)
    assert answer.headers["content-type"] == "image/png"
    assert matplotlib.image.imread(io.BytesIO(answer.content)).shape[:2] == (450, 800)
    assert client.get(url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    pictures = {scale: client.get(f"{url}?scale={scale}").content for scale in ("auto", "linear", "log")}
    assert pictures["auto"] == answer.content == pictures["linear"]
    assert pictures["log"] != pictures["linear"]
    assert client.get(f"{url}?scale=cubic").status_code == 422


@pytest.mark.parametrize("history", [None, "{", LEGACY, '{"available": true, "loss": {"train": [-1, 0], "val": []}}'])
@pytest.mark.parametrize("scale", ["auto", "log"])
def test_every_run_has_a_picture(client: TestClient, place: Place, history: str | None, scale: str) -> None:
    """Also one with nothing published, an unreadable history, NaN, or no loss above zero."""
    run = place.add_run(status="completed", history=history)
    answer = client.get(f"/quick-tests/{run}/loss-curves.png?scale={scale}")
    assert matplotlib.image.imread(io.BytesIO(answer.content)).shape[:2] == (450, 800)


def test_the_server_loads_no_drawing_library_before_the_first_picture() -> None:
    """matplotlib and numpy would double the start's time."""
    code = "import sys, serving.app; print(sorted({'matplotlib', 'numpy', 'prefect'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
