"""What is left of a decommission for people: what was done, when, by whom, with which proof, and what it saves."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from switchyard.core.decommission.evidence import CostEvidence, EvidenceSet, from_json
from switchyard.core.decommission.inventory import Inventory
from switchyard.core.decommission.resources import Cost, Kind
from switchyard.core.decommission.rows import Outcome, Step, Walk
from switchyard.core.decommission.rules import Rules
from switchyard.core.decommission.states import State

FORMAT: Final = 1
_DAYS_A_YEAR: Final = 365


class RecordedStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the record: an act, and how it ended."""

    seq: int
    at: datetime
    by: str
    state: State
    act: str
    resource: str
    outcome: Outcome
    operation: str
    evidence: Mapping[str, Any]
    proof: Mapping[str, Any]


class RecordedResource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One resource of the inventory, and what became of it."""

    kind: Kind
    name: str
    unique_id: str
    became: str


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of one walk."""

    format: Literal[1] = FORMAT
    name: str
    walk: int
    state: State
    written_at: datetime
    project: str
    inventory: str
    inventory_uri: str
    rules: Rules
    approved_by: tuple[str, ...]
    resources: tuple[RecordedResource, ...]
    steps: tuple[RecordedStep, ...]
    saved_a_year: tuple[tuple[str, float], ...]  # by currency; empty: not known


def to_record(
    walk: Walk,
    inventory: Inventory,
    uri: str,
    steps: Sequence[Step],
    costs: Sequence[Cost],
    cost_days: int,
    now: datetime,
) -> Record:
    """Returns the record of one walk's steps. `costs` are what its resources cost in `cost_days` before."""
    approvers: dict[str, None] = {}
    recorded = []
    for step in steps:
        evidence = from_json(step.evidence) if step.evidence else {}
        if step.outcome == "passed":
            approvers |= dict.fromkeys(_list_approvers(evidence))
        recorded.append(
            RecordedStep(
                seq=step.seq,
                at=step.at,
                by=step.by,
                state=step.state,
                act=step.act,
                resource=step.resource,
                outcome=step.outcome,
                operation=step.operation,
                evidence=msgspec.to_builtins(evidence),
                proof=msgspec.json.decode(step.proof) if step.proof else {},
            )
        )
    return Record(
        name=walk.name,
        walk=walk.walk,
        state=walk.state,
        written_at=now,
        project=inventory.sought.project,
        inventory=walk.inventory,
        inventory_uri=uri,
        rules=walk.rules,
        approved_by=tuple(approvers),
        resources=tuple(
            RecordedResource(kind=one.kind, name=one.name, unique_id=one.unique_id, became=_find_fate(one.name, steps))
            for one in inventory.resources
        ),
        steps=tuple(recorded),
        saved_a_year=_to_savings(costs, steps, cost_days),
    )


def to_json(record: Record) -> bytes:
    """Returns the record as strict JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2) + b"\n"


def to_markdown(record: Record) -> str:
    """Returns the same for a wiki."""
    lines = [
        f"# MLflow of project {record.project}: {record.state.value}",
        "",
        f"Written {_say(record.written_at)}. Walk {record.walk} of `{record.name}`, inventory `{record.inventory}` at "
        f"<{record.inventory_uri}>.",
        "",
        f"Approved by: {', '.join(map(_cell, record.approved_by)) or 'no one yet'}.",
        "",
        "## Resources",
        "",
        "| kind | name | what became of it |",
        "|---|---|---|",
        *(f"| {one.kind} | `{_cell(one.name)}` | {_cell(one.became)} |" for one in record.resources),
        "",
        "## What was done",
        "",
        "| when | by | act | resource | outcome | proof |",
        "|---|---|---|---|---|---|",
        *(_to_row(step) for step in record.steps),
        "",
        "## Savings",
        "",
    ]
    lines += [f"{amount:,.2f} {currency} a year" for currency, amount in record.saved_a_year] or [
        "Not known: no billing export was named (BILLING_EXPORT_TABLE)."
    ]
    return "\n".join(lines) + "\n"


def _to_row(step: RecordedStep) -> str:
    proof = step.operation or _say_evidence(step.evidence) or ("read back" if step.proof else "")
    act = f"{step.act}: {step.state.value}" if not step.resource else step.act
    cells = (_say(step.at), step.by, act, step.resource, step.outcome, proof)
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _say_evidence(evidence: Mapping[str, Any]) -> str:
    return ", ".join(evidence)


def _list_approvers(evidence: EvidenceSet) -> list[str]:
    found = evidence.get("approval")
    return [f"{one.who} ({one.how})" for one in found.approvers] if found and hasattr(found, "approvers") else []


def _find_fate(name: str, steps: Sequence[Step]) -> str:
    said = "untouched"
    words = {
        ("prepare", "done"): "prepared",
        ("stop", "begun"): "stop begun",
        ("stop", "done"): "stopped",
        ("delete", "begun"): "deletion begun",
        ("delete", "done"): "deleted",
        ("sweep", "done"): "deleted, and what it left empty too,",
        ("recover", "done"): "brought back",
        ("start", "done"): "started again",
    }
    for step in steps:
        if step.resource == name:
            found = words.get((step.act, step.outcome))
            said = f"{found} {_say(step.at)}" if found else said
    return said


def _to_savings(costs: Sequence[Cost], steps: Sequence[Step], days: int) -> tuple[tuple[str, float], ...]:
    """Returns what the deleted ones cost before, less what is still paid for what is kept of them; a year's worth."""
    deleted = {step.resource for step in steps if (step.act, step.outcome) == ("delete", "done")}
    a_day: dict[str, float] = {}
    for cost in costs:
        if cost.resource in deleted:
            a_day[cost.currency] = a_day.get(cost.currency, 0.0) + cost.amount / days
    for step in steps:
        left = from_json(step.evidence).get("cost") if step.evidence and step.outcome == "passed" else None
        if isinstance(left, CostEvidence) and left.was_asked:
            span = (left.until - left.since).total_seconds() / 86_400
            for cost in left.costs:
                a_day[cost.currency] = a_day.get(cost.currency, 0.0) - cost.amount / span
    return tuple((currency, round(amount * _DAYS_A_YEAR, 2)) for currency, amount in sorted(a_day.items()))


def _say(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("`", "'")
