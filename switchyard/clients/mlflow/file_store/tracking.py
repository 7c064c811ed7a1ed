"""Reads MLflow's file store (`mlruns`), in a folder of this machine or of a bucket, without the mlflow package."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from switchyard.clients.mlflow.file_store.layout import KINDS, META, MODELS, SETTLE_SECONDS, Layout, Place
from switchyard.clients.mlflow.file_store.meta import Experiment
from switchyard.clients.mlflow.file_store.metric_files import read_model_points, read_points
from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain, catch
from switchyard.core.mlflow.facts import Look, is_surely_curve, to_look, to_newest_ms
from switchyard.core.mlflow.marks import RunMark, hash_mark
from switchyard.core.mlflow.raw_run import UNREADABLE, Keys, LostRun, OwnedPoint, RawRun, TrackedRun
from switchyard.core.mlflow.store_identity import StoreIdentity, to_experiment, to_identity
from switchyard.core.ports import Objects

_BATCH: Final = 100
_PARALLEL: Final = 16
_MAX_METRIC_BYTES: Final = 256 << 20
"""The largest file of one metric, about five million points. A larger one fails its run, and not the process."""
"""Files of a bucket that are read at once; on a disk threads gain nothing."""
_MADE: Final = "files1:"
_PROBLEMS: Final = 10
"""Problems of one run that are told; a damaged disk may have a thousand."""

T = TypeVar("T")
S = TypeVar("S")
_Owned = dict[str, list[OwnedPoint]]


class FolderTracking:
    """Implements `core.ports.Tracking` on a folder. A damaged file concerns only its run.

    Args:
        root: the folder's URI, ``file:///...`` or ``gs://...``.
    """

    def __init__(self, root: str, objects: Objects) -> None:
        self.root = root.rstrip("/")
        self.where = f"the MLflow folder {self.root}"
        self._objects = objects
        self._pool = ThreadPoolExecutor(_PARALLEL, "mlruns") if self.root.startswith("gs://") else None
        self.layout = Layout(self.root, objects, self._each)

    def __repr__(self) -> str:
        return f"FolderTracking({self.root})"

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Yields the runs. A damaged one has its id, its experiment, and what else can be read.

        Its status says why it cannot be read, so a command that adopts runs says so."""
        for _, info, error in self._list(experiments):
            yield msgspec.structs.replace(info, status=f"{UNREADABLE}{error}") if error else info

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """See the port."""
        for places, lost in self._find(run_ids):
            yield from lost
            yield from self._read_settled(places, partial(self._read_batch, keys=keys))

    def read_each(self, run_ids: Iterable[str], to: Callable[[Place, RawRun], T]) -> Iterator[T | LostRun]:
        """Yields what `to` makes of each of the runs and its folder; otherwise as `read_runs`."""
        for places, lost in self._find(run_ids):
            yield from lost
            yield from self._read_settled(places, partial(self._make_each, to=to))

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """See the port. Reads all points: the files have no summary."""
        for places, _ in self._find(run_ids):
            by_id = {place.run_id: place for place in places}
            for found in self._read_settled(places, self._read_alone):
                if isinstance(found, RawRun):
                    yield _look(found)
                    continue
                info, _ = self.layout.read_info(by_id[found.run_id])
                if info is not None:  # reading it later says why it cannot be read
                    yield Look(info=info, shows="values")

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """See the port. Marks are made of the files' sizes and times (in a bucket: generations).

        So a copy with newer files has other marks, and a change of an earlier point is seen too."""
        for place, info, error in self._list(experiments):
            yield self._to_mark(place, info, error)

    def take_marks(self, run_ids: Iterable[str]) -> dict[str, str]:
        """Returns the marks of those of these runs that can be read, as `read_marks` has them, by run id."""
        marks = {}
        for places, _ in self._find(run_ids):
            for found in self._read_settled(places, self._mark_batch):
                if isinstance(found, RunMark):
                    marks[found.run_id] = found.mark
        return marks

    def identify(self) -> StoreIdentity:
        """See the port. A damaged experiment adds nothing to it."""
        return to_identity(
            (found.experiment_id, to_experiment(found.name, found.artifact_location, found.created_at_ms))
            for found in self.layout.list_experiments()
            if not found.error
        )

    def _to_mark(self, place: Place, info: TrackedRun, error: SwitchyardError | None = None) -> RunMark:
        found = [] if error else [msgspec.structs.astuple(info), *self._each(partial(self._stat, place), KINDS)]
        return RunMark(
            run_id=info.run_id,
            mark="" if error else hash_mark(_MADE, found),
            lifecycle=info.lifecycle,
            experiment_lifecycle=info.experiment_lifecycle,
            error=str(error or ""),
        )

    def describe(self) -> str:
        """Says the address; files have no schema.

        Raises: BadSetup: as `list_runs`."""
        self.layout.list_experiments()
        return self.where

    def close(self) -> None:
        """See the port."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def _each(self, work: Callable[[T], S], items: Iterable[T]) -> Iterable[S]:
        return self._pool.map(work, items) if self._pool else map(work, items)

    def _list(self, experiments: Sequence[str]) -> Iterator[tuple[Place, TrackedRun, SwitchyardError | None]]:
        """Yields the runs of these experiments, each with why it cannot be read."""
        known = self.layout.list_experiments()
        missing = set(experiments) - {experiment.name for experiment in known if not experiment.error}
        if missing:
            damaged = [str(found.error) for found in known if found.error and not isinstance(found.error, NotFound)]
            also = f"; of these the name cannot be read: {'; '.join(damaged)}" if damaged else ""
            raise NotFound(f"{self.where} has no experiment named {', '.join(map(repr, sorted(missing)))}{also}")
        odd = []
        for batch in batched(self.layout.find_runs(known).values(), _BATCH):
            for places, (place, info, error) in zip(batch, self._each(self._read_chosen, batch), strict=True):
                if isinstance(error, BadRecord):
                    odd.append(places)
                elif info is not None and (not experiments or place.experiment.name in experiments):
                    yield place, info, error
        if odd:
            time.sleep(SETTLE_SECONDS)
        for place, info, error in self._each(self._read_chosen, odd):
            if info is not None and (not experiments or place.experiment.name in experiments):
                yield place, info, error

    def _stat(self, place: Place, kind: str) -> list[tuple[str, int, int]]:
        prefix = f"{place.folder}{kind}/"
        found = self._objects.list_stats(prefix)
        return [(uri.removeprefix(prefix), stat.size_bytes, stat.generation) for uri, stat in found]

    def _read_chosen(self, places: list[Place]) -> tuple[Place, TrackedRun | None, SwitchyardError | None]:
        place = self.layout.choose(places)
        return place, *self.layout.read_info(place)

    def _read_settled(
        self, places: Sequence[Place], read: Callable[[Sequence[Place], bool], Iterator[T | LostRun]]
    ) -> Iterator[T | LostRun]:
        """Returns what `read` makes of a batch; for runs with damaged files, what it makes of them a moment later.

        `read` is told if this is that moment: what is empty then is meant to be empty."""
        by_id = {place.run_id: place for place in places}
        odd = []
        for found in read(places, False):
            if isinstance(found, LostRun) and isinstance(found.error, BadRecord):
                odd.append(by_id[found.run_id])
            else:
                yield found
        if odd:
            time.sleep(SETTLE_SECONDS)
            yield from read(odd, True)

    def _read_batch(
        self, places: Sequence[Place], is_settled: bool, *, keys: Keys | None
    ) -> Iterator[RawRun | LostRun]:
        owned, odd = self._read_owned(places)
        for place in places:
            error = odd.get(place.run_id)
            if error:
                yield LostRun(run_id=place.run_id, error=error)
            else:
                of_models = owned.get(place.run_id, [])
                yield self._try(place, partial(self._read, place, keys, of_models, is_settled=is_settled))

    def _read_alone(self, places: Sequence[Place], is_settled: bool) -> Iterator[RawRun | LostRun]:
        """Reads them without what logged models have of them."""
        for place in places:
            yield self._try(place, partial(self._read, place, None, [], is_settled=is_settled))

    def _mark_batch(self, places: Sequence[Place], _: bool) -> Iterator[RunMark | LostRun]:
        for place in places:
            info, error = self.layout.read_info(place)
            if info is None or error:
                yield LostRun(run_id=place.run_id, error=error or self._none(place.run_id))
            else:
                yield self._to_mark(place, info)

    def _make_each(
        self, places: Sequence[Place], is_settled: bool, *, to: Callable[[Place, RawRun], T]
    ) -> Iterator[T | LostRun]:
        def make(place: Place) -> T:
            return to(place, self._read(place, None, [], is_settled=is_settled))

        for place in places:
            yield self._try(place, partial(make, place))

    def _find(self, run_ids: Iterable[str]) -> Iterator[tuple[list[Place], list[LostRun]]]:
        """Yields the places of a batch of runs, and those that are not there.

        Names are listed once, and again if one is missing by then."""
        index: Mapping[str, list[Place]] = {}
        for batch in batched(run_ids, _BATCH):
            wanted = list(dict.fromkeys(batch))
            if not index.keys() >= set(wanted):
                index = self.layout.find_runs(self.layout.list_experiments())
            places = [self.layout.choose(index[run_id]) for run_id in wanted if run_id in index]
            lost = [LostRun(run_id=run_id, error=self._none(run_id)) for run_id in wanted if run_id not in index]
            yield places, lost

    def _none(self, run_id: str) -> NotFound:
        return NotFound(f"{self.where} has no run {run_id} (any more)")

    def _try(self, place: Place, work: Callable[[], T]) -> T | LostRun:
        try:
            return work()
        except (TryAgain, BadSetup) as err:
            self._objects.list_folders(f"{self.root}/")  # raises where no other run could be read either
            return LostRun(run_id=place.run_id, error=err)
        except SwitchyardError as err:
            return LostRun(run_id=place.run_id, error=err)

    def _read(self, place: Place, keys: Keys | None, owned: list[OwnedPoint], *, is_settled: bool) -> RawRun:
        """Reads one run.

        Raises: BadRecord: a file is damaged, or, unless `is_settled`, a param or tag is empty: it may have a text a
        moment later."""
        info, error = self.layout.read_info(place)
        if info is None:
            raise self._none(place.run_id)
        if error:
            raise error
        self.layout.check_unlinked(place.folder + META)
        metrics = {
            key: uri
            for key, uri in self.layout.list_files(place.folder, "metrics").items()
            if keys is None or key in keys
        }
        params, tags = (self.layout.list_files(place.folder, kind) for kind in ("params", "tags"))
        texts = self._read_all(place, self.layout.read_text, [*params.values(), *tags.values()])
        if empty := [] if is_settled else [uri for uri, text in texts.items() if not text]:
            raise BadRecord(empty[0], ["it is empty: MLflow may just be writing it"])
        read = partial(self._read_metric, {uri: key for key, uri in metrics.items()})
        points = self._read_all(place, read, list(metrics.values()))
        on_data = [point for _, found in points.values() for point in found]
        return RawRun(
            info=info,
            metrics={key: points[uri][0] for key, uri in metrics.items()},
            params={key: texts[uri] for key, uri in params.items()},
            tags={key: texts[uri] for key, uri in tags.items()},
            keys=keys,
            owned=_join(owned, on_data),
        )

    def _read_metric(self, keys: Mapping[str, str], uri: str) -> Any:
        return read_points(self._objects.read(uri, max_bytes=_MAX_METRIC_BYTES)[0], keys[uri], uri)

    def _read_all(self, place: Place, read: Callable[[str], S], uris: list[str]) -> dict[str, S]:
        """Returns what each file has. Raises: BadRecord: with all that is wrong with them; or as the store says."""
        found: dict[str, S] = {}
        problems = []
        for uri, answer in zip(uris, self._each(lambda uri: catch(partial(read, uri)), uris), strict=True):
            if isinstance(answer, NotFound):
                problems.append(f"{uri}: it was there a moment ago: the run is being moved or deleted. Read it again")
            elif isinstance(answer, BadRecord | BadRequest):
                problems.append(str(answer))
            elif isinstance(answer, Exception):
                raise answer
            else:
                found[uri] = answer
        if problems:
            more = [f"and {len(problems) - _PROBLEMS} more files"] if len(problems) > _PROBLEMS else []
            raise BadRecord(f"MLflow run {place.run_id}", problems[:_PROBLEMS] + more)
        return found

    def _read_owned(self, places: Sequence[Place]) -> tuple[_Owned, dict[str, SwitchyardError]]:
        """Returns the points that MLflow 3 noted for logged models of these runs, by run.

        Beside them are the runs with a model that has an unreadable file."""
        by_experiment: dict[str, tuple[Experiment, set[str]]] = {}
        for place in places:
            by_experiment.setdefault(place.experiment.folder, (place.experiment, set()))[1].add(place.run_id)
        owned: _Owned = {}
        odd: dict[str, SwitchyardError] = {}
        for experiment, run_ids in by_experiment.values():
            for folder in self.layout.list_folders(f"{experiment.folder}{MODELS}/"):
                try:
                    for run_id, point in self._read_model(folder, run_ids):
                        owned.setdefault(run_id, []).append(point)
                except (BadRecord, BadSetup, NotFound) as err:
                    odd[self._read_source_run(folder)] = err
        return owned, odd

    def _read_model(self, folder: str, run_ids: set[str]) -> Iterator[tuple[str, OwnedPoint]]:
        model_id = self.layout.to_id(folder)
        for key, uri in self.layout.list_files(folder, "metrics").items():
            data = self.layout.read_bytes(uri)
            for run_id, point, _ in read_model_points(data, key, model_id, uri, is_wanted=run_ids.__contains__):
                yield run_id, point

    def _read_source_run(self, model: str) -> str:
        """Returns the run that made a logged model; empty: that is not known."""
        try:
            return str(self.layout.read_meta(model).get("source_run_id"))
        except (BadRecord, BadSetup):
            return ""


def _join(owned: list[OwnedPoint], on_data: list[OwnedPoint]) -> list[OwnedPoint]:
    """Joins both lists. A point that the model's file has too is kept with the model alone."""
    known = set(map(_to_identity, owned))
    return owned + [point for point in on_data if _to_identity(point) not in known]


def _to_identity(point: OwnedPoint) -> tuple[str, int, int, float | None, str]:
    value = None if math.isnan(point.value) else point.value
    return point.key, point.step, point.timestamp_ms, value, point.dataset


def _look(run: RawRun) -> Look:
    """Looks as `to_look`, which makes a record of the run, only if that is needed."""
    for key, points in run.metrics.items():
        if is_surely_curve(key) and points.steps[0] != points.steps[-1]:
            return Look(info=run.info, shows="curves", newest_ms=to_newest_ms(run))
    return to_look(run)
