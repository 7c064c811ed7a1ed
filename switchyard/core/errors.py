"""Errors, classed by what the caller does next.

Every message says what was expected, what was received, where, and what to do.

Clients translate their vendor's exceptions into these at the border (``raise ... from err``). Only `TryAgain` is ever
retried, and only by a task.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

MAX_MESSAGE: Final = 4_000
"""Characters of an error's text that are kept: some libraries put the whole of what they refuse into it."""


class SwitchyardError(Exception):
    """Anything Switchyard raises on purpose; catch it to print the message without a traceback."""


class TryAgain(SwitchyardError):
    """The same call may succeed later and is safe to repeat: a lock, a lost connection, a quota that refills."""


class TryLater(TryAgain):
    """As `TryAgain`, but minutes were waited already: for a person, or when it is due again; a task gives up."""


class NotFound(SwitchyardError):
    """The thing asked for is not there: an object, a run, a job. Repeating the call does not help by itself."""


class BadRecord(SwitchyardError):
    """A stored record (a metrics file, a row's JSON) is not what its contract says. Mend the record, then ingest again.

    Args:
        where: what was read, e.g. ``training_metrics.json of quick test 81 (file:///...)``.
        problems: one sentence each, starting with the JSON path; all problems found, not just the first.
    """

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        super().__init__(f"{where}: " + "; ".join(self.problems))


class BadRequest(SwitchyardError):
    """The caller asked for what cannot be done: a parameter out of range, a run that is already training. Change it."""


class BadSetup(SwitchyardError):
    """This machine or database must be changed first: a missing setting, an old schema. The message names how."""


class StaleWrite(SwitchyardError):
    """Someone wrote first, or something newer is there already. Read again, then decide whether to write at all."""


class JobFailed(SwitchyardError):
    """The training job itself ended without a result. Read its log (the message says where), then train again."""


def catch(work: Callable[[], T]) -> T | Exception:
    """Returns what `work` returns, or what it raises, of any class.

    For a loop over runs: the trouble of one run is a value that is recorded for that run, and the others go on.
    """
    try:
        return work()
    except Exception as err:  # noqa: BLE001 - one run's data can make anything fail in any way; see the docstring
        return err


def to_message(err: BaseException) -> str:
    """Returns what to tell people of `err`, never without a text.

    For our own errors it is their words; for others it names the class too.
    """
    said = str(err).strip()
    if not isinstance(err, SwitchyardError) or not said:
        said = f"{type(err).__name__}: {said}" if said else type(err).__name__
    return said if len(said) <= MAX_MESSAGE else said[:MAX_MESSAGE] + "..."
