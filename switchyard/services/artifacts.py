"""Plans, copies and verifies the artifacts of MLflow's runs, a batch of runs at a time."""

import threading
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from switchyard.clients.connect import Outside
from switchyard.core.artifacts.copies import ArtifactCopy, RunCopied, RunVerified
from switchyard.core.artifacts.manifest import (
    Copied,
    LeftOut,
    Manifest,
    SourceObject,
    is_run_id,
    read_manifest,
    to_manifest_uri,
    to_object_uri,
)
from switchyard.core.artifacts.owners import ArtifactOwner
from switchyard.core.artifacts.places import Place, Unreachable, follow_move, lies_in, to_place, without_password
from switchyard.core.artifacts.plan import KIND, ArtifactRun, How, RunPlan, choose, to_groups
from switchyard.core.errors import BadRecord, NotFound, StaleWrite, SwitchyardError, TryAgain, catch, to_message
from switchyard.core.history.publication import Draft
from switchyard.core.ports import ArtifactSource
from switchyard.core.verify.kinds import Artifacts
from switchyard.services.artifact_copying import (
    Copying,
    Gate,
    Hashed,
    OurTrouble,
    PassingTrouble,
    Patience,
    Progress,
    hash_object,
    run_bounded,
)
from switchyard.services.artifact_objects import Stored

_MANIFESTS_AT_ONCE: Final = 8  # a read from a bucket takes about 50 ms, most of it waiting
RUNS_AT_ONCE: Final = 8
"""Runs at work at once. A run with few objects mostly waits: for a list, a row, a manifest. Their lists of objects are
in memory."""
_LINES: Final = 100
"""Ledger lines in one transaction."""


def find_runs(
    outside: Outside,
    *,
    quick_test_id: int = 0,
    all_runs: bool = False,
    experiments: Sequence[str] = (),
    export_uri: str = "",
) -> list[ArtifactRun]:
    """Returns the runs to take artifacts of: those that a row names, or one row's.

    With `all_runs` it is every run of the store, deleted ones too. A row's run that MLflow does not have has a
    `problem`. The logged models that these runs made come too; with `all_runs` of all experiments so does every other
    logged model, and every trace.

    Raises: NotFound: no such row, or it names no MLflow run; or no such experiment.
    """
    rows = _find_rows(outside, quick_test_id)
    found: dict[str, ArtifactRun] = {}
    with closing(outside.open_tracking(export_uri)) as tracking:
        for run in tracking.list_runs(experiments=experiments):
            ids = rows.get(run.run_id, ())
            if ids or (all_runs and not quick_test_id):
                problem = "" if is_run_id(run.run_id) else f"MLflow cannot name this run: {run.run_id}"
                found[run.run_id] = ArtifactRun(
                    mlflow_run_id=run.run_id, artifact_uri=run.artifact_uri, quick_test_ids=ids, problem=problem
                )
    is_whole = all_runs and not quick_test_id and not experiments
    for owner in _find_owners(outside, export_uri, found if not is_whole else None):
        problem = "" if is_run_id(owner.id) else f"MLflow cannot name this owner of files: {owner.id}"
        found[owner.id] = ArtifactRun(mlflow_run_id=owner.id, artifact_uri=owner.artifact_uri, problem=problem)
    if not experiments:
        for run_id, ids in rows.items():
            if run_id not in found:
                found[run_id] = ArtifactRun(
                    mlflow_run_id=run_id, quick_test_ids=ids, problem="MLflow does not have this run (any more)"
                )
    return list(found.values())


def _find_owners(outside: Outside, export_uri: str, of: Container[str] | None) -> list[ArtifactOwner]:
    """Returns the owners of files besides runs: all, or only what these runs made. One without a place has no files."""
    owners = outside.open_artifact_owners(export_uri)
    found = [model for model in owners.list_models() if of is None or model.run_id in of]
    if of is None:
        found += outside.open_artifact_owners(export_uri).list_traces()
    return [owner for owner in found if owner.artifact_uri]


def find_owner_ids(outside: Outside, export_uri: str = "") -> tuple[frozenset[str], frozenset[str]]:
    """Returns the ids of logged models that name a place for files, and of traces. A second call asks again.

    Raises: TryAgain, BadSetup: MLflow or the export cannot be read.
    """
    models = outside.open_artifact_owners(export_uri).list_models()
    traces = outside.open_artifact_owners(export_uri).list_traces()
    return (
        frozenset(one.id for one in models if one.artifact_uri),
        frozenset(one.id for one in traces if one.artifact_uri),
    )


def find_copied_runs(outside: Outside, *, quick_test_id: int = 0, all_runs: bool = False) -> list[ArtifactRun]:
    """Returns the runs for which copies are meant, without asking MLflow.

    The same runs as `find_runs`; with `all_runs` also each that has a copy."""
    rows = _find_rows(outside, quick_test_id)
    if all_runs and not quick_test_id:
        rows = dict.fromkeys(outside.artifact_copies.list_ids(), ()) | rows
    return [ArtifactRun(mlflow_run_id=run_id, quick_test_ids=ids) for run_id, ids in rows.items()]


def plan_runs(
    outside: Outside,
    runs: Sequence[ArtifactRun],
    how: How,
    *,
    gives_up: bool = False,
    progress: Progress | None = None,
) -> list[RunPlan]:
    """Returns what there is of each run's artifacts, and what of it is kept. Changes nothing.

    A place that cannot be listed says why.

    Args:
        gives_up: ask every place, even after many that did not answer.

    Raises: TryAgain: no place answers, or the copies' place does not.
    """
    batch, patience = _Batch(outside, how), None if gives_up else Patience()
    stored = (progress or Progress()).stored
    with ThreadPoolExecutor(min(RUNS_AT_ONCE, how.concurrency), thread_name_prefix="runs") as pool:
        return list(pool.map(lambda run: batch.plan(run, patience, stored), runs))


def copy_runs(
    outside: Outside,
    runs: Sequence[ArtifactRun],
    how: How,
    *,
    gives_up: bool = False,
    progress: Progress | None = None,
    settled: Callable[[RunCopied], object] = lambda done: None,
) -> list[RunCopied]:
    """Copies each run's artifacts, and returns what became of them. Each row has its ledger line afterwards.

    A second call copies what is new or has changed. After a killed call it goes on.

    Args:
        gives_up: record what does not pass as each run's failure, instead of raising it.
        settled: called with each run that needs no other try.

    Raises:
        TryAgain: some of it may pass, and everything else is done. BadSetup: what is copied cannot be kept.
    """
    batch = _Batch(outside, how)
    passing: list[TryAgain] = []
    done: dict[str, RunCopied] = {}
    recording = threading.Lock()

    def note(found: RunCopied) -> None:
        with recording:
            done[found.mlflow_run_id] = found
            _record(outside, [found])
            settled(found)

    def copy_group(group: Sequence[ArtifactRun]) -> None:
        earlier = _Earlier()
        for run in group:
            try:
                note(batch.copy(run, copying, earlier))
            except PassingTrouble as err:
                passing.append(err.error)
                note(err.done)
            except OurTrouble as err:
                if not gives_up or not isinstance(err.error, TryAgain):
                    raise err.error from err
                note(_to_failed(run, err.error))
            except TryAgain as err:
                passing.append(err)
                if gives_up:
                    note(_to_failed(run, err))

    at_once = min(RUNS_AT_ONCE, how.concurrency)
    with (
        ThreadPoolExecutor(how.concurrency, thread_name_prefix="artifacts") as pool,
        ThreadPoolExecutor(at_once, thread_name_prefix="runs") as runs_pool,
    ):
        copying = Copying(
            target=outside.objects(how.to_uri),
            copies=outside.artifact_copies,
            how=how,
            pool=pool,
            gate=Gate(how.in_flight_bytes),
            progress=progress or Progress(),
        )
        for _, trouble in run_bounded(runs_pool, copy_group, to_groups(runs), at_once):
            if trouble is not None:
                raise trouble
    if passing and not gives_up:
        raise TryAgain(f"Artifacts of {len(passing)} runs could not be read; the first: {passing[0]}") from passing[0]
    return [done[run.mlflow_run_id] for run in runs if run.mlflow_run_id in done]


def verify_runs(
    outside: Outside,
    runs: Sequence[ArtifactRun],
    how: How,
    *,
    against_source: bool = False,
    gives_up: bool = False,
) -> list[RunVerified]:
    """Reads each object of each run's copy again, and returns what is whole. Changes nothing.

    With `against_source` it also reads each artifact where it came from.

    Args:
        gives_up: answer `unread` for a run if its copy or source does not answer, instead of raising it.

    Raises: TryAgain: the copies' place, or the source, does not answer.
    """
    batch = _Batch(outside, how)

    def verify(run: ArtifactRun) -> RunVerified:
        try:
            return batch.verify(run, pool, against_source=against_source)
        except TryAgain as err:
            if not gives_up:
                raise
            return batch.to_verified(run, "unread", None, [to_message(err)])

    with (
        ThreadPoolExecutor(how.concurrency, thread_name_prefix="artifacts") as pool,
        ThreadPoolExecutor(min(RUNS_AT_ONCE, how.concurrency), thread_name_prefix="runs") as runs_pool,
    ):
        return list(runs_pool.map(verify, runs))


def find_kept(outside: Outside) -> Artifacts:
    """Returns the runs of which every artifact that was found is copied, by name and size. Reads no object.

    `stored` is left to the caller that asks MLflow. A second call looks again.

    Raises: TryAgain: the copies' place does not answer.
    """
    copies = outside.artifact_copies.read(outside.artifact_copies.list_ids())
    sizes = {to_uri: _list_sizes(outside, to_uri) for to_uri in {copy.to_uri for copy in copies.values()}}

    def check(copy: ArtifactCopy) -> bool:
        uri = to_manifest_uri(copy.to_uri, copy.mlflow_run_id, copy.digest)
        try:
            manifest = read_manifest(outside.objects(uri).read(uri)[0], uri, digest=copy.digest)
        except (NotFound, BadRecord):
            return False
        there = sizes[copy.to_uri]
        return not manifest.left_out and all(there.get(one.sha256) == one.size_bytes for one in manifest.objects)

    with ThreadPoolExecutor(_MANIFESTS_AT_ONCE, thread_name_prefix="manifests") as pool:
        whole = dict(zip(copies, pool.map(check, copies.values()), strict=True))
    return Artifacts(
        copied=frozenset(run_id for run_id, is_whole in whole.items() if is_whole),
        empty=frozenset(run_id for run_id, copy in copies.items() if not copy.objects),
    )


def _list_sizes(outside: Outside, to_uri: str) -> dict[str, int]:
    """Returns the size of each object that is kept there, by hash."""
    found = outside.objects(to_uri).list_stats(f"{to_uri}/objects/")
    return {uri.rpartition("/")[2]: stat.size_bytes for uri, stat in found}


def _find_rows(outside: Outside, quick_test_id: int) -> dict[str, tuple[int, ...]]:
    """Returns the ids of the rows that name an MLflow run, by that run."""
    rows: dict[str, tuple[int, ...]] = {}
    for row in outside.ledger.list_backfill():
        if row.mlflow_run_id and quick_test_id in (0, row.id):
            rows[row.mlflow_run_id] = (*rows.get(row.mlflow_run_id, ()), row.id)
    if quick_test_id and not rows:
        outside.runs.read_run(quick_test_id)
        raise NotFound(f"Quick test {quick_test_id} has no MLflow run, so MLflow has no artifacts of it.")
    return rows


class _Earlier:
    """Knows what the run before has copied. A run of the same place, or of one within it, does not read it again."""

    def __init__(self) -> None:
        self._place = ""
        self._objects: tuple[Copied, ...] = ()

    def find(self, place: str) -> dict[str, Copied]:
        """Returns what was copied, by its path below `place`."""
        if not self._place or not lies_in(place, self._place):
            return {}
        below = place.removeprefix(self._place).lstrip("/")
        start = f"{below}/" if below else ""
        found = {}
        for one in self._objects:
            if one.path.startswith(start):
                path = one.path[len(start) :]
                found[path] = Copied(path=path, size_bytes=one.size_bytes, sha256=one.sha256, generation=one.generation)
        return found

    def note(self, place: str, manifest: Manifest | None) -> None:
        """Remembers the widest of consecutive places."""
        if manifest is not None and not (self._place and lies_in(place, self._place)):
            self._place, self._objects = place, manifest.objects


class _Batch:
    """Holds what all runs of one call share."""

    def __init__(self, outside: Outside, how: How) -> None:
        self._outside = outside
        self._how = how
        self._open = lru_cache(maxsize=2)(lambda reader: outside.open_artifacts(reader, how.allowed))
        self._whole: set[str] = set()  # hashes of the objects that were read and found whole

    def plan(self, run: ArtifactRun, patience: Patience | None, stored: Stored) -> RunPlan:
        """Returns what there is of one run."""
        place = self._find_place(run)
        if isinstance(place, Unreachable):
            return self._to_plan(run, place.uri, state="unreachable", reason=place.reason)
        if place is None:
            return self._to_plan(run, "", state="nothing", reason="MLflow names no place for its artifacts")
        shown = without_password(place.uri)
        listed = catch(lambda: list(self._open(place.reader).list(place.uri)))
        if patience is not None and isinstance(listed, TryAgain):
            patience.note_trouble(listed)
        elif patience is not None:
            patience.note_done()
        if isinstance(listed, Exception):
            return self._to_plan(run, shown, state="unreachable", reader=place.reader, reason=to_message(listed))
        found = {one.path: one for one in listed if isinstance(one, SourceObject)}
        left_out = tuple(one for one in listed if isinstance(one, LeftOut))
        copy = self._find_copy(run.mlflow_run_id)
        is_known = copy is not None and copy.source == shown and not self._how.again
        objects = copy.objects if copy is not None and is_known else ()
        missing = stored.find_missing(self._outside.objects(self._how.to_uri), self._how.to_uri, objects)
        known = {one.path: one for one in objects if one.sha256 not in missing}
        todo = choose(found.values(), known).copy
        return self._to_plan(
            run,
            shown,
            state="to copy" if todo else "copied" if found or (copy is not None and copy.objects) else "nothing",
            reader=place.reader,
            objects=len(found),
            size_bytes=sum(one.size_bytes for one in found.values()),
            to_copy=len(todo),
            to_copy_bytes=sum(one.size_bytes for one in todo),
            left_out=left_out,
        )

    def copy(self, run: ArtifactRun, copying: Copying, earlier: _Earlier) -> RunCopied:
        """Copies one run, and returns what became of it. Raises: TryAgain, PassingTrouble, OurTrouble."""
        place = self._find_place(run)
        if run.problem:
            return copying.find_kept(run) or _to_failed(run, run.problem)
        if isinstance(place, Unreachable):
            return _to_failed(run, f"{place.uri}: {place.reason}")
        if place is None:
            return copying.find_kept(run) or copying.keep_nothing(run)
        try:
            done, manifest = copying.copy_run(run, place, self._open(place.reader), earlier.find(place.uri))
        except TryAgain:
            raise
        except SwitchyardError as err:
            return _to_failed(run, err)
        earlier.note(place.uri, manifest)
        return done

    def verify(self, run: ArtifactRun, pool: ThreadPoolExecutor, *, against_source: bool) -> RunVerified:
        """Returns what is whole of one run's copy."""
        try:
            manifest = self._read_copy(run.mlflow_run_id)
        except NotFound as err:
            return self.to_verified(run, "missing", None, [str(err)])
        except BadRecord as err:
            return self.to_verified(run, "differs", None, [str(err)])
        problems = self._find_damage(manifest, pool)
        if against_source:
            problems += self._compare(run, manifest, pool)
        state = "differs" if problems else "partial" if manifest.left_out else "kept" if manifest.objects else "nothing"
        return self.to_verified(run, state, manifest, problems or [str(one) for one in manifest.left_out])

    def _find_place(self, run: ArtifactRun) -> Place | Unreachable | None:
        if run.problem:
            return Unreachable(uri=run.artifact_uri, reason=run.problem)
        if not run.artifact_uri:
            return None
        uri = follow_move(run.artifact_uri, self._how.moved)
        return to_place(uri, destination=self._how.destination, server=self._how.server)

    def _find_copy(self, run_id: str) -> Manifest | None:
        try:
            return self._read_copy(run_id)
        except (NotFound, BadRecord):
            return None

    def _read_copy(self, run_id: str) -> Manifest:
        """Raises: NotFound: there is no copy; BadRecord: its manifest is not the one that was written."""
        row = self._outside.artifact_copies.read([run_id]).get(run_id)
        if row is None or row.to_uri != self._how.to_uri:
            elsewhere = f", but at {row.to_uri}" if row is not None else ""
            raise NotFound(f"MLflow run {run_id} has no copy at {self._how.to_uri}{elsewhere}")
        uri = to_manifest_uri(row.to_uri, run_id, row.digest)
        try:
            return read_manifest(self._outside.objects(uri).read(uri)[0], uri, digest=row.digest)
        except NotFound as err:
            raise BadRecord(uri, ["the manifest of the run's artifacts is gone: copy them again"]) from err

    def _find_damage(self, manifest: Manifest, pool: ThreadPoolExecutor) -> list[str]:
        target = self._outside.objects(self._how.to_uri)
        names: dict[str, Copied] = {}
        for one in manifest.objects:
            if one.sha256 not in self._whole:
                names.setdefault(one.sha256, one)

        def check(one: Copied) -> str:
            uri = to_object_uri(self._how.to_uri, one.sha256)
            try:
                found = hash_object(target, uri)
            except NotFound:
                return f"{one.path!r} is gone: there is no object at {uri}"
            except StaleWrite as err:
                return str(err)
            return "" if found == one.sha256 else f"{one.path!r} is damaged: {uri} has sha256 {found}"

        problems = []
        for one, said in run_bounded(pool, check, names.values(), 4 * self._how.concurrency):
            if isinstance(said, TryAgain) or not isinstance(said, str | SwitchyardError):
                assert isinstance(said, BaseException)
                raise said
            if said:
                problems.append(str(said))
            else:
                self._whole.add(one.sha256)
        return sorted(problems)

    def _compare(self, run: ArtifactRun, manifest: Manifest, pool: ThreadPoolExecutor) -> list[str]:
        place = self._find_place(run)
        if place is None:
            return []
        if isinstance(place, Unreachable):
            return [f"it cannot be compared with its source {place.uri}: {place.reason}"]
        source = self._open(place.reader)
        kept = {one.path: one for one in manifest.objects}
        known_left_out = {one.path for one in manifest.left_out}

        def check(one: SourceObject) -> str:
            return "" if _hash(source, place.uri, one) == kept[one.path].sha256 else f"{one.path!r} is another one now"

        problems = []
        try:
            found = [one for one in source.list(place.uri) if one.path not in known_left_out]
        except TryAgain:
            raise
        except SwitchyardError as err:
            return [f"it cannot be compared with its source: {err}"]
        problems += [f"{one.path!r} is not copied" for one in found if one.path not in kept]
        there = [one for one in found if isinstance(one, SourceObject) and one.path in kept]
        for one, said in run_bounded(pool, check, there, 4 * self._how.concurrency):
            if isinstance(said, TryAgain) or not isinstance(said, str | SwitchyardError):
                assert isinstance(said, BaseException)
                raise said
            if isinstance(said, SwitchyardError):
                problems.append(f"{one.path!r} cannot be compared with its source: {said}")
            elif said:
                problems.append(said)
        return sorted(problems)

    def _to_plan(self, run: ArtifactRun, place: str, **more: object) -> RunPlan:
        return RunPlan(
            mlflow_run_id=run.mlflow_run_id,
            quick_test_ids=run.quick_test_ids,
            place=place,
            **more,  # type: ignore[arg-type]
        )

    def to_verified(
        self, run: ArtifactRun, state: str, manifest: Manifest | None, problems: Sequence[str]
    ) -> RunVerified:
        """Returns what is said of the run's copy."""
        return RunVerified(
            mlflow_run_id=run.mlflow_run_id,
            quick_test_ids=run.quick_test_ids,
            state=state,  # type: ignore[arg-type]
            objects=len(manifest.objects) if manifest else 0,
            size_bytes=manifest.size_bytes if manifest else 0,
            problems=tuple(problems),
        )


def _hash(source: ArtifactSource, place: str, one: SourceObject) -> str:
    hashed = Hashed()
    source.fetch(place, one, hashed)  # type: ignore[arg-type]  # it takes writes as a file does
    return hashed.sha256


def _to_failed(run: ArtifactRun, why: SwitchyardError | str) -> RunCopied:
    reason = why if isinstance(why, str) else to_message(why)
    return RunCopied(mlflow_run_id=run.mlflow_run_id, quick_test_ids=run.quick_test_ids, state="failed", reason=reason)


def _record(outside: Outside, done: Sequence[RunCopied]) -> None:
    drafts = [
        Draft(quick_test_id=id_, state=one.state, error=one.problem, source_digest=one.digest)
        for one in done
        for id_ in one.quick_test_ids
    ]
    for start in range(0, len(drafts), _LINES):
        outside.ledger.publish_many(KIND, drafts[start : start + _LINES], now=datetime.now(UTC))
