"""A line of a model's history in a sentence, and numbers as a reader of the pages has them."""

from typing import Any

from switchyard.core.registry.rows import Transition
from switchyard.core.registry.stages import Act, Stage

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def say_share(share: float) -> str:
    """Says a challenger's share of the traffic.

    >>> say_share(0.05), say_share(0.0), say_share(0.125)
    ('5 % of the traffic', 'no traffic: it is only asked', '12.5 % of the traffic')
    """
    return f"{share * 100:.4g} % of the traffic" if share else "no traffic: it is only asked"


def say_size(size_bytes: int) -> str:
    """Says a file's size in powers of a thousand.

    >>> say_size(999), say_size(2**33)
    ('999 bytes', '8.59 GB')
    """
    size, place = float(size_bytes), 0
    while size >= 1_000 and place < len(_UNITS) - 1:
        size, place = size / 1_000, place + 1
    return f"{size:.3g} {_UNITS[place]}" if place else f"{size_bytes} bytes"


def say_line(line: Transition) -> str:
    """Says what was done to the line's version.

    The verb first: the page has the version before it.
    """
    place = f", in the place of version {line.replaced}" if line.replaced is not None else ""
    match line.act:
        case Act.REGISTERED:
            return "registered"
        case Act.IMPORTED:
            return "imported" if line.to_stage is Stage.NONE else f"imported as {line.to_stage}"
        case Act.VALIDATED:
            return say_judgement(line.evidence)
        case Act.MOVED:
            share = f", with {say_share(line.share)}" if line.share is not None else ""
            return f"moved from {line.from_stage} to {line.to_stage}{share}{place}"
        case Act.SHARED:
            return f"given {say_share(line.share or 0.0)}"
        case Act.PROMOTED:
            return f"promoted from {line.from_stage} to Production{place}"
        case Act.ROLLED_BACK:
            return f"brought back to Production by a rollback{place}"
        case Act.REPLACED:
            return f"moved from {line.from_stage} to {line.to_stage}"
        case Act.TOMBSTONED:
            return "tombstoned: it never answers again"
    moved = f", from {line.from_stage} to {line.to_stage}" if line.from_stage is not line.to_stage else ""
    return f"{line.act}{moved}"


def say_judgement(judged: dict[str, Any]) -> str:
    """Says what a comparison said, whatever wrote it.

    >>> say_judgement({"status": "passed", "against": 2})
    'passed against version 2'
    >>> say_judgement({"status": "failed", "against": None}), say_judgement({})
    ('failed; there was no champion', 'compared')
    """
    status = judged.get("status")
    if not isinstance(status, str):
        return "compared"
    against = judged.get("against")
    return f"{status}; there was no champion" if against is None else f"{status} against version {against}"
