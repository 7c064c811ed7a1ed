"""Every request has its answer in time, though the database may never give one: 503 then, with Retry-After.

Only then does a load balancer see a server that is at work, and no thread and no connection of it waits for ever.
"""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from switchyard.clients.postgres.deadlines import waiting_at_most

DEADLINE_S: Final = 3.0
"""How long one request waits for the database: a hundred times what the slowest answer takes, and less than a load
balancer, or a person, waits."""


class Deadline:
    """The application, with `DEADLINE_S` for what each request of it asks of the database."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; routes run in this context, or in threads that have a copy of it."""
        with waiting_at_most(DEADLINE_S):
            await self._app(scope, receive, send)
