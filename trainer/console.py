"""What the trainer says while it works: one JSON object a line on stdout, flushed, for the launcher and for Cloud
Logging (which takes ``severity`` and ``message`` from such lines)."""

import json
import math
import sys
from collections.abc import Mapping
from typing import Literal

Severity = Literal["INFO", "WARNING", "ERROR"]


def say(message: str, severity: Severity = "INFO", *, fields: Mapping[str, float | None] | None = None) -> None:
    """Prints one line, with `fields` beside the message; a number that JSON has no word for (nan, inf) becomes null."""
    line: dict[str, str | float | None] = {"severity": severity, "message": message}
    for name, item in (fields or {}).items():
        line[name] = item if item is not None and math.isfinite(item) else None
    sys.stdout.write(json.dumps(line, allow_nan=False) + "\n")
    sys.stdout.flush()
