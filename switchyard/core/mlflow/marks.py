"""A mark for each MLflow run: by it a later look sees whether the run has changed, without reading its points."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, Final

import msgspec

from switchyard.core.mlflow.raw_run import Lifecycle, TrackedRun

LatestPoint = tuple[str, int, int, float]
"""The newest point of one key, as MLflow names it: key, step, timestamp in milliseconds, value."""

_MADE: Final = "raw1:"
_HEX_DIGITS: Final = 32


class RunMark(msgspec.Struct, frozen=True, kw_only=True):
    """One run as a store has it now.

    `mark` is equal as long as the run's row, experiment, params, tags and latest metrics are; it begins with the way it
    was made, and says something only beside another one of that way.
    """

    run_id: str
    mark: str
    lifecycle: Lifecycle = "active"
    experiment_lifecycle: Lifecycle = "active"
    error: str = ""  # why it has no mark: the run is there, and cannot be read

    @property
    def is_deleted(self) -> bool:
        """Whether the run, or its experiment, is deleted in MLflow, where both can still be restored."""
        return "deleted" in (self.lifecycle, self.experiment_lifecycle)


def to_mark(
    info: TrackedRun, params: Mapping[str, str], tags: Mapping[str, str], latest: Iterable[LatestPoint]
) -> RunMark:
    """Returns the mark of a run, from its row, params, tags and newest points, in whatever order they come.

    Values count to the last bit.
    """
    found = [
        msgspec.structs.astuple(info),
        sorted(params.items()),
        sorted(tags.items()),
        sorted(
            ((key, step, time, None if math.isnan(value) else value) for key, step, time, value in latest),
            key=itemgetter(0, 1, 2),
        ),
    ]
    return RunMark(
        run_id=info.run_id,
        mark=hash_mark(_MADE, found),
        lifecycle=info.lifecycle,
        experiment_lifecycle=info.experiment_lifecycle,
    )


def hash_mark(made: str, found: list[Any]) -> str:
    """Returns a mark that was `made` so, of all that was `found` of a run: values of a database, to the last bit."""
    try:
        data = msgspec.msgpack.encode(found)  # a number as its eight bytes
    except UnicodeEncodeError:  # half a character, which JSON can hold
        data = repr(found).encode("utf-8", "backslashreplace")
    return made + hashlib.sha256(data).hexdigest()[:_HEX_DIGITS]
