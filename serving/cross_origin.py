"""Which other sites' pages may call the API from a browser (CORS_ORIGINS): with a token in a header, never a cookie."""

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


class CrossOrigin(CORSMiddleware):
    """Starlette's middleware for other origins, as we need it.

    Cookies are left out, so that `*` lets no one act as the person at the browser.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "OPTIONS", "PATCH"),
            allow_headers=("Authorization", "Content-Type", "If-None-Match"),
            allow_credentials=False,
            expose_headers=("ETag", "Retry-After"),
        )
