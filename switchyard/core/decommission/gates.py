"""The gates: each says why a state may not be entered, from evidence, rules and the time alone.

A refusal is a sentence: the fact, where, and what to do. No refusal: the gate is passed. Evidence that is missing, of
another inventory, from the future or too old refuses in every gate.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from switchyard.core.decommission.databases import list_database_refusals
from switchyard.core.decommission.evidence import (
    AnyEvidence,
    ApprovalEvidence,
    CostEvidence,
    DrillEvidence,
    EvidenceSet,
    ExportEvidence,
    GoneEvidence,
    InventoryEvidence,
    KeptEvidence,
    PublishedEvidence,
    QuietEvidence,
    ResourceNow,
    StopEvidence,
    UseEvidence,
    VerifyEvidence,
)
from switchyard.core.decommission.requests import list_control_refusals
from switchyard.core.decommission.resources import Activity, Caller, Kept, Kind
from switchyard.core.decommission.rules import Rules, is_known, is_whole_name, to_approved_digest
from switchyard.core.decommission.states import MOVES, EvidenceName, State
from switchyard.core.decommission.users import list_refusals

FRESH: Final = timedelta(hours=1)
"""Evidence is read just before it is used; older than this, the flow was asleep in between."""
WAIT: Final = timedelta(hours=24)
"""Between an account's stop and its deletion, so that what still needs it is noticed. Source: the IAM API's document on
`serviceAccounts.delete` advises to disable an account and wait."""
_SHOWN: Final = 5
_REGIONAL: Final = (Kind.RUN_SERVICE, Kind.VARIABLE, Kind.BUILD_TRIGGER)
"""Each region has lists of its own."""
_FINAL: Final = "FINAL"
_SUCCESSFUL: Final = "SUCCESSFUL"
_VERIFY: Final = "switchyard verify --require-safe"


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """What evidence is held against."""

    inventory: str  # the walk's digest
    rules: Rules
    now: datetime

    @property
    def approved(self) -> str:
        """The digest that people approve: of the inventory and of the rules as they are now."""
        return to_approved_digest(self.inventory, self.rules)


def check(state: State, found: EvidenceSet, against: Against, *, proves: bool = False) -> tuple[str, ...]:
    """Returns why `state` may not be entered, from all that its gate looks at; empty: it may.

    With `proves`, what is read after its acts is looked at.
    """
    move = MOVES[state]
    return check_evidence(move.proves if proves else move.needs, found, against, of=state)


def check_evidence(
    names: Sequence[EvidenceName], found: EvidenceSet, against: Against, *, of: State
) -> tuple[str, ...]:
    """Returns the refusals of these pieces, in their order. `of` says which approvals count."""
    refusals: list[str] = []
    for name in names:
        piece = found.get(name)
        stale = find_stale(piece, name, against)
        refusals += [stale] if stale else _CHECKS[name](piece, found, against, of)
    return tuple(dict.fromkeys(refusals))


def find_stale(piece: AnyEvidence | None, name: str, against: Against) -> str:
    """Returns why that piece says nothing of this walk now; empty: it does."""
    if piece is None:
        return f"No evidence of {name} was read. Run: switchyard decommission next"
    if piece.inventory != against.inventory:
        return (
            f"The evidence of {name} is of inventory {piece.inventory or 'none'}; this walk's is {against.inventory}. "
            "Run: switchyard decommission next"
        )
    if piece.read_at > against.now:
        return f"The evidence of {name} was read at {_say(piece.read_at)}, later than now. Set this machine's clock."
    if against.now - piece.read_at > FRESH:
        return (
            f"The evidence of {name} was read at {_say(piece.read_at)}, more than {_span(FRESH)} ago. "
            "Run: switchyard decommission next"
        )
    return ""


def check_inventory(found: InventoryEvidence, rules: Rules) -> list[str]:
    """Checks all that could hold up an act, before the first act."""
    refusals = [_find_change(one) for one in found.resources]
    for one in found.resources:
        if one.managed_by == "terraform":
            refusals.append(to_terraform_change(one.kind, one.name))
        elif one.managed_by:
            refusals.append(f"{one.kind} {one.name} is managed by {one.managed_by}. Delete it there, then plan again.")
        refusals += [f"{one.kind} {one.name} is guarded: {guard} Take the guard away first." for guard in one.guards]
        if one.missing_permissions:
            refusals.append(
                f"You may not {', '.join(one.missing_permissions)} on {one.name}. Grant these permissions first."
            )
    refusals += [
        f"{name} belongs to the deployment and is not in the inventory. Run: switchyard decommission plan"
        for name in found.unlisted
    ]
    refusals += [
        f"After the deletion the list of every {kind} would be empty, which proves nothing. Make or name a {kind} that "
        "stays: switchyard decommission plan --controls"
        for kind in found.without_control
    ]
    refusals += list_refusals(found.users, rules.give_up)
    refusals += list_database_refusals(found.databases, rules.give_up)
    return [refusal for refusal in [*refusals, *found.folder_problems] if refusal]


def check_verify(found: VerifyEvidence, against: Against) -> list[str]:
    """Checks for a whole, young, safe manifest of our own database that names every run of MLflow's."""
    refusals = []
    where = f"manifest {found.manifest_uri}"
    age = against.now - found.verified_at
    if found.verified_at > against.now:
        refusals.append(f"{where} is of {_say(found.verified_at)}, later than now. Set this machine's clock.")
    if age > timedelta(hours=against.rules.max_age_hours):
        refusals.append(f"{where} is {_span(age)} old; at most {against.rules.max_age_hours} h count. Run: {_VERIFY}")
    if found.database_id != found.own_database_id:
        refusals.append(
            f"{where} is of database {found.database_id or 'unknown'}; RESULTS_URL is {found.own_database_id}. "
            f"Run here: {_VERIFY}"
        )
    if not found.is_all:
        refusals.append(f"{where} looked at some of the runs only. Run without --quick-test-id and --limit: {_VERIFY}")
    if found.failed:
        refusals.append(f"{found.failed} runs failed in {where}. Repair them, then run: {_VERIFY}")
    if not found.safe:
        said = "; ".join(found.not_safe) or "it does not say why"
        refusals.append(f"{where} does not call MLflow safe to delete: {said}")
    if found.unseen:
        refusals.append(f"MLflow has runs that {where} does not name: {_list(found.unseen)}. Run: {_VERIFY}")
    if found.mlflow_runs != found.manifest_runs and not found.unseen:
        refusals.append(f"MLflow has {found.mlflow_runs} runs now; {where} names {found.manifest_runs}. Run: {_VERIFY}")
    return refusals


def check_published(found: PublishedEvidence, rules: Rules) -> list[str]:
    """Checks that the last runs came without MLflow, after the switch."""
    if rules.switched_at is None:
        return ["Since when no training needs MLflow is not known. Name the time: --switched-at 2026-11-01T00:00:00Z"]
    runs = found.runs[: rules.last_runs]
    refusals = []
    if len(runs) < rules.last_runs:
        refusals.append(
            f"{rules.last_runs} completed runs are needed; there are {len(runs)}. Train more: switchyard train"
        )
    for run in runs:
        where = f"Quick test {run.quick_test_id}"
        if run.completed_at < rules.switched_at:
            refusals.append(
                f"{where} was completed at {_say(run.completed_at)}, before the switch at {_say(rules.switched_at)}. "
                "Train a run since: switchyard train"
            )
        if run.source != "file":
            refusals.append(
                f"{where} was published from {run.source or 'nothing'}, not from its own file. "
                "Train without MLflow: switchyard train --tracker none"
            )
        if run.page_problem:
            refusals.append(f"The page of {where.lower()} does not open: {run.page_problem}. Run: switchyard serve")
    return refusals


def check_kept(found: KeptEvidence, rules: Rules) -> list[str]:
    """Checks that all that MLflow holds besides its runs is kept, or given up by name."""
    given_up = set(rules.give_up)
    if not found.counted:
        return [
            f"The manifest does not say whether MLflow's {kind} are kept. Run: {_VERIFY}; or {_to_give_up(kind)}"
            for kind in ("artifacts", "registry")
            if kind not in given_up
        ]
    return [
        f"MLflow's {kind.kind} are kept nowhere else: {kind.missing}. Keep them (docs/mlflow.md), or "
        + _to_give_up(kind.kind)
        for kind in found.kinds
        if kind.missing and kind.kind not in given_up
    ]


def _to_give_up(kind: str) -> str:
    """Returns how to give up a kind. The drill looks at artifacts too, by the plan's own list."""
    said = f"give them up: {_VERIFY} --give-up {kind}"
    return f"{said}, and for the drill: switchyard decommission plan --give-up {kind}" if kind == "artifacts" else said


def _to_export(uri: str) -> str:
    """Returns the command that writes the export that the plan names."""
    return f"switchyard export --to-uri {shlex.quote(uri)}"


def check_export(found: ExportEvidence) -> list[str]:
    """Checks that the export is whole, and has as many runs as MLflow."""
    again = f"Run: {_to_export(found.uri)}"
    refusals = []
    if found.problem:
        refusals.append(f"The export at {found.uri} is damaged: {found.problem}. {again}")
    if found.missing:
        refusals.append(f"The export at {found.uri} lacks what could not be read: {_list(found.missing)}. {again}")
    if found.runs != found.mlflow_runs:
        refusals.append(f"The export at {found.uri} has {found.runs} runs; MLflow has {found.mlflow_runs}. {again}")
    return refusals


def check_drill(found: DrillEvidence, export: AnyEvidence | None, against: Against) -> list[str]:
    """Checks that a real MLflow answered from that export."""
    again = "Run: switchyard decommission next"
    refusals = []
    if not isinstance(export, ExportEvidence) or export.digest != found.export_digest:
        of = export.digest if isinstance(export, ExportEvidence) else "not read"
        refusals.append(f"The drill is of export {found.export_digest}; the export is {of} now. {again}")
    age = against.now - found.drilled_at
    if age > timedelta(hours=against.rules.max_age_hours) or found.drilled_at > against.now:
        refusals.append(
            f"The drill was at {_say(found.drilled_at)}; at most {against.rules.max_age_hours} h count. {again}"
        )
    if not found.mlflow_version:
        refusals.append(f"No MLflow answered in the drill. {again}")
    wanted = min(against.rules.drill_runs, found.of_runs)
    if found.asked_runs < wanted:
        refusals.append(f"The drill asked for {found.asked_runs} runs; {wanted} are needed. {again}")
    if found.equal_runs != found.asked_runs:
        refusals.append(
            f"{found.asked_runs - found.equal_runs} of {found.asked_runs} runs differ in the restored MLflow: "
            f"{_list(found.differences)}. {again}"
        )
    if not found.registry_equal:
        refusals.append(f"The registry differs in the restored MLflow: {_list(found.differences)}. {again}")
    if not found.artifacts_compared:
        if "artifacts" not in against.rules.give_up:
            refusals.append(
                "The drill compared no artifacts: no run has a copy of them. Copy them (switchyard artifacts copy "
                "--all-runs), then run: switchyard decommission next; or give them up: switchyard decommission plan "
                "--give-up artifacts"
            )
    elif not found.artifacts_equal:
        refusals.append(f"Artifacts differ from their hashes: {_list(found.differences)}. {again}")
    return refusals


def check_quiet(
    found: QuietEvidence, verify: AnyEvidence | None, export: AnyEvidence | None, against: Against
) -> list[str]:
    """Checks that nothing was logged since the manifest, and that only known callers asked.

    If the export was read, nothing was logged since the export either.
    """
    refusals = []
    if isinstance(verify, VerifyEvidence) and verify.verified_at != found.verified_at:
        refusals.append(
            f"What is newest in MLflow was compared with a manifest of {_say(found.verified_at)}, not of "
            f"{_say(verify.verified_at)}. Run: switchyard decommission next"
        )
    if found.newest_run_at and found.newest_run_at > found.verified_at:
        refusals.append(
            f"MLflow run {found.newest_run or 'unknown'} was started or ended at {_say(found.newest_run_at)}, after "
            f"verify at {_say(found.verified_at)}. Find who logs to MLflow, then run: {_VERIFY}"
        )
    if found.newest_point_at and found.newest_point_at > found.verified_at:
        refusals.append(
            f"A metric was logged to MLflow at {_say(found.newest_point_at)}, after verify at "
            f"{_say(found.verified_at)}. Find who logs to MLflow, then run: {_VERIFY}"
        )
    newest = max(filter(None, (found.newest_run_at, found.newest_point_at)), default=None)
    if isinstance(export, ExportEvidence) and newest is not None and newest > export.taken_at:
        refusals.append(
            f"The export at {export.uri} was taken at {_say(export.taken_at)}, and MLflow has something of "
            f"{_say(newest)}, which it may lack. Run: {_to_export(export.uri)}; if that changes nothing, a client's "
            "clock is ahead: export to another place, and plan with its --export-uri"
        )
    if not found.services:
        refusals.append(
            "The inventory has no Cloud Run service, so no request log says who asks MLflow. Name its service: "
            "switchyard decommission plan --services"
        )
    span = found.until - found.since
    if span < timedelta(days=against.rules.quiet_days):
        refusals.append(
            f"Requests were looked at for {_span(span)}; {against.rules.quiet_days} days are needed. "
            "Run: switchyard decommission next"
        )
    refusals += _find_unlogged(found)
    refusals += list_control_refusals(found.services, found.controls, counts=True)
    return refusals + _list_callers(found.callers, against.rules, "asked MLflow")


def check_stop(found: StopEvidence) -> list[str]:
    """Checks that all is stopped as we left it, and that a backup is there."""
    refusals = []
    for one in found.resources:
        is_variable = one.kind is Kind.VARIABLE
        if not one.is_there and is_variable:
            continue
        change = _find_change(one)
        if change:
            refusals.append(change)
        elif one.activity is Activity.ACTIVE:
            refusals.append(
                f"{one.kind} {one.name} is at work again. Find who started it, then run: switchyard decommission undo"
            )
    for name, kept in found.backups:
        if not any(one.state == _SUCCESSFUL for one in kept):
            refusals.append(
                f"sql instance {name} has no backup in state {_SUCCESSFUL}: {_say_kept(kept)}. "
                "Make one (gcloud sql backups create), then run: switchyard decommission next"
            )
    return refusals


def check_use(found: UseEvidence, against: Against) -> list[str]:
    """Checks that for long enough no one missed it, and no one started it."""
    due = found.stopped_at + timedelta(days=against.rules.quiet_again_days)
    refusals = check_unused(found, against.rules)
    if against.now < due:
        refusals.append(
            f"All was stopped at {_say(found.stopped_at)}; {against.rules.quiet_again_days} days of quiet end at "
            f"{_say(due)}. Run again then: switchyard decommission next"
        )
    if found.since > found.stopped_at:
        refusals.append(
            f"Use was looked at since {_say(found.since)}, which leaves a gap after the stop at "
            f"{_say(found.stopped_at)}. Run: switchyard decommission next"
        )
    return refusals


def check_unused(found: UseEvidence, rules: Rules) -> list[str]:
    """Checks that no one asked for MLflow, or started anything of it, since the last look."""
    refusals = [
        f"Something was started since: {start}. Find who needs it, then run: switchyard decommission undo"
        for start in found.starts
    ]
    if not found.frozen_digest:
        refusals.append(
            "What MLflow said before the stop is not stored. Run: switchyard decommission undo, then plan again."
        )
    refusals += _find_unlogged(found)
    refusals += list_control_refusals(found.services, found.controls, counts=False)
    return refusals + _list_callers(found.callers, rules, "still asks for MLflow")


def _find_unlogged(found: QuietEvidence | UseEvidence) -> list[str]:
    """Refuses if the metric counts more requests than the log, with those at its edge."""
    known = sum(caller.requests for caller in found.callers)
    if found.requests <= known + found.edge:
        return []
    return [
        f"The service counts {found.requests} requests in that time, and its log names callers of {known}, and has "
        f"{found.edge} just before. Turn its request log on, and wait until the log covers that time."
    ]


def check_approval(found: ApprovalEvidence, against: Against, of: State) -> list[str]:
    """Checks that enough people approved this inventory and these rules, for this, and still do."""
    refusals = list(found.refused)
    valid: set[str] = set()
    for one in found.approvers:
        who = one.who or "someone without a name"
        if one.digest == against.inventory:
            refusals.append(
                f"{who} approved the inventory without the rules of this decommission (known callers, days of quiet, "
                "what is given up). That no longer counts. Ask again."
            )
        elif one.digest != against.approved:
            refusals.append(
                f"{who} approved {one.digest}, not {against.approved}: another inventory, or its rules were changed "
                "since. Ask again."
            )
        elif one.state not in (State.APPROVED, State.DELETING):
            refusals.append(f"{who} approved {one.state!r}, not {State.APPROVED.value!r}. Ask again.")
        elif one.approved_at > against.now:
            refusals.append(f"{who}'s approval is of {_say(one.approved_at)}, later than now. Set the clocks.")
        elif one.expires_at is not None and one.expires_at <= against.now:
            refusals.append(f"{who}'s approval expired at {_say(one.expires_at)}. Ask again.")
        elif against.rules.approvals > 1 and one.how == "typed":
            refusals.append(
                f"{who} typed the digest; with --approvals {against.rules.approvals} a signature is needed."
            )
        elif against.rules.approvals > 1 and is_same_person(one.who, found.flow_account):
            refusals.append(f"{who} runs this flow, and cannot approve it too. Ask someone else.")
        elif one.who:
            valid.add(one.who)
    if len(valid) < against.rules.approvals:
        refusals.append(
            f"{len(valid)} of {against.rules.approvals} approvals of {against.approved} are there to enter "
            f"{of.value!r}. To approve: "
            + (
                "sign what `switchyard decommission status` prints (docs/approvals.md)"
                if against.rules.approvals > 1
                else f"switchyard decommission next --confirm {against.approved}"
            )
        )
    return refusals if len(valid) < against.rules.approvals else []


def is_same_person(who: str, account: str) -> bool:
    """Returns True if `account`, an address or a user name, is that approver's.

    A signature has an address. A person who runs a command has only a name.
    """
    address, other = who.strip().casefold(), account.strip().casefold()
    return bool(other) and other in (address, address.partition("@")[0])


def check_account_wait(stopped_at: datetime, now: datetime) -> str:
    """Returns why an account may not be deleted yet; empty: it may."""
    if now < stopped_at + WAIT:
        return (
            f"The account was disabled at {_say(stopped_at)}; it is deleted {_span(WAIT)} after that at the earliest. "
            f"Run again at {_say(stopped_at + WAIT)}: switchyard decommission next"
        )
    return ""


def check_gone(found: GoneEvidence) -> list[str]:
    """Checks whole lists for what is left of it, each list with its control, and for final backups."""
    refusals = []
    listed = {one.kind: one for one in found.found}
    for kind in Kind:
        one = listed.get(kind)
        if one is None:
            refusals.append(f"No list of every {kind} was read. Run: switchyard decommission next")
            continue
        refusals += [
            f"{kind} {name} is still listed. Wait a minute, then run: switchyard decommission next"
            for name in one.still_there
        ]
        asked = {*found.asked_places, *one.had_places}
        missing = asked - set(one.places) if kind in _REGIONAL else set()
        refusals += [
            f"The list of every {kind} was not asked in {place}. Run: switchyard decommission next"
            for place in sorted(missing)
        ]
        if one.problem:
            refusals.append(f"The list of every {kind} proves nothing: {one.problem}")
        if not one.places:
            refusals.append(
                f"The list of every {kind} names no place that was asked. Run: switchyard decommission next"
            )
        if kind in found.controls and not one.control:
            refusals.append(
                f"The list of every {kind} does not hold its control, so what is missing in it proves nothing. Check "
                "project, region and permissions."
            )
        elif one.had and not one.listed and not one.control:
            refusals.append(
                f"The list of every {kind} is empty, so it proves nothing. Make any other {kind}, then run: switchyard "
                "decommission next"
            )
    for name, kept in found.backups:
        if not any(backup.state == _SUCCESSFUL and _FINAL in backup.what.upper() for backup in kept):
            refusals.append(
                f"sql instance {name} has no final backup in state {_SUCCESSFUL}: {_say_kept(kept)}. "
                "Restore the instance while another backup is there: switchyard decommission undo"
            )
    refusals += [
        f"{member} is left in a policy. Remove it (gcloud ... remove-iam-policy-binding)."
        for member in found.deleted_members
    ]
    refusals += [f"Variable {name} still points to MLflow. Remove it." for name in found.variables]
    return refusals


def check_cost(found: CostEvidence, against: Against) -> list[str]:
    """Refuses unless nothing has cost anything on the full days after the last deletion.

    What is kept on purpose may cost something. What was left to be swept must be empty.

    Also while what was left to be swept is not empty.
    """
    first = to_midnight_after(found.deleted_at)
    due = first + timedelta(days=against.rules.cost_days)
    if against.now < due:
        return [
            f"The last deletion was at {_say(found.deleted_at)}; {against.rules.cost_days} full days end at "
            f"{_say(due)}. Run again then: switchyard decommission next"
        ]
    waiting = [_say_waiting(name, kept) for name, kept in found.waiting]
    return [*waiting, *_check_bill(found, against, first)]


def _say_waiting(name: str, kept: Sequence[Kept]) -> str:
    """Says when the secret is empty; a version without an end was taken back by someone."""
    ends = [one.until for one in kept]
    if None in ends:
        return f"{name} is in use again: {_say_kept(kept)}. Find out who, then delete it: gcloud secrets delete"
    last = max(end for end in ends if end is not None)
    return (
        f"{name} is empty at {_say(last)}, when the last of its versions is destroyed. Run again then: switchyard "
        "decommission next"
    )


def _check_bill(found: CostEvidence, against: Against, first: datetime) -> list[str]:
    if found.problem:
        return [
            f"The billing export does not answer: {found.problem.rstrip('.')}. Mend that, then run: "
            "switchyard decommission next. If you have no export, take BILLING_EXPORT_TABLE away, and look at the bill "
            "yourself."
        ]
    if not found.was_asked:
        if against.rules.costs_seen:
            return []
        return [
            "No billing export is named, so no one has looked at the bill. Name it (BILLING_EXPORT_TABLE), or run the "
            "query that `switchyard decommission status` prints, then: switchyard decommission next --costs-seen"
        ]
    if found.since < first or found.until - found.since < timedelta(days=against.rules.cost_days):
        return [
            f"Costs were read from {_say(found.since)} to {_say(found.until)}; {against.rules.cost_days} full days "
            f"since {_say(first)} are needed. Run: switchyard decommission next"
        ]
    expected, kept = set(found.expected), dict(found.kept)
    return [
        f"{cost.resource} still cost {cost.amount:.2f} {cost.currency} since {_say(found.since)}. Look for it in the "
        f"console's billing report.{_say_kept_of(kept.get(cost.resource, ()))}"
        for cost in found.costs
        if cost.amount > 0
        and cost.resource not in expected
        and not (kept.get(cost.resource) and against.rules.costs_seen)
    ]


def _say_kept_of(kept: Sequence[str]) -> str:
    """Says what was kept of it, because a bill may name that beside what should have ended.

    A person can tell the two apart.
    """
    if not kept:
        return ""
    return (
        f" Of it are kept, or were: {_list(kept)}. Where the report shows that only these cost something, run: "
        "switchyard decommission next --costs-seen"
    )


def to_midnight_after(moment: datetime) -> datetime:
    """Returns the first moment of the next day, UTC: from there on days are full."""
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC) + timedelta(days=1)


def to_terraform_change(kind: Kind, name: str) -> str:
    """Returns what to do with a resource that would come back with the next apply."""
    return (
        f"{kind} {name} is managed by Terraform, and the next apply would make it again. Remove its block from the "
        "code, run `terraform state rm <its address>`, remove the label goog-terraform-provisioned, then plan again."
    )


def _find_change(one: ResourceNow) -> str:
    what = f"{one.kind} {one.name}"
    if not one.is_there:
        return f"{what} is gone, and no act of this walk deleted it. Run: switchyard decommission plan"
    if not one.is_same:
        return f"{what} is another one than in the inventory: it was made again. Run: switchyard decommission plan"
    if one.version != one.expected_version:
        return (
            f"{what} was changed by someone: version {one.expected_version or 'none'} expected, "
            f"{one.version or 'none'} found. Find out who and why."
        )
    if one.newer:
        return (
            f"{what} has objects that are not in the inventory: {_list(one.newer)}. Find out who writes there, then "
            "plan again; after the stop, undo first: switchyard decommission undo"
        )
    return ""


def _list_callers(callers: Sequence[Caller], rules: Rules, does: str) -> list[str]:
    return [
        f"{caller.who or 'An unknown caller'} {does}: {caller.requests} requests, the last at {_say(caller.last_at)}. "
        f"Switch it over; if it is one of ours, {_to_naming(caller)}"
        for caller in callers
        if not is_known(caller, rules)
    ]


def _to_naming(caller: Caller) -> str:
    """Returns how to name the caller, if its name excuses no one else."""
    if is_whole_name(caller.who):
        return f"name it: switchyard decommission next --known-callers {shlex.quote(caller.who)}"
    return "give it a user agent that can be named: not empty, and without a star at its end"


def _say_kept(kept: Sequence[Kept]) -> str:
    return ", ".join(f"{one.what} {one.state}" for one in kept) or "there is none"


def _say(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} h"


def _list(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


_Check = Callable[[Any, EvidenceSet, Against, State], "list[str]"]
_CHECKS: Final[Mapping[EvidenceName, _Check]] = {
    "inventory": lambda found, _all, against, _of: check_inventory(found, against.rules),
    "verify": lambda found, _all, against, _of: check_verify(found, against),
    "published": lambda found, _all, against, _of: check_published(found, against.rules),
    "kept": lambda found, _all, against, _of: check_kept(found, against.rules),
    "export": lambda found, _all, _against, _of: check_export(found),
    "drill": lambda found, all_, against, _of: check_drill(found, all_.get("export"), against),
    "quiet": lambda found, all_, against, _of: check_quiet(found, all_.get("verify"), all_.get("export"), against),
    "stop": lambda found, _all, _against, _of: check_stop(found),
    "use": lambda found, _all, against, _of: check_use(found, against),
    "approval": lambda found, _all, against, of: check_approval(found, against, of),
    "gone": lambda found, _all, _against, _of: check_gone(found),
    "cost": lambda found, _all, against, _of: check_cost(found, against),
}
