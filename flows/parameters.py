"""What each flow takes, as one type for each flow. Imports no Prefect, so that ``--help`` is quick.

From it come the flow's flags on the command line, its form in Prefect's UI, and the types and limits that both check
(`flows.signatures`).
"""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from switchyard.core.errors import BadRequest
from switchyard.core.history.best import DIRECTION_PATTERN
from switchyard.core.mlflow.rules import MAX_TEXT, parse_rules
from switchyard.core.registry.judging import Thresholds
from switchyard.core.registry.names import EXPECTED_PATTERN, MAX_VERSION, MODEL_PATTERN
from switchyard.core.runs.machine import MachineSpec
from switchyard.core.runs.missing import MISSING_FOR
from switchyard.core.runs.moments import read_moment
from switchyard.core.runs.spec import TrainSpec
from switchyard.core.verify.kinds import KindName

NameRules = Annotated[
    str,
    Meta(
        max_length=MAX_TEXT,
        description="your own rules for the names of an MLflow run's metrics, as TOML (docs/mapping.md); stored with "
        "the run; empty: those that the run had; none: remove them",
    ),
]
QuickTestId = Annotated[int, Meta(ge=1, description="the run's id, its row in the results database")]

Direction = Annotated[str, Meta(pattern=DIRECTION_PATTERN)]
ExportUri = Annotated[
    str,
    Meta(
        pattern="^(|(file|gs)://.+)$",
        description="read this export of MLflow (file://... or gs://...), for when MLflow is gone; "
        "empty: the MLflow that the settings name",
    ),
]


class RunParameters(TrainSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is, and how it is published and waited for: of a training, or of a sweep's trials."""

    machine: Annotated[
        MachineSpec, Meta(description="where it runs on Vertex AI; a job on this machine ignores it")
    ] = MachineSpec()
    interval: Annotated[int, Meta(ge=1, description="publish every N-th epoch, and the last")] = 5
    keep_extremes: Annotated[
        bool, Meta(description="also publish the first epoch and those where a loss has its minimum or maximum")
    ] = False
    max_points: Annotated[
        int, Meta(ge=2, le=10_000, description="publish at most N epochs, and N points of a series on other steps")
    ] = 500
    directions: Annotated[
        tuple[Direction, ...],
        Meta(description="which way is better, for series with names that do not say so: speed=max"),
    ] = ()
    rules: NameRules = ""
    timeout_s: Annotated[
        int, Meta(ge=1, le=7 * 86400, description="seconds that the job may run before it is stopped")
    ] = 6 * 3600
    queue_timeout_s: Annotated[
        int, Meta(ge=0, description="seconds that the job may wait for a machine before this flow stops waiting")
    ] = 3600
    poll_interval_s: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="seconds between two looks at the job; 0: the backend's default, backing off",
        ),
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rules(self.rules)
        if self.machine.replica_count > 1:
            raise ValueError(
                "machine.replica_count must be 1: the trainer does not share its work among machines, so each would "
                f"train, and be paid for, alone; got {self.machine.replica_count}"
            )


class TrainParameters(RunParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train a run, and publish its history.

    All fields of TrainSpec, flat, and how this run is named, waited for and published.
    """

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "common": (
            "name", "experiment", "data_uri", "epochs", "batch_size", "learning_rate", "embedding_dim", "seed", "wait",
        ),
        "the data's columns": (
            "buyer_column", "product_column", "time_column", "time_format", "quantity_column", "invoice_column",
            "csv_separator", "csv_encoding", "csv_decimal", "csv_columns",
        ),
        "the data's rows": (
            "cancellations", "missing_buyers", "non_positive_quantities", "validation_fraction", "test_fraction",
            "synthetic_buyers", "synthetic_products", "synthetic_interactions",
        ),
        "the model and its training": (
            "optimizer", "temperature", "logq_correction", "l2", "early_stopping_patience", "early_stopping_metric",
            "recent_popularity", "own_history", "refit",
        ),
        "what is kept and published": (
            "statistics", "top_k", "tracker", "mlflow_model", "interval", "keep_extremes", "max_points", "directions",
            "rules", "register_as",
        ),
        "the job": (
            "timeout_s", "queue_timeout_s", "poll_interval_s", "quick_test_id", "request_key", "machine",
        ),
    }  # fmt: skip
    """The flags of ``--help`` and the fields of the form, in this order."""

    name: Annotated[str, Meta(max_length=200, description="what people call the run")] = ""
    experiment: Annotated[
        str, Meta(max_length=200, description="experiment: a name that groups runs for comparison")
    ] = ""
    quick_test_id: Annotated[
        int, Meta(ge=0, description="train this row's run again, or for the first time; 0: make a row for it")
    ] = 0
    request_key: Annotated[
        str,
        Meta(
            max_length=200,
            description="the same key finds the same run and its job again, instead of starting a second; "
            "empty: the Prefect flow run's id",
        ),
    ] = ""
    register_as: Annotated[
        str,
        Meta(
            pattern=f"^$|{MODEL_PATTERN}",
            description="register the run's model under this name when the run is completed (docs/registry.md); "
            "empty: do not register it",
        ),
    ] = ""
    # Wider than the trainer's own, which is told yes or no: here a person may also leave it open.
    refit: Annotated[
        bool | None,
        Meta(
            description="after the test, train once more on the train and the validation rows, and export that model; "
            "left open: yes if register_as names a model, else no"
        ),
    ] = None  # type: ignore[assignment]
    wait: Annotated[bool, Meta(description="wait for the job and publish it; if not, reconcile or the event does")] = (
        True
    )
    attempts: Annotated[
        int,
        Meta(
            ge=1,
            le=20,
            description="jobs that this request may have: the next one starts if a machine was taken away, lost or "
            "not available, and goes on from the last checkpoint",
        ),
    ] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attempts > 1 and not self.wait:
            raise ValueError(
                "attempts above 1 needs wait: the waiting flow starts the next job; reconcile never starts "
                f"one; got attempts {self.attempts} without wait"
            )

    def to_spec(self) -> TrainSpec:
        """Return what the trainer is told."""
        fields = {name: getattr(self, name) for name in TrainSpec.__struct_fields__}
        return msgspec.convert(fields | {"refit": self.is_refitted}, TrainSpec)

    @property
    def is_refitted(self) -> bool:
        """Whether the model is trained once more on all but the test rows.

        It is what was asked; if nothing was, it is true for a model that is registered.
        """
        return bool(self.register_as) if self.refit is None else self.refit


class IngestParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read what a run's job left and publish it."""

    quick_test_id: QuickTestId
    force: Annotated[bool, Meta(description="replace what is published, a legacy or a newer history too")] = False
    interval: Annotated[int, Meta(ge=0, description="publish every N-th epoch, and the last; 0: as train was told")] = 0
    keep_extremes: Annotated[bool, Meta(description="publish the extremes too, even if train was not told to")] = False
    max_points: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="publish at most N epochs, and N points of a series on other steps; 0: as train was told",
        ),
    ] = 0
    directions: Annotated[
        tuple[Direction, ...],
        Meta(description="which way is better, in addition to what train was told: speed=max"),
    ] = ()
    rules: NameRules = ""

    def __post_init__(self) -> None:
        _check_rules(self.rules)


class ReconcileParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compare jobs with rows and repair the difference."""

    grace_s: Annotated[
        float,
        Meta(ge=0, description="seconds that the ingest of a job-ended event has before reconcile ingests by itself"),
    ] = 0
    claim_grace_s: Annotated[
        float, Meta(ge=0, description="seconds that a submission has between its claim and its job")
    ] = 600
    missing_grace_s: Annotated[
        float,
        Meta(ge=0, description="seconds, and three looks, that must miss a job before it is called gone"),
    ] = MISSING_FOR.total_seconds()
    # Jobs at work are looked at too, and are the oldest: a limit below their number would hide the others for ever.
    limit: Annotated[int, Meta(ge=1, le=100_000, description="runs looked at in one go, the oldest first")] = 10_000
    # One over REST may take seconds, and the ends of jobs wait meanwhile: thousands are for backfill.
    without_job: Annotated[
        int,
        Meta(
            ge=0, le=100_000, description="completed rows without a job of ours published in one go, the newest first"
        ),
    ] = 20


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
    interval: Annotated[int, Meta(ge=1, description="publish every N-th epoch, and the last")] = 5
    keep_extremes: Annotated[
        bool, Meta(description="also publish the first epoch and those where a loss has its minimum or maximum")
    ] = False
    max_points: Annotated[
        int, Meta(ge=2, le=10_000, description="publish at most N epochs, and N points of a series on other steps")
    ] = 500
    directions: Annotated[
        tuple[Direction, ...],
        Meta(description="which way is better, for series with names that do not say so: speed=max"),
    ] = ()
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
        _check_rules(self.rules)
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
    """Make every curve of runs that were published before.

    Fills the runs without full series. After an interruption the same command goes on. Histories stay as they are.
    """

    limit: Annotated[int, Meta(ge=0, description="fill at most N runs, the lowest ids first; 0: all")] = 0
    concurrency: Annotated[int, Meta(ge=1, le=64, description="batches at once, in threads")] = 2
    batch_size: Annotated[int, Meta(ge=1, le=100_000, description="runs a batch, which is one task")] = 500
    export_uri: ExportUri = ""


class RecoverParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put back the history that a forced publish replaced last."""

    quick_test_id: QuickTestId


class CancelParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cancel a run's job, and publish what it left."""

    quick_test_id: QuickTestId
    wait_s: Annotated[
        float, Meta(ge=0, le=3600, description="seconds to wait for the job's end, to publish what it left")
    ] = 60


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
            pattern="^(|(file|gs)://.+)$",
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
            pattern="^(|(file|gs)://.+)$",
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


_EXPORT_URI = "^(|(file|gs)://.+)$"


ArtifactsRoots = Annotated[
    tuple[Annotated[str, Meta(pattern="^((file|gs)://.+|/.*)$")], ...],
    Meta(
        description="the folders of this machine in which MLflow keeps artifacts (a path, or file:///...); no file "
        "outside them is read. None: the folder of MLFLOW_TRACKING_URI, if it is one, and --artifacts-destination"
    ),
]


class ExportParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Export the whole of MLflow's database to files that outlive it.

    Reads MLFLOW_BACKEND_STORE_URI, in one transaction. If that is not set, it reads everything that the server at
    MLFLOW_TRACKING_URI tells. After an interruption the same command goes on.
    """

    to_uri: Annotated[
        str,
        Meta(
            pattern=_EXPORT_URI,
            description="where to write it (file://... or gs://...); empty: mlflow-export below ARTIFACTS_URI",
        ),
    ] = ""
    part_rows: Annotated[
        int, Meta(ge=1_000, le=1_000_000, description="at most N rows a file; one file's rows are in memory at a time")
    ] = 200_000
    list_objects: Annotated[bool, Meta(description="also list the artifacts' objects, if they can be listed")] = True
    artifacts_destination: Annotated[
        str,
        Meta(
            pattern="^(|(file|gs)://.+|/.+)$",
            description="the MLflow server's own --artifacts-destination: the place that it calls mlflow-artifacts:/",
        ),
    ] = ""
    artifacts_roots: ArtifactsRoots = ()


class RestoreParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make MLflow's database again from an export alone.

    Fills the empty database that the setting MLFLOW_RESTORE_STORE_URI names: an address with a password is never a
    parameter.
    """

    from_uri: Annotated[
        str,
        Meta(
            pattern=_EXPORT_URI,
            description="where the export is (file://... or gs://...); empty: mlflow-export below ARTIFACTS_URI",
        ),
    ] = ""


ModelName = Annotated[str, Meta(pattern=MODEL_PATTERN, description="the model's name")]
By = Annotated[
    str,
    Meta(
        max_length=200,
        description="who asks, for the model's history; empty: your user name on the command line, or what started the "
        "deployment's flow run, if Prefect knows",
    ),
]
Reason = Annotated[str, Meta(max_length=2_000, description="why, for the model's history, which keeps it for ever")]
RequestKey = Annotated[
    str,
    Meta(max_length=200, description="the same key is done once, whatever happened since; empty: the flow run's id"),
]


class RegisterParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make the model of a completed run, or of another source, the next version of a named model."""

    quick_test_id: Annotated[
        int, Meta(ge=0, description="the run's id, its row in the results database; 0: `source` names the model")
    ] = 0
    source: Annotated[
        str,
        Meta(
            max_length=4_000,
            description="instead of a run: a folder (a path, file://... or gs://...), a model of MLflow's registry "
            "(models:/shop/3, models:/shop/Production, models:/shop@champion) or of an MLflow run (runs:/<id>/model)",
        ),
    ] = ""
    name: ModelName = "two-tower"
    description: Annotated[str, Meta(max_length=2_000, description="what people should know about this version")] = ""
    by: By = ""

    def __post_init__(self) -> None:
        if bool(self.quick_test_id) == bool(self.source):
            raise ValueError("name one model: a run by its id, or `source`")


MaxLoss = Annotated[
    float,
    Meta(
        ge=-1,
        le=1,
        description="how far below the champion's the interval's lower end may be, as a share of it; below 0: above it",
    ),
]
Least = Annotated[float, Meta(ge=0, le=1, description="the version's own number must be at least this; 0: any")]
OtherColumn = Annotated[str, Meta(max_length=1_000, description="as train takes it; empty: as the version was trained")]
MaybeNoColumn = Annotated[
    str, Meta(max_length=1_000, description="as train takes it; empty: as the version was trained; none: there is none")
]


class ValidateParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compare a version with the champion on purchases that both have not seen.

    It passes or fails by the thresholds; the numbers are kept with it, and in the model's history.
    """

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "common": ("name", "version", "data_uri", "trained_until", "whole_days"),
        "thresholds": (
            "k", "max_recall_loss", "max_ndcg_loss", "max_coverage_loss", "min_recall", "min_ndcg", "min_coverage",
            "beat_popularity",
        ),
        "how it is measured": ("buyers", "min_buyers", "resamples", "confidence", "seed"),
        "the data's columns": (
            "buyer_column", "product_column", "time_column", "time_format", "quantity_column", "invoice_column",
            "csv_separator", "csv_encoding", "csv_decimal", "csv_columns",
        ),
        "for the history": ("reason", "by", "request_key"),
    }  # fmt: skip

    name: ModelName
    version: Annotated[int, Meta(ge=1, le=MAX_VERSION, description="the version that would be champion")]
    data_uri: Annotated[
        str,
        Meta(
            description="held-out purchases as Parquet or CSV: a file, a folder or a pattern (a path, file://, gs://); "
            "empty: those that the version was trained on, of which the newest are new to it"
        ),
    ] = ""
    trained_until: Annotated[
        str,
        Meta(
            description="the last day or time that training has seen, for a version that does not know it: "
            "2024-02-29; if the version knows it, that counts"
        ),
    ] = ""
    whole_days: Annotated[
        bool,
        Meta(description="purchases count from the day (UTC) after the last training day; no: from the next moment"),
    ] = True
    k: Annotated[
        int, Meta(ge=1, le=1_000, description="recall, NDCG and coverage are judged at the first K products")
    ] = 10
    max_recall_loss: MaxLoss = Thresholds().max_recall_loss
    max_ndcg_loss: MaxLoss = Thresholds().max_ndcg_loss
    max_coverage_loss: MaxLoss = Thresholds().max_coverage_loss
    min_recall: Least = 0.0
    min_ndcg: Least = 0.0
    min_coverage: Least = 0.0
    beat_popularity: Annotated[
        bool, Meta(description="recall must surely be above that of the most bought products, if these are known")
    ] = True
    buyers: Annotated[
        int, Meta(ge=1, le=1_000_000, description="ask for at most N buyers, drawn by the seed if there are more")
    ] = 10_000
    min_buyers: Annotated[
        int, Meta(ge=2, le=1_000_000, description="refuse to judge by fewer buyers with a held-out purchase")
    ] = 50
    resamples: Annotated[int, Meta(ge=100, le=100_000, description="resamples of the bootstrap")] = 1_000
    confidence: Annotated[float, Meta(ge=0.5, le=0.999, description="of the intervals")] = 0.95
    seed: Annotated[
        int, Meta(ge=0, le=2**31 - 1, description="draws buyers and resamples; the same inputs give the same numbers")
    ] = 7
    buyer_column: OtherColumn = ""
    product_column: OtherColumn = ""
    time_column: OtherColumn = ""
    time_format: OtherColumn = ""
    quantity_column: MaybeNoColumn = ""
    invoice_column: MaybeNoColumn = ""
    csv_separator: OtherColumn = ""
    csv_encoding: OtherColumn = ""
    csv_decimal: OtherColumn = ""
    csv_columns: OtherColumn = ""
    reason: Reason = ""
    by: By = ""
    request_key: RequestKey = ""

    def __post_init__(self) -> None:
        if self.trained_until:
            try:
                read_moment(self.trained_until)
            except BadRequest as err:
                raise ValueError(f"trained_until: {err}") from err
        if self.min_buyers > self.buyers:
            raise ValueError(f"min_buyers must be at most buyers ({self.buyers}); got {self.min_buyers}")


class PromoteParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make a version the champion, in the place of the one that you expect there."""

    name: ModelName
    version: Annotated[int, Meta(ge=1, le=MAX_VERSION, description="the version to promote")]
    expect: Annotated[
        str,
        Meta(
            pattern=EXPECTED_PATTERN,
            description="the champion that it replaces, by its version; none: there is none yet. If another version "
            "is champion by then, nothing is changed",
        ),
    ] = "none"
    force: Annotated[
        bool, Meta(description="promote without a passed comparison with the champion; needs a reason")
    ] = False
    reason: Reason = ""
    by: By = ""
    request_key: RequestKey = ""


class RollbackParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take the champion back: the one before it answers again."""

    name: ModelName
    expect: Annotated[
        str,
        Meta(
            pattern=f"^$|{EXPECTED_PATTERN}",
            description="the champion to take back, by its version; empty: the present one",
        ),
    ] = ""
    to: Annotated[int, Meta(ge=0, le=MAX_VERSION, description="the version to go back to; 0: the champion before")] = 0
    reason: Reason = ""
    by: By = ""
    request_key: RequestKey = ""


class MigrateParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bring the results database to this version's schema."""


def _check_rules(text: str) -> None:
    try:
        parse_rules(text)
    except BadRequest as err:
        raise ValueError(str(err)) from err


class MirrorParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make MLflow's registry show what ours has.

    Needs MLFLOW_MIRROR=yes. Reconcile does the same by itself; this says what was done, and what is wrong.
    """

    name: Annotated[str, Meta(pattern=f"^$|{MODEL_PATTERN}", description="one model; empty: all")] = ""


class ImportModelsParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Import the models of an MLflow registry.

    Reads MLFLOW_BACKEND_STORE_URI, else MLFLOW_TRACKING_URI, or an export. After an interruption the same command goes
    on; later it brings what is new.
    """

    only: Annotated[tuple[str, ...], Meta(description="import this model, by its name there; none: all")] = ()
    name: Annotated[
        tuple[str, ...],
        Meta(description="<its name there>=<its name here>, for a name that is not allowed here, or taken"),
    ] = ()
    production: Annotated[
        tuple[str, ...],
        Meta(description="<its name there>=<version>: the champion of a model that has several in Production there"),
    ] = ()
    verify_only: Annotated[
        bool, Meta(description="only compare what was imported with what is there; changes nothing")
    ] = False
    workspace: Annotated[str, Meta(max_length=63, description="import from this workspace, if MLflow has several")] = ""
    export_uri: ExportUri = ""
    artifacts_destination: Annotated[
        str,
        Meta(
            pattern="^(|(file|gs)://.+|/.+)$",
            description="the MLflow server's own --artifacts-destination: the place that it calls mlflow-artifacts:/",
        ),
    ] = ""
    artifacts_roots: ArtifactsRoots = ()
    by: By = ""


ArtifactsUri = Annotated[
    str,
    Meta(
        pattern=_EXPORT_URI,
        description="where the copies are (file://... or gs://...); empty: mlflow-artifacts below ARTIFACTS_URI",
    ),
]
ArtifactsDestination = Annotated[
    str,
    Meta(
        pattern="^(|(file|gs)://.+|/.+)$",
        description="the MLflow server's own --artifacts-destination: what it calls mlflow-artifacts:/ is read there, "
        "not through the server",
    ),
]
ArtifactsFrom = Annotated[
    tuple[Annotated[str, Meta(pattern="^[^=]+=.*[/:].*$")], ...],
    Meta(
        description="OLD=NEW: what MLflow says is in OLD is read in NEW (a path or a URI), as in "
        "mlruns=/srv/mlflow/mlruns; NEW is then also one of --artifacts-roots"
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
    artifacts_destination: ArtifactsDestination = ""
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
    artifacts_destination: ArtifactsDestination = ""
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
    artifacts_destination: ArtifactsDestination = ""
    artifacts_roots: ArtifactsRoots = ()
    artifacts_from: ArtifactsFrom = ()
    export_uri: ExportUri = ""
    concurrency: Annotated[int, Meta(ge=1, le=64, description="objects read at once")] = 8
