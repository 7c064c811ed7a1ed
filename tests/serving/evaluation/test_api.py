"""The evaluation report as programs get it."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from serving.evaluation.schemas import Evaluation
from switchyard.core.metrics.evaluation import MAX_REPORT_BYTES, REPORT_NAME, to_report_json
from tests.clients.results.places import Place
from tests.serving.evaluation.factories import evaluate_run, make_report_of
from tests.serving.factories import make_run


def ask(client: TestClient, run: int) -> tuple[int, dict[str, object]]:
    answer = client.get(f"/api/quick-tests/{run}/evaluation/")
    return answer.status_code, answer.json()


def test_a_report_is_answered_with_its_titles(client: TestClient, place: Place, tmp_path: Path) -> None:
    """As the OpenAPI document says; a client that has it is told so."""
    run = evaluate_run(place, tmp_path / "run", None)
    (tmp_path / "run" / REPORT_NAME).write_bytes(to_report_json(make_report_of(run)))
    status, found = ask(client, run)
    assert status == 200
    TypeAdapter(Evaluation).validate_python(found)
    assert found["titles"] == {"model": "The model", "own_counts": "Own counts", "ials": "iALS"}
    etag = client.get(f"/api/quick-tests/{run}/evaluation").headers["ETag"]
    again = client.get(f"/api/quick-tests/{run}/evaluation/", headers={"If-None-Match": etag})
    assert again.status_code == 304


def test_a_run_without_a_report_has_none(client: TestClient, place: Place, tmp_path: Path) -> None:
    """An older trainer's, one that trains, one without a folder; another id is not found."""
    old = evaluate_run(place, tmp_path / "run", None)
    assert ask(client, old) == (200, {"available": False})
    assert ask(client, make_run(place, "without a folder").id) == (200, {"available": False})
    assert ask(client, 404)[0] == 404


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "schema version 1 was expected"),
        (b" " * (MAX_REPORT_BYTES + 1), "1,048,577 bytes|1048577|at most"),
        (to_report_json(make_report_of(99)), "it is another run's report"),
    ],
    ids=["cut", "too large", "another run's"],
)
def test_a_report_that_cannot_be_used_is_refused_by_name(
    data: bytes, said: str, client: TestClient, place: Place, tmp_path: Path
) -> None:
    """The rest of the run is answered as before."""
    run = evaluate_run(place, tmp_path / "run", data)
    status, found = ask(client, run)
    assert status == 500
    assert any(part in str(found["detail"]) for part in said.split("|"))
    assert client.get(f"/quick-tests/{run}").status_code == 200
    assert client.get(f"/api/quick-tests/{run}/training-history/").status_code == 200
