"""Whether a run's points, and what was read of it afterwards, are of one moment."""

from typing import Any

import msgspec
import pytest

from switchyard.core.mlflow.contents import RunDetails, is_of_one_moment
from tests.core.mlflow.factories import INF, NAN, START_MS, make_info, make_points, make_small

RUN = make_small(
    {"loss": make_points((0, 3.0), (1, 2.0), (1, 500, NAN)), "rmse": make_points((4, INF))}, info=make_info()
)
LATEST = [("loss", 1, START_MS + 1_000, 2.0), ("rmse", 4, START_MS + 4_000, INF)]


def make(**changes: Any) -> RunDetails:
    values = {"info": RUN.info, "params": RUN.params, "tags": RUN.tags, "latest": LATEST}
    return RunDetails(**{**values, **changes})


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (make(), True),
        (make(latest=[("loss", 1, START_MS + 500, NAN), LATEST[1]]), True),
        (make(info=msgspec.structs.replace(RUN.info, status="FAILED")), False),
        (make(params={"new": "1"}), False),
        (make(tags={"new": "1"}), False),
        (make(latest=[("loss", 2, START_MS, 1.0), LATEST[1]]), False),
        (make(latest=[("loss", 1, START_MS + 1_000, 1.0), LATEST[1]]), False),
        (make(latest=[*LATEST, ("new", 0, START_MS, 1.0)]), False),
        (make(latest=LATEST[:1]), False),
    ],
    ids=["the same", "another point of the step", "status", "param", "tag", "a later step", "another value",
         "a new key", "a key less"],
)  # fmt: skip
def test_run_is_of_one_moment(details: RunDetails, *, expected: bool) -> None:
    """Its newest points are among those that were read, and all else is the same."""
    assert is_of_one_moment(RUN, details) is expected
