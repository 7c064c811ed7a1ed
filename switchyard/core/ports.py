"""Says what the core needs of the outside. Every implementation of a port passes the same tests.

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
    """An object in a list: what `stat` says, and when this generation was written, by the store's clock."""

    uri: str
    stat: Stat
    written_at: datetime


class Objects(Protocol):
    """Whole objects under URIs (``file:///...``, ``gs://...``); a reader sees a write whole or not at all."""

    def stat(self, uri: str) -> Stat:
        """Returns the object's size and generation. Raises: NotFound."""

    def read(self, uri: str, *, max_bytes: int | None = None) -> tuple[bytes, int]:
        """Returns the bytes and their generation.

        With `max_bytes` it asks for the size first, and does not read a larger object.

        Raises: NotFound; BadRecord: the object is larger than `max_bytes`."""

    def read_range(self, uri: str, *, start: int, length: int) -> bytes:
        """Returns at most `length` bytes from `start` (from 0) on, as they are stored.

        There are fewer, or none, where the object ends. The rest of a large object costs no time.

        Raises: NotFound."""

    def read_into(self, uri: str, file: BinaryIO, *, follow_links: bool = True) -> Stat:
        """Adds the object's bytes, as they are stored, to `file`; answers the stat of exactly these bytes.

        It goes part by part: a large object is never in memory. A second call adds the bytes again. Without
        `follow_links` an object that is a symbolic link, or lies behind one, is not found.

        Raises: NotFound; StaleWrite: the object changed while it was read; do not use what `file` has of it."""

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        """Writes the object and returns its new generation.

        A second call with the same positive or ABSENT `if_generation` raises StaleWrite, unless the object is byte for
        byte `data` (our own write: its answer was lost).

        Raises: StaleWrite: the object's generation is not `if_generation` (ABSENT: the object exists)."""

    def list_folders(self, prefix: str) -> list[str]:
        """Lists the URIs of the folders directly below `prefix`, sorted.

        `prefix` ends with a slash, and so does each URI. Folders behind symbolic links are listed too. In a bucket a
        folder is the part of a name before its next slash. What lies in the folders costs no time.

        Raises: BadSetup: `prefix` may not be read."""

    def write_from(self, uri: str, file: BinaryIO, *, if_generation: int) -> int:
        """Writes all bytes of `file`, from its beginning, part by part; otherwise like `write`.

        Raises: as `write`."""

    def list(self, prefix: str) -> list[str]:
        """Lists the URIs of all objects that start with `prefix`, sorted; empty when there is none."""

    def list_stats(self, prefix: str, *, follow_links: bool = True) -> Iterator[tuple[str, Stat]]:
        """Lists the same objects as `list`, each with what `stat` says, sorted.

        An object that is deleted meanwhile is left out. Without `follow_links`, so is a symbolic link and what lies
        behind one."""

    def list_dated(self, prefix: str) -> Iterator[Dated]:
        """Lists like `list_stats` without following links, with the time at which each object was written."""

    def list_odd(self, prefix: str) -> Iterator[str]:
        """Lists the URIs of what starts with `prefix` and is not an object of its own, sorted.

        These are symbolic links (to files and to folders), devices and pipes. It is always empty if the store has no
        such things."""

    def delete(self, uri: str, *, if_generation: int) -> None:
        """Deletes the object. A second call does nothing: the object is already deleted.

        Raises: StaleWrite: the object is there with another generation."""

    def upload_folder(self, path: Path, uri: str) -> int:
        """Copies every file below `path` to below `uri`; returns how many. A second call overwrites with the same."""


class Launcher(Protocol):
    """Where training jobs run."""

    def submit(self, key: str, order: JobOrder) -> JobReport:
        """Starts a job under `key`, or returns the job that this key already has, ended or not."""

    def report(self, job_names: Sequence[str]) -> dict[str, JobReport]:
        """Reports the jobs as they are now, by name; a name that the launcher does not know is left out.

        If the look at one job fails, that report's `problem` says so, and the others are reported."""

    def list(self, labels: Mapping[str, str], since: datetime, *, beside: str = "") -> list[JobReport]:
        """Lists all jobs that have all of `labels` and were created at or after `since`, the oldest first.

        They may be in any state. Where the platform keeps jobs by region, it lists those of the region that new jobs go
        to; with `beside`, a job's name, those of that job's region."""

    def cancel(self, job_name: str) -> None:
        """Asks the job to end; it may run on for a while, and may still succeed.

        A second call does nothing; nor does a call for a job that has ended.

        Raises: NotFound."""

    def list_old(self, labels: Mapping[str, str], before: datetime, limit: int) -> Sequence[JobReport]:
        """Lists at most `limit` of the jobs that have all of `labels` and ended before `before`.

        These are the jobs that are kept until someone calls `prune`. They come in no particular order, and the next
        call may list others. It is empty if the platform removes its own jobs."""

    def prune(self, job_names: Sequence[str]) -> int:
        """Removes what is kept of these jobs if they have ended: log, order and record. Returns how many were there.

        From then on the jobs and their keys are unknown, so that a submit with such a key would start a job. A second
        call does nothing; a call after one that was killed goes on."""


class Tracking(Protocol):
    """An MLflow store, read only: over its database, over REST, or from an export of it.

    Every way gives the same result, to the last bit. A second call reads again, and finds the same unless someone
    logged meanwhile."""

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Lists every run once, deleted ones and those of deleted experiments too, in no particular order.

        `experiments` (names), where it is not empty, limits the list to these. It reads in pages: memory does not grow
        with the number of runs. If the store knows of a run and cannot name it, its entry has no status, and its
        `run_id` says so.

        Raises: NotFound: no experiment has one of these names; BadSetup: what is there is not an MLflow store that we
        know, or we may not read it."""

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """Reads each of the runs once, in no particular order: all their metrics, or only `keys`.

        A deleted run is read like any other. A run that is not there (any more), or cannot be read, is a `LostRun`, and
        the others follow. It takes `run_ids`, and reads the runs, in batches: memory is bounded by a batch (and by the
        largest run).

        Raises: BadSetup: as `list_runs`; TryAgain: from then on no run could be read."""

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """Says what there is of each of the runs, once, in no particular order.

        It does not read their points if the store can tell without. A run that is not there is left out. Memory is
        bounded by a batch.

        Raises: BadSetup: as `list_runs`."""

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """Reads a mark for each run that `list_runs` lists, without reading its points.

        A mark differs from an earlier one of the same way of reading (the mark's beginning) if the run's row,
        experiment, params, tags or latest metrics differ. If the store can name a run, and cannot tell all of it, the
        entry has an `error` and no mark; an export leaves out what it lacks. Memory is bounded by a page.

        Raises: as `list_runs`."""

    def identify(self) -> StoreIdentity:
        """Says which store it is, whatever its address and the way of reading it.

        Raises: BadSetup: as `list_runs`."""

    def describe(self) -> str:
        """Says which MLflow is read, in words for a manifest that outlives it; never a password.

        It gives the schema's version if that can be known. Of an export it reads every part, and each must be what was
        exported. A second call looks again.

        Raises: BadSetup: as `list_runs`; BadRecord: the export was changed."""

    def close(self) -> None:
        """Ends all connections. A second call does nothing."""


class TrackingDetails(Protocol):
    """What an MLflow store tells besides `Tracking`, read only.

    It serves an export that is made of answers (of a server, of a folder) where no database can be read. A second call
    reads again."""

    def list_experiments(self) -> Iterator[ExperimentDetails]:
        """Lists every experiment once, deleted ones too.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def read_details(self, run_ids: Iterable[str]) -> Iterator[RunDetails | LostRun]:
        """Reads each of the runs once, in no particular order, without its points and with its inputs.

        The rest is as `Tracking.read_runs` reads it. Memory is bounded by a batch.

        Raises: BadSetup, TryAgain: as `Tracking.read_runs`."""

    def take_marks(self, run_ids: Iterable[str]) -> dict[str, str]:
        """Returns the present marks of these runs by id, where `read_details` does not show all that a mark is made of.

        That is so in a folder: there `Tracking.read_marks` makes the marks of the files. Elsewhere it returns none. A
        run that cannot be read has none either.

        Raises: BadSetup, TryAgain: as `Tracking.read_runs`."""

    def list_logged_models(self) -> Iterator[LoggedModel]:
        """Lists every logged model once, with its points; none if the store has no logged models (MLflow 2).

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def list_traces(self) -> Iterator[ArtifactOwner]:
        """Lists once every trace that names a place for its files; none if the store has no traces.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def list_not_kept(self) -> list[str]:
        """Lists what the store, or its database, may hold and this way of reading does not tell.

        Each entry is a plain sentence, with the number if it can be known.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def count_not_kept(self) -> dict[str, int]:
        """Counts, by MLflow's table (``trace_info``), the rows of which the store tells only the number.

        A table without such a number is left out.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""


class RowCounts(Protocol):
    """What an MLflow store holds, runs and all the rest, read only."""

    def count_rows(self) -> StoreRows:
        """Counts every table's rows, all at one moment where the store can do that.

        Deleted model versions are not counted. A second call counts again.

        Raises: BadSetup: as `Tracking.list_runs`."""


class Runs(Protocol):
    """The rows of runs, for callers who make, name, list or end a run. Each method is one transaction."""

    def read_database_id(self) -> str:
        """Returns this database's own id: 12 hex digits, made by the first migration, which never change."""

    def create_run(self, new: NewRun, *, now: datetime) -> QuickTest:
        """Makes a row in status `pending`. A second call with the same `request_key` returns the first row unchanged.

        Raises: BadRequest: the table is not ours (RESULTS_TABLE): its owner makes the rows."""

    def adopt_runs(self, runs: Sequence[AdoptedRun], *, now: datetime) -> dict[str, int]:
        """Makes a row for each, in one transaction; returns the rows' ids by MLflow run id.

        A second call finds the rows of the first and changes nothing.

        Raises: BadRequest: the table is not ours (RESULTS_TABLE): its owner makes the rows."""

    def read_run(self, quick_test_id: int) -> QuickTest:
        """Reads one run. Raises: NotFound."""

    def find_beside(self, quick_test_id: int) -> tuple[int | None, int | None]:
        """Returns the ids of the run before and of the run after, by id; None at either end.

        The run itself need not exist."""

    def list_runs(self, *, limit: int, before_id: int | None = None) -> list[RunSummary]:
        """Lists the runs below `before_id`, the newest first, by id; archived ones are left out."""

    def find_runs(self, query: RunQuery) -> RunPage:
        """Returns the runs of a filter, in an order, with those of their values that were asked for.

        It does not use values that a run's history no longer has because another application has replaced or deleted
        it. A second call finds what there is by then.

        Raises: BadRequest: an application's own table lacks a column."""

    def list_fields(self, prefix: str, *, limit: int) -> list[KnownField]:
        """Lists at most `limit` of the fields that begin with `prefix`, by section and name.

        Columns come first, then metrics, best, params and tags that some run has or had. Its time grows with `limit`,
        not with the number of runs."""

    def end_run(
        self, quick_test_id: int, status: RunStatus, *, error: str, of_attempt: int | None = None, now: datetime
    ) -> None:
        """Ends a run that has nothing (more) to publish; what is published stays.

        A second call changes nothing but `error`; a run that is `completed` stays so. `of_attempt` is the attempt from
        which the end was concluded (0: no job). Nothing is written if `core.runs.walk.may_end` says that another job is
        to end the run.

        Raises: NotFound."""

    def find_mlflow_runs(self, mlflow_run_ids: Sequence[str]) -> dict[str, int]:
        """Finds the rows that name these MLflow runs, by MLflow run id: the oldest, if several name one.

        MLflow runs that no row names are left out. It is one query, whatever their number."""

    def record_mlflow_run(self, quick_test_id: int, mlflow_run_id: str) -> None:
        """Writes on the row which MLflow run is this run's, in place of another one; everything else stays.

        A second call changes nothing.

        Raises: NotFound: no such run; BadRecord: the table's column cannot hold that id."""

    def edit_run(self, quick_test_id: int, edit: RunEdit, *, now: datetime) -> QuickTest:
        """Writes what a person says of a run on its row, and returns the row; what `edit` leaves out stays.

        A second call changes nothing: a run that is archived keeps the time of its first archiving.

        Raises: NotFound; BadRequest: the table is not ours (RESULTS_TABLE): its owner edits the rows."""

    def record_error(self, quick_test_id: int, error: str) -> None:
        """Writes on the row (in a table that is not ours: on its newest job) why something went wrong.

        The status stays."""


class Jobs(Protocol):
    """The rows of training jobs, for callers who submit a job, look at it, or tell of its end.

    Each method is one transaction. A claim, a job that starts, and a job that is reopened write the run's row in it
    too."""

    def claim_job(self, claim: Claim, *, now: datetime) -> ClaimedJob:
        """Claims the right to create one job, before any is created.

        It makes a row in state CLAIMED with the next attempt's number, and sets the run's row to status `submitted`
        with `claim.artifacts_uri` as its folder (if it has none yet). A second call with the same request key returns
        the first job unchanged. But where `core.runs.claims.may_claim_again` says so (because nothing was created, say)
        it claims the next attempt, once for all who call at once.

        Raises: NotFound; BadRequest: another request's job of this run has not ended, or the run is completed."""

    def read_job(self, quick_test_id: int) -> Job | None:
        """Returns the run's newest attempt; None if it never had one."""

    def find_claim(self, request_key: str) -> Job | None:
        """Finds the newest job that was claimed under `request_key`, ended or not; None: there was none."""

    def find_job(self, job_number: str) -> Job | None:
        """Finds the job with a name at its launcher that ends in ``/<job_number>``.

        It does so until the job's end is announced (`claim_ended_event`). None: there is no such job, or no longer."""

    def record_job(self, key: str, news: JobNews, *, now: datetime) -> Job:
        """Records what the launcher said; a field that is empty in `news` keeps what is there.

        RUNNING also sets the run's status and `started_at`. A job recorded as ended stays so: a later call changes
        nothing and returns the row.

        Raises: NotFound."""

    def reopen_job(self, key: str) -> Job:
        """Takes back that a job is gone, or was never created; returns the job's row.

        The job is CLAIMED again, without a reason and with its end untold, and its run is `submitted`; what is
        published stays. It does so only if `core.runs.walk.may_reopen` says so; elsewhere, and at a second call,
        nothing changes.

        Raises: NotFound."""

    def claim_ended_event(self, key: str, *, now: datetime) -> bool:
        """Returns True once in a job's life: to the call that sets `ended_event_at`."""

    def note_completed_event(self, key: str, *, now: datetime) -> None:
        """Sets `completed_event_at`: a Prefect server has the event of the run that this job completed.

        A second call changes nothing."""


class Histories(Protocol):
    """What is published of a run, for callers who ingest one run, or read it. Each method is one transaction."""

    def publish(self, publication: Publication, *, force: bool = False, now: datetime) -> PublishResult:
        """Writes all that is published of a run, all or nothing, under the row's lock.

        That is history, digests, versions, rank, histograms, full series, values and the row's status and error.
        `cached_at` is set to `now` at the first publish, and kept when the same charted digest is published again. A
        second call with the same publication answers UNCHANGED, and leaves series and values as they are.

        `force` replaces what is there, whatever its rank, and keeps it for `recover`. What the same MLflow run says now
        replaces what it said before, whatever its rank, and the last three of these are kept for `recover`. A
        charted-only publication never replaces a whole one of the same charted digest, and a whole one completes a
        charted-only one. At equal rank, what the run's own file says goes before what MLflow says. The row's status and
        error stay where `core.runs.walk.may_end` says that another job is to end the run; also with `force`.

        Raises: NotFound: no such run; StaleWrite: equal rank, other content."""

    def find_replaced(self, quick_test_id: int) -> int | None:
        """Finds the number of the run's newest history that a forced publish, or a recovery, replaced.

        None: there was none.

        Raises: NotFound: no such run."""

    def recover(self, quick_test_id: int, replaced_id: int, *, now: datetime) -> bool:
        """Puts a replaced history back, with all that was published with it, and keeps the present one in its place.

        A second call with the same `replaced_id` does nothing, and answers False.

        Raises: NotFound: no such run."""

    def read_history(self, quick_test_id: int) -> StoredHistory:
        """Returns the stored bytes as they are. Raises: NotFound: no such run."""

    def read_histogram(self, quick_test_id: int, kind: str, tower: str) -> bytes | None:
        """Returns gzip JSON; None if the run has none of that kind and tower. Raises: NotFound: no such run."""

    def read_series(self, quick_test_id: int) -> FullSeries | None:
        """Returns every scalar series; None if there is none of the present history.

        There is none if none are stored, or if another application has written over the history that they belong to.

        Raises: NotFound: no such run."""

    def read_rules(self, quick_test_ids: Sequence[int]) -> dict[int, KeptRules]:
        """Returns the rules that these runs had, by id, without those that had none.

        It also returns those of a history that another application has replaced since."""

    def read_compared(self, quick_test_ids: Sequence[int]) -> list[ComparedRun]:
        """Returns what a comparison shows of these runs, in no particular order; runs without a row are left out.

        Values are None if the run's present history has none. It makes two queries."""

    def read_outlines(self, quick_test_ids: Sequence[int]) -> dict[int, Outline]:
        """Returns what a list of runs shows of these beside their rows and values, by id.

        Runs without a row are left out. It makes one query."""

    def read_kept(self, quick_test_ids: Sequence[int]) -> list[KeptRun]:
        """Returns all that is kept of these runs, for a comparison; by id, without those that have no row."""


class Published(Protocol):
    """What is published, to be read into tables: from a results database, or from the JSON API over one."""

    def read_history(self, quick_test_id: int) -> bytes:
        """Returns JSON, as ``/training-history/`` answers it. Raises: NotFound: no run has this id."""

    def read_series(self, quick_test_id: int) -> bytes:
        """Returns JSON, as ``/series/`` answers it. Raises: NotFound: no run has this id."""

    def find_runs(self, question: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Returns the lines of the list, page after page. Raises: BadRequest.

        `question` has what the list's address takes: filter, order_by, experiment, fields, archived, and limit, the
        number of lines a page."""

    def compare(self, ids: Sequence[int]) -> bytes:
        """Returns JSON, as ``/compare/`` answers it.

        Raises: BadRequest: too many; NotFound: no run has any of these ids."""


class Ledger(Protocol):
    """Work on many runs, for reconcile, backfill and verify: which runs are to be done, and what became of each.

    Each method is one transaction; a batch's histories and its lines are in one."""

    def list_unsettled(self, *, now: datetime, limit: int) -> list[Unsettled]:
        """Lists the runs for which something is left to do, in one query.

        These are the runs with an open job; with an ended job, if the row has not ended or the end is not published;
        completed without a history, unless backfill has listed them as having nothing to show; and those that their job
        completed and published, if that was not told (`Job.completed_event_at`). A run that backs off is left out
        (`LedgerLine.next_try_at` of kind ``repair`` after `now`). Those with a job come first, the oldest first; then
        those without, the newest first. If a row cannot be read, its entry says why, and the others are read."""

    def read_pulse(self) -> Pulse:
        """Says how the work stands as a whole: three queries that read no history. A second call counts again."""

    def list_backfill(self) -> list[BackfillRow]:
        """Lists every row, by id, with more of those that may be behind MLflow. It makes two queries."""

    def publish_many(
        self, kind: str, drafts: Sequence[Draft], *, force: bool = False, now: datetime
    ) -> dict[int, PublishResult | SwitchyardError]:
        """Publishes many runs like `Histories.publish`, in one transaction with their lines of `kind`.

        Returns what became of each publication, by run id. A draft without a publication writes its line alone. A run
        that cannot be published leaves the line of a failure, and the others are published. A second call answers
        UNCHANGED for each; only `attempts` of the lines grow."""

    def list_unfilled(self) -> list[int]:
        """Lists the ids of the runs with a history without full series, ascending, in one query.

        A legacy history is always one of them."""

    def read_unfilled(self, quick_test_ids: Sequence[int]) -> list[Unfilled]:
        """Reads what is stored of these runs, by id, in one query.

        Runs that have no history (any more) are left out. If a row cannot be read, its entry says why, and the others
        are read."""

    def fill_many(self, fills: Sequence[Fill], *, now: datetime) -> dict[int, FillState]:
        """Writes series and values, with a ledger line of kind ``fill`` for each run, in one transaction.

        Returns what became of each, by run id. The histories stay as they are. Nothing is written of a run if
        its history is no longer the one of its fill's `etag`. A run that cannot be filled leaves the line of a failure,
        and the others are filled. A second call writes the same; only `attempts` of the lines grow."""

    def list_settled(self, keys: Sequence[str]) -> set[str]:
        """Lists those of these jobs, by key, with runs for which nothing is left to do.

        `list_unsettled` would not name these runs, whatever backs off. A key without a row is left out."""

    def read_ledger(self, kind: str) -> list[LedgerLine]:
        """Reads all lines of a kind of work, by run id."""

    def count_ledger(self, kind: str, *, since: datetime) -> int:
        """Counts the lines of that kind that were written at or after `since`."""

    def count_tries(self, kind: str) -> int:
        """Counts how often lines of that kind were written in all.

        This is the sum of their attempts, which no clock can make less."""

    def write_ledger(self, line: LedgerLine) -> None:
        """Replaces the line of that kind and run. A second call writes the same."""

    def clear_ledger(self, prefix: str, *, before: datetime | None = None) -> None:
        """Deletes all lines of the kinds of work that start with `prefix`. A second call does nothing.

        With `before`, only lines that were written before then."""


class Followed(Protocol):
    """What was read last of each row's MLflow run, and until when MLflow was followed.

    `Ledger.publish_many` notes that a run was read, with what became of it (`Draft.seen`)."""

    def list_known(self) -> dict[int, FollowedRun]:
        """Lists all there is, by quick test id; also of rows that are gone, or that name another run by now."""

    def read_facts(self, quick_test_ids: Sequence[int]) -> dict[int, RowFacts]:
        """Reads what a list of rows does not say of these, by id; those that have no row are left out."""

    def note_lifecycles(self, lifecycles: Sequence[Lifecycle]) -> None:
        """Notes since when these runs are missing, or deleted. A second call writes the same."""

    def note_follow(self, store: str, *, began_at: datetime, failed: int, error: str = "", is_whole: bool) -> None:
        """Notes how a follow of `store` that began then has ended.

        The store is followed until then if none `failed`, there is no `error`, and `is_whole`: the follow looked at all
        runs. A second call writes the same; a call for an earlier follow overwrites what a later one noted."""

    def list_identities(self) -> dict[str, StoreIdentity]:
        """Lists, by name, which stores were followed; without those of which no identity is noted."""

    def note_identity(self, store: str, identity: StoreIdentity, *, now: datetime) -> None:
        """Notes which store has that name. A second call writes the same."""

    def replace_store(self, store: str, identity: StoreIdentity, *, now: datetime) -> None:
        """Notes that another store has that name from now on, which is not followed yet.

        The runs of the store before keep their notes, under another name, so that they are not looked for in the new
        store. A second call renames those that were noted between the two."""

    def note_unadopted(self, store: str, found: Unadopted, *, now: datetime) -> None:
        """Writes a ledger line for each run of that store that has no row and can have none.

        If all runs were looked at, the lines of others go. A second call writes the same; only `attempts` grow."""

    def list_stores(self) -> list[FollowedStore]:
        """Lists each MLflow that was followed; the one that was tried last comes first."""

    def find_deleted(self, quick_test_ids: Sequence[int]) -> dict[int, datetime]:
        """Finds which of these runs have an MLflow run that is deleted there, with the time since which that is known.

        It is one query."""


class ModelMirror(Protocol):
    """Another registry that shows what ours has, for people who still look there. Each method is one call."""

    target: str
    """Which registry it is: what the numbers of versions there are noted under."""

    def read(self, name: str) -> Mirror | None:
        """Reads the model as it is there, with all its versions; None: it is not there.

        Raises: TryAgain: the registry is away; BadSetup: it does not let us in, or is not a registry."""

    def create_model(self, name: str, change: CreateModel) -> None:
        """Creates the model. A second call changes nothing.

        Raises: as `read`; BadRequest: the registry refuses the name."""

    def create_version(self, name: str, change: CreateVersion) -> int:
        """Makes a version and returns its number there. A second call makes a second version.

        A caller who does not know how the first call ended reads, and finds the version by its tags.

        Raises: as `read`; BadRequest: the registry refuses the source."""

    def set_tags(self, name: str, change: SetTags) -> None:
        """Sets the tags. A second call changes nothing. Raises: as `read`; NotFound."""

    def set_alias(self, name: str, change: SetAlias) -> None:
        """Sets the alias. A second call changes nothing. Raises: as `set_tags`."""

    def remove_alias(self, name: str, change: RemoveAlias) -> None:
        """Removes the alias. A second call changes nothing. Raises: as `read`."""

    def move(self, name: str, change: MoveStage) -> None:
        """Moves a version to a stage. Raises: as `set_tags`.

        A second call changes nothing, or archives a version that came to Production meanwhile."""

    def close(self) -> None:
        """Ends all open connections."""


class MirrorNotes(Protocol):
    """What is known of the mirrors of our registry, by `target`.

    That is: which version has which number there, and when a model was looked at last."""

    def list_pairs(self, target: str, name: str) -> dict[int, int]:
        """Lists the numbers there, by our versions."""

    def keep_pairs(self, target: str, name: str, pairs: Mapping[int, int]) -> None:
        """Replaces all pairs of that model there. A second call changes nothing."""

    def list_looks(self, target: str) -> dict[str, MirrorLook]:
        """Lists the last look at each model, by name."""

    def hold(self, target: str, name: str, holder: str, *, now: datetime, until: datetime) -> bool:
        """Returns True if no one else looks at that mirror until then.

        Two looks at once would make a version twice. A second call by the same holder prolongs it. A holder that was
        killed is forgotten when its time is over."""

    def note_look(self, target: str, name: str, holder: str, look: MirrorLook) -> None:
        """Replaces the last look, and releases what `holder` held. A second call changes nothing."""

    def list_origins(self, name: str) -> dict[int, int]:
        """Lists when the imported versions were made where they come from, in ms, by version."""


class ArtifactSource(Protocol):
    """Where the artifacts of MLflow's runs are, read only. `place` has no slash at its end.

    It is a bucket or a disk, or whatever MLflow's own artifact repositories reach."""

    def list(self, place: str) -> Iterator[SourceObject | LeftOut]:
        """Lists all artifacts below `place`, each once, in no particular order.

        What cannot be copied (a link, a pipe, a name that is not allowed) says why. Empty if there are none. A second
        call lists again.

        Raises: NotFound: no such place can be seen from here; BadSetup: it may not be read, or what reads it is not
        installed; BadRequest: it is not a place."""

    def fetch(self, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        """Adds the artifact's bytes to `file`, which is empty, part by part; returns what it was then.

        A second call reads again.

        Raises: NotFound: it is gone; StaleWrite: it changed while it was read; BadSetup, BadRequest: as `list`."""


class ArtifactOwners(Protocol):
    """What besides runs has files in an MLflow store, read only. A second call reads again."""

    def list_models(self) -> list[ArtifactOwner]:
        """Lists the logged models of MLflow 3; none of an older one.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""

    def list_traces(self) -> list[ArtifactOwner]:
        """Lists the traces that name a place, as far as the store tells.

        Raises: BadSetup, TryAgain: as `Tracking.list_runs`."""


class ArtifactCopies(Protocol):
    """Where the artifacts of MLflow's runs were copied to, by MLflow run id.

    Each method that writes is one transaction."""

    def keep(self, copy: ArtifactCopy) -> None:
        """Replaces what is known of that run's copy. A second call changes nothing."""

    def read(self, mlflow_run_ids: Sequence[str]) -> dict[str, ArtifactCopy]:
        """Reads the copies of these runs, by run; those that have none are left out."""

    def list_ids(self) -> list[str]:
        """Lists all runs that have a copy, ascending."""


class Decommissions(Protocol):
    """How far the decommission of an MLflow deployment is, by its name, and every step of it.

    Each method that writes is one transaction, and refuses a revision that is not the row's: of two callers at once,
    one goes on."""

    def find(self, name: str) -> Walk | None:
        """Finds the decommission; None: none was begun."""

    def begin(self, wanted: Walk, *, revision: int) -> Walk:
        """Makes the decommission if `revision` is 0, or begins it again with another inventory.

        Returns it with its new revision. A second call with the same revision is refused, and its caller reads again.

        Raises: StaleWrite: its revision is another one."""

    def hold(self, name: str, *, revision: int) -> Walk:
        """Gives it a new revision, so that a caller with the one before cannot write any more.

        A second call is refused.

        Raises: NotFound; StaleWrite."""

    def move(self, name: str, state: State, *, revision: int, by: str, now: datetime) -> Walk:
        """Writes that `state` is reached. A second call is refused, because the revision grows.

        Raises: NotFound; StaleWrite."""

    def change_rules(self, name: str, rules: Rules, *, revision: int) -> Walk:
        """Replaces what is asked of its evidence. A second call is refused, as in `move`.

        Raises: NotFound; StaleWrite."""

    def add_step(self, name: str, step: Step, *, revision: int) -> Step:
        """Adds a step with the next number; steps are never changed. The revision stays.

        A second call adds a second step: its readers take the last one of an act.

        Raises: StaleWrite: the revision is not the row's, or there is no such decommission."""

    def list_steps(self, name: str, *, walk: int | None = None) -> list[Step]:
        """Lists its steps, the oldest first; with `walk`, only those since that plan."""


class ModelImports(Protocol):
    """Another registry's models, written into ours with their own numbers.

    Each method that writes is one transaction, which takes the model's row first. After a kill between any two, a
    second call goes on."""

    def begin(self, name: str, model: SourceModel) -> None:
        """Makes the model if it is not there, and reserves all numbers that were ever given.

        So no version that is registered meanwhile gets one of them. A second call reserves what came since.

        Raises: BadRequest: not a name of a model; StaleWrite: the model has a version of its own with such a number."""

    def add_version(self, name: str, model: ModelOrigin, version: ImportedVersion, *, where: str, by: str) -> bool:
        """Adds a version with its files, tags, stage, origin and a line of history. True if it was not there yet.

        A version in Production becomes champion; if there is a champion by now, the version is archived. A second call
        changes only texts and tags that have changed there, and adds files to a version that had none.

        Raises: StaleWrite: another version has this number, or the version has other files."""

    def finish(self, name: str, model: ModelOrigin, aliases: Mapping[str, int]) -> None:
        """Keeps what was said of the model, its tags, and its new aliases.

        An alias is new if it was not there at the last call, or was another one. A second call changes nothing."""

    def read_model_origin(self, name: str) -> ModelOrigin | None:
        """Reads what `finish` kept; None: nothing."""

    def list_version_origins(self, name: str) -> dict[int, VersionOrigin]:
        """Lists what was said of the imported versions, by number."""


class RegistrySource(Protocol):
    """Another registry, read only; a second call reads again."""

    @property
    def where(self) -> str:
        """Says which registry it is, in words, without a password."""

    def read_models(self, workspace: str = "") -> list[SourceModel | LostModel]:
        """Reads all its models, by name; if one cannot be read, its entry says why.

        Raises: BadSetup: it is not a registry that we know, we may not read it, or it has several workspaces and none
        is chosen."""

    def close(self) -> None:
        """Ends all open connections."""


class RegistryRows(Protocol):
    """Another registry, as the rows of its tables (`core.registry.mlflow_rows.TABLES`), for an export; read only."""

    def read_rows(self) -> RegistryTables:
        """Reads all models, and those that could not be read.

        Prompts are among them if the registry tells of them. A second call reads again.

        Raises: BadSetup, TryAgain: it cannot be read."""


class Models(Protocol):
    """The registry: named models, their versions, and which version answers.

    Each method is one transaction; each that writes takes the model's row first, and decides from the rows as they are
    then (`core.registry`).

    A request with a `request_key` is done once: a second call returns what the first did, whatever happened since.
    Times are the database's own, taken while the row is held, so that a history's times never go back.
    """

    def register(self, new: NewVersion) -> Registered:
        """Makes the next version of the model, pending and in stage None, with its files.

        It makes the model too, if this version is the first. A second call with the same `source_key` returns the first
        version, wherever it is by then.

        Raises: BadRequest: not a name of a model; StaleWrite: that source is a version already, with other files."""

    def promote(self, wanted: Promotion) -> Outcome:
        """Archives the expected champion and makes the version champion.

        Readers see the one or the other. A second call, or a call for the champion, writes nothing.

        Raises: NotFound; StaleWrite: another version is champion, and the message says which; BadRequest: it has not
        passed against this champion, or may not be promoted."""

    def roll_back(self, wanted: Rollback) -> Outcome:
        """Makes the champion before, or the version that is named, champion again.

        A second call with the same request key writes nothing; one without is refused, because there is nothing more to
        go back to.

        Raises: as `promote`; BadRequest: there is none to go back to."""

    def move(self, wanted: StageMove) -> Outcome:
        """Moves a version to Staging, None or Archived. A second call writes nothing.

        Raises: NotFound; StaleWrite: another challenger is there; BadRequest: there is no such move."""

    def share(self, wanted: ShareChange) -> Outcome:
        """Gives the challenger another share. A second call writes nothing.

        Raises: NotFound; StaleWrite: another version is the challenger; BadRequest: the share is not allowed."""

    def validate(self, wanted: Verdict) -> Outcome:
        """Keeps what a comparison said, on the version and in the history. A second call writes nothing.

        Raises: NotFound; StaleWrite: the files compared are not those of the versions, or the champion is not the one
        that `of_champion` names, and the message says which; BadRequest."""

    def tombstone(self, wanted: Tombstone) -> Outcome:
        """Retires a version for ever; its number, files and history stay listed.

        A second call writes nothing.

        Raises: NotFound; BadRequest: the version still answers, or no reason is given."""

    def find_request(self, name: str, request_key: str) -> Outcome | None:
        """Finds what the request of that key did; None: it has done nothing yet."""

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Lets a free alias name a version, and no other; None removes it.

        A second call changes nothing.

        Raises: NotFound; BadRequest: the registry keeps this alias itself, or the version is tombstoned."""

    def list_aliases(self, name: str) -> dict[str, int]:
        """Lists all aliases with their versions, by alias; also those that the registry keeps itself."""

    def list_models(self) -> list[Model]:
        """Lists all models, by name."""

    def read_model(self, name: str) -> Model:
        """Reads one model. Raises: NotFound."""

    def list_versions(self, name: str) -> list[ModelVersion]:
        """Lists all versions, tombstoned ones too, the newest first; empty if there is no such model."""

    def find_version(self, name: str, reference: str) -> ModelVersion:
        """Finds the version that ``3``, ``Production``, ``Staging`` or ``@alias`` names.

        Raises: NotFound: there is no such version; BadRequest: it is not a reference."""

    def list_tags(self, name: str) -> dict[int, dict[str, str]]:
        """Lists the tags of a model's versions, by version; 0: the model's own."""

    def find_source(self, name: str, source_key: str) -> ModelVersion | None:
        """Finds the version that was registered from a source; None: there is none."""

    def read_files(self, name: str, version: int) -> Manifest:
        """Reads the files of a version: all that may be read of it. Raises: NotFound."""

    def list_transitions(self, name: str) -> list[Transition]:
        """Lists the whole history of a model, the oldest first; empty if there is no such model."""

    def find_production(self, name: str, at: datetime) -> int | None:
        """Finds the version that was in Production at a moment; None: there was none. It is one query."""


class Catalogue(Protocol):
    """The registry as pages and programs read it: in pages, and without writing anything.

    A model may have ten thousand versions and a hundred thousand lines of history. A second call reads again."""

    def list_models(self, *, after: str = "", limit: int) -> list[ModelLine]:
        """Lists the models after `after`, by the bytes of their names."""

    def read_line(self, name: str) -> ModelLine:
        """Reads one model, as the list has it. Raises: NotFound."""

    def list_versions(self, name: str, *, before: int | None = None, limit: int) -> list[ModelVersion]:
        """Lists versions, the newest first, tombstoned ones too; empty if there is no such model.

        With `before`, only those with a smaller number."""

    def list_of_run(self, quick_test_id: int) -> list[ModelVersion]:
        """Lists the versions that were made of a run, by model and number; of any model."""

    def read_tags(self, name: str, version: int) -> dict[str, str]:
        """Reads the tags of a version, by key; of version 0 the model's own.

        Empty if there is no such version."""

    def list_lines(self, name: str, asked: LineQuery) -> list[Transition]:
        """Lists lines of a model's history, the newest first; empty if there is no such model."""

    def find_standing(self, name: str, at: datetime) -> Transition | None:
        """Finds the last change of Production at a moment; None: there was no change yet.

        After that change Production may be empty."""


class Recommender(Protocol):
    """A model that is in memory, ready to answer.

    It never changes, so any number of threads may ask it; a second call answers the same. Serving and `validate` ask
    the same one."""

    @property
    def products(self) -> Sequence[str]:
        """All products that it can recommend, each once."""

    @property
    def has_purchases(self) -> bool:
        """True if it knows what each buyer bought, so that `without_bought` can be asked for."""

    @property
    def popularity(self) -> str:
        """What makes a product popular for a buyer whom it does not know.

        One of: recent purchases, prior, purchases or mean buyer."""

    def list_buyers(self, limit: int) -> Sequence[str]:
        """Lists at most `limit` of the buyers whom it knows, to try it with."""

    def knows(self, buyer_id: str) -> bool:
        """Returns True if it has seen the buyer; others get popular products."""

    def recommend(
        self, buyer_id: str, k: int, *, only: frozenset[str] | None = None, without_bought: bool = False
    ) -> Recommendation:
        """Returns the `k` best products, or all that are left if these are fewer.

        `only` limits them to its products (those that the model does not have are left out); `without_bought` leaves
        out what the buyer bought.

        Raises: BadRequest: `k` below 1, or `without_bought` where `has_purchases` is false."""


class RowModel(Protocol):
    """A model that answers rows of columns, in a process of its own: it may end at any time.

    Any number of threads may ask it; a second call answers the same."""

    @property
    def signature(self) -> Signature:
        """What the model takes."""

    @property
    def library(self) -> str:
        """The library that reads the model, with its version."""

    @property
    def unconfined(self) -> Sequence[str]:
        """What the kernel could not keep its process from doing, in words; empty: nothing."""

    @property
    def is_alive(self) -> bool:
        """False once its process has ended, or was ended.

        This model then never answers again: load it again."""

    def answer(self, rows: Sequence[Row]) -> list[Any]:
        """Returns one answer for each row, in order.

        `core.predictions.signature.read_rows` makes rows. Answers are numbers, texts, true or false, lists of these, or
        objects of these by name.

        Raises: BadRecord: it failed on these rows. TryAgain: its process ended, or was too slow and was ended."""

    def close(self) -> None:
        """Ends its process, after the answer that it is making now. A second call does nothing."""


class Predictions(Protocol):
    """What was answered, and what became of it. Each method but `prune` is one transaction."""

    def record(self, predictions: Sequence[Prediction]) -> None:
        """Keeps the predictions. A second call, with some or all of them, adds nothing and changes nothing."""

    def read_prediction(self, prediction_id: str) -> Prediction:
        """Reads one prediction. Raises: NotFound: it has no row yet, or retention has removed it."""

    def give(self, feedback: NewFeedback, *, now: datetime) -> Given:
        """Keeps feedback, with the version and arm of its prediction.

        If the prediction has no row yet, they are added once it has. A second call with the same key and body returns
        what is kept; of two at once, one keeps it.

        Raises: StaleWrite: another body was kept under that key."""

    def count(self, window: Window, *, waiting_since: datetime) -> Counts:
        """Counts the predictions of a window and what was said of them.

        Feedback without a prediction counts for any model, and is `waiting` if it came at or after `waiting_since`. It
        belongs to the window in which it came."""

    def prune(self, *, predictions_before: datetime | None, feedback_before: datetime | None, limit: int) -> Pruned:
        """Removes at most `limit` rows of each table that are older; None: no rows of that table.

        Feedback keeps the version and arm of a prediction that is removed. A second call goes on with others."""


class Trials(Protocol):
    """The trials of one sweep, for the process that does it: one process at a time (`Outside.hold_sweep`).

    A process may be killed between any two calls, and the next one goes on with the same trials."""

    def begin(self, plan: SweepPlan) -> str:
        """Returns the sweep's own id; the first call makes it and stores it with `plan`.

        A second call with an equal plan returns the same.

        Raises: BadRequest: the sweep began with another plan."""

    def list_trials(self) -> list[Trial]:
        """Lists all trials, by number from 0, without a gap."""

    def ask(self) -> Trial:
        """Returns the next trial, stored with its parameters, whole or not at all.

        A second call asks for another trial. If the plan's method is grid or random, the parameters depend on the plan
        and the number alone; with tpe, on how the earlier trials stand too."""

    def note_run(self, number: int, quick_test_id: int) -> None:
        """Notes which run is the trial's. A second call changes nothing.

        Raises: NotFound: no such trial."""

    def report(self, number: int, values: Mapping[int, float], *, prune: bool) -> int | None:
        """Stores the values of the new epochs, each once and in order, and may decide to prune the trial.

        Returns the epoch of that decision, which is stored; None: the trial goes on. With `prune` it judges each new
        epoch as if no later one were known. A second call finds the same decision.

        Raises: NotFound: no such trial."""

    def tell(self, number: int, end: TrialEnd) -> None:
        """Ends the trial. A second call, whatever it says, changes nothing.

        Raises: NotFound: no such trial."""

    def close(self) -> None:
        """Ends all connections; a later call opens new ones. A second call does nothing."""
