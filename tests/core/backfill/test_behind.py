"""Which adopted rows are behind MLflow, and what they then say: tables of rows and looks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from switchyard.core.backfill.behind import find_behind, list_open, to_news, to_unasked
from switchyard.core.backfill.plan import STALE, Behind, How, StatusChoice, make_plan
from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.mlflow.facts import Look
from switchyard.core.runs.rows import RunStatus
from tests.core.mlflow.factories import START_MS, make_info

START = datetime(2023, 7, 22, 4, 26, 40, tzinfo=UTC)
HOW = How(since=START + timedelta(hours=100), stale_after_hours=168)
LATER = How(since=START + timedelta(hours=200), stale_after_hours=168)
RUNNING = {"status": "running", "adopted": True}
PARTIAL = RUNNING | {"is_partial": True, "published": "ours", "charted_digest": "a", "seen_until": START}
FAILED = PARTIAL | {"status": "failed"}


def make_row(**changes: Any) -> BackfillRow:
    values: dict[str, Any] = {"id": 1, "status": "completed", "mlflow_run_id": "a"}
    return BackfillRow(**(values | changes))


def make_look(status: str = "RUNNING", *, newest_s: int | None = 0, **changes: Any) -> Look:
    newest_ms = None if newest_s is None else START_MS + 1_000 * newest_s
    info = make_info(status=status, ended_at_ms=None if status in ("RUNNING", "SCHEDULED") else START_MS + 60_000)
    return Look(info=info, newest_ms=newest_ms, **({"shows": "curves"} | changes))


OPEN: list[tuple[dict[str, Any], StatusChoice, bool]] = [
    ({}, "all", False),
    (PARTIAL, "completed", True),
    (PARTIAL, "all", True),
    (PARTIAL | {"has_job": True}, "all", False),
    (PARTIAL | {"mlflow_run_id": ""}, "all", False),
    (PARTIAL | {"adopted": False}, "completed", True),  # an application's row
    (FAILED, "completed", True),
    (RUNNING, "completed", True),
    (RUNNING, "all", False),  # nothing is published: to do anyway
    (RUNNING | {"adopted": False}, "completed", False),
    (FAILED | {"is_partial": False, "published": "nothing"}, "completed", False),
    (FAILED | {"is_partial": False, "published": "nothing", "ledger_state": STALE}, "completed", True),
]


@pytest.mark.parametrize(("row", "status", "expected"), OPEN)
def test_rows_that_had_not_ended_are_asked_about(row: dict[str, Any], status: StatusChoice, expected: bool) -> None:
    """Not those that a job of ours trains, and not those that are read anyway."""
    assert bool(list_open([make_row(**row)], HOW, status=status)) is expected


WHYS: list[tuple[dict[str, Any], Look | None, str]] = [
    (PARTIAL, None, ""),  # it is not there any more
    (PARTIAL, make_look(), ""),
    (PARTIAL, make_look(newest_s=1), "it has been logged to since"),
    (PARTIAL | {"seen_until": None}, make_look(), "it has been logged to since"),
    (PARTIAL, make_look(newest_s=None), ""),
    (PARTIAL, make_look("FINISHED"), "MLflow says FINISHED"),
    (PARTIAL | {"adopted": False}, make_look("KILLED"), "MLflow says KILLED"),
    (FAILED, make_look("FAILED"), "MLflow says FAILED"),  # it was stale, and has an end now
    (FAILED, make_look(), "MLflow says RUNNING"),  # it goes on
    (PARTIAL, make_look("SLEEPING"), ""),
    (PARTIAL, make_look(""), ""),
    (RUNNING, make_look("FINISHED", shows="nothing", newest_s=None), "MLflow says FINISHED"),
    (RUNNING, make_look(shows="nothing", newest_s=None), ""),
    (RUNNING, make_look(), "it has been logged to since"),
]


@pytest.mark.parametrize(("row", "look", "expected"), WHYS)
def test_row_is_behind_where_mlflow_says_more(row: dict[str, Any], look: Look | None, expected: str) -> None:
    """Its run ended, goes on, or was logged to; never because of a run that is not there."""
    looks = {"a": look} if look else {}
    found = find_behind([make_row(**row)], looks, HOW, lost_parents={}, known=set())
    assert found.why == ({1: expected} if expected else {})


def test_run_that_never_ends_is_called_stale_and_opened_again_when_it_goes_on() -> None:
    """In plain words, with the flag that changes it; a run that ended is never stale."""
    stale = to_news(make_info(status="RUNNING", ended_at_ms=None), START_MS + 3_600_000, LATER)
    assert stale is not None
    assert (stale.status, stale.completed_at) == (RunStatus.FAILED, START + timedelta(hours=1))
    assert "is RUNNING there, but nothing was logged to it since 2023-07-22T05:26:40Z" in stale.error
    assert "for more than 168 hours" in stale.error
    assert "--stale-after-hours" in stale.error
    row = make_row(**PARTIAL)
    behind = find_behind([row], {"a": make_look()}, LATER, lost_parents={}, known=set())
    assert behind.why[1].startswith("stale: ")
    # A second backfill has nothing to do: the row says so already.
    assert not find_behind([make_row(**FAILED)], {"a": make_look()}, LATER, lost_parents={}, known=set()).why
    moving = to_news(make_info(status="RUNNING", ended_at_ms=None), START_MS + 3_600_000, LATER, is_moving=True)
    assert moving is not None
    assert moving.status == "running"  # it is logged to by a machine whose clock is behind
    news = to_news(make_info(status="RUNNING", ended_at_ms=None), START_MS + 199 * 3_600_000, LATER)
    assert news is not None
    assert (news.status, news.error, news.completed_at) == (RunStatus.RUNNING, "", None)
    ended = to_news(make_info(status="FINISHED"), None, LATER)
    assert ended is not None
    assert (ended.status, ended.error, ended.display_name) == (RunStatus.COMPLETED, "", "a run")
    assert to_news(make_info(status=""), None, LATER) is None
    never = make_info(status="SCHEDULED", ended_at_ms=None, started_at_ms=None)
    assert to_news(never, None, LATER) == to_news(never, None, HOW)  # no one knows since when


def test_nested_run_is_behind_once_its_parent_has_a_row() -> None:
    """Whatever else is published of it."""
    lost = {1: "p", 2: "q"}
    assert find_behind([], {}, HOW, lost_parents=lost, known={"p"}).why == {1: "its parent has a row now"}


def test_row_that_is_behind_is_read_with_no_less_than_before() -> None:
    """Whatever status was chosen: whole where it was published whole, and with its file where it has one."""
    whole = PARTIAL | {"full_digest": "b"}
    rows = [
        make_row(id=1, **PARTIAL),
        make_row(id=2, **whole),
        make_row(id=3, **whole, ledger_state="filed"),
        make_row(id=4, **whole, gcs_artifacts_path="file:///x"),
        make_row(id=5, **PARTIAL | {"mlflow_run_id": ""}),
        make_row(id=6),
        make_row(id=7, **whole | {"adopted": False, "gcs_artifacts_path": "file:///its/own"}),
    ]
    behind = Behind(why=dict.fromkeys((1, 2, 3, 4, 5, 7), "MLflow says FINISHED"))
    plan = make_plan(rows, HOW, behind=behind)
    assert [(item.quick_test_id, item.whole, item.filed, item.follows) for item in plan.to_do] == [
        (1, False, False, True),
        (2, True, False, True),
        (3, True, True, True),
        (4, True, True, True),
        (6, False, False, False),
        (7, True, False, False),
    ]
    ways = [(way.histograms, way.full) for way in (item.to_how(HOW) for item in plan.to_do)]
    assert ways == [(False, False), (True, False), (True, True), (True, True), (False, False), (True, False)]
    assert {(run.todo, run.why) for run in plan.runs if run.quick_test_id == 1} == {
        ("bring up to date", "MLflow says FINISHED")
    }


def test_mlflow_that_cannot_be_asked_is_said_of_each_open_row() -> None:
    """And stops no one: they are left out."""
    (line,) = to_unasked([make_row(**PARTIAL)], "MLflow is away")
    assert (line.quick_test_id, line.todo) == (1, None)
    assert line.why_not.endswith("MLflow cannot be asked what became of it: MLflow is away")
    plan = make_plan([make_row(**PARTIAL)], HOW, behind=Behind(unknown=[line]))
    assert (plan.to_do, plan.runs) == ([], [line])
