"""The shapes of the registry's answers, for readers of the OpenAPI document (see `serving.schemas`)."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from switchyard.core.registry.stages import Act, Stage, Validation

_STRICT = ConfigDict(extra="forbid")

HISTORY_EXAMPLE: JsonDict = {
    "name": "shop",
    "at": "2026-01-31T10:30:00Z",
    "production": {
        "version": 2,
        "since": "2026-01-30T08:00:00Z",
        "by": "ann",
        "act": "promoted",
        "reason": "",
        "forced": False,
    },
    "items": [
        {
            "seq": 4,
            "version": 2,
            "act": "promoted",
            "from_stage": "Staging",
            "to_stage": "Production",
            "at": "2026-01-30T08:00:00Z",
            "by": "ann",
            "reason": "",
            "forced": False,
            "replaced": 1,
            "share": None,
            "evidence": {"status": "passed", "against": 1, "evidence": {"recall_at_10": [0.08, 0.07, 0.09]}},
        }
    ],
    "next": None,
}


class Champion(BaseModel):
    """The version in Production, and how it came there."""

    model_config = _STRICT

    version: int
    since: Annotated[datetime | None, Field(description="null: the history does not say")]
    by: str
    act: Act | None
    reason: str
    forced: Annotated[bool, Field(description="it went past the comparison with the champion before")]


class Challenger(BaseModel):
    """The version in Staging."""

    model_config = _STRICT

    version: int
    share: Annotated[float, Field(description="of the traffic, that it answers; 0: it is only asked")]


class LastChange(BaseModel):
    """The last line of a history, in short."""

    model_config = _STRICT

    seq: int
    version: int
    act: Act
    at: datetime
    by: str


class RegisteredModel(BaseModel):
    """A named model."""

    model_config = _STRICT

    name: str
    description: str
    production: Annotated[Champion | None, Field(description="null: nothing is in Production")]
    previous: Annotated[int | None, Field(description="what a rollback goes back to")]
    challenger: Challenger | None
    version_count: Annotated[int, Field(description="tombstoned ones too")]
    last_number: Annotated[int, Field(description="the highest number ever given")]
    revision: Annotated[int, Field(description="lines of its history")]
    last_change: LastChange | None


class RegisteredModels(BaseModel):
    """Models by name."""

    model_config = _STRICT

    items: list[RegisteredModel]
    next: Annotated[str | None, Field(description="path and query of the next page; null: this is the last one")]


class VersionLine(BaseModel):
    """A version in a list."""

    model_config = _STRICT

    version: int
    stage: Stage
    validation_status: Validation
    compared_with: Annotated[int | None, Field(description="the champion of its last comparison")]
    digest: Annotated[str, Field(description="of its list of files")]
    quick_test_id: Annotated[int | None, Field(description="the run that it was made of")]
    flavor: Annotated[str, Field(description="what kind of model it is; empty: unknown")]
    description: str
    created_at: datetime
    created_by: str
    tombstoned_at: Annotated[datetime | None, Field(description="null: it is not")]


class ModelWithVersions(RegisteredModel):
    """A model, its aliases, and a page of its versions, the newest first."""

    tags: Annotated[dict[str, str], Field(description="of the model itself")]
    aliases: Annotated[dict[str, int], Field(description="`champion` and `challenger` follow by themselves")]
    versions: list[VersionLine]
    next: Annotated[str | None, Field(description="path and query of the next page; null: this is the last one")]


class VersionLineage(BaseModel):
    """Where a version comes from; what is empty is not known."""

    model_config = _STRICT

    quick_test_id: int | None
    run_key: str
    data_uri: str
    image: str
    code_version: str
    trained_until: Annotated[str, Field(description="the newest purchase that the training has seen")]
    parameters: dict[str, Any]


class VersionJudgement(BaseModel):
    """What the last comparison said."""

    model_config = _STRICT

    status: Validation
    digest: Annotated[str, Field(description="of the version's files that were compared")]
    against: Annotated[int | None, Field(description="the champion; null: there was none")]
    against_digest: str
    evidence: Annotated[dict[str, Any], Field(description="as it was kept, whatever wrote it")]


class VersionFile(BaseModel):
    """One file of a version."""

    model_config = _STRICT

    path: str
    size_bytes: int
    sha256: str


class VersionDetails(VersionLine):
    """A version with all that is kept of it."""

    name: str
    aliases: list[str]
    tags: dict[str, str]
    source_uri: str
    lineage: VersionLineage
    judgement: VersionJudgement
    size_bytes: int
    files: Annotated[list[VersionFile], Field(description="by path; empty: it was imported without files")]


class HistoryLine(BaseModel):
    """One line of a model's history. Nothing ever changes a line."""

    model_config = _STRICT

    seq: Annotated[int, Field(description="from 1; `at` never decreases with it")]
    version: int
    act: Act
    from_stage: Stage
    to_stage: Stage
    at: datetime
    by: str
    reason: str
    forced: bool
    replaced: int | None
    share: float | None
    evidence: Annotated[dict[str, Any], Field(description="as it was kept, whatever wrote it")]


class ModelHistory(BaseModel):
    """Lines, the newest first, and who is, or was, in Production."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [HISTORY_EXAMPLE]})

    name: str
    at: Annotated[datetime | None, Field(description="the moment that was asked for, in UTC")]
    production: Annotated[Champion | None, Field(description="now, or at `at`; null: nothing was there")]
    items: list[HistoryLine]
    next: Annotated[str | None, Field(description="path and query of the next page; null: this is the last one")]
