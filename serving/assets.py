"""The pages' scripts and styles, ours and uPlot's.

Their URLs change with their content, so that a browser may keep them for good.
"""

import base64
import gzip
import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.conditional import NOSNIFF, accepts_gzip
from switchyard.core.errors import BadSetup

if TYPE_CHECKING:
    from fastapi import FastAPI

_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_UPLOT: Final = frozenset({"uplot.iife.min.js", "uplot.min.css"})
"""They lie in the package `youplot`, as uPlot was released."""
_BUNDLES: Final = {
    "site.css": ("page.css", "uplot.min.css"),
    "run.js": (
        *(
            "chart-data.js",
            "uplot.iife.min.js",
            "chart-parts.js",
            "charts.js",
            "curves.js",
            "series.js",
            "histograms.js",
        ),
        *("evaluation.js", "live.js", "page.js", "edit.js"),
    ),
    "list.js": ("suggest.js", "lists.js"),
    "sides.css": ("lists.css", "compare.css"),
    "sides.js": ("chart-data.js", "uplot.iife.min.js", "chart-parts.js", "charts.js", "compare.js"),
}
"""Files that are sent as one: a page of a dozen files waits for a dozen answers. The first script makes all strict."""
_FOR_GOOD: Final = "public, max-age=31536000, immutable"


@lru_cache
def asset_url(name: str) -> str:
    """Returns the address of an asset: ``page.js`` -> ``/static/<hash of its content>/page.js``."""
    return f"/static/{_digest(name)}/{name}"


@lru_cache
def inline_asset(name: str) -> Markup:
    """Returns the file's content to stand in a page: its first picture then waits for one answer and not for two.

    `inline_source` has the policy allow it.
    """
    return Markup(_content(name).decode())  # noqa: S704  (a file of ours)


@lru_cache
def inline_source(name: str) -> str:
    """Returns the word of a Content-Security-Policy that allows just this content, and no other inline.

    Source: https://www.w3.org/TR/CSP3/#external-hash
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(_content(name)).digest()).decode()}'"


def add_assets(app: "FastAPI") -> None:
    """Adds the route that serves them."""
    app.add_route("/static/{digest}/{name}", _send_asset, include_in_schema=False)


def read_asset(name: str) -> bytes:
    """Reads the file from here or from the package that ships it. Raises: BadSetup: that package is not installed."""
    return _path(name).read_bytes()


def _send_asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _names() or request.path_params["digest"] != _digest(name):
        raise HTTPException(404)
    headers = {"Cache-Control": _FOR_GOOD, "Vary": "Accept-Encoding", **NOSNIFF}
    media_type = _MEDIA_TYPES[Path(name).suffix]
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        return Response(_packed(name), headers={**headers, "Content-Encoding": "gzip"}, media_type=media_type)
    return Response(_content(name), headers=headers, media_type=media_type)


@lru_cache
def _names() -> frozenset[str]:
    return _UPLOT | frozenset({*_BUNDLES, *(path.name for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES)})


def _path(name: str) -> Path:
    if name not in _UPLOT:
        return _FOLDER / name
    # Found, not imported: what else is in that package is not ours to run.
    spec = find_spec("youplot")
    if spec is None or spec.origin is None:
        raise BadSetup(
            "the pages' charts need the package youplot; install the extra: pip install -e '.[serving]' in the checkout"
        )
    return Path(spec.origin).parent / "vendor" / name


@lru_cache
def _content(name: str) -> bytes:
    return b"\n".join(read_asset(part) for part in _BUNDLES.get(name, (name,)))


@lru_cache
def _digest(name: str) -> str:
    return hashlib.sha256(_content(name)).hexdigest()[:16]


@lru_cache
def _packed(name: str) -> bytes:
    """Returns the packed content, which is packed once, at the first request."""
    return gzip.compress(_content(name), 9, mtime=0)
