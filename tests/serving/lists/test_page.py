"""The list of runs as a client without a browser gets it."""

import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from switchyard.core.history.publication import Parent
from switchyard.core.runs.edits import RunEdit
from switchyard.core.runs.rows import RunStatus
from tests.clients.results.places import NOW, Place
from tests.serving.factories import make_run
from tests.serving.lists.factories import add_run

LIST = "/quick-tests/"


class Links(HTMLParser):
    """The links of a page by their text, and the checked boxes of runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._href: str | None = None
        self.feed(page.replace("<wbr>", ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._href = dict(attrs).get("href")

    def handle_data(self, data: str) -> None:
        if self._href is not None and data.strip():
            self.found.setdefault(data.strip(), self._href)

    def handle_endtag(self, tag: str) -> None:
        self._href = None if tag == "a" else self._href


def names(page: str) -> list[str]:
    """The runs that are listed, in order."""
    return [unescape(name) for name in re.findall(r'<a href="/quick-tests/\d+" title="([^"]*)"', page)]


def heads(page: str) -> list[str]:
    """The columns."""
    return re.findall(r'<span class="name"[^>]*>([^<]*)</span>', page.replace("<wbr>", ""))


def test_a_line_has_the_metric_with_its_ratio_and_what_differs(client: TestClient, place: Place) -> None:
    """By themselves, without being asked for: the recall on the test, the best loss, params, and a small curve."""
    add_run(place, "one", recall=0.06, experiment="retail", params={"learning_rate": 0.1, "seed": 1})
    add_run(place, "two", recall=0.08, experiment="retail", params={"learning_rate": 1.0, "seed": 1})
    page = client.get(LIST).text
    assert names(page) == ["two", "one"]
    wanted = ["Run", "Status", "test_recall_at_10", "best val_loss", "curve", "experiment", "learning_rate"]
    assert heads(page) == wanted
    text = re.sub(r"<[^>]*>|\s+", " ", page)
    assert re.search(r"★ +best of this page: +0\.08 +4\.00\N{MULTIPLICATION SIGN}", text)
    assert re.search(r"0\.06 +3\.00\N{MULTIPLICATION SIGN}", text)
    assert page.count('class="spark"') == 2
    assert "val_loss, 5 points, from " in page


def test_the_head_of_a_column_orders_by_it_the_better_way_first(client: TestClient, place: Place) -> None:
    """A press orders, the next turns it round; `aria-sort` says which it is."""
    for name, recall in (("middle", 0.06), ("best", 0.08), ("least", 0.02)):
        add_run(place, name, recall=recall)
    add_run(place, "none", recall=None)
    ordered = client.get(Links(client.get(LIST).text).found["test_recall_at_10"]).text
    assert names(ordered) == ["best", "middle", "least", "none"]
    assert 'aria-sort="descending"' in ordered
    turned = client.get(Links(ordered).found["test_recall_at_10"]).text
    assert names(turned) == ["least", "middle", "best", "none"]
    assert 'aria-sort="ascending"' in turned
    assert 'aria-sort="ascending"' in client.get(Links(ordered).found["best val_loss"]).text


def test_a_filter_with_a_mistake_is_shown_at_its_character(client: TestClient, place: Place) -> None:
    """422, with what was written, a caret below it, and where the caret stands for the script."""
    add_run(place, "one")
    answer = client.get(LIST, params={"filter": "metrics.x >> 3 <b>"})
    assert answer.status_code == 422
    page = unescape(answer.text)
    assert "`filter`, character 12:" in page
    assert "  metrics.x >> 3 <b>\n             ^" in page
    assert 'data-wrong-at="11"' in answer.text
    assert 'value="metrics.x &gt;&gt; 3 &lt;b&gt;"' in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"filtr": "1"}, "did you mean `filter`?"),
        ({"limit": "201"}, "`limit` must be a whole number from 1 to 200"),
        ({"limit": "٣"}, "`limit` must be a whole number"),
        ({"before": "x"}, "`before` must be a whole number"),
        ({"group": "owner"}, "`group` must be one of experiment, parent"),
        ({"columns": "created_at,name"}, "`columns`: name is not one to choose"),
        ({"columns": "params.*"}, "`columns`, character 8"),
        ({"columns": [f"params.p{number}" for number in range(31)]}, "`columns` may name 30 at most"),
        ({"order_by": "loss"}, "`order_by`, character 1"),
        ({"after": "nonsense"}, "`after` is no place in this list. Take it unchanged from"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(client: TestClient, asked: dict[str, str], said: str) -> None:
    """As a page that says what it must be."""
    answer = client.get(LIST, params=asked)
    assert answer.status_code == 422
    assert said in unescape(answer.text)
    assert answer.headers["content-type"].startswith("text/html")


def test_pages_go_on_and_back_with_all_that_was_asked(client: TestClient, place: Place) -> None:
    """By keys, in any order; a page that is gone back to is the very same."""
    for number in range(7):
        add_run(place, f"run {number}", recall=number / 100, experiment="retail")
    address = LIST + "?limit=3&order_by=metrics.test_recall_at_10+asc&experiment=retail&selected=2"
    pages = [client.get(address).text]
    while following := Links(pages[-1]).found.get("Next"):
        assert parse_qs(urlsplit(following).query)["selected"] == ["2"]
        pages.append(client.get(following).text)
    assert [names(page) for page in pages] == [
        ["run 0", "run 1", "run 2"],
        ["run 3", "run 4", "run 5"],
        ["run 6"],
    ]
    back = client.get(Links(pages[2]).found["Previous"]).text
    assert names(back) == names(pages[1])
    assert names(client.get(Links(back).found["Previous"]).text) == names(pages[0])
    assert "Previous" not in Links(pages[0]).found
    assert names(client.get(Links(pages[2]).found["First page"]).text) == names(pages[0])


def test_the_way_back_stays_short(client: TestClient, place: Place) -> None:
    """However far a reader goes: an address beyond 8,000 characters is refused by proxies."""
    for number in range(20):
        add_run(place, f"{number:02}" + "é" * 150)
    page = client.get(LIST, params={"limit": 1, "order_by": "name asc"}).text
    addresses = []
    while following := Links(page).found.get("Next"):
        addresses.append(following)
        page = client.get(following).text
    assert len(addresses) == 19
    assert max(map(len, addresses)) < 6_000


def test_old_addresses_go_on_working(client: TestClient, place: Place) -> None:
    """`before` was the only parameter of the page that this one replaces."""
    ids = [add_run(place, f"run {number}") for number in range(3)]
    assert names(client.get(LIST, params={"before": ids[2]}).text) == ["run 1", "run 0"]


def test_archived_runs_are_shown_on_request_and_notes_always(client: TestClient, place: Place) -> None:
    """Notes below the name, cut by the page and not lost: the whole of them is in the title."""
    noted, archived = add_run(place, "noted"), add_run(place, "old")
    place.runs.edit_run(noted, RunEdit(notes="the rate was <too> high"), now=NOW)
    place.runs.edit_run(archived, RunEdit(archived=True), now=NOW)
    page = client.get(LIST).text
    assert names(page) == ["noted"]
    assert 'class="notes" title="the rate was &lt;too&gt; high"' in page
    assert names(client.get(LIST, params={"archived": "any"}).text) == ["old", "noted"]
    alone = client.get(LIST, params={"archived": "true"}).text
    assert names(alone) == ["old"]
    assert ">archived</span>" in alone


def test_runs_are_grouped_by_experiment_and_by_parent(client: TestClient, place: Place) -> None:
    """Under a head that leads to the whole experiment, or to the parent."""
    parent = add_run(place, "parent", experiment="retail")
    child = Parent(quick_test_id=parent, mlflow_run_id="a" * 32)
    add_run(place, "child", experiment="books & more", parent=child)
    add_run(place, "orphan", parent=Parent(quick_test_id=None, mlflow_run_id="b" * 32))
    page = client.get(LIST, params={"group": "experiment"}).text
    titles = re.findall(r'<tr class="group">.*?</tr>', page, re.DOTALL)
    assert [re.sub(r"<[^>]*>|\s+", " ", title).split() for title in titles] == [
        ["No", "experiment", "1", "here"],
        ["books", "&amp;", "more", "1", "here"],
        ["retail", "1", "here"],
    ]
    assert names(client.get(Links(page).found["books & more"]).text) == ["child"]
    page = client.get(LIST, params={"group": "parent"}).text
    assert Links(page).found[f"Children of run {parent}"] == f"/quick-tests/{parent}"
    assert f"Children of MLflow run {'b' * 32}" in page
    assert "No parent" in page


def test_columns_are_chosen_and_named_by_their_fields(client: TestClient, place: Place) -> None:
    """Also odd names; what a run lacks is a dash."""
    add_run(place, "one", params={"a `b`, c": "x" * 400}, tags={"team": "ads"})
    add_run(place, "two")
    page = client.get(LIST, params={"columns": ["tags.team", "params.`a ``b``, c`,duration_s"]}).text
    assert heads(page) == ["Run", "Status", "team", "a `b`, c", "duration"]
    assert "ads" in page
    assert 'data-label="team"><span class="none">\N{EN DASH}' in page
    assert 'value="params.`a ``b``, c`" checked' in page


def test_the_selection_is_kept_in_the_address_over_pages(client: TestClient, place: Place) -> None:
    """Runs of this page are checked, others go along unseen; nonsense selects nothing."""
    ids = [add_run(place, f"run {number}") for number in range(3)]
    page = client.get(LIST, params={"limit": 1, "selected": f"{ids[2]},{ids[0]},x,-1,{'9' * 30}"}).text
    assert re.findall(r'name="ids" value="(\d+)" aria-label="[^"]*" checked', page) == [str(ids[2])]
    assert re.findall(r'type="hidden" name="ids" value="(\d+)"', page) == [str(ids[0])]
    assert "1 selected on other pages." in page


def test_runs_of_too_many_values_are_still_listed(client: TestClient, place: Place) -> None:
    """They are not looked through for what differs, which is said; the metric has its column."""
    params = {f"p{number}": number for number in range(9_990)}
    for number in range(3):
        add_run(place, f"run {number}", params=params)
    page = client.get(LIST).text
    assert len(names(page)) == 3
    assert "too many values to look through" in page
    assert "test_recall_at_10" in heads(page)


def test_an_empty_list_says_what_to_do(client: TestClient, place: Place) -> None:
    """No run at all; none of the filter; none after these."""
    assert "There is no run yet." in client.get(LIST).text
    make_run(place)
    assert "No run is found." in client.get(LIST, params={"filter": "status = 'failed'"}).text
    assert "There is no older run." in client.get(LIST, params={"before": 1}).text
    ordered = client.get(LIST, params={"before": 1, "order_by": "name asc"}).text
    assert "There is no run after these." in ordered


def test_names_and_values_are_escaped_wherever_they_stand(client: TestClient, place: Place) -> None:
    """Also one of 5,000 characters; nothing of it becomes a tag."""
    hostile = "<script>alert(1)</script>\"'&`" + "x" * 5_000
    run = add_run(place, hostile, experiment=hostile, params={hostile[:200]: hostile}, tags={"t": hostile})
    place.runs.edit_run(run, RunEdit(notes=hostile), now=NOW)
    add_run(place, "other")
    place.runs.end_run(make_run(place, "failed").id, RunStatus.FAILED, error=hostile, now=NOW)
    for asked in ({}, {"group": "experiment"}, {"columns": "tags.t,experiment,differing"}, {"experiment": hostile}):
        page = client.get(LIST, params=asked).text
        assert "<script>alert" not in page
        assert page.count("</script>") == page.count("<script")
        assert hostile in unescape(page)
        assert not re.search(r"\son[a-z]+=|style=|https?://", page)


def test_the_page_may_send_forms_to_this_server_alone(client: TestClient) -> None:
    """And loads nothing from elsewhere."""
    policy = client.get(LIST).headers["content-security-policy"]
    assert "form-action 'self'" in policy
    assert "default-src 'none'" in policy
