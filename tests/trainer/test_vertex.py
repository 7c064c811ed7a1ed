"""The trainer as Vertex AI runs it: in a container that may be taken away at any time.

All it keeps is on Cloud Storage. Each test's history must be that of a training that nothing disturbed.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from switchyard.clients.objects.open import open_objects
from switchyard.core.metrics.reading import read_record
from tests.emulators.faults import Fault
from tests.trainer.factories import LONGER_FLAGS, to_numbers

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import JobServiceClient

    from tests.emulators.gcs import Gcs
    from tests.emulators.vertex import VertexEmulator
    from tests.emulators.vertex_run import Act

IMAGE = "us-docker.pkg.dev/demo-project/switchyard/trainer:test"


class World:
    """A Vertex AI endpoint whose containers run the trainer against a Cloud Storage endpoint."""

    def __init__(self, vertex: "VertexEmulator", client: "JobServiceClient", gcs: "Gcs", root: str) -> None:
        self.vertex = vertex
        self.gcs = gcs
        self.root = root
        self._client = client

    def submit(self) -> str:
        """A new job's name."""
        from tests.emulators.vertex_jobs import create

        args = [f"--artifacts-uri={self.root}", "--key=k", "--quick-test-id=3", *LONGER_FLAGS]
        args.append("--checkpoint-pause-s=0")
        pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}
        pool |= {"container_spec": {"image_uri": IMAGE, "args": args}}
        spec = {"worker_pool_specs": [pool], "base_output_directory": {"output_uri_prefix": self.root}}
        return str(create(self._client, {"display_name": "a training", "job_spec": spec}).name)

    def wait_for_epoch(self, name: str, epoch: int, times: int = 1) -> None:
        """Returns once `times` containers have trained that epoch, and so written the checkpoint of those before it."""
        from tests.emulators.vertex_jobs import wait_for_log

        wait_for_log(self.vertex, name, f'"epoch": {epoch},', times)

    def wait_for_success(self, name: str) -> str:
        """The containers' log, once the job has succeeded."""
        from google.cloud.aiplatform_v1.types import JobState

        from tests.emulators.vertex_jobs import wait_for

        job = wait_for(self.vertex, name)
        log = self.vertex.core.log_of(name)
        assert job.state == JobState.JOB_STATE_SUCCEEDED, f"{job.error}\n{log}"
        return str(log)

    def read_numbers(self) -> dict[str, Any]:
        """What the training left, times and restarts aside; its last file, its model and nothing else must be there."""
        objects = open_objects(self.root)
        assert json.loads(objects.read(f"{self.root}/ended.json")[0])["status"] == "completed"
        there = {uri.removeprefix(self.root).split("/")[1] for uri in objects.list(f"{self.root}/")}
        assert there == {
            "training_metrics.json",
            "ended.json",
            "model",
            "embeddings",
            "evaluation_report.json",
            "model_card.md",
        }
        return to_numbers(read_record(objects.read(f"{self.root}/training_metrics.json")[0], where=self.root))


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    gcs: "Gcs",
    gcs_root: str,
    start_vertex: "Callable[..., VertexEmulator]",
    make_client: "Callable[..., JobServiceClient]",
) -> World:
    """Both endpoints; `gcs` comes first, for its address is in the containers' environment.

    The parameter: the epochs after each of which the training waits to be interrupted.
    """
    trainer = ["trainer"]
    if epochs := getattr(request, "param", ()):
        trainer = ["tests.trainer.held_trainer", str(tmp_path / "marks"), ",".join(map(str, epochs))]
    vertex = start_vertex(images={IMAGE: [sys.executable, "-m", *trainer]}, grace_s=20.0)
    return World(vertex, make_client(vertex), gcs, gcs_root)


@pytest.mark.parametrize("world", [(5,)], indirect=True, ids=["epoch 5"])
@pytest.mark.parametrize("act", ["preempt", "kill"])
def test_a_machine_that_is_taken_away_costs_nothing(act: "Act", world: World, uninterrupted: dict[str, Any]) -> None:
    """Preempted with notice, or killed without: Vertex AI starts main again in the same job, which goes on."""
    name = world.submit()
    world.wait_for_epoch(name, 5)
    world.vertex.core.act(name, act)
    log = world.wait_for_success(name)
    assert world.read_numbers() == uninterrupted
    assert "going on after epoch" in log
    assert f"as Vertex AI job {name.rpartition('/')[2]}, restart 1" in log


@pytest.mark.slow
@pytest.mark.parametrize("world", [(4, 10, 16)], indirect=True, ids=["epochs 4, 10, 16"])
def test_interruptions_one_after_another_cost_nothing(world: World, uninterrupted: dict[str, Any]) -> None:
    """Maintenance, a kill, and a preemption in one job."""
    name = world.submit()
    acts: list[tuple[int, Act]] = [(4, "restart"), (10, "kill"), (16, "preempt")]
    for epoch, act in acts:
        world.wait_for_epoch(name, epoch)
        world.vertex.core.act(name, act)
    world.wait_for_success(name)
    assert world.read_numbers() == uninterrupted


FAULTS: dict[str, list[Fault]] = {
    "a lost answer": [
        Fault(kind="objects.insert", target=f"*/{name}", nth=2, status=503, after=True)
        for name in ("training_metrics.json", "checkpoint.json", "record.json", "0000.npy")
    ],
    "a cut connection": [Fault(kind="objects.insert", target="*/checkpoint.json", nth=3, times=2, broken=True)],
    "an outage of seconds": [Fault(nth=40, times=5, status=503)],
    "checkpoints refused": [Fault(kind="objects.insert", target="*/checkpoints/*", nth=9, times=40, status=403)],
}


QUICK = "a lost answer"


@pytest.mark.parametrize("world", [(8,)], indirect=True, ids=["epoch 8"])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == QUICK else pytest.mark.slow) for kind in FAULTS]
)
def test_a_store_with_faults_and_a_kill_cost_nothing(kind: str, world: World, uninterrupted: dict[str, Any]) -> None:
    """Cloud Storage loses answers, cuts connections, is away or refuses writes, and the container is killed on top."""
    for fault in FAULTS[kind]:
        world.gcs.inject(msgspec.structs.replace(fault, seen=0))
    name = world.submit()
    world.wait_for_epoch(name, 8)
    world.vertex.core.act(name, "kill")
    world.wait_for_success(name)
    assert world.read_numbers() == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["0000.npy", "record.json", "checkpoint.json", "training_metrics.json", "ended.json"]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_write_costs_nothing(
    target: str, after: bool, world: World, uninterrupted: dict[str, Any]
) -> None:
    """Killed just before or just after a write takes effect: the restart finds a usable state, or a finished job."""
    nth = 1 if target == "ended.json" else 2
    world.gcs.inject(Fault(kind="objects.insert", target=f"*/{target}", nth=nth, after=after, hold=True))
    name = world.submit()
    deadline = time.monotonic() + 60
    while world.gcs.count("objects.insert", f"{world.root.removeprefix('gs://switchyard-test/')}/*{target}") < nth:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    world.vertex.core.act(name, "kill")
    world.wait_for_success(name)
    assert world.read_numbers() == uninterrupted
