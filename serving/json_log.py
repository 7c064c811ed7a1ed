"""Log lines that a machine reads: one JSON object a line on stdout.

Source: https://cloud.google.com/run/docs/logging#using-json (`severity` and `message` are what Cloud Logging takes).
"""

import json
import logging
import sys


class JsonLines(logging.Formatter):
    """A record as one line: its severity, its message, and what the caller gave as ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line for one event, because everything from outside is escaped."""
        line = {"severity": record.levelname, "message": record.getMessage(), **getattr(record, "fields", {})}
        return json.dumps(line, default=str)


def log_as_json(logger: logging.Logger) -> None:
    """Sends what `logger` says to stdout, from INFO on. A second call changes nothing."""
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
