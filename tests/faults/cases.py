"""The faults: what is done to which step. docs/reliability.md has a row for each."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from tests.emulators.faults import Fault
from tests.faults.neighbours import POISONS, Poison
from tests.faults.orders import ContainerAct, Kill, Point, Upload

Step = Literal["submit", "wait", "upload", "ingest"]
FlowName = Literal["train", "ingest", "reconcile"]

METRICS = "training_metrics.json"
LARGE = "model/variables"  # tests/faults/trainer.py: three chunks


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One fault at one step.

    Targets of Vertex AI's faults are set to the try's own region; those of Cloud Storage are names below the run's
    folder.
    """

    step: Step
    fault: str
    flows: tuple[FlowName, ...] = ("train",)  # started at once
    kill: Kill | None = None  # of each of them that comes there; one must
    racing: bool = False  # reconcile runs again and again until the first of them has ended
    unwatched: bool = False  # the job has ended before any of them starts
    act: ContainerAct | None = None
    vertex: tuple[Fault, ...] = ()
    gcs: tuple[Fault, ...] = ()
    call_timeout_s: float = 0.0  # of a call to Vertex AI; 0: the product's own
    database: Literal["", "locked", "away"] = ""
    database_from: Literal["start", "running"] = "start"
    database_for_s: float = 0.0
    neighbour: Poison | None = None  # another run, which reconcile comes to first; reconcile alone recovers


def _kills(step: Step, points: Sequence[tuple[Point, str]], flow: FlowName = "train", nth: int = 1) -> list[Case]:
    """kill -9 of a flow before and after each point; those of other flows than train find the job ended."""
    return [
        Case(
            step=step,
            fault=f"kill -9 of {flow} {'after' if after else 'before'} {said}",
            flows=(flow,),
            kill=Kill(point=point, after=after, nth=nth),
            unwatched=flow != "train",
        )
        for point, said in points
        for after in (False, True)
    ]


def _acts(act: Literal["kill", "preempt", "restart"], said: str, uploads: Sequence[tuple[Upload, int]]) -> list[Case]:
    names: dict[Upload, str] = {
        "snapshot": "a metrics snapshot",
        "checkpoint": "a checkpoint's files",
        "checkpoint list": "the checkpoint that counts",
        "embeddings": "embeddings/",
        "model": "model/",
        "last metrics": "the complete metrics",
        "ended.json": "ended.json",
    }
    return [
        Case(
            step="upload",
            fault=f"{said} {'after' if after else 'before'} {names[upload]}",
            act=ContainerAct(act=act, upload=upload, after=after, nth=nth),
        )
        for upload, nth in uploads
        for after in (False, True)
    ]


def _answers(step: Step, kind: str, said: str, *, unwatched: bool = False, nth: int = 1) -> list[Case]:
    """What may become of one call's answer, on Vertex AI."""
    flows: tuple[FlowName, ...] = ("ingest",) if unwatched else ("train",)
    fault = Fault(kind=kind, nth=nth)
    changes: list[tuple[str, Fault, float]] = [
        ("503 instead of", msgspec.structs.replace(fault, status=503, times=2), 0.0),
        ("503 after", msgspec.structs.replace(fault, status=503, after=True), 0.0),
        ("429 instead of", msgspec.structs.replace(fault, status=429, times=2), 0.0),
        ("a connection cut before", msgspec.structs.replace(fault, status=503, broken=True), 0.0),
        ("a connection cut after", msgspec.structs.replace(fault, broken=True, after=True), 0.0),
        ("a slow answer to", msgspec.structs.replace(fault, delay_s=2.0), 0.0),
        ("an answer past its deadline to", msgspec.structs.replace(fault, delay_s=2.5, after=True), 1.0),
    ]
    return [
        Case(
            step=step,
            fault=f"{words} {said}",
            flows=flows,
            unwatched=unwatched,
            vertex=(changed,),
            call_timeout_s=timeout_s,
        )
        for words, changed, timeout_s in changes
    ]


def _store(step: Step, kind: str, target: str, said: str, *, nth: int = 1, reads: bool = False) -> list[Case]:
    """What may become of one call's answer, on Cloud Storage."""
    flows: tuple[FlowName, ...] = ("ingest",) if reads else ("train",)
    fault = Fault(kind=kind, target=target, nth=nth)
    changes = [
        ("503 instead of", msgspec.structs.replace(fault, status=503, times=2)),
        ("429 instead of", msgspec.structs.replace(fault, status=429, times=2)),
        ("a connection cut in the answer to", msgspec.structs.replace(fault, broken=True)),
        ("a slow answer to", msgspec.structs.replace(fault, delay_s=2.0)),
    ]
    if not reads:
        changes.insert(1, ("503 after", msgspec.structs.replace(fault, status=503, after=True)))
    return [
        Case(step=step, fault=f"{words} {said}", flows=flows, unwatched=reads, gcs=(changed,))
        for words, changed in changes
    ]


SUBMIT: list[Case] = [
    *_kills(
        "submit",
        [
            ("make the row", "making the run's row"),
            ("take a turn", "taking a turn to submit"),
            ("claim the job", "claiming the job"),
            ("list the jobs", "looking for the key's job"),
            ("create the job", "creating the job"),
            ("record the job", "recording the job's name"),
        ],
    ),
    *_answers("submit", "CreateCustomJob", "the create"),
    Case(
        step="submit",
        fault="503 after the create, and to the next two lists",
        vertex=(
            Fault(kind="CreateCustomJob", status=503, after=True),
            Fault(kind="ListCustomJobs", status=503, nth=2, times=2),
        ),
    ),
    Case(step="submit", fault="503 to the list before the create", vertex=(Fault(kind="ListCustomJobs", status=503),)),
    Case(
        step="submit",
        fault="odd answer: an empty list to the look for the key's job, after kill -9 of who created it",
        kill=Kill(point="create the job", after=True),
        vertex=(Fault(kind="ListCustomJobs", nth=2, empty=True),),
    ),
    Case(step="submit", fault="two flow runs at once", flows=("train", "train")),
    Case(
        step="submit",
        fault="two flow runs at once, neither sees the other's create",
        flows=("train", "train"),
        vertex=(Fault(kind="CreateCustomJob", times=2, delay_s=1.0),),
    ),
    Case(
        step="submit",
        fault="two flow runs at once, kill -9 of who creates the job after it",
        flows=("train", "train"),
        kill=Kill(point="create the job", after=True),
    ),
    Case(step="submit", fault="reconcile again and again", racing=True),
    Case(step="submit", fault="results database locked for 12 s", database="locked", database_for_s=12),
    Case(step="submit", fault="results database away for 8 s", database="away", database_for_s=8),
]

WAIT: list[Case] = [
    *_kills("wait", [("look at the job", "a look at the job"), ("record the job", "recording that it runs")], nth=2),
    *_kills("wait", [("record its end", "recording its end")]),
    *_answers("wait", "GetCustomJob", "a look at the job", nth=2),
    *[
        Case(step="wait", fault=f"odd answer: {status} to {looks} at the job", vertex=(odd,))
        for status in (404, 403, 401)
        for odd, looks in (
            (Fault(kind="GetCustomJob", nth=2, status=status), "one look"),
            (Fault(kind="GetCustomJob", nth=2, times=2, status=status), "two looks"),
        )
    ],
    Case(
        step="wait",
        fault="odd answer: 404 to a look at the job, and an empty list",
        vertex=(
            Fault(kind="GetCustomJob", nth=2, status=404),
            # Before the create, after it, and then by the look that the 404 makes.
            Fault(kind="ListCustomJobs", nth=3, empty=True),
        ),
    ),
    Case(
        step="wait",
        fault="reconcile again and again, and kill -9 of the waiting flow",
        racing=True,
        kill=Kill(point="look at the job", nth=3),
    ),
    Case(step="wait", fault="two flow runs wait for one job", flows=("train", "train", "reconcile")),
    Case(
        step="wait",
        fault="results database locked for 12 s",
        database="locked",
        database_from="running",
        database_for_s=12,
    ),
    Case(
        step="wait", fault="results database away for 8 s", database="away", database_from="running", database_for_s=8
    ),
]

_UPLOADS: list[tuple[Upload, int]] = [
    ("snapshot", 1),
    ("snapshot", 3),
    ("checkpoint", 2),
    ("checkpoint list", 2),
    ("embeddings", 1),
    ("model", 1),
    ("last metrics", 1),
    ("ended.json", 1),
]
_WORDS = {("snapshot", 1): "the first metrics snapshot"}


def _name_first(case: Case) -> Case:
    first = case.act is not None and (case.act.upload, case.act.nth) == ("snapshot", 1)
    fault = case.fault.replace("a metrics snapshot", "the first metrics snapshot") if first else case.fault
    return msgspec.structs.replace(case, fault=fault)


UPLOAD: list[Case] = [
    *(_name_first(case) for case in _acts("kill", "container killed", _UPLOADS)),
    *_acts("preempt", "preempted by SIGTERM", [("snapshot", 3), ("embeddings", 1), ("last metrics", 1)]),
    *_acts("restart", "main restarted in the same job", [("snapshot", 3), ("model", 1), ("ended.json", 1)]),
    *_store("upload", "objects.insert", METRICS, "a metrics snapshot", nth=2),
    *_store("upload", "objects.insert", "embeddings/*", "a file of embeddings/"),
    Case(
        step="upload",
        fault="503 after the first metrics snapshot, and its restart",
        gcs=(Fault(kind="objects.insert", target=METRICS, status=503, after=True),),
        act=ContainerAct(act="kill", upload="snapshot", after=True, nth=2),
    ),
    Case(
        step="upload",
        fault="503 after ended.json",
        gcs=(Fault(kind="objects.insert", target="ended.json", status=503, after=True),),
    ),
    *[
        Case(
            step="upload",
            fault=f"{words} of a large file, whose session is gone",
            gcs=(Fault(kind="uploads.put", target=LARGE, nth=nth, status=status, after=after),),
        )
        for words, nth, status, after in (
            ("404 to the second chunk", 2, 404, False),
            ("409 to the second chunk", 2, 409, False),
            ("410 to the second chunk", 2, 410, False),
            ("410 after the last chunk", 3, 410, True),
        )
    ],
    Case(step="upload", fault="Cloud Storage away for seconds", gcs=(Fault(target="*", nth=6, times=4, status=503),)),
]

INGEST: list[Case] = [
    *_kills(
        "ingest",
        [
            ("read the file", "reading the file"),
            ("publish", "publishing"),
            ("tell the completion", "telling the run's completion"),
            ("note the completion", "noting that its completion was told"),
            ("claim the event", "claiming the event"),
            ("emit the event", "emitting the event"),
        ],
    ),
    *_kills(
        "ingest",
        [
            ("look at the job", "asking for its job"),
            ("record its end", "recording its end"),
            ("read the file", "reading the file"),
            ("publish", "publishing"),
            ("tell the completion", "telling the run's completion"),
            ("note the completion", "noting that its completion was told"),
        ],
        "ingest",
    ),
    *_kills(
        "ingest",
        [
            ("record its end", "recording its end"),
            ("publish", "publishing"),
            ("claim the event", "claiming the event"),
            ("emit the event", "emitting the event"),
        ],
        "reconcile",
    ),
    *_store("ingest", "objects.download", METRICS, "the read", reads=True),
    *[
        case
        for case in _answers("ingest", "GetCustomJob", "asking for the job", unwatched=True)
        if "503" in case.fault or "past" in case.fault
    ],
    Case(
        step="ingest",
        fault="Cloud Storage away for seconds",
        flows=("ingest",),
        unwatched=True,
        gcs=(Fault(target="*", times=4, status=503),),
    ),
    Case(
        step="ingest",
        fault="Cloud Storage away for longer than all retries",
        flows=("ingest",),
        unwatched=True,
        gcs=(Fault(target=METRICS, times=7, status=503),),
    ),
    Case(
        step="ingest",
        fault="odd answer: 404 to ingest's look at the job, and an empty list",
        flows=("ingest",),
        unwatched=True,
        vertex=(Fault(kind="GetCustomJob", status=404), Fault(kind="ListCustomJobs", empty=True)),
    ),
    Case(
        step="ingest",
        fault="odd answer: 404 to the read of the metrics file",
        flows=("ingest",),
        unwatched=True,
        gcs=(Fault(kind="objects.download", target=METRICS, status=404),),
    ),
    Case(
        step="ingest",
        fault="odd answer: an empty list to reconcile",
        flows=("reconcile",),
        unwatched=True,
        vertex=(Fault(kind="ListCustomJobs", empty=True),),
    ),
    Case(
        step="ingest",
        fault="odd answer: 404 and empty lists to a turn of reconcile",
        flows=("reconcile",),
        unwatched=True,
        vertex=(Fault(kind="GetCustomJob", status=404), Fault(kind="ListCustomJobs", times=2, empty=True)),
    ),
    Case(
        step="ingest",
        fault="odd answer: 403 to a turn of reconcile",
        flows=("reconcile",),
        unwatched=True,
        vertex=(Fault(kind="ListCustomJobs", status=403),),
    ),
    *[
        Case(
            step="ingest",
            fault=f"poisoned neighbour: {poison}",
            flows=("reconcile",),
            unwatched=True,
            neighbour=poison,
            kill=Kill(point="read the file") if "killed" in poison else None,
        )
        for poison in POISONS
    ],
    Case(step="ingest", fault="two ingests at once", flows=("ingest", "ingest"), unwatched=True),
    Case(
        step="ingest",
        fault="ingest, reconcile and the repeated request at once",
        flows=("ingest", "reconcile", "train"),
        unwatched=True,
    ),
    Case(step="ingest", fault="two reconciles at once", flows=("reconcile", "reconcile"), unwatched=True),
    Case(
        step="ingest",
        fault="results database locked for 12 s",
        flows=("ingest",),
        unwatched=True,
        database="locked",
        database_for_s=12,
    ),
    Case(
        step="ingest",
        fault="results database away for 8 s",
        flows=("ingest",),
        unwatched=True,
        database="away",
        database_for_s=8,
    ),
]

CASES: list[Case] = [*SUBMIT, *WAIT, *UPLOAD, *INGEST]
