"""Version 1 of the mapping: what it made of a run it makes for ever, because stored histories are verified by it."""

from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.core.errors import BadRequest
from switchyard.core.history.digest import to_first_digests
from switchyard.core.mlflow.keys import CHARTED, SCALARS
from switchyard.core.mlflow.mapping1 import from_points
from switchyard.core.mlflow.raw_run import Keys, Points, RawRun
from tests.core.mlflow.factories import INF, NAN, NOTHING, make_points, make_run, make_series, make_small

LOSS: Final = make_series([3.0, 2.0, 1.0])
UNSTEPPED: Final = make_points((0, 5, 3.0), (0, 10, 2.0), (0, 15, 1.0))
RUNS: Final = {
    "whole": make_run(),
    "a step logged twice": make_run({"loss": make_points((0, 0, 3.0), (1, 10, 2.0), (2, 20, 1.0), (1, 15, 7.0))}),
    "many points a step": make_small({"loss": LOSS, "val_loss": make_points((0, 1, 3.0), (0, 2, 2.0), (0, 3, NAN))}),
    "all at step 0": make_small({"loss": UNSTEPPED, "lr": UNSTEPPED, "final_loss": UNSTEPPED}),
    "all at step 0, of two lengths": make_small(
        {"loss": UNSTEPPED, "val_loss": make_points((0, 5, 6.0), (0, 11, 5.0))}
    ),
    "strides": make_small({"loss": make_series([3.0, 2.0], first=10, stride=10)}),
    "shifted": make_small({"loss": LOSS, "val_loss": make_series([6.0, 5.0, 4.0], first=1)}),
    "negative steps": make_small({"loss": make_points((-1, 9.0), (0, 3.0)), "weight_norm": make_points((-2, 1.0))}),
    "not finite": make_run({"loss": make_series([NAN, INF, -INF]), "query_hist_bin_2": make_series([1.0, NAN, 2.0])}),
    "odd, missing bins": make_run({"query_hist_bin_1": make_series([0.5, -1.0, 1e300]), "query_hist_bin_0": NOTHING}),
    "no params": make_run(params={}),
    "other names": make_small({"train_loss": LOSS, "eval/loss": LOSS, "auc": make_points((1, 0.5))}),
    "batches": make_small({"loss": make_series([0.5] * 100), "val_loss": make_series([0.5] * 4, first=24, stride=25)}),
    "final series": make_small({"loss": LOSS, "test_loss": make_series([3.0, 2.0]), "final_x": make_series([1.0], 7)}),
}
GOLDEN: Final = {
    "whole": (
        "sha256:873f161d77c411e715e204acf7f55e4f679be5e0d3c57630a42590e6a9139920",
        "sha256:f461886e829c79227061230dbb3bcfd018f192f67407401ec1ca2888f4422fb0",
    ),
    "a step logged twice": (
        "sha256:6e90bb5136455be62f890f05300e37e5d163f25e46d573b21b5edc7bfa84b374",
        "sha256:ec7f8338b4a226628e2efa6bd2ef312dbba13d4cf7c47b5b0dd23de969bf0361",
    ),
    "many points a step": (
        "sha256:7435f0e4a3e36eca409489060502f3edf1e5b6fb43107a049346a8965770c3c5",
        "sha256:607881a1f62c0857d0a90263aea82d82c994305696697b9c9dc2d1a71fe74c25",
    ),
    "all at step 0": (
        "sha256:f39559ad8a9b6612921c9aa3b5234d2fa82915772101bb85a7390c66c7f1cd9f",
        "sha256:36816e67b9756df1675cc05153496fa98646884b47c56c1e3669e441f0d7250f",
    ),
    "all at step 0, of two lengths": (
        "sha256:49af7cf9c6769eecf91d9c7f653b8fe8f1ebb10245a31fc4eef16ff601fb6819",
        "sha256:2cc68eb097627c7eda9a3dfb28843a3fd4fe4ac72dfad06526e64941bdda11f3",
    ),
    "strides": (
        "sha256:6646f77c6881309e2844fdf4936798906cd05b400e73a2dc171c9dc6dbe1f431",
        "sha256:6646f77c6881309e2844fdf4936798906cd05b400e73a2dc171c9dc6dbe1f431",
    ),
    "shifted": (
        "sha256:bd52a472f5a53cc6740d34260fa56cd2bfcea5e9af73171a6f46d49ab011156d",
        "sha256:bd52a472f5a53cc6740d34260fa56cd2bfcea5e9af73171a6f46d49ab011156d",
    ),
    "negative steps": (
        "sha256:36215264df4e126421f46ddeba14d9a82f2a3c3d66aa4b32fb19fa5a2927b2dc",
        "sha256:6a39b8d80c8daf08d3c92e8d719747309b8815e123125c45db7ddfd0ca4d59b8",
    ),
    "not finite": (
        "sha256:a70855fc44d085ce8843900c2ac032e280865f16b9cbd49b305383ba0d83d74f",
        "sha256:d115a530fae8ab2083e16e6727cf5c7381565a57dd7d106a3c5a299400019763",
    ),
    "odd, missing bins": (
        "sha256:873f161d77c411e715e204acf7f55e4f679be5e0d3c57630a42590e6a9139920",
        "sha256:322c346d970a07af34f1e6f46455bfb9fa61085c725794478ad56ea40a8702fa",
    ),
    "no params": (
        "sha256:3fe166637951d4abe434b614a6d680a6ed887b73a268349fbc69a4f01b12a26a",
        "sha256:91eda408e7bd0b5712ba0b7243937352a8842d8f478c7c47a45285229a74b900",
    ),
    "other names": (
        "sha256:30e20863309312d54090a155cd5265bde6fad45c611887dc06178d759d04e5e7",
        "sha256:59084e0423261734b21c03633db09e746cf9eb49610638ca6d45bc1561a92383",
    ),
    "batches": (
        "sha256:efcc68862347b27858fe5ca2759e6bfece40721be09265b186893aab41deb680",
        "sha256:efcc68862347b27858fe5ca2759e6bfece40721be09265b186893aab41deb680",
    ),
    "final series": (
        "sha256:0c7fee40e6ea89691aa0652bcb642166cb9fac389a7ebeedee0c303effc63bf3",
        "sha256:27097e908f69d5200cf3610062750c73cf14b148d19fb8ec67137723eb8df832",
    ),
}  # fmt: skip
"""Charted and full digest of each, as the mapping gave them before there was a second version. Never edited."""


def choose(run: RawRun, keys: Keys) -> RawRun:
    """The run as it is when only some keys were read."""
    return msgspec.structs.replace(
        run, metrics={key: points for key, points in run.metrics.items() if key in keys}, keys=keys
    )


@pytest.mark.parametrize("name", RUNS)
def test_runs_have_the_digests_that_they_always_had(name: str) -> None:
    """Read whole, with its charted keys, or with all scalars."""
    charted, full = GOLDEN[name]
    found = to_first_digests(from_points(RUNS[name]))
    assert (found.charted, found.full) == (charted, full)
    for keys in (CHARTED, SCALARS):
        few = to_first_digests(from_points(choose(RUNS[name], keys)))
        assert (few.charted, few.full) == (charted, None)


POINTS = st.lists(
    st.tuples(st.integers(-3, 8), st.integers(0, 50), st.floats(allow_nan=True, allow_infinity=True)), min_size=1
).map(lambda points: make_points(*points))
KEYS = st.sampled_from(
    ("loss", "val_loss", "weight_norm", "query_weights_mean", "query_hist_bin_0", "final_loss", "test_x", "train_loss")
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, POINTS))
def test_scalars_are_as_good_as_charted_keys(metrics: dict[str, Points]) -> None:
    """Whatever was logged: a row of version 1 can be verified by a run that was read for version 2."""
    run = make_small(metrics)
    assert from_points(choose(run, SCALARS)) == from_points(choose(run, CHARTED))
    assert to_first_digests(from_points(choose(run, SCALARS))).charted == to_first_digests(from_points(run)).charted


def test_another_choice_of_keys_is_no_record() -> None:
    """A record that lacks a part of what it claims to hold must not be made."""
    with pytest.raises(BadRequest, match="other keys"):
        from_points(msgspec.structs.replace(make_run(), keys=Keys(frozenset({"loss"}))))
