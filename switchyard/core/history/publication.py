"""What one publish writes, and what it did."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from switchyard.core.runs.rows import RowNews, RunStatus


class Rank(msgspec.Struct, frozen=True, order=True):
    """How new a published record is: compared field by field, the higher wins; equal with other content is an error."""

    attempt: int = 0
    restart: int = 0
    epochs: int = 0
    status: int = 0  # -1 partial while the run trains, 0 partial, 1 failed, 2 completed


class Digests(msgspec.Struct, frozen=True, kw_only=True):
    """``sha256:<hex>`` over the charted series, and over everything; `series` has one a series, by its JSON path."""

    charted: str
    full: str | None = None
    series: dict[str, str] = {}


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What a publication was made by.

    A stored history is compared and verified by its own versions, not by newer ones.
    """

    digest: int = 2
    mapping: int = 2  # of MLflow's keys, docs/mapping.md; a file has no need of it
    rules: str = ""  # a team's own rules for names, as TOML; empty: none


FIRST_VERSIONS = Versions(digest=1, mapping=1)
"""The versions of every history that was published before versions were stored."""


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """The run that a nested run belongs to."""

    quick_test_id: int | None  # None: no row is known of it, or it was deleted
    mlflow_run_id: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is that goes on; `at` is when its trainer said so."""

    epochs_done: int
    epochs: int | None  # None: no one knows how many were asked
    at: datetime


ValueKind = Literal["final", "last", "best", "param", "tag"]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a run that lists, filters and comparisons ask for; at least one of the two is set."""

    kind: ValueKind
    name: str
    number: float | None = None  # finite
    text: str | None = None


class FullSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Every scalar series of a run, as gzip of the JSON that ``/series/`` answers, and its digest.

    The digest is ``sha256:<hex>`` of the JSON before gzip.
    """

    gzip_json: bytes
    digest: str


class HistogramRow(msgspec.Struct, frozen=True, kw_only=True):
    """One published histogram: gzip of the JSON that its endpoint answers."""

    kind: str  # weights | gradients
    tower: str  # query | candidate
    gzip_json: bytes


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """All that one publish writes, in one transaction. `history_json` has no `cached_at` yet: results sets it."""

    quick_test_id: int
    history: dict[str, Any]
    digests: Digests
    rank: Rank
    histograms: list[HistogramRow]
    versions: Versions = Versions()
    first_digests: Digests | None = None  # of the same source by FIRST_VERSIONS; None: not known
    series: FullSeries | None = None  # None: nothing is known of them, and what is stored of an earlier publish goes
    values: list[Value] = []
    row_status: RunStatus | None = None  # None: the row keeps its status
    of_attempt: int | None = None  # the attempt that `row_status` was concluded from: see runs.walk.may_end
    error: str = ""


class PublishResult(StrEnum):
    """What a publish did."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"  # the same digests were published before: `cached_at` and the bytes are kept
    KEPT_NEWER = "kept newer"  # of a higher rank, or the own file of what comes from MLflow: nothing was written
    KEPT_LEGACY = "kept legacy"  # a history of the legacy application is there, and no force was given


class SeenRun(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of an MLflow run: noted where that is settled, so that a later look sees what has changed."""

    mlflow_run_id: str
    name: str = ""
    store: str = ""  # the MLflow that it was read from, in words without a secret
    whole: bool = False  # all its metrics were read
    mark: str = ""  # taken before it was read (`core.mlflow.marks`); empty: it was read from elsewhere


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk publish writes of one run: its publication and its line of the ledger, both or none."""

    quick_test_id: int
    publication: Publication | None = None  # None: there is nothing to publish, and `state` and `error` say why
    state: str = "done"  # the line's, where the publication is stored or was before
    error: str = ""
    note: str = ""  # for the line, where the publication is stored or was before
    source_digest: str = ""
    gcs_artifacts_path: str = ""  # for the row, where it has none yet
    news: RowNews | None = None  # for an adopted row, whatever becomes of the publication
    lost_parent: str = ""  # the MLflow run that it is nested in, and that no row is known of
    seen: SeenRun | None = None  # noted with a line that says anything but `failed`


class StoredHistory(msgspec.Struct, frozen=True):
    """A run's published history, as stored. `history_json` is None if nothing is published."""

    history_json: bytes | None
    etag: str | None  # the digest, or the stored bytes' own hash for a legacy payload
