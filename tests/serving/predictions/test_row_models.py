"""Models of rows behind the whole application: what they answer, what is refused, and that the old one answers on."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.predictions.app import Application
from switchyard.core.registry.rows import Rollback, StageMove
from switchyard.core.registry.stages import Stage
from tests.predicting import promote, register_folder
from tests.serving.predictions.planting import HASTY, PLANTED, add_planted, write_planted
from tests.serving.predictions.world import World, open_client, served

ROW = {"a": 1.5, "n": 2}


@pytest.fixture
def app(world: World) -> Application:
    """Version 1 of model shop answers the sum of a row; a model that takes longer than a second for it is ended."""
    promote(world.place.models, add_planted(world, 1))
    return world.application(open_rows=HASTY)


@pytest.fixture
def client(app: Application) -> Iterator[TestClient]:
    with open_client(app) as made:
        yield made


def ask(client: TestClient, path: str = "/predict", **body: Any) -> list[Any]:
    answer = client.post(path, json=body or {"instances": [ROW]})
    assert answer.status_code == 200, answer.text
    return [said["prediction"] for said in answer.json()["predictions"]]


def promote_planted(world: World, number: int, **said: Any) -> None:
    promote(world.place.models, add_planted(world, number, **said))


def test_each_answer_says_who_made_it(world: World, client: TestClient) -> None:
    """As of a two-tower model; but for products, which rows have none of."""
    body = client.post("/predict", json={"instances": [ROW, [None, 3]]}).json()
    version = world.place.models.find_version("shop", "1")
    said = body["predictions"]
    assert [one["prediction"] for one in said] == [3.5, 3]
    assert said[0]["prediction_id"] != said[1]["prediction_id"]
    assert {key: said[0][key] for key in ("model", "version", "digest", "source", "arm", "fallback")} == {
        "model": "shop",
        "version": 1,
        "digest": version.digest,
        "source": "default",
        "arm": "champion",
        "fallback": False,
    }
    assert "product_ids" not in said[0]
    assert body["model"]["version"] == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"instances": [ROW, [4.0, 1]]}),
        ("/predict", {"instances": [ROW, [4.0, 1]], "parameters": {}}),
        ("/v1/models/shop:predict", {"instances": [ROW, {"a": 4.0, "n": 1}]}),
        ("/invocations", {"instances": [ROW, [4.0, 1]]}),
        ("/invocations", {"dataframe_records": [ROW, {"a": 4.0, "n": 1}]}),
        ("/invocations", {"dataframe_split": {"columns": ["n", "a"], "index": [0, 1], "data": [[2, 1.5], [1, 4.0]]}}),
        ("/invocations", {"inputs": {"a": [1.5, 4.0], "n": [2, 1]}}),
        ("/invocations", {"inputs": [ROW, [4.0, 1]]}),
    ],
)
def test_every_contract_gets_the_same_answer(client: TestClient, path: str, body: Any) -> None:
    """Ours, KServe's, MLflow's."""
    assert ask(client, path, **body) == [3.5, 5.0]


@pytest.mark.parametrize("row", [ROW, {"n": 2, "a": 1.5}, {"n": 2}], ids=["all", "other order", "one left out"])
def test_a_row_alone_is_a_body_too(client: TestClient, row: dict[str, Any]) -> None:
    """As services of one model take it; it is answered as the only instance."""
    alone = client.post("/predict", json=row)
    assert alone.status_code == 200, alone.text
    (said,) = alone.json()["predictions"]
    assert [said["prediction"]] == ask(client, instances=[row])
    assert alone.json()["model"]["version"] == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"a": "x", "n": 1}, "`a` of instance 0 must be a number; it is the text 'x'"),
        ({"a": 1, "n": 2, "parameters": {}}, "instance 0 has `parameters`, which the model does not take"),
        ({"a": 1, "n": 2, "instances": [ROW]}, "unknown field `a`"),
        (
            {"rows": [ROW]},
            "have `instances`, or be one row with columns of the model; it has 'rows'. This model takes 2",
        ),
        ({}, "or be one row with columns of the model; it has none"),
        ([ROW], "Expected `object`, got `array`"),
        ([1.5, 2], "Expected `object`, got `array`"),
        ("text", "Expected `object`, got `str`"),
    ],
)
def test_what_may_be_a_row_or_not_is_none(client: TestClient, body: Any, said: str) -> None:
    """`instances` is never a column; a list may be a row or many."""
    answer = client.post("/predict", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert "An example: " in answer.json()["detail"] or "This model takes 2 columns" in answer.json()["detail"]


def test_a_row_alone_is_no_body_of_mlflows(client: TestClient) -> None:
    """Whose own server takes none."""
    assert client.post("/invocations", json=ROW).status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/predict", {"instances": [{"a": 1}]}, "instance 0 must have `n`. This model takes 2 columns"),
        ("/predict", {"instances": [{"a": "x", "n": 1}]}, "`a` of instance 0 must be a number; it is the text 'x'"),
        ("/predict", {"instances": ["b1"]}, "instance 0 must be an object or a list; it is the text 'b1'"),
        ("/predict", {"instances": [ROW], "parameters": {"k": 3}}, "takes no parameters; the body has 'k'"),
        ("/predict", {"instances": []}, "a request must have 1 to 256 instances; it has 0"),
        ("/predict", {"instances": [ROW] * 257}, "it has 257"),
        ("/predict", {"rows": [ROW]}, "An example: "),
        (
            "/invocations",
            {"inputs": {"a": [1, 2], "n": [1]}},
            "the columns of `inputs` must have one length; they have [1, 2]",
        ),
        ("/invocations", {"inputs": {}}, "no columns"),
        ("/invocations", {"instances": [ROW], "inputs": [ROW]}, "exactly one of"),
        ("/invocations", {"instances": [ROW], "params": {"k": 1}}, "takes no parameters"),
        ("/invocations", {"dataframe_split": {"columns": ["a", "n"], "data": [[1]]}}, "row 0 must have 2 values"),
        ("/invocations", {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 1]]}}, "each column once"),
    ],
)
def test_a_body_that_the_model_cannot_answer_is_422_and_says_why(
    client: TestClient, path: str, body: Any, said: str
) -> None:
    """Before the model's process sees anything of it."""
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_health_says_what_the_model_takes_and_what_reads_it(client: TestClient) -> None:
    """So that who asks finds the columns."""
    health = client.get("/health").json()
    assert (health["status"], health["model"]["library"], health["model"]["answers"]) == (
        "ready",
        "planted 1.0",
        "a sum",
    )
    assert [(column["name"], column["type"]) for column in health["model"]["columns"]] == [
        ("a", "number"),
        ("n", "integer"),
    ]


def test_health_lists_the_first_columns_of_many(world: World) -> None:
    """It is asked every few seconds, and a table may have thousands."""
    promote_planted(world, 1, more_columns=300)
    with open_client(world.application(open_rows=PLANTED)) as client:
        model = client.get("/health").json()["model"]
    assert (len(model["columns"]), model["more_columns"]) == (100, 202)


def test_health_says_what_the_process_is_not_kept_from(app: Application, client: TestClient) -> None:
    """Where the kernel lacks what it takes."""
    champion = app.routes.holder.state.champion
    assert champion is not None
    assert client.get("/health").json()["model"]["unconfined"] == list(champion.rows.unconfined)  # type: ignore[union-attr]
    champion.rows.unconfined = ["it can open connections: no filter"]  # type: ignore[union-attr,misc]
    assert client.get("/health").json()["model"]["unconfined"] == ["it can open connections: no filter"]


def test_a_setting_names_the_file_to_read_where_there_are_several_of_one_format(world: World) -> None:
    """Without it such a version is of no flavor."""
    folder = write_planted(world.folder(1))
    for name in ("a.ubj", "b.ubj"):
        (folder / "model" / name).write_bytes(b"")
    promote(world.place.models, register_folder(world.place.models, folder))
    assert served(world.hold(open_rows=PLANTED)) is None
    app = world.application(open_rows=PLANTED, model_filename="b.ubj")
    assert served(app.routes.holder) == 1
    app.routes.holder.close()


def test_of_models_of_several_formats_none_is_served_and_the_old_one_answers_on(
    world: World, app: Application, client: TestClient
) -> None:
    """Two that are alike would not be served; a third of another format is no better. All are named."""
    folder = world.root / "many"
    (folder / "model").mkdir(parents=True)
    for name in ("a.ubj", "b.ubj", "c.skops"):
        (folder / "model" / name).write_bytes(b"")
    promote(world.place.models, register_folder(world.place.models, folder))
    app.routes.holder.look()
    why = client.get("/health").json()["why"]
    assert "version 2 of model shop cannot be served: there are several model files" in why
    assert "model/a.ubj, model/b.ubj, model/c.skops. Name the one to serve: MODEL_FILENAME=a.ubj" in why
    assert ask(client) == [3.5]


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v1/models/shop:predict"])
@pytest.mark.parametrize("body", [b'{"instances": [{"a": 1.5, "n": 2}]}', b"none of any model"])
def test_while_no_model_is_loaded_any_body_is_503(world: World, path: str, body: bytes) -> None:
    """What a body should be depends on the model: the one that would not load may take this."""
    promote_planted(world, 1, load="refuse")
    with open_client(world.application(open_rows=PLANTED)) as client:
        answer = client.post(path, content=body)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert "no model is loaded: " in answer.json()["detail"]


def test_a_file_that_is_named_and_not_there_is_an_error(world: World) -> None:
    """No other one is served in its place; an answering model answers on."""
    promote_planted(world, 1)
    with open_client(world.application(open_rows=PLANTED, model_filename="churn.ubj")) as client:
        assert client.post("/predict", json={"instances": [ROW]}).status_code == 503
        assert "MODEL_FILENAME=churn.ubj is not one of the model's files" in client.get("/health").json()["why"]


def test_a_promotion_takes_its_place_and_a_rollback_likewise(
    world: World, app: Application, client: TestClient
) -> None:
    """The process of the one before is ended; between two-tower models and models of rows too."""
    first = app.routes.holder.state.champion
    promote_planted(world, 2, factor=10)
    app.routes.holder.look()
    assert ask(client) == [35.0]
    assert first is not None
    assert first.rows is not None
    assert not first.rows.is_alive
    world.place.models.roll_back(Rollback(name="shop", expected=2))
    app.routes.holder.look()
    assert ask(client) == [3.5]
    promote(world.place.models, world.add(3))
    app.routes.holder.look()
    assert client.post("/predict", json={"instances": ["b0"]}).json()["predictions"][0]["known"]
    assert client.post("/predict", json={"instances": [ROW]}).status_code == 422


@pytest.mark.parametrize("trouble", ["crash", "exit", "raise", "refuse", "babble", "memory"])
def test_a_model_that_ends_its_reader_is_refused_and_the_old_one_answers_on(
    world: World, app: Application, client: TestClient, trouble: str
) -> None:
    """The state says why."""
    promote_planted(world, 2, load=trouble)
    app.routes.holder.look()
    health = client.get("/health").json()
    assert (health["status"], health["model"]["version"]) == ("degraded", 1)
    assert "version 2 of model shop" in health["why"]
    assert ask(client) == [3.5]


@pytest.mark.parametrize("trouble", ["crash", "hang", "nan", "few", "raise"])
def test_a_model_that_cannot_answer_its_first_row_is_not_taken(
    world: World, app: Application, client: TestClient, trouble: str
) -> None:
    """It would fail the one who asks it first."""
    promote_planted(world, 2, answer=trouble)
    app.routes.holder.look()
    assert client.get("/health").json()["model"]["version"] == 1
    assert ask(client) == [3.5]


def test_rows_that_end_the_process_are_503_and_it_is_loaded_again(
    world: World, app: Application, client: TestClient
) -> None:
    """Through the door, where its files are hashed again; the server answers all the while."""
    promote_planted(world, 2, answer="crash", on=13.0)
    holder = app.routes.holder
    holder.look()
    loads = holder.loads
    answer = client.post("/predict", json={"instances": [[13.0, 0]]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "its process ended by signal 11 (SIGSEGV)" in answer.json()["detail"]
    health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "not ready")
    assert "being loaded again" in health.json()["why"]
    assert client.get("/ping").status_code == 503
    holder.look()
    assert (ask(client), holder.loads, client.get("/health").status_code) == ([3.5], loads + 1, 200)


def test_a_model_that_ends_again_and_again_is_loaded_again_ever_later(world: World) -> None:
    """The state says so; another version is loaded at once."""
    promote_planted(world, 1)
    promote_planted(world, 2, factor=10)
    holder = world.hold(open_rows=PLANTED)
    for times, pause_s in ((1, 0), (2, 2), (3, 4)):
        holder.state.champion.rows.close()  # type: ignore[union-attr]
        holder.look()
        if pause_s:
            world.now += pause_s - 0.5
            holder.look()
            assert not holder.state.is_ready
            assert f"version 2 of model shop has ended {times} times in a row" in holder.state.why_not_ready
            assert f"it is loaded again {pause_s} s after the last end" in holder.state.why_not_ready
            world.now += 0.5
            holder.look()
        assert (holder.state.is_ready, holder.state.problem, holder.loads) == (True, "", times + 1)
    holder.state.champion.rows.close()  # type: ignore[union-attr]
    holder.look()
    world.place.models.roll_back(Rollback(name="shop", expected=2))
    holder.look()
    assert (served(holder), holder.state.is_ready) == (1, True)
    holder.close()


def test_rows_that_take_too_long_are_503_and_it_is_loaded_again(
    world: World, app: Application, client: TestClient
) -> None:
    """A model that hangs holds no one for longer than its time."""
    promote_planted(world, 2, answer="hang", on=13.0)
    app.routes.holder.look()
    answer = client.post("/predict", json={"instances": [[13.0, 0]]})
    assert answer.status_code == 503
    assert "took longer than 1 s" in answer.json()["detail"]
    app.routes.holder.look()
    assert ask(client) == [3.5]


def test_rows_that_a_model_fails_on_are_500_with_its_words(world: World, app: Application, client: TestClient) -> None:
    """Others are answered."""
    promote_planted(world, 2, answer="raise", on=13.0)
    app.routes.holder.look()
    answer = client.post("/predict", json={"instances": [[13.0, 0]]})
    assert answer.status_code == 500
    assert "ValueError: bad leaf" in answer.json()["detail"]
    assert ask(client) == [3.5]


def test_a_process_that_was_killed_is_not_ready_until_it_is_loaded_again(world: World, app: Application) -> None:
    """Also where no one asked meanwhile, and where the source names a number, which never changes."""
    holder = app.routes.holder
    champion = holder.state.champion
    assert champion is not None
    assert champion.rows is not None
    champion.rows.close()
    assert not holder.state.is_ready
    holder.look()
    assert (holder.state.is_ready, holder.state.is_degraded, served(holder)) == (True, False, 1)
    holder.close()


def test_a_stack_trace_of_the_library_is_not_shown_to_callers(
    world: World, app: Application, client: TestClient
) -> None:
    """It has folders of the server."""
    promote_planted(world, 2, answer="raise with a stack", on=13.0)
    app.routes.holder.look()
    answer = client.post("/predict", json={"instances": [[13.0, 0]]})
    assert answer.status_code == 500
    assert answer.json()["detail"].endswith("the model failed: ValueError: bad leaf")


@pytest.mark.parametrize("load", ["refuse", "crash"])
def test_the_old_model_is_loaded_again_where_its_process_ends_and_the_new_one_does_not_load(
    world: World, app: Application, client: TestClient, load: str
) -> None:
    """It answers on, and the state still says what is wrong with the new one."""
    promote_planted(world, 2, load=load)
    holder = app.routes.holder
    holder.look()
    problem = holder.state.problem
    holder.state.champion.rows.close()  # type: ignore[union-attr]
    assert client.get("/ping").status_code == 503
    holder.look()
    assert (ask(client), served(holder), holder.state.is_degraded) == ([3.5], 1, True)
    assert "version 2 of model shop" in problem
    assert holder.state.problem == problem
    holder.close()


def test_an_old_model_that_ends_and_cannot_be_loaded_again_is_said_beside_the_new_one(
    world: World, app: Application
) -> None:
    """Both reasons; it is loaded again when it can be."""
    promote_planted(world, 2, load="refuse")
    holder = app.routes.holder
    holder.look()
    file = world.folder(1) / "model" / "model.json"
    whole = file.read_bytes()
    file.write_bytes(b"{}  ")
    shutil.rmtree(world.cache)
    holder.state.champion.rows.close()  # type: ignore[union-attr]
    holder.look()
    assert not holder.state.is_ready
    assert "its trees have no leaves" in holder.state.why_not_ready
    assert "version 1, which answered, has ended: " in holder.state.why_not_ready
    file.write_bytes(whole)
    holder._failures.clear()  # the pause is over
    holder.look()
    assert (holder.state.is_ready, served(holder)) == (True, 1)
    holder.close()


def test_a_model_that_was_replaced_while_it_was_asked_loses_no_request(
    world: World, app: Application, client: TestClient
) -> None:
    """Its successor answers, and says so."""
    holder = app.routes.holder
    before = holder.state
    promote_planted(world, 2, factor=10)
    holder.look()
    after = holder.state

    class Stale:
        """The holder of a request that has read the state just before the swap."""

        looks = 0

        @property
        def state(self) -> Any:
            self.looks += 1
            return before if self.looks == 1 else after

    app.routes.holder = Stale()  # type: ignore[assignment]
    answer = client.post("/predict", json={"instances": [ROW]})
    app.routes.holder = holder
    assert (answer.status_code, answer.json()["model"]["version"]) == (200, 2)
    assert answer.json()["predictions"][0]["prediction"] == 35.0


def test_a_prediction_is_recorded_without_its_row_and_takes_feedback(world: World, app: Application) -> None:
    """Nothing of what was asked is kept; of which version it was is."""
    with open_client(app) as running:
        said = running.post("/predict", json={"instances": [ROW]}).json()["predictions"][0]
        feedback = {"prediction_id": said["prediction_id"], "kind": "rating", "value": 1.0}
        assert running.post("/feedback", json=feedback).status_code in (200, 201)
    kept = world.place.ports.predictions.read_prediction(said["prediction_id"])
    assert (kept.model, kept.version, kept.product_ids, kept.buyer_hash) == ("shop", 1, (), "")


def test_metrics_count_predictions_of_rows(client: TestClient) -> None:
    """No buyer of theirs is known or unknown."""
    ask(client)
    metrics = client.get("/metrics").text
    assert (
        'switchyard_predictions_total{arm="champion",fallback="false",known="",model="shop",version="1"} 1.0' in metrics
    )


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_challenger_of_rows_is_loaded_and_answers_no_one(
    world: World, app: Application, client: TestClient, share: float
) -> None:
    """Rows name no buyer who could be its; a champion that recommends is not compared with it."""
    promote(world.place.models, world.add(2))
    challenger = add_planted(world, 3)
    move = StageMove(name="shop", version=challenger.version, stage=Stage.STAGING, share=share)
    world.place.models.move(move)
    app.routes.holder.look()
    for number in range(20):
        said = client.post("/predict", json={"instances": [f"b{number}"]}).json()["predictions"][0]
        assert (said["version"], said["arm"], said["fallback"]) == (2, "champion", False)
    health = client.get("/health").json()
    assert (health["status"], health["challenger"]["library"]) == ("ready", "planted 1.0")


def test_a_challenger_of_rows_that_does_not_load_is_said(world: World) -> None:
    """Before anyone promotes it."""
    promote(world.place.models, world.add(1))
    move = StageMove(name="shop", version=add_planted(world, 2, load="crash").version, stage=Stage.STAGING, share=0.0)
    world.place.models.move(move)
    holder = world.hold(open_rows=PLANTED)
    assert served(holder) == 1
    assert "the challenger, version 2, does not answer: " in holder.state.problem
    assert "signal 11" in holder.state.problem
