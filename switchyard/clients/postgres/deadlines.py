"""How long a caller can wait for answers: said once, for all that is asked while it answers one request.

Who is waited for (a server of requests) says for how long; who waits (a database's connection) counts its waiting, and
gives up. Whatever lies between need not know of it.
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
    """Within it, and in threads that have its context, all waiting together ends after `seconds`. Only waiting counts:
    a machine that does much else is slow, and its database no less well."""
    token = _allowance.set(Allowance(seconds))
    try:
        yield
    finally:
        _allowance.reset(token)


def find_allowance() -> Allowance | None:
    """What is left for whoever asks here; None: no one has said how long there is."""
    return _allowance.get()
