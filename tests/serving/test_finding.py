"""The list of runs with a filter, an order and values; the comparison; and what is refused, over real databases."""

import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from serving.comparison_schemas import COMPARISON_EXAMPLE, ComparedRuns, KnownFields
from serving.listing import MAX_ID
from serving.schemas import Problem, RunList
from tests.clients.results.places import NOW, Place, publication
from tests.serving.factories import FINAL_METRICS, make_record, make_run, publish_run

OLD_KEYS = ["id", "status", "display_name", "available", "error", "created_at", "completed_at"]
LIST, COMPARE, FIELDS = "/api/quick-tests/", "/api/quick-tests/compare/", "/api/quick-tests/fields/"


def publish_some(place: Place, count: int = 5) -> list[int]:
    """Runs whose recall grows with their number; the even ones are of adam."""
    return [
        publish_run(
            place,
            make_record(
                epochs=11,
                histograms=False,
                final_metrics=FINAL_METRICS | {"test_recall_at_10": number / 100},
                params={"optimizer": "sgd" if number % 2 else "adam", "epochs": 11},
            ),
            name=f"run {number}",
        )
        for number in range(count)
    ]


def test_old_requests_are_answered_as_before(client: TestClient, place: Place) -> None:
    """The same keys in the same order, and the same address of the next page."""
    made = publish_some(place, 3)
    answer = client.get(LIST + "?limit=2")
    assert [list(item) for item in answer.json()["items"]] == [OLD_KEYS, OLD_KEYS]
    assert answer.json()["next"] == f"/api/quick-tests/?limit=2&before={made[1]}"
    (line, *_) = answer.json()["items"]
    assert answer.text.startswith(f'{{"items":[{{"id":{line["id"]},"status":"completed","display_name":"run 2",')


def test_list_is_filtered_ordered_and_paged(client: TestClient, place: Place) -> None:
    """`next` has all that was asked, and meets every run once."""
    made = publish_some(place)
    asked = {
        "filter": "metrics.test_recall_at_10 > 0 and not name = 'run 3'",
        "order_by": "metrics.test_recall_at_10 desc",
        "fields": "metrics.test_recall_at_10,best.val_loss,params.optimizer",
        "archived": "any",
        "limit": "1",
    }
    page = client.get(LIST, params=asked)
    seen = []
    while True:
        RunList.model_validate_json(page.content)
        (line,) = page.json()["items"]
        seen.append((line["id"], line["values"]["metrics.test_recall_at_10"], line["values"]["params.optimizer"]))
        assert line["values"]["best.val_loss"] > 0
        if page.json()["next"] is None:
            break
        page = client.get(page.json()["next"])
    assert seen == [(made[4], 0.04, "adam"), (made[2], 0.02, "adam"), (made[1], 0.01, "sgd")]


def test_line_of_a_new_request_says_more(client: TestClient, place: Place) -> None:
    """Experiment, times, duration, and when it was archived; after the keys that every line has."""
    publish_some(place, 1)
    (line,) = client.get(LIST, params={"order_by": ""}).json()["items"]
    assert list(line)[: len(OLD_KEYS)] == OLD_KEYS
    assert set(line) - set(OLD_KEYS) == {
        "started_at",
        "experiment",
        "duration_s",
        "archived_at",
        "mlflow_deleted_at",
        "values",
    }


def test_empty_parameters_are_as_none(client: TestClient, place: Place) -> None:
    """As a form sends them."""
    made = publish_some(place, 2)
    answer = client.get(LIST + "?filter=&order_by=%20&experiment=&fields=")
    assert [item["id"] for item in answer.json()["items"]] == made[::-1]


def test_every_kind_of_database_answers(any_client: TestClient, any_place: Place) -> None:
    """A filter, an order, a comparison and the fields; of an application's table what it has."""
    one, two = any_place.add_run("one"), any_place.add_run("two")
    any_place.histories.publish(publication(one), now=NOW)
    asked = {"filter": "params.learning_rate = 0.01", "order_by": "metrics.loss asc", "fields": "tags.*"}
    (line,) = any_client.get(LIST, params=asked).json()["items"]
    assert (line["id"], line["values"]) == (one, {"tags.note": "a"})
    found = any_client.get(COMPARE, params={"ids": f"{two},{one},{MAX_ID}"}).json()
    ComparedRuns.model_validate(found)
    assert (found["ids"], found["missing"]) == ([two, one], [MAX_ID])
    for query in (f"before={MAX_ID}", f"before={MAX_ID}&filter=id<{MAX_ID}"):
        assert len(any_client.get(f"{LIST}?{query}").json()["items"]) == 2
    fields = any_client.get(FIELDS, params={"prefix": "params."}).json()
    assert fields == {"fields": [{"name": "params.learning_rate", "type": "number or text"}], "more": False}


def test_archived_runs_are_listed_where_asked(client: TestClient, place: Place) -> None:
    """`true`: alone; `any`: among the others; else they are left out."""
    kept, archived = publish_some(place, 2)
    place.sql("UPDATE quick_tests SET archived_at = '2026-01-15 10:30:00' WHERE id = :id", id=archived)

    def ids(query: str) -> list[int]:
        return [item["id"] for item in client.get(LIST + query).json()["items"]]

    assert ids("") == ids("?archived=false") == ids("?filter=id>0") == [kept]
    assert ids("?archived=true") == [archived]
    assert ids("?archived=any") == [archived, kept]


REFUSED = {
    "filter=metrics.x = 'a'": "`filter`, character 13: metrics.x is compared with a number",
    "filter=(((": "`filter`, character 4",
    "filter=status = 'done'": "`filter`, character 10: a run's status must be one of pending, submitted, running, ",
    "order_by=recall": "`order_by`, character 1: the field must be one of",
    "order_by=metrics.x down": "`order_by`, character 11",
    "fields=metrics.x,": "`fields`, character 11",
    "fields=status": "status is always there",
    "archived=yes": "`archived`",
    "after=x": "`after`",
    "after=" + "A" * 3000: "`after`",
    "filtr=1": "`filtr` is not a parameter of /api/quick-tests/; it takes after, archived, before, experiment, fields, "
    "filter, limit, order_by; did you mean `filter`?",
    "limit=0&filter=id>0": "`limit`",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_cannot_be_asked_is_refused_with_its_place(client: TestClient, query: str) -> None:
    """422, in words that say what may stand there."""
    answer = client.get(f"{LIST}?{quote(query, safe='=&')}")
    assert answer.status_code == 422
    assert REFUSED[query] in Problem.model_validate(answer.json()).detail


def test_place_of_another_order_is_refused(client: TestClient, place: Place) -> None:
    """A list that is ordered otherwise begins with its first page."""
    publish_some(place, 2)
    following = client.get(LIST + "?order_by=name&limit=1").json()["next"]
    after = following.partition("after=")[2]
    assert (
        "ordered by name desc; this one is ordered by id desc" in client.get(f"{LIST}?after={after}").json()["detail"]
    )


@pytest.mark.parametrize(
    "path",
    [
        LIST,
        COMPARE + "?ids=1",
        FIELDS,
        "/api/quick-tests/1/training-history/",
        "/api/quick-tests/1/histogram-data/",
        "/api/quick-tests/1/series/",
        "/health",
    ],
)
def test_unknown_parameter_is_refused_by_name_everywhere(client: TestClient, place: Place, path: str) -> None:
    """Also in the other spelling; a misspelt one must not seem to work."""
    publish_run(place)
    bare, _, query = path.partition("?")
    for spelling in (bare, bare.rstrip("/")):
        assert client.get(f"{spelling}?{query}").status_code == 200
        answer = client.get(f"{spelling}?{query}&nothing=1")
        assert (answer.status_code, "`nothing` is not a parameter of" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    "query", ["filter=id+%3D+1&filter=id+%3D+2", "limit=1&limit=2", "ids=1&ids=2", "prefix=a&prefix=b"]
)
def test_parameter_that_is_there_twice_is_refused(client: TestClient, query: str) -> None:
    """One of two filters must not seem to be both."""
    path = {"ids": COMPARE, "pre": FIELDS}.get(query[:3], LIST)
    answer = client.get(f"{path}?{query}")
    name = query.partition("=")[0]
    assert (answer.status_code, answer.json()["detail"]) == (422, f"`{name}` is given 2 times. Give it once")


def test_unknown_parameter_of_a_change_is_refused(client: TestClient, place: Place) -> None:
    """Nothing is changed then."""
    run = publish_run(place, name="as it was")
    for spelling in (f"{LIST}{run}/", f"{LIST}{run}"):
        answer = client.patch(f"{spelling}?dry_run=1", json={"display_name": "other"})
        assert (answer.status_code, "`dry_run` is not a parameter of" in answer.json()["detail"]) == (422, True)
    assert place.runs.read_run(run).display_name == "as it was"


def test_comparison_shows_what_the_histories_say(client: TestClient, place: Place) -> None:
    """Curves, what differs, the best marked, what a run lacks."""
    one, two = publish_some(place, 2)
    empty = make_run(place, "empty").id
    found = client.get(COMPARE, params={"ids": f"{two},{one},{empty}"}).json()
    ComparedRuns.model_validate(found)
    history = client.get(f"/api/quick-tests/{one}/training-history/").json()
    curves = {curve["name"]: {run["id"]: run["values"] for run in curve["runs"]} for curve in found["curves"]}
    assert curves["val_loss"][one] == history["loss"]["val"]
    assert curves["val_loss"].keys() == {one, two}
    values = {value["field"]: value for value in found["values"]}
    assert values["metrics.test_recall_at_10"]["values"] == [0.01, 0.0, None]
    assert values["metrics.test_recall_at_10"]["best"] == [two]
    assert found["params"]["differ"] == [
        {"name": "epochs", "values": [11, 11, None]},
        {"name": "optimizer", "values": ["sgd", "adam", None]},
    ]
    assert [lacking["available"] for lacking in found["lacks"]] == [True, True, False]


def test_comparison_has_a_tag_and_is_packed(client: TestClient, place: Place) -> None:
    """304 to a client that has it, gzip to one that takes it, and another tag once a run is deleted."""
    one, two = publish_some(place, 2)
    url = f"{COMPARE}?ids={one},{two}"
    plain = client.get(url)
    assert "content-encoding" not in plain.headers
    with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as packed:
        assert json.loads(gzip.decompress(b"".join(packed.iter_raw()))) == plain.json()
    assert packed.headers["etag"] == plain.headers["etag"]
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    again = client.get(url, headers={"If-None-Match": plain.headers["etag"], "Accept-Encoding": "gzip"})
    assert (again.status_code, again.content, "content-encoding" in again.headers) == (304, b"", False)
    place.sql("DELETE FROM quick_tests WHERE id = :id", id=two)
    after = client.get(url, headers={"If-None-Match": plain.headers["etag"]})
    assert (after.status_code, after.json()["ids"], after.json()["missing"]) == (200, [one], [two])
    place.sql("DELETE FROM quick_tests WHERE id = :id", id=one)
    gone = client.get(url)
    assert (gone.status_code, gone.json()["detail"]) == (404, f"none of these runs is there (any more): {one}, {two}")


BAD_IDS = [
    "",
    ",",
    "1,,2",
    "a",
    "1;drop",
    "0",
    "-1",
    "1.5",
    "1.0,2",
    "1e1",
    "9" * 30,
    "9" * 5000,
    "1," * 9_000,
    "\N{ARABIC-INDIC DIGIT ONE}",
]


@pytest.mark.parametrize("ids", BAD_IDS, ids=[text[:12] for text in BAD_IDS])
def test_impossible_ids_are_refused(client: TestClient, ids: str) -> None:
    """422 in few words, which show what may stand there."""
    answer = client.get(COMPARE, params={"ids": ids})
    assert answer.status_code == 422
    assert "ids=1,3,9" in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 200


def test_ids_twice_and_too_many(client: TestClient, place: Place) -> None:
    """An id that is there twice is one run; 21 are refused; without any the parameter is named."""
    (one,) = publish_some(place, 1)
    assert client.get(f"{COMPARE}?ids={one},{one},+{one}").json()["ids"] == [one]
    many = client.get(COMPARE, params={"ids": ",".join(map(str, range(1, 22)))})
    assert (many.status_code, many.json()["detail"]) == (422, "`ids` must name 1 to 20 runs, as ids=1,3,9; it names 21")
    assert "`ids`" in client.get(COMPARE).json()["detail"]


def test_fields_are_suggested(client: TestClient, place: Place) -> None:
    """By how they begin; `more` where the limit cuts."""
    publish_some(place, 2)
    answer = client.get(FIELDS, params={"prefix": "metrics.test", "limit": 1})
    KnownFields.model_validate_json(answer.content)
    assert answer.json() == {"fields": [{"name": "metrics.test_recall_at_10", "type": "number"}], "more": True}
    for bad in ("limit=0", "limit=501", "prefix=" + "a" * 300):
        assert client.get(f"{FIELDS}?{bad}").status_code == 422


HOSTILE: dict[str, str] = {
    "terms": " or ".join(["id=1"] * 5_000),  # a client sends no longer address; the grammar's own tests have more
    "parentheses": "(" * 9_000 + ")" * 9_000,
    "quotes": "'" * 5_001,
    "sql": "name = ''' OR 1=1; DROP TABLE quick_tests; --'",
    "nul": "name = 'a\0b' or params.`\0` = '\0'",
    "unicode": "name like '%\N{GRINNING FACE}\u202e\ufffd%' or tags.`\N{GRINNING FACE}` in ('\u0130')",
    "wildcards": f"name like '{'%a' * 400}b'",
    "largest": " or ".join(["not (metrics.a > 1 and params.b like '%c%')"] * 50),
    "list": f"params.x in ({','.join(repr(str(number)) for number in range(500))})",
    "numbers": "metrics.x in (1e308, -1e308, 5e-324, -0.0, 0)",
    "ids": f"id in ({2**63 - 1}, -{2**63 - 1}, 0)",
    "times": "created_at > '0001-01-01' and created_at < '9999-12-31T23:59:59.999999+00:00'",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_filters_are_answered(any_client: TestClient, any_place: Place, text: str) -> None:
    """With runs or with a reason; never with an error inside, on any kind of database, in any order."""
    run = any_place.add_run("one")
    any_place.histories.publish(publication(run), now=NOW)
    for order in ("id desc", "params.x asc"):
        answer = any_client.get(LIST, params={"filter": text, "order_by": order})
        assert answer.status_code in (200, 422), answer.text
        assert answer.status_code == 200 or len(answer.json()["detail"]) < 700
    assert any_client.get(LIST).json()["items"]


def test_the_example_is_what_is_served() -> None:
    """What a reader copies from the document passes its own schema."""
    ComparedRuns.model_validate(COMPARISON_EXAMPLE)


def test_every_operator_on_every_type(any_client: TestClient, any_place: Place) -> None:
    """Answered or refused as the table says."""
    run = any_place.add_run("one")
    any_place.histories.publish(publication(run), now=NOW)
    answered: list[Any] = []
    for field in (
        "metrics.a",
        "best.a",
        "params.a",
        "tags.a",
        "status",
        "experiment",
        "name",
        "id",
        "created_at",
        "duration_s",
    ):
        for operator in ("=", "!=", "<", "<=", ">", ">=", "like", "not like", "in", "not in"):
            for constant in ("1", "1.5", "'a'", "'2026-01-31'"):
                text = (
                    f"{field} {operator} ({constant})" if operator.endswith("in") else f"{field} {operator} {constant}"
                )
                answer = any_client.get(LIST, params={"filter": text})
                assert answer.status_code in (200, 422), text
                answered += [text] if answer.status_code == 200 else []
    assert len(answered) > 80
