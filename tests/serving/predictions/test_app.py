"""The application: every contract's routes, the limits, the door, and what health and metrics say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.predictions.app import Options, choose_sources
from switchyard.core.errors import NotFound
from switchyard.core.predictions.requests import MAX_BODY_BYTES
from switchyard.core.registry.rows import StageMove
from switchyard.core.registry.stages import Stage
from tests.clients.results.places import Places
from tests.predicting import promote
from tests.serving.conftest import OverPlace
from tests.serving.door.conftest import Tokens, bearer
from tests.serving.predictions.world import World, open_client


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    """Version 1 of model shop answers."""
    world.add_champion(1)
    with open_client(world.application()) as made:
        yield made


def ask(client: TestClient, path: str = "/predict", **body: Any) -> Any:
    answer = client.post(path, json=body or {"instances": ["b0"]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_prediction_says_who_made_it(world: World, client: TestClient) -> None:
    """One for each instance, in order, with an id of its own; what stands around them says it too."""
    body = ask(client, instances=[{"buyer_id": "b1"}, "stranger"], parameters={"k": 3})
    version = world.place.models.find_version("shop", "1")
    known, unknown = body["predictions"]
    for said in (known, unknown):
        assert len(said["product_ids"]) == len(said["scores"]) == 3
        assert (said["model"], said["version"], said["digest"]) == ("shop", 1, version.digest)
        assert (said["arm"], said["fallback"], said["source"]) == ("champion", False, "default")
    assert known["known"]
    assert "popular_by" not in known
    assert (unknown["known"], unknown["popular_by"]) == (False, "mean buyer")
    assert known["prediction_id"] != unknown["prediction_id"]
    assert body["model"] == {
        "name": "shop",
        "version": 1,
        "digest": version.digest,
        "source": "default=models:/shop/Production",
        "arm": "champion",
        "fallback": False,
        "tried": [],
    }


def test_every_contract_gets_the_same_answer(client: TestClient) -> None:
    """Ours, KServe's, MLflow's."""
    wanted = ask(client, instances=["b1"], parameters={"k": 4})["predictions"][0]["product_ids"]
    assert ask(client, "/predict/", instances=["b1"], parameters={"k": 4})["predictions"][0]["product_ids"] == wanted
    for path, body in (
        ("/v1/models/shop:predict", {"instances": ["b1"], "parameters": {"k": 4}}),
        ("/invocations", {"dataframe_records": [{"buyer_id": "b1"}], "params": {"k": 4}}),
        ("/invocations", {"inputs": {"buyer_id": ["b1"]}, "params": {"k": 4}}),
    ):
        assert ask(client, path, **body)["predictions"][0]["product_ids"] == wanted


def test_vertex_names_its_own_paths(world: World) -> None:
    """Beside ours."""
    world.add_champion(1)
    app = world.application(aip_predict_route="/v1/endpoints/1/models/2:predict", aip_health_route="/v1/endpoints/1")
    with open_client(app) as client:
        assert ask(client, "/v1/endpoints/1/models/2:predict")["model"]["version"] == 1
        assert client.get("/v1/endpoints/1").json()["ready"]


def test_options_reach_the_model(client: TestClient) -> None:
    """Only these products; leaving out what was bought is refused where that is not known."""
    said = ask(client, instances=["b1"], parameters={"only": ["p3", "p5", "nothing"]})["predictions"][0]
    assert set(said["product_ids"]) == {"p3", "p5"}
    answer = client.post("/predict", json={"instances": ["b1"], "parameters": {"without_bought": True}})
    assert answer.status_code == 422
    assert "without purchases" in answer.json()["detail"]


def test_probes_and_lists(client: TestClient) -> None:
    """What each contract's platform asks for."""
    assert client.get("/ping").content == b"\n"
    assert client.get("/version").status_code == 200
    assert client.get("/").json() == {"status": "alive"}
    assert client.get("/v1/models").json() == {"models": ["shop"]}
    assert client.get("/v1/models/shop").json() == {"name": "shop", "ready": True}
    assert client.head("/health").content == b""
    assert client.get("/v1/models/other").status_code == 404
    assert client.post("/v1/models/other:predict", json={"instances": ["b"]}).status_code == 404


def test_what_is_not_served_says_what_is(client: TestClient) -> None:
    """A wrong path, a wrong method."""
    assert "POST /predict" in client.post("/prediction", json={}).json()["detail"]
    answer = client.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_without_a_model_it_is_not_ready_and_says_why(world: World) -> None:
    """503 for predictions and health; it is alive all the same."""
    with open_client(world.application()) as client:
        for answer in (client.post("/predict", json={"instances": ["b"]}), client.get("/ping"), client.get("/health")):
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "no model is registered yet" in answer.text
        assert client.get("/health").json()["status"] == "not ready"
        assert client.get("/").status_code == 200
        assert "switchyard_model_ready 0.0" in client.get("/metrics").text


def test_health_and_metrics_tell_of_a_model_that_would_not_load(world: World) -> None:
    """Ready, degraded, and why; the old model answers on."""
    world.add_champion(1)
    app = world.application()
    with open_client(app) as client:
        assert client.get("/health").json()["status"] == "ready"
        promote(world.place.models, world.add(2))
        (world.folder(2) / "embeddings" / "extra").write_bytes(b"x")
        app.routes.holder.look()
        health = client.get("/health")
        assert (health.status_code, health.json()["status"], health.json()["ready"]) == (200, "degraded", True)
        assert "'embeddings/extra' is not one of the version's files" in health.json()["why"]
        metrics = client.get("/metrics").text
        assert "switchyard_model_degraded 1.0" in metrics
        assert 'switchyard_model_loads_total{result="failed"} 1.0' in metrics
        assert ask(client)["model"]["version"] == 1


def test_health_tells_of_a_results_file_that_was_moved_away(places: Places, tmp_path: Path) -> None:
    """Degraded, and why; the model in memory answers on, and all is well once the file is back."""
    place = places.make("sqlite", tmp_path)
    world = World(place, tmp_path)
    world.add_champion(1)
    app = world.application()
    file = Path(place.url.removeprefix("sqlite:///"))
    with open_client(app) as client:
        assert client.get("/health").json()["status"] == "ready"
        file.rename(tmp_path / "elsewhere.db")
        app.routes.holder.look()
        health = client.get("/health")
        assert (health.status_code, health.json()["status"], health.json()["ready"]) == (200, "degraded", True)
        assert "the file is missing: put it back" in health.json()["why"]
        assert ask(client)["model"]["version"] == 1
        (tmp_path / "elsewhere.db").rename(file)
        app.routes.holder.look()
        assert client.get("/health").json()["status"] == "ready"


def test_answer_says_that_it_is_a_fallback_and_why(world: World, tmp_path: Path) -> None:
    """The sources before it, with their reasons."""
    world.add(1, name="other")
    app = world.application(model_variant="models:/shop/Production", mlflow_model_uri="models:/other/1")
    with open_client(app) as client:
        body = ask(client)
        assert body["model"]["fallback"]
        assert body["predictions"][0]["fallback"]
        assert [tried["source"] for tried in body["model"]["tried"]] == ["MODEL_VARIANT=models:/shop/Production"]
        assert client.get("/health").json()["status"] == "degraded"
        assert 'fallback="true"' in client.get("/metrics").text


def test_requests_and_predictions_are_counted(client: TestClient) -> None:
    """By route and status; by model, version, arm and whether the buyer is known."""
    ask(client, instances=["b0", "b1", "stranger"])
    client.post("/predict", content=b"x")
    metrics = client.get("/metrics").text
    labels = 'arm="champion",fallback="false",known="true",model="shop",version="1"'
    assert f"switchyard_predictions_total{{{labels}}} 2.0" in metrics
    assert 'switchyard_http_requests_total{route="/predict",status="422"} 1.0' in metrics
    assert 'switchyard_model_info{arm="champion",digest="sha256:' in metrics


def test_body_is_counted_while_it_is_read(client: TestClient) -> None:
    """Content-Length may be missing, as here; no more is read than allowed."""
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10 * MAX_BODY_BYTES:
            sent += 100_000
            yield b" " * 100_000

    answer = client.post("/predict", content=parts())
    assert answer.status_code == 413
    assert "at most 1,500,000 bytes" in answer.json()["detail"]


def test_caller_that_asks_too_often_waits(world: World) -> None:
    """429, with how long; health is not counted."""
    world.add_champion(1)
    with open_client(world.application(Options(rate="3/hour", poll_s=3600))) as client:
        for _ in range(3):
            ask(client)
        answer = client.post("/predict", json={"instances": ["b0"]})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/health").status_code == 200


def test_bug_is_an_answer_and_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Without its words, which are for the log."""
    world.add_champion(1)
    app = world.application()

    def fail(*_: object) -> Any:
        raise ZeroDivisionError("a secret")

    app.routes._answer = fail
    with open_client(app) as client:
        answer = client.post("/predict", json={"instances": ["b0"]})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_what_follows_an_answer_never_spoils_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It was sent."""
    world.add_champion(1)
    app = world.application()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    app.routes._on_answered = fail
    with open_client(app) as client:
        ask(client)
    assert "the answer was sent" in caplog.text


def test_long_requests_are_computed_beside_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are refused where too many wait already."""
    import serving.predictions.work as working

    world.add_champion(1)
    monkeypatch.setattr(working, "SHORT", 0)
    app = world.application()
    with open_client(app) as client:
        ask(client)
        app.routes.work._pending = working.THREADS + working.WAITING
        answer = client.post("/predict", json={"instances": ["b0"]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        app.routes.work._pending = 0


def test_without_a_setting_the_only_model_is_served(world: World) -> None:
    """Of several none is guessed."""
    outside = OverPlace(world.place)
    with pytest.raises(NotFound, match="no model is registered yet"):
        choose_sources(outside, "")
    world.add(1)
    assert [source.value for source in choose_sources(outside, "")] == ["models:/shop/Production"]
    world.add(2, name="other")
    with pytest.raises(NotFound, match=r"several models \(other, shop\); name one: switchyard predict --model other"):
        choose_sources(outside, "")
    assert [str(source) for source in choose_sources(outside, "shop")] == ["--model=shop"]


def test_without_a_setting_the_only_champion_is_served(world: World) -> None:
    """A folder that was served once is a model too, and has none."""
    world.add_champion(1)
    world.add(2, name="served")
    assert [source.value for source in choose_sources(OverPlace(world.place), "")] == ["models:/shop/Production"]


def test_challenger_is_told_of(world: World) -> None:
    """In health and metrics, with its share."""
    world.add_champion(1)
    world.add(2)
    world.place.models.move(StageMove(name="shop", version=2, stage=Stage.STAGING, share=0.1))
    with open_client(world.application()) as client:
        health = client.get("/health").json()
        assert (health["challenger"]["version"], health["share"]) == (2, 0.1)


def test_answer_is_strict_json(client: TestClient) -> None:
    """Any parser reads it."""
    answer = client.post("/predict", json={"instances": ["b0"], "parameters": {"k": 1000}})
    json.loads(answer.content, parse_constant=pytest.fail)
    assert answer.headers["content-type"] == "application/json"


ASKED = (
    ("POST", "/predict"),
    ("POST", "/predict/"),
    ("POST", "/invocations"),
    ("POST", "/v1/models/shop:predict"),
    ("GET", "/metrics"),
    ("GET", "/feedback/stats"),
)


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_on_this_machine_only_its_own_names_are_answered(client: TestClient, method: str, path: str) -> None:
    """Another site's name may lead to 127.0.0.1 (DNS rebinding), and its page then read the answers."""
    sent: dict[str, Any] = {"json": {"instances": ["b0"]}} if method == "POST" else {}
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.7:8080"):
        answer = client.request(method, path, headers={"Host": host}, **sent)
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
        assert "Call it http://127.0.0.1" in answer.json()["detail"]
        assert client.get("/health", headers={"Host": host}).status_code == 200  # what a probe calls us is its own
    for host in ("127.0.0.1", "localhost:8080", "[::1]:8080"):
        assert client.request(method, path, headers={"Host": host}, **sent).status_code == 200
    answer = client.request(method, path, headers={"Origin": "https://evil.example"}, **sent)
    assert (answer.status_code, "pages of other sites may not" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_behind_something_or_with_a_token_any_name_is_answered(
    world: World, tokens: Tokens, method: str, path: str
) -> None:
    """No one but this machine knows all names under which a server is reached."""
    world.add_champion(1)
    sent: dict[str, Any] = {"json": {"instances": ["b0"]}} if method == "POST" else {}
    behind = world.application(serving_behind="iam")
    with_tokens = world.application(api_tokens_file=str(tokens.path))
    nothing: dict[str, str] = {}
    for app, headers in ((behind, nothing), (with_tokens, bearer(tokens.reads))):
        with open_client(app) as client:
            answer = client.request(method, path, headers={"Host": "models.example", **headers}, **sent)
            assert answer.status_code == 200


def test_refusals_of_the_door_are_for_programs(world: World, tokens: Tokens) -> None:
    """JSON at every path; Vertex AI's own path needs no more than ours."""
    world.add_champion(1)
    app = world.application(api_tokens_file=str(tokens.path), aip_predict_route="/vertex")
    with open_client(app) as client:
        for path in ("/predict", "/vertex", "/v1/models/shop:predict", "/invocations"):
            answer = client.post(path, json={"instances": ["b0"]})
            assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
            answer = client.post(path, json={"instances": ["b0"]}, headers=bearer(tokens.reads))
            assert answer.status_code == 200
        assert client.post("/other", json={}, headers=bearer(tokens.reads)).status_code == 403
        for path in ("/health", "/ping", "/v1/models/shop", "/"):
            assert client.get(path).status_code == 200
        assert client.get("/metrics").status_code == 401
