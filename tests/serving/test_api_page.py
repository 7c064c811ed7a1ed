"""docs/api.md: its examples are answered, its refusals are what is said, and its tables are the code's."""

import re

import pytest
from starlette.testclient import TestClient

from switchyard.clients.results.finding import FEW
from switchyard.core.comparison.compared import MAX_RUNS
from switchyard.core.comparison.fields import OPERATORS
from switchyard.core.comparison.filter import MAX_CONSTANTS, MAX_DEPTH, MAX_FIELDS, MAX_TERMS, parse_filter
from switchyard.core.comparison.tokens import MAX_CHARACTERS
from tests.clients.results.places import Place
from tests.root import ROOT
from tests.serving.factories import publish_run

PAGE = (ROOT / "docs/api.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


FILTERS = [line for block in blocks("filter") for line in block.splitlines()]


@pytest.mark.parametrize("text", FILTERS)
def test_every_example_is_answered(client: TestClient, place: Place, text: str) -> None:
    """As it stands on the page."""
    publish_run(place)
    answer = client.get("/api/quick-tests/", params={"filter": text})
    assert (answer.status_code, "items" in answer.json()) == (200, True)


def test_every_refusal_is_what_is_said(client: TestClient) -> None:
    """The filter is the first line, the answer's detail the others."""
    (block,) = blocks("refused")
    text, _, detail = block.partition("\n")
    answer = client.get("/api/quick-tests/", params={"filter": text})
    assert (answer.status_code, answer.json()["detail"]) == (422, detail.rstrip("\n"))


def test_page_names_every_field_operator_and_bound() -> None:
    """None is left out, and no bound is another."""
    assert len(FILTERS) >= 8
    for field in OPERATORS:
        assert f"`{field}" in PAGE
    for operator in ("NOT IN", "NOT LIKE", "!=", "<=", ">="):
        assert f"`{operator}`" in PAGE
    bounds = (MAX_CHARACTERS, MAX_TERMS, MAX_CONSTANTS, MAX_DEPTH)
    said = re.search(
        r"At most ([\d,]+) characters, (\d+) comparisons, (\d+) constants in a list, (\d+) parentheses", PAGE
    )
    assert said is not None
    assert tuple(int(number.replace(",", "")) for number in said.groups()) == bounds
    for bound in (
        f"at most {MAX_FIELDS}",
        f"at most {FEW:,} runs",
        f"up to {MAX_RUNS} runs",
        f"{MAX_RUNS + 1} different",
    ):
        assert bound in PAGE


def test_missing_values_are_as_the_page_says(client: TestClient, place: Place) -> None:
    """`!=` is false of what a run lacks, and `not` turns that round."""
    run = publish_run(place)
    for text, found in (
        ("params.optimizer != 'adam'", [run]),
        ("params.nothing != 'adam'", []),
        ("not params.nothing = 'adam'", [run]),
    ):
        assert parse_filter(text) is not None
        assert [
            item["id"] for item in client.get("/api/quick-tests/", params={"filter": text}).json()["items"]
        ] == found
