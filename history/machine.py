"""MachineSpec: the machine that a run asks of Google Cloud, in one typed place.

The train flow's form and flags are made from it; the launcher of this machine ignores it. Names and limits are Vertex
AI's, so that what a person reads in its documentation can be typed here.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Accelerator = Literal[
    "none",
    "NVIDIA_TESLA_T4",
    "NVIDIA_L4",
    "NVIDIA_TESLA_P4",
    "NVIDIA_TESLA_P100",
    "NVIDIA_TESLA_V100",
    "NVIDIA_TESLA_A100",
    "NVIDIA_A100_80GB",
    "NVIDIA_H100_80GB",
    "NVIDIA_H100_MEGA_80GB",
    "NVIDIA_H200_141GB",
    "NVIDIA_B200",
]


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a job runs on Vertex AI. Every field has a default, and the defaults run.

    The default machine is the smallest of the N1 family: it is in every region, its CPUs are what a new project has
    quota for, and N1 is the family that a GPU is added to (a T4, by two fields) without another machine's name.

    Source: https://cloud.google.com/vertex-ai/docs/training/configure-compute and the comments of CustomJobSpec,
    MachineSpec, DiskSpec and Scheduling in google/cloud/aiplatform/v1.
    """

    image: Annotated[str, Meta(description="the trainer's container image; empty: TRAINER_IMAGE")] = ""
    machine_type: Annotated[
        str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$", description="a Compute Engine machine type")
    ] = "n1-standard-4"
    accelerator_type: Annotated[
        Accelerator, Meta(description="GPUs of this kind are attached; not every machine type takes every kind")
    ] = "none"
    accelerator_count: Annotated[int, Meta(ge=0, le=16, description="how many GPUs each machine gets")] = 0
    replica_count: Annotated[
        int, Meta(ge=1, le=100, description="machines; the first is the chief, the others are its workers")
    ] = 1
    boot_disk_type: Annotated[
        Literal["pd-ssd", "pd-standard", "hyperdisk-balanced"], Meta(description="kind of each machine's disk")
    ] = "pd-ssd"
    boot_disk_size_gb: Annotated[int, Meta(ge=100, le=64_000, description="size of each machine's disk in GB")] = 100
    scheduling: Annotated[
        Literal["standard", "spot", "flex_start"],
        Meta(
            description="spot: cheaper, and may be taken away at any time; "
            "flex_start: waits for a scarce machine instead of failing at once"
        ),
    ] = "standard"
    max_wait_s: Annotated[
        int,
        Meta(ge=0, le=30 * 86_400, description="flex_start: seconds to wait for the machine; 0: as long as it takes"),
    ] = 86_400
    restarts: Annotated[
        Literal["worker", "job", "never"],
        Meta(
            description="when Vertex AI loses a machine it restarts: worker, that one's training process; "
            "job, all of them; never, none, and the job fails"
        ),
    ] = "worker"
    service_account: Annotated[
        str,
        Meta(
            pattern=r"^$|^[^@\s]+@[^@\s]+\.gserviceaccount\.com$",
            description="whom the training runs as; empty: VERTEX_SERVICE_ACCOUNT, else Vertex AI's own service agent",
        ),
    ] = ""
    network: Annotated[
        str,
        Meta(
            pattern=r"^$|^projects/[0-9]+/global/networks/[a-z]([-a-z0-9]*[a-z0-9])?$",
            description="VPC network to peer with: projects/<project NUMBER>/global/networks/<name>; empty: none",
        ),
    ] = ""
    tensorboard: Annotated[
        str,
        Meta(
            pattern=r"^$|^projects/[^/]+/locations/[^/]+/tensorboards/[^/]+$",
            description="Vertex AI TensorBoard that gets the logs (needs a service account); empty: none",
        ),
    ] = ""
    persistent_resource: Annotated[
        str,
        Meta(
            pattern=r"^$|^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$",
            description="id of a persistent resource whose machines are used; empty: fresh machines",
        ),
    ] = ""

    def __post_init__(self) -> None:
        if (self.accelerator_type == "none") != (self.accelerator_count == 0):
            raise ValueError(
                "accelerator_type and accelerator_count must be set together or not at all; "
                f"got {self.accelerator_type!r} and {self.accelerator_count}"
            )
