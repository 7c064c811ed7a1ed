"""What Vertex AI refuses in a CustomJob, field by field.

Source: unless a rule names another, the field's own comment in google/cloud/aiplatform/v1/custom_job.proto,
machine_resources.proto, env_var.proto (installed with google-cloud-aiplatform).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.cloud.aiplatform_v1.types import AcceleratorType

Violation = tuple[str, str]

# Source: https://cloud.google.com/vertex-ai/docs/training/configure-compute (machine types and attachable GPUs).
_FAMILIES = "a2|a3|a4|c2|c2d|c3|c3d|c4|e2|g2|m1|m3|n1|n2|n2d|n4|ct5lp|cloud-tpu"
_MACHINE_TYPE = re.compile(rf"^({_FAMILIES})-[a-z0-9]+(-[a-z0-9]+)*$")
_ATTACHABLE = {
    "n1": {"NVIDIA_TESLA_P100", "NVIDIA_TESLA_V100", "NVIDIA_TESLA_P4", "NVIDIA_TESLA_T4"},
    "g2": {"NVIDIA_L4"},
    "a2-highgpu": {"NVIDIA_TESLA_A100"},
    "a2-megagpu": {"NVIDIA_TESLA_A100"},
    "a2-ultragpu": {"NVIDIA_A100_80GB"},
    "a3-highgpu": {"NVIDIA_H100_80GB"},
    "a3-megagpu": {"NVIDIA_H100_MEGA_80GB"},
    "a3-ultragpu": {"NVIDIA_H200_141GB"},
    "a4-highgpu": {"NVIDIA_B200"},
    "cloud-tpu": {"TPU_V2", "TPU_V3"},
}
_ACCELERATORS = {int(member): member.name for member in AcceleratorType}
# On these the GPUs are part of the machine: `-2g` in the name and accelerator_count must agree. Source: same page.
_GPU_COUNT_IN_NAME = re.compile(r"^(?:a2|a3|a4)-\w+-(\d+)g$")

# A repository on a registry host: Artifact Registry, Container Registry or Docker Hub, with a tag or a digest.
# Source: https://cloud.google.com/vertex-ai/docs/training/create-custom-container (supported registries).
_IMAGE = re.compile(
    r"^[a-z0-9-]+(\.[a-z0-9-]+)+/[a-z0-9_.-]+(/[a-z0-9_.-]+)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)
_SERVICE_ACCOUNT = re.compile(r"^[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com$")
_NETWORK = re.compile(r"^projects/\d+/global/networks/[a-z]([-a-z0-9]*[a-z0-9])?$")
_TENSORBOARD = re.compile(r"^projects/[^/]+/locations/[^/]+/tensorboards/[^/]+$")
_KMS_KEY = re.compile(r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$")
_C_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_GCS_PREFIX = re.compile(r"^gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?$")
# DiskSpec.boot_disk_type.
_BOOT_DISKS = ("pd-ssd", "pd-standard", "hyperdisk-balanced")
# Scheduling.Strategy; 5 is no value of it.
_STRATEGIES = (0, 1, 2, 3, 4, 6)
_FLEX_START = 6


@dataclass(frozen=True)
class PersistentResource:
    """A cluster that stands ready: the network and the machine types that its jobs must agree with."""

    network: str = ""
    machine_types: tuple[str, ...] = ()


def find_violations(job: Any, persistent: Mapping[str, PersistentResource]) -> list[Violation]:
    """Every field of `job` (a raw CustomJob message) that the service would refuse; empty when it would take it."""
    return [*_on_job(job), *_on_spec(job.job_spec, persistent), *_on_scheduling(job.job_spec.scheduling)]


def count_vcpus(machine_type: str) -> int:
    """``n1-standard-4`` -> 4; GPU machines count 12 a GPU. Source: Compute Engine machine type names."""
    gpus = _GPU_COUNT_IN_NAME.match(machine_type)
    if gpus:
        return 12 * int(gpus[1])
    number = re.search(r"-(\d+)$", machine_type)
    return int(number[1]) if number else 4


def _on_job(job: Any) -> Iterator[Violation]:
    if not job.display_name:
        yield "custom_job.display_name", "Required field is not set."
    elif len(job.display_name) > 128:
        yield "custom_job.display_name", f"must be at most 128 characters; got {len(job.display_name)}."
    # At most 64 labels a resource, keys of 1 to 63 characters that start with a letter.
    # Source: https://cloud.google.com/resource-manager/docs/labels-overview#requirements
    if len(job.labels) > 64:
        yield "custom_job.labels", f"must have at most 64 entries; got {len(job.labels)}."
    for key, value in job.labels.items():
        if not 1 <= len(key) <= 63 or not key[0].isalpha() or not _is_label_text(key):
            yield "custom_job.labels", f"invalid label key {key!r}."
        if len(value) > 63 or not _is_label_text(value):
            yield "custom_job.labels", f"invalid value {value!r} of label {key!r}."
    kms_key = job.encryption_spec.kms_key_name
    if job.HasField("encryption_spec") and not _KMS_KEY.match(kms_key):
        yield "custom_job.encryption_spec.kms_key_name", f"invalid resource name {kms_key!r}."


def _is_label_text(text: str) -> bool:
    """Lowercase letters of any alphabet, digits, underscores, dashes (CustomJob.labels)."""
    return all(char in "_-" or char.isdecimal() or (char.isalpha() and char == char.lower()) for char in text)


def _on_spec(spec: Any, persistent: Mapping[str, PersistentResource]) -> Iterator[Violation]:
    where = "custom_job.job_spec"
    pools = spec.worker_pool_specs
    if not pools:
        yield f"{where}.worker_pool_specs", "Required field is not set."
    for number, pool in enumerate(pools):
        # All pools except the first may be skipped by an empty value.
        if number == 0 or pool.ByteSize():
            yield from _on_pool(f"{where}.worker_pool_specs[{number}]", number, pool)
    if spec.service_account and not _SERVICE_ACCOUNT.match(spec.service_account):
        yield f"{where}.service_account", f"invalid service account {spec.service_account!r}."
    if spec.network and not _NETWORK.match(spec.network):
        yield (
            f"{where}.network",
            f"must be projects/<project number>/global/networks/<name>; got {spec.network!r}.",
        )
    if spec.reserved_ip_ranges and not spec.network:
        yield f"{where}.reserved_ip_ranges", "can only be set together with network."
    output = spec.base_output_directory.output_uri_prefix
    if spec.HasField("base_output_directory") and not _GCS_PREFIX.match(output):
        yield f"{where}.base_output_directory.output_uri_prefix", f"must be a Cloud Storage URI; got {output!r}."
    yield from _on_tensorboard(where, spec)
    yield from _on_persistent(where, spec, persistent)


def _on_tensorboard(where: str, spec: Any) -> Iterator[Violation]:
    if not spec.tensorboard:
        return
    if not _TENSORBOARD.match(spec.tensorboard):
        yield f"{where}.tensorboard", f"invalid resource name {spec.tensorboard!r}."
    # Source: https://cloud.google.com/vertex-ai/docs/experiments/tensorboard-training (a service account and
    # baseOutputDirectory are both needed).
    if not spec.service_account:
        yield f"{where}.service_account", "must be set when tensorboard is set."
    if not spec.HasField("base_output_directory"):
        yield f"{where}.base_output_directory", "must be set when tensorboard is set."


def _on_persistent(where: str, spec: Any, persistent: Mapping[str, PersistentResource]) -> Iterator[Violation]:
    if not spec.persistent_resource_id:
        return
    resource = persistent.get(spec.persistent_resource_id)
    if resource is None:
        yield f"{where}.persistent_resource_id", f"no PersistentResource {spec.persistent_resource_id!r}."
        return
    if spec.network != resource.network:
        yield f"{where}.network", f"must match the PersistentResource's {resource.network!r}; got {spec.network!r}."
    # Source: https://cloud.google.com/vertex-ai/docs/training/persistent-resource-train (a worker pool that names
    # a machine must match one of the resource's).
    for number, pool in enumerate(spec.worker_pool_specs):
        machine = pool.machine_spec.machine_type
        if machine and resource.machine_types and machine not in resource.machine_types:
            yield f"{where}.worker_pool_specs[{number}].machine_spec", f"{machine!r} is not in the PersistentResource."


def _on_pool(where: str, number: int, pool: Any) -> Iterator[Violation]:
    if number == 0 and pool.replica_count != 1:
        yield f"{where}.replica_count", f"the first worker pool must have exactly 1 replica; got {pool.replica_count}."
    if pool.replica_count < 1:
        yield f"{where}.replica_count", f"must be at least 1; got {pool.replica_count}."
    yield from _on_machine(f"{where}.machine_spec", pool.machine_spec)
    task = pool.WhichOneof("task")
    if task is None:
        yield where, "one of container_spec and python_package_spec must be set."
    elif task == "container_spec":
        container = pool.container_spec
        if not _IMAGE.match(container.image_uri):
            yield f"{where}.container_spec.image_uri", f"invalid container image URI {container.image_uri!r}."
        yield from _on_env(f"{where}.container_spec.env", container.env)
    else:
        yield where, "python_package_spec is not served by this emulator; use container_spec."
    disk = pool.disk_spec
    if disk.boot_disk_type and disk.boot_disk_type not in _BOOT_DISKS:
        yield f"{where}.disk_spec.boot_disk_type", f"must be one of {_BOOT_DISKS}; got {disk.boot_disk_type!r}."
    # Source: https://cloud.google.com/vertex-ai/docs/training/configure-compute#boot_disk_options (100 to 64000 GB).
    if disk.boot_disk_size_gb and not 100 <= disk.boot_disk_size_gb <= 64000:
        yield f"{where}.disk_spec.boot_disk_size_gb", f"must be 100 to 64000; got {disk.boot_disk_size_gb}."


def _on_machine(where: str, machine: Any) -> Iterator[Violation]:
    name, count = machine.machine_type, machine.accelerator_count
    if not _MACHINE_TYPE.match(name):
        yield f"{where}.machine_type", f"Machine type {name!r} is not supported."
        return
    if machine.accelerator_type not in _ACCELERATORS:
        yield f"{where}.accelerator_type", f"no AcceleratorType {machine.accelerator_type}."
        return
    accelerator = _ACCELERATORS[machine.accelerator_type]
    if not machine.accelerator_type:
        if count:
            yield f"{where}.accelerator_type", f"must be set when accelerator_count is {count}."
        return
    allowed = _ATTACHABLE.get(name.split("-")[0], _ATTACHABLE.get("-".join(name.split("-")[:2]), set()))
    if name.startswith("cloud-tpu"):
        allowed = _ATTACHABLE["cloud-tpu"]
    if accelerator not in allowed:
        yield f"{where}.accelerator_type", f"Accelerator {accelerator} is not supported by machine type {name}."
    if count not in (1, 2, 4, 8, 16):
        yield f"{where}.accelerator_count", f"must be 1, 2, 4, 8 or 16; got {count}."
    in_name = _GPU_COUNT_IN_NAME.match(name)
    if in_name and int(in_name[1]) != count:
        yield f"{where}.accelerator_count", f"machine type {name} has {in_name[1]}; got {count}."


def _on_env(where: str, env: Any) -> Iterator[Violation]:
    if len(env) > 100:
        yield where, f"must have at most 100 entries; got {len(env)}."
    for number, variable in enumerate(env):
        if not _C_IDENTIFIER.match(variable.name):
            yield f"{where}[{number}].name", f"must be a valid C identifier; got {variable.name!r}."


def _on_scheduling(scheduling: Any) -> Iterator[Violation]:
    where = "custom_job.job_spec.scheduling"
    if scheduling.HasField("timeout") and scheduling.timeout.seconds <= 0:
        yield f"{where}.timeout", "must be positive."
    if scheduling.strategy not in _STRATEGIES:
        yield f"{where}.strategy", f"no Strategy {scheduling.strategy}."
    if scheduling.HasField("max_wait_duration"):
        if scheduling.strategy != _FLEX_START:
            yield f"{where}.max_wait_duration", "can only be set with strategy FLEX_START."
        if scheduling.max_wait_duration.seconds < 0:
            yield f"{where}.max_wait_duration", "must not be negative."
