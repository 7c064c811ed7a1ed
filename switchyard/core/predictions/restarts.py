"""When a model is loaded again after its process ended.

At once after a single end, and after longer pauses where it ends again and again. A request that ends it may come every
second.
"""

from typing import Final

import msgspec

CALM_S: Final = 60.0
"""A process that lived so long starts the count again."""
LONGEST_PAUSE_S: Final = 60.0


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of one version so far, by a clock that only goes on."""

    loaded_at: float
    ends: int = 0  # in a row
    not_before: float = 0.0
    is_over: bool = False

    @property
    def pause_s(self) -> float:
        """The pause between the last end and the next load."""
        return min(LONGEST_PAUSE_S, 2.0 ** min(self.ends - 1, 10)) if self.ends > 1 else 0.0


def load(life: Life | None, *, now: float) -> Life:
    """Notes that a new process has read it."""
    return Life(loaded_at=now, ends=life.ends if life else 0)


def end(life: Life, *, now: float) -> Life:
    """Notes that its process has ended; the same one once more changes nothing."""
    if life.is_over:
        return life
    ends = 1 if now - life.loaded_at >= CALM_S else life.ends + 1
    after = msgspec.structs.replace(life, ends=ends, is_over=True)
    return msgspec.structs.replace(after, not_before=now + after.pause_s)
