"""Logs the growing record to MLflow from its own thread, and never delays or fails the training.

A server that does not answer is tried again until the training's end, and then given up.
"""

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import SwitchyardError, TryAgain
from switchyard.core.metrics.record import MetricsRecord, RunIdentity
from switchyard.core.mlflow.logged import LoggedPoint, list_last_points, list_points, to_logged_params, to_logged_tags
from switchyard.core.ports import Objects
from switchyard.core.runs.spec import TrainSpec, to_digested
from trainer.console import say
from trainer.environment import MlflowEnvironment
from trainer.output.model_parts import MODEL_FOLDER, MODEL_TAG, ModelPart, fetch_model, to_digest
from trainer.stopping import StopWish

if TYPE_CHECKING:
    from switchyard.clients.mlflow.log import LoggedRun, RunEnd

COLD_START_S: Final = 120.0
FLUSH_S: Final = 30.0
"""The time at the training's end for what is not logged yet; longer if a cold server has not answered at all."""
MODEL_S: Final = 120.0
"""The same for each file of the model, which goes last."""
STOP_FLUSH_S: Final = 8.0
"""The same after SIGTERM: Google Cloud and our own launcher kill 30 s later, and a checkpoint may have taken half."""
EPOCHS_AT_ONCE: Final = 20
"""The most epochs in one hand-over; an epoch has about 130 values."""
BATCH_POINTS: Final = 1000
_LONGEST_PAUSE_S: Final = 60.0
_LOOK_S: Final = 0.2
_LEADING_KEY: Final = "loss"  # the charted series that every epoch has

T = TypeVar("T")


class _OutOfTime(Exception):
    """The training has ended and cannot wait any longer."""


class _Handed(msgspec.Struct, frozen=True):
    points: list[LoggedPoint]
    params: dict[str, str]
    tags: dict[str, str]


class Tracker:
    """One training process' logging to MLflow: call `offer` when an epoch ends, and `finish` once.

    No queue builds up. The thread gets epochs only when it has logged the ones before, at most EPOCHS_AT_ONCE of those
    that have come since; the record holds all of them anyway.

    Args:
        open_run: finds or makes the MLflow run; it waits with the function that it is given.
        announce: writes the MLflow run's id beside the run's files.
    """

    def __init__(
        self,
        open_run: Callable[[Callable[[float], None]], "LoggedRun"],
        announce: Callable[[str], None],
        wish: StopWish,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_run = open_run
        self._announce = announce
        self._wish = wish
        self._clock = clock
        self._started_at = clock()
        self._changed = threading.Condition()
        self._run: LoggedRun | None = None
        self._next: int | None = None  # position of the first epoch not handed over; None: not known yet
        self._handed: _Handed | None = None
        self._is_idle = False
        self._last: tuple[MetricsRecord, RunEnd, int, str] | None = None
        self._deadline: float | None = None
        self._model_until: float | None = None  # while the model is uploaded: earlier than the deadline, so that the
        # run is still closed in time
        self._is_hurried = False
        self._is_whole = False
        self._problem = ""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def offer(self, record: MetricsRecord, restored: int) -> None:
        """Hands epochs of `record` to the thread if it is free; returns at once.

        Args:
            restored: how many of its epochs an earlier process trained. Later ones are logged again: that process may
                have logged them before it ended, and some values differ now (the seconds that an epoch took).
        """
        with self._changed:
            if not self._is_idle:
                return
        first = self._find_next(record, restored)
        last = min(first + EPOCHS_AT_ONCE, len(record.epochs))
        handed = _Handed(list_points(record, first, last), to_logged_params(record), to_logged_tags(record))
        with self._changed:
            self._handed, self._next, self._is_idle = handed, last, False
            self._changed.notify_all()

    def finish(self, record: MetricsRecord, end: "RunEnd", restored: int, *, model_uri: str = "") -> bool:
        """Logs the rest of `record`, and the model at `model_uri` if given, and closes the MLflow run.

        Returns True if MLflow has all of the record. A second call returns the same. It waits for at most FLUSH_S, or
        STOP_FLUSH_S after SIGTERM. If the server has never answered and there are epochs to lose, it waits at least
        until COLD_START_S after the start. For each file of the model it waits at most MODEL_S."""
        with self._changed:
            if self._last is None:
                now = self._clock()
                cold_until = self._started_at + COLD_START_S if self._run is None and record.epochs else now
                self._last, self._deadline = (record, end, restored, model_uri), max(now + FLUSH_S, cold_until)
                self._changed.notify_all()
        while self._thread.is_alive() and self._clock() < self._shorten_deadline():
            self._thread.join(_LOOK_S)
        if not self._is_whole:
            why = self._problem or "the server did not take it in time"
            say(f"MLflow does not have all of this run: {why}", "WARNING")
        return self._is_whole

    def _shorten_deadline(self) -> float:
        assert self._deadline is not None
        with self._changed:
            soon = self._clock() + STOP_FLUSH_S
            if self._wish.made and not self._is_hurried:
                self._deadline, self._is_hurried = min(soon, self._deadline), True
            return self._deadline

    def _find_next(self, record: MetricsRecord, restored: int) -> int:
        """Returns where to go on after what an earlier process logged; an epoch it may have cut off is logged again."""
        if self._next is None:
            assert self._run is not None
            latest = self._run.latest.get(_LEADING_KEY)
            logged = 0 if latest is None else sum(epoch < latest.step for epoch in record.epochs)
            self._next = min(logged, restored)
        return self._next

    def _work(self) -> None:
        try:
            self._serve(self._insist(self._open))
        except _OutOfTime:
            pass
        except SwitchyardError as err:
            self._give_up(str(err))
        except Exception as err:  # noqa: BLE001 - any error is reported and ends the logging; the training goes on
            self._give_up(f"{type(err).__name__}: {err}")
        finally:
            if self._run is not None:
                self._run.close()

    def _open(self) -> "LoggedRun":
        run = self._run or self._open_run(self._pause)
        with self._changed:
            self._run = run
        self._announce(run.run_id)
        say(f"logging to MLflow run {run.run_id}")
        return run

    def _serve(self, run: "LoggedRun") -> None:
        tags: dict[str, str] = {}
        while True:
            with self._changed:
                self._is_idle = self._handed is None
                self._changed.wait_for(lambda: self._handed is not None or self._last is not None)
                handed, self._handed, self._is_idle = self._handed, None, False
            if handed is None:
                break
            self._insist(partial(run.log_params, handed.params))
            if tags != handed.tags:
                tags = handed.tags
                self._insist(partial(run.log_tags, tags))
            self._log(run, handed.points)
        assert self._last is not None
        self._end(run, *self._last)
        self._is_whole = True

    def _end(self, run: "LoggedRun", record: MetricsRecord, end: "RunEnd", restored: int, model_uri: str) -> None:
        self._insist(partial(run.log_params, to_logged_params(record)))
        self._insist(partial(run.log_tags, to_logged_tags(record)))
        for first in range(self._find_next(record, restored), len(record.epochs), EPOCHS_AT_ONCE):
            self._log(run, list_points(record, first, first + EPOCHS_AT_ONCE))
        # An earlier process may have logged these already.
        known = {(key, point.step): point.value for key, point in run.latest.items()}
        self._log(run, [p for p in list_last_points(record) if known.get((p.key, p.step)) != p.value])
        if model_uri:
            self._put_model(run, model_uri)
        self._insist(partial(run.end, end, _now_ms()))

    def _put_model(self, run: "LoggedRun", model_uri: str) -> None:
        """Uploads the model to ``model/`` of the MLflow run, unless it is there; an error is only a warning."""
        try:
            with tempfile.TemporaryDirectory(prefix="switchyard-model-") as folder:
                self._extend()
                self._put_files(run, fetch_model(model_uri, Path(folder)))
        except _OutOfTime:
            if self._is_hurried:
                raise
            said = self._problem or "the server did not take it in time"
            say(f"the model is not in MLflow: {said}. It is in {model_uri}", "WARNING")
        except Exception as err:  # noqa: BLE001 - after any error, the training has its model, and the run must be closed
            what = str(err) if isinstance(err, SwitchyardError) else f"{type(err).__name__}: {err}"
            say(f"the model is not in MLflow: {what}. It is in {model_uri}", "WARNING")
        finally:
            self._model_until = None

    def _put_files(self, run: "LoggedRun", files: Sequence[ModelPart]) -> None:
        digest = to_digest(files)
        if run.tags.get(MODEL_TAG) == digest:
            say("the model is in MLflow already")
            return
        for part in files:
            self._extend()
            self._insist(partial(run.log_file, f"{MODEL_FOLDER}/{part.path}", part.file, _open_objects))
        # Set last: the tag says that all files are there.
        self._insist(partial(run.log_tags, {MODEL_TAG: digest}))
        say(f"the model is in MLflow, under {MODEL_FOLDER}/ of run {run.run_id}: {len(files)} files")

    def _extend(self) -> None:
        """Gives the next file its own time, unless the process was asked to end."""
        with self._changed:
            if self._deadline is not None and not self._is_hurried:
                self._model_until = self._clock() + MODEL_S
                self._deadline = max(self._deadline, self._model_until + FLUSH_S)

    def _log(self, run: "LoggedRun", points: Sequence[LoggedPoint]) -> None:
        now_ms = _now_ms()
        for start in range(0, len(points), BATCH_POINTS):
            batch = points[start : start + BATCH_POINTS]
            self._insist(partial(run.log_points, batch, now_ms))

    def _insist(self, call: Callable[[], T]) -> T:
        """Calls until the server answers, with growing pauses; it warns once, however long it takes."""
        pause_s, is_told = 1.0, False
        while True:
            try:
                answer = call()
            except TryAgain as err:
                if not is_told:
                    say(f"MLflow does not answer; the training goes on, and logging is tried again: {err}", "WARNING")
                is_told, self._problem = True, str(err)
                self._pause(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            else:
                self._problem = ""
                if is_told:
                    say("MLflow answers again")
                return answer

    def _pause(self, seconds: float) -> None:
        """Waits, but not past the deadline; the training's end cuts one wait short, for a last try."""
        with self._changed:
            until = self._clock() + seconds
            ended = self._last is not None
            while (now := self._clock()) < until:
                if any(end is not None and now >= end for end in (self._deadline, self._model_until)):
                    raise _OutOfTime
                if not ended and self._last is not None:
                    return
                self._changed.wait(min(until - now, _LONGEST_PAUSE_S if self._deadline is None else _LOOK_S))

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        say(f"nothing more is logged to MLflow; the training goes on: {problem}", "WARNING")


def start_tracking(
    spec: TrainSpec,
    identity: RunIdentity,
    environment: MlflowEnvironment,
    *,
    experiment: str,
    folder_uri: str,
    announce: Callable[[str], None],
    wish: StopWish,
) -> Tracker:
    """Starts a tracker of the training that `spec` and `identity` describe; a cold server may take a minute.

    Raises:
        BadSetup: the address is not valid, or the variables contradict each other.
    """
    from switchyard.clients.mlflow.log import Access, Patience, RunOrder, check_access, open_log
    from switchyard.core.runs.ownership import to_tags

    access = Access(
        uri=environment.tracking_uri,
        auth=environment.tracking_auth,
        token=environment.tracking_token,
        username=environment.tracking_username,
        password=environment.tracking_password,
    )
    check_access(access)
    prefix = environment.run_name or "quick-test"
    order = RunOrder(
        experiment=experiment or environment.experiment_name or "Default",
        name=f"{prefix}-{identity.quick_test_id}",
        training=_to_training(spec, identity, folder_uri),
        tags=to_tags(identity) | {"switchyard.name": identity.name, "switchyard.artifacts_uri": folder_uri},
    )
    caller = (environment.identity_service_account, environment.identity_from_gcloud == "yes")

    def open_run(pause: Callable[[float], None]) -> "LoggedRun":
        patience = Patience(pause=pause, cold_start_s=COLD_START_S)
        return open_log(access, order, now_ms=_now_ms(), patience=patience, identity=caller)

    return Tracker(open_run, announce, wish)


def _to_training(spec: TrainSpec, identity: RunIdentity, folder_uri: str) -> str:
    """Returns an id of the training, the same for every process of one job.

    A later attempt or another configuration gets its own MLflow run, because MLflow does not let params change."""
    asked = to_digested(spec)
    if not asked["mlflow_model"]:
        del asked["mlflow_model"]  # a training that began before this setting existed goes on in its run
    said = [folder_uri, identity.key, identity.attempt, identity.quick_test_id, asked]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:32]


def _open_objects(uri: str) -> Objects:
    """Opens the store without its own retries, because `_insist` retries and knows the deadline."""
    return open_objects(uri)


def _now_ms() -> int:
    return int(time.time() * 1000)
