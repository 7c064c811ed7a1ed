"""What became of one run before anything is compared, as a table of what is kept and of what MLflow has."""

from typing import Any

import msgspec
import pytest

from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.history.digest import to_digests
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import Keys, LostRun, RawRun, to_source_digest
from switchyard.core.verify.findings import State
from switchyard.core.verify.kept_run import KeptRun
from switchyard.core.verify.run import to_run_id, verify_run
from tests.core.mlflow.factories import make_info, make_series, make_small
from tests.core.verify.factories import ID, RUN, RUN_ID, make_kept, read_history, with_history

KEPT = make_kept()
UNPUBLISHED = KeptRun(quick_test_id=ID, mlflow_run_id=RUN_ID)
NO_POINTS = make_small({})
NO_CHART = make_small({"note": make_series([1.0])})
BINS_ALONE = make_small({"query_hist_bin_0": make_series([1.0])})
LEGACY = '{"loss": [1.0, NaN]}'


def kept(text: str | None, **changes: Any) -> KeptRun:
    return msgspec.structs.replace(KEPT, history_text=text, **changes)


def charted(run: RawRun) -> RawRun:
    return msgspec.structs.replace(run, keys=SCALARS)


@pytest.mark.parametrize(
    ("kept", "found", "state", "reason"),
    [
        pytest.param(KEPT, RUN, State.VERIFIED, "", id="all is right"),
        pytest.param(UNPUBLISHED, RUN, State.UNPUBLISHED, "nothing is published", id="nothing published"),
        pytest.param(
            UNPUBLISHED, NO_POINTS, State.EMPTY, "nothing is published, and MLflow has not one point of it", id="empty"
        ),
        pytest.param(
            UNPUBLISHED, charted(NO_POINTS), State.UNPUBLISHED,
            "nothing is published, and its other keys were not read", id="no charted metric, nor read further",
        ),
        pytest.param(
            UNPUBLISHED, NO_CHART, State.UNPUBLISHED, "nothing is published", id="no charted metric, but another one"
        ),
        pytest.param(
            UNPUBLISHED, BINS_ALONE, State.UNCHARTED,
            "nothing is published: it has the bins of histograms alone, and no epoch that they are of", id="uncharted",
        ),
        pytest.param(
            UNPUBLISHED, msgspec.structs.replace(BINS_ALONE, params={"lr": "1"}), State.UNPUBLISHED,
            "nothing is published", id="bins and a param",
        ),
        pytest.param(
            kept(LEGACY, digests=None), RUN, State.LEGACY, "the legacy application stored its history", id="legacy"
        ),
        pytest.param(
            kept(LEGACY), RUN, State.LEGACY,
            "the legacy application stored its history over what Switchyard had published", id="legacy over ours",
        ),
        *[
            pytest.param(
                kept(text, digests=None),
                RUN,
                State.LEGACY,
                "what is stored is not a JSON object, and not Switchyard's",
                id=f"not ours: {text[:5]}",
            )
            for text in ("{", "[1]", "[" * 100_000)
        ],
        pytest.param(
            kept("{"),
            RUN,
            State.DIFFERS,
            "the stored history is not a JSON object: '{'...",
            id="damaged beyond reading",
        ),
        pytest.param(
            msgspec.structs.replace(KEPT, is_at_work=True), RUN, State.RUNNING,
            "a job of it is at work; verify it when that has ended", id="at work",
        ),
        pytest.param(
            msgspec.structs.replace(UNPUBLISHED, is_at_work=True), RUN, State.UNPUBLISHED, "nothing is published",
            id="at work with nothing published",
        ),
        pytest.param(
            KEPT, LostRun(run_id=RUN_ID, error=NotFound("no such run")), State.MISSING, "no such run", id="gone"
        ),
        pytest.param(
            UNPUBLISHED, LostRun(run_id=RUN_ID, error=NotFound("no such run")), State.MISSING,
            "no such run; nothing is published", id="gone, and nothing published",
        ),
        pytest.param(
            KEPT, LostRun(run_id=RUN_ID, error=BadRecord("run", ["odd"])), State.UNREAD, "run: odd", id="unreadable"
        ),
    ],
)  # fmt: skip
def test_each_run_has_its_state_and_reason(kept: KeptRun, found: RawRun | LostRun, state: State, reason: str) -> None:
    """Whatever is kept, and whatever MLflow answers."""
    line = verify_run(kept, found, None)
    assert (line.state, line.reason) == (state, reason)
    assert (line.quick_test_id, line.mlflow_run_id) == (ID, RUN_ID)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (make_small(RUN.metrics, info=make_info(status="PAUSED")), "`status` must be one of"),
        (msgspec.structs.replace(RUN, keys=Keys(frozenset({"loss"}))), "it was read with other keys"),
    ],
)
def test_a_run_that_makes_no_record_is_unread(run: RawRun, words: str) -> None:
    """Its error says what is wrong with it, or with what was read of it; how much was read is said all the same."""
    line = verify_run(KEPT, run, None)
    assert line.state is State.UNREAD
    assert words in line.reason
    assert (line.keys, line.charted_digest) == (len(run.metrics), "")


@pytest.mark.parametrize(
    ("changes", "deleted"),
    [({}, False), ({"lifecycle": "deleted"}, True), ({"experiment_lifecycle": "deleted"}, True)],
)
@pytest.mark.parametrize("keys", [None, SCALARS])
def test_a_line_says_what_was_read(changes: dict[str, Any], deleted: bool, keys: Any) -> None:
    """Of the run, in counts and digests; a full one only where all was read."""
    run = msgspec.structs.replace(RUN, info=make_info(**changes), keys=keys)
    line, record = verify_run(KEPT, run, None), from_points(run)
    assert (line.name, line.experiment, line.mlflow_status, line.deleted) == ("a run", "two-tower", "FINISHED", deleted)
    assert (line.keys_read, line.keys) == ("all" if keys is None else "charted", len(RUN.metrics))
    assert (line.epochs, line.points) == (3, sum(len(points.steps) for points in RUN.metrics.values()))
    digests = to_digests(record)
    assert (line.source_digest, line.charted_digest) == (to_source_digest(run), digests.charted)
    assert line.full_digest == (digests.full or "")
    assert bool(line.full_digest) is (keys is None)


def test_the_file_and_whether_it_must_be_there_are_compared() -> None:
    """They reach the comparison, which test_comparison.py has."""
    line = verify_run(KEPT, RUN, NotFound("not there"), is_filed=True)
    assert [(found.place, found.found) for found in line.differences] == [("file", "not there")]


@pytest.mark.parametrize(
    ("kept", "run_id"),
    [
        pytest.param(KEPT, RUN_ID, id="the row's"),
        pytest.param(make_kept(mlflow_run_id="row", named="history"), "row", id="the row's before the history's"),
        pytest.param(make_kept(mlflow_run_id="", named="history"), "history", id="the history's"),
        pytest.param(make_kept(mlflow_run_id="", named=""), "", id="of no run"),
        pytest.param(
            with_history(make_kept(mlflow_run_id=""), lambda history: history.update(mlflow_run_id=5)), "",
            id="no text",
        ),
        pytest.param(
            with_history(make_kept(mlflow_run_id=""), lambda history: history.pop("schema_version")), RUN_ID,
            id="of a history with one of our keys",
        ),
        pytest.param(kept('{"mlflow_run_id": "other"}', mlflow_run_id=""), "", id="a legacy history's is not believed"),
        pytest.param(kept("{", mlflow_run_id=""), "", id="no JSON"),
        pytest.param(kept(None, mlflow_run_id=""), "", id="nothing published"),
    ],
)  # fmt: skip
def test_the_run_to_compare_with_is_the_rows_or_else_the_histories(kept: KeptRun, run_id: str) -> None:
    """A row may have lost its id; only what Switchyard has published is believed instead."""
    assert to_run_id(kept) == run_id


def test_the_factories_keep_what_publishing_keeps() -> None:
    """So that each table above damages what is right."""
    assert read_history(KEPT)["digest"]["full"] == verify_run(KEPT, RUN, None).full_digest
