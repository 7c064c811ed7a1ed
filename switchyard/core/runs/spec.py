"""TrainSpec: everything that can change a training's result, in one typed place.

The train flow's form, the trainer's flags and the row's stored parameters are all made from this type, so a setting
is added here and nowhere else. Constraints that one field alone can break are on the field; those between fields are
in `TrainSpec.__post_init__`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

Optimizer = Literal["adagrad", "adam"]
Tracker = Literal["file", "mlflow", "both"]
StoppingMetric = Literal["val_loss", "val_recall"]

LATER_FIELDS: Final[Mapping[str, object]] = {
    "recent_popularity": False,
    "own_history": False,
    "early_stopping_metric": "val_loss",
    "refit": False,
}
"""Fields that came when digests of configurations were stored already, and the default they came with. A new field goes
here, or a training that was begun before it cannot go on."""
UNSAID: Final[Mapping[str, Any]] = {**LATER_FIELDS, "embedding_dim": 64}
"""What a field means where nothing says it, to a trainer of any image and in params that an older one left: what 0.1.0
did. A field that has another default today stands here with that of 0.1.0 (docs/decisions/0014)."""


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training configuration. Units and ranges are in each field's description; defaults train the README's run."""

    # The interactions ------------------------------------------------------------------------------------------------
    data_uri: Annotated[
        str,
        Meta(
            description="interactions as Parquet or CSV: a file, a folder, or a pattern such as part-*.parquet (a "
            "path, file://, gs://); empty: made-up ones"
        ),
    ] = ""
    csv_separator: Annotated[
        str,
        Meta(
            pattern=r"^(|.|\\t|tab|comma|semicolon|pipe|space)$",
            description="what stands between a CSV file's columns: one character, or tab; empty: comma, semicolon, tab "
            "or pipe, as the first lines show",
        ),
    ] = ""
    csv_encoding: Annotated[
        str,
        Meta(
            description="how CSV text is encoded, such as cp1252, latin-1, utf-16; empty: UTF-8, or UTF-16 with a "
            "byte order mark"
        ),
    ] = ""
    csv_decimal: Annotated[Literal[".", ","], Meta(description="decimal separator of the numbers in CSV files")] = "."
    csv_columns: Annotated[
        str,
        Meta(description="the columns of CSV files without a header, in order, with commas between; empty: a header"),
    ] = ""
    buyer_column: Annotated[str, Meta(min_length=1, description="column with the buyer's id")] = "customer_id"
    product_column: Annotated[str, Meta(min_length=1, description="column with the product's id")] = "stock_code"
    time_column: Annotated[str, Meta(min_length=1, description="column with the time of the purchase")] = "invoice_date"
    time_format: Annotated[
        str, Meta(description="how times are written where they are text and not ISO 8601, such as %m/%d/%Y %H:%M")
    ] = ""
    quantity_column: Annotated[str, Meta(description="column with the quantity bought; empty: there is none")] = (
        "quantity"
    )
    invoice_column: Annotated[
        str, Meta(description="column with the invoice number (C... marks a cancellation); empty: there is none")
    ] = "invoice_no"
    cancellations: Annotated[
        Literal["drop", "keep", "fail"], Meta(description="what to do with rows whose invoice number starts with C")
    ] = "drop"
    missing_buyers: Annotated[
        Literal["drop", "fail"], Meta(description="what to do with rows that name no buyer (or no product, or no time)")
    ] = "drop"
    non_positive_quantities: Annotated[
        Literal["drop", "keep", "fail"], Meta(description="what to do with rows whose quantity is 0 or less")
    ] = "drop"
    validation_fraction: Annotated[
        float,
        Meta(gt=0, lt=1, description="share of the interactions, by time just before the test ones, for validation"),
    ] = 0.1
    test_fraction: Annotated[
        float, Meta(gt=0, lt=1, description="share of the interactions, the latest by time, held out for the test")
    ] = 0.1

    # Made-up interactions, where no data_uri is given ----------------------------------------------------------------
    synthetic_buyers: Annotated[int, Meta(ge=10, le=10_000_000, description="made-up data: how many buyers")] = 2_000
    synthetic_products: Annotated[int, Meta(ge=10, le=10_000_000, description="made-up data: how many products")] = (
        1_000
    )
    synthetic_interactions: Annotated[
        int, Meta(ge=100, le=1_000_000_000, description="made-up data: how many interactions")
    ] = 60_000

    # The model and its loss ------------------------------------------------------------------------------------------
    embedding_dim: Annotated[int, Meta(ge=1, le=4096, description="width of both towers' embeddings")] = 128
    temperature: Annotated[float, Meta(gt=0, le=100, description="the softmax divides cosine similarities by this")] = (
        0.1
    )
    logq_correction: Annotated[
        bool, Meta(description="subtract log sampling probability from in-batch logits (Yi et al., RecSys 2019)")
    ] = True
    l2: Annotated[
        float, Meta(ge=0, description="L2 weight on the embeddings of a batch; reported apart from the loss")
    ] = 1e-6
    recent_popularity: Annotated[
        bool, Meta(description="add to the score how much better a product sells of late than in all of the train data")
    ] = True
    own_history: Annotated[
        bool, Meta(description="add to the score how often, and how long ago, the buyer bought the product before")
    ] = True

    # The optimisation ------------------------------------------------------------------------------------------------
    epochs: Annotated[int, Meta(ge=1, le=100_000, description="passes over the training data")] = 12
    batch_size: Annotated[
        int, Meta(ge=2, le=1_000_000, description="interactions in a step; each is scored against the products of all")
    ] = 512
    optimizer: Annotated[Optimizer, Meta(description="adagrad or adam, both on the touched rows alone")] = "adagrad"
    learning_rate: Annotated[float, Meta(gt=0, le=1_000, description="step size of the optimizer")] = 1.0
    seed: Annotated[
        int, Meta(ge=0, le=2**31 - 1, description="seed of initial weights, shuffling and made-up data")
    ] = 7
    early_stopping_patience: Annotated[
        int, Meta(ge=0, description="stop after N epochs in which early_stopping_metric did not improve; 0: never")
    ] = 0
    early_stopping_metric: Annotated[
        StoppingMetric,
        Meta(
            description="val_loss: any lower loss counts, and the last weights are the model; val_recall: a recall@10 "
            "above its noise counts, and the best epoch's weights are the model"
        ),
    ] = "val_loss"
    refit: Annotated[
        bool,
        Meta(description="after the test, train once more on the train and the validation rows, and export that model"),
    ] = False

    # What is kept of it ----------------------------------------------------------------------------------------------
    statistics: Annotated[bool, Meta(description="collect weight and gradient statistics and histograms")] = True
    top_k: Annotated[int, Meta(ge=1, le=10_000, description="products that the exported model answers for a buyer")] = (
        100
    )

    tracker: Annotated[
        Tracker,
        Meta(
            description="where the metrics go: training_metrics.json beside the model (file), an MLflow server "
            "(mlflow; needs MLFLOW_TRACKING_URI), or both"
        ),
    ] = "file"
    mlflow_model: Annotated[
        bool,
        Meta(description="also put the exported model under model/ of its MLflow run; needs tracker mlflow or both"),
    ] = False

    def __post_init__(self) -> None:
        problems = self._find_unread()
        if self.data_uri.startswith("/"):
            path = (
                self.data_uri
                if self.data_uri.startswith("//")
                else quote(self.data_uri, safe="/*", errors="surrogateescape")
            )
            msgspec.structs.force_setattr(self, "data_uri", f"file://{path}")
        if self.data_uri and not self.data_uri.startswith(("file:///", "gs://")):
            problems.append(f"data_uri must be a path, or start with file:/// or gs://; got {self.data_uri!r}")
        if self.csv_encoding and not _is_encoding(self.csv_encoding):
            problems.append(
                f"csv_encoding must be an encoding that Python knows, such as cp1252, latin-1 or utf-16; got "
                f"{self.csv_encoding!r}"
            )
        names = [name.strip() for name in self.csv_columns.split(",")] if self.csv_columns else []
        if not all(names):
            problems.append(f"csv_columns must name each column; got {self.csv_columns!r}")
        if self.validation_fraction + self.test_fraction >= 1:
            problems.append(
                "validation_fraction + test_fraction must leave something to train on (sum below 1); "
                f"got {self.validation_fraction} + {self.test_fraction}"
            )
        columns = (self.buyer_column, self.product_column, self.time_column, self.quantity_column, self.invoice_column)
        named = [name for name in columns if name]
        if len(set(named)) < len(named):
            problems.append(f"each column can have one meaning only; got {', '.join(named)}")
        if not self.quantity_column and self.non_positive_quantities == "fail":
            problems.append("non_positive_quantities cannot be fail without a quantity_column")
        if not self.invoice_column and self.cancellations == "fail":
            problems.append("cancellations cannot be fail without an invoice_column")
        if self.mlflow_model and self.tracker == "file":
            problems.append("mlflow_model needs an MLflow run: set tracker to both or mlflow, or leave it out")
        if not self.data_uri and self.top_k > self.synthetic_products:
            problems.append(f"top_k must be at most synthetic_products ({self.synthetic_products}); got {self.top_k}")
        if self.early_stopping_patience >= self.epochs:
            problems.append(
                f"early_stopping_patience must be below epochs ({self.epochs}), or it never stops anything; "
                f"got {self.early_stopping_patience}"
            )
        if self.early_stopping_metric != "val_loss" and not self.early_stopping_patience:
            problems.append(
                f"early_stopping_metric {self.early_stopping_metric} is not read without early_stopping_patience: set "
                "that, or leave the metric out"
            )
        if problems:
            raise ValueError("; ".join(problems))

    def _find_unread(self) -> list[str]:
        """Lists what is said of data that is not read."""
        unread = _OF_MADE_UP if self.data_uri else _OF_FILES
        why = (
            "data_uri names the interactions; leave it out, or leave data_uri out"
            if self.data_uri
            else "the interactions are made up; leave it out, or name data_uri"
        )
        defaults = {field.name: field.default for field in msgspec.structs.fields(TrainSpec)}
        return [f"{name} is not read: {why}" for name in unread if getattr(self, name) != defaults[name]]


def to_digested(spec: TrainSpec) -> dict[str, Any]:
    """Returns what a digest of the configuration is made of.

    That is all its fields, except later ones that ask for nothing new.
    """
    asked = msgspec.structs.asdict(spec)
    return {name: value for name, value in asked.items() if LATER_FIELDS.get(name, ...) != value}


_OF_MADE_UP: tuple[str, ...] = ("synthetic_buyers", "synthetic_products", "synthetic_interactions")
_OF_FILES: tuple[str, ...] = (
    "csv_separator", "csv_encoding", "csv_decimal", "csv_columns", "buyer_column", "product_column", "time_column",
    "time_format", "quantity_column", "invoice_column",
)  # fmt: skip


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except LookupError:
        return False
    return True
