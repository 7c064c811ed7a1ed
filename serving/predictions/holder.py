"""Holds the models that answer, and checks every few seconds whether other models should.

A new model is loaded, verified and tried before one assignment puts it in place. If anything goes wrong, the model that
answers goes on answering.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from serving.predictions.loader_process import RowLoader
from serving.predictions.state import Loaded, State
from switchyard.clients.postgres.deadlines import waiting_at_most
from switchyard.core.errors import BadRequest, SwitchyardError, TryAgain, catch, to_message
from switchyard.core.predictions import restarts
from switchyard.core.predictions.filenames import leave_out_others, say_several
from switchyard.core.predictions.sources import Fate, Source, Tried, choose_fate
from switchyard.core.registry.flavors import OF_ROWS, choose_flavor
from switchyard.core.registry.rows import Model
from switchyard.services import model_sources
from switchyard.services.model_loading import OpenRows, load_model, load_rows
from switchyard.services.model_sources import Found

POLL_S: Final = 1.0
"""The time between two looks: a promotion must be served within 5 s, loading included."""
WHOLE_LOOK_S: Final = 4.0
"""The same if more than one row, or another registry, has to be read."""
DATABASE_S: Final = 3.0
LONGEST_PAUSE_S: Final = 60.0
"""The longest time between two tries of files that did not load."""

_log = logging.getLogger("switchyard.models")


@dataclass(frozen=True)
class _Failure:
    error: Exception
    times: int
    not_before: float


class Holder:
    """Holds `state`, which every request reads; only one thread changes it, by `look`."""

    def __init__(
        self,
        ports: Callable[[], model_sources.Ports],
        list_sources: Callable[[], Sequence[Source]],
        *,
        open_rows: OpenRows | None = None,
        filename: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State()
        self.loads = 0  # models put in place
        self.failed_loads = 0
        self._ports = ports  # if the database does not answer at the start, it is connected to later
        self._list_sources = list_sources
        self._open_rows = open_rows or RowLoader()
        self._filename = filename  # as `RowLoader` has it
        self._clock = clock
        self._failures: dict[tuple[str, int, str], _Failure] = {}
        self._lives: dict[tuple[str, int, str], restarts.Life] = {}
        self._next_whole_look = 0.0
        self._stop = threading.Event()

    def run(self, poll_s: float = POLL_S) -> None:
        """Looks until `stop` is called."""
        while not self._stop.is_set():
            self.look()
            self._stop.wait(poll_s)

    def stop(self) -> None:
        """Ends `run` after its current look. A second call does nothing."""
        self._stop.set()

    def close(self) -> None:
        """Ends the loaders' processes. A second call does nothing."""
        _close_unused(self.state, State())

    def look(self) -> None:
        """Puts the model in place that should answer now, or says in `state.problem` why it cannot.

        It never raises. A second call changes nothing, unless a model was promoted in between."""
        with waiting_at_most(DATABASE_S):
            found = catch(self._find_state)
        if isinstance(found, Exception):
            # Any other error is a bug; it must end neither this thread nor the answers.
            if not isinstance(found, SwitchyardError):
                _log.error("looking for the model to serve failed", exc_info=found)
            found = replace(self.state, problem=to_message(found))
        before = self.state
        if found is before:
            return
        _report(before, found)
        self.state = found
        _close_unused(before, found)

    def _find_state(self) -> State:
        ports = self._ports()
        if self._is_unchanged(ports):
            return self.state
        self._next_whole_look = self._clock() + WHOLE_LOOK_S
        tried: list[Tried] = []
        for source in self._list_sources():
            made = catch(lambda source=source: self._take(ports, source))  # type: ignore[misc]
            if isinstance(made, State):
                assert made.champion is not None
                champion = replace(made.champion, fallback=bool(tried))
                return replace(made, champion=champion, tried=tuple(tried))
            assert isinstance(made, Exception)
            tried.append(Tried(str(source), to_message(made)))
            old = self.state.champion
            if choose_fate(made) is Fate.STOP or (old is not None and old.source == source):
                # No later source may replace the one that should have answered, or the one that answers.
                return self._keep(ports, tried[-1].why_not)
        said = "; ".join(f"{each.source}: {each.why_not}" for each in tried)
        return replace(self._keep(ports, said or "no setting names a model"), tried=tuple(tried))

    def _keep(self, ports: model_sources.Ports, problem: str) -> State:
        """Returns the current state with `problem`.

        If the process of the model that answers has ended, that model is loaded again, because the model that should
        replace it cannot be loaded."""
        old = self.state.champion
        if old is None or old.is_alive:
            return replace(self.state, problem=problem)
        made = catch(lambda: self._load(ports, model_sources.find_version(ports, old.source, old.name, old.version)))
        if isinstance(made, Loaded):
            return replace(self.state, champion=replace(made, fallback=old.fallback), problem=problem)
        assert isinstance(made, Exception)
        said = f"{problem}; and version {old.version}, which answered, has ended: {to_message(made)}"
        return replace(self.state, problem=said)

    def _is_unchanged(self, ports: model_sources.Ports) -> bool:
        """Returns whether the served models are still right; mostly one read by key, none if they cannot change."""
        state = self.state
        if state.champion is None or state.problem or state.tried:
            return False
        if not all(loaded.is_alive for loaded in state.list_loaded()):
            return False
        if not model_sources.may_change(state.champion.source):
            return True
        if state.revision is None:  # no single row tells
            return self._clock() < self._next_whole_look
        model = model_sources.read_row(ports, state.champion.source)
        return model is not None and model.revision == state.revision

    def _take(self, ports: model_sources.Ports, source: Source) -> State:
        """Returns the state in which the model of `source` answers. Raises: as `find_model` and `load_model`."""
        found = model_sources.find_model(ports, source)
        champion = self._load(ports, found)
        model = found.model
        if model is None or model.production != found.version.version:
            return State(champion=champion, revision=model.revision if model else None, problem="")
        challenger, problem = self._take_challenger(ports, source, model)
        return State(
            champion=champion, challenger=challenger, share=model.share, revision=model.revision, problem=problem
        )

    def _take_challenger(self, ports: model_sources.Ports, source: Source, model: Model) -> tuple[Loaded | None, str]:
        """Loads the challenger, and returns it with the problem, if any; the champion answers even if it fails."""
        number = model.challenger
        if number is None:
            return None, ""
        made = catch(lambda: self._load(ports, model_sources.find_version(ports, source, model.name, number)))
        if isinstance(made, Loaded):
            return made, ""
        assert isinstance(made, Exception)
        return None, f"the challenger, version {number}, does not answer: {to_message(made)}"

    def _load(self, ports: model_sources.Ports, found: Found) -> Loaded:
        """Returns the model, which may be in memory already.

        Files that did not load are tried again after a pause, and so are those of a process that ended more than
        once."""
        for known in self.state.list_loaded():
            if known.identity == found.identity:
                if known.is_alive:
                    return replace(known, source=found.source)
                self._note_end(known)
        self._check_pause(found)
        failure = self._failures.get(found.identity)
        if failure is not None and self._clock() < failure.not_before:
            raise failure.error
        started = self._clock()
        made = catch(lambda: self._open(ports, found))
        if isinstance(made, Exception):
            times = failure.times + 1 if failure else 1
            # Files that hang keep this thread busy for minutes; then it is free for as long, for a rollback.
            pause_s = max(min(LONGEST_PAUSE_S, 2.0**times), self._clock() - started)
            self._failures[found.identity] = _Failure(made, times, self._clock() + pause_s)
            self.failed_loads += 1
            raise made
        self._failures.pop(found.identity, None)
        self._lives[found.identity] = restarts.load(self._lives.get(found.identity), now=self._clock())
        self.loads += 1
        return made

    def _note_end(self, ended: Loaded) -> None:
        life = self._lives.get(ended.identity) or restarts.load(None, now=self._clock())
        self._lives[ended.identity] = restarts.end(life, now=self._clock())

    def _check_pause(self, found: Found) -> None:
        """Raises: TryAgain: the model's process ended too often to be started again so soon."""
        life = self._lives.get(found.identity)
        if life is not None and life.is_over and self._clock() < life.not_before:
            name, version, _ = found.identity
            raise TryAgain(
                f"the process of version {version} of model {name} has ended {life.ends} times in a row, each within "
                f"{restarts.CALM_S:.0f} s of its start; it is loaded again {life.pause_s:.0f} s after the last end. To "
                f'serve the version before: switchyard rollback {name} --reason "its process ends"'
            )

    def _open(self, ports: model_sources.Ports, found: Found) -> Loaded:
        name, version, digest = found.identity
        loaded = Loaded(name=name, version=version, digest=digest, source=found.source)
        paths = leave_out_others([file.path for file in found.manifest.files], self._filename)
        if several := say_several(paths):
            raise BadRequest(f"version {version} of model {name} cannot be served: {several}")
        if choose_flavor(paths) in OF_ROWS:
            rows = load_rows(found.version, found.manifest, ports.open_objects, ports.cache, self._open_rows)
            return replace(loaded, rows=rows)
        recommender = load_model(found.version, found.manifest, ports.open_objects, ports.cache)
        return replace(loaded, recommender=recommender)


def _close_unused(before: State, after: State) -> None:
    """Ends the processes of models that no new request will ask, after current requests are answered."""
    kept = [loaded.rows for loaded in after.list_loaded()]
    for loaded in before.list_loaded():
        if loaded.rows is not None and not any(rows is loaded.rows for rows in kept):
            loaded.rows.close()


def _report(before: State, after: State) -> None:
    """Logs one line for each change that people ask about."""
    if after.champion is not None and (before.champion is None or before.champion.identity != after.champion.identity):
        champion = after.champion
        _log.warning(
            "version %d of model %s answers now (%s, %s)",
            champion.version,
            champion.name,
            champion.digest,
            champion.source,
        )
    if after.problem and after.problem != before.problem:
        _log.error("%s: %s", "degraded" if after.champion else "not ready", after.problem)
