"""What the trainer says while it works: one JSON object a line on stdout, flushed, for the launcher and for Cloud Logging
(which takes ``severity`` and ``message`` from such lines)."""

import json
import math
import sys
from typing import Literal

Severity = Literal["INFO", "WARNING", "ERROR"]


def say(message: str, severity: Severity = "INFO", **fields: str | int | float | None) -> None:
    """Prints one line; a number that JSON has no word for (nan, inf) is printed as null."""
    plain = {
        name: None if isinstance(item, float) and not math.isfinite(item) else item for name, item in fields.items()
    }
    sys.stdout.write(json.dumps({"severity": severity, "message": message, **plain}, allow_nan=False) + "\n")
    sys.stdout.flush()
