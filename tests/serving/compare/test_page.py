"""Runs side by side, as a client without a browser gets them."""

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from switchyard.core.metrics.record import OtherSeries
from tests.clients.results.places import Place
from tests.serving.factories import make_run
from tests.serving.lists.factories import add_run


def rows(page: str, table: str) -> dict[str, list[str]]:
    """The cells of a table's rows, as text, by the row's name."""
    match = re.search(rf'<table class="sides" id="{table}">.*?</table>', page, re.DOTALL)
    assert match, f"no table {table}"
    found = {}
    for row in re.findall(r"<tr[ >].*?</tr>", match[0].partition("<tbody>")[2], re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        name, *texts = [unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", cell)).strip()) for cell in cells]
        found[name] = texts
    return found


def test_what_differs_is_side_by_side_with_the_best_marked_in_words(client: TestClient, place: Place) -> None:
    """Params, tags and values, in the order of the ids; what a run lacks is said, what is the same stands apart."""
    first = add_run(place, "one", recall=0.06, params={"learning_rate": 0.1, "dropout": 0.2}, tags={"team": "ads"})
    second = add_run(place, "two", recall=0.08, params={"learning_rate": 1.0}, tags={"team": "search"})
    answer = client.get("/compare", params={"ids": f"{second},{first}"})
    assert answer.status_code == 200
    page = answer.text.replace("<wbr>", "")
    assert rows(page, "params") == {"learning_rate": ["1", "0.1"], "dropout": ["none", "0.2"]}
    assert rows(page, "tags") == {"team": ["search", "ads"]}
    assert rows(page, "values")["test_recall_at_10 higher is better"] == ["0.08 ★ best", "0.06"]
    assert "best val_loss lower is better" not in rows(page, "values")
    assert "parameter is the same in all" in page
    assert "<span>optimizer</span> <code>adam</code>" in page
    assert re.search(r"two</a><ul><li>parameters: dropout</li></ul>", page)


def test_recall_stands_beside_popularity(client: TestClient, place: Place) -> None:
    """With the multiple of it; the best of each k marked, and a run without any said to have none."""
    final = {
        f"{part}recall_at_{k}": k / 100 * scale for k in (5, 10) for part, scale in (("test_", 1), ("popularity_", 0.5))
    }
    ids = [
        add_run(place, "one", final_metrics=final),
        add_run(place, "two", recall=0.2),
        add_run(place, "three", recall=None),
    ]
    page = client.get("/compare", params={"ids": ids}).text
    found = rows(page, "recalls")
    assert list(found) == ["recall@5", "recall@10"]
    assert [cell.split() for cell in found["recall@10"]] == [
        ["0.1", "2.00\N{MULTIPLICATION SIGN}", "of", "0.05"],
        ["0.2", "★", "best", "10.00\N{MULTIPLICATION SIGN}", "of", "0.02"],
        ["none"],
    ]
    assert "Recall at k of each run, and of popularity" in page


def test_the_first_charts_are_there_without_a_script(client: TestClient, place: Place) -> None:
    """The losses, with one look for each run in all of them; a search brings others, also of steps."""
    other = {"batch_loss": OtherSeries(steps=[0, 7, 2**53 + 1], values=[3.0, 2.0, 1.0])}
    ids = [add_run(place, "one", other_series=other, metrics={"recall": [0.1] * 5}), add_run(place, "two")]
    page = client.get("/compare", params={"ids": ids}).text
    assert re.findall(r'data-curve="([^"]*)"', page) == ["val_loss", "loss"]
    assert page.count('<path class="line run-0 dash-0" d="M') == page.count('<path class="line run-1 dash-0" d="M')
    searched = client.get("/compare", params={"ids": ids, "find": "Batch"}).text
    assert re.findall(r'data-curve="([^"]*)"', searched) == ["batch_loss"]
    assert "batch_loss of 1 runs by step" in searched
    assert 'value="Batch"' in searched
    nothing = client.get("/compare", params={"ids": ids, "find": "no such name"}).text
    assert "No curve has this name." in nothing
    assert "No parameter that differs has this name." in nothing


def test_the_axes_of_the_scatter_are_chosen_in_the_address(client: TestClient, place: Place) -> None:
    """Runs without one of the two are named; what cannot stand on a logarithmic axis too."""
    ids = [
        add_run(place, "one", recall=0.05, params={"learning_rate": "0.1", "depth": 0}),
        add_run(place, "two", recall=0.06, params={"learning_rate": "1.0", "depth": 3}),
        add_run(place, "three", recall=0.07, params={"depth": 30, "optimizer": "sgd"}),
    ]
    page = client.get("/compare", params={"ids": ids}).text
    assert "test_recall_at_10 by learning_rate of 2 runs" in page
    assert f"Left out, because they lack one of the two: {ids[2]}" in page
    axes = {"x": "params.depth", "y": "best.val_loss", "log_x": "on"}
    page = client.get("/compare", params={"ids": ids, **axes}).text
    assert "val_loss by depth of 2 runs" in page
    assert f"or are not above 0: {ids[0]}" in page
    assert page.count('<g class="point run-') == 2
    assert "params.optimizer" not in page
    unknown = client.get("/compare", params={"ids": ids, "x": "params.none", "y": "y"}).text
    assert "test_recall_at_10 by learning_rate of 2 runs" in unknown


def test_twenty_runs_each_have_a_look_of_their_own(client: TestClient, place: Place) -> None:
    """Eight colours, then dashes and other shapes."""
    ids = [add_run(place, f"run {number}", params={"learning_rate": number + 1}) for number in range(20)]
    page = client.get("/compare", params={"ids": ",".join(map(str, ids))}).text
    runs = re.search(r'<ul id="runs">.*?</ul>', page, re.DOTALL)
    assert runs
    assert len(set(re.findall(r'class="(line run-\d dash-\d)"', runs[0]))) == 20
    points = re.findall(r'<g class="point (run-\d)".*?</title><(circle|rect|path)', page)
    assert len(set(points)) == 20


@pytest.mark.parametrize(
    ("ids", "status", "said"),
    [
        ("", 422, "No runs are named."),
        ("1,x", 422, "`ids` must be whole numbers"),
        ("0", 422, "`ids` must be whole numbers"),
        ("1e1,1.0", 422, "`ids` must be whole numbers"),
        (",".join(map(str, range(1, 22))), 422, "`ids` must name 1 to 20 runs"),
        ("9" * 5_000, 422, "`ids` must be whole numbers"),
        ("998,999", 404, "none of these runs is there (any more): 998, 999"),
    ],
)
def test_ids_that_cannot_be_compared_get_a_clear_page(client: TestClient, ids: str, status: int, said: str) -> None:
    """Not half a comparison."""
    answer = client.get("/compare", params={"ids": ids})
    assert answer.status_code == status
    assert said in unescape(answer.text)
    assert answer.headers["content-type"].startswith("text/html")


def test_what_was_named_in_vain_or_twice_is_said(client: TestClient, place: Place) -> None:
    """The others are compared; one alone too, with the way to others."""
    run = add_run(place, "one")
    page = client.get("/compare", params={"ids": [run, f"{run}, 999"]}).text
    assert "No run has the id 999 now. It may have been deleted." in page
    assert f"{run}: named more than once, shown once." in page
    assert f'href="/quick-tests/?selected={run},999"' in page
    assert "did you mean `ids`" in unescape(client.get("/compare", params={"id": run}).text)


def test_runs_without_anything_are_shown_as_such(client: TestClient, place: Place) -> None:
    """No history, a legacy one, one that cannot be read: a page all the same."""
    ids = [make_run(place, name).id for name in ("empty", "legacy", "broken")]
    legacy = (
        '{"available": true, "epochs": [0, 5, 10], "loss": {"train": [1.5, NaN, 0.9], "val": [1.6]}, "gradient": {}}'
    )
    place.set_history(ids[1], legacy)
    place.set_history(ids[2], '{"available": true, "loss": ' + "[" * 500)
    answer = client.get("/compare", params={"ids": ids})
    assert answer.status_code == 200
    assert "nothing of it is published" in answer.text
    assert 'data-curve="loss"' in answer.text


def test_names_and_values_are_escaped_and_bounded(client: TestClient, place: Place) -> None:
    """Of runs, params, tags and curves; thousands of values do not make thousands of rows."""
    hostile = "<script>alert(1)</script>\"'&`"
    many = {f"value {number}": float(number) for number in range(2_000)}
    ids = [
        add_run(
            place,
            hostile + "x" * 5_000 + str(number),
            params={hostile: hostile + str(number), "n": number, "long": "y" * 5_000 + str(number)},
            tags={hostile: hostile + str(number)},
            metrics={hostile: [number] * 5},
            final_metrics={name: value + number for name, value in many.items()} | {hostile: number},
        )
        for number in range(2)
    ]
    for asked in ({}, {"find": hostile}, {"y": f"metrics.`{hostile.replace('`', '``')}`"}):
        page = client.get("/compare", params={"ids": ids, **asked}).text
        assert "<script>alert" not in page
        assert page.count("</script>") == page.count("<script")
        assert not re.search(r"\son[a-z]+=|style=|https?://", page)
        assert len(page) < 400_000
    page = client.get("/compare", params={"ids": ids}).text
    assert len(rows(page, "values")) == 60
    assert "more have no row here" in page
