"""uvicorn's access log without tokens: someone will paste one into an address, and logs are kept and passed around."""

import logging
from typing import Final

from switchyard.core.access.tokens import hide_tokens

LONGEST_PART: Final = 4_000
"""Characters of an address in the log. A line of all that a server reads would fill a disk, or a pipe."""


class HideTokens(logging.Filter):
    """Lets every record pass, without the tokens that it holds, and with long addresses cut."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Hides tokens in a line, and in its arguments, which uvicorn's formatter reads one by one."""
        if isinstance(record.msg, str):
            record.msg = hide_tokens(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_shorten(hide_tokens(part)) if isinstance(part, str) else part for part in record.args)
        return True


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_PART else f"{text[:LONGEST_PART]}... ({len(text)} characters)"


def hide_tokens_in_logs() -> None:
    """Hides tokens in the lines of uvicorn's loggers. A second call changes nothing."""
    for name in ("uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, HideTokens) for known in logger.filters):
            logger.addFilter(HideTokens())
