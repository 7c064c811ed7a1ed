"""The answers' shapes for readers of the OpenAPI document.

Nothing is built from them: stored bytes are sent as stored, and the tests hold real answers against them.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

Series = list[float | None]
_MORE = "there where more than limit and before was asked"

HISTORY_EXAMPLE: JsonDict = {
    "available": True,
    "epochs": [0, 5, 9],
    "loss": {
        "train": [6.2, 5.1, 4.9],
        "val": [6.3, 5.4, 5.3],
        "regularization": [0.02, 0.03, 0.03],
        "val_regularization": [0.02, 0.03, 0.03],
        "total": [6.22, 5.13, 4.93],
        "val_total": [6.32, 5.43, 5.33],
    },
    "gradient": {"total": [15.6, 18.0, 19.9], "query": [10.0, 11.5, 12.7], "candidate": [12.0, 13.9, 15.3]},
    "metrics": {"val_recall_at_10": [0.01, 0.03, 0.04], "learning_rate": [0.1, 0.1, 0.1]},
    "series": {"batch_loss": {"steps": [0, 500, 999], "values": [7.1, 5.6, 4.9], "kept": 3, "total": 1000}},
    "best": {
        "val_recall_at_10": {"value": 0.04, "epoch": 8, "direction": "max"},
        "batch_loss": {"value": 4.8, "step": 987, "direction": "min"},
    },
    "final_metrics": {"test_loss": 5.31, "test_recall_at_5": 0.038},
    "params": {"epochs": 10, "batch_size": 512},
    "tags": {},
    "parent": None,
    "progress": None,
    "cached_at": "2026-01-02T10:30:00Z",
    "mlflow_run_id": "",
    "histogram_available": True,
    "schema_version": 2,
    "status": "completed",
    "source": "file",
    "sampling": {
        "interval": 5,
        "by": "epoch",
        "max_points": 500,
        "keep_extremes": False,
        "kept": 3,
        "total": 10,
        "non_finite_dropped": 0,
    },
    "non_finite": {},
    "digest": {"charted": "sha256:5f0c...", "full": None},
}
HISTOGRAM_EXAMPLE: JsonDict = {
    "available": True,
    "epochs": [0, 1],
    "bin_edges": [-1.0, 0.0, 1.0],
    "edges_known": "all",
    "sampled": False,
    "counts": [[10, 12], [9, 13]],
}
SERIES_EXAMPLE: JsonDict = {
    "available": True,
    "complete": True,
    "epochs": [0, 1, 2],
    "series": {
        "val_loss": {"values": [6.3, 5.4, None], "kept": 3, "total": 3},
        "batch_loss": {"steps": [99, 199], "values": [6.1, 5.9], "kept": 2, "total": 2},
        "weight_stats.query.mean": {"values": [0.01, 0.02, 0.02], "kept": 3, "total": 3},
    },
    "non_finite": {"val_loss": {"2": "nan"}},
}


class EditedRun(BaseModel):
    """What can be edited of a run, as it is now."""

    model_config = ConfigDict(extra="forbid")

    id: int
    display_name: str
    notes: str
    archived: bool
    archived_at: datetime | None


class NotPublished(BaseModel):
    """The run exists, and nothing of it is published."""

    model_config = ConfigDict(extra="forbid")

    available: Literal[False]


class LossCurves(BaseModel):
    """Losses an epoch; `train` and `val` exclude regularisation, total = loss + regularisation."""

    model_config = ConfigDict(extra="forbid")

    train: Series = []
    val: Series = []
    regularization: Series = []
    val_regularization: Series = []
    total: Series = []
    val_total: Series = []


class NormCurves(BaseModel):
    """L2 norms of the weights, whole and per tower."""

    model_config = ConfigDict(extra="forbid")

    total: Series = []
    query: Series = []
    candidate: Series = []


class OwnSeries(BaseModel):
    """A series on steps of its own, sampled; steps above 2^53 are texts."""

    model_config = ConfigDict(extra="forbid")

    steps: list[int] | list[str]
    values: Series
    kept: int
    total: int


class BestValue(BaseModel):
    """The first best value of a series; `epoch` where it is on the run's epochs, else `step`."""

    model_config = ConfigDict(extra="forbid")

    value: float
    epoch: int | None = None
    step: int | str | None = None
    direction: Literal["min", "max"]


class ParentRun(BaseModel):
    """The run that a nested run belongs to; `quick_test_id` is null where it has no row here."""

    model_config = ConfigDict(extra="forbid")

    quick_test_id: int | None
    mlflow_run_id: str


class TrainingProgress(BaseModel):
    """How far a training is that goes on."""

    model_config = ConfigDict(extra="forbid")

    epochs_done: int
    epochs: int | None
    at: datetime


class CutFacts(BaseModel):
    """Params, say, for which there was no room."""

    model_config = ConfigDict(extra="forbid")

    left_out: int
    names: Annotated[list[str], Field(description="the first hundred of them")]


class CutNote(BaseModel):
    """What a history of limited size leaves out; the full series have every series."""

    model_config = ConfigDict(extra="forbid")

    left_out: Annotated[int, Field(description="series that are not in this history")] = 0
    names: Annotated[list[str], Field(description="the first hundred of them")] = []
    by_max_points: Annotated[int, Field(description="series with fewer points than sampling would keep")] = 0
    final_metrics: CutFacts | None = None
    params: CutFacts | None = None
    tags: CutFacts | None = None


class SamplingNote(BaseModel):
    """How the epochs were chosen."""

    model_config = ConfigDict(extra="forbid")

    interval: Annotated[int, Field(description="every epoch that this divides is kept, and the last one")]
    by: Annotated[
        Literal["epoch", "position"], Field(description="position: every interval-th logged epoch, whatever its number")
    ] = "epoch"
    max_points: int | None = None
    cut: CutNote | None = None
    keep_extremes: bool
    kept: int
    total: int
    non_finite_dropped: Annotated[int, Field(description="charted values that were not finite, in epochs left out")] = 0


class DigestNote(BaseModel):
    """``sha256:...`` over the charted series (and metrics and parameters), and over everything."""

    model_config = ConfigDict(extra="forbid")

    charted: str
    full: str | None = None


class TrainingHistory(BaseModel):
    """A run's published history: sampled epochs, every series as long as `epochs`, missing or non-finite as null.

    Histories of version 1 have none of `metrics`, `series`, `best`, `tags`, `parent` and `progress`. Those that the
    legacy application cached lack `schema_version` and everything after it, may have series of unequal length, and may
    hold bare `NaN` tokens; they are sent as they were stored.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [HISTORY_EXAMPLE]})

    available: Literal[True]
    epochs: Annotated[list[int], Field(description="kept epochs, as the source counts them: our trainer from 0")]
    loss: LossCurves
    gradient: NormCurves
    metrics: Annotated[dict[str, Series], Field(description="every other series on these epochs, by name")] = {}
    series: Annotated[dict[str, OwnSeries], Field(description="series on other steps, by name")] = {}
    best: dict[str, BestValue] = {}
    final_metrics: dict[str, float | None] = {}
    params: dict[str, Any] = {}
    tags: dict[str, str] = {}
    parent: ParentRun | None = None
    progress: TrainingProgress | None = None
    cached_at: datetime
    mlflow_run_id: str = ""
    histogram_available: bool = False
    schema_version: int | None = None
    status: Literal["partial", "completed", "failed"] | None = None
    source: Literal["file", "mlflow"] | None = None
    sampling: SamplingNote | None = None
    non_finite: dict[str, dict[str, dict[str, Literal["nan", "inf", "-inf"]]]] = {}
    digest: DigestNote | None = None
    warnings: Annotated[
        list[str], Field(description="what a reader should know of the curves; absent where there is nothing")
    ] = []


class HistogramData(BaseModel):
    """One histogram over all epochs. Counts of two epochs can be compared only with ``edges_known: "all"``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [HISTOGRAM_EXAMPLE]})

    available: Literal[True]
    epochs: list[int]
    bin_edges: Annotated[list[float] | None, Field(description="one more than there are counts; null: not known")]
    edges_known: Literal["all", "first_epoch", "none"]
    edges_assumed: Annotated[
        bool, Field(description="the edges were not logged: the legacy trainer's range, -1 to 1; absent where false")
    ] = False
    sampled: Annotated[bool, Field(description="the counts are an estimate from part of the values")]
    counts: Annotated[list[list[int | None] | None], Field(description="one row an epoch; null: not recorded")]


class SeriesPoints(BaseModel):
    """One series' points. Without `steps` they are on the answer's `epochs`."""

    model_config = ConfigDict(extra="forbid")

    steps: Annotated[list[int] | list[str] | None, Field(description="texts, where one is above 2^53")] = None
    values: Series
    kept: int
    total: Annotated[int, Field(description="of all its points; more than `kept`: some were left out")]


class FullSeriesData(BaseModel):
    """Every scalar series of a run. Of a run that was published before every series was, the points of its history:
    ``complete: false``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [SERIES_EXAMPLE]})

    available: Annotated[bool, Field(description="false: the run has no series at all")]
    complete: bool
    epochs: list[int]
    series: dict[str, SeriesPoints]
    non_finite: Annotated[
        dict[str, dict[str, Literal["nan", "inf", "-inf"]]],
        Field(description="what is null for that reason, by series and position in its `values`, from 0"),
    ]


class RunLine(BaseModel):
    """One run in the list."""

    model_config = ConfigDict(extra="forbid")

    id: int
    status: str
    display_name: str
    available: Annotated[bool, Field(description="a history is published")]
    error: str
    created_at: datetime | None
    completed_at: datetime | None
    started_at: Annotated[datetime | None, Field(description=_MORE)] = None
    experiment: Annotated[str, Field(description=_MORE)] = ""
    duration_s: Annotated[float | None, Field(description=f"from start to end; {_MORE}")] = None
    archived_at: Annotated[datetime | None, Field(description=_MORE)] = None
    mlflow_deleted_at: Annotated[
        datetime | None, Field(description=f"since when its MLflow run is known to be deleted there; {_MORE}")
    ] = None
    values: Annotated[
        dict[str, float | str | None],
        Field(description=f"by field, those of `fields`; null: the run has no such value; {_MORE}"),
    ] = {}


class RunList(BaseModel):
    """Runs, newest first or as asked."""

    model_config = ConfigDict(extra="forbid")

    items: list[RunLine]
    next: Annotated[str | None, Field(description="path and query of the next page; null: this is the last one")]


class Health(BaseModel):
    """The server answers, and so does its database."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ok"]


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    model_config = ConfigDict(extra="forbid")

    title: str
    status: int
    detail: Annotated[str, Field(description="what was expected, what was received, where, what to do")]
