"""HTML from the templates: everything from the data is escaped, and no script runs that is not a file of ours."""

import math
import re
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from serving.assets import asset_url, inline_asset, inline_source
from serving.conditional import NOSNIFF
from serving.svg import to_short

STYLE: Final = "site.css"
BEGIN: Final = "begin.js"
"""The two files that stand in the pages themselves."""


@lru_cache
def _to_policy() -> str:
    """Returns the content security policy of a page: files of this server alone, and two inline ones, by their hashes.

    Nothing may come from, or be sent to, another host.
    """
    return (
        f"default-src 'none'; script-src 'self' {inline_source(BEGIN)}; style-src 'self' {inline_source(STYLE)}; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


_AFTER_A_WORD: Final = re.compile(r"(?<=[_./])(?=[^_./])")
"""Where a reader would break a name: ``val_`` ``recall_`` ``at_`` ``10``."""

CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")
"""The name of the token that the request at hand came with; empty: none. Every page shows it."""


class Page(msgspec.Struct, frozen=True):
    """A rendered page and the headers that go with it."""

    content: bytes
    headers: dict[str, str]


def render(template: str, **values: Any) -> Page:
    """Renders the page that `template` makes of `values`."""
    text = _environment().get_template(template).render(**{"caller": CALLER.get(), **values})
    return Page(
        text.replace("\0", "\ufffd").encode(),  # as a browser reads a NUL, which JSON can hold
        {"Content-Security-Policy": _to_policy(), "Referrer-Policy": "same-origin", **NOSNIFF},
    )


def with_forms(page: Page) -> Page:
    """Returns the page, which may send its forms to this server."""
    policy = page.headers["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'")
    return Page(page.content, {**page.headers, "Content-Security-Policy": policy})


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {}  # not sorted: the curves have an order of their own
    environment.globals["asset_url"] = asset_url
    environment.globals["inline_asset"] = inline_asset
    environment.filters["breakable"] = _breakable
    environment.filters["moment"] = _moment
    environment.filters["number"] = _number
    return environment


def _breakable(name: str) -> Markup:
    """Returns a name that a browser breaks between its words if it must; what is copied of it stays the name."""
    return Markup("<wbr>").join(escape(word) for word in _AFTER_A_WORD.split(name))


def _moment(at: datetime) -> str:
    """Returns a time as a page shows it: ``2026-01-02 10:30 UTC``."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _number(value: Any) -> str:
    """Returns a value as a table shows it: four significant digits; a missing one as a dash."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float) and math.isfinite(value):
        return to_short(value)
    return str(value)
