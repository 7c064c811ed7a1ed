"""Raw points in one order, and the digest of all that was read of a run."""

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from switchyard.core.mlflow.raw_run import to_points, to_source_digest
from tests.core.mlflow.factories import INF, NAN, make_info, make_points, make_run, make_small


@settings(deadline=None)
@given(st.permutations([(0, 1, 1.0), (0, 1, NAN), (0, 1, -INF), (0, 2, 0.5), (1, 0, 0.0), (-1, 9, 9.0)]))
def test_points_come_out_in_one_order_whatever_order_they_come_in(points: list[tuple[int, int, float]]) -> None:
    """By step, then timestamp, then value, NaN first: so that every way of reading gives the same."""
    found = to_points(*map(list, zip(*points, strict=True)))
    shown = list(zip(found.steps, found.timestamps_ms, map(str, found.values), strict=True))
    assert shown == [(-1, 9, "9.0"), (0, 1, "nan"), (0, 1, "-inf"), (0, 1, "1.0"), (0, 2, "0.5"), (1, 0, "0.0")]


def test_source_digest_sees_every_part_of_a_run() -> None:
    """A point's time, a param, a tag, the status: each changes it; the order of keys does not."""
    run = make_run()
    digest = to_source_digest(run)
    later = make_points((0, 1, 0.5), (1, 2, 0.5))
    others = [
        msgspec.structs.replace(run, params={}),
        msgspec.structs.replace(run, tags={}),
        msgspec.structs.replace(run, info=make_info(status="FAILED")),
        msgspec.structs.replace(run, metrics=run.metrics | {"loss": later}),
        msgspec.structs.replace(run, metrics=run.metrics | {"loss": make_points((0, 2, 0.5), (1, 2, 0.5))}),
    ]
    assert len({digest, *map(to_source_digest, others)}) == 6
    assert to_source_digest(msgspec.structs.replace(run, metrics=dict(reversed(run.metrics.items())))) == digest
    zero, minus = (make_small({"loss": make_points((0, value))}) for value in (0.0, -0.0))
    assert to_source_digest(zero) == to_source_digest(minus)
    assert math.copysign(1, minus.metrics["loss"].values[0]) == -1
