"""How long a caller can wait for answers: said once, for all that is asked while it answers one request.

The server of requests, which is waited for, says for how long. The database's connection, which waits, counts its
waiting and gives up. Nothing between need know of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Allowance:
    """The seconds of waiting that are left; below zero they are used up."""

    def __init__(self, seconds: float) -> None:
        self.left_s = seconds


_allowance: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Ends all waiting within it together after `seconds`, also in threads that have its context.

    Only waiting counts: on a busy machine the work is slow, though its database is well."""
    token = _allowance.set(Allowance(seconds))
    try:
        yield
    finally:
        _allowance.reset(token)


def find_allowance() -> Allowance | None:
    """Returns what is left for the caller here; None: no one has said how long there is."""
    return _allowance.get()
