"""What the flows of a run take, from train to cancel, and the types that other flows' parameters share.

There is one type for each flow. From it come the flow's flags on the command line, its form in Prefect's UI, and the
types and limits that both check (`flows.signatures`). What the other flows take is in the modules beside this one whose
names end in `_parameters`. None of them imports Prefect, so that ``--help`` is quick.
"""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from switchyard.core.errors import BadRequest
from switchyard.core.history.best import DIRECTION_PATTERN
from switchyard.core.mlflow.rules import MAX_TEXT, parse_rules
from switchyard.core.registry.names import MODEL_PATTERN
from switchyard.core.runs.machine import MachineSpec
from switchyard.core.runs.missing import MISSING_FOR
from switchyard.core.runs.spec import TrainSpec

URI_PATTERN = "^(|(file|gs)://.+)$"
DESTINATION_PATTERN = "^(|(file|gs)://.+|/.+)$"

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
        pattern=URI_PATTERN,
        description="read this export of MLflow (file://... or gs://...), for when MLflow is gone; "
        "empty: the MLflow that the settings name",
    ),
]
Interval = Annotated[int, Meta(ge=1, description="publish every N-th epoch, and the last")]
KeepExtremes = Annotated[
    bool, Meta(description="also publish the first epoch and those where a loss has its minimum or maximum")
]
MaxPoints = Annotated[
    int, Meta(ge=2, le=10_000, description="publish at most N epochs, and N points of a series on other steps")
]
Directions = Annotated[
    tuple[Direction, ...],
    Meta(
        description="which way is better, for series with names that do not say so: speed=max",
        extra={"placeholder": "SERIES=max|min"},
    ),
]
ArtifactsDestination = Annotated[
    str,
    Meta(
        pattern=DESTINATION_PATTERN,
        description="the MLflow server's own --artifacts-destination: the place that it calls mlflow-artifacts:/",
    ),
]
ArtifactsRoots = Annotated[
    tuple[Annotated[str, Meta(pattern="^((file|gs)://.+|/.*)$")], ...],
    Meta(
        description="the folders of this machine in which MLflow keeps artifacts (a path, or file:///...); no file "
        "outside them is read. None: the folder of MLFLOW_TRACKING_URI, if it is one, and --artifacts-destination",
        extra={"placeholder": "FOLDER"},
    ),
]


def check_rules(text: str) -> None:
    """Raises: ValueError: these rules for the names of metrics cannot be read."""
    try:
        parse_rules(text)
    except BadRequest as err:
        raise ValueError(str(err)) from err


class RunParameters(TrainSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is, and how it is published and waited for: of a training, or of a sweep's trials."""

    machine: Annotated[
        MachineSpec, Meta(description="where it runs on Vertex AI; a job on this machine ignores it")
    ] = MachineSpec()
    interval: Interval = 5
    keep_extremes: KeepExtremes = False
    max_points: MaxPoints = 500
    directions: Directions = ()
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
        check_rules(self.rules)
        if self.machine.replica_count > 1:
            raise ValueError(
                "machine.replica_count must be 1: the trainer does not share its work among machines, so each would "
                f"train, and be paid for, alone; got {self.machine.replica_count}"
            )


class TrainParameters(RunParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train a run, and publish its history.

    Takes the data, the model's settings, and how to name, wait for and publish the run.
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
            extra={"placeholder": "MODEL"},
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
        Meta(
            description="which way is better, in addition to what train was told: speed=max",
            extra={"placeholder": "SERIES=max|min"},
        ),
    ] = ()
    rules: NameRules = ""

    def __post_init__(self) -> None:
        check_rules(self.rules)


class ReconcileParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compare jobs with rows and repair the difference."""

    grace_s: Annotated[
        float,
        Meta(ge=0, description="seconds that the ingest of a job-ended event has before reconcile ingests by itself"),
    ] = 0
    claim_grace_s: Annotated[float, Meta(ge=0, description="seconds to wait for a job after its claim")] = 600
    missing_grace_s: Annotated[
        float,
        Meta(ge=0, description="a job is gone when it is missing for this many seconds, and in three looks"),
    ] = MISSING_FOR.total_seconds()
    # Jobs at work are looked at too, and are the oldest: a limit below their number would hide the others for ever.
    limit: Annotated[int, Meta(ge=1, le=100_000, description="runs looked at in one go, the oldest first")] = 10_000
    # One over REST may take seconds, and the ends of jobs wait meanwhile: thousands are for backfill.
    without_job: Annotated[
        int,
        Meta(ge=0, le=100_000, description="publish at most N completed rows without a job of ours, the newest first"),
    ] = 20


class RecoverParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put back the history that a forced publish replaced last."""

    quick_test_id: QuickTestId


class CancelParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cancel a run's job, and publish what it left."""

    quick_test_id: QuickTestId
    wait_s: Annotated[
        float, Meta(ge=0, le=3600, description="seconds to wait for the job's end, to publish what it left")
    ] = 60


class MigrateParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bring the results database to this version's schema."""
