"""Puts together the work behind the answers: predictions are written, feedback is kept, challengers are compared."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from serving.predictions.answering import Answered, RowsAnswered
from serving.predictions.feedback import FEEDBACK, STATISTICS, FeedbackRoutes
from serving.predictions.holder import Holder
from serving.predictions.rate import Rate
from serving.predictions.recording import Recorder
from serving.predictions.routes import Routes
from serving.predictions.routing import Router
from serving.predictions.shadow import Shadow
from serving.predictions.state import State
from switchyard.clients.buyer_key import read_buyer_key
from switchyard.clients.connect import Outside
from switchyard.core.predictions.requests import PredictRequest, RowsRequest


@dataclass(frozen=True)
class Behind:
    """The work behind the answers of one process."""

    router: Router
    recorder: Recorder
    shadow: Shadow
    feedback: FeedbackRoutes

    def add_routes(self, routes: Routes) -> None:
        """Adds the routes of feedback."""
        routes.add("POST", FEEDBACK, self.feedback.give)
        routes.add("GET", STATISTICS, self.feedback.tell_statistics)

    def note(self, request: PredictRequest, state: State, answered: Answered, seconds: float) -> None:
        """Notes an answer that was sent, to be written and compared."""
        self.recorder.note(request, state, answered, seconds)
        self.shadow.note(request, state, answered, seconds)

    def note_rows(self, request: RowsRequest, state: State, answered: RowsAnswered, seconds: float) -> None:
        """Notes an answer to rows that was sent; no challenger is asked for rows."""
        self.recorder.note(request, state, answered, seconds)

    def start(self) -> None:
        """Starts the threads."""
        self.recorder.start()
        self.shadow.start()

    def stop(self) -> None:
        """Ends the threads, after writing what is waiting. A second call does nothing."""
        self.router.stop()
        self.shadow.stop()
        self.feedback.close()
        self.recorder.stop()


def make_behind(outside: Outside, holder: Holder, rate: Rate, registry: CollectorRegistry) -> Behind:
    """Makes all parts over `outside`, with their metrics in `registry`. Raises: BadSetup: BUYER_KEY_FILE is not valid.

    `outside` is asked only once there is something to do."""
    recorder = Recorder(lambda: outside.predictions, read_buyer_key(outside.settings))
    registry.register(recorder)
    return Behind(
        router=Router(lambda: outside.models, lambda: holder.state, registry),
        recorder=recorder,
        shadow=Shadow(registry),
        feedback=FeedbackRoutes(
            lambda: outside.predictions, lambda: outside.models, lambda: holder.state, rate, registry
        ),
    )
