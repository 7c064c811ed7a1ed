"""What backfill, fill, verify, export and restore take: the flows that read MLflow, or make it again."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from flows.parameters import (
    URI_PATTERN,
    ArtifactsDestination,
    ArtifactsRoots,
    Directions,
    ExportUri,
    Interval,
    KeepExtremes,
    MaxPoints,
    NameRules,
    check_rules,
)
from switchyard.core.verify.kinds import KindName


class BackfillParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Publish past runs from MLflow, and read again what has changed there.

    Takes the rows that have an MLflow run and nothing published, and those whose run has changed in MLflow since it was
    read (a new point, param or tag). After an interruption the same command goes on. Run it again and again, with
    --adopt --status all, to follow an MLflow that is in use.
    """

    dry_run: Annotated[bool, Meta(description="only say what would be done; touch nothing")] = False
    limit: Annotated[int, Meta(ge=0, description="publish at most N runs, the lowest ids first; 0: all")] = 0
    force: Annotated[
        bool, Meta(description="replace what is published, legacy histories too; `recover` puts it back")
    ] = False
    status: Annotated[
        Literal["completed", "all"], Meta(description="rows that are completed, or rows of any status")
    ] = "completed"
    adopt: Annotated[bool, Meta(description="also make rows for the MLflow runs that no row knows")] = False
    experiments: Annotated[
        tuple[str, ...], Meta(description="adopt only runs of these MLflow experiments, by name; none: of all")
    ] = ()
    histograms: Annotated[bool, Meta(description="publish the histograms too; reads all metrics")] = False
    full: Annotated[
        bool, Meta(description="also write each run's training_metrics.json if there is none; reads all metrics")
    ] = False
    interval: Interval = 5
    keep_extremes: KeepExtremes = False
    max_points: MaxPoints = 500
    directions: Directions = ()
    rules: NameRules = ""
    concurrency: Annotated[int, Meta(ge=1, le=64, description="batches at once, in threads")] = 2
    batch_size: Annotated[
        int, Meta(ge=0, le=100_000, description="runs in a batch, which is one task; 0: what suits the way of reading")
    ] = 0
    export_uri: ExportUri = ""
    stale_after_hours: Annotated[
        float,
        Meta(
            gt=0,
            le=87_600,
            description="hours without a new point after which an adopted run that MLflow still calls running is "
            "failed here, until it goes on",
        ),
    ] = 168
    accept_store: Annotated[
        bool,
        Meta(description="follow the MLflow that the settings name, although another one was followed before"),
    ] = False
    accept_missing: Annotated[
        bool,
        Meta(description="mark the runs that MLflow lacks as deleted there, however many they are"),
    ] = False
    shards: Annotated[
        int, Meta(ge=1, le=1000, description="parts, each a flow run of its own, perhaps on another machine")
    ] = 1
    shard: Annotated[
        int, Meta(ge=0, description="do only this part (from 1); 0 with shards: start all parts and wait for them")
    ] = 0
    shard_patience_s: Annotated[
        float, Meta(gt=0, description="seconds without news of the parts after which the flow stops waiting for them")
    ] = 1800.0

    def __post_init__(self) -> None:
        check_rules(self.rules)
        if self.experiments and not self.adopt:
            raise ValueError(
                "experiments is given without adopt. It only chooses among the runs to adopt: set adopt, or leave "
                "experiments out"
            )
        if self.limit and self.shards > 1:
            raise ValueError(
                "limit and shards are both given. Each shard would apply the limit by itself: leave one out"
            )
        if self.shard > self.shards:
            raise ValueError(f"shard must be from 1 to {self.shards} (shards); got {self.shard}")


class FillParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add the full series that published runs lack.

    Fills the runs without full series. After an interruption the same command goes on. Histories stay as they are.
    """

    limit: Annotated[int, Meta(ge=0, description="fill at most N runs, the lowest ids first; 0: all")] = 0
    concurrency: Annotated[int, Meta(ge=1, le=64, description="batches at once, in threads")] = 2
    batch_size: Annotated[int, Meta(ge=1, le=100_000, description="runs in a batch; each batch is one task")] = 500
    export_uri: ExportUri = ""


class VerifyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compare everything that is published and kept of MLflow's runs with MLflow, value by value.

    Changes nothing but the ledger, and writes a manifest: what was compared, what was found, what is left out.
    """

    quick_test_id: Annotated[int, Meta(ge=0, description="verify this run only; 0: every run with an MLflow run")] = 0
    limit: Annotated[int, Meta(ge=0, description="verify at most N runs, the lowest ids first; 0: all")] = 0
    experiments: Annotated[
        tuple[str, ...],
        Meta(
            description="MLflow experiments, by name, in which every run must have a row; runs of others without a row "
            "are counted apart, and must be kept or given up; none: all experiments"
        ),
    ] = ()
    whole: Annotated[
        bool, Meta(description="read every metric of every run, to name all that a published history leaves out")
    ] = False
    export_uri: Annotated[
        str,
        Meta(
            pattern=URI_PATTERN,
            description="compare with this export of MLflow (file://... or gs://...); "
            "empty: with the MLflow that the settings name",
        ),
    ] = ""
    models: Annotated[
        bool,
        Meta(
            description="also compare the imported models with MLflow's registry, to the last byte of their files; not "
            "if only some of the runs are verified"
        ),
    ] = True
    kept_export_uri: Annotated[
        str,
        Meta(
            pattern=URI_PATTERN,
            description="an export that you keep (file://... or gs://...): its registry, data sets, traces and so on "
            "count as kept; empty: none",
        ),
    ] = ""
    give_up: Annotated[
        tuple[KindName, ...],
        Meta(description="what may be lost with MLflow, by name: it does not make MLflow unsafe to delete"),
    ] = ()
    require_safe: Annotated[bool, Meta(description="also fail if something in MLflow is kept nowhere else")] = False
    concurrency: Annotated[int, Meta(ge=1, le=64, description="batches at once")] = 1


class ExportParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Export the whole of MLflow's database to files that outlive it.

    Reads MLFLOW_BACKEND_STORE_URI, in one transaction. If that is not set, it reads everything that the server at
    MLFLOW_TRACKING_URI tells. After an interruption the same command goes on.
    """

    to_uri: Annotated[
        str,
        Meta(
            pattern=URI_PATTERN,
            description="where to write it (file://... or gs://...); empty: mlflow-export below ARTIFACTS_URI",
        ),
    ] = ""
    part_rows: Annotated[
        int, Meta(ge=1_000, le=1_000_000, description="at most N rows a file; one file's rows are in memory at a time")
    ] = 200_000
    list_objects: Annotated[bool, Meta(description="also list the artifacts' objects, if they can be listed")] = True
    artifacts_destination: ArtifactsDestination = ""
    artifacts_roots: ArtifactsRoots = ()


class RestoreParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make MLflow's database again from an export alone.

    Fills the empty database that the setting MLFLOW_RESTORE_STORE_URI names: an address with a password is never a
    parameter.
    """

    from_uri: Annotated[
        str,
        Meta(
            pattern=URI_PATTERN,
            description="where the export is (file://... or gs://...); empty: mlflow-export below ARTIFACTS_URI",
        ),
    ] = ""
