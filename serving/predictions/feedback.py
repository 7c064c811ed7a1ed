"""POST /feedback and GET /feedback/stats: what became of predictions, credited to the version that made them.

Separate threads ask the database, so that no answer waits for it.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from prometheus_client import CollectorRegistry, Counter
from starlette.types import Receive, Scope

from serving.predictions.rate import Rate
from serving.predictions.replies import Refused, Reply, read_body, to_json
from serving.predictions.state import State
from switchyard.clients.postgres.deadlines import find_allowance, waiting_at_most
from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, TryAgain
from switchyard.core.ports import Models, Predictions
from switchyard.core.predictions.feedback import (
    KEY_HEADER,
    MAX_BODY_BYTES,
    WAITING_S,
    Kind,
    choose_key,
    read_feedback,
    to_body_digest,
)
from switchyard.core.predictions.rows import Counts, Feedback, NewFeedback, Window
from switchyard.core.predictions.statistics import read_window, to_statistics

FEEDBACK: Final = "/feedback"
STATISTICS: Final = "/feedback/stats"
DATABASE_S: Final = 3.0
STATISTICS_S: Final = 20.0
THREADS: Final = 4
WAITING: Final = 64
"""The most requests that wait; a refusal is better than a longer queue."""
COUNTING: Final = 4
"""The same for statistics, which are counted one after the other, so that feedback does not wait for them."""

T = TypeVar("T")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to feedback."""

    prediction_id: str
    kind: Kind
    product_id: str | None
    value: float | None
    at: datetime
    matched: bool  # False: the prediction's row is not there (yet), so its version is not known
    model: str | None
    version: int | None
    arm: str | None


class FeedbackRoutes:
    """The handlers of feedback."""

    def __init__(
        self,
        predictions: Callable[[], Predictions],
        models: Callable[[], Models],
        read_state: Callable[[], State],
        rate: Rate,
        registry: CollectorRegistry,
    ) -> None:
        self._predictions, self._models, self._read_state, self._rate = predictions, models, read_state, rate
        self._keeping = Asking(THREADS, most=WAITING, seconds=DATABASE_S)
        self._counting = Asking(1, most=COUNTING, seconds=STATISTICS_S)
        self._count = Counter(
            "switchyard_feedback",
            "Feedback by kind and result: new, again (kept before), refused (other feedback has its key)",
            ["kind", "result"],
            registry=registry,
        )

    async def give(self, scope: Scope, receive: Receive) -> Reply:
        """Keeps a caller's feedback, once for each key."""
        self._rate.check(scope)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get(b"content-type", "").partition(";")[0].strip().lower() != "application/json":
            # As in the API's PATCH: a form of another site cannot send this type unless the browser asks first.
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be sent as application/json")
        said = read_feedback(await _read(scope, receive))
        new = NewFeedback(
            idempotency_key=choose_key(headers.get(KEY_HEADER.lower().encode()), said),
            body_digest=to_body_digest(said),
            **msgspec.structs.asdict(said),
        )
        try:
            given = await self._keeping.ask(lambda: self._predictions().give(new, now=datetime.now(UTC)))
        except StaleWrite:
            self._count.labels(said.kind, "refused").inc()
            raise
        self._count.labels(said.kind, "new" if given.is_new else "again").inc()
        replayed = () if given.is_new else ((b"idempotent-replayed", b"true"),)
        return Reply(msgspec.json.encode(to_told(given.feedback)), headers=replayed)

    async def tell_statistics(self, scope: Scope, receive: Receive) -> Reply:
        """Answers how often each kind of feedback was given on each version's predictions."""
        self._rate.check(scope)
        champion = self._read_state().champion
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        window = read_window(asked, model=champion.name if champion else "")
        since = datetime.now(UTC) - timedelta(seconds=WAITING_S)
        counts = await self._counting.ask(lambda: self._count_window(window, since))
        return to_json(to_statistics(window, counts))

    def close(self) -> None:
        """Ends the threads without waiting for them. A second call does nothing."""
        self._keeping.close()
        self._counting.close()

    def _count_window(self, window: Window, since: datetime) -> Counts:
        """Counts the feedback of a window. Raises: BadRequest: it takes too long. NotFound: there is no such model."""
        try:
            counts = self._predictions().count(window, waiting_since=since)
        except BadRequest as err:
            allowance = find_allowance()
            if allowance is None or allowance.left_s > 0:
                raise
            said = f"counting takes longer than {STATISTICS_S:.0f} s: ask for a shorter time, with since and until"
            raise BadRequest(said) from err
        if not (counts.traffic or counts.said or counts.said_of_removed):
            self._check_known(window.model)
        return counts

    def _check_known(self, name: str) -> None:
        """Checks that the registry has the model. Raises: NotFound: it has not."""
        try:
            self._models().read_model(name)
        except NotFound as err:
            said = f"There is no model {name[:80]!r}. List the models: switchyard models, or the page /models"
            raise NotFound(said) from err


class Asking:
    """Threads that ask the database, with limits on how many requests wait for them, and for how long."""

    def __init__(self, threads: int, *, most: int, seconds: float) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="feedback")
        self._most, self._seconds = most, seconds
        self._pending = 0

    async def ask(self, ask: Callable[[], T]) -> T:
        """Returns the database's answer. Raises: TryAgain: it does not answer, or too many requests wait for it."""
        if self._pending >= self._most:
            raise TryAgain(f"{self._pending} requests wait for the results database already; try again")
        self._pending += 1
        try:
            with waiting_at_most(self._seconds):
                run: Any = partial(contextvars.copy_context().run, ask)
            found: T = await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except BadSetup as err:  # such as a missing file or a changed password; trying again works once it is mended
            raise TryAgain(str(err)) from err
        else:
            return found
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Ends the threads without waiting for them. A second call does nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _read(scope: Scope, receive: Receive) -> bytes:
    try:
        return await read_body(scope, receive, MAX_BODY_BYTES)
    except Refused as err:
        raise Refused(err.status, f"the body must have at most {MAX_BODY_BYTES:,} bytes") from err


def to_told(feedback: Feedback) -> Told:
    """Returns the answer to feedback, as it is kept now."""
    return Told(
        prediction_id=feedback.prediction_id,
        kind=feedback.kind,
        product_id=feedback.product_id,
        value=feedback.value,
        at=feedback.at,
        matched=feedback.predicted_at is not None,
        model=feedback.model,
        version=feedback.version,
        arm=feedback.arm,
    )
