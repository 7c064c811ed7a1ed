"""Makes a `JobOrder` the CustomJob that Vertex AI gets to create."""

import re
from typing import Any

from google.cloud.aiplatform_v1.types import CustomJob, Scheduling

from switchyard.clients.launchers.vertex.states import TIMEOUT_LABEL
from switchyard.core.errors import BadRequest
from switchyard.core.runs.jobs import KEY_LABEL, JobOrder
from switchyard.core.runs.machine import MachineSpec, read_labels

_STRATEGIES = {
    "standard": Scheduling.Strategy.STANDARD,
    "spot": Scheduling.Strategy.SPOT,
    "flex_start": Scheduling.Strategy.FLEX_START,
}
# Google Cloud's rules; Vertex AI's own comment allows 64 characters, the general rule 63.
# Source: https://cloud.google.com/resource-manager/docs/labels-overview#requirements
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MAX_LABELS = 64
_MAX_DISPLAY_NAME = 128
_URI_FLAG = re.compile(r"--[a-z0-9-]*uri=(.+)")


def to_custom_job(key: str, order: JobOrder, *, image: str, service_account: str) -> Any:
    """Returns the CustomJob of `order` under `key`; `image` and `service_account` are used if the order names none.

    Raises:
        BadRequest: what Vertex AI would refuse or a container could not reach. It names all problems at once.
    """
    machine = order.machine or MachineSpec()
    image = order.image or machine.image or image  # the order's is the machine's, by its digest
    service_account = machine.service_account or service_account
    labels = {**read_labels(machine), **order.labels, KEY_LABEL: key, TIMEOUT_LABEL: str(order.timeout_s)}
    problems = [*_check_labels(labels, order.labels.get(KEY_LABEL, key)), *_check_uris(order)]
    if machine.tensorboard and not (service_account and order.base_output_uri):
        problems.append("machine.tensorboard needs a service account (VERTEX_SERVICE_ACCOUNT) and an output folder")
    if order.timeout_s < 1:
        problems.append(f"timeout_s must be at least 1; got {order.timeout_s}")
    if problems:
        raise BadRequest(f"job {key} cannot run on Vertex AI: {'; '.join(problems)}")
    spec: dict[str, Any] = {
        "worker_pool_specs": _to_pools(machine, image, order),
        "scheduling": _to_scheduling(machine, order.timeout_s),
        "service_account": service_account,
        "network": machine.network,
        "tensorboard": machine.tensorboard,
        "persistent_resource_id": machine.persistent_resource,
    }
    if order.base_output_uri:
        spec["base_output_directory"] = {"output_uri_prefix": order.base_output_uri}
    job: dict[str, Any] = {"labels": labels, "job_spec": spec}
    if machine.kms_key:
        job["encryption_spec"] = {"kms_key_name": machine.kms_key}
    return CustomJob(display_name=order.display_name[:_MAX_DISPLAY_NAME] or key, **job)


def _to_pools(machine: MachineSpec, image: str, order: JobOrder) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"machine_type": machine.machine_type}
    if machine.accelerator_type != "none":
        spec |= {"accelerator_type": machine.accelerator_type, "accelerator_count": machine.accelerator_count}
    pool = {
        "machine_spec": spec,
        "disk_spec": {"boot_disk_type": machine.boot_disk_type, "boot_disk_size_gb": machine.boot_disk_size_gb},
        "container_spec": {
            "image_uri": image,
            "args": order.arguments,
            # Vertex AI does not tell a container its own image, and the model's card names it.
            "env": [{"name": name, "value": text} for name, text in {**order.variables, "TRAINED_IN": image}.items()],
        },
    }
    # The first pool is the chief's and holds one machine; all the others are workers, in the second.
    pools = [{**pool, "replica_count": 1}]
    if machine.replica_count > 1:
        pools.append({**pool, "replica_count": machine.replica_count - 1})
    return pools


def _to_scheduling(machine: MachineSpec, timeout_s: int) -> dict[str, Any]:
    scheduling: dict[str, Any] = {
        "timeout": f"{timeout_s}s",
        "strategy": _STRATEGIES[machine.scheduling],
        "restart_job_on_worker_restart": machine.restarts == "job",
        "disable_retries": machine.restarts == "never",
    }
    if machine.scheduling == "flex_start":
        scheduling["max_wait_duration"] = f"{machine.max_wait_s}s"
    return scheduling


def _check_labels(labels: dict[str, str], own_key: str) -> list[str]:
    problems = [
        f"label {name}={value!r} must be lowercase letters, digits, `_` and `-`, 63 at most, its name first a letter"
        for name, value in labels.items()
        if not _LABEL_KEY.fullmatch(name) or not _LABEL_VALUE.fullmatch(value)
    ]
    if len(labels) > _MAX_LABELS:
        problems.append(f"a job has at most {_MAX_LABELS} labels; got {len(labels)}")
    if not labels[KEY_LABEL] or own_key != labels[KEY_LABEL]:
        problems.append(f"label {KEY_LABEL} must be the job's key {labels[KEY_LABEL]!r}; got {own_key!r}")
    return problems


def _check_uris(order: JobOrder) -> list[str]:
    """Checks the addresses: a container sees no file of the machine that submits it."""
    given = {
        argument.partition("=")[0]: match[1] for argument in order.arguments if (match := _URI_FLAG.match(argument))
    }
    if order.base_output_uri:
        given["base_output_uri"] = order.base_output_uri
    return [
        f"{name} must be on Cloud Storage (gs://...), which a container can reach; got {uri!r}. Upload it first "
        "(gcloud storage cp), or set ARTIFACTS_URI to a bucket"
        for name, uri in given.items()
        if uri.startswith(("file:", "/", "."))
        or (name in ("--data-uri", "--artifacts-uri", "base_output_uri") and not uri.startswith("gs://"))
    ]
