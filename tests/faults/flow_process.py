"""Runs flows, each in a process of its own, and kills one with SIGKILL at a point that is named.

That is right before or after the n-th time that it does something to the outside: ``python -m
tests.faults.flow_process``, orders on stdin, news on stdout, one JSON line each.

The processes are forked after the imports, which take longer than a flow.
"""

import os
import select
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
from google.cloud.aiplatform_v1 import JobServiceClient

import flows.ingest
import flows.reconcile
import flows.train
import switchyard.services.announcing
import tasks.turns
from switchyard.clients.launchers.vertex.launcher import VertexLauncher
from switchyard.clients.objects.gcs import GcsObjects
from switchyard.clients.results.histories import SqlHistories
from switchyard.clients.results.jobs import SqlJobs
from switchyard.clients.results.runs import SqlRuns
from switchyard.core.errors import SwitchyardError
from tests.faults.orders import FlowNews, FlowOrder, Point

FLOWS: dict[str, Callable[..., Any]] = {
    "train": flows.train.train,
    "ingest": flows.ingest.ingest,
    "reconcile": flows.reconcile.reconcile,
}
DONE, FAILED, BROKEN = 0, 1, 3

_POINTS: list[tuple[Any, str, Point]] = [
    (SqlRuns, "create_run", "make the row"),
    (tasks.turns, "take_turn", "take a turn"),
    (SqlJobs, "claim_job", "claim the job"),
    (JobServiceClient, "list_custom_jobs", "list the jobs"),
    (JobServiceClient, "create_custom_job", "create the job"),
    (SqlJobs, "record_job", "record the job"),
    (VertexLauncher, "report", "look at the job"),
    (GcsObjects, "read", "read the file"),
    (SqlHistories, "publish", "publish"),
    (switchyard.services.announcing, "emit_run_completed", "tell the completion"),
    (SqlJobs, "note_completed_event", "note the completion"),
    (SqlJobs, "claim_ended_event", "claim the event"),
    (switchyard.services.announcing, "emit_job_ended", "emit the event"),
]


def name_point(named: Point, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Point | None:
    """What a call of this name and these arguments is; None: nothing that a kill is aimed at."""
    if named == "record the job" and args[2].state.ended:
        return "record its end"
    if named == "read the file" and not args[1].endswith("/training_metrics.json"):
        return None  # mlflow_info.json, of which most runs have none
    return named


def arm(order: FlowOrder) -> None:
    """From now on this process writes down what it does, and dies where it is told to."""
    done: Counter[Point] = Counter()
    log = Path(order.log).with_suffix(".points")

    def pass_point(point: Point, *, after: bool) -> None:
        done[point] += not after
        if not after:
            with log.open("a") as file:
                file.write(f"{point}\n")
        kill = order.kill
        if kill is not None and (kill.point, kill.after, kill.nth) == (point, after, done[point]):
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(function: Callable[..., Any], named: Point) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            point = name_point(named, args, kwargs)
            if point is None:
                return function(*args, **kwargs)
            pass_point(point, after=False)
            answer = function(*args, **kwargs)
            pass_point(point, after=True)
            return answer

        return call

    for owner, name, point in _POINTS:
        setattr(owner, name, watched(getattr(owner, name), point))


def run(order: FlowOrder) -> int:
    """The exit status of the flow's process; what it writes goes to its log."""
    with Path(order.log).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(order.environ)
    if order.call_timeout_s:
        # No setting: only a test waits less long for an answer than the product does.
        (VertexLauncher.__init__.__kwdefaults__ or {})["timeout_s"] = order.call_timeout_s
    arm(order)
    try:
        FLOWS[order.flow](**order.parameters)
    except SwitchyardError as err:
        print(err, file=sys.stderr, flush=True)
        return FAILED
    except Exception:  # noqa: BLE001  # the process ends here; its log says why
        traceback.print_exc()
        return BROKEN
    return DONE


def main() -> None:
    """Obeys until stdin is closed; no flow outlives it."""
    numbers: dict[int, int] = {}  # by process id
    pending = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.02)
        if readable:
            data = os.read(0, 1 << 16)
            if not data:
                for pid in numbers:  # the process that ordered them is gone
                    os.kill(pid, signal.SIGKILL)
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                order = msgspec.json.decode(line, type=FlowOrder)
                pid = os.fork()
                if pid == 0:
                    status = BROKEN
                    try:
                        os.close(0)
                        status = run(order)
                    finally:
                        os._exit(status)  # no exit handlers: they are this process's parent's
                numbers[pid] = order.number
                _tell(FlowNews(number=order.number, pid=pid))
        while numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            _tell(FlowNews(number=numbers.pop(pid), pid=pid, status=os.waitstatus_to_exitcode(status)))


def _tell(news: FlowNews) -> None:
    os.write(1, msgspec.json.encode(news) + b"\n")


if __name__ == "__main__":
    main()
