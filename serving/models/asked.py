"""What an address below /models/ or /api/models/ asks for, read alike for pages and programs."""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.registry.names import MAX_VERSION

MOST: Final = 200
"""Models, versions or lines a page."""
_LONGEST: Final = 1_000


def read_name(text: str) -> str:
    """Reads the model that a path names. Raises: NotFound: no database can hold such a name."""
    if "\0" in text or len(text) > _LONGEST:
        raise NotFound(f"there is no model {text[:40]!r}")
    return text


def read_after(text: str | None) -> str:
    """Reads the name that a page of models begins after. Raises: BadRequest."""
    if text and ("\0" in text or len(text) > _LONGEST):
        raise BadRequest(f"`after` must be a model's name, as `next` has it; got {text[:40]!r}")
    return text or ""


def read_whole(name: str, text: str | None, most: int = MAX_VERSION) -> int | None:
    """Reads a whole number of the address; None if it is not there, or empty. Raises: BadRequest."""
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
    if not 1 <= number <= most:
        raise BadRequest(f"`{name}` must be a whole number from 1 to {most}; got {text[:40]!r}")
    return number


def read_moment(text: str | None) -> datetime | None:
    """Reads a time of the address; None if it is not there, or empty. Raises: BadRequest.

    >>> read_moment("2026-01-31T10:30+02:00").isoformat()
    '2026-01-31T08:30:00+00:00'
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise BadRequest(
            f"`at` must be a time, as 2026-01-31 or 2026-01-31T10:30:00Z (without a zone: UTC; write + as %2B); got "
            f"{text[:40]!r}"
        ) from err


def to_page(name: str, *parts: object) -> str:
    """Returns the address of a model's page, or of one below it.

    >>> to_page("a b", "versions", 3)
    '/models/a%20b/versions/3/'
    """
    return "/".join(["/models", *(quote(str(part), safe="") for part in (name, *parts)), ""])


def to_api(name: str, *parts: object, **asked: Any) -> str:
    """Returns the address of a model in the API; what is None in `asked` is left out."""
    given = {key: value for key, value in asked.items() if value is not None}
    return f"/api{to_page(name, *parts)}{'?' + urlencode(given) if given else ''}"
