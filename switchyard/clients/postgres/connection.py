"""A connection to Postgres that never waits for ever.

A server, or a proxy before it, may take a connection, acknowledge every packet, and never answer. Nothing that the
server or the kernel is told helps then: `statement_timeout` is the server's own to keep, `tcp_user_timeout` and
keepalives end only when acknowledgements stay away, and `connect_timeout` is over once the session is there. So the
waiting itself is bounded here, where it is done: Psycopg asks for data in a loop, and wakes ten times a second.
"""

import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Self

import psycopg
from psycopg.rows import TupleRow

from switchyard.clients.postgres.deadlines import Allowance, find_allowance

SILENCE_S = 90.0
"""Longer than any statement may take (`statement_timeout` of the results database): an answer is due before that, if
only an error."""


CANCEL_S = 1.0
"""How long to tell the server that its work is in vain. One that does not even take that has other troubles."""


class BoundedConnection(psycopg.Connection[TupleRow]):
    """Gives up when the server was silent for `silence_s`, or when whoever asks has waited as long as it can
    (`deadlines`), and closes itself: what comes later would be the answer to another question. The server is told to
    stop what it was doing; it would go on to the end of its own `statement_timeout`, and sees no sooner that no one
    listens.

    Raises: psycopg.OperationalError, as for any connection that is lost.
    """

    silence_s: float = SILENCE_S

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """As Psycopg's own, which all that is asked of the server goes through."""
        try:
            return super().wait(_give_up(gen, self.silence_s), *arguments, **options)
        except GaveUp:
            # Of a connection that is still being made there is nothing to stop.
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_S)
            self.pgconn.finish()
            raise

    @classmethod
    def _connect_gen(cls, *arguments: Any, **options: Any) -> Generator[Any, Any, Self]:
        # `connect_timeout`, of whole seconds and two at least, holds for each address of a host by itself.
        return _give_up(super()._connect_gen(*arguments, **options), cls.silence_s)


class GaveUp(psycopg.OperationalError):
    """The server did not answer in time."""


def _give_up(gen: Generator[Any, Any, Any], silence_s: float) -> Generator[Any, Any, Any]:
    """`gen`, which yields what it waits for and is sent what is ready (0: nothing yet), until there was none for too
    long."""
    allowance, silent_s = find_allowance(), 0.0
    try:
        _check(silent_s, silence_s, allowance)
        waits_for = next(gen)
        while True:
            began = time.monotonic()
            ready = yield waits_for
            waited_s = time.monotonic() - began
            silent_s = 0.0 if ready else silent_s + waited_s
            if allowance is not None:
                allowance.left_s -= waited_s
            _check(silent_s, silence_s, allowance)
            waits_for = gen.send(ready)
    except StopIteration as end:
        return end.value
    finally:
        gen.close()


def _check(silent_s: float, silence_s: float, allowance: Allowance | None) -> None:
    if silent_s >= silence_s or (allowance is not None and allowance.left_s <= 0):
        raise GaveUp(f"no answer from the database server within the time there was; silent for {silent_s:.1f} s")
