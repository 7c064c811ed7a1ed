"""Connects to Postgres without ever waiting for ever.

A server, or a proxy before it, may take a connection, acknowledge every packet, and never answer. Then nothing helps
that the server or the kernel is told: `statement_timeout` is the server's own to keep, `tcp_user_timeout` and
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
"""Longer than any statement may take (`statement_timeout` of the results database): an answer is due before that, even
if it is an error."""


CANCEL_S = 1.0
"""How long to tell the server that its work is not needed. A server that does not even take that has other troubles."""


class BoundedConnection(psycopg.Connection[TupleRow]):
    """Gives up after `silence_s` of the server's silence, or at the caller's deadline (`deadlines`), and closes itself.

    What comes later would be the answer to another question. The server is told to stop what it was doing. Else it
    would go on to the end of its own `statement_timeout`, because it does not notice sooner that no one listens.

    Raises: psycopg.OperationalError, as for any lost connection.
    """

    silence_s: float = SILENCE_S

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """Waits as Psycopg's own does; all that is asked of the server goes through it."""
        try:
            return super().wait(_give_up(gen, self.silence_s), *arguments, **options)
        except GaveUp:
            # A connection that is still being made has nothing to stop.
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
    """Runs `gen` until nothing was ready for too long.

    It yields what it waits for, and is sent what is ready (0: nothing yet)."""
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
