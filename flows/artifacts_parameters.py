"""What the flows of the group `artifacts` take, which copy the artifacts of MLflow's runs."""

from typing import Annotated

import msgspec
from msgspec import Meta

from flows.parameters import DESTINATION_PATTERN, URI_PATTERN, ArtifactsRoots, ExportUri

ArtifactsUri = Annotated[
    str,
    Meta(
        pattern=URI_PATTERN,
        description="where the copies are (file://... or gs://...); empty: mlflow-artifacts below ARTIFACTS_URI",
    ),
]
ReadDestination = Annotated[
    str,
    Meta(
        pattern=DESTINATION_PATTERN,
        description="the MLflow server's own --artifacts-destination: what it calls mlflow-artifacts:/ is read there, "
        "not through the server",
    ),
]
ArtifactsFrom = Annotated[
    tuple[Annotated[str, Meta(pattern="^[^=]+=.*[/:].*$")], ...],
    Meta(
        description="OLD=NEW: what MLflow says is in OLD is read in NEW (a path or a URI), as in "
        "mlruns=/srv/mlflow/mlruns; NEW is then also one of --artifacts-roots",
        extra={"placeholder": "OLD=NEW"},
    ),
]
OneRun = Annotated[int, Meta(ge=0, description="one run's id; 0: every run that has an MLflow run")]
EveryRun = Annotated[bool, Meta(description="also MLflow runs without a row")]
Experiments = Annotated[tuple[str, ...], Meta(description="only runs of this MLflow experiment, by name; none: of all")]


class ArtifactsPlanParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List the artifacts of MLflow's runs: objects, bytes, and what cannot be reached.

    Changes nothing. `switchyard artifacts copy` copies what this lists.
    """

    quick_test_id: OneRun = 0
    all_runs: EveryRun = False
    experiments: Experiments = ()
    to_uri: ArtifactsUri = ""
    artifacts_destination: ReadDestination = ""
    artifacts_roots: ArtifactsRoots = ()
    artifacts_from: ArtifactsFrom = ()
    export_uri: ExportUri = ""


class ArtifactsCopyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Copy the artifacts of MLflow's runs to a place of ours.

    Each artifact is hashed and read back. Run again, the same command goes on, and copies what is new.
    """

    quick_test_id: OneRun = 0
    all_runs: EveryRun = False
    experiments: Experiments = ()
    to_uri: ArtifactsUri = ""
    artifacts_destination: ReadDestination = ""
    artifacts_roots: ArtifactsRoots = ()
    artifacts_from: ArtifactsFrom = ()
    export_uri: ExportUri = ""
    again: Annotated[bool, Meta(description="read all artifacts again, and replace damaged copies")] = False
    concurrency: Annotated[int, Meta(ge=1, le=64, description="objects copied at once")] = 8
    in_flight_bytes: Annotated[
        int, Meta(ge=1, description="bytes copied at once, of all objects together; a larger object is copied alone")
    ] = 1 << 30


class ArtifactsVerifyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read the copies of MLflow's artifacts again, and compare their hashes.

    Needs MLflow only if the copies are also compared with their source.
    """

    quick_test_id: OneRun = 0
    all_runs: EveryRun = False
    against_source: Annotated[
        bool, Meta(description="also read every artifact at its source, and compare it with its copy")
    ] = False
    to_uri: ArtifactsUri = ""
    artifacts_destination: ReadDestination = ""
    artifacts_roots: ArtifactsRoots = ()
    artifacts_from: ArtifactsFrom = ()
    export_uri: ExportUri = ""
    concurrency: Annotated[int, Meta(ge=1, le=64, description="objects read at once")] = 8
