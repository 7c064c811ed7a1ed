"""Does what `switchyard clean` does: looks at all below ARTIFACTS_URI and STATE_DIR, and deletes what is stale.

`switchyard.core.decommission.clearing` decides what is stale. It is asked again right before each delete. A delete
names what it deletes by its generation: what was written since, or is needed by now, stays.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.decommission.approvals import is_digest, is_typed
from switchyard.core.decommission.clearing import (
    Cleared,
    Facts,
    Plan,
    Policy,
    Thing,
    What,
    decide,
    is_same,
    make_plan,
    to_digest,
)
from switchyard.core.errors import BadRecord, NotFound, StaleWrite, SwitchyardError
from switchyard.core.ports import ANY, ArtifactCopies, Catalogue, Jobs, Launcher, Ledger, Models, Runs
from switchyard.services.clearing_copies import CopyLooks
from switchyard.services.clearing_models import ModelLooks, say_version
from switchyard.services.clearing_names import Found, OpenObjects, list_places, to_known, to_real
from switchyard.services.private_copy import discard_copy

NOTES: Final = "clean"
"""Below ARTIFACTS_URI: the plans that are being carried out, by their digest."""
_MANY: Final = 1_000_000
_OURS: Final = {"jobs", "pruned", "prefect", "artifacts", "buyer.key", "api-tokens.json", "up.json", "bench", "reader"}
"""What lies in STATE_DIR and belongs to others: reconcile's and Prefect's files, keys, notes."""
_ENDED: Final = ("completed", "failed", "cancelled")
FRESH_S: Final = 1.0
"""The highest age of what is known of all rows and versions when something is deleted."""


@dataclass(frozen=True)
class Site:
    """Holds what cleaning reaches."""

    open_objects: OpenObjects
    runs: Runs
    jobs: Jobs
    ledger: Ledger
    models: Models
    catalogue: Catalogue
    copies: ArtifactCopies
    launcher: Launcher
    artifacts_uri: str
    state_dir: Path
    model_cache: Path


def plan_clearing(site: Site, policy: Policy, now: datetime) -> Plan:
    """Returns everything that is there, and what becomes of it. Changes nothing; a second call looks again."""
    return make_plan(_Look(site, policy, now).list_all(), policy, now)


def find_begun(site: Site, typed: str) -> Plan | None:
    """Returns the plan with that digest, or with a digest that begins so, if it was begun and not finished.

    Raises:
        BadRecord: what is there is not a plan.
    """
    prefix = f"{site.artifacts_uri.rstrip('/')}/{NOTES}/"
    for uri in site.open_objects(prefix).list(prefix):
        name = uri.removeprefix(prefix).removesuffix(".json")
        if is_digest(name) and is_typed(name, typed):
            with suppress(NotFound):  # another call has just finished it
                return _read_plan(site.open_objects(uri).read(uri)[0], uri, name)
    return None


def _read_plan(data: bytes, uri: str, digest: str) -> Plan:
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except msgspec.DecodeError as err:
        raise BadRecord(uri, [f"it is not a plan of `clean`: {err}"]) from err
    if to_digest(plan) != digest:
        raise BadRecord(uri, ["it was changed: it is not the plan that its name says"])
    return plan


def carry_out(site: Site, plan: Plan, now: datetime) -> list[Cleared]:
    """Deletes what the plan deletes, and returns what became of each thing.

    A thing goes only if it is still stale right before. A second call finds the rest, after a killed one too, or beside
    another.

    Raises:
        TryAgain, BadSetup: as `Objects`. What is deleted by then stays deleted.
    """
    digest = to_digest(plan)
    uri = _to_note_uri(site, digest)
    only = msgspec.structs.replace(plan, decisions=plan.deletes)
    site.open_objects(uri).write(uri, msgspec.json.encode(only), if_generation=ANY)
    look = _Look(site, plan.policy, now)
    done = [_clear(site, look, decision.thing, plan.policy, now) for decision in plan.deletes]
    site.open_objects(uri).delete(uri, if_generation=ANY)
    return done


def _clear(site: Site, look: "_Look", planned: Thing, policy: Policy, now: datetime) -> Cleared:
    done = Cleared(what=planned.what, name=planned.name)
    found = look.look_again(planned)
    if found is None:  # another call has deleted it
        if planned.what is What.CACHED_MODEL:  # that call may have been killed
            discard_copy(site.model_cache, Path(to_real(planned.name)).name)
        return done
    if not is_same(planned, found):
        return msgspec.structs.replace(done, kept="something was written there since the plan was made")
    for uri, generation in found.objects:
        again = decide(look.renew(found), policy, now)
        if not again.delete:
            return msgspec.structs.replace(done, kept=again.reason)
        if planned.what is What.JOB:
            return msgspec.structs.replace(done, deleted=site.launcher.prune([uri]), size_bytes=found.size_bytes)
        if planned.what is What.CACHED_MODEL:
            discard_copy(site.model_cache, Path(to_real(planned.name)).name)
            return msgspec.structs.replace(done, deleted=len(found.objects), size_bytes=found.size_bytes)
        try:
            site.open_objects(uri).delete(uri, if_generation=generation)
        except StaleWrite:
            return msgspec.structs.replace(done, kept="it was written again just now")
        done = msgspec.structs.replace(
            done, deleted=done.deleted + 1, size_bytes=done.size_bytes + look.sizes.get(uri, 0)
        )
    return done


class _Look:
    """Looks at everything once, and at single things again."""

    def __init__(self, site: Site, policy: Policy, now: datetime, clock: Callable[[], float] = time.monotonic) -> None:
        self._site = site
        self._root = site.artifacts_uri.rstrip("/")
        self._before = now - timedelta(days=policy.older_than_days)
        self._copies = CopyLooks(site.open_objects, site.copies, self._root)
        self._models = ModelLooks(site.open_objects, site.models, site.model_cache)
        self._rows: dict[str, list[BackfillRow]] = {}
        self._clock, self._read_at = clock, float("-inf")
        self._places: dict[tuple[What, str], Found] = {}
        self._known: dict[str, Facts] = {}  # of runs' folders, while all is listed: a folder has several things
        self.sizes: dict[str, int] = {}  # of the objects that were looked at again

    def list_all(self) -> Iterator[Thing]:
        """Yields each thing once."""
        self._read()
        found = list_places(self._site.open_objects(self._root), self._root, self._copies.list_roots())
        self._copies.read(found)
        self._known = {}
        for one in found:
            yield one.to_thing(self._to_facts(one, again=False))
        yield from self._list_jobs()
        yield from self._models.list_cached()
        yield from self._list_state()

    def look_again(self, planned: Thing) -> Thing | None:
        """Returns the thing as it is now; None: nothing of it is left."""
        if planned.what is What.JOB:
            return planned
        if planned.what is What.CACHED_MODEL:
            self._models.read()
            return next((one for one in self._models.list_cached() if one.name == planned.name), None)
        # The first look's rules, for what lies under this name alone.
        roots = self._copies.list_roots()
        listed = list_places(self._site.open_objects(self._root), self._root, roots, planned.name)
        one = next((one for one in listed if (one.what, one.name) == (planned.what, planned.name)), None)
        if one is None:
            return None
        self.sizes |= {uri: stat.size_bytes for uri, stat in one.objects}
        self._places = {(one.what, one.name): one}
        return self.renew(one.to_thing(Facts()))

    def renew(self, thing: Thing) -> Thing:
        """Returns the same objects, with the present facts."""
        if thing.what is What.JOB:
            self._read()
            return msgspec.structs.replace(thing, facts=self._to_job_facts(Path(thing.name).name, thing.name))
        one = self._places.get((thing.what, thing.name))
        if one is None:  # a cached model, of which all is new
            return thing
        self._read()
        self._copies.refresh()
        return msgspec.structs.replace(thing, facts=self._to_facts(one))

    def _read(self) -> None:
        """Reads rows and versions again if the last look is more than a moment old.

        With ten thousand, a look before each delete would take longer than all deletes. A run's next job may begin at
        any time, and is asked for each time."""
        if self._clock() - self._read_at < FRESH_S:
            return
        self._models.read()
        self._rows = {}
        for row in self._site.ledger.list_backfill():
            self._rows.setdefault(str(row.id), []).append(row)
            if row.gcs_artifacts_path:
                self._rows.setdefault(to_real(row.gcs_artifacts_path), []).append(row)
        self._read_at = self._clock()

    def _to_facts(self, one: Found, *, again: bool = True) -> Facts:
        found = self._to_own_facts(one, again=again)
        return msgspec.structs.replace(found, holds=self._models.find_held(one.name))

    def _to_own_facts(self, one: Found, *, again: bool) -> Facts:
        if one.quick_test_id and one.what is not What.UNKNOWN:
            if again or one.folder not in self._known:
                self._known[one.folder] = self._to_run_facts(one)
            return self._known[one.folder]
        if one.what is What.IMPORTED_MODEL:
            return self._models.to_facts(one.name)
        if one.what in (What.COPIED_OBJECT, What.COPY_MANIFEST, What.UNFINISHED_COPY):
            return self._copies.to_facts(one)
        return Facts()

    def _to_run_facts(self, one: Found) -> Facts:
        """Returns the facts of the run of that number, and of others with rows that name the folder."""
        named = [*self._rows.get(to_real(one.folder), []), *self._rows.get(str(one.quick_test_id), [])]
        owners = {row.id: row for row in named}
        made = self._models.to_facts(one.folder)
        newest = [say_version(found) for found in self._site.catalogue.list_of_run(one.quick_test_id)
                  if found.tombstoned_at is None and to_real(found.source_uri) == to_real(one.folder)]  # fmt: skip
        return msgspec.structs.replace(
            made,
            versions=tuple(sorted({*made.versions, *newest})),
            has_owner=bool(owners),
            is_settled=all(self._is_settled(row) for row in owners.values()),
            is_completed=any(row.status == "completed" for row in owners.values()),
        )

    def _is_settled(self, row: BackfillRow) -> bool:
        """Looks at its newest job and its status as they are now."""
        try:
            status: str = self._site.runs.read_run(row.id).status
        except SwitchyardError:  # it is gone or cannot be read, so it is not known
            return False
        if status not in _ENDED or row.status not in _ENDED or (status == "completed" and row.published == "nothing"):
            return False
        job = self._site.jobs.read_job(row.id)
        return job is None or job.key in self._site.ledger.list_settled([job.key])

    def _list_jobs(self) -> Iterator[Thing]:
        """Yields jobs on this machine that ended long ago, as reconcile's own pruning finds them."""
        labels = {"switchyard-db": self._site.runs.read_database_id()}
        for job in sorted(self._site.launcher.list_old(labels, self._before, _MANY), key=lambda one: one.job_name):
            folder = Path(job.job_name).as_uri() + "/"
            yield Thing(
                what=What.JOB,
                name=job.job_name,
                objects=((job.job_name, ANY),),
                size_bytes=sum(stat.size_bytes for _, stat in self._site.open_objects(folder).list_stats(folder)),
                written_at=job.ended_at,
                facts=self._to_job_facts(job.key, job.job_name),
            )

    def _to_job_facts(self, key: str, folder: str) -> Facts:
        is_settled = key in self._site.ledger.list_settled([key])
        doubt = "" if is_settled else "its run is not settled, or has no row"
        held = self._models.find_held(Path(folder).as_uri())
        return Facts(has_owner=is_settled, is_settled=is_settled, doubt=doubt, holds=held)

    def _list_state(self) -> Iterator[Thing]:
        """Yields what lies in STATE_DIR and belongs to nothing that we know."""
        folder = self._site.state_dir
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            is_ours = path.name in _OURS or to_known(path, self._root) or path == self._site.model_cache
            if not is_ours and not path.name.startswith(("results.db", "mlflow-")):
                yield Thing(what=What.UNKNOWN, name=path.as_uri(), objects=(), size_bytes=0, written_at=None)


def _to_note_uri(site: Site, digest: str) -> str:
    return f"{site.artifacts_uri.rstrip('/')}/{NOTES}/{digest}.json"
