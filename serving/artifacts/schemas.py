"""The shape of a list of artifacts, for readers of the OpenAPI document (see `serving.schemas`)."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class CopiedArtifact(BaseModel):
    """One artifact that is kept."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(description="its name in MLflow, below the run's own place")]
    size_bytes: int
    sha256: Annotated[str, Field(description="64 hex digits, of all its bytes")]
    url: Annotated[str, Field(description="where its bytes are sent")]


class LeftOutArtifact(BaseModel):
    """One artifact that was there and is not kept."""

    model_config = ConfigDict(extra="forbid")

    path: str
    reason: str


class CopiedArtifacts(BaseModel):
    """The copied artifacts of a run's MLflow run, by name."""

    model_config = ConfigDict(extra="forbid")

    available: bool
    mlflow_run_id: str
    digest: Annotated[str, Field(description="of the manifest that names them all")]
    copied_at: datetime
    count: int
    size_bytes: int
    left_out: list[LeftOutArtifact]
    items: list[CopiedArtifact]
    next: Annotated[str | None, Field(description="path and query of the next page; null: this is the last one")]
