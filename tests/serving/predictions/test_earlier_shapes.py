"""The shapes that earlier services had, of a model of rows: a row alone, the answer, feedback on it, statistics."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.flows.polling import wait_for
from tests.predicting import promote
from tests.serving.predictions.planting import PLANTED, add_planted
from tests.serving.predictions.world import World, open_client


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    """Version 1 of model shop answers the sum of a row."""
    promote(world.place.models, add_planted(world, 1))
    with open_client(world.application(open_rows=PLANTED)) as made:
        yield made


def test_a_row_is_answered_and_what_is_said_of_the_answer_is_counted(client: TestClient) -> None:
    """`/predict`, `/feedback`, `/feedback/stats`: every key of each."""
    answer = client.post("/predict", json={"a": 1.5, "n": 2})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"predictions", "model"}
    (said,) = answer.json()["predictions"]
    who = {"model", "version", "digest", "source", "arm", "fallback"}
    assert set(said) == {"prediction", "prediction_id", *who}
    assert said["prediction"] == 3.5
    assert set(answer.json()["model"]) == {"name", *who - {"model"}, "tried"}
    recorder = client.app._behind.recorder  # type: ignore[attr-defined]
    wait_for(lambda: recorder.written == 1)

    body = {"prediction_id": said["prediction_id"], "kind": "rating", "value": 1}
    told = client.post("/feedback", json=body)
    assert told.status_code == 200, told.text
    kept = told.json()
    assert kept.pop("at")
    assert kept == {
        **body,
        "product_id": None,
        "matched": True,
        "model": "shop",
        "version": 1,
        "arm": "champion",
    }

    counted = client.get("/feedback/stats").json()
    assert set(counted) == {"model", "since", "until", "interval", "arms", "unmatched"}
    (arm,) = counted["arms"]
    (kind,) = arm.pop("kinds")
    assert arm == {"version": 1, "arm": "champion", "predictions": 1, "fallbacks": 0}
    assert set(kind.pop("rate")) == {"rate", "low", "high"}
    assert kind == {
        "kind": "rating",
        "predictions": 1,
        "feedback": 1,
        "of_removed": 0,
        "values": 1,
        "mean_value": 1.0,
    }
