"""What a look at marks decides: tables of rows, marks, and what was read last."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from switchyard.core.backfill.following import (
    CHANGED,
    NOT_KNOWN,
    Accept,
    FollowedRun,
    Lifecycle,
    OtherStore,
    RowFacts,
    choose_changes,
    choose_lifecycles,
    count_unknown,
    find_doubt,
    identify_store,
    list_candidates,
    list_doubtful,
    merge,
    to_unpublished_mark,
)
from switchyard.core.backfill.plan import SKIPPED, STALE, Behind, How, make_plan
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.mlflow.store_identity import StoreIdentity, to_experiment
from tests.core.backfill.test_behind import make_row

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)
HOW = How(since=NOW, store="here")
WHOLE = How(since=NOW, store="here", full=True)
OURS = {"published": "ours", "charted_digest": "a"}
EMPTY = {"published": "nothing", "ledger_state": SKIPPED}
OF_MLFLOW = RowFacts(adopted=True, has_job=False, of_mlflow=True)


def make_known(mark: str = "sql1:a", **changes: Any) -> FollowedRun:
    values: dict[str, Any] = {"quick_test_id": 1, "mlflow_run_id": "a", "store": "here", "mark": mark}
    return FollowedRun(**(values | changes))


def make_mark(mark: str = "sql1:a", **changes: Any) -> RunMark:
    return RunMark(run_id="a", mark=mark, **changes)


CANDIDATES: list[tuple[dict[str, Any], RunMark | None, FollowedRun | None, str]] = [
    (OURS, make_mark(), make_known(), ""),
    (OURS, make_mark("sql1:b"), make_known(), CHANGED),
    (OURS, make_mark("rest1:a"), make_known(), NOT_KNOWN),  # two ways cannot be compared
    (OURS, make_mark(), None, NOT_KNOWN),  # published before anyone followed
    (OURS, make_mark(), make_known(""), NOT_KNOWN),  # read from an export
    (OURS, make_mark(), make_known(mlflow_run_id="b"), NOT_KNOWN),  # its row names another run now
    (OURS, None, make_known(), ""),  # MLflow does not name it
    (OURS, make_mark("sql1:b", lifecycle="deleted"), make_known(), CHANGED),
    ({"published": "legacy"}, make_mark("sql1:b"), make_known(), ""),
    (EMPTY, make_mark(), None, ""),  # never read: that is another's decision
    (EMPTY, make_mark(), make_known(), ""),
    (EMPTY, make_mark("sql1:b"), make_known(), CHANGED),
    (OURS | {"mlflow_run_id": ""}, make_mark(), None, ""),
    (OURS, make_mark("", error="no status"), make_known(), "MLflow lists it, and it cannot be read: no status"),
    (OURS, make_mark("", error="no status"), make_known(""), "MLflow lists it, and it cannot be read: no status"),
    ({"published": "legacy"}, make_mark("", error="no status"), make_known(), ""),
    (OURS, make_mark(), make_known(to_unpublished_mark("sql1:a")), ""),  # something newer is published, and stayed
    (OURS, make_mark("sql1:b"), make_known(to_unpublished_mark("sql1:a")), CHANGED),
]


@pytest.mark.parametrize(("row", "mark", "known", "expected"), CANDIDATES)
def test_a_run_whose_mark_differs_may_be_read_again(
    row: dict[str, Any], mark: RunMark | None, known: FollowedRun | None, expected: str
) -> None:
    """Whatever its row's status; never where nothing was read of it, nor over another application's history."""
    marks = {"a": mark} if mark else {}
    found = list_candidates([make_row(**row)], marks, {1: known} if known else {})
    assert found == ({1: expected} if expected else {})


FACTS: list[tuple[dict[str, Any], RowFacts, bool]] = [
    (OURS, OF_MLFLOW, True),
    (OURS | {"status": "failed"}, OF_MLFLOW, True),
    (OURS, RowFacts(adopted=False, has_job=False, of_mlflow=False), False),  # its own file is published
    (OURS, RowFacts(adopted=False, has_job=True, of_mlflow=True), True),
    (OURS | {"status": "running"}, RowFacts(adopted=False, has_job=True, of_mlflow=True), False),
    (EMPTY, RowFacts(adopted=True, has_job=False, of_mlflow=False), True),
]


@pytest.mark.parametrize(("row", "facts", "expected"), FACTS)
def test_a_run_that_has_a_file_or_a_job_at_work_is_left_to_it(
    row: dict[str, Any], facts: RowFacts, expected: bool
) -> None:
    """A changed run is brought up to date; its row must be there by then."""
    rows, marks, known = [make_row(**row)], {"a": make_mark("sql1:b")}, {1: make_known()}
    assert choose_changes(rows, marks, known, {1: facts}, HOW).why == ({1: CHANGED} if expected else {})
    assert choose_changes(rows, marks, known, {}, HOW).why == {}


SETTLED: list[tuple[dict[str, Any], FollowedRun | None, How, bool]] = [
    (EMPTY, make_known(), HOW, True),
    (EMPTY, make_known("sql1:b"), HOW, False),
    (EMPTY, None, HOW, False),
    (EMPTY, make_known(), WHOLE, False),  # it may have the bins of histograms
    (EMPTY, make_known(whole=True), WHOLE, True),
    (EMPTY | {"ledger_state": "failed"}, make_known(), HOW, False),
    (EMPTY | {"ledger_state": STALE}, make_known(), HOW, False),
    (EMPTY | {"status": "running", "adopted": True}, make_known(), HOW, False),  # it may have to be called stale
    (EMPTY, make_known(), How(since=NOW, store="here", force=True), False),
    (OURS, make_known(), HOW, False),
    # Something else was published when it was read; that has been taken back since.
    (EMPTY, make_known(to_unpublished_mark("sql1:a")), HOW, False),
]


@pytest.mark.parametrize(("row", "known", "how", "expected"), SETTLED)
def test_a_run_with_nothing_to_publish_is_read_again_when_it_changes(
    row: dict[str, Any], known: FollowedRun | None, how: How, expected: bool
) -> None:
    """Until then it is listed, with the reason, and not to do."""
    rows = [make_row(**row)]
    changes = choose_changes(rows, {"a": make_mark()}, {1: known} if known else {}, {1: OF_MLFLOW}, how)
    assert changes.settled == (frozenset({1}) if expected else frozenset())
    plan = make_plan(rows, how, behind=merge(Behind(), changes), marks={"a": make_mark()})
    if expected:
        assert plan.to_do == []
        assert [run.why_not for run in plan.runs] == [
            "MLflow had nothing to publish of it when it was read, and it has not changed since"
        ]


def test_a_changed_run_is_brought_up_to_date_whatever_its_status_with_all_that_was_read_before() -> None:
    """The item has the mark that was taken before the run is read; an unchanged one is not to do."""
    rows = [make_row(status="failed", full_digest="f", ledger_state="filed", **OURS), make_row(id=2, **OURS)]
    marks = {"a": make_mark("sql1:b")}
    known = {1: make_known(), 2: make_known("sql1:b", quick_test_id=2)}
    changes = choose_changes(rows, marks, known, {1: OF_MLFLOW}, HOW)
    plan = make_plan(rows, HOW, behind=merge(Behind(why={2: "its parent has a row now"}), changes), marks=marks)
    assert [(run.quick_test_id, run.todo, run.why) for run in plan.runs] == [
        (1, "bring up to date", CHANGED),
        (2, "bring up to date", "its parent has a row now"),
    ]
    first = plan.to_do[0]
    assert (first.mark, first.whole, first.filed) == ("sql1:b", True, True)


def test_a_run_that_is_not_named_any_more_is_asked_for() -> None:
    """Only one that this very store has named; and a store that names nothing at all says nothing of any."""
    rows = [make_row(id=number, mlflow_run_id=run) for number, run in enumerate("abcde", 1)]
    known = {
        1: make_known(),
        2: make_known(quick_test_id=2, mlflow_run_id="b"),
        3: make_known(quick_test_id=3, mlflow_run_id="c", store="elsewhere"),
        4: make_known(quick_test_id=4, mlflow_run_id="d", deleted_at=BEFORE),
    }
    assert list_doubtful(rows, {"a": make_mark()}, known, {"here"}) == ["b"]
    assert list_doubtful(rows, {}, known, {"here"}) == ["a", "b"]
    assert list_doubtful(rows, {"a": make_mark()}, known, {"here", "elsewhere"}) == ["b", "c"]


DOUBTS: list[tuple[int, int, bool]] = [
    # followed, gone at once, and believed
    (100, 0, True),
    (100, 10, True),
    (100, 11, False),
    (5, 3, True),
    (5, 4, False),
    (1_000, 100, True),
    (1_000, 101, False),
]


@pytest.mark.parametrize(("followed", "gone", "expected"), DOUBTS)
def test_a_store_that_lacks_many_runs_at_once_is_not_believed(followed: int, gone: int, expected: bool) -> None:
    """It is a part of what it was; the message names a run, and says what to type."""
    rows = [make_row(id=number, mlflow_run_id=f"run {number:04}") for number in range(1, followed + 1)]
    known = {row.id: make_known(quick_test_id=row.id, mlflow_run_id=row.mlflow_run_id) for row in rows}
    lost = [row.mlflow_run_id for row in rows[:gone]]
    marks = {row.mlflow_run_id: make_mark() for row in rows[gone:]}
    doubt = find_doubt(rows, marks, known, {"here"}, lost)
    assert (doubt == "") is expected
    if doubt:
        assert doubt.startswith(f"{gone} of the {followed} runs that were followed are not in MLflow any more")
        assert "run 0001" in doubt
        assert "switchyard backfill --accept-missing" in doubt
    if gone:
        assert find_doubt(rows, {}, known, {"here"}, lost[:1]) != ""  # it names no run at all


IDENTITY = StoreIdentity({"0": to_experiment("Default", "", 1)})
OTHER = StoreIdentity({"0": to_experiment("Default", "", 2)})
STORES: list[tuple[StoreIdentity, dict[str, StoreIdentity], set[str], bool, set[str] | None]] = [
    # what is found, what is noted, what was followed, whether someone accepts it; the names, None: refused
    (IDENTITY, {}, set(), False, {"here"}),
    (IDENTITY, {}, {"here", "there"}, False, {"here"}),
    (IDENTITY, {"here": IDENTITY}, {"here"}, False, {"here"}),
    (IDENTITY, {"there": IDENTITY}, {"there"}, False, {"here", "there"}),  # moved, or read by another way
    (OTHER, {"here": IDENTITY}, {"here"}, False, None),
    (OTHER, {"here": IDENTITY}, {"here"}, True, set()),
    (OTHER, {"there": IDENTITY}, {"there"}, False, None),
    (OTHER, {"there": IDENTITY}, {"there"}, True, {"here"}),
    (OTHER, {"there": IDENTITY}, {"here", "there"}, False, {"here"}),  # followed when no one noted which it is
    (OTHER, {"there": OTHER, "here": IDENTITY}, {"here", "there"}, False, None),  # two addresses were swapped
    (StoreIdentity(), {"here": IDENTITY}, {"here"}, False, None),
]


@pytest.mark.parametrize(("found", "recorded", "followed", "accepted", "expected"), STORES)
def test_another_store_than_was_followed_is_refused(
    found: StoreIdentity,
    recorded: dict[str, StoreIdentity],
    followed: set[str],
    accepted: bool,
    expected: set[str] | None,
) -> None:
    """Whatever its address; one that someone accepts in the place of another has none of the other's runs."""
    accept = Accept(store=accepted)
    if expected is None:
        with pytest.raises(OtherStore, match="--accept-store"):
            identify_store("here", found, recorded, followed, accept)
        return
    identified = identify_store("here", found, recorded, followed, accept)
    assert identified.names == expected
    assert identified.replaces is ("here" not in expected)
    assert identified.is_noted is (recorded.get("here") == found)


def test_a_run_that_is_lost_is_deleted_at_once_where_somebody_says_so() -> None:
    """No second look is needed; what MLflow itself says of the others counts."""
    rows = [make_row(), make_row(id=2, mlflow_run_id="b")]
    known = {1: make_known(), 2: make_known(quick_test_id=2, mlflow_run_id="b")}
    found = choose_lifecycles(rows, {"a": make_mark()}, known, ["b"], store="here", now=NOW, is_sure=True)
    assert found == [Lifecycle(quick_test_id=2, mlflow_run_id="b", store="here", missing_at=NOW, deleted_at=NOW)]


def test_runs_without_a_row_are_counted() -> None:
    """Those that are deleted in MLflow are left to it."""
    deleted = RunMark(run_id="c", mark="sql1:c", lifecycle="deleted")
    marks = {"a": make_mark(), "b": RunMark(run_id="b", mark=""), "c": deleted}
    assert count_unknown([make_row()], marks) == 1


LIFECYCLES: list[tuple[FollowedRun | None, RunMark | None, bool, tuple[datetime | None, datetime | None] | None]] = [
    (None, make_mark(), False, None),
    (None, make_mark(lifecycle="deleted"), False, (None, NOW)),
    (make_known(), make_mark(experiment_lifecycle="deleted"), False, (None, NOW)),
    (make_known(deleted_at=BEFORE), make_mark(lifecycle="deleted"), False, None),
    (make_known(deleted_at=BEFORE), make_mark(), False, (None, None)),  # restored
    (make_known(mlflow_run_id="b", deleted_at=BEFORE), make_mark(), False, None),  # that was another run
    (make_known(), None, False, None),  # not named, but there
    (make_known(missing_at=BEFORE), None, False, None),
    (make_known(), None, True, (NOW, None)),  # one answer is not the truth
    (make_known(missing_at=NOW), None, True, None),  # the same look once more
    (make_known(missing_at=BEFORE), None, True, (BEFORE, BEFORE)),
    (make_known(missing_at=NOW + timedelta(days=1)), None, True, (NOW + timedelta(days=1),) * 2),  # a clock went back
    (make_known(missing_at=BEFORE), make_mark(), False, (None, None)),  # it was there all the time
    (make_known(missing_at=BEFORE, deleted_at=BEFORE), make_mark(), False, (None, None)),
]


@pytest.mark.parametrize(("known", "mark", "lost", "expected"), LIFECYCLES)
def test_a_run_is_deleted_where_mlflow_says_so_or_two_looks_do_not_find_it(
    known: FollowedRun | None,
    mark: RunMark | None,
    lost: bool,
    expected: tuple[datetime | None, datetime | None] | None,
) -> None:
    """What a row says already is not written again; a run that is there again is no longer deleted."""
    marks = {"a": mark} if mark else {}
    found = choose_lifecycles(
        [make_row()], marks, {1: known} if known else {}, ["a"] if lost else [], store="here", now=NOW
    )
    if expected is None:
        assert found == []
        return
    missing_at, deleted_at = expected
    assert found == [
        Lifecycle(quick_test_id=1, mlflow_run_id="a", store="here", missing_at=missing_at, deleted_at=deleted_at)
    ]
