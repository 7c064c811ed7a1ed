"""Feedback over HTTP: kept once, credited to the version that answered, and never in the way of an answer."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

import serving.predictions.feedback
from serving.predictions.app import Application, Options, create_app
from switchyard.clients.connect import Outside
from switchyard.clients.results.open import ResultsPorts
from switchyard.clients.settings import read_settings
from switchyard.clients.token_file import add_token
from switchyard.core.access.tokens import Scope, make_token
from switchyard.core.predictions.arms import MIN_CALLS, Arm
from switchyard.core.registry.rows import StageMove
from switchyard.core.registry.stages import Stage
from tests.clients.results.places import Place, Places
from tests.flows.polling import wait_for
from tests.postgres import Postgres
from tests.predicting import promote, register_folder, write_model, write_score
from tests.serving.predictions.two_models import find_buyers
from tests.silent_proxy import silent_proxy

NOBODYS = "00000000-0000-4000-8000-000000000001"
JSON = {"Content-Type": "application/json"}


class Served(Outside):
    """A place's outside under settings of a test."""

    def __init__(self, place: Place, **environ: str) -> None:
        super().__init__(read_settings({"RESULTS_URL": place.url, "RESULTS_TABLE": place.table, **environ}))
        self._place = place

    @property
    def _results(self) -> ResultsPorts:
        return self._place.ports


Serve = Callable[..., TestClient]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves the champion of a place's model, asked from this machine."""
    opened: list[TestClient] = []

    def serve_(place: Place, outside: Outside | None = None, **environ: str) -> TestClient:
        given = {"STATE_DIR": str(tmp_path / "state"), **environ}
        app = create_app(outside or Served(place, **given), Options())
        app.routes.holder.look()
        here: dict[str, Any] = {"base_url": "http://127.0.0.1:8080", "client": ("127.0.0.1", 5000)}
        client = TestClient(app, raise_server_exceptions=False, **here)
        client.__enter__()
        opened.append(client)
        return client

    yield serve_
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def shop(place: Place, tmp_path: Path) -> Place:
    """A place with a model in Production."""
    return add_model(place, tmp_path)


@pytest.fixture
def any_shop(any_place: Place, tmp_path: Path) -> Place:
    """The same on each kind of database and of runs' table."""
    return add_model(any_place, tmp_path)


def add_model(place: Place, folder: Path) -> Place:
    promote(place.models, register_folder(place.models, write_model(folder / "model 1")))
    return place


def app_of(client: TestClient) -> Application:
    assert isinstance(client.app, Application)
    return client.app


def predict(client: TestClient, *buyer_ids: str) -> list[dict[str, Any]]:
    """The predictions, whose rows are there."""
    recorder = app_of(client)._behind.recorder
    before = recorder.written
    answer = client.post("/predict", json={"instances": list(buyer_ids), "parameters": {"k": 3}})
    assert answer.status_code == 200, answer.text
    wait_for(lambda: recorder.written == before + len(buyer_ids))
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def tell(client: TestClient, prediction_id: str, kind: str = "click", key: str = "", **more: Any) -> Response:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"prediction_id": prediction_id, "kind": kind, **more}
    return client.post("/feedback", json=body, headers=headers)


def test_statistics_of_a_model_that_is_not_there_say_so(shop: Place, serve: Serve) -> None:
    """A name misspelt is no model without traffic; of one that is there, and was asked nothing, there is nothing."""
    client = serve(shop)
    answer = client.get("/feedback/stats?model=shoop")
    assert answer.status_code == 404
    assert (
        answer.json()["detail"] == "There is no model 'shoop'. List the models: switchyard models, or the page /models"
    )
    answer = client.get("/feedback/stats?model=shop")
    assert (answer.status_code, answer.json()["arms"]) == (200, [])


def test_feedback_is_credited_to_the_version_that_answered(any_shop: Place, serve: Serve) -> None:
    """From an answer to a rate with its interval."""
    client = serve(any_shop)
    first, second = predict(client, "b1", "nobody knows me")
    told = tell(client, first["prediction_id"], product_id=first["product_ids"][0])
    assert told.status_code == 200, told.text
    said = told.json()
    assert (said["model"], said["version"], said["arm"], said["matched"]) == ("shop", 1, "champion", True)
    assert tell(client, second["prediction_id"], "purchase", value=12.5).status_code == 200
    answer = client.get("/feedback/stats").json()
    (arm,) = answer["arms"]
    assert (answer["model"], arm["version"], arm["arm"], arm["predictions"]) == ("shop", 1, "champion", 2)
    clicks, purchases = arm["kinds"]
    assert (clicks["kind"], clicks["predictions"], clicks["feedback"]) == ("click", 1, 1)
    assert clicks["rate"]["rate"] == 0.5
    assert 0 < clicks["rate"]["low"] < 0.5 < clicks["rate"]["high"] < 1
    assert (purchases["kind"], purchases["mean_value"]) == ("purchase", 12.5)
    assert answer["unmatched"] == []


def test_same_feedback_twice_is_kept_once(shop: Place, serve: Serve) -> None:
    """The second answer is the first one's, and says that it is; another value under the same key is refused."""
    client = serve(shop)
    (one,) = predict(client, "b1")
    first = tell(client, one["prediction_id"], product_id="p1", value=1)
    again = tell(client, one["prediction_id"], product_id="p1", value=1)
    assert (again.status_code, again.json()) == (200, first.json())
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    other = tell(client, one["prediction_id"], product_id="p1", value=2)
    assert other.status_code == 409
    assert "Idempotency-Key" in other.json()["detail"]
    assert tell(client, one["prediction_id"], key="k1", product_id="p1", value=2).status_code == 200
    assert tell(client, one["prediction_id"], "like", key="k1").status_code == 409
    metrics = client.get("/metrics").text
    for line in (
        'switchyard_feedback_total{kind="click",result="again"} 1.0',
        'switchyard_feedback_total{kind="click",result="new"} 2.0',
        'switchyard_feedback_total{kind="like",result="refused"} 1.0',
    ):
        assert line in metrics


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_at_once_are_kept_once(places: Places, tmp_path: Path, kind: str, serve: Serve) -> None:
    """By two servers over one database; all are answered the same."""
    place = add_model(places.make(kind, tmp_path), tmp_path)
    clients = [serve(place), serve(place)]
    (one,) = predict(clients[0], "b1")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda turn: tell(clients[turn % 2], one["prediction_id"]), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count(None) == 1


def test_feedback_before_its_predictions_row_is_joined_later(shop: Place, serve: Serve) -> None:
    """It says that no one knows its version yet; the same call later says which."""
    client = serve(shop)
    (one,) = predict(client, "b1")
    (row,) = shop.sql("SELECT * FROM switchyard_predictions")
    shop.sql("DELETE FROM switchyard_predictions")
    early = tell(client, one["prediction_id"])
    assert (early.status_code, early.json()["matched"], early.json()["version"]) == (200, False, None)
    assert client.get("/feedback/stats").json()["unmatched"] == [{"kind": "click", "waiting": 1, "never": 0}]
    values = row._asdict()
    shop.sql(
        f"INSERT INTO switchyard_predictions ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})",
        **values,
    )
    late = tell(client, one["prediction_id"])
    assert (late.json()["matched"], late.json()["version"]) == (True, 1)
    answer = client.get("/feedback/stats").json()
    assert (answer["unmatched"], answer["arms"][0]["kinds"][0]["predictions"]) == ([], 1)


def test_feedback_on_nothing_is_kept_apart(shop: Place, serve: Serve) -> None:
    """An invented id is no one's success."""
    client = serve(shop)
    assert tell(client, NOBODYS).status_code == 200
    answer = client.get("/feedback/stats").json()
    assert (answer["arms"], answer["unmatched"]) == ([], [{"kind": "click", "waiting": 1, "never": 0}])
    shop.sql("UPDATE switchyard_feedback SET at = '2026-01-01 00:00:00.000000'")
    assert client.get("/feedback/stats").json()["unmatched"] == [{"kind": "click", "waiting": 0, "never": 1}]


def test_both_arms_have_statistics(shop: Place, serve: Serve, tmp_path: Path) -> None:
    """The challenger's share of buyers is answered, recorded and counted as its own."""
    second = register_folder(shop.models, write_model(tmp_path / "model 2", seed=2))
    shop.models.move(StageMove(name="shop", version=2, stage=Stage.STAGING, share=0.5))
    client = serve(shop)
    theirs = find_buyers(Arm.CHALLENGER, 2, digest=second.digest)
    ours = find_buyers(Arm.CHAMPION, 3, digest=second.digest)
    answered = predict(client, *theirs, *ours, "")
    assert [(one["version"], one["arm"]) for one in answered] == 2 * [(2, "challenger")] + 4 * [(1, "champion")]
    assert tell(client, answered[0]["prediction_id"]).json()["arm"] == "challenger"
    found = client.get("/feedback/stats").json()["arms"]
    counts = [(one["version"], one["arm"], one["predictions"], len(one["kinds"])) for one in found]
    assert counts == [(2, "challenger", 2, 1), (1, "champion", 4, 0)]


def test_challenger_in_the_shadow_answers_nobody(shop: Place, serve: Serve, tmp_path: Path) -> None:
    """What it would have answered is compared behind the answers."""
    register_folder(shop.models, write_model(tmp_path / "model 2", seed=2))
    shop.models.move(StageMove(name="shop", version=2, stage=Stage.STAGING, share=0.0))
    client = serve(shop)
    answered = predict(client, "b1", "b2", "b3")
    assert {(one["version"], one["arm"]) for one in answered} == {(1, "champion")}
    line = 'switchyard_shadow_overlap_count{model="shop",version="2"} 3.0'
    wait_for(lambda: line in client.get("/metrics").text)


def test_window_bounds_the_statistics(shop: Place, serve: Serve, tmp_path: Path) -> None:
    """By the time of the predictions, from `since` on and before `until`."""
    client = serve(shop)
    register_folder(shop.models, write_model(tmp_path / "another", seed=2), "other")
    predict(client, "b1", "b2")
    shop.sql(
        "UPDATE switchyard_predictions SET at = '2026-01-15 10:30:00.000000' "
        "WHERE id = (SELECT min(id) FROM switchyard_predictions)"
    )
    today = datetime.now(UTC).date()
    for query, count in (
        ("", 2),
        ("?since=2026-01-15&until=2026-01-16", 1),
        ("?since=2026-01-15T10:30:00Z&until=2026-01-15T10:30:01Z", 1),
        ("?until=2026-01-15T10:30:00Z", 0),
        ("?since=2026-01-15T12:30:00+02:00&until=2026-01-16", 1),
        (f"?since={today - timedelta(days=1)}", 1),
        ("?model=other", 0),
    ):
        arms = client.get(f"/feedback/stats{query}").json()["arms"]
        assert sum(arm["predictions"] for arm in arms) == count, query


QUESTIONS = (
    "since=yesterday",
    "since=2026-01-15T10:30:00",
    "sinse=2026-01-15",
    "model=a&model=b",
    "until=",
    "until=0001-01-01T00:00:00%2B09:00",
)


@pytest.mark.parametrize("query", QUESTIONS)
def test_question_that_is_none_is_refused(shop: Place, serve: Serve, query: str) -> None:
    """With the parameter's name; a time without a zone is no time."""
    answer = serve(shop).get(f"/feedback/stats?{query}")
    assert answer.status_code == 422
    assert any(name in answer.json()["detail"] for name in ("since", "sinse", "model", "until"))


HOSTILE: tuple[tuple[bytes, int], ...] = (
    (b"", 422),
    (b"\xff\xfe", 422),
    (b"null", 422),
    (json.dumps({"prediction_id": NOBODYS, "kind": "bought"}).encode(), 422),
    (json.dumps({"prediction_id": NOBODYS, "kind": "click", "version": 7}).encode(), 422),
    (json.dumps({"prediction_id": "../../etc/passwd", "kind": "click"}).encode(), 422),
    (json.dumps({"prediction_id": NOBODYS, "kind": "rating", "value": float("nan")}).encode(), 422),
    (f'{{"prediction_id": "{NOBODYS}", "kind": "rating", "value": 1e999}}'.encode(), 422),
    (f'{{"prediction_id": "{NOBODYS}", "kind": "rating", "value": 1{"0" * 5000}}}'.encode(), 422),
    (f'{{"prediction_id": "{NOBODYS}", "kind": "click", "product_id": "\\ud800"}}'.encode(), 422),
    (f'{{"prediction_id": "{NOBODYS}", "kind": "click", "product_id": "\\u0000"}}'.encode(), 422),
    (b"[" * 8_000, 422),
    (b"x" * 9_000, 413),
)


@pytest.mark.parametrize(("body", "status"), HOSTILE)
def test_hostile_body_is_refused(shop: Place, serve: Serve, body: bytes, status: int) -> None:
    """In JSON that can be read; nothing is kept, and the server goes on."""
    client = serve(shop)
    answer = client.post("/feedback", content=body, headers=JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert shop.sql("SELECT * FROM switchyard_feedback") == []
    assert predict(client, "b1")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_any_text_is_a_product(places: Places, tmp_path: Path, kind: str, serve: Serve) -> None:
    """Of every script, and with what SQL means something to."""
    client = serve(add_model(places.make(kind, tmp_path), tmp_path))
    (one,) = predict(client, "b1")
    for product in ("Ünïcode \U0001f600", "'; DROP TABLE switchyard_feedback; --", "%_\\", "\u202e", "x" * 512):
        told = tell(client, one["prediction_id"], product_id=product, value=-1e12)
        assert (told.status_code, told.json()["product_id"]) == (200, product)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
def test_body_must_be_sent_as_json(shop: Place, serve: Serve, headers: dict[str, str]) -> None:
    """As the API's PATCH: no other site's form can send that."""
    body = json.dumps({"prediction_id": NOBODYS, "kind": "click"})
    assert serve(shop).post("/feedback", content=body, headers=headers).status_code == 415


@pytest.mark.parametrize("key", ["a b", "x" * 256, "\xfc"])
def test_key_that_is_none_is_refused(shop: Place, serve: Serve, key: str) -> None:
    """It names the header."""
    body = json.dumps({"prediction_id": NOBODYS, "kind": "click"})
    headers = {**JSON, "Idempotency-Key": key.encode("latin-1")}
    answer = serve(shop).post("/feedback", content=body, headers=headers)  # type: ignore[arg-type]  # bytes are sent as they are
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


def test_silent_database_stops_feedback_and_no_prediction(
    places: Places, tmp_path: Path, postgres: Postgres, serve: Serve
) -> None:
    """503 with Retry-After, in time; once it speaks again, what waited is written and feedback is kept."""
    place = add_model(places.make("postgres", tmp_path), tmp_path)
    with silent_proxy(place.url) as (proxy, url):
        outside = Outside(read_settings({"RESULTS_URL": url, "STATE_DIR": str(tmp_path / "state")}))
        client = serve(place, outside)
        (one,) = predict(client, "b1")
        assert tell(client, one["prediction_id"]).status_code == 200
        proxy.silent.set()
        answers = [client.post("/predict", json={"instances": ["b1"]}) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        refused = tell(client, one["prediction_id"], "like")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/feedback/stats").status_code == 503
        proxy.silent.clear()
        recorder = app_of(client)._behind.recorder
        wait_for(lambda: recorder.written == 6)
        assert tell(client, one["prediction_id"], "like").status_code == 200
        assert recorder.dropped == 0
        outside.close()


def test_database_that_was_moved_away_is_one_to_try_again(shop: Place, serve: Serve, tmp_path: Path) -> None:
    """503, as of one that cannot be reached: a caller who sends feedback again loses none."""
    client = serve(shop)
    (one,) = predict(client, "b1")
    assert tell(client, one["prediction_id"]).status_code == 200
    files = [path for path in Path(shop.url.removeprefix("sqlite:///")).parent.glob("results.db*") if path.is_file()]
    away = tmp_path / "away"
    away.mkdir()
    moved = [(path, path.rename(away / path.name)) for path in files]
    refused = tell(client, one["prediction_id"], "like")
    assert (refused.status_code, int(refused.headers["retry-after"])) == (503, 2)
    assert client.get("/feedback/stats").status_code == 503
    for path, there in moved:
        path.unlink(missing_ok=True)
        there.rename(path)
    assert tell(client, one["prediction_id"], "like").status_code == 200


def test_tokens_that_read_predict_and_tokens_that_write_tell(shop: Place, serve: Serve, tmp_path: Path) -> None:
    """Statistics are read."""
    path, now = tmp_path / "tokens.json", datetime.now(UTC)
    texts = {}
    for scope in (Scope.READ, Scope.WRITE):
        texts[scope], token = make_token(
            f"the one that may {scope}".replace(" ", "-"), scope, now=now, expires_in_days=1
        )
        add_token(path, token)
    client = serve(shop, API_TOKENS_FILE=str(path))
    wanted = {Scope.READ: (200, 403, 200), Scope.WRITE: (200, 200, 200), None: (401, 401, 401)}
    for asked, statuses in wanted.items():
        client.headers["Authorization"] = f"Bearer {texts[asked]}" if asked else "Basic none"
        answers = (
            client.post("/predict", json={"instances": ["b1"]}),
            tell(client, NOBODYS),
            client.get("/feedback/stats"),
        )
        assert tuple(answer.status_code for answer in answers) == statuses, asked
        for answer in answers:
            assert answer.is_success or answer.headers["content-type"] == "application/problem+json"


def test_behind_a_check_of_who_calls_feedback_needs_no_token(shop: Place, serve: Serve) -> None:
    """A caller who may ask for predictions there may say what became of them; another site's page may not."""
    client = serve(shop, SERVING_BEHIND="iam")
    assert tell(client, NOBODYS).status_code == 200
    client.headers["Origin"] = "https://elsewhere.example.com"
    assert tell(client, NOBODYS).status_code == 403


def test_vertex_ais_own_path_needs_what_predict_needs(shop: Place, serve: Serve) -> None:
    """Behind its check of who calls there is no token."""
    path = "/v1/endpoints/1/deployedModels/2:predict"
    client = serve(shop, SERVING_BEHIND="iam", AIP_PREDICT_ROUTE=path)
    assert client.post(path, json={"instances": ["b1"]}).status_code == 200


def test_no_buyer_is_stored_or_logged(shop: Place, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Only a hash under the key of this machine, by which the same buyer is found again."""
    caplog.set_level("DEBUG")
    client = serve(shop)
    predict(client, "ann@example.com", "ann@example.com", "bob@example.com")
    rows = shop.sql("SELECT * FROM switchyard_predictions")
    assert len({row.buyer_hash for row in rows}) == 2
    assert "example.com" not in str(rows) + caplog.text


def test_challenger_that_fails_is_stopped_for_all_servers(shop: Place, serve: Serve, tmp_path: Path) -> None:
    """The champion answers in its place, and its share is set to 0 with the reason in the history.

    It does not know what buyers bought, and is asked for that. From then on it is in the shadow.
    """
    folder = write_model(tmp_path / "model 2", seed=2)
    bought = pa.table({"buyer": ["b1"], "product": ["p1"], "count": [1], "last_at": [datetime(2026, 1, 1, tzinfo=UTC)]})
    write_score(folder, {"purchases": bought})
    promote(shop.models, register_folder(shop.models, folder))
    third = register_folder(shop.models, write_model(tmp_path / "model 3", seed=3))
    shop.models.move(StageMove(name="shop", version=3, stage=Stage.STAGING, share=0.5))
    client, other = serve(shop), serve(shop)
    theirs = find_buyers(Arm.CHALLENGER, MIN_CALLS, digest=third.digest, version=3)
    body = {"instances": theirs, "parameters": {"k": 3, "without_bought": True}}
    said = client.post("/predict", json=body).json()
    assert {(one["version"], one["arm"], one["fallback"]) for one in said["predictions"]} == {(2, "challenger", True)}
    assert (said["model"]["version"], said["model"]["arm"], said["model"]["fallback"]) == (2, "challenger", True)
    wait_for(lambda: shop.models.read_model("shop").share == 0)
    assert "answers failed" in shop.models.list_transitions("shop")[-1].reason
    for each in (client, other):
        app_of(each).routes.holder.look()
        (one,) = each.post("/predict", json={"instances": theirs[:1]}).json()["predictions"]
        assert (one["version"], one["arm"], one["fallback"]) == (2, "champion", False)
        assert each.get("/health").json()["share"] == 0
    assert 'switchyard_challenger_errors_total{model="shop",version="3"} 50.0' in client.get("/metrics").text


def test_statistics_that_take_too_long_are_refused(shop: Place, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do; feedback goes on, and so does a question for less."""
    monkeypatch.setattr(serving.predictions.feedback, "STATISTICS_S", 0.0)
    client = serve(shop)
    predict(client, *(f"b{number}" for number in range(256)))
    shop.sql(
        "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 5000) "
        "INSERT INTO switchyard_predictions SELECT 'copy' || n, '2026-01-15 10:30:00.000000', model, version, digest, "
        "arm, buyer_hash, product_ids, latency_ms, fallback FROM many, "
        "(SELECT * FROM switchyard_predictions LIMIT 1) one"
    )
    refused = client.get("/feedback/stats")
    assert refused.status_code == 422
    assert "since and until" in refused.json()["detail"]
    assert tell(client, NOBODYS).status_code == 200
    assert client.get("/feedback/stats?since=2026-01-16").status_code == 200
