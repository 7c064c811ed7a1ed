"""Reads an MLflow server of 2.9.2 or later over REST (`core.ports.Tracking`), without the mlflow package.

Histories come by the bulk call of MLflow's own pages: 20 runs at once, of one key. It cuts an answer at 25,000 points
without saying so. So a full answer is asked for again in smaller parts. `get-history-bulk-interval`, which thins, is
never used.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from switchyard.clients.mlflow.http import MlflowServer, NoStatus
from switchyard.clients.mlflow.schema import DBL_MAX
from switchyard.core.batches import batched
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain
from switchyard.core.mlflow.facts import Look, choose_shows, is_surely_curve, look_closer
from switchyard.core.mlflow.marks import RunMark, to_mark
from switchyard.core.mlflow.raw_run import Keys, LostRun, OwnedPoint, Points, RawRun, TrackedRun, choose_name, to_points
from switchyard.core.mlflow.store_identity import StoreIdentity, to_experiment, to_identity

_API: Final = "/api/2.0/mlflow"
_HAS_STATUS: Final = "attributes.status != ''"  # in SQL, NULL is not unequal to anything
_BULK: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
BULK_RUNS: Final = 20  # MAX_RUN_IDS_PER_REQUEST of get_metric_history_bulk_handler, mlflow/server/handlers.py, 2.9.2
BULK_POINTS: Final = 25_000  # MAX_HISTORY_RESULTS, same place
_PAGE_RUNS: Final = 200
_PAGE_EXPERIMENTS: Final = 1_000
_EXPERIMENTS_A_SEARCH: Final = 50

_Listed = tuple[TrackedRun, dict[str, Any] | None]
"""A run and what else the server said of it; None: it stands for runs that the server cannot name."""
_Columns = tuple[list[int], list[int], list[float], list[OwnedPoint]]


class _Experiment(msgspec.Struct, frozen=True):
    name: str
    lifecycle: str


class _Latest(msgspec.Struct, frozen=True):
    """The newest point that the run itself names."""

    step: int
    timestamp_ms: int


class _Head(msgspec.Struct, frozen=True):
    """A run without its histories."""

    info: TrackedRun
    latest: dict[str, _Latest]
    params: dict[str, str]
    tags: dict[str, str]


class RestTracking:
    """Implements `core.ports.Tracking` over REST; up to `parallel` requests at once."""

    def __init__(self, server: MlflowServer, *, parallel: int = 4) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="mlflow")
        self._experiments: dict[str, _Experiment] = {}
        self._has_bulk = True

    def __repr__(self) -> str:
        return f"RestTracking({self._server.url})"

    def list_runs(self, *, experiments: Sequence[str] = ()) -> Iterator[TrackedRun]:
        """Yields them in the order they were started in, experiment by experiment (50 in a search)."""
        return (info for info, _ in self._list(experiments))

    def read_marks(self, *, experiments: Sequence[str] = ()) -> Iterator[RunMark]:
        """See the port. The server gives the params, tags and latest metrics of each run that it lists."""
        for info, data in self._list(experiments):
            if data is None:
                yield RunMark(run_id=info.run_id, mark="", error="it has no status, and the server does not name it")
                continue
            try:
                with self._understood(f"MLflow run {info.run_id}"):
                    mark = _to_mark(info, data)
            except BadRecord as err:
                mark = RunMark(run_id=info.run_id, mark="", error=str(err))
            yield mark

    def identify(self) -> StoreIdentity:
        """See the port."""
        with self._understood("the list of experiments"):
            return to_identity(
                (
                    found["experiment_id"],
                    to_experiment(found["name"], found.get("artifact_location"), _to_time(found.get("creation_time"))),
                )
                for found in self._search_experiments()
            )

    def _search_experiments(self) -> Iterator[dict[str, Any]]:
        body: dict[str, Any] = {"view_type": "ALL", "max_results": _PAGE_EXPERIMENTS}
        yield from self._pages("/experiments/search", body, "experiments", _id_of)

    def _list(self, experiments: Sequence[str]) -> Iterator[_Listed]:
        with self._understood("the list of experiments"):
            self._experiments = {
                str(found["experiment_id"]): _Experiment(found["name"], found.get("lifecycle_stage", "active"))
                for found in self._search_experiments()
            }
        known = {experiment.name for experiment in self._experiments.values()}
        if missing := set(experiments) - known:
            raise NotFound(f"{self._server.url} has no experiment named {', '.join(map(repr, sorted(missing)))}")
        chosen = [number for number, found in self._experiments.items() if not experiments or found.name in experiments]
        for some in batched(chosen, _EXPERIMENTS_A_SEARCH):
            yield from self._list_some(some)

    def _list_some(self, numbers: Sequence[str]) -> Iterator[_Listed]:
        """Yields the runs of these experiments.

        The server refuses a page that has a run without a status, and cannot name the run. Then its experiment has an
        entry in its place, so that the list does not look whole."""
        listed: set[str] = set()
        is_whole = True
        try:
            for run in self._search_runs(numbers):
                listed.add(run[0].run_id)
                yield run
        except NoStatus:
            is_whole = False
        if is_whole:
            return
        if len(numbers) > 1:
            for number in numbers:
                yield from (run for run in self._list_some([number]) if run[0].run_id not in listed)
            return
        yield from (run for run in self._search_runs(numbers, _HAS_STATUS) if run[0].run_id not in listed)
        unnamed = TrackedRun(
            run_id=f"without a status, in experiment {numbers[0]}",
            name="",
            experiment_id=numbers[0],
            experiment=self._experiments[numbers[0]].name,
            status="",
        )
        yield unnamed, None

    def _search_runs(self, numbers: Sequence[str], condition: str = "") -> Iterator[_Listed]:
        body: dict[str, Any] = {
            "experiment_ids": numbers,
            "run_view_type": "ALL",
            "max_results": _PAGE_RUNS,
            "order_by": ["attributes.start_time ASC"],
        }
        for run in self._pages("/runs/search", body | ({"filter": condition} if condition else {}), "runs", _run_id_of):
            with self._understood(f"MLflow run {_run_id_of(run)}"):
                info, data = self._to_info(run), run.get("data", {})
            yield info, data

    def read_runs(self, run_ids: Iterable[str], *, keys: Keys | None = None) -> Iterator[RawRun | LostRun]:
        """See the port. A run that is still being logged to is read as it was at some moment of the reading."""
        for batch in batched(run_ids, BULK_RUNS):
            found = dict(zip(dict.fromkeys(batch), self._pool.map(self._try_head, dict.fromkeys(batch)), strict=True))
            heads = {run_id: head for run_id, head in found.items() if isinstance(head, _Head)}
            lost = [run for run in found.values() if isinstance(run, LostRun)]
            if not heads and len(lost) > 1 and all(isinstance(run.error, TryAgain | BadSetup) for run in lost):
                # It answers other questions, but this one for no run: no run is at fault, and each would cost minutes.
                raise lost[0].error
            yield from lost
            wanted = sorted({key for head in heads.values() for key in head.latest if keys is None or key in keys})
            asked = {key: [run_id for run_id, head in heads.items() if key in head.latest] for key in wanted}
            columns = dict(zip(asked, self._pool.map(self._try_key, asked, asked.values()), strict=True))
            for run_id, head in heads.items():
                yield self._to_run(head, {key: columns[key][run_id] for key in asked if run_id in columns[key]}, keys)

    def look_at_runs(self, run_ids: Iterable[str]) -> Iterator[Look]:
        """Looks with one call for each run, and nearly always one history: of the metric that has come farthest."""
        for batch in batched(run_ids, BULK_RUNS):
            yield from filter(None, self._pool.map(self._look, dict.fromkeys(batch)))

    def describe(self) -> str:
        """Says the address. A server does not tell its schema, and is not asked."""
        return f"the MLflow server {self._server.url} over REST"

    def close(self) -> None:
        """See the port."""
        self._pool.shutdown(cancel_futures=True)
        self._server.close()

    def _look(self, run_id: str) -> Look | None:
        head = self._try_head(run_id)
        if isinstance(head, LostRun):
            return None
        newest_ms = max((point.timestamp_ms for point in head.latest.values()), default=None)
        shows = choose_shows(has_curve=False, has_value=bool(head.latest), has_param=bool(head.params))
        look = Look(info=head.info, shows=shows, newest_ms=newest_ms)
        columns: dict[str, _Columns] = {}
        with self._understood(f"a metric of MLflow run {run_id}"):
            for key, latest in sorted(head.latest.items(), key=lambda item: -item[1].step):
                columns[key] = self._read_history(run_id, key)
                if is_surely_curve(key) and set(columns[key][0]) - {latest.step}:
                    return msgspec.structs.replace(look, shows="curves")
        return next(look_closer({run_id: look}, [self._to_run(head, columns, None)])) if columns else look

    def _try_head(self, run_id: str) -> _Head | LostRun:
        try:
            with self._understood(f"MLflow run {run_id}"):
                return self._read_head(run_id)
        except NoStatus:
            said = "its row in MLflow has no status, and MLflow's server cannot answer for it. Set one there"
            return LostRun(run_id=run_id, error=BadRecord(f"MLflow run {run_id} at {self._server.url}", [said]))
        except SwitchyardError as err:
            return self._lose(run_id, err)

    def _lose(self, run_id: str, err: SwitchyardError) -> LostRun:
        """Loses only this run, as long as the server answers. Raises `err` where it does not.

        The server may fail at one run again and again (too large for it, an experiment that we may not read)."""
        if isinstance(err, TryAgain | BadSetup) and not self._answers():
            raise err
        return LostRun(run_id=run_id, error=err)

    def _answers(self) -> bool:
        """Returns true if the server answers from its database; ``/health`` says OK without one."""
        try:
            self._server.search(f"{_API}/experiments/search", {"max_results": 1})
        except SwitchyardError:
            return False
        return True

    @contextmanager
    def _understood(self, what: str) -> Iterator[None]:
        """Raises BadRecord if an answer was JSON, but not as MLflow's interface has it."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as err:
            said = f"the answer must be as MLflow's REST interface has it; {type(err).__name__}: {err}"
            raise BadRecord(f"{what} at {self._server.url}", [said]) from err

    def _read_head(self, run_id: str) -> _Head:
        run = self._server.read(f"{_API}/runs/get", {"run_id": run_id})["run"]
        data = run.get("data", {})
        return _Head(
            info=self._to_info(run),
            latest={
                point["key"]: _Latest(int(point.get("step", 0)), int(point.get("timestamp", 0)))
                for point in data.get("metrics", ())
            },
            params=to_pairs(data, "params"),
            tags=to_pairs(data, "tags"),
        )

    def _to_run(self, head: _Head, columns: Mapping[str, _Columns], keys: Keys | None) -> RawRun | LostRun:
        run_id = head.info.run_id
        metrics: dict[str, Points] = {}
        owned: list[OwnedPoint] = []
        for key, latest in head.latest.items():
            if keys is not None and key not in keys:
                continue
            found = columns.get(key, ([], [], [], []))
            points = to_points(*found[:3])
            if not _reaches(points, latest):
                try:
                    with self._understood(f"metric {key!r} of MLflow run {run_id}"):
                        found = self._read_history(run_id, key)
                        points = to_points(*found[:3])
                except SwitchyardError as err:
                    return self._lose(run_id, err)
            if not _reaches(points, latest):
                return self._explain(run_id, key, points, latest)
            metrics[key] = points
            owned += found[3]
        return RawRun(info=head.info, metrics=metrics, params=head.params, tags=head.tags, keys=keys, owned=owned)

    def _explain(self, run_id: str, key: str, points: Points, latest: _Latest) -> LostRun:
        """Says why a history lacks its end: the run was deleted meanwhile, or the server keeps something back."""
        again = self._try_head(run_id)
        if isinstance(again, LostRun):
            return again
        last = points.steps[-1] if points.steps else "none"
        problem = (
            f"metric {key!r} must reach step {latest.step}, its latest; got {len(points.steps)} points up to {last}"
        )
        return LostRun(run_id=run_id, error=BadRecord(f"MLflow run {run_id} at {self._server.url}", [problem]))

    def _try_key(self, key: str, run_ids: list[str]) -> dict[str, _Columns]:
        """Reads as `_read_key`; nothing if a run's history is refused: then each is asked for alone (`_to_run`)."""
        try:
            with self._understood(f"metric {key!r} of MLflow runs"):
                return self._read_key(key, run_ids)
        except (NotFound, BadRecord, BadRequest):
            return {}
        except (TryAgain, BadSetup):
            if not self._answers():
                raise
            return {}

    def _read_key(self, key: str, run_ids: list[str]) -> dict[str, _Columns]:
        """Returns the points by run id, without the runs that have no point of that key."""
        if not self._has_bulk:
            return {run_id: self._read_history(run_id, key) for run_id in run_ids}
        query = {"run_id": run_ids, "metric_key": key, "max_results": BULK_POINTS}
        try:
            points = self._server.read(_BULK, query).get("metrics", [])
        except NotFound:  # a server, or a proxy before it, that has only the documented interface
            self._has_bulk = False
            return self._read_key(key, run_ids)
        if len(points) < BULK_POINTS:
            found: dict[str, _Columns] = {}
            for point in points:
                _append(found.setdefault(point["run_id"], ([], [], [], [])), key, point)
            return found
        if len(run_ids) == 1:
            return {run_ids[0]: self._read_history(run_ids[0], key)}
        half = len(run_ids) // 2
        return self._read_key(key, run_ids[:half]) | self._read_key(key, run_ids[half:])

    def _read_history(self, run_id: str, key: str) -> _Columns:
        """Reads all of it: a 2.9.2 server ignores the page's size and says everything at once."""
        columns: _Columns = ([], [], [], [])
        query = {"run_id": run_id, "metric_key": key, "max_results": BULK_POINTS}
        for points in self._each_page(lambda token: self._server.read(f"{_API}/metrics/get-history", query | token)):
            for point in points.get("metrics", ()):
                _append(columns, key, point)
        return columns

    def _pages(
        self, path: str, body: Mapping[str, Any], name: str, to_id: Callable[[dict[str, Any]], str]
    ) -> Iterator[dict[str, Any]]:
        """Yields each item once, though something may be added or deleted between two pages."""
        seen: set[str] = set()
        for page in self._each_page(lambda token: self._server.search(_API + path, {**body, **token})):
            with self._understood(f"the page of {name}"):
                new = [item for item in page.get(name, ()) if to_id(item) not in seen]
            if not new and page.get("next_page_token"):
                raise BadRecord(
                    f"{self._server.url}{_API}{path}",
                    ["a page with a next one must hold something new; got nothing new"],
                )
            seen.update(map(to_id, new))
            yield from new

    def _each_page(self, ask: Callable[[dict[str, str]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        tokens: set[str] = set()
        token = ""
        while True:
            page = ask({"page_token": token} if token else {})
            yield page
            token = page.get("next_page_token") or ""
            if not token:
                return
            if token in tokens:
                raise BadRecord(self._server.url, [f"every page must lead to a later one; got page {token!r} twice"])
            tokens.add(token)

    def _to_info(self, run: Mapping[str, Any]) -> TrackedRun:
        info = run["info"]
        number = str(info["experiment_id"])
        if number not in self._experiments:
            found = self._server.read(f"{_API}/experiments/get", {"experiment_id": number})["experiment"]
            self._experiments[number] = _Experiment(found["name"], found.get("lifecycle_stage", "active"))
        tags = to_pairs(run.get("data", {}), "tags")
        start, end = info.get("start_time"), info.get("end_time")
        return TrackedRun(
            run_id=info.get("run_id") or info["run_uuid"],
            name=choose_name(info.get("run_name"), tags),
            experiment_id=number,
            experiment=self._experiments[number].name,
            status=info.get("status") or "",
            lifecycle=info.get("lifecycle_stage", "active"),
            experiment_lifecycle="deleted" if self._experiments[number].lifecycle == "deleted" else "active",
            started_at_ms=None if start is None else int(start),
            ended_at_ms=None if end is None else int(end),
            artifact_uri=info.get("artifact_uri", ""),
        )


def _id_of(experiment: dict[str, Any]) -> str:
    return str(experiment["experiment_id"])


def _to_time(value: Any) -> int | None:
    return None if value is None else int(value)


def _run_id_of(run: dict[str, Any]) -> str:
    return str(run["info"].get("run_id") or run["info"]["run_uuid"])


def to_pairs(data: Mapping[str, Any], name: str) -> dict[str, str]:
    """Returns params or tags, as every answer of a server has them."""
    return {pair["key"]: pair.get("value", "") for pair in data.get(name, ())}


def _to_mark(info: TrackedRun, data: Mapping[str, Any]) -> RunMark:
    latest = (
        (point["key"], int(point.get("step", 0)), int(point.get("timestamp", 0)), to_value(point))
        for point in data.get("metrics", ())
    )
    return to_mark(info, to_pairs(data, "params"), to_pairs(data, "tags"), latest)


def to_value(point: Mapping[str, Any]) -> float:
    """Returns a point's value, with true infinities."""
    value = float(point.get("value", 0.0))  # "NaN" is a text in one answer, and a token in another
    return math.copysign(math.inf, value) if abs(value) >= DBL_MAX else value


def _append(columns: _Columns, key: str, point: Mapping[str, Any]) -> None:
    steps, timestamps, values, owned = columns
    steps.append(int(point.get("step", 0)))
    timestamps.append(int(point.get("timestamp", 0)))
    values.append(to_value(point))
    model_id, dataset = point.get("model_id") or "", point.get("dataset_name") or ""
    if model_id or dataset:  # as a server of MLflow 3 over files says it; over a database it knows, and does not say
        owned.append(OwnedPoint(key, steps[-1], timestamps[-1], values[-1], str(model_id), str(dataset)))


def _reaches(points: Points, latest: _Latest) -> bool:
    return bool(points.steps) and points.steps[-1] >= latest.step
