"""What an MLflow run says of itself: tables of tags, and of runs with much and with little."""

import pytest

from switchyard.core.metrics.record import RunIdentity
from switchyard.core.mlflow.facts import Shows, to_look, to_parent_run_id, to_shows, to_user_tags
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.runs.ownership import to_tags
from tests.core.mlflow.factories import START_MS, make_points, make_run, make_small

OURS = to_tags(RunIdentity(quick_test_id=7, key="k", attempt=1, restart=0))
TAGS: list[tuple[dict[str, str], dict[str, str]]] = [
    ({}, {}),
    ({"stage": "draft", "": "no name"}, {"": "no name", "stage": "draft"}),
    ({"mlflow.user": "u", "mlflow.runName": "n", "mlflow.parentRunId": "p"}, {}),
    ({"mlflow.note.content": "try again"}, {"note": "try again"}),
    ({"mlflow.note.content": ""}, {}),
    ({"mlflow.note.content": "a", "note": "b"}, {"mlflow.note.content": "a", "note": "b"}),
    ({**OURS, "switchyard.weight_stats.query": "{}", "switchyard.bin_edges": "constant"}, {}),
    ({"mlflowish": "a", "MLFLOW.user": "b"}, {"MLFLOW.user": "b", "mlflowish": "a"}),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "expected"), TAGS)
def test_tags_of_a_user_are_kept_and_bookkeeping_is_not(tags: dict[str, str], expected: dict[str, str]) -> None:
    """In the order of their names, whichever way they were read in; the description is the note."""
    assert to_user_tags(tags) == expected
    assert list(to_user_tags(dict(reversed(tags.items())))) == sorted(expected)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("a" * 32, "a" * 32),
        ("", ""),
        ("0-id_of-29", "0-id_of-29"),
        ("a" * 33, ""),
        ("../x", ""),
        ("a\0b", ""),
        ("ä", ""),
    ],
)
def test_parent_is_what_can_be_the_id_of_a_run(tag: str, expected: str) -> None:
    """Whatever else stands in that tag is no parent, and no text for a database that refuses it."""
    assert to_parent_run_id({"mlflow.parentRunId": tag}) == expected
    assert to_parent_run_id({}) == ""


SHOWS: list[tuple[RawRun, Shows]] = [
    (make_run(), "curves"),
    (make_small({}), "nothing"),
    (make_run({"loss": make_points((0, 1.0))}), "curves"),
    (make_small({"accuracy": make_points((0, 0.9)), "rmse": make_points((3, 3.2))}), "values"),
    (make_small({"loss": make_points((0, 0, 1.0), (0, 1, 0.5))}), "curves"),  # without steps
    (make_small({"loss": make_points((0, 0, 1.0), (1, 0, 0.5))}), "curves"),  # without times
    (make_small({"loss": make_points((0, 0, 1.0), (0, 0, 1.0))}), "values"),  # said twice at once
    (RawRun(info=make_run().info, metrics={}, params={"lr": "0.1"}, tags={}), "values"),
    (RawRun(info=make_run().info, metrics={}, params={}, tags={"stage": "draft"}), "nothing"),
]


@pytest.mark.parametrize(("run", "expected"), SHOWS)
def test_what_a_run_shows_depends_on_whether_a_metric_was_logged_twice(run: RawRun, expected: Shows) -> None:
    """Params, and metrics that were logged once, are values; tags alone are nothing."""
    assert to_shows(run) == to_look(run).shows == expected


def test_a_look_says_when_a_run_was_last_logged_to() -> None:
    """Whichever metric it was."""
    run = make_small({"loss": make_points((0, 7_000, 1.0)), "rmse": make_points((9, 3_000, 1.0))})
    assert to_look(run).newest_ms == START_MS + 7_000
    assert to_look(make_small({})).newest_ms is None
