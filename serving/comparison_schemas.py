"""The shapes of a comparison and of the list of fields, for readers of the OpenAPI document (see `serving.schemas`)."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from serving.schemas import ParentRun, Series, TrainingProgress

Direction = Literal["min", "max"]

COMPARISON_EXAMPLE: JsonDict = {
    "ids": [1, 3],
    "missing": [9],
    "runs": [
        {
            "id": id_,
            "status": "completed",
            "display_name": f"run {id_}",
            "available": True,
            "error": "",
            "created_at": "2026-01-02T10:30:00Z",
            "completed_at": "2026-01-02T10:40:00Z",
            "started_at": "2026-01-02T10:31:00Z",
            "experiment": "embeddings",
            "duration_s": 540.0,
            "archived_at": None,
            "mlflow_deleted_at": None,
            "history_status": "completed",
            "progress": None,
            "parent": None,
            "epochs": [0, 5, 9],
        }
        for id_ in (1, 3)
    ],
    "curves": [
        {
            "name": "val_loss",
            "direction": "min",
            "runs": [{"id": 1, "values": [6.3, 5.4, 5.3]}, {"id": 3, "values": [6.3, 5.2, 5.1]}],
        },
        {
            "name": "batch_loss",
            "direction": "min",
            "runs": [{"id": 1, "values": [7.1, 5.6, 4.9], "steps": [0, 500, 999]}],
        },
    ],
    "values": [
        {"field": "metrics.test_recall_at_10", "direction": "max", "values": [0.067, 0.071], "best": [3]},
    ],
    "params": {"differ": [{"name": "embedding_dim", "values": [32, 64]}], "same": {"epochs": 10}},
    "tags": {"differ": [], "same": {}},
    "lacks": [
        {"id": 1, "available": True, "curves": [], "values": [], "params": [], "tags": []},
        {"id": 3, "available": True, "curves": ["batch_loss"], "values": [], "params": [], "tags": []},
    ],
}


class ComparedRunLine(BaseModel):
    """One run that is compared."""

    model_config = ConfigDict(extra="forbid")

    id: int
    status: str
    display_name: str
    available: Annotated[bool, Field(description="a history is published")]
    error: str
    created_at: datetime | None
    completed_at: datetime | None
    started_at: datetime | None
    experiment: str
    duration_s: float | None
    archived_at: datetime | None
    mlflow_deleted_at: Annotated[
        datetime | None, Field(description="since when its MLflow run is known to be deleted there")
    ]
    history_status: Annotated[
        str | None, Field(description="partial: it trains, or it was stopped; see `status`. null: not known")
    ]
    progress: TrainingProgress | None
    parent: ParentRun | None
    epochs: Annotated[list[int], Field(description="of its curves without `steps`")]


class CurveOfRun(BaseModel):
    """One run's points, as its history has them. Without `steps` they are on the run's `epochs`."""

    model_config = ConfigDict(extra="forbid")

    id: int
    values: Series
    steps: Annotated[list[int] | list[str] | None, Field(description="texts, where one is above 2^53")] = None


class CurvesOfName(BaseModel):
    """A series, under the name that `/series/` has for it, of each run that has it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    direction: Annotated[Direction | None, Field(description="which way is better; null: its name does not say")]
    runs: list[CurveOfRun]


class ValueOfRuns(BaseModel):
    """A metric, or a best value, of every run."""

    model_config = ConfigDict(extra="forbid")

    field: str
    direction: Direction | None
    values: Annotated[list[float | None], Field(description="in the order of `ids`; null: the run lacks it")]
    best: Annotated[list[int], Field(description="ids; empty where fewer than two runs have it, or no way is better")]


class TextOfRuns(BaseModel):
    """A param or tag that is not the same everywhere."""

    model_config = ConfigDict(extra="forbid")

    name: str
    values: Annotated[list[Any], Field(description="in the order of `ids`; null: the run lacks it")]


class TextsOfRuns(BaseModel):
    """The params, or the tags, of all runs."""

    model_config = ConfigDict(extra="forbid")

    differ: list[TextOfRuns]
    same: dict[str, Any]


class LackingRun(BaseModel):
    """What another run has, and this one does not."""

    model_config = ConfigDict(extra="forbid")

    id: int
    available: bool
    curves: list[str]
    values: list[str]
    params: list[str]
    tags: list[str]


class ComparedRuns(BaseModel):
    """Runs side by side."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [COMPARISON_EXAMPLE]})

    ids: Annotated[list[int], Field(description="the runs that are there, in the order that was asked")]
    missing: Annotated[list[int], Field(description="ids that name no run (any more)")]
    runs: list[ComparedRunLine]
    curves: list[CurvesOfName]
    values: list[ValueOfRuns]
    params: TextsOfRuns
    tags: TextsOfRuns
    lacks: list[LackingRun]


class KnownFieldLine(BaseModel):
    """A field, as a filter has it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    type: Literal["number", "text", "number or text", "whole number", "time"]


class KnownFields(BaseModel):
    """Fields in the order of columns, metrics, best, params and tags."""

    model_config = ConfigDict(extra="forbid")

    fields: list[KnownFieldLine]
    more: Annotated[bool, Field(description="there are others that begin so")]
