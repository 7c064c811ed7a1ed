"""The shape of an evaluation report, for readers of the OpenAPI document (see `serving.schemas`)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["model", "level", "baseline", "too_few"]
_BY_SLICE = "by slice (all, new, light, heavy), then by metric (recall_at_10, ndcg_at_10)"


class EvaluationFigure(BaseModel):
    """A figure and the bounds of the middle 95 % of its draws."""

    model_config = ConfigDict(extra="forbid")

    value: float
    low: float
    high: float


class EvaluationLead(EvaluationFigure):
    """The model's figure less the baseline's, over the same draws."""

    verdict: Annotated[Verdict, Field(description="who wins; level: the bounds have 0 between them")]


class EvaluationContender(BaseModel):
    """The model, or a baseline."""

    model_config = ConfigDict(extra="forbid")

    name: str
    figures: Annotated[dict[str, dict[str, EvaluationFigure]], Field(description=_BY_SLICE)]
    coverage: Annotated[float | None, Field(description="share of the products that are among some buyer's first ten")]
    leads: Annotated[dict[str, dict[str, EvaluationLead]], Field(description="the model's over this one")]
    settings: dict[str, float | int | str]
    about: Annotated[str, Field(description="how the settings were found")]


class EvaluationLeftOut(BaseModel):
    """A baseline that was not measured."""

    model_config = ConfigDict(extra="forbid")

    name: str
    reason: str


class EvaluationGroup(BaseModel):
    """Buyers with at least and at most that many train purchases."""

    model_config = ConfigDict(extra="forbid")

    buyers: int
    pairs: int
    least: int
    most: int


class EvaluationMeasured(BaseModel):
    """What was measured on."""

    model_config = ConfigDict(extra="forbid")

    window: str
    pairs: int
    of_pairs: int
    new_pairs: int
    buyers: int
    products: int
    groups: dict[str, EvaluationGroup]


class EvaluationBootstrap(BaseModel):
    """How the bounds were made."""

    model_config = ConfigDict(extra="forbid")

    draws: int
    confidence: float
    seed: int


class EvaluationRun(BaseModel):
    """Which run the report is of."""

    model_config = ConfigDict(extra="forbid")

    quick_test_id: int
    key: str
    attempt: int
    name: str
    seed: int


class Evaluation(BaseModel):
    """A run's evaluation report. The first contender is the model."""

    model_config = ConfigDict(extra="forbid")

    available: bool
    titles: Annotated[dict[str, str], Field(description="what people call each contender")]
    schema_version: Literal[1]
    run: EvaluationRun
    measured: EvaluationMeasured
    bootstrap: EvaluationBootstrap
    contenders: list[EvaluationContender]
    left_out: list[EvaluationLeftOut]
