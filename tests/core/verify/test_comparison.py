"""The comparison of one run, as tables of what is damaged and of where it is found."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from switchyard.core.errors import BadRecord, NotFound, SwitchyardError
from switchyard.core.history.digest import to_digests
from switchyard.core.history.publication import HistogramRow
from switchyard.core.metrics.record import MetricsRecord, OtherSeries, RunIdentity
from switchyard.core.metrics.writing import to_json
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.verify.comparison import Comparison, Source
from switchyard.core.verify.findings import State, VerifiedRun
from switchyard.core.verify.kept_run import KeptRun
from tests.core.mlflow.factories import make_run, make_series
from tests.core.verify.factories import ID, RUN, RUN_ID, make_kept, read_history, with_history

Found = tuple[str, str, int | None]
"""Where a difference must be found: place, path, epoch."""
RECORD = from_points(RUN)
LINE = VerifiedRun(quick_test_id=ID, mlflow_run_id=RUN_ID, state=State.VERIFIED)
CHARTED_RUN = msgspec.structs.replace(
    RUN, metrics={key: points for key, points in RUN.metrics.items() if key in SCALARS}, keys=SCALARS
)
OURS = RunIdentity(quick_test_id=ID, key="0c4f", attempt=1, restart=0)


def judge(
    kept: KeptRun, file: bytes | SwitchyardError | None = None, *, run: RawRun = RUN, is_filed: bool = False
) -> VerifiedRun:
    record = from_points(run)
    source = Source(run, record, to_digests(record))
    return Comparison(kept, read_history(kept), source, file, is_filed=is_filed).judge(LINE)


def places(line: VerifiedRun) -> list[Found]:
    assert line.state is (State.DIFFERS if line.differences else State.VERIFIED)
    return [(found.place, found.path, found.epoch) for found in line.differences]


def make_file(record: MetricsRecord = RECORD, **changes: Any) -> bytes:
    return to_json(msgspec.structs.replace(record, **({"run": OURS} | changes)))


def replace(kept: KeptRun, **changes: Any) -> KeptRun:
    return msgspec.structs.replace(kept, **changes)


def with_digests(kept: KeptRun, **changes: Any) -> KeptRun:
    assert kept.digests is not None
    return replace(kept, digests=msgspec.structs.replace(kept.digests, **changes))


def with_series(kept: KeptRun, **changes: str) -> KeptRun:
    assert kept.digests is not None
    return with_digests(kept, series=kept.digests.series | changes)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Damage of a history: `value` at ``section`` or ``section.name``."""
    *parents, name = path.split(".")

    def damage(history: dict[str, Any]) -> None:
        place = history
        for parent in parents:
            place = place[parent]
        place[name] = value

    return damage


def reorder(history: dict[str, Any]) -> None:
    """As jsonb does."""
    for key in sorted(history, reverse=True):
        history[key] = history.pop(key)


KEPT = make_kept()
CHARTED_KEPT = make_kept(run=CHARTED_RUN)
WITH_NUL = make_run(params={"optimizer": "a\0b", "layers": "[1]"})


@pytest.mark.parametrize(
    ("kept", "run", "compared"),
    [
        pytest.param(KEPT, RUN, True, id="as it was published"),
        pytest.param(make_kept(interval=2), RUN, True, id="sampled"),
        pytest.param(with_history(KEPT, reorder), RUN, True, id="its keys in another order"),
        pytest.param(CHARTED_KEPT, CHARTED_RUN, False, id="charted keys, of which no more is read"),
        pytest.param(
                replace(CHARTED_KEPT, histograms=[], series=KEPT.series, values=KEPT.values), RUN, False,
                id="charted keys, of which all is read",
            ),
        pytest.param(
            replace(with_history(KEPT, put("histogram_available", False)), histograms=[]), RUN, False,
            id="published without histograms",
        ),
        pytest.param(
            replace(with_history(KEPT, lambda history: history.pop("cached_at")), cached_at=None), RUN, True,
            id="before publishing kept its time",
        ),
        pytest.param(
            replace(with_history(KEPT, reorder), cached_at=None), RUN, True, id="a time that was not kept beside it"
        ),
        pytest.param(
            replace(
                (nul := make_kept(run=WITH_NUL)), history_text=(nul.history_text or "").replace("\\u0000", "\ufffd"),
                takes_nul=False,
            ),
            WITH_NUL, True, id="in a column that has no NUL",
        ),
    ],
)  # fmt: skip
def test_what_is_kept_as_it_should_be_is_verified(kept: KeptRun, run: RawRun, compared: bool) -> None:
    """However it was published, and however its column writes JSON."""
    line = judge(kept, run=run)
    assert places(line) == []
    assert line.compared == ["row", "history", "digests", *(["histograms"] if compared else []), "series", "values"]
    assert kept.digests is not None
    assert (line.published_digest, line.kept_in_full) == (kept.digests.charted, False)
    assert {left.what for left in line.left_out} >= {"times of points", "tags"}


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        pytest.param(replace(KEPT, digests=None), [("digests", "", None)], id="no digests"),
        pytest.param(
            with_series(KEPT, **{"loss.loss": "sha256:0"}), [("digests", "loss.loss", None)], id="one series' digest"
        ),
        pytest.param(
            with_series(KEPT, **{"loss.other": "sha256:0"}), [("digests", "loss.other", None)], id="one too many"
        ),
        pytest.param(
            with_digests(KEPT, charted="sha256:0"), [("digests", "charted", None)], id="the charted series' together"
        ),
        pytest.param(with_digests(KEPT, full="sha256:0"), [("digests", "full", None)], id="all series' together"),
        pytest.param(
            with_digests(CHARTED_KEPT, charted="sha256:0"),
            [("digests", "charted", None)], id="charted keys alone",
        ),
        pytest.param(with_history(KEPT, put("loss.val", [9, 9, 9])), [("history", "loss.val", 0)], id="a series"),
        pytest.param(
            with_history(KEPT, put("params.optimizer", "sgd")), [("history", "params.optimizer", None)], id="a param"
        ),
        pytest.param(
            with_history(KEPT, put("cached_at", "2020-01-01T00:00:00Z")), [("history", "cached_at", None)],
            id="its time",
        ),
        pytest.param(
            with_history(KEPT, put("digest", "none")),
            [("history", path, None) for path in ("digest", "digest.charted", "digest.full")], id="its digest",
        ),
        pytest.param(
            with_history(CHARTED_KEPT, put("digest.full", "sha256:0")), [("history", "digest.full", None)],
            id="a full digest of charted keys alone",
        ),
        pytest.param(
            with_history(KEPT, put("sampling.interval", 0)), [("history", "sampling", None)], id="no such interval"
        ),
        pytest.param(
            with_history(KEPT, put("sampling.interval", "x")), [("history", "sampling", None)],
            id="an interval that is no number",
        ),
        pytest.param(
            with_history(KEPT, put("sampling", 5)), [("history", "sampling", None)], id="a sampling that is no object"
        ),
        pytest.param(
            with_history(KEPT, put("sampling", "interval")), [("history", "sampling", None)],
            id="a sampling that is a text",
        ),
        pytest.param(
            replace(KEPT, mlflow_run_id="other"), [("row", "mlflow_run_id", None)], id="another run's row"
        ),
        pytest.param(replace(KEPT, mlflow_run_id=""), [("row", "mlflow_run_id", None)], id="a row without its run"),
        pytest.param(
            make_kept(named=""), [("history", "mlflow_run_id", None), ("row", "mlflow_run_id", None)],
            id="a history without its run",
        ),
    ],
)  # fmt: skip
def test_what_is_damaged_is_found_where_it_is(kept: KeptRun, expected: list[Found]) -> None:
    """Each damage by itself, and nothing beside it."""
    run = CHARTED_RUN if kept.digests and kept.digests.full is None else RUN
    assert places(judge(kept, run=run)) == expected


def test_a_history_without_its_sampling_is_taken_for_the_default() -> None:
    """So that its epochs are compared with some, and the missing words are named beside them."""
    found = places(judge(with_history(KEPT, lambda history: history.pop("sampling"))))
    assert ("history", "sampling", None) in found
    assert ("history", "epochs", 1) in found


FIRST = KEPT.histograms[0]
OTHERS = KEPT.histograms[1:]


def gzip_row(data: bytes, kind: str = FIRST.kind, tower: str = FIRST.tower) -> HistogramRow:
    return HistogramRow(kind=kind, tower=tower, gzip_json=data)


@pytest.mark.parametrize(
    ("rows", "paths", "said"),
    [
        pytest.param([gzip_row(gzip.compress(gzip.decompress(FIRST.gzip_json), 1)), *OTHERS], set(), "",
                     id="packed otherwise"),
        pytest.param(OTHERS, {"weight_stats.query.histogram.available"}, "nothing", id="a missing one"),
        pytest.param([FIRST, *OTHERS, gzip_row(gzip.compress(b'{"x": 1}'), "other", "third")],
                     {"other.third.histogram.x"}, "1", id="one too many"),
        pytest.param([gzip_row(b"no gzip"), *OTHERS], {"weights of the query tower"}, "not gzip JSON", id="no gzip"),
        pytest.param([gzip_row(FIRST.gzip_json[:50]), *OTHERS], {"weights of the query tower"}, "not gzip JSON",
                     id="cut"),
        pytest.param([gzip_row(FIRST.gzip_json[:12] + b"\xff" * 20), *OTHERS], {"weights of the query tower"},
                     "not gzip JSON", id="other bytes"),
        pytest.param([gzip_row(gzip.compress(b"{")), *OTHERS], {"weights of the query tower"}, "not gzip JSON",
                     id="no JSON"),
        pytest.param([gzip_row(gzip.compress(b"[1]")), *OTHERS], {"weights of the query tower"}, "not gzip JSON",
                     id="no object"),
    ],
)  # fmt: skip
def test_each_histogram_is_compared(rows: list[HistogramRow], paths: set[str], said: str) -> None:
    """By its values, not by its bytes; what is none says so."""
    assert (FIRST.kind, FIRST.tower) == ("weights", "query")
    line = judge(replace(KEPT, histograms=rows))
    assert {found.place for found in line.differences} <= {"histograms"}
    found = {found.path: found.found for found in line.differences}
    assert paths <= found.keys()
    assert all(found[path].startswith(said) for path in paths)
    assert bool(found) is bool(paths)


OTHER_RUN = RunIdentity(quick_test_id=ID + 1, key="0c4f", attempt=1, restart=0)


@pytest.mark.parametrize(
    ("file", "is_filed", "expected", "kept_in_full"),
    [
        pytest.param(None, False, [], False, id="none, and none was written"),
        pytest.param(NotFound("not there"), False, [], False, id="not there, and none was written"),
        pytest.param(None, True, [("file", "", None)], False, id="none, though one was written"),
        pytest.param(NotFound("not there"), True, [("file", "", None)], False, id="not there, though one was written"),
        pytest.param(BadRecord("f", ["too large"]), False, [("file", "", None)], False, id="one that cannot be read"),
        pytest.param(b"{", False, [("file", "", None)], False, id="no JSON"),
        pytest.param(make_file(), True, [], True, id="the same record"),
        pytest.param(make_file(run=OTHER_RUN), True, [("file", "run.quick_test_id", None)], False, id="another run's"),
        pytest.param(make_file(status="failed"), True, [("file", "status", None)], False, id="another status"),
        pytest.param(
            make_file(loss={**RECORD.loss, "val_loss": [9.0, 9.0, 9.0]}), True, [("file", "loss.val_loss", 0)], False,
            id="another series",
        ),
        pytest.param(
            make_file(other_series={"x": OtherSeries()}), True,
            [("file", "other_series.x.steps", None), ("file", "other_series.x.values", None)], False,
            id="what the digests alone see",
        ),
    ],
)  # fmt: skip
def test_a_file_beside_a_history_of_mlflow_is_compared(
    file: bytes | SwitchyardError | None, is_filed: bool, expected: list[Found], kept_in_full: bool
) -> None:
    """The run is kept in full where the file is the whole record, and only there."""
    line = judge(KEPT, file, is_filed=is_filed)
    assert places(line) == expected
    assert line.kept_in_full is kept_in_full
    assert ("file" in line.compared) is isinstance(file, bytes)


@pytest.mark.parametrize(
    ("changes", "expected", "left_out"),
    [
        ({}, [], []),
        ({"loss.val_loss": [9, 9, 9]}, [("file", "loss.val_loss", 0)], []),
        ({"loss.val_loss": [1, None, None]}, [("file", "loss.val_loss", 0)], ["val_loss"]),
    ],
)
def test_a_collectors_file_beside_a_history_of_mlflow_is_compared_in_what_both_hold(
    changes: dict[str, Any], expected: list[Found], left_out: list[str]
) -> None:
    """It knows no run, and may have gaps, which are named as left out."""
    run = make_run()
    tree = json.loads(make_file(from_points(run)))
    for name in ("schema_version", "run", "non_finite"):
        tree.pop(name, None)
    for path, value in changes.items():
        put(path, value)(tree)
    line = judge(make_kept(run=run), json.dumps(tree).encode(), run=run)
    assert places(line) == expected
    assert [left.names for left in line.left_out if "metrics file" in left.what] == ([left_out] if left_out else [])
    assert line.kept_in_full is (not expected and not left_out)


def test_a_file_is_not_compared_with_charted_keys_alone() -> None:
    """No one has read the rest."""
    line = judge(CHARTED_KEPT, make_file(), run=CHARTED_RUN)
    assert (places(line), line.kept_in_full) == ([], False)


FILE_RECORD = msgspec.structs.replace(RECORD, run=OURS)
OF_FILE = make_kept(FILE_RECORD, source="file")
MORE = make_run({"loss": RUN.metrics["loss"], "noted": make_series([1.0, 2.0, 3.0])})


@pytest.mark.parametrize(
    ("kept", "run", "expected", "kept_in_full", "left_out"),
    [
        pytest.param(OF_FILE, RUN, [], True, [], id="both say the same"),
        pytest.param(OF_FILE, MORE, [], False, ["noted"], id="MLflow says more"),
        pytest.param(make_kept(FILE_RECORD, source="file", named=""), RUN, [], True, [],
                     id="a history that knows no MLflow run"),
        pytest.param(replace(OF_FILE, mlflow_run_id="other"), RUN, [("row", "mlflow_run_id", None)], False, [],
                     id="another run's row"),
        pytest.param(with_history(OF_FILE, put("loss.val", [9, 9, 9])), RUN, [("history", "loss.val", 0)], False, [],
                     id="another history"),
        pytest.param(OF_FILE, make_run({"loss": RUN.metrics["loss"], "val_loss": make_series([9.0, 9.0, 9.0])}),
                     [("file", "loss.val_loss", 0)], False, [], id="another series in MLflow"),
    ],
)  # fmt: skip
def test_a_history_of_a_file_is_compared_with_it_and_the_file_with_mlflow(
    kept: KeptRun, run: RawRun, expected: list[Found], kept_in_full: bool, left_out: list[str]
) -> None:
    """What MLflow alone has is named as left out: it would go with it."""
    line = judge(kept, make_file(), run=run)
    assert places(line) == expected
    assert line.kept_in_full is kept_in_full
    assert [left.names for left in line.left_out if "metrics file" in left.what] == ([left_out] if left_out else [])


LISTED_RECORD = msgspec.structs.replace(FILE_RECORD, params={**FILE_RECORD.params, "layers": [64, 32], "epochs": 3})
OF_LISTED = make_kept(LISTED_RECORD, source="file")


@pytest.mark.parametrize(
    ("without", "expected"),
    [((), []), (("layers",), []), (("epochs",), [("values", "param.epochs", None)])],
    ids=["published now", "published before lists had values", "another value is missing"],
)
def test_param_that_is_a_list_may_have_no_value(without: tuple[str, ...], expected: list[Found]) -> None:
    """What was published before these had values is no less right; any other value must be there."""
    assert {value.name: value.text for value in OF_LISTED.values}["layers"] == "[64, 32]"
    kept = replace(OF_LISTED, values=[value for value in OF_LISTED.values if value.name not in without])
    line = judge(kept, make_file(LISTED_RECORD))
    assert [found for found in places(line) if found[0] == "values"] == expected


@pytest.mark.parametrize(
    ("file", "reason"),
    [(None, "it was not looked for"), (NotFound("it is not there"), "it is not there"),
     (BadRecord("f", ["too large"]), "too large")],
)  # fmt: skip
def test_a_history_of_a_file_that_cannot_be_read_is_unread(file: SwitchyardError | None, reason: str) -> None:
    """There is nothing else to compare it with."""
    line = judge(OF_FILE, file)
    assert line.state is State.UNREAD
    assert line.reason.startswith("published from its training_metrics.json, which could not be read: ")
    assert reason in line.reason


def test_a_damaged_file_of_a_history_is_a_difference() -> None:
    """It is there, and is not what it was; nothing is compared with it."""
    line = judge(OF_FILE, b"{")
    assert places(line) == [("file", "", None)]
    assert line.kept_in_full is False
