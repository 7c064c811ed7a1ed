"""What the flows of the registry take, from register to rollback, and those of MLflow's registry."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from flows.parameters import ArtifactsDestination, ArtifactsRoots, ExportUri
from switchyard.core.errors import BadRequest
from switchyard.core.registry.judging import Thresholds
from switchyard.core.registry.names import EXPECTED_PATTERN, MAX_VERSION, MODEL_PATTERN
from switchyard.core.runs.moments import read_moment

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
    Meta(max_length=200, description="a second call with the same key changes nothing; empty: the flow run's id"),
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
        description="largest loss, as a share of the champion's value, at the interval's lower end; "
        "negative: it must be better",
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
            "2024-02-29; if the version knows it, that counts",
            extra={"placeholder": "TIME"},
        ),
    ] = ""
    whole_days: Annotated[
        bool,
        Meta(description="count purchases from the day (UTC) after training ended; no: from the next moment"),
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
        bool, Meta(description="fail unless recall beats popularity by more than chance, if popularity is known")
    ] = True
    buyers: Annotated[
        int, Meta(ge=1, le=1_000_000, description="ask for at most N buyers, drawn by the seed if there are more")
    ] = 10_000
    min_buyers: Annotated[
        int, Meta(ge=2, le=1_000_000, description="refuse to judge by fewer buyers with a held-out purchase")
    ] = 50
    resamples: Annotated[int, Meta(ge=100, le=100_000, description="resamples of the bootstrap")] = 1_000
    confidence: Annotated[float, Meta(ge=0.5, le=0.999, description="confidence level of the intervals")] = 0.95
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
        Meta(
            description="its name there and its name here, for a name that is not allowed here, or taken",
            extra={"placeholder": "THERE=HERE"},
        ),
    ] = ()
    production: Annotated[
        tuple[str, ...],
        Meta(
            description="the champion of a model that has several in Production there, by the model's name there",
            extra={"placeholder": "THERE=VERSION"},
        ),
    ] = ()
    verify_only: Annotated[
        bool, Meta(description="only compare what was imported with what is there; changes nothing")
    ] = False
    workspace: Annotated[str, Meta(max_length=63, description="import from this workspace, if MLflow has several")] = ""
    export_uri: ExportUri = ""
    artifacts_destination: ArtifactsDestination = ""
    artifacts_roots: ArtifactsRoots = ()
    by: By = ""
