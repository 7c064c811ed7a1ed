"""What `clean` answers, and how it is shown."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from switchyard.cli import to_command
from switchyard.core.decommission.clearing import Cleared, Plan, Policy, What, to_digest

_SHOWN = 20


class CleanLine(msgspec.Struct, frozen=True, kw_only=True):
    """A thing, and what will become or became of it."""

    what: What
    name: str
    objects: int
    size_bytes: int
    delete: bool
    reason: str


class CleanResult(msgspec.Struct, frozen=True, kw_only=True):
    """The plan and, if it was carried out, what became of it."""

    digest: str
    policy: Policy
    lines: list[CleanLine]
    cleared: list[Cleared] | None = None  # None: nothing was asked to be deleted

    @property
    def counts(self) -> list[tuple[str, str, str, str]]:
        """Returns a line for each kind: things kept, things stale, and their bytes."""
        kinds = Counter(line.what for line in self.lines)
        return [(what, *self._count(what)) for what in What if kinds[what]]

    @property
    def notes(self) -> list[str]:
        """Says what is stale, what is not recognised, and what to type."""
        said = [f"stale: {line.name} ({line.size_bytes:,} bytes): {line.reason}" for line in self.lines if line.delete]
        odd = [f"kept: {line.name}: {line.reason}" for line in self.lines if line.what is What.UNKNOWN]
        return [*_cut(said), *_cut(odd), *self._say_next()]

    def _count(self, what: What) -> tuple[str, str, str]:
        stale = [line for line in self.lines if line.what is what and line.delete]
        kept = sum(line.what is what for line in self.lines) - len(stale)
        return f"{kept:,}", f"{len(stale):,}", f"{sum(line.size_bytes for line in stale):,}"

    def _say_next(self) -> list[str]:
        if self.cleared is not None:
            kept = [f"kept after all: {one.name}: {one.kept}" for one in self.cleared if one.kept]
            objects = sum(one.deleted for one in self.cleared)
            size = sum(one.size_bytes for one in self.cleared)
            return [*_cut(kept), f"deleted: {objects:,} objects, {size:,} bytes"]
        if not any(line.delete for line in self.lines):
            return ["nothing is stale"]
        flags = "".join(f" --{name}" for name in ("models", "copies") if getattr(self.policy, name))
        days = self.policy.older_than_days
        flags += f" --older-than-days {days}" if days != Policy().older_than_days else ""
        return [f"Nothing was deleted. To delete what is stale: {to_command()} clean{flags} --apply {self.digest[:16]}"]


def to_clean_result(plan: Plan, cleared: Sequence[Cleared] | None) -> CleanResult:
    """Returns the answer of `clean`, from a plan and what became of it."""
    lines = [
        CleanLine(
            what=one.thing.what,
            name=one.thing.name,
            objects=len(one.thing.objects),
            size_bytes=one.thing.size_bytes,
            delete=one.delete,
            reason=one.reason,
        )
        for one in plan.decisions
    ]
    return CleanResult(
        digest=to_digest(plan),
        policy=plan.policy,
        lines=lines,
        cleared=None if cleared is None else list(cleared),
    )


def to_rows(result: CleanResult) -> list[dict[str, Any]]:
    """Returns a table's rows: the counts, and what someone must look at."""
    rows = [{"what": what, "kept": kept, "stale": stale, "bytes": size} for what, kept, stale, size in result.counts]
    return [*rows, *({"what": said, "kept": "", "stale": "", "bytes": ""} for said in result.notes)]


def _cut(said: Sequence[str]) -> list[str]:
    more = len(said) - _SHOWN
    return [*said[:_SHOWN], *([f"and {more:,} more; --json shows all"] if more > 0 else [])]
