"""What the Vertex AI launcher asks for, and what it refuses to ask for, by both transports."""

import re
from datetime import timedelta

import pytest
from google.cloud.aiplatform_v1 import CustomJob

from switchyard.clients.launchers.vertex.launcher import VertexLauncher, VertexSite
from switchyard.core.errors import BadRequest
from switchyard.core.runs.jobs import JobOrder, JobState, to_labels
from switchyard.core.runs.machine import MachineSpec
from tests.clients.launchers.vertex.launching import (
    MakeLauncher,
    StartVertex,
    make_order,
    wait_for_end,
)
from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_jobs import PYTHON_IMAGE
from tests.emulators.vertex_rules import PersistentResource


def test_submit_asks_for_what_the_order_says(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Image, machine, account, network, scheduling, labels, folder: each in its field."""
    machine = MachineSpec(
        image="us-docker.pkg.dev/demo-project/tests/other:1",
        machine_type="n1-highmem-8",
        accelerator_type="NVIDIA_TESLA_T4",
        accelerator_count=2,
        replica_count=4,
        boot_disk_type="pd-standard",
        boot_disk_size_gb=200,
        scheduling="flex_start",
        max_wait_s=3600,
        restarts="job",
        service_account="trainer@demo-project.iam.gserviceaccount.com",
        network="projects/123456789012/global/networks/vpc",
        tensorboard="projects/123456789012/locations/us-central1/tensorboards/1",
        labels="team=search,cost-center=7",
    )
    order = make_order(
        arguments=["--epochs=3"],
        labels=to_labels("abc", 7, 2),
        timeout_s=90,
        machine=machine,
        base_output_uri="gs://bucket/quick_tests/7",
    )
    key = order.labels["switchyard-key"]
    report = make_launcher(idle_vertex).submit(key, order)
    assert (report.key, report.state) == (key, JobState.QUEUED)
    job = CustomJob.wrap(idle_vertex.core.read(report.job_name))
    assert dict(job.labels) == order.labels | {"switchyard-timeout-s": "90", "team": "search", "cost-center": "7"}
    chief, workers = job.job_spec.worker_pool_specs
    assert (chief.replica_count, workers.replica_count) == (1, 3)
    for pool in (chief, workers):
        assert pool.container_spec.image_uri == machine.image
        assert list(pool.container_spec.args) == ["--epochs=3"]
        assert {one.name: one.value for one in pool.container_spec.env} == {"TRAINED_IN": machine.image}
        assert pool.machine_spec.machine_type == "n1-highmem-8"
        assert pool.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
        assert pool.machine_spec.accelerator_count == 2
        assert (pool.disk_spec.boot_disk_type, pool.disk_spec.boot_disk_size_gb) == ("pd-standard", 200)
    spec = job.job_spec
    assert spec.service_account == machine.service_account
    assert spec.network == machine.network
    assert spec.tensorboard == machine.tensorboard
    assert spec.base_output_directory.output_uri_prefix == "gs://bucket/quick_tests/7"
    scheduling = spec.scheduling
    assert scheduling.strategy.name == "FLEX_START"
    assert (scheduling.timeout, scheduling.max_wait_duration) == (timedelta(seconds=90), timedelta(hours=1))
    assert (scheduling.restart_job_on_worker_restart, scheduling.disable_retries) == (True, False)


def test_machines_that_stand_ready_are_used(start_vertex: StartVertex, make_launcher: MakeLauncher) -> None:
    """A persistent resource by its id; a network that is not its own is refused by the service."""
    network = "projects/123456789012/global/networks/vpc"
    resource = PersistentResource(network=network, machine_types=("n1-standard-4",))
    vertex = start_vertex(new_job_state=1, persistent_resources={"ready": resource})
    launcher = make_launcher(vertex)
    report = launcher.submit("k1", make_order(machine=MachineSpec(persistent_resource="ready", network=network)))
    assert vertex.core.read(report.job_name).job_spec.persistent_resource_id == "ready"
    with pytest.raises(BadRequest, match="network"):
        launcher.submit("k2", make_order(machine=MachineSpec(persistent_resource="ready")))


@pytest.mark.parametrize("machine", [None, MachineSpec(), MachineSpec(scheduling="spot", restarts="never")])
def test_defaults_run(vertex: VertexEmulator, make_launcher: MakeLauncher, machine: MachineSpec | None) -> None:
    """With no machine asked for at all, or one by its defaults."""
    launcher = make_launcher(vertex)
    job = wait_for_end(launcher, launcher.submit("k1", make_order(machine=machine)))
    assert (job.state, job.message) == (JobState.SUCCEEDED, "")


def test_the_sites_account_is_used_where_the_machine_names_none(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher
) -> None:
    """VERTEX_SERVICE_ACCOUNT."""
    site = VertexSite(
        project_id="demo-project",
        region="us-central1",
        trainer_image=PYTHON_IMAGE,
        service_account="site@demo-project.iam.gserviceaccount.com",
        api_endpoint=idle_vertex.rest_endpoint,
        transport="rest",
    )
    launcher = VertexLauncher(site)
    report = launcher.submit("k1", make_order())
    assert idle_vertex.core.read(report.job_name).job_spec.service_account == site.service_account
    launcher.close()


REFUSED = [
    (make_order(arguments=["--data-uri=file:///srv/data.parquet"]), "--data-uri must be on Cloud Storage"),
    (make_order(arguments=["--data-uri=/srv/data.parquet"]), "--data-uri must be on Cloud Storage"),
    (make_order(arguments=["--data-uri=data.parquet"]), "--data-uri must be on Cloud Storage"),
    (make_order(arguments=["--artifacts-uri=file:///srv/7"]), "--artifacts-uri must be on Cloud Storage"),
    (make_order(base_output_uri="file:///srv/7"), "base_output_uri must be on Cloud Storage"),
    (make_order(labels={"Team": "x"}), "label Team='x'"),
    (make_order(labels={"team": "x" * 64}), "label team="),
    (make_order(labels={f"l{n}": "" for n in range(64)}), "at most 64 labels; got 66"),
    (make_order(labels={"switchyard-key": "other"}), "label switchyard-key must be the job's key 'k1'; got 'other'"),
    (make_order(timeout_s=0), "timeout_s must be at least 1"),
    (
        make_order(machine=MachineSpec(tensorboard="projects/1/locations/us-central1/tensorboards/1")),
        "machine.tensorboard needs a service account",
    ),
]


@pytest.mark.parametrize(("order", "said"), REFUSED, ids=[row[1] for row in REFUSED])
def test_what_cannot_run_there_is_refused_before_any_request(
    idle_vertex: VertexEmulator, make_launcher: MakeLauncher, order: JobOrder, said: str
) -> None:
    """Nothing is sent; the message says what was expected and what was given."""
    with pytest.raises(BadRequest, match=re.escape(said)):
        make_launcher(idle_vertex).submit("k1", order)
    assert idle_vertex.core.faults.counts() == {}


def test_all_that_cannot_run_is_said_at_once(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """Two URIs and a label are wrong, and one error names all."""
    arguments = ["--data-uri=file:///a", "--artifacts-uri=file:///b", "--epochs=3", "--data-uri-note=x"]
    with pytest.raises(BadRequest) as raised:
        make_launcher(idle_vertex).submit("k1", make_order(arguments=arguments, labels={"A": ""}))
    assert all(part in str(raised.value) for part in ("--data-uri ", "--artifacts-uri ", "label A="))


@pytest.mark.parametrize("key", ["", "Key", "k" * 64, "a/b"])
def test_a_key_that_is_no_label_is_refused(idle_vertex: VertexEmulator, make_launcher: MakeLauncher, key: str) -> None:
    """Jobs are found again by it."""
    with pytest.raises(BadRequest, match="switchyard-key"):
        make_launcher(idle_vertex).submit(key, make_order())


def test_a_key_of_one_s_own_encrypts_the_job(idle_vertex: VertexEmulator, make_launcher: MakeLauncher) -> None:
    """The machine's kms_key is the job's encryption_spec; without one there is none."""
    key = "projects/demo-project/locations/us-central1/keyRings/ring/cryptoKeys/jobs"
    launcher = make_launcher(idle_vertex)
    own = launcher.submit("k1", make_order(machine=MachineSpec(kms_key=key)))
    assert idle_vertex.core.read(own.job_name).encryption_spec.kms_key_name == key
    assert not idle_vertex.core.read(launcher.submit("k2", make_order()).job_name).HasField("encryption_spec")
