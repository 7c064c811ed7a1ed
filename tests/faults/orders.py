"""What a fault run tells its processes: which flow to run, where to kill it, and what to do to a container."""

from typing import Any, Literal

import msgspec

Point = Literal[
    "make the row",
    "take a turn",
    "claim the job",
    "list the jobs",
    "create the job",
    "record the job",
    "look at the job",
    "record its end",
    "read the file",
    "publish",
    "tell the completion",
    "note the completion",
    "claim the event",
    "emit the event",
]
"""What a flow does to the outside, or asks of it: everything that a kill can fall before or after."""

Upload = Literal["snapshot", "checkpoint", "checkpoint list", "embeddings", "model", "last metrics", "ended.json"]
"""What a training process writes."""


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """SIGKILL of a flow's process right before it does `point` for the `nth` time, or right after."""

    point: Point
    after: bool = False
    nth: int = 1


class ContainerAct(msgspec.Struct, frozen=True, kw_only=True):
    """What Vertex AI does to the container right before it writes `upload` for the `nth` time, or right after.

    It happens once in the job's life.
    """

    act: Literal["kill", "preempt", "restart"]
    upload: Upload
    after: bool = False
    nth: int = 1

    def to_name(self, region: str) -> str:
        """As the run's name, which is how it reaches the container."""
        return msgspec.json.encode([region, self]).decode()


class FlowOrder(msgspec.Struct, kw_only=True):
    """One flow's process."""

    number: int
    flow: Literal["train", "ingest", "reconcile"]
    parameters: dict[str, Any] = {}
    environ: dict[str, str] = {}
    kill: Kill | None = None
    call_timeout_s: float = 0.0  # of a call to Vertex AI; 0: the product's own
    log: str  # a file: what the flow wrote; beside it, with .points, what it did


class FlowNews(msgspec.Struct, kw_only=True):
    """A flow's process has begun (`status` None), or ended so (below 0: by that signal)."""

    number: int
    pid: int
    status: int | None = None
