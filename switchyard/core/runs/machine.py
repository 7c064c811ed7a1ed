"""MachineSpec: the machine that a run asks of Google Cloud, in one typed place.

The train flow's form and flags are made from it; the launcher of this machine ignores it. Names and limits are Vertex
AI's, so that what a person reads in its documentation can be typed here.
"""

from collections import Counter
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


_LABEL = "[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}"
OWN_LABELS = "switchyard-"
"""How the labels begin by which jobs are found again."""


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a job runs on Vertex AI. Every field has a default, and the defaults run.

    The default machine is the smallest of the N1 family: it is in every region, its CPUs are what a new project has
    quota for, and N1 is the family that a GPU is added to (a T4, by two fields) without another machine's name.

    Source: https://cloud.google.com/vertex-ai/docs/training/configure-compute and the comments of CustomJobSpec,
    MachineSpec, DiskSpec and Scheduling in google/cloud/aiplatform/v1. Of their fields the job's timeout is the run's
    own parameter (timeout_s), and its output directory is the run's folder.
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
        int,
        Meta(ge=1, le=100, description="machines: a chief and its workers; this repository's trainer takes 1"),
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
        Meta(
            ge=0,
            le=30 * 86_400,
            description="flex_start: seconds to wait for the machine; 0: no limit; the flow itself "
            "stops waiting by its queue_timeout_s",
        ),
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
            description="the service account that the training runs as; empty: VERTEX_SERVICE_ACCOUNT, else Vertex "
            "AI's own service agent",
        ),
    ] = ""
    network: Annotated[
        str,
        Meta(
            pattern=r"^$|^projects/[0-9]+/global/networks/[a-z]([-a-z0-9]*[a-z0-9])?$",
            description="VPC network to peer with: projects/PROJECT_NUMBER/global/networks/NAME; empty: none",
        ),
    ] = ""
    tensorboard: Annotated[
        str,
        Meta(
            pattern=r"^$|^projects/[^/]+/locations/[^/]+/tensorboards/[^/]+$",
            description="Vertex AI TensorBoard that gets the event files of an image that writes some, as this "
            "repository's trainer does not; needs a service account; empty: none",
        ),
    ] = ""
    persistent_resource: Annotated[
        str,
        Meta(
            pattern=r"^$|^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$",
            description="id of a persistent resource, to use its machines; empty: fresh machines",
        ),
    ] = ""
    kms_key: Annotated[
        str,
        Meta(
            pattern=r"^$|^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$",
            description="Cloud KMS key of the job's region that encrypts its disks and data "
            "(projects/.../locations/.../keyRings/.../cryptoKeys/...); empty: Google's own keys",
        ),
    ] = ""
    labels: Annotated[
        str,
        Meta(
            pattern=rf"^$|^{_LABEL}(,{_LABEL})*$",
            description="labels of the job, for bills and lists, as gcloud takes them: team=search,cost-center=7; "
            "empty: Switchyard's own alone",
        ),
    ] = ""

    def __post_init__(self) -> None:
        if (self.accelerator_type == "none") != (self.accelerator_count == 0):
            raise ValueError(
                "accelerator_type and accelerator_count must be set together or not at all; "
                f"got {self.accelerator_type!r} and {self.accelerator_count}"
            )
        names = Counter(pair.partition("=")[0] for pair in self.labels.split(",") if pair)
        twice = sorted(name for name, times in names.items() if times > 1)
        own = sorted(name for name in names if name.startswith(OWN_LABELS))
        if twice or own:
            raise ValueError(
                f"labels must name each label once, and none that begins with {OWN_LABELS!r}, by which jobs are found "
                f"again; got {', '.join(twice + own)} in {self.labels!r}"
            )


def read_labels(machine: MachineSpec) -> dict[str, str]:
    """Returns the job's labels, by name.

    >>> read_labels(MachineSpec(labels="team=search,cost-center=7"))
    {'team': 'search', 'cost-center': '7'}
    """
    pairs = (pair.partition("=") for pair in machine.labels.split(",") if pair)
    return {name: value for name, _, value in pairs}
