"""What an MLflow run says of itself: tables of tags, and of runs with much and with little."""

import msgspec
import pytest

from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import RunIdentity, Sampling
from switchyard.core.metrics.showing import Shows, to_shows
from switchyard.core.mlflow.facts import to_look, to_parent_run_id, to_user_tags
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.runs.ownership import to_tags
from tests.core.mlflow.factories import START_MS, make_info, make_points, make_run, make_small

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
    (make_small({"loss": make_points((0, 1.0))}), "curves"),  # one epoch: a chart of one point
    (make_small({"eval_loss": make_points((7, 1.0)), "rmse": make_points((7, 3.2))}), "curves"),
    (make_small({"query_weight_norm": make_points((0, 1.0))}), "curves"),
    (make_small({"accuracy": make_points((0, 0.9)), "rmse": make_points((3, 3.2))}), "values"),
    (make_small({"rmse": make_points((3, 0, 3.2), (3, 1, 3.1))}), "values"),  # of one step, said again
    (make_small({"final_rmse": make_points((0, 0, 3.2), (0, 1, 3.1))}), "values"),
    (make_small({"final_rmse": make_points((0, 3.2), (1, 3.1))}), "curves"),
    (make_small({"rmse": make_points((0, 0, 1.0), (0, 1, 0.5))}), "curves"),  # without steps
    (make_small({"rmse": make_points((0, 0, 1.0), (1, 0, 0.5))}), "curves"),  # without times
    (make_small({"rmse": make_points((0, 0, 1.0), (0, 0, 1.0))}), "values"),  # said twice at once
    (make_small({"query_weights_mean": make_points((0, 1.0), (1, 1.0))}), "values"),  # of no chart
    (make_small({"query_hist_bin_0": make_points((0, 1.0), (1, 1.0))}), "nothing"),
    (RawRun(info=make_run().info, metrics={}, params={"lr": "0.1"}, tags={}), "values"),
    (RawRun(info=make_run().info, metrics={}, params={}, tags={"stage": "draft"}), "nothing"),
]


@pytest.mark.parametrize(("run", "expected"), SHOWS)
def test_what_a_run_shows_is_what_its_page_will_draw(run: RawRun, expected: Shows) -> None:
    """A look at the store says the same as the record that is published; of a run without a status, too."""
    assert to_shows(from_points(run)) == to_look(run).shows == expected
    lost = msgspec.structs.replace(run, info=make_info(status=""))
    assert (to_look(lost).shows, to_look(lost).info.status) == (expected, "")


@pytest.mark.parametrize(("run", "expected"), SHOWS)
def test_the_page_says_that_there_are_no_curves_where_a_run_shows_none(run: RawRun, expected: Shows) -> None:
    """By the same rule, from the history alone."""
    history = to_publication(from_points(run), quick_test_id=1, source="mlflow", sampling=Sampling()).history
    drawn = any(any(history[section].values()) for section in ("loss", "gradient", "metrics")) or history["series"]
    assert bool(drawn) is (expected == "curves")


def test_a_look_says_when_a_run_was_last_logged_to() -> None:
    """Whichever metric it was."""
    run = make_small({"loss": make_points((0, 7_000, 1.0)), "rmse": make_points((9, 3_000, 1.0))})
    assert to_look(run).newest_ms == START_MS + 7_000
    assert to_look(make_small({})).newest_ms is None
