"""The trainer's log: one JSON object per line on stdout, flushed after each line.

The launcher reads it, and so does Cloud Logging, which takes ``severity`` and ``message`` from such lines.
"""

import json
import math
import sys
from collections.abc import Mapping
from typing import Literal

Severity = Literal["INFO", "WARNING", "ERROR"]


def say(message: str, severity: Severity = "INFO", *, fields: Mapping[str, float | None] | None = None) -> None:
    """Prints one line, with `fields` beside the message; a number that JSON cannot hold (nan, inf) becomes null."""
    line: dict[str, str | float | None] = {"severity": severity, "message": message}
    for name, item in (fields or {}).items():
        line[name] = item if item is not None and math.isfinite(item) else None
    sys.stdout.write(json.dumps(line, allow_nan=False) + "\n")
    sys.stdout.flush()
