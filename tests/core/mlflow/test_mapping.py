"""docs/mapping.md: what becomes of each MLflow key and param, whole or of charted keys alone."""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.core.errors import BadRecord, BadRequest
from switchyard.core.history.digest import to_digests
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.legacy_names import to_place
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import RunIdentity, Sampling
from switchyard.core.metrics.writing import to_json
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.mapping_table import METRICS, PARAMS, KeyRule, to_markdown
from switchyard.core.mlflow.raw_run import Keys, Points, RawRun
from tests.core.mlflow.factories import NAN, NOTHING, make_points, make_run, make_series, make_small
from tests.root import ROOT

PAGE = (ROOT / "docs" / "mapping.md").read_text()


def scalars(run: RawRun) -> RawRun:
    """The run as it is when all but the histograms was read."""
    return msgspec.structs.replace(
        run, metrics={key: points for key, points in run.metrics.items() if key in SCALARS}, keys=SCALARS
    )


@pytest.mark.parametrize("name", to_markdown())
def test_the_page_shows_the_tables_that_the_code_is_held_to(name: str) -> None:
    """docs/mapping.md is never behind the code."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
    assert found
    assert found[1] == to_markdown()[name]


@pytest.mark.parametrize("rule", METRICS, ids=lambda rule: str(rule.example))
def test_each_metric_key_goes_where_the_table_says(rule: KeyRule) -> None:
    """A run without that key lacks the path, and one with it has it."""
    steps = (5, 6, 7) if rule.path.startswith("other_series") else (0, 1, 2)
    points = make_points(*((step, 2.0 + step) for step in steps))
    parents = {key: NOTHING for key in make_run().metrics if key in rule.path or to_place(key).bin is not None}
    without = from_points(make_run({**parents, rule.example: NOTHING}))
    having = from_points(make_run({**parents, rule.example: points}))
    assert rule.path not in to_digests(without).series
    assert rule.path in to_digests(having).series


@pytest.mark.parametrize("rule", PARAMS, ids=lambda rule: str(rule.example))
def test_each_param_is_kept_and_goes_where_the_table_says(rule: KeyRule) -> None:
    """Changing the param changes the digest of the path, and of the param itself."""
    run = make_run()
    other = {**run.params, rule.example: ",".join(str(i) for i in range(26))}
    before = to_digests(from_points(run)).series
    after = to_digests(from_points(make_run(params=other))).series
    assert {path for path in before if before[path] != after[path]} == {rule.path, f"params.{rule.example}"}


@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("query_hist_bin_25", "metrics"),
        ("query_hist_bin_07", "metrics"),
        ("query_hist_bin_\N{ARABIC-INDIC DIGIT FOUR}", "metrics"),
        ("buyer_weights_mean", "metrics"),
        ("query_weights_median", "metrics"),
        ("Loss", "metrics"),
        ("val_test_loss", "metrics"),
        ("testing", "metrics"),
        ("test_", "final_metrics"),
    ],
)
def test_keys_that_only_look_known_are_extra_metrics(key: str, section: str) -> None:
    """A key is known by its whole name."""
    assert to_place(key).section == section


def test_charted_keys_alone_give_the_same_history() -> None:
    """What is published without histograms does not depend on the keys that were not read."""
    run = make_run({"batch_loss": make_series([1.0] * 100), "test_loss": make_series([3.0, 2.0, NAN])})
    whole, few = from_points(run), from_points(scalars(run))
    assert few.charted_only
    assert to_digests(few).charted == to_digests(whole).charted
    assert to_digests(few).full is None
    sampling = Sampling(interval=2, keep_extremes=True)
    histories = [
        to_publication(record, quick_test_id=1, source="mlflow", sampling=sampling).history for record in (whole, few)
    ]
    for history, available, full in zip(histories, (True, False), (to_digests(whole).full, None), strict=True):
        assert history.pop("histogram_available") is available
        assert history["digest"].pop("full") == full
    assert histories[0] == histories[1]


def test_record_of_charted_keys_alone_is_never_written_as_a_file() -> None:
    """No one would know later that the rest is missing."""
    record = from_points(scalars(make_run()))
    record.run = RunIdentity(quick_test_id=1, key="k", attempt=0, restart=0)
    with pytest.raises(BadRecord, match="charted series alone"):
        to_json(record)


def test_another_choice_of_keys_is_no_record() -> None:
    """A record that lacks a part of what it claims to hold must not be made."""
    with pytest.raises(BadRequest, match="other keys"):
        from_points(msgspec.structs.replace(make_run(), keys=Keys(frozenset({"loss"}))))


POINTS = st.lists(
    st.tuples(st.integers(-3, 8), st.integers(0, 50), st.floats(allow_nan=True, allow_infinity=True)), max_size=12
).map(lambda points: make_points(*points))
KEYS = st.sampled_from(
    (
        *("loss", "val_loss", "weight_norm", "query_weights_mean", "query_hist_bin_0", "query_grad_hist_bin_24"),
        *("final_loss", "test_x", "own", "a.b", "train_loss", "eval/loss"),
    )
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, POINTS))
def test_any_points_make_a_record_that_files_can_hold(metrics: dict[str, Points]) -> None:
    """Whatever was logged, the record keeps the contract, and a file of it says the same."""
    run = make_small({key: points for key, points in metrics.items() if points.steps})
    record = from_points(run)
    record.run = RunIdentity(quick_test_id=1, key="k", attempt=0, restart=0)
    written = read_record(to_json(record), where="a test")
    assert to_digests(written) == to_digests(record)
    assert to_digests(from_points(scalars(run))).charted == to_digests(record).charted
    assert from_points(scalars(run)).other_series == record.other_series
