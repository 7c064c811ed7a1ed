"""The outside as the core sees it. Each port has one test suite that every implementation passes.

Every method says what a second, identical call does. All raise `TryAgain` when the outside may answer later; a method
lists only what else it raises. Times are aware UTC.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from switchyard.core.artifacts.copies import ArtifactCopy
from switchyard.core.artifacts.manifest import LeftOut, SourceObject
from switchyard.core.artifacts.owners import ArtifactOwner
from switchyard.core.backfill.following import FollowedRun, FollowedStore, Lifecycle, RowFacts, Unadopted
from switchyard.core.backfill.rows import AdoptedRun, BackfillRow
from switchyard.core.comparison.compared import ComparedRun
from switchyard.core.comparison.found import KnownField, RunPage, RunQuery
from switchyard.core.comparison.outline import Outline
from switchyard.core.decommission.rows import Step, Walk
from switchyard.core.decommission.rules import Rules
from switchyard.core.decommission.states import State
from switchyard.core.errors import SwitchyardError
from switchyard.core.history.asked_rules import KeptRules
from switchyard.core.history.filling import Fill, FillState, Unfilled
from switchyard.core.history.publication import Draft, FullSeries, Publication, PublishResult, StoredHistory
from switchyard.core.mlflow.contents import ExperimentDetails, LoggedModel, RunDetails
from switchyard.core.mlflow.facts import Look
from switchyard.core.mlflow.marks import RunMark
from switchyard.core.mlflow.raw_run import Keys, LostRun, RawRun, TrackedRun
from switchyard.core.mlflow.store_identity import StoreIdentity
from switchyard.core.mlflow.store_rows import StoreRows
from switchyard.core.predictions.answers import Recommendation
from switchyard.core.predictions.rows import Counts, Given, NewFeedback, Prediction, Pruned, Window
from switchyard.core.predictions.signature import Row, Signature
from switchyard.core.registry.importing import ImportedVersion, LostModel, ModelOrigin, SourceModel, VersionOrigin
from switchyard.core.registry.listing import LineQuery, ModelLine
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.mirroring import (
    CreateModel,
    CreateVersion,
    Mirror,
    MirrorLook,
    MoveStage,
    RemoveAlias,
    SetAlias,
    SetTags,
)
from switchyard.core.registry.mlflow_rows import RegistryTables
from switchyard.core.registry.rows import (
    Model,
    ModelVersion,
    NewVersion,
    Outcome,
    Promotion,
    Registered,
    Rollback,
    ShareChange,
    StageMove,
    Tombstone,
    Transition,
    Verdict,
)
from switchyard.core.runs.edits import RunEdit
from switchyard.core.runs.jobs import JobOrder, JobReport
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.pulse import Pulse
from switchyard.core.runs.rows import (
    Claim,
    ClaimedJob,
    Job,
    JobNews,
    NewRun,
    QuickTest,
    RunStatus,
    RunSummary,
    Unsettled,
)
from switchyard.core.sweeps.plan import SweepPlan
from switchyard.core.sweeps.trials import Trial, TrialEnd
from switchyard.core.verify.kept_run import KeptRun

ANY: Final = -1
"""For `if_generation`: whatever is there, or nothing."""
ABSENT: Final = 0
"""For `if_generation`: the object must not exist."""


class Stat(msgspec.Struct, frozen=True):
    """An object's size and its generation: a positive integer that grows with every write of that object."""

    size_bytes: int
    generation: int


class Dated(msgspec.Struct, frozen=True):
    """An object as a list has it: what `stat` says, and when this generation was written, by the store's clock."""

    uri: str
    stat: Stat
    written_at: datetime


class Objects(Protocol):
    """Whole objects under URIs (``file:///...``, ``gs://...``); a write is seen whole or not at all."""

    def stat(self, uri: str) -> Stat:
        """Raises: NotFound."""

    def read(self, uri: str, *, max_bytes: int | None = None) -> tuple[bytes, int]:
        """The bytes and their generation. With `max_bytes` the size is asked first and a larger object is not read.

        Raises: NotFound; BadRecord: larger than `max_bytes`."""

    def read_range(self, uri: str, *, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` (from 0) on, as they are stored; fewer, or none, where the object ends.
        Takes no time for the rest of a large object.

        Raises: NotFound."""

    def read_into(self, uri: str, file: BinaryIO, *, follow_links: bool = True) -> Stat:
        """Adds the object's bytes, as they are stored, to `file`, part by part: a large object is never in memory. What
        is answered is of exactly these bytes. A second call adds them again. Without `follow_links` an object that is a
        symbolic link, or lies behind one, is not found.

        Raises: NotFound; StaleWrite: it changed while it was read; what `file` has of it is of no use."""

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        """Writes and returns the new generation. A second call with the same positive or ABSENT `if_generation`
        raises StaleWrite, unless what is there is byte for byte `data` (an own write whose answer was lost).

        Raises: StaleWrite: the object's generation is not `if_generation` (ABSENT: it exists)."""

    def list_folders(self, prefix: str) -> list[str]:
        """The URIs of the folders directly below `prefix`, which ends with a slash, as each of them does; sorted, those
        behind symbolic links too. In a bucket a folder is what names have before their next slash. Takes no time for
        what lies in the folders.

        Raises: BadSetup: it may not be read."""

    def write_from(self, uri: str, file: BinaryIO, *, if_generation: int) -> int:
        """As `write`, of all bytes of `file`, from its begin, part by part.

        Raises: as `write`."""

    def list(self, prefix: str) -> list[str]:
        """The URIs of all objects that start with `prefix`, sorted; empty when there is none."""

    def list_stats(self, prefix: str, *, follow_links: bool = True) -> Iterator[tuple[str, Stat]]:
        """The same objects with what `stat` says of each, sorted; one that is deleted meanwhile is left out. Without
        `follow_links`, so is what is or lies behind a symbolic link."""

    def list_dated(self, prefix: str) -> Iterator[Dated]:
        """As `list_stats` without following links, with the time at which each was written."""

    def list_odd(self, prefix: str) -> Iterator[str]:
        """The URIs of what starts with `prefix` and is no object of its own, sorted: symbolic links, to files and to
        folders, devices, pipes. Always empty where the store has nothing of the kind."""

    def delete(self, uri: str, *, if_generation: int) -> None:
        """A second call does nothing: an object that is not there is deleted already.

        Raises: StaleWrite: it is there with another generation."""

    def upload_folder(self, path: Path, uri: str) -> int:
        """Copies every file below `path` to below `uri`; returns how many. A second call overwrites with the same."""


class Launcher(Protocol):
    """Where training jobs run."""

    def submit(self, key: str, order: JobOrder) -> JobReport:
        """Starts a job under `key`, or returns the one that this key has already, ended or not."""

    def report(self, job_names: Sequence[str]) -> dict[str, JobReport]:
        """The jobs as they are now, by name; a name that the launcher does not know is left out. What goes wrong with
        the look at one job is that report's `problem`; the others are reported."""

    def list(self, labels: Mapping[str, str], since: datetime, *, beside: str = "") -> list[JobReport]:
        """All jobs that bear all of `labels` and were created at or after `since`, in any state, oldest first. Where
        the platform keeps jobs by region: those of the region that new ones go to; with `beside`, a job's name, those
        of that job's region."""

    def cancel(self, job_name: str) -> None:
        """Asks the job to end; it may run on for a while, and may still succeed. A second call, or one for a job that
        has ended, does nothing.

        Raises: NotFound."""

    def list_old(self, labels: Mapping[str, str], before: datetime, limit: int) -> Sequence[JobReport]:
        """At most `limit` of the jobs that bear all of `labels`, ended before `before`, and are kept until somebody
        calls `prune`; in no particular order, and others the next time. Empty where the platform removes its own."""

    def prune(self, job_names: Sequence[str]) -> int:
        """Removes what is kept of these jobs, where they have ended: log, order, record. Returns how many were there.
        From then on they and their keys are unknown, so that a submit with such a key would start a job. A second call
        does nothing; one after a killed one goes on."""


class Tracking(Protocol):
    """An MLflow store, read only: over its database, over REST, or from an export of it. What comes out is the same by
    every way, to the last bit; a second call reads again, and finds the same unless somebody logged meanwhile."""

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Every run once, deleted ones and those of deleted experiments too, in no particular order; only those of
        `experiments` (names), where some are given. Read in pages: memory does not grow with their number. A run that
        the store can tell of, and not name, has an entry without a status whose `run_id` says so.

        Raises: NotFound: no experiment has one of these names; BadSetup: what is there is no MLflow store that we
        know, or we may not read it."""

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """Each of the runs once, in no particular order: all their metrics, or only `keys`. A deleted run is read like
        any other. One that is not there (any more), or cannot be read, is a `LostRun`, and the others follow. `run_ids`
        are taken, and runs read, in batches: memory is bounded by a batch (and by the largest run).

        Raises: BadSetup: as `list_runs`; TryAgain: from then on no run could be read."""

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """What there is of each of the runs, once, in no particular order, and without reading its points where the
        store can tell; one that is not there is left out. Memory is bounded by a batch.

        Raises: BadSetup: as `list_runs`."""

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """A mark for each run, as `list_runs` lists them, without reading their points: it differs from an earlier one
        of the same way (its beginning) where the run's row, experiment, params, tags or latest metrics differ. A run
        that the store can name, and not tell the whole of, has an `error` and no mark; an export leaves out what it
        lacks. Memory is bounded by a page.

        Raises: as `list_runs`."""

    def identify(self) -> StoreIdentity:
        """Which store it is, whatever its address and the way that it is read.

        Raises: BadSetup: as `list_runs`."""

    def describe(self) -> str:
        """Which MLflow is read, in words for a manifest that outlives it, with the schema's version where it can be
        known; never a password. Of an export every part is read, and must be what was exported. A second call looks
        again.

        Raises: BadSetup: as `list_runs`; BadRecord: an export that was changed."""

    def close(self) -> None:
        """Ends all connections. A second call does nothing."""


class TrackingDetails(Protocol):
    """What an MLflow store tells besides `Tracking`, read only: for an export that is made of answers (of a server, of
    a folder) where no database can be read. A second call reads again."""

    def list_experiments(self) -> Iterator[ExperimentDetails]:
        """Every experiment once, deleted ones too.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def read_details(self, run_ids: Iterable[str]) -> Iterator[RunDetails | LostRun]:
        """Each of the runs once, in no particular order, as `Tracking.read_runs` reads it, without its points and with
        its inputs. Memory is bounded by a batch.

        Raises: BadSetup, TryAgain: as `Tracking.read_runs`."""

    def take_marks(self, run_ids: Iterable[str]) -> dict[str, str]:
        """The marks of these runs by id, now, where `Tracking.read_marks` makes them of something else than what
        `read_details` says (a folder's are of its files); none otherwise, and none of a run that cannot be read.

        Raises: BadSetup, TryAgain: as `Tracking.read_runs`."""

    def list_logged_models(self) -> Iterator[LoggedModel]:
        """Every logged model once, with its points; none where the store knows no such thing (MLflow 2).

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def list_traces(self) -> Iterator[ArtifactOwner]:
        """Every trace once that names a place for its files; none where the store knows no such thing.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def list_not_kept(self) -> list[str]:
        """What the store, or the database behind it, may hold and this way of reading does not tell: a plain sentence
        each, with the number where it can be known.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def count_not_kept(self) -> dict[str, int]:
        """The rows of which the store tells how many there are, and no more, by MLflow's table (``trace_info``); a
        table without one is left out.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""


class RowCounts(Protocol):
    """What an MLflow store holds, runs and all else, read only."""

    def count_rows(self) -> StoreRows:
        """Every table's rows, all of one moment where the store can do that; of model versions those that were not
        deleted. A second call counts again.

        Raises: BadSetup: as `Tracking.list_runs`."""


class Runs(Protocol):
    """The rows of runs, as those ask who make, name, list or end a run. Each method is one transaction."""

    def read_database_id(self) -> str:
        """This database's own id: 12 hex digits, made by the first migration, the same ever after."""

    def create_run(self, new: NewRun, *, now: datetime) -> QuickTest:
        """A row in status `pending`. A second call with the same `request_key` returns the first one's row unchanged.

        Raises: BadRequest: the table is not ours (RESULTS_TABLE), so that its owner makes the rows."""

    def adopt_runs(self, runs: Sequence[AdoptedRun], *, now: datetime) -> dict[str, int]:
        """Makes a row for each, in one transaction; the rows' ids by MLflow run id. A second call finds the first
        one's rows and changes nothing.

        Raises: BadRequest: the table is not ours (RESULTS_TABLE), so that its owner makes the rows."""

    def read_run(self, quick_test_id: int) -> QuickTest:
        """Raises: NotFound."""

    def find_beside(self, quick_test_id: int) -> tuple[int | None, int | None]:
        """The ids of the run before and of the run after, by id; None at either end. The run itself need not exist."""

    def list_runs(self, *, limit: int, before_id: int | None = None) -> list[RunSummary]:
        """The newest runs first, by id, those below `before_id`; archived ones are left out."""

    def find_runs(self, query: RunQuery) -> RunPage:
        """The runs of a filter, in an order, with those of their values that were asked for. Values that a run's
        history no longer has, because another application has replaced or deleted it, are not used. A second call finds
        what there is by then.

        Raises: BadRequest: a column that an application's own table has not."""

    def list_fields(self, prefix: str, *, limit: int) -> list[KnownField]:
        """At most `limit` of the fields that begin with `prefix`, by section and name: columns first, then metrics,
        best, params and tags that some run has or had. Its time grows with `limit`, not with the number of runs."""

    def end_run(
        self, quick_test_id: int, status: RunStatus, *, error: str, of_attempt: int | None = None, now: datetime
    ) -> None:
        """Ends a run that has nothing (more) to publish. What is published stays. A second call changes nothing but
        `error`; a run that is `completed` stays so. Where the end was concluded from `of_attempt` (0: from no job) and
        `core.runs.walk.may_end` says that another job is to end the run, nothing is written.

        Raises: NotFound."""

    def find_mlflow_runs(self, mlflow_run_ids: Sequence[str]) -> dict[str, int]:
        """The rows that name these MLflow runs, by MLflow run id: the oldest, where several name one; those that no
        row names are left out. One query, whatever their number."""

    def record_mlflow_run(self, quick_test_id: int, mlflow_run_id: str) -> None:
        """Writes on the row which MLflow run is this run's, in place of another one; everything else stays. A second
        call changes nothing.

        Raises: NotFound: no such run; BadRecord: the table's column cannot hold that id."""

    def edit_run(self, quick_test_id: int, edit: RunEdit, *, now: datetime) -> QuickTest:
        """Writes what a person says of a run on its row, and returns the row; what `edit` leaves out stays. A second
        call changes nothing: a run that is archived keeps the moment.

        Raises: NotFound; BadRequest: the table is not ours (RESULTS_TABLE), so that its owner edits the rows."""

    def record_error(self, quick_test_id: int, error: str) -> None:
        """Writes why something went wrong on the row (a table that is not ours: its newest job); status unchanged."""


class Jobs(Protocol):
    """The rows of training jobs, as those ask who submit a job, look at it, or tell of its end. Each method is one
    transaction; a claim, a job that starts, and one that is reopened write the run's row in it too."""

    def claim_job(self, claim: Claim, *, now: datetime) -> ClaimedJob:
        """Claims the right to create one job, before any is created: a row in state CLAIMED with the next attempt's
        number, and the run's row in status `submitted` with `claim.artifacts_uri` as its folder (where it has none
        yet). A second call with the same request key returns the first one's job unchanged; but it claims the next
        attempt where `core.runs.claims.may_claim_again` says so (nothing was created, say), once for all who call at
        once.

        Raises: NotFound; BadRequest: another request's job of this run has not ended, or the run is completed."""

    def read_job(self, quick_test_id: int) -> Job | None:
        """The run's newest attempt; None when it never had one."""

    def find_claim(self, request_key: str) -> Job | None:
        """The newest job that was claimed under `request_key`, ended or not; None: none was."""

    def find_job(self, job_number: str) -> Job | None:
        """The job whose name at its launcher ends in ``/<job_number>``, as long as its end is not announced
        (`claim_ended_event`); None: there is no such job, or no longer."""

    def record_job(self, key: str, news: JobNews, *, now: datetime) -> Job:
        """Records what the launcher said; what is empty in `news` keeps what is there. RUNNING also sets the run's
        status and `started_at`. A job recorded as ended stays so: a later call changes nothing and returns the row.

        Raises: NotFound."""

    def reopen_job(self, key: str) -> Job:
        """Takes back that a job is gone, or never was created: it is CLAIMED again, without a reason and with its end
        untold, and its run is `submitted`; what is published stays. Only where `core.runs.walk.may_reopen` says so;
        elsewhere, and at a second call, nothing changes. Returns the job's row.

        Raises: NotFound."""

    def claim_ended_event(self, key: str, *, now: datetime) -> bool:
        """True once in a job's life: for the call that sets `ended_event_at`."""

    def note_completed_event(self, key: str, *, now: datetime) -> None:
        """Sets `completed_event_at`: a Prefect server has the event of the run that this job completed. A second call
        changes nothing."""


class Histories(Protocol):
    """What is published of a run, as those ask who ingest one run, or read it. Each method is one transaction."""

    def publish(self, publication: Publication, *, force: bool = False, now: datetime) -> PublishResult:
        """Writes history, digests, versions, rank, histograms, full series, values and the row's status and error, all
        or none, under the row's lock. `cached_at` is set to `now` at the first publish and kept when the same charted
        digest is published again. A second call with the same publication answers UNCHANGED, and leaves series and
        values as they are. `force` replaces what is there, whatever its rank, and keeps it for `recover`. What the same
        MLflow run says now replaces what it said before, whatever its rank, and the last three such are kept for
        `recover`. A charted-only publication never replaces a whole one of the same charted digest, and a whole one
        completes a charted-only one. Of equal rank, what the run's own file says goes before MLflow's. The row's status
        and error stay where `core.runs.walk.may_end` says that another job is to end the run; forced too.

        Raises: NotFound: no such run; StaleWrite: equal rank, other content."""

    def find_replaced(self, quick_test_id: int) -> int | None:
        """The number of the run's newest history that a forced publish, or a recovery, replaced; None: none was.

        Raises: NotFound: no such run."""

    def recover(self, quick_test_id: int, replaced_id: int, *, now: datetime) -> bool:
        """Puts a replaced history back, with all that was published with it, and keeps what it replaces in its place. A
        second call with the same `replaced_id` does nothing, and answers False.

        Raises: NotFound: no such run."""

    def read_history(self, quick_test_id: int) -> StoredHistory:
        """The stored bytes as they are. Raises: NotFound: no such run."""

    def read_histogram(self, quick_test_id: int, kind: str, tower: str) -> bytes | None:
        """gzip JSON; None when the run has none of that kind and tower. Raises: NotFound: no such run."""

    def read_series(self, quick_test_id: int) -> FullSeries | None:
        """Every scalar series; None where none are stored, or those that are belong to a history that another
        application has written over. Raises: NotFound: no such run."""

    def read_rules(self, quick_test_ids: Sequence[int]) -> dict[int, KeptRules]:
        """The rules that these runs had, by id, without those that had none; also of a history that another
        application has replaced since."""

    def read_compared(self, quick_test_ids: Sequence[int]) -> list[ComparedRun]:
        """What a comparison shows of these runs, in no particular order; those that have no row are left out. Values
        are None where none are of the run's present history. Two queries."""

    def read_outlines(self, quick_test_ids: Sequence[int]) -> dict[int, Outline]:
        """What a list of runs shows of these beside their rows and values, by id; those that have no row are left out.
        One query."""

    def read_kept(self, quick_test_ids: Sequence[int]) -> list[KeptRun]:
        """All that is kept of these runs, for a comparison; by id, without those that have no row."""


class Published(Protocol):
    """What is published, to be read into tables: from a results database, or from the JSON API over one."""

    def read_history(self, quick_test_id: int) -> bytes:
        """JSON, as ``/training-history/`` answers it. Raises: NotFound: no run has this id."""

    def read_series(self, quick_test_id: int) -> bytes:
        """JSON, as ``/series/`` answers it. Raises: NotFound: no run has this id."""

    def find_runs(self, question: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """The lines of the list, page after page. `question` has what the list's address takes: filter, order_by,
        experiment, fields, archived, and limit, the lines a page. Raises: BadRequest."""

    def compare(self, ids: Sequence[int]) -> bytes:
        """JSON, as ``/compare/`` answers it. Raises: BadRequest: too many. NotFound: no run has any of these ids."""


class Ledger(Protocol):
    """Work on many runs, as reconcile, backfill and verify ask for it: which runs are to be done, and what became of
    each. Each method is one transaction; a batch's histories and its lines are in one."""

    def list_unsettled(self, *, now: datetime, limit: int) -> list[Unsettled]:
        """One query: every run with an open job, or with an ended job whose row has not ended or whose end is not
        published, or that is completed without a history, unless backfill has listed it as having nothing to show, or
        that its job completed and published, which was not told (`Job.completed_event_at`); none that backs off
        (`LedgerLine.next_try_at` of kind ``repair`` after `now`). Those with a job come first, the oldest first; then
        those without, the newest first. Of a row that cannot be read it says why, and the others are read."""

    def read_pulse(self) -> Pulse:
        """How the work stands as a whole: three queries that read no history. A second call counts again."""

    def list_backfill(self) -> list[BackfillRow]:
        """Two queries: every row, by id, and more of those that may be behind MLflow."""

    def publish_many(
        self, kind: str, drafts: Sequence[Draft], *, force: bool = False, now: datetime
    ) -> dict[int, PublishResult | SwitchyardError]:
        """As `Histories.publish`, for many runs in one transaction, with their lines of `kind` in it; what became of
        each publication, by run id. A draft without one writes its line alone. A run that cannot be published leaves
        the line of a failure, and the others are published. A second call answers UNCHANGED for each; only `attempts`
        of the lines grow."""

    def list_unfilled(self) -> list[int]:
        """One query: the ids of the runs whose history has no full series, ascending; of a legacy history always."""

    def read_unfilled(self, quick_test_ids: Sequence[int]) -> list[Unfilled]:
        """One query: what is stored of these runs, by id, without those that have no history (any more). Of a row that
        cannot be read it says why, and the others are read."""

    def fill_many(self, fills: Sequence[Fill], *, now: datetime) -> dict[int, FillState]:
        """Writes series and values, with a ledger line of kind ``fill`` for each run, in one transaction; what became
        of each, by run id. The histories stay as they are. Nothing is written of a run whose history is no longer the
        one of its fill's `etag`. A run that cannot be filled leaves the line of a failure, and the others are filled.
        A second call writes the same; only `attempts` of the lines grow."""

    def list_settled(self, keys: Sequence[str]) -> set[str]:
        """Those of the jobs of these keys for whose runs nothing is left to do: `list_unsettled` would not name them,
        whatever backs off. A key without a row is none of them."""

    def read_ledger(self, kind: str) -> list[LedgerLine]:
        """All lines of a kind of work, by run id."""

    def count_ledger(self, kind: str, *, since: datetime) -> int:
        """How many lines of that kind were written at or after `since`."""

    def count_tries(self, kind: str) -> int:
        """How often lines of that kind were written in all: the sum of their attempts, which no clock can make less."""

    def write_ledger(self, line: LedgerLine) -> None:
        """Replaces the line of that kind and run. A second call writes the same."""

    def clear_ledger(self, prefix: str, *, before: datetime | None = None) -> None:
        """Deletes all lines of the kinds of work that start with `prefix`; with `before`, only those written before
        then. A second call does nothing."""


class Followed(Protocol):
    """What was read last of each row's MLflow run, and until when MLflow was followed. That a run was read is noted by
    `Ledger.publish_many`, with what became of it (`Draft.seen`)."""

    def list_known(self) -> dict[int, FollowedRun]:
        """All there is, by quick test id; also of rows that are gone, or name another run by now."""

    def read_facts(self, quick_test_ids: Sequence[int]) -> dict[int, RowFacts]:
        """What a list of rows does not say of these, by id; those that have no row are left out."""

    def note_lifecycles(self, lifecycles: Sequence[Lifecycle]) -> None:
        """Since when these runs are missing, or deleted. A second call writes the same."""

    def note_follow(self, store: str, *, began_at: datetime, failed: int, error: str = "", is_whole: bool) -> None:
        """How a follow of `store` that began then has ended. It is followed until then where none `failed`, there is no
        `error`, and `is_whole`: it looked at all runs. A second call writes the same; one of an earlier follow, too."""

    def list_identities(self) -> dict[str, StoreIdentity]:
        """By name, which stores they are that were followed; without those of which nobody has noted it."""

    def note_identity(self, store: str, identity: StoreIdentity, *, now: datetime) -> None:
        """Which store it is that has that name. A second call writes the same."""

    def replace_store(self, store: str, identity: StoreIdentity, *, now: datetime) -> None:
        """Another store has that name from now on, which is not followed yet; the runs of the one before keep their
        notes, under another name, so that nobody looks for them in the new one. A second call renames those that were
        noted between the two."""

    def note_unadopted(self, store: str, found: Unadopted, *, now: datetime) -> None:
        """A ledger line for each run of that store without a row, and for which none can be made; where all were looked
        at, the lines of others go. A second call writes the same; only `attempts` grow."""

    def list_stores(self) -> list[FollowedStore]:
        """Each MLflow that was followed; the one that was tried last comes first."""

    def find_deleted(self, quick_test_ids: Sequence[int]) -> dict[int, datetime]:
        """Those of these runs whose MLflow run is deleted there, and since when that is known. One query."""


class ModelMirror(Protocol):
    """Another registry that shows what ours has, for those who still look there. Each method is one call."""

    target: str
    """Which registry it is: what the numbers of versions there are noted under."""

    def read(self, name: str) -> Mirror | None:
        """The model as it is there, with all its versions; None: it is not there.

        Raises: TryAgain: the registry is away; BadSetup: it does not let us in, or is none."""

    def create_model(self, name: str, change: CreateModel) -> None:
        """A second call changes nothing. Raises: as `read`; BadRequest: it takes no such name."""

    def create_version(self, name: str, change: CreateVersion) -> int:
        """Makes a version and answers its number there. A second call makes a second one: whoever does not know how the
        first one ended reads, and finds it by its tags.

        Raises: as `read`; BadRequest: it takes no such source."""

    def set_tags(self, name: str, change: SetTags) -> None:
        """A second call changes nothing. Raises: as `read`; NotFound."""

    def set_alias(self, name: str, change: SetAlias) -> None:
        """A second call changes nothing. Raises: as `set_tags`."""

    def remove_alias(self, name: str, change: RemoveAlias) -> None:
        """A second call changes nothing. Raises: as `read`."""

    def move(self, name: str, change: MoveStage) -> None:
        """A second call changes nothing, or archives who came to Production meanwhile. Raises: as `set_tags`."""

    def close(self) -> None:
        """Ends what connections there are."""


class MirrorNotes(Protocol):
    """What is known of the mirrors of our registry, by `target`: which version has which number there, and when a model
    was looked at last."""

    def list_pairs(self, target: str, name: str) -> dict[int, int]:
        """The numbers there, by our versions."""

    def keep_pairs(self, target: str, name: str, pairs: Mapping[int, int]) -> None:
        """Replaces all pairs of that model there. A second call changes nothing."""

    def list_looks(self, target: str) -> dict[str, MirrorLook]:
        """The last look at each model, by name."""

    def hold(self, target: str, name: str, holder: str, *, now: datetime, until: datetime) -> bool:
        """True where nobody else looks at that mirror until then: two at once would make a version twice. A second call
        by the same holder prolongs it. A holder that was killed is forgotten when its time is over."""

    def note_look(self, target: str, name: str, holder: str, look: MirrorLook) -> None:
        """Replaces the last look, and lets go of what `holder` held. A second call changes nothing."""

    def list_origins(self, name: str) -> dict[int, int]:
        """When the versions that were imported were made where they come from, in ms, by version."""


class ArtifactSource(Protocol):
    """Where the artifacts of MLflow's runs are, read only: a bucket or a disk, or whatever MLflow's own artifact
    repositories reach. `place` has no slash at its end."""

    def list(self, place: str) -> Iterator[SourceObject | LeftOut]:
        """All artifacts below `place`, each once, in no particular order; what cannot be copied (a link, a pipe, a name
        that is none) says why. Empty where there are none. A second call lists again.

        Raises: NotFound: no such place can be seen from here; BadSetup: it may not be read, or what reads it is not
        installed; BadRequest: it is no place."""

    def fetch(self, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        """Adds the artifact's bytes to `file`, which is empty, part by part; answers what it was then. A second call
        reads again.

        Raises: NotFound: it is gone; StaleWrite: it changed while it was read; BadSetup, BadRequest: as `list`."""


class ArtifactOwners(Protocol):
    """What of an MLflow store has files besides runs, read only. A second call reads again."""

    def list_models(self) -> list[ArtifactOwner]:
        """The logged models of MLflow 3; none of an older one.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def list_traces(self) -> list[ArtifactOwner]:
        """The traces that name a place, as far as the store tells.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""


class ArtifactCopies(Protocol):
    """Where the artifacts of MLflow's runs were copied to, by MLflow run id. Each method that writes is one
    transaction."""

    def keep(self, copy: ArtifactCopy) -> None:
        """Replaces what is known of that run's copy. A second call changes nothing."""

    def read(self, mlflow_run_ids: Sequence[str]) -> dict[str, ArtifactCopy]:
        """The copies of these runs, by run; those that have none are left out."""

    def list_ids(self) -> list[str]:
        """All runs that have a copy, ascending."""


class Decommissions(Protocol):
    """How far the decommission of an MLflow deployment is, by its name, and every step of it. Each method that writes
    is one transaction, and refuses a revision that is not the row's: of two callers at once, one goes on."""

    def find(self, name: str) -> Walk | None:
        """The decommission; None: none was begun."""

    def begin(self, wanted: Walk, *, revision: int) -> Walk:
        """Makes it, where `revision` is 0, or begins it again with another inventory; answers it with its new revision.
        A second call with the same revision is refused, and its caller reads again.

        Raises: StaleWrite: its revision is another one."""

    def hold(self, name: str, *, revision: int) -> Walk:
        """Gives it a new revision, so that whoever held the one before can write no more. A second call is refused.

        Raises: NotFound; StaleWrite."""

    def move(self, name: str, state: State, *, revision: int, by: str, now: datetime) -> Walk:
        """Writes that `state` is reached. A second call is refused, for the revision grows.

        Raises: NotFound; StaleWrite."""

    def change_rules(self, name: str, rules: Rules, *, revision: int) -> Walk:
        """Replaces what is asked of its evidence. A second call is refused, as `move`.

        Raises: NotFound; StaleWrite."""

    def add_step(self, name: str, step: Step, *, revision: int) -> Step:
        """Adds a step with the next number; steps are never changed. The revision stays. A second call adds a second
        step: whoever reads them takes the last one of an act.

        Raises: StaleWrite: the revision is not the row's, or there is no such decommission."""

    def list_steps(self, name: str, *, walk: int | None = None) -> list[Step]:
        """Its steps, the oldest first; only those since that plan, where `walk` is given."""


class ModelImports(Protocol):
    """Another registry's models, written into ours with their own numbers. Each method that writes is one transaction,
    which takes the model's row first; killed between any two, a second call goes on."""

    def begin(self, name: str, model: SourceModel) -> None:
        """Makes the model where it is not there, and reserves all numbers that were ever given, so that no version that
        is registered meanwhile gets one of them. A second call reserves what came since.

        Raises: BadRequest: no name of a model; StaleWrite: it has a version of its own with such a number."""

    def add_version(self, name: str, model: ModelOrigin, version: ImportedVersion, *, where: str, by: str) -> bool:
        """True where the version was not there yet: with its files, tags, stage, origin and a line of history. In
        Production it is champion, unless there is one by now: then it is archived. A second call changes nothing but
        texts and tags that have changed there, and adds files to a version that had none.

        Raises: StaleWrite: another version has this number, or it has other files."""

    def finish(self, name: str, model: ModelOrigin, aliases: Mapping[str, int]) -> None:
        """Keeps what was said of the model, its tags, and those aliases that are new since the last call, or differ
        from it. A second call changes nothing."""

    def read_model_origin(self, name: str) -> ModelOrigin | None:
        """What `finish` kept; None: nothing."""

    def list_version_origins(self, name: str) -> dict[int, VersionOrigin]:
        """What was said of the imported versions, by number."""


class RegistrySource(Protocol):
    """Another registry, read only; a second call reads again."""

    @property
    def where(self) -> str:
        """Which it is, in words, without a password."""

    def read_models(self, workspace: str = "") -> list[SourceModel | LostModel]:
        """All its models, by name; one that cannot be read has an entry that says why.

        Raises: BadSetup: it is none that we know, we may not read it, or none of its several workspaces is chosen."""

    def close(self) -> None:
        """Ends what connections there are."""


class RegistryRows(Protocol):
    """Another registry, as the rows of its tables (`core.registry.mlflow_rows.TABLES`), for an export; read only."""

    def read_rows(self) -> RegistryTables:
        """All models, prompts among them where the registry tells of them, and those that could not be read. A second
        call reads again.

        Raises: BadSetup, TryAgain: it cannot be read."""


class Models(Protocol):
    """The registry: named models, their versions, and who answers. Each method is one transaction; each that writes
    takes the model's row first, and decides from the rows as they are then (`core.registry`).

    A request with a `request_key` is done once: a second call answers what the first one did, whatever happened since.
    Times are the database's own, taken while the row is held, so that a history's times never go back.
    """

    def register(self, new: NewVersion) -> Registered:
        """Makes the next version of the model, pending and in stage None, with its files; and the model where it is the
        first. A second call with the same `source_key` answers the version of the first one, wherever it is by then.

        Raises: BadRequest: no name of a model; StaleWrite: that source is a version already, with other files."""

    def promote(self, wanted: Promotion) -> Outcome:
        """Archives the champion that is expected and makes the version champion; readers see the one or the other. A
        second call, or one for the champion, writes nothing.

        Raises: NotFound; StaleWrite: another one is champion, and the message says which; BadRequest: it has not passed
        against this champion, or may not be promoted."""

    def roll_back(self, wanted: Rollback) -> Outcome:
        """Makes the champion before, or the one that is named, champion again. A second call with the same request key
        writes nothing; one without is refused, for there is nothing more to go back to.

        Raises: as `promote`; BadRequest: there is none to go back to."""

    def move(self, wanted: StageMove) -> Outcome:
        """Moves a version to Staging, None or Archived. A second call writes nothing.

        Raises: NotFound; StaleWrite: another challenger is there; BadRequest: there is no such move."""

    def share(self, wanted: ShareChange) -> Outcome:
        """Gives the challenger another share. A second call writes nothing.

        Raises: NotFound; StaleWrite: another version is the challenger; BadRequest: no such share."""

    def validate(self, wanted: Verdict) -> Outcome:
        """Keeps what a comparison said, on the version and in the history. A second call writes nothing.

        Raises: NotFound; StaleWrite: the files compared are not those of the versions, or another version is champion
            than `of_champion` asks for, and the message says which; BadRequest."""

    def tombstone(self, wanted: Tombstone) -> Outcome:
        """Retires a version for ever; its number, files and history stay listed. A second call writes nothing.

        Raises: NotFound; BadRequest: it still answers, or no reason is given."""

    def find_request(self, name: str, request_key: str) -> Outcome | None:
        """What the request of that key did; None: it has done nothing yet."""

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Lets a free alias name a version, and no other; None: none any more. A second call changes nothing.

        Raises: NotFound; BadRequest: the registry keeps this alias itself, or the version is tombstoned."""

    def list_aliases(self, name: str) -> dict[str, int]:
        """All aliases with their versions, those that the registry keeps too, by alias."""

    def list_models(self) -> list[Model]:
        """All models, by name."""

    def read_model(self, name: str) -> Model:
        """Raises: NotFound."""

    def list_versions(self, name: str) -> list[ModelVersion]:
        """All versions, tombstoned ones too, the newest first; empty where there is no such model."""

    def find_version(self, name: str, reference: str) -> ModelVersion:
        """The version that ``3``, ``Production``, ``Staging`` or ``@alias`` names.

        Raises: NotFound: it names none; BadRequest: it is no reference."""

    def list_tags(self, name: str) -> dict[int, dict[str, str]]:
        """The tags of a model's versions, by version; 0: the model's own."""

    def find_source(self, name: str, source_key: str) -> ModelVersion | None:
        """The version that was registered from a source; None: none was."""

    def read_files(self, name: str, version: int) -> Manifest:
        """The files of a version: all that may be read of it. Raises: NotFound."""

    def list_transitions(self, name: str) -> list[Transition]:
        """The whole history of a model, the oldest first; empty where there is no such model."""

    def find_production(self, name: str, at: datetime) -> int | None:
        """The version that was in Production at a moment; None: none was. One query."""


class Catalogue(Protocol):
    """The registry as pages and programs read it: in pages, for a model may have ten thousand versions and a hundred
    thousand lines of history. It writes nothing; what is asked for again is read again."""

    def list_models(self, *, after: str = "", limit: int) -> list[ModelLine]:
        """Models by the bytes of their names, those after `after`."""

    def read_line(self, name: str) -> ModelLine:
        """One model, as the list has it. Raises: NotFound."""

    def list_versions(self, name: str, *, before: int | None = None, limit: int) -> list[ModelVersion]:
        """Versions, the newest first, tombstoned ones too; with `before` only those with a smaller number. Empty where
        there is no such model."""

    def list_of_run(self, quick_test_id: int) -> list[ModelVersion]:
        """The versions that were made of a run, by model and number; of any model."""

    def read_tags(self, name: str, version: int) -> dict[str, str]:
        """The tags of a version, by key; of version 0 the model's own. Empty where there is no such version."""

    def list_lines(self, name: str, asked: LineQuery) -> list[Transition]:
        """Lines of a model's history, the newest first. Empty where there is no such model."""

    def find_standing(self, name: str, at: datetime) -> Transition | None:
        """The line by which Production had changed last at a moment; None: it never had. It may be that nothing was
        there after it."""


class Recommender(Protocol):
    """A model that is in memory, ready to answer. It never changes, so any number of threads may ask it; a second call
    answers the same. Serving and `validate` ask the same one."""

    @property
    def products(self) -> Sequence[str]:
        """All that it can recommend, each once."""

    @property
    def has_purchases(self) -> bool:
        """True where it knows what each buyer bought, so that `without_bought` can be asked for."""

    @property
    def popularity(self) -> str:
        """By what products are popular for a buyer whom it does not know: recent purchases, prior, purchases or mean
        buyer."""

    def list_buyers(self, limit: int) -> Sequence[str]:
        """At most `limit` of the buyers whom it knows, to try it with."""

    def knows(self, buyer_id: str) -> bool:
        """True where it has seen the buyer; others get popular products."""

    def recommend(
        self, buyer_id: str, k: int, *, only: frozenset[str] | None = None, without_bought: bool = False
    ) -> Recommendation:
        """The `k` best products, or all that are left where these are fewer: of `only` (those it does not have are left
        out), and without what the buyer bought.

        Raises: BadRequest: `k` below 1, or `without_bought` where `has_purchases` is false."""


class RowModel(Protocol):
    """A model that answers rows of columns, in a process of its own: it may end at any time. Any number of threads may
    ask it; a second call answers the same."""

    @property
    def signature(self) -> Signature:
        """What it takes."""

    @property
    def library(self) -> str:
        """What reads it, with its version."""

    @property
    def unconfined(self) -> Sequence[str]:
        """What the kernel could not keep its process from, in words; empty: nothing."""

    @property
    def is_alive(self) -> bool:
        """False once its process has ended, or was ended: this model never answers again, and is to be loaded anew."""

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        """One answer for each row (`core.predictions.signature.read_rows` makes rows), in order: numbers, texts, true
        or false, lists of these, or objects of these by name.

        Raises: BadRecord: it failed on these rows. TryAgain: its process ended, or was too slow and was ended."""

    def close(self) -> None:
        """Ends its process, after the answer that is being made. A second call does nothing."""


class Predictions(Protocol):
    """What was answered, and what became of it. Each method but `prune` is one transaction."""

    def record(self, predictions: Sequence[Prediction]) -> None:
        """Keeps them. A second call, with some or all of them, adds nothing and changes nothing."""

    def read_prediction(self, prediction_id: str) -> Prediction:
        """Raises: NotFound: no row is there yet, or retention has removed it."""

    def give(self, feedback: NewFeedback, *, now: datetime) -> Given:
        """Keeps feedback, with the version and arm of its prediction; where that has no row yet, they are added once it
        has. A second call with the same key and body answers what is kept; of two at once one keeps it.

        Raises: StaleWrite: another body was kept under that key."""

    def count(self, window: Window, *, waiting_since: datetime) -> Counts:
        """Counts predictions of a window and what was said of them. Feedback without a prediction is of any model and
        `waiting` if it came at or after `waiting_since`; it is of the window by the time at which it came."""

    def prune(self, *, predictions_before: datetime | None, feedback_before: datetime | None, limit: int) -> Pruned:
        """Removes at most `limit` rows of each table that are older; None: none. Feedback keeps the version and arm of
        a prediction that is removed. A second call goes on with others."""


class Trials(Protocol):
    """The trials of one sweep, as the process asks that does it. One process at a time (`Outside.hold_sweep`); a
    process may be killed between any two calls, and the next one goes on with the same trials."""

    def begin(self, plan: SweepPlan) -> str:
        """The sweep's own id, made and stored with `plan` by the first call. A second call with an equal plan returns
        the same.

        Raises: BadRequest: the sweep began with another plan."""

    def list_trials(self) -> list[Trial]:
        """All trials, by number from 0, without a gap."""

    def ask(self) -> Trial:
        """The next trial, stored with its parameters, whole or not at all. A second call asks for another one. Where
        the plan's method is grid or random, the parameters depend on the plan and the number alone; with tpe, on how
        the earlier trials stand too."""

    def note_run(self, number: int, quick_test_id: int) -> None:
        """Writes which run is the trial's. A second call changes nothing.

        Raises: NotFound: no such trial."""

    def report(self, number: int, values: Mapping[int, float], *, prune: bool) -> int | None:
        """Stores the values of the epochs after those that were reported, each once and in order. The epoch at which
        it was decided to prune the trial, which is stored; None: it goes on. With `prune` each new epoch is judged, as
        if no later one were known. A second call finds the same decision.

        Raises: NotFound: no such trial."""

    def tell(self, number: int, end: TrialEnd) -> None:
        """Ends the trial. A second call, whatever it says, changes nothing.

        Raises: NotFound: no such trial."""

    def close(self) -> None:
        """Ends all connections; a later call opens new ones. A second call does nothing."""
