"""The sampling that a run was asked for, the same whether it is published while it trains or at its end."""

from typing import Annotated, Final

import msgspec

from switchyard.core.errors import BadRecord
from switchyard.core.history.best import DIRECTION_PATTERN, parse_directions
from switchyard.core.metrics.checks import describe
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.rows import Job, QuickTest

MAX_INTERVAL: Final = 2**53 - 1
"""The largest integer that every reader of JSON keeps."""

_Direction = Annotated[str, msgspec.Meta(pattern=DIRECTION_PATTERN)]


def to_sampling(run: QuickTest, job: Job | None) -> Sampling:
    """Returns the sampling that the run was asked for.

    It is the default if its parameters do not say (a run that is not ours).

    Raises:
        BadRecord: the parameters name no valid sampling, or they cannot be read.
    """
    if job is not None and job.unread:
        raise BadRecord(f"quick test {run.id}", [job.unread])
    asked = (job.parameters if job else None) or run.parameters
    known = {name: asked[name] for name in Sampling.__struct_fields__ if name in asked}
    try:
        if "directions" in known:
            known["directions"] = parse_directions(msgspec.convert(known["directions"], tuple[_Direction, ...]))
        found = msgspec.convert(known, Sampling)
    except msgspec.ValidationError:
        found = None
    if found is None or not 1 <= found.interval <= MAX_INTERVAL or found.max_points < 2:
        said = ", ".join(f"{name} {describe(value)}" for name, value in known.items())
        raise BadRecord(
            f"quick test {run.id}",
            [
                f"its parameters must have an `interval` that is an integer of at least 1 and at most {MAX_INTERVAL}, "
                "a `keep_extremes` that is true or false, a `max_points` of at least 2, and `directions` such as "
                f"`speed=max`; got {said}. To publish it all the same: switchyard ingest {run.id} --interval 5"
            ],
        )
    return found
