"""What is known of the copy of a run's artifacts, and what became of one."""

from datetime import datetime
from typing import Literal

import msgspec

from switchyard.core.artifacts.manifest import LeftOut

_SHOWN = 5


class ArtifactCopy(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a run's copy: where it is, and which manifest is its newest."""

    mlflow_run_id: str
    to_uri: str  # below which its objects and manifest are, without a slash at its end
    digest: str  # the manifest's
    objects: int
    size_bytes: int
    left_out: int  # objects that are there and not kept
    copied_at: datetime


class RunCopied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run's artifacts.

    States: `copied`, and `unchanged` if nothing was to do; `nothing`: it has none; `partial`: all but what `failed`
    says; `failed`: none of it, `reason` says why.
    """

    mlflow_run_id: str
    quick_test_ids: tuple[int, ...] = ()
    state: Literal["copied", "unchanged", "nothing", "partial", "failed"]
    digest: str = ""
    objects: int = 0  # that are kept
    size_bytes: int = 0
    copied: int = 0  # of them, read in this call
    copied_bytes: int = 0
    failed: tuple[LeftOut, ...] = ()
    reason: str = ""

    @property
    def problem(self) -> str:
        """What is wrong, for people; empty: nothing."""
        if self.reason:
            return self.reason
        return say_left_out(self.failed, self.objects + len(self.failed))


class RunVerified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a run's copy.

    States: `kept`: every artifact is there, with its hash; `partial`: and some were left out when it was copied;
    `differs`: `problems` says what is missing or another one; `missing`: there is no copy; `nothing`: it has none to
    copy, as far as its copy says; `unread`: its copy or its source did not answer, so that nothing is known.
    """

    mlflow_run_id: str
    quick_test_ids: tuple[int, ...] = ()
    state: Literal["kept", "partial", "differs", "missing", "nothing", "unread"]
    objects: int = 0
    size_bytes: int = 0
    problems: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """What is wrong, for people; empty: nothing."""
        more = len(self.problems) - _SHOWN
        return "; ".join(self.problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def say_left_out(left_out: tuple[LeftOut, ...], total: int) -> str:
    """Returns what was not copied, the first few by name; empty: all was."""
    if not left_out:
        return ""
    more = len(left_out) - _SHOWN
    shown = "; ".join(str(one) for one in left_out[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return f"{len(left_out)} of {total} artifacts are not copied: {shown}"
