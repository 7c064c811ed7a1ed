"""The pages of models, as a client without a browser gets them."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from switchyard.core.errors import TryAgain
from switchyard.core.predictions.arms import Arm
from switchyard.core.predictions.feedback import Kind
from switchyard.core.registry.rows import Tombstone
from switchyard.core.registry.stages import Stage, Validation
from tests.clients.results.places import Place
from tests.serving.conftest import open_client
from tests.serving.factories import publish_run
from tests.serving.models.factories import EVIDENCE, SHOP, files, judge, predict, promote, register, say, stage, tag

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}\u202eevil\u202c \0 \N{GRINNING FACE}"
STORED = HOSTILE.replace("\0", "\ufffd")


def get(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def text(page: str) -> str:
    """As a reader sees it, on one line."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def rows(page: str, caption: str) -> list[list[str]]:
    """The cells of the table with that caption, as text."""
    match = re.search(rf'<caption id="{caption}">.*?</table>', page, re.DOTALL)
    assert match, f"no table {caption}"
    body = match[0].partition("<tbody>")[2]
    found = re.findall(r"<tr[ >].*?</tr>", body, re.DOTALL)
    return [[text(cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in found]


def test_list_says_who_answers_and_links_to_each_model(any_client: TestClient, any_place: Place) -> None:
    """On every database; without any model it says how to make one."""
    assert "switchyard register" in get(any_client, "/models/")
    register(any_place, "empty")
    register(any_place)
    register(any_place)
    promote(any_place, 1, None)
    stage(any_place, 2, share=0.1)
    page = get(any_client, "/models/")
    empty, shop = rows(page, "models-caption")
    assert (empty[0], empty[1], empty[4], empty[5]) == ("empty", "nothing in Production", "none", "1")
    assert (shop[0], shop[1], shop[3], shop[5]) == (SHOP, "version 1", "bob", "2")
    assert shop[4].split() == ["version", "2", "10", "%", "of", "the", "traffic"]
    assert "moved" in shop[6]
    assert 'href="/models/shop/"' in page


def test_model_page_has_stages_versions_evidence_and_history(any_client: TestClient, any_place: Place) -> None:
    """On every database; the first comparison is open."""
    run = any_place.add_run()
    register(any_place, run=run)
    register(any_place, parameters={"epochs": 5, "learning_rate": 0.25})
    promote(any_place, 1, None)
    judge(any_place, 2, 1)
    promote(any_place, 2, 1)
    any_place.models.set_alias(SHOP, "nightly", 1)
    page = get(any_client, f"/models/{SHOP}/")
    second, first = rows(page, "versions-caption")
    assert (second[0], second[1].split()[-1], second[3]) == ("version 2", "Production", "none")
    assert second[2].split() == ["✓", "passed", "against", "version", "1"]
    assert (second[4], first[4]) == ("learning_rate 0.25", "none")
    assert (first[3], first[6]) == (f"run {run}", "ann")
    assert f'href="/quick-tests/{run}"' in page
    (measured,) = rows(page, "evidence-4-1")
    assert measured == ["recall at 10", "0.081", "0.072", "0.009", "0.004 to 0.014"]
    said = text(page)
    for expected in (
        EVIDENCE["data"]["fingerprint"],
        "last day 2026-01-14",
        'an unknown key of ["some",{"later":"version"}]',
        "@nightly: version 1",
        "Version 2 promoted from None to Production, in the place of version 1",
        "(passed against version 1)",
    ):
        assert expected in said
    assert "<details open>" in page
    assert "forced" not in said


def test_forced_promotion_shows_for_ever(client: TestClient, place: Place) -> None:
    """On the model's page also when another version is champion since, and on the version's own."""
    for _ in range(3):
        register(place)
    promote(place, 1, None)
    promote(place, 2, 1, force=True, reason="the other one is broken")
    page = get(client, f"/models/{SHOP}/")
    assert "The champion was promoted past the comparison" in page
    assert "forced" in rows(get(client, "/models/"), "models-caption")[0][1]
    judge(place, 3, 2)
    promote(place, 3, 2)
    for number in range(60):
        stage(place, 1, Stage.NONE if number % 2 == 0 else Stage.ARCHIVED)
    page = get(client, f"/models/{SHOP}/")
    assert "The champion was promoted past the comparison" not in page
    forced = page.partition("Promoted past a comparison")[2].partition('id="history"')[0]
    assert "the other one is broken" in forced
    assert "Version 2" in forced
    assert "It was promoted past the comparison" in get(client, f"/models/{SHOP}/versions/2/")


def test_model_with_nothing_in_production_says_so_and_since_when(client: TestClient, place: Place) -> None:
    """And the command that promotes a version that may be; a tombstoned one may not."""
    register(place)
    assert "switchyard promote &#39;shop&#39; 1" in get(client, f"/models/{SHOP}/").replace("'", "&#39;")
    promote(place, 1, None)
    stage(place, 1, Stage.ARCHIVED, reason="bad")
    register(place)
    place.models.tombstone(Tombstone(name=SHOP, version=2, reason="leaks"))
    page = text(get(client, f"/models/{SHOP}/"))
    assert re.search(r"Nothing is in Production Version 1 was there until 20\d\d-", page)
    assert "switchyard promote 'shop' 1" in page
    assert "tombstoned" in page


def test_version_page_has_origin_files_and_its_own_history(any_client: TestClient, any_place: Place) -> None:
    """On every database."""
    register(any_place)
    register(
        any_place, run=7, image="i@sha256:1", code_version="0.2.0", data_uri="gs://data", listed=files(**{"é/ö": "e"})
    )
    promote(any_place, 1, None)
    judge(any_place, 2, 1, status=Validation.FAILED)
    page = get(any_client, f"/models/{SHOP}/versions/2/")
    listed = rows(page, "files-caption")
    assert [row[0] for row in listed] == ["embeddings/products", "model/saved_model", "score/weights", "é/ö"]
    assert listed[0][1:] == ["1 kB", "bbbbbbbbbbbb copy the sha256 bbbbbbbbbbbb"]
    said = text(page)
    for expected in ("run 7", "image i@sha256:1", "code version 0.2.0", "data uri gs://data", "epochs 5"):
        assert expected in said
    assert "failed against version 1" in said
    assert "promoted" not in said
    assert f'href="/models/{SHOP}/differences/?from=1&amp;to=2"' in page


def test_differences_between_two_versions(any_client: TestClient, any_place: Place) -> None:
    """Origin, parameters, files, and the way to the runs' comparison."""
    register(any_place, run=1, parameters={"lr": 0.1, "gone": None, "same": [1]}, code_version="0.1.0")
    changed = files(**{"model/saved_model": "d", "score/weights": "", "score/prior": "e"})
    register(any_place, run=2, parameters={"lr": 0.2, "same": [1]}, code_version="0.2.0", listed=changed)
    page = get(any_client, f"/models/{SHOP}/differences/?from=1&to=2")
    assert ["code version", "0.1.0", "0.2.0"] in rows(page, "origins")
    assert rows(page, "params") == [["lr", "0.1", "0.2"], ["gone", "\N{EN DASH}", "none"]]
    assert [row[:2] for row in rows(page, "files-caption")] == [
        ["model/saved_model", "changed"],
        ["score/prior", "added"],
        ["score/weights", "removed"],
    ]
    assert 'href="/compare?ids=1,2"' in page
    back = get(any_client, f"/models/{SHOP}/differences/?from=2&to=1")
    assert [row[1] for row in rows(back, "files-caption")] == ["changed", "removed", "added"]
    same = text(get(any_client, f"/models/{SHOP}/differences/?from=1&to=1"))
    assert "No parameter differs" in same
    assert "No file differs" in same
    assert "model shop has no version 9" in get(any_client, f"/models/{SHOP}/differences/?from=1&to=9", 404)
    promote(any_place, 1, None)
    assert "from version 1 to 2" in text(get(any_client, f"/models/{SHOP}/differences/"))


def test_run_page_leads_to_the_versions_that_came_of_it(client: TestClient, place: Place) -> None:
    """At once, also where the page was kept from before."""
    run = publish_run(place)
    assert "Registered as" not in get(client, f"/quick-tests/{run}")
    register(place, run=run)
    register(place, "a b", run=run)
    promote(place, 1, None)
    page = get(client, f"/quick-tests/{run}")
    assert "Registered as a b , version 1 , shop , version 1 (Production)" in text(page)
    assert 'href="/models/a%20b/versions/1/"' in page
    assert 'href="/models/"' in page


def test_texts_from_people_are_escaped_and_long_ones_fit(client: TestClient, place: Place) -> None:
    """Names of people, reasons, descriptions, parameters, evidence, paths."""
    register(place, by=HOSTILE, description=HOSTILE, parameters={HOSTILE: HOSTILE}, image=HOSTILE, code_version="<i>")
    register(place, listed=files(**{"<b>\u202e'\"": "e"}), parameters={HOSTILE: 2})
    promote(place, 1, None, by=HOSTILE, reason=HOSTILE * 100)
    judge(place, 2, 1, evidence={HOSTILE: HOSTILE, "list": [{"name": HOSTILE, HOSTILE: 1}]}, by=HOSTILE)
    for path in ("", "versions/1/", "versions/2/", "differences/?from=1&to=2"):
        page = get(client, f"/models/{SHOP}/{path}")
        assert "<script>alert" not in page
        assert "<i>" not in page
        assert "<b>\u202e" not in page
        assert "\0" not in page
        assert page.count("</script>") == page.count("<script")
        assert not re.search(r"\son[a-z]+=|\sstyle=", re.sub(r'"[^"]*"', '""', page))
        assert STORED.split("{{")[0][:20] in unescape(page)
    assert "<script>alert" not in get(client, "/models/")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing/", 404),
        ("nothing/versions/1/", 404),
        ("nothing/differences/", 404),
        ("a%00b/", 404),
        ("%E2%80%AE/", 404),
        ("shop/versions/9/", 404),
        ("shop/versions/0/", 422),
        ("shop/versions/x/", 422),
        ("shop/versions/99999999999999999999999/", 422),
        ("shop/?versions_before=x", 422),
        ("shop/?versions_before=1&versions_before=2", 422),
        ("shop/?page=2", 422),
        ("shop/?days=31", 422),
        ("shop/differences/?from=0", 422),
        ("?after=%00", 422),
        ("?limit=3", 422),
    ],
)
def test_what_is_not_there_or_not_taken_is_refused(client: TestClient, place: Place, path: str, status: int) -> None:
    """On a page that says so."""
    register(place)
    assert "<h1>" in get(client, f"/models/{path}", status)


def test_pages_of_a_large_model_lead_to_everything_once(client: TestClient, place: Place) -> None:
    """Ten thousand versions, registered past the port: each page is small, and the last one ends."""
    register(place)
    up_to = "WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 10000) INSERT INTO"
    kept = "name, stage, validation_status, judgement, digest, source_uri, lineage, description, created_at, created_by"
    place.sql(
        f"{up_to} switchyard_model_versions ({kept}, version, source_key) "
        f"SELECT {kept}, n, 'run:' || n FROM switchyard_model_versions, n WHERE version = 1"
    )
    kept = "name, act, from_stage, to_stage, at, by, reason, forced, evidence"
    place.sql(
        f"{up_to} switchyard_model_transitions ({kept}, seq, version) "
        f"SELECT {kept}, n, n FROM switchyard_model_transitions, n WHERE seq = 1"
    )
    place.sql("UPDATE switchyard_models SET last_number = 10000, revision = 10000")
    page = get(client, f"/models/{SHOP}/")
    assert "50 of 10000 versions" in page
    assert len(page) < 200_000
    seen: list[str] = []
    address: str | None = f"/models/{SHOP}/?versions_before=121"
    while address:
        page = get(client, address)
        seen += [row[0] for row in rows(page, "versions-caption")]
        link = re.search(r'href="([^"#]*\?versions_before=\d+)#', page)
        address = link[1] if link else None
    assert seen == [f"version {number}" for number in range(120, 0, -1)]
    assert 'history_before=9951#history"' in page
    assert "There is no older version" in get(client, f"/models/{SHOP}/?versions_before=1")


def test_version_without_files_stands_and_says_so(client: TestClient, place: Place) -> None:
    """As an import leaves one whose files cannot be read; with its tags, after numbers that were never given."""
    register(place)
    place.sql("UPDATE switchyard_models SET last_number = 8, description = :said", said=HOSTILE.replace("\0", ""))
    register(place)
    place.sql("UPDATE switchyard_model_versions SET digest = '', version = 2 WHERE version = 9")
    place.sql("DROP TRIGGER switchyard_model_files_no_update")
    place.sql("UPDATE switchyard_model_files SET version = 2 WHERE version = 9")
    tag(place, 2, "team", HOSTILE)
    tag(place, 0, "owner", "search")
    place.sql("DROP TRIGGER switchyard_model_files_no_delete")
    place.sql("DELETE FROM switchyard_model_files WHERE version = 2")
    page = text(get(client, f"/models/{SHOP}/versions/2/"))
    assert "It has no files" in page
    assert "digest none: it was imported without its files" in page
    assert f"team : {STORED.split('{{')[0]}" in page
    model = get(client, f"/models/{SHOP}/")
    assert "owner : search" in text(model)
    assert re.findall(r'name="(?:from|to)"[^>]* value="(\d+)"', model) == ["1", "2"]
    removed: list[Any] = rows(get(client, f"/models/{SHOP}/differences/?from=1&to=2"), "files-caption")
    assert [row[1] for row in removed] == ["removed"] * 3


def test_traffic_and_feedback_of_both_arms(any_client: TestClient, any_place: Place) -> None:
    """Of the days that are asked for: predictions, fallbacks, rates with intervals, and mean values."""
    register(any_place)
    register(any_place)
    promote(any_place, 1, None)
    stage(any_place, 2)
    now = datetime.now(UTC)
    for number in range(20):
        arm, version = (Arm.CHAMPION, 1) if number < 15 else (Arm.CHALLENGER, 2)
        at = now - timedelta(days=3 if number == 0 else 0, minutes=1)
        predict(any_place, number, at=at, version=version, arm=arm, fallback=number == 19)
    for number in (1, 2, 3):
        say(any_place, number, Kind.PURCHASE, value=10.0 * number, now=now)
    say(any_place, 15, Kind.CLICK, now=now)
    page = get(any_client, f"/models/{SHOP}/")
    second, first = rows(page, "traffic-caption")
    assert (second[:2], first[:2]) == (["version 2", "challenger"], ["version 1", "champion"])
    assert (first[2], first[3], second[2], second[3]) == ("15 75 %", "0", "5 25 %", "1")
    assert (first[4], first[5]) == ("none", "20 % (7.05 to 45.2) 3 times, mean value 20")
    assert (second[4], second[5]) == ("20 % (3.62 to 62.4) once", "none")
    day = rows(get(any_client, f"/models/{SHOP}/?days=1"), "traffic-caption")
    assert day[1][2] == "14 73.7 %"
    register(any_place, "other")
    assert "Nothing was predicted in these days" in get(any_client, "/models/other/")


def test_page_stands_where_counting_takes_too_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so in the place of the numbers."""

    def give_up(*_: object, **__: object) -> None:
        raise TryAgain("the database takes too long")

    register(place)
    monkeypatch.setattr(place.predictions, "count", give_up)
    for client in open_client(place):
        page = get(client, f"/models/{SHOP}/")
        assert "Counting it takes too long" in page
        assert "1 of 1 versions" in page


def test_pages_are_sent_once_to_who_has_them(client: TestClient, place: Place) -> None:
    """304 until something changes, with the last slash and without."""
    register(place)
    for path in ("/models", f"/models/{SHOP}", f"/models/{SHOP}/versions/1", f"/models/{SHOP}/differences"):
        etag = client.get(path).headers["etag"]
        again = client.get(f"{path}/", headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
    etag = client.get(f"/models/{SHOP}").headers["etag"]
    promote(place, 1, None)
    assert client.get(f"/models/{SHOP}", headers={"If-None-Match": etag}).status_code == 200
