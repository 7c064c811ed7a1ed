"""What the pages of models show, made from the registry's values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from serving.models.evidence import Evidence, to_evidence, to_text
from serving.models.words import say_judgement, say_line
from switchyard.core.registry.rows import Lineage, ModelVersion, Transition
from switchyard.core.registry.stages import Act

_MOST_DIFFERING: Final = 5
_LONG: Final = 60


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison, as its line of the history keeps it."""

    line: Transition
    said: str
    reason: str  # empty where it only says again how it ended
    status: str
    facts: dict[str, str]  # digests of the files that were compared
    evidence: Evidence


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline."""

    line: Transition
    said: str
    reason: str
    compared: str = ""  # what the comparison said that let a version through
    kept: Evidence | None = None  # of other acts than a comparison or a promotion


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the table, and those of its parameters that not all versions of the page share."""

    version: ModelVersion
    differing: list[tuple[str, str]]
    more: int = 0


def to_judged(line: Transition) -> Judged:
    """Returns the comparison that a line of the history keeps, whatever wrote it."""
    kept = line.evidence
    digests = {"files": kept.get("digest"), "the champion's files": kept.get("against_digest")}
    rest = {
        name: value
        for name, value in kept.items()
        if name not in ("status", "digest", "against", "against_digest", "evidence")
    }
    inner = kept.get("evidence", {})
    return Judged(
        line=line,
        said=say_judgement(kept),
        reason=to_reason(line),
        status=str(kept.get("status") or "compared"),
        facts={name: str(value) for name, value in digests.items() if value},
        evidence=to_evidence({**inner, **rest} if isinstance(inner, Mapping) else {"evidence": inner, **rest}),
    )


def to_entry(line: Transition) -> Entry:
    """Returns a line, in words."""
    compared, kept = "", None
    if line.act in (Act.PROMOTED, Act.ROLLED_BACK):
        compared = say_judgement(line.evidence) if line.evidence else ""
    elif line.act is not Act.VALIDATED and line.evidence:
        kept = to_evidence(line.evidence)
    return Entry(line=line, said=say_line(line), reason=to_reason(line), compared=compared, kept=kept)


def to_reason(line: Transition) -> str:
    """Returns what the line gives as its reason; empty if the line says that anyhow."""
    return "" if line.reason in (line.evidence.get("status"), str(line.act)) else line.reason


def to_rows(versions: Sequence[ModelVersion]) -> list[VersionRow]:
    """Returns the table's rows, each with the parameters that differ among them, in the order of first appearance."""
    names: dict[str, None] = {}
    for version in versions:
        names |= dict.fromkeys(version.lineage.parameters)
    differing = [
        name
        for name in names
        if len({_to_key(one.lineage.parameters.get(name, msgspec.UNSET)) for one in versions}) > 1
    ]
    rows = []
    for version in versions:
        mine = version.lineage.parameters
        found = [(name, _shorten(to_text(mine[name]))) for name in differing if name in mine]
        rows.append(
            VersionRow(
                version=version,
                differing=[(_shorten(name), value) for name, value in found[:_MOST_DIFFERING]],
                more=max(0, len(found) - _MOST_DIFFERING),
            )
        )
    return rows


def to_origins(lineage: Lineage) -> dict[str, str]:
    """Returns where a version comes from, as far as known; the run and the parameters have places of their own."""
    plain: dict[str, Any] = msgspec.structs.asdict(lineage)
    own = ("quick_test_id", "parameters")
    return {name.replace("_", " "): str(value) for name, value in plain.items() if value and name not in own}


def _to_key(value: Any) -> str:
    return "" if value is msgspec.UNSET else f"{isinstance(value, bool)} {to_text(value)}"


def _shorten(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
