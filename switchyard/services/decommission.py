"""Takes a decommission one state further a call: evidence, gate, acts, proof. It can also undo all of it.

switchyard/core/decommission has the rules: gates.py has the questions of a gate, states.py the states, and order.py
the order of the acts.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from switchyard.core.decommission.approvals import is_typed
from switchyard.core.decommission.databases import list_database_refusals
from switchyard.core.decommission.evidence import (
    ApprovalEvidence,
    Approver,
    DrillEvidence,
    EvidenceSet,
    ExportEvidence,
    QuietEvidence,
    VerifyEvidence,
    to_evidence_digest,
    to_json,
)
from switchyard.core.decommission.gates import (
    Against,
    check,
    check_account_wait,
    check_drill,
    check_evidence,
    check_unused,
    find_stale,
)
from switchyard.core.decommission.inventory import (
    Inventory,
    read_inventory,
    to_inventory_uri,
)
from switchyard.core.decommission.inventory import to_json as inventory_to_json
from switchyard.core.decommission.order import Act, list_deletions, list_stops, list_sweeps, list_undo
from switchyard.core.decommission.outcomes import Planned, Status, Taken, Wanted
from switchyard.core.decommission.plan import Others, to_plan
from switchyard.core.decommission.progress import Progress, has_acted
from switchyard.core.decommission.record import Record, to_markdown, to_record
from switchyard.core.decommission.record import to_json as record_to_json
from switchyard.core.decommission.resources import Cost, Kind, Sought
from switchyard.core.decommission.rows import Step, Walk
from switchyard.core.decommission.rules import Rules, check_known_callers, to_private_folder
from switchyard.core.decommission.sealing import is_sealed, read_values, seal, to_values_uri, unseal
from switchyard.core.decommission.sealing import to_json as values_to_json
from switchyard.core.decommission.states import MOVES, EvidenceName, State, next_state
from switchyard.core.decommission.users import HURT_BY, list_hurt
from switchyard.core.decommission.users import list_refusals as list_user_refusals
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, to_message
from switchyard.core.ports import ABSENT, ANY
from switchyard.services.decommission_acts import Acting, Refused, Still, is_account
from switchyard.services.decommission_looking import (
    COST_DAYS,
    Site,
    list_databases,
    list_problems,
    list_users,
    read_cost_evidence,
    read_costs,
    read_gone_evidence,
    read_inventory_evidence,
    read_quiet_evidence,
    read_stop_evidence,
    read_use_evidence,
    take_inventory,
)

TYPED_FOR: Final = timedelta(hours=24)
"""How long a typed digest counts. A signed statement has its own expiry."""
_FROZEN: Final = ("verify", "export", "drill", "quiet")


def plan(site: Site, name: str, sought: Sought, rules: Rules, *, by: str, dry_run: bool = False) -> Planned:
    """Finds all resources, saves the inventory, and begins a walk.

    A second call that finds the same changes nothing. Another inventory begins a new walk, as long as nothing was
    stopped.

    Raises: BadRequest: a known caller is not a whole name, nothing was found, the walk has begun to act, or what must
        stay lies in a bucket that goes;
        BadSetup, BadRecord, TryAgain: as the ports."""
    check_known_callers(rules.known_callers)
    found = site.decommissions.find(name)
    is_at_work = found is not None and found.state not in (State.UNDONE, State.COST_CHECKED)
    if found is not None and is_at_work and has_acted(site.decommissions.list_steps(name, walk=found.walk)):
        raise BadRequest(
            f"Decommission {name!r} has begun to stop things ({found.state.value}). To go on: switchyard decommission "
            "next. To take it back: switchyard decommission undo"
        )
    inventory, values = seal(take_inventory(site.clouds, sought))
    if problems := list_problems(site, inventory, rules):
        raise BadRequest(" ".join(problems))
    now = site.clock()
    costs: Sequence[Cost] = ()
    unknown = ""
    try:
        costs = read_costs(site.clouds, inventory.resources, now - timedelta(days=COST_DAYS), now) or ()
    except (BadSetup, NotFound, BadRecord) as err:  # an export that was made just now has no table yet
        unknown = to_message(err)
    others = Others(users=list_users(site, inventory), databases=list_databases(site, inventory))
    made = to_plan(inventory, rules, costs, others, costs_unknown=unknown)
    uri = to_inventory_uri(rules.folder_uri, made.digest)
    if dry_run:
        return Planned(plan=made, walk=None, inventory_uri=uri, is_new=False)
    if values.hidden:
        private = to_private_folder(rules)
        apart = to_values_uri(private, made.digest)
        # First, so that each saved inventory has its values.
        site.private_objects(private).write(apart, values_to_json(values), if_generation=ABSENT)
    site.objects(uri).write(uri, inventory_to_json(inventory), if_generation=ABSENT)
    is_same = found is not None and (found.inventory, found.rules) == (made.digest, rules)
    if found is not None and is_same and found.state is not State.UNDONE:
        if not site.decommissions.list_steps(name, walk=found.walk):
            _note_saved(site, found, uri, costs, by)
        return Planned(plan=made, walk=found, inventory_uri=uri, is_new=False)
    walk = Walk(
        name=name,
        walk=found.walk + 1 if found else 1,
        state=State.INVENTORY,
        since=now,
        by=by,
        inventory=made.digest,
        rules=rules,
        revision=0,
    )
    walk = site.decommissions.begin(walk, revision=found.revision if found else 0)
    _note_saved(site, walk, uri, costs, by)
    return Planned(plan=made, walk=walk, inventory_uri=uri, is_new=True)


def _note_saved(site: Site, walk: Walk, uri: str, costs: Sequence[Cost], by: str) -> None:
    proof = msgspec.json.encode({"uri": uri, "digest": walk.inventory, "days": COST_DAYS, "costs": costs}).decode()
    step = Step(walk=walk.walk, state=State.INVENTORY, act="save", outcome="done", proof=proof, by=by, at=site.clock())
    site.decommissions.add_step(walk.name, step, revision=walk.revision)


def take_next(site: Site, name: str, wanted: Wanted) -> Taken:
    """Goes one state further, or says why not. A second call goes on where the first one stopped.

    Raises: BadRequest: there is nothing to go on with; StaleWrite, BadSetup, TryLater: an act was stopped, and the
        steps say why; TryAgain: it may pass by itself."""
    check_known_callers(wanted.known_callers)
    walk = _find(site, name)
    following = next_state(walk.state)
    if following is None:
        raise BadRequest(
            f"Decommission {name!r} is over: {walk.state.value}. To see what was done: switchyard decommission record"
        )
    if _read_progress(site, walk).has_undone:
        raise BadRequest(f"Decommission {name!r} is being undone. To go on: switchyard decommission undo")
    rules = _to_rules(walk.rules, wanted, following)
    if not wanted.dry_run:
        walk = site.decommissions.hold(name, revision=walk.revision)
        if rules != walk.rules:
            walk = site.decommissions.change_rules(name, rules, revision=walk.revision)
    else:
        walk = msgspec.structs.replace(walk, rules=rules)
    inventory = _read_whole(site, walk)
    return _Next(site, walk, inventory, following, wanted).take()


def _to_rules(rules: Rules, wanted: Wanted, following: State) -> Rules:
    """Ignores a look at the bill that was given in an earlier state, or before the days were over."""
    seen = wanted.costs_seen and following is State.COST_CHECKED
    known = tuple(dict.fromkeys((*rules.known_callers, *wanted.known_callers)))
    return msgspec.structs.replace(rules, known_callers=known, costs_seen=seen)


class _Next:
    """Takes a walk one state further."""

    def __init__(self, site: Site, walk: Walk, inventory: Inventory, following: State, wanted: Wanted) -> None:
        self._site = site
        self._walk = walk
        self._inventory = inventory
        self._state = following
        self._wanted = wanted
        self._acting = Acting(site, walk, inventory, following, wanted.by)
        self._progress = self._acting.progress

    def take(self) -> Taken:
        """See `take_next`."""
        move = MOVES[self._state]
        is_under_way = move.acts == "stop" and self._progress.has_acted
        # What was under way has passed, and MLflow can no longer be asked. Only what happened since counts.
        needs: tuple[EvidenceName, ...] = ("use",) if is_under_way else move.needs
        found = self._read(needs)
        refusals = self._check_since(found) if is_under_way else self._check(found)
        acts = self._list_acts()
        if self._wanted.dry_run or refusals:
            if not self._wanted.dry_run:
                self._acting.note("gate", "refused", evidence=to_json(found), proof=_to_why(refusals))
            planned = () if refusals else tuple(map(str, acts))
            return self._to_taken(found, self._walk.state, refusals, planned)
        self._acting.note("gate", "passed", evidence=to_json(found))
        if move.acts == "stop" and not is_under_way:
            frozen = {name: piece for name, piece in found.items() if name in _FROZEN}
            digest = msgspec.json.encode({"digest": to_evidence_digest(frozen)}).decode()
            self._acting.note("look", "passed", evidence=to_json(frozen), proof=digest)
        try:
            done = self._acting.perform(acts, self._to_still())
        except Refused as err:
            self._acting.note("gate", "refused", proof=_to_why(err.refusals))
            return self._to_taken(found, self._walk.state, err.refusals, ())
        proofs = self._read(move.proves)
        refusals = self._check(proofs, proves=True)
        if refusals:
            self._acting.note("gate", "refused", evidence=to_json(proofs), proof=_to_why(refusals))
            return self._to_taken({**found, **proofs}, self._walk.state, refusals, tuple(map(str, done)))
        if proofs:
            self._acting.note("gate", "passed", evidence=to_json(proofs))
        self._site.decommissions.move(
            self._walk.name, self._state, revision=self._walk.revision, by=self._wanted.by, now=self._site.clock()
        )
        return self._to_taken({**found, **proofs}, self._state, (), tuple(map(str, done)))

    def _against(self) -> Against:
        return Against(inventory=self._walk.inventory, rules=self._walk.rules, now=self._site.clock())

    def _check(self, found: EvidenceSet, *, proves: bool = False) -> tuple[str, ...]:
        return check(self._state, found, self._against(), proves=proves)

    def _check_since(self, found: EvidenceSet) -> tuple[str, ...]:
        use = found["use"]
        against = self._against()
        stale = find_stale(use, "use", against)
        return (stale,) if stale else tuple(check_unused(use, against.rules))  # type: ignore[arg-type]  # by its name

    def _list_acts(self) -> tuple[Act, ...]:
        match MOVES[self._state].acts:
            case "stop":
                return list_stops(self._inventory)
            case "delete":
                return list_deletions(self._inventory)
            case "sweep":
                return list_sweeps(self._inventory)
            case _:
                return ()

    def _to_still(self) -> Still:
        """Checks the gate again right before each act."""

        def still(act: Act) -> tuple[str, ...]:
            if act.verb == "sweep":  # it takes what is empty and was approved; the gate was asked just now
                return ()
            if act.verb != "delete":
                return (*self._check_since(self._read(("use",))), *self._find_hurt(act))
            needs: tuple[EvidenceName, ...] = ("use", "approval")
            found = self._read(needs)
            refusals = list(check_evidence(needs, found, self._against(), of=self._state))
            stopped_at = self._progress.find_done("stop", act.resource)
            if is_account(act) and stopped_at is not None:
                refusals.append(check_account_wait(stopped_at, self._site.clock()))
            refusals += self._find_hurt(act)
            return tuple(refusal for refusal in refusals if refusal)

        return still

    def _find_hurt(self, act: Act) -> tuple[str, ...]:
        """Finds what needs the resource now, or lies on it. It may be newer than the gate, or our settings changed."""
        if act.verb == "prepare" or act.kind not in HURT_BY:
            return ()
        given_up = self._walk.rules.give_up
        users = list_hurt(act, self._inventory, list_users(self._site, self._inventory))
        refusals = list_user_refusals(users, given_up)
        if act.kind is Kind.SQL_INSTANCE:
            held = list_databases(self._site, self._inventory, self._progress)
            refusals += list_database_refusals([one for one in held if one.instance == act.resource], given_up)
        return (*refusals, *list_problems(self._site, self._inventory, self._walk.rules))

    def _read(self, names: Sequence[EvidenceName]) -> EvidenceSet:
        found: EvidenceSet = {}
        for name in names:
            self._read_one(name, found)
        return found

    def _read_one(self, name: EvidenceName, found: EvidenceSet) -> None:
        site, inventory, progress, against = self._site, self._inventory, self._progress, self._against()
        match name:
            case "inventory":
                found[name] = read_inventory_evidence(site, inventory, progress, against)
            case "verify":
                found[name] = site.evidence.read_verify(against)
            case "published":
                found[name] = site.evidence.read_published(against)
            case "kept":
                found[name] = site.evidence.read_kept(against)
            case "export":
                found[name] = site.evidence.read_export(against)
            case "drill":
                if (drilled := self._drill(found, against)) is not None:
                    found[name] = drilled
            case "quiet":
                found[name] = read_quiet_evidence(site, inventory, against, _to_verified_at(found))
            case "stop":
                found[name] = read_stop_evidence(site, inventory, progress, against)
            case "use":
                look = progress.find_look() or {}
                quiet = look.get("quiet")
                found[name] = read_use_evidence(
                    site,
                    inventory,
                    progress,
                    against,
                    frozen_digest=to_evidence_digest(look) if look else "",
                    looked_at=quiet.read_at if isinstance(quiet, QuietEvidence) else site.clock(),
                )
            case "approval":
                found[name] = self._read_approval(against)
            case "gone":
                found[name] = read_gone_evidence(site, inventory, against)
            case "cost":
                deleted_at = progress.find_last("delete") or site.clock()
                found[name] = read_cost_evidence(site, inventory, progress, against, deleted_at)

    def _drill(self, found: EvidenceSet, against: Against) -> DrillEvidence | None:
        """Returns the earlier drill while it passes, else runs a new one. A dry run leaves that out."""
        export = found["export"]
        assert isinstance(export, ExportEvidence), "read just before"
        kept = self._progress.find_drill()
        if kept is not None and not check_drill(kept, export, against):
            return msgspec.structs.replace(kept, read_at=against.now)
        if self._wanted.dry_run:
            return None
        return self._site.evidence.drill(against, export)

    def _read_approval(self, against: Against) -> ApprovalEvidence:
        """Verifies signed statements again. A typed digest counts for a day."""
        now, wanted = against.now, self._wanted
        handed_in = self._site.evidence.read_approvals(against, State.APPROVED.value)
        approvers = list(handed_in.approvers)
        if wanted.confirm:
            approvers.append(
                Approver(
                    who=wanted.by,
                    how="typed",
                    digest=_to_typed(wanted.confirm, against),
                    state=State.APPROVED.value,
                    approved_at=now,
                    expires_at=now + TYPED_FOR,
                )
            )
        for state in (State.APPROVED, State.DELETING):
            kept = self._progress.find_evidence("approval", state)
            if isinstance(kept, ApprovalEvidence):
                approvers += [one for one in kept.approvers if one.how == "typed"]
        return ApprovalEvidence(
            inventory=against.inventory,
            read_at=now,
            approvers=tuple(approvers),
            refused=handed_in.refused,
            flow_account=wanted.flow_account,
        )

    def _to_taken(self, found: EvidenceSet, state: State, refusals: tuple[str, ...], acts: tuple[str, ...]) -> Taken:
        return Taken(
            name=self._walk.name,
            before=self._walk.state,
            state=state,
            refusals=refusals,
            acts=acts,
            evidence=msgspec.to_builtins(found),
            dry_run=self._wanted.dry_run,
            digest=self._walk.inventory,
        )


def _to_typed(confirm: str, against: Against) -> str:
    """Returns the whole digest that was meant. A text that no digest begins with stays as it was typed."""
    meant = (digest for digest in (against.approved, against.inventory) if is_typed(digest, confirm))
    return next(meant, confirm)


def undo(site: Site, name: str, *, by: str, dry_run: bool = False) -> Taken:
    """Starts what was stopped, and brings back what was deleted, in reverse order.

    A second call goes on with what is left, and asks again for what was lost. Where nothing was stopped yet, the walk
    is still undone, and a plan begins a new one.

    Raises: BadRequest: it was undone already, and nothing was lost; TryAgain, BadSetup, StaleWrite: as the ports, once
        all others were tried."""
    walk = _find(site, name)
    inventory = _read_whole(site, walk)
    if walk.state is State.UNDONE and not _list_lost(site, walk, inventory):
        raise BadRequest(f"Decommission {name!r} was undone already. To begin a new one: switchyard decommission plan")
    if not dry_run:
        walk = site.decommissions.hold(name, revision=walk.revision)
    acting = Acting(site, walk, inventory, State.UNDONE, by)
    acts = list_undo(acting.progress.begun)
    taken = Taken(
        name=name,
        before=walk.state,
        state=walk.state,
        acts=tuple(map(str, acts)),
        dry_run=dry_run,
        digest=walk.inventory,
    )
    if dry_run:
        return taken
    done, lost = acting.take_back(acts)
    site.decommissions.move(name, State.UNDONE, revision=walk.revision, by=by, now=site.clock())
    return msgspec.structs.replace(taken, state=State.UNDONE, acts=tuple(map(str, done)), lost=tuple(lost))


def _list_lost(site: Site, walk: Walk, inventory: Inventory) -> list[Act]:
    """Returns what an undo has begun and not finished."""
    progress = Progress(inventory, site.decommissions.list_steps(walk.name, walk=walk.walk))
    return [act for act in list_undo(progress.begun) if progress.read(act).state != "done"]


def read_status(site: Site, name: str) -> Status:
    """Returns how far it is, and what comes next. Asks Google Cloud nothing."""
    walk = _find(site, name)
    inventory = _read_inventory(site, walk)
    progress = Progress(inventory, site.decommissions.list_steps(name, walk=walk.walk))
    following = None if walk.state is State.UNDONE else next_state(walk.state)
    move = MOVES[following] if following else None
    deleted_at = progress.find_last("delete")
    acts = (*list_stops(inventory), *list_deletions(inventory), *list_sweeps(inventory))
    now = site.clock()
    return Status(
        walk=walk,
        following=following,
        needs=move.needs if move else (),
        stops=move.stops if move else "",
        back=MOVES[walk.state].back if walk.state in MOVES else "nothing was changed",
        done=tuple(str(act) for act in acts if progress.read(act).state == "done"),
        open=tuple(str(act) for act in acts if progress.read(act).state != "done"),
        said_last=_find_last_said(progress.steps),
        cost_query=site.clouds.costs.to_query(inventory.resources, deleted_at, now)
        if deleted_at is not None and following is State.COST_CHECKED
        else "",
    )


def write_record(site: Site, name: str, *, dry_run: bool = False) -> tuple[Record, tuple[str, ...]]:
    """Writes the record of the walk as Markdown and as JSON, and returns it with both places.

    A second call replaces what the first one wrote with what is known by then."""
    walk = _find(site, name)
    inventory = _read_inventory(site, walk)
    steps = site.decommissions.list_steps(name, walk=walk.walk)
    costs, days = _read_costs_before(steps)
    uri = to_inventory_uri(walk.rules.folder_uri, walk.inventory)
    record = to_record(walk, inventory, uri, steps, costs, days, site.clock())
    files = {
        f"{walk.rules.folder_uri}/record-{name}-{walk.walk}.md": to_markdown(record).encode(),
        f"{walk.rules.folder_uri}/record-{name}-{walk.walk}.json": record_to_json(record),
    }
    if not dry_run:
        for at, data in files.items():
            site.objects(at).write(at, data, if_generation=ANY)
    return record, tuple(files)


def _find(site: Site, name: str) -> Walk:
    found = site.decommissions.find(name)
    if found is None:
        raise NotFound(f"There is no decommission {name!r}. To begin one: switchyard decommission plan")
    return found


def _read_inventory(site: Site, walk: Walk) -> Inventory:
    uri = to_inventory_uri(walk.rules.folder_uri, walk.inventory)
    data, _ = site.objects(uri).read(uri)
    return read_inventory(data, uri, digest=walk.inventory)


def _read_whole(site: Site, walk: Walk) -> Inventory:
    """Returns the inventory with the values of variables. Without them nothing can be brought back.

    Raises: BadRecord: they are gone, or another inventory's. Nothing may be stopped then."""
    inventory = _read_inventory(site, walk)
    if not is_sealed(inventory):
        return inventory
    private = to_private_folder(walk.rules)
    uri = to_values_uri(private, walk.inventory)
    try:
        data, _ = site.private_objects(private).read(uri)
    except NotFound as err:
        why = "the values of variables are gone, and undo cannot bring a service back without them; put the file back"
        raise BadRecord(uri, [why]) from err
    return unseal(inventory, read_values(data, uri, inventory, walk.inventory))


def _read_progress(site: Site, walk: Walk) -> Progress:
    return Progress(_read_inventory(site, walk), site.decommissions.list_steps(walk.name, walk=walk.walk))


def _read_costs_before(steps: Sequence[Step]) -> tuple[list[Cost], int]:
    for step in steps:
        if step.act == "save" and step.proof:
            found = msgspec.json.decode(step.proof)
            return msgspec.convert(found.get("costs", []), list[Cost]), int(found.get("days", COST_DAYS))
    return [], COST_DAYS


def _find_last_said(steps: Sequence[Step]) -> str:
    for step in reversed(steps):
        if step.outcome in ("refused", "stopped") and step.proof:
            return str(msgspec.json.decode(step.proof).get("why", ""))
        if step.outcome in ("passed", "done"):
            return ""
    return ""


def _to_verified_at(found: EvidenceSet) -> Any:
    verify = found["verify"]
    assert isinstance(verify, VerifyEvidence), "read just before"
    return verify.verified_at


def _to_why(refusals: Sequence[str]) -> str:
    return msgspec.json.encode({"why": " ".join(refusals)}).decode()
