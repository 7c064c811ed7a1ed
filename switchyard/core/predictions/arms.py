"""Which of two versions answers a buyer, how their answers compare, and when the challenger is stopped: pure decisions.

Nothing is stored to keep a buyer with the same version: the share and a hash of the buyer say it on every server.
"""

import hashlib
from collections.abc import Collection, Sequence
from enum import StrEnum
from statistics import fmean
from typing import Final

import msgspec

MIN_CALLS: Final = 50
"""Fewer answers of a challenger say nothing of its rate of errors."""
MAX_ERROR_RATE: Final = 0.05
WINDOW_CALLS: Final = 500
"""The newest answers that count: one that was good for a week is stopped as soon as a new one."""


class Arm(StrEnum):
    """The two groups of buyers."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """How a model's traffic is split."""

    model: str
    salt: str = ""  # the challenger's (`to_salt`)
    share: float = 0.0  # of the buyers, that the challenger answers; 0: none, it is in the shadow or there is none


def to_salt(version: int, digest: str) -> str:
    """Returns a challenger's salt: each has another, or the same buyers would get every experiment."""
    return f"{version}:{digest}"


def to_fraction(split: Split, buyer_id: str) -> float:
    """Returns the place of a buyer from 0 to below 1.

    It is always the same for one salt, evenly spread, and another one under another salt.
    """
    hashed = hashlib.sha256(f"{split.salt}\0{split.model}\0{buyer_id}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(hashed[:8], "big") >> 11) / 2**53  # 53 bits are what a float holds exactly


def choose_arm(split: Split, buyer_id: str) -> Arm:
    """Returns the arm of a buyer; a request that names none (empty) is the champion's.

    A greater share moves buyers to the challenger and none back.
    """
    if not buyer_id or split.share <= 0:
        return Arm.CHAMPION
    return Arm.CHALLENGER if to_fraction(split, buyer_id) < split.share else Arm.CHAMPION


def find_reason_to_stop(calls: int, errors: int) -> str:
    """Returns why a challenger must not answer any more; empty: it may go on.

    `errors` of its newest `calls` answers failed.

    An answer that failed was the champion's then, so no buyer waits for this decision.
    """
    if calls < MIN_CALLS or errors <= MAX_ERROR_RATE * calls:
        return ""
    return f"{errors} of its last {calls} answers failed; more than {MAX_ERROR_RATE:.0%} may not"


def to_overlap(champion: Sequence[str], challenger: Sequence[str]) -> float:
    """Returns overlap@k, from 0 to 1: the part of the longer list's products that both have; 1 if both are empty."""
    longer = max(len(champion), len(challenger))
    return len(set(champion) & set(challenger)) / longer if longer else 1.0


def to_drift(champion: Collection[float], challenger: Collection[float]) -> float:
    """Returns how much higher the challenger's scores are, on the mean of each list; 0 if either is empty."""
    return fmean(challenger) - fmean(champion) if champion and challenger else 0.0
