"""Reads ``training_metrics.json``: decodes it, and hands it to the reader of its schema version."""

import json
from typing import Any

import msgspec

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.checks import Checks, describe
from switchyard.core.metrics.nonfinite import MAX_DEPTH, TooDeep, take_non_finite
from switchyard.core.metrics.paths import to_path
from switchyard.core.metrics.record import SCHEMA_VERSION, MetricsRecord
from switchyard.core.metrics.sizes import refuse_large
from switchyard.core.metrics.version0 import from_version0
from switchyard.core.metrics.version1 import SECTIONS, from_version1

_MEND = "mend the file, or have the trainer write it again, then ingest again"


def read_record(data: bytes, *, where: str) -> MetricsRecord:
    """Reads the record in a metrics file of schema version 1, or of version 0.

    A file of version 0 has no ``schema_version``: a legacy collector wrote it.

    Args:
        data: the whole file.
        where: what it is, for messages: ``training_metrics.json of quick test 81 (file:///...)``.

    Raises:
        BadRecord: it is not such a file, or breaks its version's contract; all problems found. Nothing else is raised,
            whatever the bytes.
    """
    try:
        refuse_large(data, SECTIONS - {"params"}, where)
        tree, refusal = _decode(data, where)
        if "schema_version" not in tree:
            return from_version0(tree, where)
        version = tree["schema_version"]
        if type(version) is not int or version != SCHEMA_VERSION:  # True == 1 and 1.0 == 1, but neither is a version
            expected = f"`schema_version` must be the integer {SCHEMA_VERSION}, or absent in a legacy file (version 0)"
            raise BadRecord(where, [f"{expected}; got {describe(version)}; read it with the Switchyard that wrote it"])
        if refusal:
            _refuse_tokens(tree, where, refusal)
        return from_version1(tree, where)
    except (RecursionError, TooDeep) as err:
        raise BadRecord(where, [f"it must be nested at most {MAX_DEPTH} deep; got more; {_MEND}"]) from err


def _decode(data: bytes, where: str) -> tuple[dict[str, Any], str]:
    """Returns the JSON object in `data`, and why it is not strict JSON (empty: it is)."""
    if not data.strip():
        raise BadRecord(where, [f"it must be a JSON object; got {len(data)} bytes with nothing in them; {_MEND}"])
    tree: Any
    refusal = ""
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        refusal = str(err)
        tree = _decode_loosely(data, where, refusal)
    if not isinstance(tree, dict):
        raise BadRecord(where, [f"it must be a JSON object; got {describe(tree)}; {_MEND}"])
    return tree, refusal


def _decode_loosely(data: bytes, where: str, refusal: str) -> Any:
    """Returns what Python's own decoder, which knows the tokens NaN and Infinity, makes of what strict JSON refused."""
    text = ""
    try:
        text = data.decode()
        tree = json.loads(text)
        msgspec.json.encode(tree)  # half a surrogate pair (\\ud800) is not text that can be written again
    except UnicodeDecodeError as err:
        problem = f"it must be UTF-8; got the byte 0x{data[err.start]:02x} at {err.start}"
        raise BadRecord(where, [f"{problem}; {_MEND}"]) from err
    except json.JSONDecodeError as err:
        is_cut = err.pos >= len(text.rstrip()) or err.msg.startswith("Unterminated string")
        found = "an end in the middle, as if it was cut off" if is_cut else err.msg
        place = f"line {err.lineno}, column {err.colno}; {len(data)} bytes in all"
        raise BadRecord(where, [f"it must be JSON; got {found} ({place}); {_MEND}"]) from err
    except ValueError as err:  # a number of more than 4,300 digits; half a surrogate pair
        raise BadRecord(where, [f"it must be strict JSON; got {refusal} ({err}); {_MEND}"]) from err
    return tree


def _refuse_tokens(tree: dict[str, Any], where: str, refusal: str) -> None:
    """Names each NaN and Infinity of a file that must be strict JSON."""
    checks = Checks(where)
    for keys, kind in take_non_finite(tree)[1]:
        names = [key for key in keys if isinstance(key, str)]
        path = to_path(*names) + "".join(f"[{key}]" for key in keys if isinstance(key, int))
        token = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[kind]
        checks.refuse(path, "be null, with its kind in `non_finite` (version 1 is strict JSON)", f"the token {token}")
    checks.problems = checks.problems or [f"it must be strict JSON; got {refusal}; {_MEND}"]
    checks.raise_problems()
